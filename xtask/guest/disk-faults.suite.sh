# Our disk when the host leaves, and when the cable, a reset, an administrator or a crash comes in the middle of a command, or of a dd.
# timeout: 1200
# clock: instructions
# binaries: example:inband/disk-cases example:inbandd/disk
. /guest/lib.sh
. /guest/bmc.sh
. /guest/disk.sh
. /guest/disk-tester.sh

show_disk gadget 16
scenarios gadget-closes disk-cases --dummy faults gadget-close close
scenarios gadget-resets disk-cases --dummy faults gadget-reset reset
scenarios gadget-configurations disk-cases --dummy faults gadget-configuration 'sh configuration.sh'
scenarios gadget-cables disk-cases --dummy faults gadget-cable 'sh cable.sh'
scenarios gadget-unbinds disk-cases --dummy faults gadget-unbind 'sh unbind.sh'
scenarios gadget-crashes disk-cases --dummy faults gadget-crash 'sh crash.sh'
remove_disk

show_disk usbip:127.0.0.1:3240 16
scenarios usbip-closes disk-cases faults usbip-close close
scenarios usbip-resets disk-cases faults usbip-reset reset
scenarios usbip-detaches disk-cases faults usbip-detach 'sh detach.sh'
remove_disk
check_kernel_log kernel-log-of-the-tester

# The kernel's own host, in the middle of a dd: it is told of an error, and the next disk is there.
disk_modules
# Sectors that were read and written.
sectors() {
    awk '{ print $3 + $7 }' "/sys/block/$1/stat"
}
busy() {
    [ "$(sectors "$1")" -gt "$2" ]
}
head -c 4194304 /dev/urandom >random
show_disk gadget 200
for way in cable unbind crash; do
    for direction in write read; do
        disk_is ours
        drive=${DISK#/dev/}
        from=$(sectors "$drive")
        case $direction in
            write) start dd dd if=/dev/zero of="$DISK" bs=128k oflag=direct ;;
            read) start dd dd if="$DISK" bs=128k iflag=direct of=/dev/null ;;
        esac
        wait_for 30 busy "$drive" $((from + 4096)) || die "dd does not move"
        sh "$way.sh"
        finish dd
        expect_status "dd-$direction-$way" bad
        disk_is ours
        check "dd-$direction-$way-writes-again" dd if=random of="$DISK" bs=64k oflag=direct
        dd if="$DISK" of=back bs=64k count=64 iflag=direct
        check "dd-$direction-$way-reads-again" cmp random back
    done
done
remove_disk
# What a host says of a disk that was pulled out under it.
HARMLESS="$HARMLESS\|I/O error, dev sd[a-z]\|\[sd[a-z]\] Synchronize Cache(10) failed"
check_kernel_log kernel-log
