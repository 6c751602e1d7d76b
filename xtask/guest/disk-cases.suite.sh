# Our disk before a tester, on dummy_hcd by FunctionFS and on vhci_hcd; the cable, resets and a crash in the middle of commands, and of a dd.
# timeout: 900
# clock: instructions
# binaries: example:inband/disk-cases example:inbandd/disk
. /guest/lib.sh
. /guest/bmc.sh

modprobe dummy_hcd || die "no dummy_hcd"
modprobe libcomposite || die "no libcomposite"

# What takes the device off the bus and brings it back, for the tester to call: it is there, or known to come, when one of these ends.
script() {
    printf '. /guest/lib.sh\n. /guest/bmc.sh\n' >"$1.sh"
    cat >>"$1.sh"
}
script cable <<'END'
port=$(readlink -f "/sys/bus/usb/devices/$(place_of 0123456789ABCDEF)/port")
echo 1 >"$port/disable"
mode none
echo 0 >"$port/disable"
mode runtime
END
script unbind <<'END'
file=$(grep -l dummy_udc.0 /sys/kernel/config/usb_gadget/*/UDC)
echo >"$file"
mode none
echo dummy_udc.0 >"$file"
mode runtime
END
script configuration <<'END'
cd "/sys/bus/usb/devices/$(place_of 0123456789ABCDEF)" || exit
echo 0 >authorized
echo 1 >authorized
END
script crash <<'END'
signal disk KILL
mode none
start disk $(cat /tmp/disk.command)
mode runtime
END
script attach <<'END'
usbip attach --remote 127.0.0.1 --busid 1-1 && mode runtime
END
script detach <<'END'
usbip detach --port 0
mode none
sh /tmp/attach.sh
END

show_disk() {
    echo "disk $*" >/tmp/disk.command
    start disk disk "$@"
}

memory() {
    sed -n 's/^VmRSS:[^0-9]*\([0-9]*\).*/\1/p' "/proc/$(cat /tmp/disk.pid)/status"
}

# A host without manners: neither memory nor time without end.
hostile() {
    prefix=$1
    shift
    scenarios "$prefix-hostile-first" disk-cases "$@" hostile "$prefix" 500 1
    before=$(memory)
    scenarios "$prefix-hostile" disk-cases "$@" hostile "$prefix" 2000 2
    after=$(memory)
    echo "---- memory of the disk: $before KiB, and behind 2,000 hostile commands $after KiB"
    if [ "$after" -le $((before + 256)) ]; then
        ok "$prefix-memory"
    else
        fail "$prefix-memory" "$after KiB, before $before"
    fi
}

show_disk gadget 16
mode runtime
scenarios gadget-cases disk-cases --dummy cases gadget
scenarios gadget-closes disk-cases --dummy faults gadget-close close
scenarios gadget-resets disk-cases --dummy faults gadget-reset reset
scenarios gadget-configurations disk-cases --dummy faults gadget-configuration 'sh configuration.sh'
scenarios gadget-cables disk-cases --dummy faults gadget-cable 'sh cable.sh'
scenarios gadget-unbinds disk-cases --dummy faults gadget-unbind 'sh unbind.sh'
scenarios gadget-crashes disk-cases --dummy faults gadget-crash 'sh crash.sh'
hostile gadget --dummy
stop disk
mode none

show_disk usbip:127.0.0.1:3240 16
wait_for 20 sh attach.sh || die "the disk is not attached"
scenarios usbip-cases disk-cases cases usbip
scenarios usbip-closes disk-cases faults usbip-close close
scenarios usbip-resets disk-cases faults usbip-reset reset
scenarios usbip-detaches disk-cases faults usbip-detach 'sh detach.sh'
hostile usbip
usbip detach --port 0
mode none
stop disk
check_kernel_log kernel-log-of-the-tester

# The kernel's own host, in the middle of a dd: it is told of an error, and the next disk is there.
modprobe usb_storage && modprobe sd_mod || die "no disks"
block_device() {
    ls /sys/block | grep -m 1 '^sd'
}
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
        wait_for 30 block_device || die "no disk for $way in $direction"
        name=$(block_device)
        from=$(sectors "$name")
        case $direction in
            write) start dd dd if=/dev/zero of="/dev/$name" bs=128k oflag=direct ;;
            read) start dd dd if="/dev/$name" bs=128k iflag=direct of=/dev/null ;;
        esac
        wait_for 30 busy "$name" $((from + 4096)) || die "dd does not move"
        sh "$way.sh"
        finish dd
        expect_status "dd-$direction-$way" bad
        wait_for 30 block_device || die "no disk behind $way in $direction"
        name=$(block_device)
        check "dd-$direction-$way-writes-again" dd if=random of="/dev/$name" bs=64k oflag=direct
        dd if="/dev/$name" of=back bs=64k count=64 iflag=direct
        check "dd-$direction-$way-reads-again" cmp random back
    done
done
check inquiry sg_inq --descriptors "/dev/$(block_device)"
expect_text version-descriptor 'USB Mass Storage Class Bulk-Only Transport, Revision 1.0'
stop disk
# What a host says of a disk that was pulled out under it.
HARMLESS="$HARMLESS\|I/O error, dev sd[a-z]\|\[sd[a-z]\] Synchronize Cache(10) failed"
check_kernel_log kernel-log
