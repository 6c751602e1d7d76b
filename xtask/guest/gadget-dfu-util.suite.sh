# Stock dfu-util and the BMC as a FunctionFS gadget on dummy_hcd: every way to name it and to send it firmware; two at once.
# timeout: 420
# binaries: inband inbandd
. /guest/lib.sh
. /guest/bmc.sh
. /guest/dfu-util.sh

modprobe dummy_hcd num=2 && modprobe libcomposite || die "no dummy_hcd"
image image 262144
pack good.tar 2.0.0 image --bcd-device 2.00 --dfu-suffix "$VENDOR:$RUNTIME_ID"
pack plain.tar 2.0.1 image --bcd-device 2.01
pack next.tar 3.0.0 image --bcd-device 3.00
cp plain.tar tampered.tar
spoil tampered.tar 150000
bmc_make bmc gadget BMC-1
gadget_option bmc 'udc = "dummy_udc.0"'
bmc_start bmc
bmc_attach bmc
place=$(place_of BMC-1)

lists_both_modes "$place"
takes runtime -D good.tar
status_is runtime-status result=ok state=staged mode=dfu running=a boots_next=b a=good:factory b=staged:2.0.0
bmc_restart bmc
status_is started running=b on_trial=false a=good:factory b=good:2.0.0
refuses tampered -D tampered.tar
status_is tampered-status result=bad-chunk state=failed mode=dfu running=b boots_next=b b=good:2.0.0
names_in_every_way "$place"
waits_for_it

# Two at once, on two controllers.
bmc_make two gadget BMC-2
gadget_option two 'udc = "dummy_udc.1"'
gadget_option two 'name = "two"'
bmc_start two
mode runtime BMC-2
expect_exit two-are-too-many 74 dfu-util -D good.tar
start first dfu-util -S BMC-1 -D plain.tar
start second dfu-util -S BMC-2 -D plain.tar
finish first
is_done first-of-two
finish second
is_done second-of-two
run inband --device BMC-1 status --json
expect_text first-of-two-status '"result":"ok"'
run inband --device BMC-2 status --json
expect_text second-of-two-status '"result":"ok"'

check_kernel_log kernel-log
