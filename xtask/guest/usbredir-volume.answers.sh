# What the inbandd beside the suite usbredir-volume says of how long its disk took to answer.
SUITE=usbredir-volume
ok() {
    echo "TEST $SUITE.$1 ok"
}
fail() {
    echo "TEST $SUITE.$1 FAILED $2"
}
HARMLESS=
. "${0%/*}/bmc.sh"
OUT=answers
inbandd status --config inbandd.toml --json >$OUT
answers_are_fast answered-at-once 100 disk_commands slowest_disk_answer_us
