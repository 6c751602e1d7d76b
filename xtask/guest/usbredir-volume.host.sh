# What the suite usbredir-volume has beside its guest: the BMC and the packages of the suite usbredir, and the BMC has a disk.
. "$(dirname "$0")/usbredir.host.sh"
sed -i 's/^usb = .*/&\ncontrol = "control"/; s/^dfu_product_id.*/&\nvolume_product_id = 0x0003/; s/^serial.*/serial = "0123456789ABCDEF"/; s/^slot_size.*/&\nmax_package = 33554432/' inbandd.toml
printf '\n[doors]\nvolume = { policy = "always", profile = "raw" }\n' >>inbandd.toml
