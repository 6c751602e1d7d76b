# The same on Debian bookworm's own kernel, which takes no DFU functional descriptor.
# timeout: 420
# kernel: 6.1
# binaries: example:inband/gadget-conformance
. /guest/gadget-conformance.suite.sh
