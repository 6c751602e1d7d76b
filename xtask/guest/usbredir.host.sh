# What the suite usbredir has beside its guest: a BMC that connects to QEMU, and packages for it.
USB=usbredir
. "${0%/*}/usbredir-bmc.sh"
pack good.tar 2.00
pack next.tar 3.00
pack other.tar 4.00
cp guest/good.tar guest/tampered.tar
printf 'sixteen bytes ..' | dd of=guest/tampered.tar bs=1 seek=150000 conv=notrunc 2>/dev/null
