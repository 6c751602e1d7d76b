# The FunctionFS gadget passes the suite of all backends, over dummy_hcd and this kernel's own USB.
# timeout: 1200
# clock: instructions
# binaries: example:inband/gadget-conformance
. /guest/lib.sh

modprobe dummy_hcd || die "no dummy_hcd"
modprobe libcomposite || die "no libcomposite"

scenarios gadget-conformance-ends gadget-conformance

run ls /sys/kernel/config/usb_gadget
expect_no_text nothing-stays-in-configfs inband
check_kernel_log kernel-log
