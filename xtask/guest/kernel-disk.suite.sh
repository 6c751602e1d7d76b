# The kernel's own disk (f_mass_storage) on a kernel without FunctionFS: what a host makes of it, and what is known of that.
# timeout: 600
# clock: instructions
# binaries: example:inband/kernel-disk example:inbandd/disk
. /guest/lib.sh

MIB=4
# Of the host: a disk that was reset, as each new one says of itself; and one that goes in the middle of a write.
HARMLESS="$HARMLESS\|Power-on or device reset occurred\|error, dev sd\|error on dev sd\|rejecting I/O to dead device"

modprobe dummy_hcd || die "no dummy_hcd"
modprobe libcomposite || die "no gadgets"

# As many BMCs have it.
FUNCTIONFS=$(find /lib/modules/ -name 'usb_f_fs.ko*')
mv "$FUNCTIONFS" /tmp/usb_f_fs
expect_exit no-functionfs bad disk gadget "$MIB"
expect_text no-functionfs-is-said NoFunctionFs
scenarios kernel-disk-ends kernel-disk

# From here on the host is Linux's own.
modprobe usb_storage && modprobe sd_mod && modprobe sg && modprobe vfat && modprobe nls_cp437 && modprobe nls_ascii ||
    die "no drivers for disks"

# A disk of this side. Where the host has it is in $DISK and, as a SCSI device, in $SCSI.
lend() {
    start disk disk "$1" "$MIB" reinsert
    # The one of before, which still has its medium, is gone by then.
    [ "$1" = gadget ] || wait_for_log disk Configured
    wait_for 20 find_disk || die "no disk"
    SCSI=/dev/$(ls "/sys/block/${DISK##*/}/device/scsi_generic")
}
find_disk() {
    for DISK in /dev/sd?; do
        has_medium && return
    done
    return 1
}
# A host looks when somebody opens the disk.
has_medium() {
    [ -b "$DISK" ] && true <"$DISK" && [ "$(cat "/sys/block/${DISK##*/}/size")" = $((MIB * 2048)) ]
}
# So many lines like this in the disk's log.
says() {
    [ "$(grep -c "$2" /tmp/disk.log)" = "$1" ]
}
# The disk's memory, as its process has it open.
memory() {
    for file in "/proc/$(cat /tmp/disk.pid)/fd"/*; do
        case $(readlink "$file") in
            *memfd:inband-disk*) echo "$file" ;;
        esac
    done
}
digest() {
    sha256sum <"$1" | cut -d ' ' -f 1
}

lend kernel
run cat /tmp/disk.log
expect_text probe-says-so 'FunctionFS missing'
run sg_inq "$SCSI"
expect_text named-as-ours 'MEMORY DISK'
run cat /sys/bus/usb/devices/*/serial
expect_text serial-as-ours 0123456789ABCDEF

# A host's whole business.
check mkfs mkfs.vfat -I "$DISK"
mkdir -p /mnt
check mount mount -t vfat "$DISK" /mnt
head -c 2000000 /dev/urandom >/tmp/file
check copy cp /tmp/file /mnt/file
# While it is mounted, removal is prevented.
expect_exit prevented bad sg_start --eject "$SCSI"
check umount umount /mnt
check nothing-is-out says 0 Ejected
echo 3 >/proc/sys/vm/drop_caches
WRITTEN=$(digest "$DISK")
check eject eject "$DISK"
wait_for 20 says 1 '^Written' || die "the eject is not noticed"
check taken-as-written test "$(digest "$(memory)")" = "$WRITTEN"
expect_exit sealed bad sh -c "echo changed >'$(memory)'"
check sealed-means-sealed test "$(digest "$(memory)")" = "$WRITTEN"

# It comes back read-only, again and again.
for round in 1 2 3; do
    wait_for 20 says "$round" Inserted || die "not inserted"
    wait_for 20 has_medium || die "the host does not see it"
    check "read-only-$round" grep -qx 1 "/sys/block/${DISK##*/}/ro"
    check "mount-$round" mount -t vfat -o ro "$DISK" /mnt
    check "same-file-$round" cmp /tmp/file /mnt/file
    umount /mnt
    expect_exit "write-$round" bad dd if=/tmp/file of="$DISK" bs=4096 count=1 conv=fsync
    check "eject-$round" eject "$DISK"
    wait_for 20 says $((round + 1)) '^Written' || die "the eject is not noticed"
done
check still-as-written test "$(digest "$(memory)")" = "$WRITTEN"

# A process that dies leaves the disk on the bus; the next one begins anew.
wait_for 20 says 4 Inserted || die "not inserted"
stop disk KILL
check on-the-bus-without-us dd if="$DISK" of=/tmp/block bs=512 count=1 iflag=direct
lend kernel
check not-the-old-one test "$(digest "$DISK")" = "$(head -c $((MIB << 20)) /dev/zero | sha256sum | cut -d ' ' -f 1)"
run ls /sys/kernel/config/usb_gadget
expect_text one-is-shown inband-0
expect_no_text one-was-removed inband-1
# And in the middle of a write.
start writing dd if=/dev/zero of="$DISK" bs=512 oflag=direct
wait_for 20 grep -q '[1-9]' "/sys/block/${DISK##*/}/inflight"
stop disk KILL
lend kernel
finish writing
expect_status write-was-cut-off bad
check written-to-again dd if=/tmp/file of="$DISK" bs=65536 count=16 conv=fsync
check eject-again eject "$DISK"
wait_for 20 says 1 '^Written' || die "the eject is not noticed"
run ls /sys/kernel/config/usb_gadget
expect_text only-one-is-left inband-0
stop disk KILL

# With FunctionFS the other disk is the better one, and what this one left, without a medium, is no hindrance.
mv /tmp/usb_f_fs "$FUNCTIONFS"
lend gadget
run ls /sys/kernel/config/usb_gadget
expect_text ours-instead inband-0
expect_no_text removed-by-ours inband-1
stop disk
check what-is-there-with-functionfs kernel-disk what-is-there-is-told
expect_text functionfs-is-there 'FunctionFS there'
check_kernel_log kernel-log
