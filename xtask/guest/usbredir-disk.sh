# A disk of 64 MiB on this CONTROLLER, in the program beside the guest, which it outlives. TESTS are of iscsi-test-cu.
BYTES=67108864
BLOCKS=$((BYTES / 512))
REINSERTIONS=20

disk_there() {
    [ "$(cat /sys/block/sda/size)" = $BLOCKS ]
}

no_medium() {
    [ "$(cat /sys/block/sda/size)" = 0 ]
}

no_disk() {
    ! [ -e /sys/block/sda ]
}

# same_at MIB FILE: whether the disk has the file's MiB there, read past the page cache.
same_at() {
    dd if=/dev/sda iflag=direct bs=1M skip="$1" count=1 2>/dev/null | cmp - "$2"
}

# write_at MIB FILE [SIZE]: by commands of that size, 120 KiB at most unless the driver splits them.
write_at() {
    dd if="$2" of=/dev/sda oflag=direct,seek_bytes bs="${3:-1M}" seek=$(($1 * 1048576))
}

order() {
    echo "HOST $*" >/dev/ttyS1
}

# no_failures NAME: the verdict on what iscsi-test-cu said last, with how many tests ran, passed and failed.
no_failures() {
    grep -A 6 'Run Summary' "$OUT" >/tmp/summary
    # Type, Total, Ran, Passed, Failed, Inactive.
    set -- "$1" $(sed -n 's/^ *tests//p' /tmp/summary)
    if [ $# = 6 ] && [ "$3" -gt 0 ] && [ "$5" = 0 ]; then
        ok "$1"
    else
        fail "$1" "$*: $(grep -m 1 -B 1 'FAILED' "$OUT")"
    fi
}

# After its reset a disk tells that there was one; and how many times its size was told, the kernel does not tell.
HARMLESS="$HARMLESS\|Power-on or device reset occurred\|set_capacity_and_notify: .* callbacks suppressed"

modprobe "$CONTROLLER" && modprobe usb_storage && modprobe sd_mod && modprobe sg || die "no modules"
# As udev has it of its own, but more often.
echo 200 >/sys/module/block/parameters/events_dfl_poll_msecs
wait_for 20 disk_there || die "no disk"
head -c 1048576 /dev/urandom >random

cd /tmp || exit
if [ "$(dd if=/dev/sda bs=512 skip=$((BLOCKS - 1)) 2>/dev/null | head -c 7)" = "BEFORE:" ]; then
    # The second guest of this disk.
    dd if=/dev/sda iflag=direct bs=1M skip=1 count=1 2>/dev/null | md5sum >there
    dd if=/dev/sda bs=512 skip=$((BLOCKS - 1)) 2>/dev/null | head -n 1 | cut -d : -f 2 >wanted
    check what-the-guest-before-wrote cmp wanted there
    check write-in-the-second-guest write_at 2 random
    check read-in-the-second-guest same_at 2 random
    check_kernel_log second-kernel-log
    exit
fi

check high-speed grep -qx 480 /sys/block/sda/device/../../../../../speed
for test in $TESTS; do
    run iscsi-test-cu --dataloss -n --test="$test" /dev/sg0
    no_failures "iscsi-${test%.\*}"
done

check mkfs mkfs.vfat -n REDIR /dev/sda
mkdir -p /mnt
mount -t vfat /dev/sda /mnt || die "cannot mount"
for mib in 1 2 3 4 5 6 7 8; do cat random; done >/mnt/large
cp random /mnt/random
echo 0 >/mnt/round
check umount umount /mnt
check fsck fsck.vfat -n /dev/sda
run eject /dev/sda
expect_status ejected 0
check no-medium wait_for 5 no_medium
expect_exit not-ready 2 sg_turs -v /dev/sg0
expect_text no-medium-sense 'Medium not present'
order say insert
check medium-again wait_for 5 disk_there

# Each time the host notices by itself that it has gone, and that it is there again.
reinsertions=0
reinsert() {
    mount -t vfat /dev/sda /mnt && [ "$(cat /mnt/round)" = $reinsertions ] && cmp /mnt/random random || return
    echo $((reinsertions + 1)) >/mnt/round
    umount /mnt && eject /dev/sda && wait_for 5 no_medium || return
    order say insert
    wait_for 5 disk_there
}
while [ $reinsertions -lt $REINSERTIONS ] && reinsert; do
    reinsertions=$((reinsertions + 1))
done
check re-insertions [ $reinsertions = $REINSERTIONS ]
# The same without the host's wish.
order say eject
check taken-out wait_for 5 no_medium
order say insert
check put-in wait_for 5 disk_there
check fsck-at-the-end fsck.vfat -n /dev/sda
mount -t vfat -o ro /dev/sda /mnt
check contents cmp /mnt/random random
umount /mnt
check_kernel_log kernel-log

# The disk goes in the middle of a write, as a cable is pulled; the one that is plugged in is blank.
write_on() {
    while write_at 8 random "$1"; do :; done
}
for size in 64k 120k; do
    start "write-$size" write_on $size
    sleep 0.3
    order kill
    finish "write-$size"
    wait_for 20 no_disk
    check "another-disk-$size" wait_for 20 disk_there
    head -c 1048576 /dev/zero >zeros
    check "blank-$size" same_at 8 zeros
    check "write-$size" write_at 8 random $size
    check "read-$size" same_at 8 random
done

# And the host goes.
write_at 1 random >/dev/null
{ printf BEFORE: && md5sum <random; } >before
cat before /dev/zero | dd iflag=fullblock bs=512 count=1 of=/dev/sda oflag=direct seek=$((BLOCKS - 1)) 2>/dev/null
start last write_on 120k
sleep 0.3
order cut
sleep 30
die "the guest was not cut off"
