# Firmware by plain copy on Debian bookworm's own kernel: the example, with eject and without.
# timeout: 300
# clock: instructions
# kernel: 6.1
# binaries: inband inbandd
. /guest/lib.sh
. /guest/bmc.sh
. /guest/bulk.sh
. /guest/disk.sh
. /guest/copy.sh

SLOT_SIZE=8388608
image image 262144
pack good.tar 2.0.0 image --bcd-device 2.00
cp good.tar tampered.tar
spoil tampered.tar 150000
copy_make
expect_exit bad 1 bash /guest/copy-update.sh tampered.tar
expect_text bad-why RESULT=bad-chunk
without_eject
expect_exit good 0 env PATH=/tmp/tools sh /guest/copy-update.sh good.tar
slot_holds good-slot bmc b image
check good-fsck fsck.vfat -n "$DISK"
check_kernel_log kernel-log
