# A disk on dummy_hcd, ours or the kernel's, or one beside the guest, and what this kernel makes of it as a host: `. /guest/disk.sh` after lib.sh.
#
#   disk_start MIB [reinsert]        our disk in memory (example `disk`); waits until the host has it
#   disk_order ORDER...              tells it something, as the head of the example has it
#   disk_stop                        ends it; waits until the host has lost it
#   kernel_disk_start MIB            the kernel's (f_mass_storage), on a file in memory; waits likewise
#   kernel_disk_stop                 likewise
#   linux_tests NAME [TESTS]         runs libiscsi's tests for what Linux sends on /dev/sgN, and prints what came of them, as JSON with NAME
#   count FIELD NAME                 prints one figure of that: ran, executed, failed, asserts, asserts_failed
#   files_survive NAME               tests: a FAT file system is made, files are copied by a mount, and are the same after another one; its checker finds
#                                    nothing
#
#   disk_is ours|kernel              waits until the host has it; chooses between two that there are at once, on two controllers (COUNT=2)
#
# The block device of the one that was started last, or chosen, is $DISK, the generic one $SG.

# A unit attention, which is no fault.
HARMLESS="$HARMLESS\|Power-on or device reset occurred"
SERIAL=0123456789ABCDEF
KERNEL_SERIAL=FEDCBA9876543210
# Controllers.
COUNT=1
KERNEL_DISK=/sys/kernel/config/usb_gadget/kernel-disk

disk_modules() {
    modprobe dummy_hcd num=$COUNT || die "no dummy_hcd"
    for module in libcomposite usb_storage sd_mod sg; do
        modprobe $module || die "no $module"
    done
}

disk_start() {
    disk_modules
    [ -p /tmp/disk.orders ] || mkfifo /tmp/disk.orders
    start disk sh -c 'exec disk "$@" <>/tmp/disk.orders' disk gadget:dummy_udc.0 "$@"
    disk_is ours
}

disk_order() {
    echo "$*" >/tmp/disk.orders
}

disk_stop() {
    stop disk
    wait_for 30 has_no_disk $SERIAL || die "our disk is still there"
}

kernel_disk_start() {
    disk_modules
    mkdir "$KERNEL_DISK" && (
        cd "$KERNEL_DISK" || exit
        mkdir strings/0x409 configs/c.1 functions/mass_storage.0
        echo 0x1209 >idVendor
        echo 0x0001 >idProduct
        echo $KERNEL_SERIAL >strings/0x409/serialnumber
        ln -s functions/mass_storage.0 configs/c.1/
        truncate -s "$1M" /tmp/kernel-disk.img
        echo 1 >functions/mass_storage.0/lun.0/removable
        echo /tmp/kernel-disk.img >functions/mass_storage.0/lun.0/file
        echo dummy_udc.$((COUNT - 1)) >UDC
    ) || die "no disk of the kernel's"
    disk_is kernel
}

kernel_disk_stop() {
    echo >"$KERNEL_DISK/UDC"
    wait_for 30 has_no_disk $KERNEL_SERIAL || die "the kernel's disk is still there"
    (
        cd "$KERNEL_DISK" || exit
        rm configs/c.1/mass_storage.0
        rmdir functions/mass_storage.0 configs/c.1 strings/0x409
    )
    rmdir "$KERNEL_DISK"
    rm /tmp/kernel-disk.img
}

disk_is() {
    case $1 in
        ours) set -- $SERIAL ;;
        kernel) set -- $KERNEL_SERIAL ;;
    esac
    wait_for 30 has_disk "$1" || die "no disk $1"
    DISK=/dev/$(cd "$(disk_folder "$1")/block" && echo *)
    SG=/dev/$(cd "$(disk_folder "$1")/scsi_generic" && echo *)
    udevadm settle
    wait_for 10 test -e "$DISK" -a -e "$SG" || die "no device files"
}

# Where the host has what it knows of the one with this serial number.
disk_folder() {
    local device
    device=$(grep -lx "$1" /sys/bus/usb/devices/*/serial) || return
    device=$(echo "${device%/serial}"/*/host*/target*/*:*:*:*)
    [ -d "$device" ] && echo "$device"
}

has_disk() {
    local folder
    # Its size is the last that the host asks for.
    folder=$(disk_folder "$1") && [ -d "$folder/scsi_generic" ] && [ "$(cat "$folder"/block/*/size)" -gt 0 ]
}

has_no_disk() {
    ! grep -qx "$1" /sys/bus/usb/devices/*/serial
}

linux_tests() {
    run iscsi-test-cu --dataloss --allow-sanitize --verbose --test="${2:-LINUX.*}" "$SG"
    # A test that says "skipped" anywhere did not do all that it is there for: it does not count as executed.
    awk -v name="$1" '
        /^ *Test: / { tests += 1; skipped = 0 }
        /\[SKIPPED\]/ { skips += 1; if (tests && !skipped) { skipped = 1; not_executed += 1 } }
        $1 == "tests" { ran = $3; passed = $4; failed = $5 }
        $1 == "asserts" { asserts = $3; asserts_failed = $5 }
        END {
            printf "{\"target\":\"%s\",\"ran\":%d,\"executed\":%d,\"passed\":%d,\"failed\":%d,", name, ran, ran - not_executed, passed, failed
            printf "\"asserts\":%d,\"asserts_failed\":%d,\"skips\":%d}\n", asserts, asserts_failed, skips
        }' "$OUT" >"/tmp/tests-$1"
    result "$(cat "/tmp/tests-$1")"
}

count() {
    sed -n 's/.*"'"$1"'":\([0-9]*\).*/\1/p' "/tmp/tests-$2"
}

files_survive() {
    local number
    check "$1-mkfs" mkfs.vfat -n UPDATE "$DISK"
    mkdir -p /tmp/source /mnt
    for number in 0 1 511 4097 300000 9000000; do
        head -c $number /dev/urandom >/tmp/source/$number.bin
    done
    check "$1-mount" mount -t vfat "$DISK" /mnt
    check "$1-copy" cp -r /tmp/source /mnt/Folder
    check "$1-sync" sync
    check "$1-unmount" umount /mnt
    check "$1-fsck" fsck.vfat -n "$DISK"
    # Nothing of it is to come from memory.
    echo 3 >/proc/sys/vm/drop_caches
    mount -t vfat -o ro "$DISK" /mnt
    check "$1-same" diff -r /tmp/source /mnt/Folder
    umount /mnt
}
