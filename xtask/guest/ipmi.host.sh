# What the suite ipmi has beside its guest: the BMC of the examples in docs/spec/ipmi.md, and packages for it. Its slots are large, so that it takes a moment to verify one.
SLOT_SIZE=134217728
. "${0%/*}/ipmi-bmc.sh"
trial_waits
pack firmware.tar 2.00
pack next.tar 3.00 300000
inband keygen --out other
pack forged.tar 4.00 300000 other
cp "${0%/*}/../../docs/spec/ipmi.md" guest
