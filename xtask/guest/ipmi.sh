# A host at the door handle of a BMC that is beside the guest, with ipmitool as it comes: `. /guest/ipmi.sh` after copy.sh.
#
#   host_modules           this kernel finds the BMC's USB device, and the BMC: /dev/ipmi0
#   ipmi_modules           only the latter
#   shown                  waits until the BMC shows its disk
#   hidden                 waits until it is at run time and shows none
#   ask BYTES...           asks the BMC, as in docs/spec/ipmi.md behind 0x2e 0x49 0xcf 0xc2 0x00; what is printed behind cf c2 00 is $ANSWER
#   nonce_of               prints the nonce that a start was just answered with, to be typed
#   session_is STATE       asks whether that is the session's state, by its number in docs/spec/session.md
#   may_begin              asks whether a session may begin, or nobody has to wait for that
#   comes_to TEST STATE    one test: in the end it is
#
# The examples of docs/spec/ipmi.md, which is in the suite's folder:
#
#   example NAME [FILE]    one test: what is in the row of this NAME is typed, and what is printed is what is there; or that is among the
#                          answers that ipmitool printed to FILE
#   known NAME BYTE...     what NAME0, NAME1 and so on stand for there; what is not known is learnt where it is first printed
#   examples_are_done TEST one test: there is none that was not tried

host_modules() {
    local module
    for module in xhci_pci usb_storage sd_mod sg vfat; do
        modprobe $module || die "no $module"
    done
    ipmi_modules
}

ipmi_modules() {
    modprobe ipmi_si && modprobe ipmi_devintf && wait_for 10 test -c /dev/ipmi0 || die "no BMC"
}

shown() {
    RUNTIME_ID=0003
    disk_is ours
}

hidden() {
    RUNTIME_ID=0001
    mode runtime $SERIAL
}

ask() {
    local status=0
    ipmitool raw 0x2e 0x49 0xcf 0xc2 0x00 "$@" >/tmp/answer 2>&1 || status=$?
    cat /tmp/answer
    ANSWER=$(grep '^ [0-9a-f][0-9a-f]' /tmp/answer | tr -d '\n' | sed 's/^ cf c2 00 //')
    return $status
}

nonce_of() {
    echo "$ANSWER" | cut -d ' ' -f 5-8 | sed 's/[0-9a-f][0-9a-f]/0x&/g'
}

session_is() {
    ask 0x03 && [ "$(echo "$ANSWER" | cut -d ' ' -f 2)" = "$(printf %02x "$1")" ]
}

may_begin() {
    ask 0x03 && [ "$(echo "$ANSWER" | cut -d ' ' -f 49,50)" = '00 00' ]
}

comes_to() {
    if wait_for 30 session_is "$2"; then
        ok "$1"
    else
        fail "$1" "not state $2, but ${ANSWER:-$(cat /tmp/answer)}"
    fi
}

example() {
    echo "$1" >>/tmp/tried
    check "$1" perl /guest/example.pl "$@"
}

known() {
    local name=$1 at=0
    shift
    for byte in "$@"; do
        echo "$name$at $byte" >>/tmp/known
        at=$((at + 1))
    done
}

examples_are_done() {
    sed -n 's/^| \([a-z0-9-]*\) | [^|]* | `0x[^|]*` | [^|]* |$/\1/p' ipmi.md | sort >/tmp/all
    sort /tmp/tried | uniq | diff /tmp/all - >"$OUT"
    STATUS=$?
    show "$OUT"
    expect_status "$1" 0
}
