# The same on Debian bookworm's own kernel.
# timeout: 300
# clock: instructions
# kernel: 6.1
# binaries: inband inbandd
. /guest/gadget-lent.suite.sh
