# Firmware by plain copy, as a FunctionFS gadget on dummy_hcd: the example for shells as it is, cp, mtools, and everything that users do wrong.
# timeout: 600
# clock: instructions
# binaries: inband inbandd example:inbandd/blocks
. /guest/lib.sh
. /guest/bmc.sh
. /guest/bulk.sh
. /guest/disk.sh
. /guest/copy.sh

UPDATE=/guest/copy-update.sh
export MTOOLS_SKIP_CHECK=1
SLOT_SIZE=8388608
image image 262144
image other 262144
image large 4194304
pack good.tar 2.0.0 image --bcd-device 2.00
pack other.tar 2.1.0 other --bcd-device 2.10
pack large.tar 3.0.0 large --bcd-device 3.00
cp good.tar tampered.tar
spoil tampered.tar 150000

# The example.
expect_exit script-help 0 bash $UPDATE --help
expect_exit script-no-package 2 bash $UPDATE
expect_exit script-nothing-to-read 7 bash $UPDATE nothing.tar
expect_exit script-no-disk 3 bash $UPDATE -w 2 good.tar
copy_make
marker ready READY
expect_text ready-size MAX_SIZE=16777216
check ready-fsck fsck.vfat -n "$DISK"
run findfs LABEL=BMCUPDATE
expect_text ready-label "$DISK"
expect_exit script-bad 1 bash $UPDATE tampered.tar
expect_text script-bad-why RESULT=bad-chunk
daemon_says script-bad-daemon bmc result=bad-chunk state=failed boots_next=a
# Busybox's shell; and straight behind: the drive is empty when it comes.
expect_exit script-good 0 busybox sh $UPDATE good.tar
expect_text script-good-version VERSION=2.0.0
daemon_says script-good-daemon bmc result=ok state=staged boots_next=b version_b=2.0.0
slot_holds script-good-slot bmc b image
check script-leaves-no-mount sh -c '! grep vfat /proc/mounts'
# Without eject.
without_eject
expect_exit script-without-eject 0 env PATH=/tmp/tools bash $UPDATE other.tar "$DISK"
expect_text script-without-eject-version VERSION=2.1.0
slot_holds script-without-eject-slot bmc b other
# What it left in the drive goes when the next one comes; and who does not wait hears nothing.
expect_exit script-impatient 10 bash $UPDATE -t 0 good.tar
expect_exit script-after 0 bash $UPDATE good.tar
expect_text script-after-version VERSION=2.0.0
# Broken off in the middle: what was copied is forgotten.
marker script-ready READY
mkfifo pipe
start broken bash $UPDATE pipe
exec 4>pipe
head -c 100000 good.tar >&4
signal broken TERM
exec 4>&-
finish broken
expect_status script-broken-off 14
refused_for script-forgotten aborted
check script-leaves-nothing sh -c '! ls -d /tmp/tmp.*'

# By hand.
mounted
cp good.tar /mnt/FIRMWARE.BIN
check copy-sync sync
ejected copy
marker copy-verdict PASS
check copy-verdict-fsck fsck.vfat -n "$DISK"
expect_exit copy-verdict-is-read-only bad dd if=image of="$DISK" bs=512 count=1 conv=fsync
run blockdev --getro "$DISK"
expect_text copy-verdict-says-so 1
passes copy good.tar image

