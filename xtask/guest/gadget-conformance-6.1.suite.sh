# The same on Debian bookworm's own kernel, which takes no DFU functional descriptor.
# timeout: 1200
# clock: instructions
# kernel: 6.1
# binaries: example:inband/gadget-conformance
. /guest/gadget-conformance.suite.sh
