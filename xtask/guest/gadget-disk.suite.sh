# The USB disk as a FunctionFS gadget on dummy_hcd, by the kernel's usb-storage: libiscsi's tests beside the kernel's own target, sg3-utils, usbtest, FAT, every block, ejects.
# timeout: 1200
# clock: instructions
# binaries: example:inbandd/disk example:inbandd/blocks
#
# Of usbtest's cases those apply that ask for nothing but the control pipe and standard requests: 9 (chapter 9) and 10 (a queue of control requests, some of
# which are stalled). The others want bulk or other endpoints that take and give whatever comes (1 to 8, 11 to 13, 15 to 20, 22 to 29), which a disk must not: it takes
# what is no CBW for the end of all understanding; or requests of a vendor's that write to a buffer (14, 21).
. /guest/lib.sh
. /guest/disk.sh

MIB=64
BLOCKS=131072
# Of libiscsi's suite LINUX.
TESTS=155

# The kernel's own target first: it is what ours is measured by. It fails, and says so in its log.
dmesg -n 1
kernel_disk_start $MIB
linux_tests kernel
kernel_disk_stop
dmesg -n 4
dmesg -c >/dev/null

disk_start $MIB reinsert
linux_tests ours
expect_status conformance-ends 0
linux_tests_pass conformance ours
# Both had all of them; one that broke off, or found no fault with the kernel's, measures nothing.
if [ "$(count ran kernel)" = $TESTS ] && [ "$(count ran ours)" = $TESTS ] && [ "$(count failed kernel)" -gt 0 ]; then
    ok conformance-is-measured
else
    fail conformance-is-measured "$(cat /tmp/tests-ours /tmp/tests-kernel)"
fi
if [ "$(count executed ours)" -ge "$(count executed kernel)" ]; then
    ok conformance-executes-as-many
else
    fail conformance-executes-as-many "$(count executed ours) tests, the kernel's target $(count executed kernel)"
fi

sg_utils_agree $BLOCKS

# Nonsense.
head -c 512 /dev/urandom >sector
refused raw-opcode 'Invalid command operation code' sg_raw "$SG" c7 00 00 00 00 00
refused raw-page 'Error in Command: byte 2' sg_raw --request=64 "$SG" 12 01 77 00 40 00
refused raw-beyond 'Logical block address out of range' sg_raw --request=512 "$SG" 28 00 ff ff ff ff 00 00 01 00
refused raw-write-beyond 'Logical block address out of range' sg_raw --send=512 --infile=sector "$SG" 2a 00 00 02 00 00 00 00 01 00
refused raw-reserved 'Invalid field in cdb' sg_raw --request=512 "$SG" 28 00 00 00 00 00 ff 00 01 ff
# Phase errors (BOT 6.7, cases 7, 10 and 2): the kernel resets the port, and all is well again.
phase_error() {
    local test=$1
    shift
    refused "$test" 'transport error' sg_raw "$@"
    refused "$test-is-told" 'Power on, reset, or bus device reset occurred' sg_raw "$SG" 00 00 00 00 00 00
    check "$test-is-over" sg_turs "$SG"
}
phase_error phase-in --request=512 "$SG" 28 00 00 00 00 00 00 00 02 00
phase_error phase-out --send=512 --infile=sector "$SG" 28 00 00 00 00 00 00 00 01 00
phase_error phase-none "$SG" 28 00 00 00 00 00 00 00 01 00
check_kernel_log kernel-log

# Every block, twice over.
blocks_survive
check blocks-written-in-no-order blocks write "$DISK" 2 random
check blocks-read blocks read "$DISK" 2
expect_exit blocks-differ 1 blocks read "$DISK" 1

# A file system: by a mount, and by mtools without one.
files_survive fat
export MTOOLS_SKIP_CHECK=1
check mtools-copy mcopy -i "$DISK" /tmp/source/300000.bin ::BESIDE.BIN
check mtools-fsck fsck.vfat -n "$DISK"
mount -t vfat -o ro "$DISK" /mnt
check mtools-same cmp /tmp/source/300000.bin /mnt/beside.bin
umount /mnt

