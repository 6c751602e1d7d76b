# A disk of 64 MiB on this CONTROLLER, in the program beside the guest, which it outlives. TESTS are libiscsi's.
. /guest/disk.sh

BLOCKS=131072
REINSERTIONS=20
MARKED=$((BLOCKS - 1))

# How many times the size was told, the kernel does not tell.
HARMLESS="$HARMLESS\|set_capacity_and_notify: .* callbacks suppressed"

has_size() {
    [ "$(cat "/sys/block/${DISK#/dev/}/size")" = "$1" ]
}

# What the host has of the USB device: its number, its speed.
usb() {
    local device
    device=$(grep -lx $SERIAL /sys/bus/usb/devices/*/serial) && cat "${device%serial}$1"
}

# write_at MIB FILE [SIZE]: by commands of that size; the driver splits what is more than 120 KiB.
write_at() {
    dd if="$2" of="$DISK" oflag=direct,seek_bytes bs="${3:-1M}" seek=$(($1 * 1048576))
}

# same_at MIB FILE: whether the disk itself has the file's MiB there.
same_at() {
    dd if="$DISK" iflag=direct bs=1M skip="$1" count=1 2>/dev/null | cmp - "$2"
}

# The disk's last block, where a guest leaves a word to the next.
mark() {
    dd if="$DISK" iflag=direct bs=512 skip=$MARKED count=1 2>/dev/null
}

modprobe "$CONTROLLER" && modprobe usb_storage && modprobe sd_mod && modprobe sg || die "no modules"
# As udev has it, but more often.
echo 200 >/sys/module/block/parameters/events_dfl_poll_msecs
disk_is ours
head -c 1048576 /dev/urandom >random
head -c 1048576 /dev/zero >zeros

if [ "$(mark | head -c 7)" = "BEFORE:" ]; then
    # The second guest of this disk.
    mark | head -n 1 | cut -d : -f 2 >wanted
    dd if="$DISK" iflag=direct bs=1M skip=1 count=1 2>/dev/null | md5sum >there
    check what-the-guest-before-wrote cmp wanted there
    check write-in-the-second-guest write_at 2 random
    check read-in-the-second-guest same_at 2 random
    check_kernel_log second-kernel-log
    exit
fi

check high-speed [ "$(usb speed)" = 480 ]
for test in $TESTS; do
    linux_tests "$CONTROLLER" "$test"
    linux_tests_pass "conformance-${test%.\*}" "$CONTROLLER"
done
sg_utils_agree $BLOCKS
# EHCI would be at it for a minute.
[ "$CONTROLLER" = ehci_pci ] || blocks_survive
files_survive files

mount -t vfat "$DISK" /mnt && cp random /mnt && echo 0 >/mnt/round && umount /mnt || die "cannot copy"
check ejected eject "$DISK"
check no-medium wait_for 5 has_size 0
expect_exit not-ready 2 sg_turs -v "$SG"
expect_text no-medium-sense 'Medium not present'
order say insert
check medium-again wait_for 5 has_size $BLOCKS

# Each time the host notices by itself that it has gone, and that it is there again.
reinsertions=0
reinsert() {
    mount -t vfat "$DISK" /mnt && [ "$(cat /mnt/round)" = $reinsertions ] && cmp /mnt/random random || return
    echo $((reinsertions + 1)) >/mnt/round
    umount /mnt && eject "$DISK" && wait_for 5 has_size 0 || return
    order say insert
    wait_for 5 has_size $BLOCKS
}
while [ $reinsertions -lt $REINSERTIONS ] && reinsert; do
    reinsertions=$((reinsertions + 1))
done
check re-insertions [ $reinsertions = $REINSERTIONS ]
check_kernel_log kernel-log
# The same without the host's wish, and so perhaps while it reads: what is logged of that is no fault.
order say eject
check taken-out wait_for 5 has_size 0
order say insert
check put-in wait_for 5 has_size $BLOCKS
check fsck-at-the-end fsck.vfat -n "$DISK"
mount -t vfat -o ro "$DISK" /mnt
check contents cmp /mnt/random random
umount /mnt

# The disk goes in the middle of a write, as a cable is pulled; the one that is plugged in is blank.
write_on() {
    while write_at 8 random "$1"; do :; done
}
is_another() {
    has_disk $SERIAL && [ "$(usb devnum)" != "$1" ]
}
for size in 64k 120k; do
    start "write-$size" write_on $size
    wait_for_log "write-$size" 'records out'
    before=$(usb devnum)
    order kill
    finish "write-$size"
    check "another-disk-$size" wait_for 20 is_another "$before"
    disk_is ours
    check "blank-$size" same_at 8 zeros
    check "write-$size" write_at 8 random $size
    check "read-$size" same_at 8 random
done

# And the host goes.
write_at 1 random
{ printf BEFORE: && md5sum <random; } >before
cat before /dev/zero | dd iflag=fullblock bs=512 count=1 of="$DISK" oflag=direct seek=$MARKED
start last write_on 120k
wait_for_log last 'records out'
order cut
sleep 30
die "the guest was not cut off"
