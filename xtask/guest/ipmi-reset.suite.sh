# The host is reset in each state of a session, and QEMU does not tell the BMC: behind each reset it says what is true, runs what it ran, and goes on.
# timeout: 600
# binaries: inband inbandd
# beside: ipmi-reset.host.sh
# ipmi: isa-ipmi-kcs
# machine: -action reboot=reset
. /guest/lib.sh
. /guest/bmc.sh
. /guest/disk.sh
. /guest/copy.sh
. /guest/ipmi.sh

# resets [NUMBER]: how often the machine was reset; or that is kept. In a byte of the clock's memory, which nothing uses and no reset touches.
resets() {
    perl -e '
        open(my $ports, "+<", "/dev/port") or die;
        sysseek($ports, 0x70, 0);
        syswrite($ports, chr(0x7f));
        sysseek($ports, 0x71, 0);
        @ARGV ? syswrite($ports, chr($ARGV[0])) : sysread($ports, $number, 1);
        print ord($number)' "$@"
}

reset_now() {
    resets $((RESETS + 1))
    sync
    reboot -f
    # Until the processor is.
    sleep 60
    die "no reset"
}

in_force() {
    ask 0x03 && [ $((0x$(echo "$ANSWER" | cut -d ' ' -f 8) & 0x80)) != 0 ]
}

# runs VERSION: whether that is the running firmware's.
runs() {
    ask 0x04 0x01 0x00 && [ "$ANSWER" = "01 $(printf %02x ${#1})$(printf %s "$1" | hexdump -ve '/1 " %02x"')" ]
}

boots_left() {
    ask 0x04 0x80 0x26 && [ "$(echo "$ANSWER" | cut -d ' ' -f 3)" = "$(printf %02x "$1")" ]
}

# after TEST STATE VERSION: tests: behind a reset the session is in this state, at once, and this firmware runs.
after() {
    check "$1" session_is "$2"
    check "$1-runs" runs "$3"
}

# starts TEST DOOR: one test.
starts() {
    check "$1" ask 0x01 0x00 0x00 0x00 0x00 "$2" 0x00 0x00
}

# Tests: the disk is asked for, and some of a package copied.
copies_part() {
    hidden
    starts "$1-start" 3
    shown
    mounted
    check "$1" dd if=firmware.tar of=/mnt/FIRMWARE.BIN bs=64k count=20 conv=fsync
    check "$1-umount" umount /mnt
    comes_to "$1-receiving" 1
}

# Tests: a package is staged by dfu-util.
stages() {
    hidden
    starts "$1-start" 1
    check "$1" dfu-util -D "$2"
    comes_to "$1-staged" 5
    hidden
}

cd "/guest/$SUITE" || exit
RESETS=$(resets)
host_modules
case $RESETS in
    0)
        check idle session_is 0
        hidden
        starts start 3
        shown
        ;;
    1)
        after after-start 0 factory
        check after-start-holds in_force
        shown
        check stop ask 0x07 0x00 0x00 0x00 0x00
        copies_part part
        ;;
    2)
        after after-receiving 1 factory
        shown
        mounted
        check there-still cmp -n 1310720 firmware.tar /mnt/FIRMWARE.BIN
        check copy cp firmware.tar /mnt/FIRMWARE.BIN
        check copy-umount umount /mnt
        check eject eject -s "$DISK"
        check verifying session_is 4
        ;;
    3)
        comes_to after-verifying 5
        check after-verifying-runs runs factory
        shown
        marker verdict PASS
        expect_text verdict-version VERSION=2.00
        ;;
    4)
        after after-staged 5 factory
        shown
        marker verdict-still PASS
        check verdict-eject eject -s "$DISK"
        hidden
        status_is staged result=ok b=staged:2.00
        stages other next.tar
        # The machine is reset while the BMC restarts.
        check activate ask 0x05 0x00 0x00 0x00 0x00
        ;;
    5)
        comes_to after-activate 7
        check after-activate-runs runs 3.00
        ;;
    6)
        after after-trial 7 3.00
        hidden
        expect_exit start-on-trial 1 ask 0x01 0x00 0x00 0x00 0x00 0x01 0x00 0x00
        expect_text start-on-trial-refused rsp=0x84
        check confirm ask 0x06 0x00 0x00 0x00 0x00
        comes_to confirmed 8
        ;;
    7)
        after after-done 8 3.00
        hidden
        starts start-dfu 1
        start dfu dfu-util -D firmware.tar
        comes_to dfu-receiving 1
        ;;
    8)
        comes_to after-dfu 9
        check after-dfu-runs runs 3.00
        # The BMC is in DFU mode still, and whoever comes back within a minute need not ask again.
        mode dfu
        check next dfu-util -D next.tar
        comes_to next-staged 5
        copies_part incomplete
        check incomplete-eject eject -s "$DISK"
        comes_to incomplete-failed 9
        marker incomplete-verdict FAIL
        ;;
    9)
        after after-failed 9 3.00
        shown
        marker incomplete-verdict-still FAIL
        check incomplete-verdict-eject eject -s "$DISK"
        copies_part aborted
        check abort ask 0x07 0x00 0x00 0x00 0x00
        comes_to aborted-ended 10
        ;;
    10)
        after after-aborted 10 3.00
        copies_part interrupted
        order kill
        comes_to interrupted-ended 2
        ;;
    11)
        after after-interrupted 2 3.00
        stages trial firmware.tar
        check trial-activate ask 0x05 0x00 0x00 0x00 0x00
        # Three boots, in none of which it is confirmed.
        for left in 2 1 0; do
            wait_for 30 boots_left $left || die "not $left boots left, but $ANSWER"
            order kill
        done
        comes_to rolled-back 11
        ;;
    *)
        after after-rollback 11 3.00
        stages last next.tar
        check_kernel_log kernel-log
        exit
        ;;
esac
reset_now
