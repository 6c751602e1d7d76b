# What recordings begin with: the volume as it is before anybody writes, and two packages, for the guest and for the UEFI shell.
mkdir uefi
trace image volume.img
trace packages guest
cp guest/fw1 guest/fw2 uefi
# The firmware tells no version of its own.
dpkg-query --show --showformat '${Version}' ovmf >guest/ovmf || echo unknown >guest/ovmf
