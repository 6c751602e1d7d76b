# A disk in the UEFI shell and then in Linux, on the same machine by usbredir: 32 MiB copied and compared, twenty re-insertions.
# timeout: 600
# binaries: example:inbandd/disk
# beside: usbredir-uefi.host.sh
# runs: disk usbredir:usbredir.sock 96
# uefi: usbredir-uefi.nsh
. /guest/lib.sh
. /guest/disk.sh

modprobe xhci_pci && modprobe usb_storage && modprobe sd_mod && modprobe sg || die "no modules"
disk_is ours

check fsck-of-what-uefi-wrote fsck.vfat -n "$DISK"
mkdir -p /mnt
check mount mount -t vfat "$DISK" /mnt
cd /mnt || exit
check what-uefi-copied md5sum -c "/guest/$SUITE/sums"
check what-linux-copies cp payload copied
cd /
umount /mnt
check fsck-of-what-linux-wrote fsck.vfat -n "$DISK"
mount -t vfat -o ro "$DISK" /mnt
check what-linux-copied cmp /mnt/payload /mnt/copied
umount /mnt
check_kernel_log kernel-log
