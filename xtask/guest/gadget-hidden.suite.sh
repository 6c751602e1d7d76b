# A gadget that no host sees while its doors are shut: armed, updated by dfu-util, and gone again.
# timeout: 600
# clock: instructions
# binaries: inband inbandd
. /guest/lib.sh
. /guest/bmc.sh

CONFIG=/tmp/bmc/inbandd.toml

image image 16384
pack good.tar 2.0.0 image --bcd-device 2.00
bmc_make bmc gadget BMC-1
cat >>$CONFIG <<END

[doors]
while_shut = "nothing"
dfu.policy = "armed"
bulk.policy = "armed"
END
bmc_start bmc
daemon_says hidden bmc hidden=true door_dfu=shut
check nothing-is-there in_mode none

check arm inbandd arm dfu --config $CONFIG
mode runtime BMC-1
daemon_says there bmc hidden=false door_dfu=armed
check disarm inbandd disarm dfu --config $CONFIG
mode none

check arm-for-an-update inbandd arm dfu --config $CONFIG
mode runtime BMC-1
check update dfu-util -D good.tar
mode none
daemon_says staged bmc hidden=true door_dfu=shut state=staged result=ok

# One that dies while its device is there is not seen behind that.
check arm-before-a-death inbandd arm dfu --config $CONFIG
mode runtime BMC-1
stop bmc-inbandd KILL
mode none
bmc_start bmc
daemon_says behind-a-death bmc hidden=true door_dfu=shut
check nothing-is-there-behind-a-death in_mode none
stop bmc-inbandd
expect_status stops 0
check_kernel_log kernel-log
