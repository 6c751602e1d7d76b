# The same on Debian bookworm's own kernel.
# timeout: 1200
# clock: instructions
# kernel: 6.1
# binaries: example:inband/gadget-life
. /guest/gadget-life.suite.sh
