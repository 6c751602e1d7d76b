# What the measurement disk-usbredir has: a volume with room for five copies of the 32 MiB, and the same for a disk of QEMU's.
mkdir uefi
for name in a b; do
    mkfs.vfat -C $name.img 200000 >mkfs.log
    echo "This is $name." >uefi/$name.txt
    mcopy -i $name.img uefi/$name.txt ::
done
head -c 33554432 /dev/urandom >uefi/payload
