# The kernel backend of `inband` passes the suite of all backends, its device being one of the USB/IP server's.
# timeout: 420
# binaries: example:inband/conformance
. /guest/lib.sh

run conformance
program=$STATUS
grep '^ok \|^failed ' "$OUT" >/tmp/scenarios
while read -r result name reason; do
    case $result in
    ok) ok "$name" ;;
    failed) fail "$name" "$reason" ;;
    esac
done </tmp/scenarios
STATUS=$program
expect_status conformance-ends 0

check_kernel_log kernel-log
