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
if [ "$(count ran ours)" -gt 0 ] && [ "$(count failed ours)" = 0 ] && [ "$(count asserts_failed ours)" = 0 ]; then
    ok conformance
else
    fail conformance "$(cat /tmp/tests-ours)"
fi
check blocks-written blocks write "$DISK" 1
check blocks-read-in-no-order blocks read "$DISK" 1 random
files_survive fat
disk_stop
check_kernel_log kernel-log
