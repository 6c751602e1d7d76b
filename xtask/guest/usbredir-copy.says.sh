# usbredir-copy.says.sh TEST TEXT FIELD=VALUE...: one test, for the UEFI shell: it has shown this text, and the BMC says all of that; fields of its JSON.
# usbredir-copy.says.sh healthy: the firmware on trial is good.
SUITE=usbredir-copy
if [ "$1" = healthy ]; then
    touch healthy
    exit
fi
test=$1 text=$2
shift 2
ok() {
    echo "TEST $SUITE.$1 ok"
}
fail() {
    echo "TEST $SUITE.$1 FAILED $2"
}
run() {
    "$@" >$OUT
    STATUS=$?
}
HARMLESS=
. "${0%/*}/bmc.sh"
OUT=answers
# The shell shows as well what it is asked here.
if grep -v "HOST " ../$SUITE.console.log | grep -qF "$text"; then
    inbandd_says "$test" inbandd.toml "$@"
else
    fail "$test" "the shell has not shown $text"
fi
