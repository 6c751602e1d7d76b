# Firmware by plain copy on a Debian host: its shell, mount and eject, udev, and udisks, which desktops mount and eject by.
# By the machine's clock: one that counts instructions runs away while the disk is read.
# timeout: 900
# root: debian
# binaries: inband inbandd
. /guest/lib.sh
. /guest/bmc.sh
. /guest/bulk.sh
. /guest/disk.sh
. /guest/copy.sh

LINK=/dev/disk/by-label/BMCUPDATE
SLOT_SIZE=8388608
image image 262144
image other 262144
pack good.tar 2.0.0 image --bcd-device 2.00
pack other.tar 2.1.0 other --bcd-device 2.10
cp good.tar tampered.tar
spoil tampered.tar 150000

# As a rule of udev's does on a Debian, where modules are triggered at boot: the kernel looks for media every 2 s.
echo 2000 >/sys/module/block/parameters/events_dfl_poll_msecs
copy_make
marker ready READY
expect_exit script-bad 1 sh /guest/copy-update.sh tampered.tar
expect_text script-bad-why RESULT=bad-chunk
check label-comes-back wait_for 20 test -b $LINK
expect_exit script-good 0 bash /guest/copy-update.sh good.tar $LINK
expect_text script-good-version VERSION=2.0.0
slot_holds script-good-slot bmc b image

# A desktop. What it mounts it mounts with `flush`: all is written once the file is closed.
check udisks-label wait_for 20 test -b $LINK
check udisks-mount udisksctl mount --no-user-interaction --block-device $LINK
PLACE=$(sed -n 's/^Mounted .* at \(.*[^.]\)\.*$/\1/p' "$OUT")
run cat "$PLACE/READY.TXT"
run grep "$DISK" /proc/mounts
expect_text udisks-flushes ,flush
check udisks-copy cp other.tar "$PLACE/FIRMWARE.BIN"
check udisks-unmount udisksctl unmount --no-user-interaction --block-device "$DISK"
DRIVE=$(busctl get-property org.freedesktop.UDisks2 /org/freedesktop/UDisks2/block_devices/${DISK#/dev/} org.freedesktop.UDisks2.Block Drive | sed 's/.* "\(.*\)"/\1/')
check udisks-eject busctl call org.freedesktop.UDisks2 "$DRIVE" org.freedesktop.UDisks2.Drive Eject 'a{sv}' 0
passes udisks other.tar other

# The script beside a desktop that has mounted the disk.
check both-label wait_for 20 test -b $LINK
check both-mount udisksctl mount --no-user-interaction --block-device $LINK
run grep "$DISK" /proc/mounts
expect_exit both-script 0 sh /guest/copy-update.sh good.tar
slot_holds both-slot bmc b image

# A power-off is no eject: what was copied stays, and nothing is taken.
check power-off-label wait_for 20 test -b $LINK
udisksctl mount --no-user-interaction --block-device $LINK
cp other.tar "$PLACE/FIRMWARE.BIN"
udisksctl unmount --no-user-interaction --block-device "$DISK"
check power-off udisksctl power-off --no-user-interaction --block-device "$DISK"
daemon_says power-off-takes-nothing bmc state=receiving version_b=2.0.0
stop bmc-inbandd
check_kernel_log kernel-log
