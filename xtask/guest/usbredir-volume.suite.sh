# The disk beside the DFU interface of a BMC that is a USB device of a QEMU guest, by usbredir: dd and eject, and DFU beside it.
# timeout: 240
# binaries: inband inbandd
# beside: usbredir-volume.host.sh
. /guest/lib.sh
. /guest/bmc.sh
. /guest/disk.sh
. /guest/volume.sh
. /guest/usbredir.sh

cd "/guest/$SUITE" || exit
for module in xhci_pci usb_storage sd_mod sg; do
    modprobe $module || die "no $module"
done
RUNTIME_ID=0003
mode runtime $SERIAL
PLACE=$(place_of $SERIAL)
disk_is ours
medium ready READY

copies tampered tampered.tar
medium tampered FAIL
expect_text tampered-why RESULT=bad-chunk
check tampered-ejected eject -s "$DISK"
medium again READY
copies good good.tar
medium good PASS
status_is good-status result=ok state=staged mode=run-time running=a boots_next=b b=staged:2.00

expect_exit bulk 0 inband update --door bulk next.tar
mode runtime $SERIAL
disk_is ours
medium back READY
order run usbredir-volume.answers.sh
status_is bulk-status result=ok state=staged mode=run-time running=a boots_next=b b=staged:3.00
# The BMC ends in the middle, and starts again with what is staged.
check begun dd if=other.tar of="$DISK" bs=64k count=20 conv=fsync
host kill
disk_is ours
medium anew READY
copies other other.tar
medium other PASS
status_is other-status result=ok state=staged a=staged:4.00
check_kernel_log kernel-log
