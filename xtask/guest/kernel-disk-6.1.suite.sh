# The same on Debian bookworm's own kernel.
# timeout: 600
# clock: instructions
# kernel: 6.1
# binaries: example:inband/kernel-disk example:inbandd/disk
. /guest/kernel-disk.suite.sh
