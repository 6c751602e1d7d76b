# `inband update --door volume`: the host tool at the disk beside the run-time DFU interface, on dummy_hcd.
# timeout: 1800
# clock: instructions
# binaries: inband inbandd
. /guest/lib.sh
. /guest/bmc.sh
. /guest/disk.sh
. /guest/volume.sh

# Of the host: a disk that is ejected, or leaves the bus, in its hands.
HARMLESS="$HARMLESS\|error, dev sd\|error on dev sd\|FAT-fs (sd"

by_disk() {
    inband update --door volume "$@"
}

SLOT_SIZE=33554432
image image 262144
image large 30000000
pack good.tar 2.0.0 image --bcd-device 2.00
pack next.tar 2.1.0 image --bcd-device 2.10
pack large.tar 3.0.0 large --bcd-device 3.00
inband keygen --out /tmp/stranger
pack forged.tar 2.0.0 image --key /tmp/stranger.key
pack foreign.tar 2.0.0 image --machine other-board
cp good.tar tampered.tar
spoil tampered.tar 150000

bmc_make bmc gadget $SERIAL
sed -i 's/^dfu_product_id.*/&\nvolume_product_id = 0x0003/; s/^slot_size.*/&\nmax_package = 41943040/' /tmp/bmc/inbandd.toml
unlimited bmc
cp /tmp/bmc/inbandd.toml /tmp/bmc/without.toml
printf '\n[doors]\nvolume = { policy = "always", profile = "raw" }\n' >>/tmp/bmc/inbandd.toml
disk_modules

# A BMC that has no such door.
cp /tmp/bmc/inbandd.toml /tmp/bmc/with.toml
cp /tmp/bmc/without.toml /tmp/bmc/inbandd.toml
bmc_start bmc
mode runtime
expect_exit shut 8 by_disk good.tar
expect_text shut-why 'the door volume is not open: the BMC shows no disk'
stop bmc-inbandd
mode none
# One whose disk has a filesystem.
sed 's/"raw"/"fat"/' /tmp/bmc/with.toml >/tmp/bmc/inbandd.toml
bmc_start bmc
RUNTIME_ID=0003
mode runtime $SERIAL
disk_is ours
expect_exit fat 8 by_disk good.tar
expect_text fat-what-to-do 'mount it, copy the package to FIRMWARE.BIN'
check fat-is-no-choice inband update good.tar --dry-run
stop bmc-inbandd
mode none
cp /tmp/bmc/with.toml /tmp/bmc/inbandd.toml
expect_exit usbip 2 inband --usbip 127.0.0.1 update --door volume good.tar
expect_exit nothing-there 3 by_disk good.tar

bmc_start bmc
mode runtime $SERIAL
disk_is ours

# What can be known is known before anything is written.
check dry-run by_disk --dry-run good.tar
expect_text dry-run-says "to $DISK and eject it"
for package in tampered foreign; do
    expect_exit $package 6 by_disk $package.tar
done
status_is nothing-was-sent session=0 mode=run-time b=empty:
medium untouched READY

check update by_disk good.tar
expect_text update-takes-the-disk 'door:    volume, as --door says'
expect_text update-staged 'staged: version 2.0.0 in slot b'
status_is update-status result=ok state=staged door=volume running=a boots_next=b b=staged:2.0.0
expect_exit forged 6 by_disk forged.tar --allow-same
expect_text forged-why unknown-key
status_is forged-status result=unknown-key state=failed door=volume
check after-a-refusal by_disk --json next.tar
expect_text after-a-refusal-staged '"event":"staged","slot":"b","version":"2.1.0"'
slot_is_ours() {
    cmp -n 262144 /tmp/bmc/store/slot-b.img image
}
check slot-holds-it slot_is_ours

# The fastest door is the fastest still.
check fastest inband update good.tar
expect_text fastest-is-bulk 'door:    bulk, the fastest that is open'
mode runtime $SERIAL
disk_is ours

# Somebody has left what tells of the end of their copy.
copies theirs next.tar
medium theirs PASS
check behind-theirs by_disk good.tar
expect_text theirs-was-ejected 'the disk told of an earlier session (ok), and was ejected'
expect_text behind-theirs-staged 'staged: version 2.0.0 in slot b'

# In use: mounted, held by one who takes it alone, open in one who does not.
medium before-mkfs READY
check mkfs mkfs.vfat -I "$DISK"
mkdir -p /mnt
check mount mount -t vfat "$DISK" /mnt
expect_exit mounted 12 by_disk good.tar
expect_text mounted-where 'it is mounted at /mnt'
check umount umount /mnt
start holder sh -c "exec 3<$DISK; exec sleep 1000"
expect_exit held 12 by_disk good.tar
expect_text held-by-whom "is held by \`sleep\` (process $(cat /tmp/holder.pid))"
stop holder
# What somebody has written before, and not ejected, is written over.
check written-over by_disk good.tar
expect_text written-over-staged 'staged: version 2.0.0 in slot b'

expect_exit no-permission 5 su operator -c 'inband update --door volume good.tar'

# The end in the middle: by the user, by nobody's leave, by the BMC.
in_the_middle --door volume --allow-same
signal tool INT
goes_on
expect_status cancelled 14
status_is cancelled-status result=incomplete state=failed boots_next=a
medium cancelled-ready READY
in_the_middle --door volume --allow-same
signal tool KILL
finish tool
check after-a-kill by_disk good.tar
in_the_middle --door volume --allow-same
check abort inbandd abort --config /tmp/bmc/inbandd.toml
goes_on
expect_status aborted 14
expect_text aborted-why '"result":"aborted"'
check after-an-abort by_disk next.tar
in_the_middle --door volume --allow-same
stop bmc-inbandd KILL
goes_on
expect_status lost 10
expect_text lost-is-told '"error":"not-back"'
bmc_start bmc
mode runtime $SERIAL
disk_is ours
in_the_middle --door volume --allow-same
daemon_restart bmc KILL
goes_on
expect_status restarted 10
disk_is ours
check after-a-restart by_disk large.tar
status_is large-status result=ok state=staged b=staged:3.0.0

# On trial nothing may be written, and the disk says so.
sed -i '$a [trial]\nhealth = ["/usr/bin/test", "-e", "/tmp/bmc/healthy"]\nretry_s = 1' /tmp/bmc/inbandd.toml
bmc_restart bmc
mode runtime $SERIAL
disk_is ours
medium on-trial REFUSED
expect_exit refused 9 by_disk good.tar
expect_text refused-why on-trial
touch /tmp/bmc/healthy
medium confirmed READY

stop bmc-inbandd
expect_status daemon-ends 0
mode none
# Waited for until it runs.
sed -i 's/^when = .*/when = "immediate"/' /tmp/bmc/inbandd.toml
new_boot bmc
start machine sh -c 'while :; do inbandd --config /tmp/bmc/inbandd.toml >>/tmp/bmc-inbandd.log 2>&1 & echo $! >/tmp/bmc-inbandd.pid; wait $!; done'
mode runtime $SERIAL
disk_is ours
check wait by_disk next.tar --wait=60
expect_text wait-runs 'running: version 2.1.0 from slot'
check_kernel_log kernel-log
