# The BMC as a gadget on Linux 6.1, whose FunctionFS takes no DFU functional descriptor: what works by itself, and what has to be said.
# timeout: 1800
# clock: instructions
# binaries: inband inbandd example:inband/hostile example:inband/as-windows
# kernel: 6.1
. /guest/lib.sh
. /guest/bmc.sh
. /guest/dfu-util.sh

image image 262144
pack good.tar 2.0.0 image --bcd-device 2.00
pack next.tar 3.0.0 image --bcd-device 3.00
image small 16384
pack small.tar 4.0.0 small
bmc_make bmc gadget BMC-1
unlimited bmc
bmc_start bmc
bmc_attach bmc
run grep -F 'functional descriptor' bmc-inbandd.log
expect_text the-log-says-what-is-missing 'DFU functional descriptor refused'

# Of Microsoft's descriptors it takes an older form, and the host is told the same.
check as-windows as-windows 1.0

# Our own host tool needs nothing said.
check inband-list inband list
expect_text inband-list-shows-it 'BMC-1'
check inband-update inband update good.tar
status_is inband-update-status result=ok state=staged mode=run-time running=a boots_next=b b=staged:2.0.0
bmc_restart bmc
status_is started running=b b=good:2.0.0

# dfu-util takes it for a device of DFU 1.0 that a bus reset has to follow DETACH for. The transfer size it has to be told.
check list dfu-util -l
expect_text list-shows-the-runtime-device "Found Runtime: [$VENDOR:$RUNTIME_ID] ver=0200"
takes runtime -t 4096 -D next.tar
status_is runtime-status result=ok state=staged running=b boots_next=a a=staged:3.0.0
mode runtime
check detach dfu-util -e
mode dfu
expect_exit without-transfer-size 64 dfu-util -D next.tar
takes with-transfer-size -t 4096 -D next.tar
status_is with-transfer-size-status result=ok state=staged running=b boots_next=a a=staged:3.0.0
enter_dfu
takes dfu-mode -t 4096 -D - <good.tar
mode runtime

bmc_mark bmc
# What is the kernel's in an attack.
scenarios hostile-ends hostile --package small.tar cve-2022-2347-oversize-download embassy-long-getstatus checkm8-cut-data-stage usbliter8-setup-storm \
    uboot-script-one-alternate-setting cve-2021-3625-set-address-as-in cve-2018-6242-long-get-status cve-2021-39685-oversize-requests \
    set-interface-mid-download unconfigured-mid-download answers-cut-short random-storm bus-reset-in-dfu-idle bus-reset-in-dnload-idle \
    bus-reset-in-manifest bus-reset-in-data-stage bus-reset-storm
scenarios loops-end hostile --package good.tar --rounds 10 --udc dummy_udc.0
bmc_has_not_grown no-leak bmc
check_kernel_log kernel-log
