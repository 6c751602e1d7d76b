# What the suite ipmi-bt has beside its guest: a BMC whose doors are all shut, and packages; the first is for the UEFI shell.
. "${0%/*}/ipmi-bmc.sh"
trial_waits
mkdir uefi
cp "${0%/*}/../../examples/copy-update.nsh" uefi
for version in 2.00 3.00 4.00; do
    pack $version.tar $version 300000
done
cp guest/2.00.tar uefi
