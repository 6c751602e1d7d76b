# The FunctionFS gadget passes the suite of all backends, over dummy_hcd and this kernel's own USB.
# timeout: 420
# binaries: example:inband/gadget-conformance
. /guest/lib.sh

modprobe dummy_hcd || die "no dummy_hcd"
modprobe libcomposite || die "no libcomposite"

run gadget-conformance
program=$STATUS
grep '^ok \|^failed ' "$OUT" >/tmp/scenarios
while read -r result name reason; do
    case $result in
    ok) ok "$name" ;;
    failed) fail "$name" "$reason" ;;
    esac
done </tmp/scenarios
STATUS=$program
expect_status gadget-conformance-ends 0

run ls /sys/kernel/config/usb_gadget
expect_no_text nothing-stays-in-configfs inband
check_kernel_log kernel-log
