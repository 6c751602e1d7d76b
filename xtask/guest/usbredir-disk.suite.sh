# A disk as a USB device of a QEMU guest, by usbredir, on xHCI: conformance, sg3-utils, every block, a file system, twenty re-insertions, either side killed in the middle of a write.
# timeout: 600
# binaries: example:inbandd/disk example:inbandd/blocks
# beside: usbredir-disk.host.sh
# runs: disk usbredir:usbredir.sock 64
. /guest/lib.sh
CONTROLLER=xhci_pci
TESTS='LINUX.*'
. /guest/usbredir-disk.sh
