# The same on Debian bookworm's own kernel.
# timeout: 1200
# clock: instructions
# kernel: 6.1
# binaries: inband inbandd example:inband/asking
. /guest/gadget-bulk.suite.sh
