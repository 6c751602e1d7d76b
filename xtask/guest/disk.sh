# A disk on dummy_hcd, ours or the kernel's, or one beside the guest, and what this kernel makes of it as a host: `. /guest/disk.sh` after lib.sh.
#
#   disk_start MIB [reinsert]        our disk in memory (example `disk`); waits until the host has it
#   disk_order ORDER...              tells it something, as the head of the example has it
#   disk_stop                        ends it; waits until the host has lost it
#   kernel_disk_start MIB            the kernel's (f_mass_storage), on a file in memory; waits likewise
#   kernel_disk_stop                 likewise
#   linux_tests NAME [TESTS]         runs libiscsi's tests for what Linux sends on /dev/sgN, and prints what came of them, as JSON with NAME
#   count FIELD NAME                 prints one figure of that: ran, executed, failed, asserts, asserts_failed
#   linux_tests_pass TEST NAME              one test: some of them ran with this NAME, and none failed
#   refused TEST TEXT COMMAND...            tests: it ends with an error, and says this
#   answers TEST TEXT COMMAND...            tests: it ends well, and says this
#   sg_utils_agree BLOCKS                   tests: sg3-utils find what docs/spec/disk.md says, on a disk of so many blocks
#   blocks_survive                          tests: every block is written, in order, and read, in no order
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

linux_tests_pass() {
    if [ "$(count ran "$2")" -gt 0 ] && [ "$(count failed "$2")" = 0 ] && [ "$(count asserts_failed "$2")" = 0 ]; then
        ok "$1"
    else
        fail "$1" "$(cat "/tmp/tests-$2")"
    fi
}

refused() {
    local test=$1 text=$2
    shift 2
    expect_exit "$test" bad "$@"
    expect_text "$test-why" "$text"
}

answers() {
    local test=$1 text=$2
    shift 2
    check "$test" "$@"
    expect_text "$test-says" "$text"
}

sg_utils_agree() {
    answers inquiry 'Vendor identification: INBAND' sg_inq "$SG"
    expect_text inquiry-product 'Product identification: MEMORY DISK'
    expect_text inquiry-removable 'RMB=1'
    expect_text inquiry-version 'version=0x05  [SPC-3]'
    answers inquiry-descriptors 'SBC-3' sg_inq --descriptors "$SG"
    expect_text inquiry-descriptors-transport 'USB Mass Storage Class Bulk-Only Transport, Revision 1.0'
    answers vpd-list 'Block device characteristics (SBC)' sg_vpd --page=0 "$SG"
    answers vpd-serial "Unit serial number: $SERIAL" sg_vpd --page=0x80 "$SG"
    answers vpd-id 0x3123456789abcdef sg_vpd --page=0x83 "$SG"
    answers vpd-limits 'Maximum transfer length: 0 blocks [not reported]' sg_vpd --page=0xb0 "$SG"
    answers vpd-characteristics 'Non-rotating medium' sg_vpd --page=0xb1 "$SG"
    refused vpd-none 'sg_vpd failed' sg_vpd --page=0xc0 "$SG"
    answers capacity "Number of logical blocks=$1" sg_readcap "$SG"
    answers capacity-16 "Number of logical blocks=$1" sg_readcap --long "$SG"
    answers modes 'WP=0, DpoFua=1' sg_modes --all "$SG"
    answers modes-6 '08 12 04 00' sg_modes --six --all "$SG"
    expect_text modes-6-control '0a 0a 00 00 00 00 00 00  ff ff 00 00'
    expect_text modes-6-exceptions '1c 0a 08 00'
    refused modes-none 'sg_modes failed' sg_modes --page=0x19 "$SG"
    check ready sg_turs --number=100 "$SG"
    answers sense 'Sense key: No Sense' sg_requests "$SG"
    answers sense-descriptor 'Descriptor format, current' sg_requests --desc "$SG"
    answers opcodes 'Synchronize cache(16)' sg_opcodes "$SG"
    answers opcode-usage 'Read(10)' sg_opcodes --opcode=0x28 "$SG"
    check synchronize sg_sync "$SG"
    check verify sg_verify --lba=0 --count=64 "$SG"
    refused verify-beyond 'LBA out of range' sg_verify --lba=$1 --count=1 "$SG"
    check stop sg_start --stop "$SG"
    check stop-stops-nothing sg_turs "$SG"
}

blocks_survive() {
    check blocks-written blocks write "$DISK" 1
    check blocks-read-in-no-order blocks read "$DISK" 1 random
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