# Other things beside it, some of them there before, and a name in lower case.
mounted
mkdir -p '/mnt/System Volume Information' /mnt/FIRMWARE
cp image '/mnt/a file with a long name.tar'
cp /guest/*.suite.sh '/mnt/System Volume Information/'
cp other.tar /mnt/firmware.bin
cp image /mnt/FIRMWARE/FIRMWARE.BIN
check beside-sync sync
ejected beside
passes beside other.tar other

mounted
cp good.tar /mnt/FIRMWARE.TMP
sync
mv /mnt/FIRMWARE.TMP /mnt/FIRMWARE.BIN
ejected renamed
passes renamed good.tar image

mounted
cp large.tar /mnt/FIRMWARE.BIN
sync
rm /mnt/FIRMWARE.BIN
cp other.tar /mnt/FIRMWARE.BIN
ejected again
passes again other.tar other

check mtools-copy mcopy -i "$DISK" good.tar ::FIRMWARE.BIN
check mtools-eject eject -s "$DISK"
passes mtools good.tar image

# From the BMC's side.
mounted
cp good.tar /mnt/FIRMWARE.BIN
sync
umount /mnt
check aborted inbandd abort --config /tmp/bmc/inbandd.toml
refused_for abort aborted
daemon_says abort-leaves-what-was-staged bmc boots_next=b version_b=2.0.0
slot_holds abort-slot bmc b image

# Files that say what to do.
mounted
cp good.tar /mnt/FIRMWARE.BIN
sync
: >/mnt/CANCEL.CMD
umount /mnt
refused_for cancel aborted
mounted
: >/mnt/APPLY.CMD
umount /mnt
refused_for apply-without no-file

slots
check formatted-mkfs mkfs.vfat "$DISK"
mounted
cp good.tar /mnt/FIRMWARE.BIN
sync
ejected formatted
refused_for formatted bad-volume reformatted
slots_are_the_same formatted-slots

# An old good file, the beginning of another one over it.
slots
mounted
cp good.tar /mnt/FIRMWARE.BIN
sync
check overwritten dd if=other.tar of=/mnt/FIRMWARE.BIN bs=4096 count=40 conv=notrunc,fsync
ejected overwritten
refused_for overwritten bad-chunk
daemon_says overwritten-boots-what-ran bmc state=failed boots_next=a

# A medium may be taken between the look at it and the mount.
HARMLESS="$HARMLESS\|Can't open blockdev"
check_kernel_log kernel-log

# The BMC takes what is mounted: the host's kernel writes in vain then, and says so.
mounted
cp other.tar /mnt/FIRMWARE.BIN
sync
check committed inbandd commit --config /tmp/bmc/inbandd.toml
umount /mnt
passes commit other.tar other

# Without sync: a host whose directory is on the disk, its data in memory. vfat writes the entry of what is renamed at once with dirsync, and
# the FAT goes with the device's own pages. sg_start does not ask whether it is mounted.
unsynced() {
    mount -t vfat -o dirsync "$DISK" /mnt
    cp large.tar /mnt/FIRMWARE.TMP
    mv /mnt/FIRMWARE.TMP /mnt/FIRMWARE.BIN
    [ "$2" != fat ] || sync "$DISK"
    sg_prevent --allow "$SG"
    check "$1-eject" sg_start --eject "$SG"
    umount /mnt
    refused_for "$1" incomplete blocks
    slots_are_the_same "$1-slots"
}
slots
unsynced unsynced-all none
unsynced unsynced-data fat
expect_exit unsynced-next 0 bash $UPDATE large.tar
slot_holds unsynced-next-slot bmc b large

# More than there is memory for: the host is told, the session goes on, and is ended by whoever began it.
marker full-ready READY
head -c 27262976 /dev/zero >full
slots
mounted
: >/mnt/FIRMWARE.BIN
sync
cp full /mnt/FIRMWARE.BIN
expect_exit full bad sync /mnt/FIRMWARE.BIN
daemon_says full-session bmc state=receiving
umount /mnt
check full-eject eject -s "$DISK"
refused_for full too-large
slots_are_the_same full-slots
expect_exit full-script 7 bash $UPDATE full
expect_text full-script-why 'No space left'
refused_for full-script aborted
rm full

expect_exit after-all 0 bash $UPDATE good.tar
slot_holds after-all-slot bmc b image

# Nothing may begin.
marker busy-ready READY
sed -i 's/^refusals = 0/refusals = 1/' /tmp/bmc/inbandd.toml
daemon_restart bmc
disk_is ours
expect_exit busy-refused 1 bash $UPDATE tampered.tar
marker busy BUSY
expect_text busy-why RESULT=locked-out
check busy-fsck fsck.vfat -n "$DISK"
expect_exit busy-script 9 bash $UPDATE good.tar
expect_text busy-script-why RESULT=locked-out

stop bmc-inbandd
expect_status daemon-ends 0
