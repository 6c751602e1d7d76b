# What the suite ipmi-reset has beside its guest: a BMC whose slots are large, so that it takes a moment to verify one, and packages for it.
SLOT_SIZE=134217728
. "${0%/*}/ipmi-bmc.sh"
trial_waits
pack firmware.tar 2.00
pack next.tar 3.00 300000
