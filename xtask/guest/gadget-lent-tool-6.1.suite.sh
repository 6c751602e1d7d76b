# The suite gadget-lent-tool on Linux 6.1, whose disks are ejected by other code.
# timeout: 1800
# clock: instructions
# binaries: inband inbandd
# kernel: 6.1
. /guest/gadget-lent-tool.suite.sh
