# The USB disk over FunctionFS on Debian bookworm's own kernel: libiscsi's tests, every block, and a FAT file system.
# timeout: 600
# clock: instructions
# kernel: 6.1
# binaries: example:inbandd/disk example:inbandd/blocks
. /guest/lib.sh
. /guest/disk.sh

disk_start 64
linux_tests ours
expect_status conformance-ends 0
linux_tests_pass conformance ours
blocks_survive
files_survive fat
disk_stop
check_kernel_log kernel-log
