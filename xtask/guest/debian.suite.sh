# What every suite of the Debian guest takes for granted: systemd with nothing failed, udevd, D-Bus, the journal, up in time.
# By the machine's clock: one that counts instructions runs away while the disk is read.
# timeout: 300
# root: debian
. /guest/lib.sh

systemd_is_up() {
    [ "$(systemctl is-system-running)" = running ]
}

run cat /proc/uptime
check up-within-a-minute expr "$(uptime_hundredths)" '<' 6000
check systemd-is-the-first-program test "$(cat /proc/1/comm)" = systemd
check systemd-is-up wait_for 60 systemd_is_up
run systemctl --failed --no-legend
check no-unit-failed test ! -s "$OUT"
check boot-time systemd-analyze time
check slowest-units systemd-analyze blame --no-pager

check udevd-answers udevadm control --ping
check udevd-saw-the-host-controllers udevadm info /sys/devices/platform/vhci_hcd.0/usb1
expect_text udevd-has-its-database USEC_INITIALIZED
check dbus busctl --no-pager list
expect_text dbus-has-systemd org.freedesktop.systemd1
check journal journalctl --boot --no-pager --unit suite.service
check configfs mountpoint /sys/kernel/config
check dummy-hcd modprobe dummy_hcd
check dummy-udc test -d /sys/class/udc/dummy_udc.0
# Hardened units need file systems of their own.
check namespaces systemd-run --wait --pipe --property=ProtectSystem=strict --property=PrivateTmp=yes touch /tmp/private
check private-tmp-is-private test ! -e /tmp/private
check operator su operator -s /bin/sh -c 'id'
expect_text operator-in-plugdev '(plugdev)'
check fwupd fwupdtool --version
expect_text fwupd-version '2.0.20'

check_kernel_log kernel-log
