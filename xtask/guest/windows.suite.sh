# What Windows asks a new device, asked in its place: WinUSB for every interface, of a gadget and of a virtual BMC, in both modes.
# timeout: 1800
# clock: instructions
# binaries: inband inbandd example:inband/as-windows
. /guest/lib.sh
. /guest/bmc.sh

# as_windows NAME VERSION: in run time and in DFU mode; and the device is as good as before.
as_windows() {
    check "$1-run-time" as-windows "$2"
    check "$1-enters-dfu-mode" dfu-util -e
    mode dfu
    check "$1-dfu-mode" as-windows "$2"
    check "$1-update" dfu-util -D good.tar
    mode runtime
    status_is "$1-update-status" result=ok state=staged b=staged:2.0.0
}

image image 262144
pack good.tar 2.0.0 image --bcd-device 2.00

# The composite gadgets of the kernel speak version 1.0.
bmc_make gadget gadget BMC-1
bmc_start gadget
bmc_attach gadget
run grep event=gadget-ready /tmp/gadget-inbandd.log
expect_text the-log-says-so 'WinUSB announced'
as_windows gadget 1.0
# Handed from one daemon to the next, and made anew by one that finds the leftovers of another.
for signal in TERM KILL; do
    daemon_restart gadget $signal
    check "gadget-after-$signal" as-windows 1.0
done
stop gadget-inbandd
expect_status gadget-stops 0
mode none
run ls /sys/kernel/config/usb_gadget
expect_no_text nothing-stays-in-configfs inband

# What has no kernel speaks version 2.0.
bmc_make virtual 3240 BMC-2
bmc_start virtual
bmc_attach virtual
as_windows virtual 2.0
stop virtual-inbandd
mode none
check_kernel_log kernel-log
