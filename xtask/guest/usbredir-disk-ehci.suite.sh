# The same on EHCI, where QEMU takes milliseconds for a transfer: of the conformance tests only two that move data.
# timeout: 600
# binaries: example:inbandd/disk
# beside: usbredir-disk.host.sh
# runs: disk usbredir:usbredir.sock 64
# controller: usb-ehci
. /guest/lib.sh
CONTROLLER=ehci_pci
TESTS='LINUX.Read10.Simple LINUX.Write10.Simple'
. /guest/usbredir-disk.sh
