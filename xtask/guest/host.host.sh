# What the guest of `cargo xtask vm host` has beside it: a BMC whose doors are shut, and packages for it.
. "${0%/*}/ipmi-bmc.sh"
pack firmware.tar 2.00
pack next.tar 3.00
