# A disk over usbredir, and QEMU's own on the same controller: 32 MiB copied by the UEFI shell, then written and read by Linux in commands of 64 and 120 KiB.
# timeout: 1800
# binaries: example:inbandd/disk
# beside: disk-usbredir.host.sh
# runs: disk usbredir:usbredir.sock 200
# machine: -drive if=none,id=qemu,format=raw,file=b.img -device usb-storage,drive=qemu,removable=on
# uefi: disk-usbredir.nsh
. /guest/lib.sh
. /guest/disk.sh

ROUNDS=$(sed -n 's/.*inband\.rounds=\([0-9]*\).*/\1/p' /proc/cmdline)

# tell NAME: our disk says how long it took since it told last, whichever disk it was.
tell() {
    order say tell "$1"
}

# measured WHAT COMMAND...
measured() {
    local what=$1
    shift
    tell between
    check "$what-$round" "$@"
    tell "$what"
}

modprobe xhci_pci && modprobe usb_storage && modprobe sd_mod && modprobe sg || die "no modules"
disk_is ours
for THEIRS in /dev/sda /dev/sdb; do [ $THEIRS = "$DISK" ] || break; done
wait_for 20 [ -e $THEIRS ] || die "no disk of QEMU's"
head -c 33554432 /dev/urandom >random

round=1
while [ "$round" -le "$ROUNDS" ]; do
    for size in 64 120; do
        for disk in "ours $DISK" "theirs $THEIRS"; do
            measured "write-$size-${disk% *}" dd if=random of="${disk#* }" oflag=direct bs="${size}k"
            measured "read-$size-${disk% *}" dd if="${disk#* }" of=read iflag=direct bs="${size}k" count=$((32768 / size))
        done
    done
    round=$((round + 1))
done
