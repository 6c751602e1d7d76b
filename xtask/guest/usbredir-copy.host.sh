# What the suite usbredir-copy has beside its guest: a BMC with a disk to copy to, whose firmware is on trial until there is a file `healthy`; the example
# scripts, and packages for both.
USB=usbredir
. "${0%/*}/usbredir-bmc.sh"
EXAMPLES=${0%/*}/../../examples
sed -i 's/^usb = .*/&\ncontrol = "control"/; s/^dfu_product_id.*/&\nvolume_product_id = 0x0003/; s/^serial.*/serial = "0123456789ABCDEF"/; s/^slot_size.*/&\nmax_package = 33554432/' inbandd.toml
cat >>inbandd.toml <<END

[doors]
volume.policy = "always"

[trial]
health = ["/usr/bin/test", "-e", "$PWD/healthy"]
retry_s = 1
END

mkdir uefi
cp "$EXAMPLES/copy-update.nsh" uefi
pack small.tar 2.00 300000
pack large.tar 3.00
pack next.tar 4.00 300000
mv guest/small.tar guest/large.tar uefi
cp uefi/small.tar uefi/tampered.tar
printf 'sixteen bytes ..' | dd of=uefi/tampered.tar bs=1 seek=150000 conv=notrunc 2>/dev/null
inband keygen --out strange
mv release.key known.key
mv strange.key release.key
pack strange.tar 5.00 300000
mv known.key release.key
