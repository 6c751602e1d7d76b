# What the suite usbredir-listen has beside its guest: a BMC that QEMU connects to, and a package for it.
USB=usbredir-listen
. "${0%/*}/usbredir-bmc.sh"
pack good.tar 2.00
