# A FunctionFS gadget over its life: processes that die, administrators, controllers in use, hand-over, figures.
# timeout: 1200
# clock: instructions
# binaries: example:inband/gadget-life
. /guest/lib.sh

# What unbinding says after the administrator has disconnected the controller by soft_connect.
HARMLESS="$HARMLESS\|UDC had already stopped"

modprobe dummy_hcd || die "no dummy_hcd"
modprobe libcomposite || die "no libcomposite"

scenarios gadget-life-ends gadget-life

run ls /sys/kernel/config/usb_gadget
expect_no_text nothing-stays-in-configfs inband
check_kernel_log kernel-log
