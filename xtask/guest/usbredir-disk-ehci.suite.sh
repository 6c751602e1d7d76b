# The same on EHCI, whose driver splits transfers.
# timeout: 300
# binaries: example:inbandd/disk
# beside: usbredir-disk.host.sh
# runs: disk usbredir:usbredir.sock 64
# controller: usb-ehci
. /guest/lib.sh
CONTROLLER=ehci_pci
. /guest/usbredir-disk.sh
