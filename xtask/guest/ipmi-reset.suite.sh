# The host is reset while a door is asked for and used, and QEMU does not tell the BMC: behind each reset it says what is true, and goes on.
# timeout: 400
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

cd "/guest/$SUITE" || exit
RESETS=$(resets)
host_modules
case $RESETS in
    0)
        comes_to idle 0
        hidden
        check start ask 0x01 0x01 0x00 0x00 0x00 0x03 0x00 0x00
        shown
        ;;
    1)
        check after-start in_force
        comes_to idle-still 0
        shown
        mounted
        check copy-part dd if=firmware.tar of=/mnt/FIRMWARE.BIN bs=64k count=20 conv=fsync
        check copy-part-umount umount /mnt
        comes_to receiving 1
        ;;
    2)
        comes_to after-receiving 1
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
        shown
        marker verdict PASS
        expect_text verdict-version VERSION=2.00
        check verdict-eject eject -s "$DISK"
        hidden
        status_is staged result=ok b=staged:2.00
        # The machine is reset while the BMC restarts.
        check activate ask 0x05 0x02 0x00 0x00 0x00
        ;;
    4)
        comes_to after-activate 7
        hidden
        expect_exit start-on-trial 1 ask 0x01 0x03 0x00 0x00 0x00 0x01 0x00 0x00
        expect_text start-on-trial-refused rsp=0x84
        check confirm ask 0x06 0x04 0x00 0x00 0x00
        comes_to confirmed 8
        check start-dfu ask 0x01 0x05 0x00 0x00 0x00 0x01 0x00 0x00
        start dfu dfu-util -D firmware.tar
        comes_to dfu-receiving 1
        ;;
    *)
        comes_to after-dfu 9
        # The BMC is in DFU mode still, and whoever comes back within a minute need not ask again.
        mode dfu
        check next dfu-util -D next.tar
        comes_to next-staged 5
        check_kernel_log kernel-log
        exit
        ;;
esac
reset_now
