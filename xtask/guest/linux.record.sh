# What Linux and mtools write when a package is copied onto the volume, each way on a disk of its own.
# timeout: 900
# binaries: example:inband-volume/trace
# beside: record.host.sh
# drives: linux linux-flush linux-rename linux-again linux-apply linux-nosync mtools mtools-again mtools-rename
. /guest/lib.sh
. /guest/disk.sh
. /guest/record.sh

modprobe xhci_pci && modprobe usb_storage && modprobe sd_mod && modprobe sg && modprobe vfat || die "no modules"
mkdir -p /mnt
cp "/guest/$SUITE"/fw? /tmp

HOST="Linux $(uname -r), vfat"
recorded linux 'mount -t vfat -o iocharset=utf8 $DISK /mnt; cp fw1 /mnt/FIRMWARE.BIN; sync; umount /mnt'
recorded linux-flush 'mount -t vfat -o iocharset=utf8,flush $DISK /mnt; cp fw1 /mnt/firmware.bin; umount /mnt'
recorded linux-rename 'mount -t vfat -o iocharset=utf8 $DISK /mnt; cp fw1 /mnt/firmware.tmp; sync; mv /mnt/firmware.tmp /mnt/FIRMWARE.BIN;
    mkdir /mnt/System\ Volume\ Information; echo a >/mnt/System\ Volume\ Information/WPSettings.dat; sync; umount /mnt'
recorded linux-again 'mount -t vfat -o iocharset=utf8 $DISK /mnt; cp fw1 /mnt/FIRMWARE.BIN; sync; cp fw2 /mnt/FIRMWARE.BIN; sync; umount /mnt'
recorded linux-apply 'mount -t vfat -o iocharset=utf8 $DISK /mnt; cp fw2 /mnt/FIRMWARE.BIN; sync; : >/mnt/APPLY.CMD; sync; umount /mnt'
# What the kernel writes by itself, which takes it half a minute.
recorded linux-nosync 'mount -t vfat -o iocharset=utf8 $DISK /mnt; cp fw1 /mnt/FIRMWARE.BIN; sleep 45'

HOST="Linux $(uname -r), $(mcopy --version | head -n 1)"
recorded mtools 'mcopy -i $DISK fw1 ::FIRMWARE.BIN'
recorded mtools-again 'mcopy -i $DISK fw1 ::FIRMWARE.BIN; sync; mcopy -o -i $DISK fw2 ::FIRMWARE.BIN'
recorded mtools-rename 'mcopy -i $DISK fw1 ::FIRMWARE.TMP; mren -i $DISK ::FIRMWARE.TMP ::FIRMWARE.BIN'