# usbtest.
INTERFACE=$(basename "$(dirname "$(dirname "$(dirname "$(disk_folder $SERIAL)")")")")
USB=${INTERFACE%:*}
NODE=$(printf '/dev/bus/usb/%03d/%03d' "$(cat "/sys/bus/usb/devices/$USB/busnum")" "$(cat "/sys/bus/usb/devices/$USB/devnum")")
# usbtest CASE COUNT: USBDEVFS_IOCTL with USBTEST_REQUEST_32 in it (tools/usb/testusb.c); by perl, which can.
usbtest() {
    perl -e '
        my ($node, $case, $count) = @ARGV;
        my $parameters = pack("L7", $case, $count, 512, 512, 32, 0, 0);
        my $request = pack("llP", 0, 0xc01c5564 - (1 << 32), $parameters);
        open(my $device, "+<", $node) or die "$node: $!\n";
        ioctl($device, 0xc0105512, $request) or die "case $case: $!\n";
    ' "$NODE" "$1" "$2"
}
echo "$INTERFACE" >/sys/bus/usb/drivers/usb-storage/unbind
modprobe usbtest vendor=0x1209 product=0x0001 || die "no usbtest"
[ -e "/sys/bus/usb/drivers/usbtest/$INTERFACE" ] || echo "$INTERFACE" >/sys/bus/usb/drivers/usbtest/bind
check usbtest-chapter-9 usbtest 9 100
check usbtest-queued-control usbtest 10 100
# One that there is not: the figures above are those of a test that ran.
expect_exit usbtest-none bad usbtest 99 1
echo "$INTERFACE" >/sys/bus/usb/drivers/usbtest/unbind
rmmod usbtest
echo "$INTERFACE" >/sys/bus/usb/drivers/usb-storage/bind
disk_is ours
check usbtest-changes-nothing sg_turs "$SG"

# Ejected, and inserted anew. The host looks twice a second, and tells of a change.
size() {
    [ "$(blockdev --getsize64 "$DISK")" = "$1" ]
}
changes() {
    [ "$(grep -c DISK_MEDIA_CHANGE=1 /tmp/changes.log)" -ge "$1" ]
}
told() {
    [ "$(grep -c "$1" /tmp/disk.log)" -ge "$2" ]
}
check prevent sg_prevent --prevent 1 "$SG"
refused eject-prevented 'Medium removal prevented' sg_raw "$SG" 1b 00 00 00 02 00
check allow sg_prevent --allow "$SG"
start changes udevadm monitor --kernel --property --subsystem-match=block
wait_for_log changes KERNEL
echo 500 >"/sys/block/${DISK#/dev/}/events_poll_msecs"
for round in 1 2 3; do
    case $round in
        1) check "eject-$round" eject --scsi "$DISK" ;;
        *) check "eject-$round" sg_start --eject "$SG" ;;
    esac
    check "eject-$round-is-told" wait_for 5 told Ejected $round
    refused "ejected-$round" 'Medium not present' sg_raw "$SG" 00 00 00 00 00 00
    refused "ejected-$round-no-capacity" 'not ready' sg_readcap "$SG"
    expect_exit "ejected-$round-nothing-to-read" bad dd if="$DISK" of=/tmp/nothing bs=512 count=1
    if wait_for 20 told Inserted $round && wait_for 20 changes $round && wait_for 20 size $((MIB * 1048576)); then
        ok "reinserted-$round-is-noticed"
    else
        fail "reinserted-$round-is-noticed" "$(grep -c DISK_MEDIA_CHANGE /tmp/changes.log) changes, size $(blockdev --getsize64 "$DISK")"
    fi
    check "reinserted-$round-mount" mount -t vfat "$DISK" /mnt
    check "reinserted-$round-same" diff -r /tmp/source /mnt/Folder
    echo $round >"/mnt/round-$round"
    check "reinserted-$round-unmount" umount /mnt
done
check reinserted-fsck fsck.vfat -n "$DISK"
stop changes
check_kernel_log kernel-log-of-ejects

disk_stop
