# A disk over usbredir: 32 MiB copied by the UEFI shell, then written and read by Linux in commands of 64 and 120 KiB.
# timeout: 1800
# binaries: example:inbandd/disk
# beside: disk-usbredir.host.sh
# runs: disk usbredir:usbredir.sock 200
# uefi: disk-usbredir.nsh
. /guest/lib.sh
. /guest/disk.sh

ROUNDS=$(sed -n 's/.*inband\.rounds=\([0-9]*\).*/\1/p' /proc/cmdline)

# The disk counts, and tells of what it counted since it told last. It looks for orders as often as this.
tell() {
    sleep 0.2
    echo "HOST say tell $1" >/dev/ttyS1
    sleep 0.2
}

modprobe xhci_pci && modprobe usb_storage && modprobe sd_mod && modprobe sg || die "no modules"
wait_for_disk
head -c 33554432 /dev/urandom >random

round=1
while [ "$round" -le "$ROUNDS" ]; do
    for size in 64 120; do
        tell linux-between
        check "write-$size-$round" dd if=random of="$DISK" oflag=direct bs="${size}k"
        tell "linux-write-$size"
        check "read-$size-$round" dd if="$DISK" of=read iflag=direct bs="${size}k" count=$((32768 / size))
        tell "linux-read-$size"
    done
    round=$((round + 1))
done
