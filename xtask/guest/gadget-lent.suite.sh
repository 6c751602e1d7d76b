# The volume door on a kernel without FunctionFS: its own disk, f_mass_storage, on dummy_hcd, and a host that updates the BMC by dd and eject.
# timeout: 300
# clock: instructions
# binaries: inband inbandd
. /guest/lib.sh
. /guest/bmc.sh
. /guest/bulk.sh
. /guest/disk.sh
. /guest/lent.sh

# Of the host: a disk that leaves the bus in its hands.
HARMLESS="$HARMLESS\|error, dev sd\|error on dev sd"

image image 262144
pack good.tar 2.0.0 image --bcd-device 2.00
pack next.tar 2.1.0 image --bcd-device 2.10
cp good.tar tampered.tar
spoil tampered.tar 150000

bmc_make bmc gadget $SERIAL
sed -i 's/^dfu_product_id.*/&\nvolume_product_id = 0x0003/; s/^slot_size.*/&\nmax_package = 16777216/' /tmp/bmc/inbandd.toml
rm $(find /lib/modules/ -name 'usb_f_fs.ko*')

# Without the door there is nothing that such a kernel could show.
expect_exit without-the-door 6 inbandd --config /tmp/bmc/inbandd.toml
expect_text without-the-door-is-told 'where it has f_mass_storage there can be a door volume'

printf '\n[doors]\nvolume = { policy = "always", profile = "raw" }\n' >>/tmp/bmc/inbandd.toml
disk_modules
bmc_start bmc
run cat /tmp/bmc-inbandd.log
expect_text losses-are-told 'less than a disk of our own'
expect_text shut-doors-are-told 'event=kernel-disk-ready doors dfu and bulk are shut'
RUNTIME_ID=0003
mode runtime $SERIAL
disk_is ours
run sg_inq "$SG"
expect_text named-as-ours 'FIRMWARE RAW'
medium ready READY
daemon_says ready-daemon bmc state=idle kernel_disk=true door_dfu=shut door_bulk=shut door_volume=open
expect_exit no-dfu-to-arm 8 inbandd arm dfu --config /tmp/bmc/inbandd.toml

copies tampered tampered.tar
medium tampered FAIL
expect_text tampered-why RESULT=bad-chunk
daemon_says tampered-daemon bmc result=bad-chunk state=failed boots_next=a
expect_exit verdict-is-read-only bad dd if=good.tar of="$DISK" bs=64k conv=fsync
check next-eject eject -s "$DISK"
medium next READY

copies good good.tar
medium good PASS
expect_text good-version VERSION=2.0.0
daemon_says good-daemon bmc result=ok state=staged boots_next=b version_b=2.0.0
slot_holds good-slot bmc b image
check empty-eject eject -s "$DISK"
medium again READY

# Somebody on the BMC ends it: the disk has to leave the host's hands for that, and comes back.
check begun dd if=next.tar of="$DISK" bs=64k count=2 conv=fsync
wait_for 5 is_receiving || die "what is written is not seen"
check begun-abort inbandd abort --config /tmp/bmc/inbandd.toml
medium aborted FAIL
expect_text aborted-why RESULT=aborted
check aborted-eject eject -s "$DISK"
medium last READY

# What was staged runs, is confirmed, and the next medium is there for its successor.
bmc_restart bmc
mode runtime $SERIAL
medium started READY
expect_text started-runs RUNNING=2.0.0
copies after next.tar
medium after PASS
expect_text after-version VERSION=2.1.0
stop bmc-inbandd
expect_status daemon-ends 0
mode none
run ls /sys/kernel/config/usb_gadget
expect_no_text nothing-is-left inband-0
check_kernel_log kernel-log
