# What every suite begins with: `. /guest/lib.sh`.
#
# A test has a name without spaces and ends in exactly one result. Everything a command prints is on the console;
# what the last `run` printed is in $OUT as well, and its exit status in $STATUS.
#
#   ok NAME                                 the test passed
#   fail NAME DETAIL...                     the test failed, and why
#   check NAME COMMAND...                   passes if the command exits with 0
#   expect_exit NAME STATUS COMMAND...      passes if the command exits with this status; "bad" is any but 0
#   expect_status NAME STATUS               passes if the last command run did
#   expect_text NAME TEXT                   passes if the last command run printed this text
#   expect_no_text NAME TEXT                passes if it did not
#   run COMMAND...                          only runs it; for tests that look closer
#   scenarios NAME COMMAND...               runs a program of ours that prints `ok SCENARIO` or `failed SCENARIO REASON`: a test for
#                                           each, and NAME, which passes if the program exits with 0
#   wait_for SECONDS COMMAND...             tries the command until it exits with 0; fails when the time is up
#   start NAME COMMAND...                   runs it in the background, its output in /tmp/NAME.log
#   wait_for_log NAME REGEX                 waits until it has printed that
#   signal NAME SIGNAL                      sends it a signal
#   finish NAME                             waits for its end, after which it is as if it had been `run`
#   stop NAME [SIGNAL]                      both; the signal is TERM unless said
#   check_kernel_log NAME                   passes if the kernel has logged no warning, and nothing worse, since the suite
#                                           began
#   order WORDS...                          asks something of the machine's host, where a program of ours runs beside the guest (xtask/src/vm/beside.rs)
#   die DETAIL...                           ends the suite: what follows would make no sense

OUT=/tmp/out
STATUS=0

result() {
    echo "$*" >/dev/ttyS1
    echo "---- $*"
}

ok() {
    result "TEST $SUITE.$1 ok"
}

fail() {
    name=$1
    shift
    result "TEST $SUITE.$name FAILED $*"
    : >/run/failed
}

die() {
    fail suite "$*"
    exit 1
}

order() {
    echo "HOST $*" >/dev/ttyS1
}

run() {
    echo "---- \$ $*"
    "$@" >"$OUT" 2>&1
    STATUS=$?
    show "$OUT"
    echo "---- exit status $STATUS"
    return "$STATUS"
}

# What was printed; of a line that a progress bar wrote again and again only the last form.
show() {
    sed 's/.*\r//' "$1"
}

# The last line a command printed, for a failure's detail.
last_line() {
    show "$OUT" | tail -n 1
}

check() {
    name=$1
    shift
    expect_exit "$name" 0 "$@"
}

expect_exit() {
    name=$1
    wanted=$2
    shift 2
    run "$@"
    expect_status "$name" "$wanted"
}

expect_status() {
    if [ "$STATUS" = "$2" ] || { [ "$2" = bad ] && [ "$STATUS" != 0 ]; }; then
        ok "$1"
    else
        fail "$1" "exit status $STATUS, not $2; the output ends: $(last_line)"
    fi
}

expect_text() {
    if grep -qF -- "$2" "$OUT"; then
        ok "$1"
    else
        fail "$1" "no \"$2\" in the output, which ends: $(last_line)"
    fi
}

expect_no_text() {
    if grep -qF -- "$2" "$OUT"; then
        fail "$1" "the output has: $(grep -F -m 1 -- "$2" "$OUT")"
    else
        ok "$1"
    fi
}

scenarios() {
    test=$1
    shift
    run "$@"
    program=$STATUS
    grep '^ok \|^failed ' "$OUT" >/tmp/scenarios
    while read -r verdict scenario reason; do
        case $verdict in
            ok) ok "$scenario" ;;
            failed) fail "$scenario" "$reason" ;;
        esac
    done </tmp/scenarios
    STATUS=$program
    expect_status "$test" 0
}

wait_for() {
    # In hundredths of a second of the guest's clock.
    end=$(($(uptime_hundredths) + $1 * 100))
    shift
    until "$@" >/dev/null 2>&1; do
        [ "$(uptime_hundredths)" -lt "$end" ] || return 1
        sleep 0.05
    done
}

uptime_hundredths() {
    sed 's/ .*//; s/\.//; s/^0*//; s/^$/0/' /proc/uptime
}

start() {
    name=$1
    shift
    echo "---- \$ $* &"
    "$@" >"/tmp/$name.log" 2>&1 &
    echo $! >"/tmp/$name.pid"
}

wait_for_log() {
    wait_for 30 grep -q -- "$2" "/tmp/$1.log" || die "$1 did not come to $2: $(tail -n 1 "/tmp/$1.log")"
}

signal() {
    kill "-$2" "$(cat "/tmp/$1.pid")"
}

finish() {
    wait "$(cat "/tmp/$1.pid")"
    STATUS=$?
    cp "/tmp/$1.log" "$OUT"
    echo "---- $1 ended with $STATUS; its output:"
    show "$OUT"
    echo "----"
}

stop() {
    signal "$1" "${2:-TERM}"
    finish "$1"
}

# Errors in the kernel's log that are none. vhci_hcd has a moment between the end of a connection and the disconnect of its
# device in which it takes no transfers, or cannot send them; they fail, as they do when a cable is pulled. And on a busy machine an
# emulated processor waits in the middle of an interrupt. (docs/kernels.md has all of them, with their sources.)
HARMLESS='enqueue for inactive port\|vhci_hcd: sendmsg failed!\|hrtimer: interrupt took'

check_kernel_log() {
    dmesg -r | grep '^<[0-4]>' >"$OUT"
    show "$OUT"
    grep -v "$HARMLESS" "$OUT" >/tmp/harmful
    if [ -s /tmp/harmful ]; then
        fail "$1" "$(wc -l </tmp/harmful) lines, the first: $(head -n 1 /tmp/harmful)"
    else
        ok "$1"
    fi
}
