# What every other suite takes for granted of the guest: virtual controllers, FunctionFS, udev's events, the tools.
# timeout: 240
. /guest/lib.sh

# Of the series that the head asks for: kernel-6.1 is this suite as well.
case $SUITE in
    kernel) series=6.12 ;;
    *) series=${SUITE#kernel-} ;;
esac
check kernel-of-the-series expr "$(uname -r)" : "${series%.*}\.${series#*.}\."

check vhci test -d /sys/devices/platform/vhci_hcd.0
check udevd-answers udevadm control --ping

# udevd must hand events on to those who listen, as libusb does.
start monitor udevadm monitor --udev --subsystem-match=usb
wait_for 10 grep -q 'UDEV - ' /tmp/monitor.log
udevadm trigger --action=change --subsystem-match=usb
if wait_for 10 grep -q '^UDEV .* change .*/usb1 ' /tmp/monitor.log; then
    ok udevd-passes-events-on
else
    fail udevd-passes-events-on "no event: $(tail -n 1 /tmp/monitor.log)"
fi
stop monitor

check usbip-port usbip port
check lsusb lsusb
expect_text lsusb-shows-the-root-hub "ID 1d6b:0002 Linux $series"
check dfu-util-lists dfu-util -l
expect_text dfu-util-version 'dfu-util 0.11'
expect_no_text dfu-util-finds-nothing 'Found DFU'
expect_exit dfu-util-without-device 74 dfu-util -e

# The gadget stack, down to an ep0 file that waits for descriptors.
check dummy-hcd modprobe dummy_hcd
check dummy-udc test -d /sys/class/udc/dummy_udc.0
check libcomposite modprobe libcomposite
check gadget mkdir /sys/kernel/config/usb_gadget/probe
check function mkdir /sys/kernel/config/usb_gadget/probe/functions/ffs.probe
mkdir /tmp/ffs
check functionfs mount -t functionfs probe /tmp/ffs
check ep0 test -e /tmp/ffs/ep0
check mass-storage mkdir /sys/kernel/config/usb_gadget/probe/functions/mass_storage.other

check_kernel_log kernel-log
