# The bulk door of the BMC as a FunctionFS gadget on dummy_hcd, by the host tool over the kernel's USB.
# timeout: 420
# binaries: inband inbandd
. /guest/lib.sh
. /guest/bmc.sh

modprobe dummy_hcd || die "no dummy_hcd"
modprobe libcomposite || die "no libcomposite"
image image 1048576
pack good.tar 2.0.0 image --bcd-device 2.00
pack same.tar 2.0.1 image --bcd-device 2.01
bmc_make bmc gadget BMC-1
bmc_start bmc
bmc_attach bmc
mode runtime BMC-1

expect_exit full 0 inband update --door bulk good.tar
status_is full-status result=ok state=staged running=a boots_next=b a=good:factory b=staged:2.0.0
bmc_restart bmc
mode runtime BMC-1
status_is started running=b b=good:2.0.0
expect_exit same 0 inband update --door bulk same.tar
status_is same-status result=ok state=staged running=b boots_next=a a=staged:2.0.1
expect_exit by-dfu 0 inband update --door dfu good.tar --allow-same
status_is by-dfu-status result=ok state=staged a=staged:2.0.0

check_kernel_log kernel-log
