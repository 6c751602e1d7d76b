# What the measurement disk-usbredir has: a volume with room for five copies of the 32 MiB.
mkdir uefi
mkfs.vfat -C a.img 200000 >mkfs.log
echo 'This is a.' >uefi/a.txt
mcopy -i a.img uefi/a.txt ::
head -c 33554432 /dev/urandom >uefi/payload
