# What the suite usbredir-uefi has: two volumes, a and b, each with a file that says which it is; 32 MiB to copy, and for the guest its sum.
mkdir uefi
for name in a b; do
    mkfs.vfat -C -n "$name" "$name.img" 90000 >mkfs.log
    echo "This is $name." >"uefi/$name.txt"
    mcopy -i "$name.img" "uefi/$name.txt" ::
done
head -c 33554432 /dev/urandom >uefi/payload
(cd uefi && md5sum payload a.txt) >guest/sums
