# What every other suite takes for granted of the guest: the virtual host controller, udev's events, the tools.
# timeout: 240
. /guest/lib.sh

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
expect_text lsusb-shows-the-root-hub 'ID 1d6b:0002 Linux 6.12'
check dfu-util-lists dfu-util -l
expect_text dfu-util-version 'dfu-util 0.11'
expect_no_text dfu-util-finds-nothing 'Found DFU'
expect_exit dfu-util-without-device 74 dfu-util -e
