# The disk beside the run-time DFU interface, as a FunctionFS gadget on dummy_hcd: a host updates the BMC by dd and eject, and by stock dfu-util all the same.
# timeout: 420
# clock: instructions
# binaries: inband inbandd
. /guest/lib.sh
. /guest/bmc.sh
. /guest/bulk.sh
. /guest/crowd.sh
. /guest/disk.sh
. /guest/volume.sh

SLOT_SIZE=8388608
image image 262144
image large 8388608
pack good.tar 2.0.0 image --bcd-device 2.00
pack dfu.tar 2.1.0 image --bcd-device 2.10
pack large.tar 3.0.0 large --bcd-device 3.00
cp good.tar tampered.tar
spoil tampered.tar 150000

bmc_make bmc gadget $SERIAL
sed -i 's/^dfu_product_id.*/&\nvolume_product_id = 0x0003/; s/^slot_size.*/&\nmax_package = 16777216/' /tmp/bmc/inbandd.toml
printf '\n[doors]\nvolume = { policy = "always", profile = "raw" }\n' >>/tmp/bmc/inbandd.toml
check check inbandd check --config /tmp/bmc/inbandd.toml
expect_text check-says-what-is-not-known 'volume always (raw) if the controller has two bulk endpoints left'

disk_modules
bmc_start bmc
RUNTIME_ID=0003
mode runtime $SERIAL
disk_is ours
medium ready READY

copies good good.tar
medium good PASS
expect_text good-version VERSION=2.0.0
status_is good-status result=ok state=staged mode=run-time running=a boots_next=b b=staged:2.0.0
check next-eject eject -s "$DISK"
medium next READY
copies tampered tampered.tar
medium tampered FAIL
expect_text tampered-why RESULT=bad-chunk
status_is tampered-status result=bad-chunk state=failed running=a boots_next=a

# Beside it, as ever: DETACH takes the disk away, and the end of DFU mode brings it back.
check dfu-util dfu-util -D dfu.tar
mode runtime $SERIAL
status_is dfu-util-status result=ok state=staged mode=run-time running=a boots_next=b b=staged:2.1.0
disk_is ours
medium back READY

# While one copies, nobody else comes in.
check begun dd if=large.tar of="$DISK" bs=64k count=4 conv=fsync
# It says that it worked, whatever it was answered.
run dfu-util -e
expect_exit begun-update 9 inband update good.tar --allow-same
status_is begun-status state=receiving mode=run-time
check begun-abort inbandd abort --config /tmp/bmc/inbandd.toml
medium aborted FAIL
check aborted-eject eject -s "$DISK"
medium again READY

copies large large.tar
medium large PASS
status_is large-status result=ok state=staged running=a boots_next=b b=staged:3.0.0
slot_holds large-slot bmc b large
daemon_says large-daemon bmc state=staged door_volume=open
answers_are_fast answered-at-once 100 disk_commands slowest_disk_answer_us

# Others have the controller's endpoints when the device is to come back: DFU alone, under the other product id.
check crowded-enter dfu-util -e
mode dfu
crowd 1
run dfu-util -e
RUNTIME_ID=0001
mode runtime $SERIAL
daemon_says crowded-daemon bmc door_dfu=armed door_volume=shut
check crowded-dfu-util dfu-util -D good.tar
mode runtime $SERIAL
status_is crowded-status result=ok state=staged b=staged:2.0.0
expect_told_once crowded-is-told-once volume-unavailable
run grep event=volume-unavailable /tmp/bmc-inbandd.log
expect_text crowded-is-told-why 'its endpoints do not suffice'
# They are free again: whoever wants it has it tried.
uncrowd 1
check uncrowded inbandd arm volume --config /tmp/bmc/inbandd.toml
RUNTIME_ID=0003
mode runtime $SERIAL
disk_is ours
medium uncrowded-ready READY
expect_told_once uncrowded-is-told-once volume-available

bmc_restart bmc
mode runtime $SERIAL
status_is started running=b b=good:2.0.0
stop bmc-inbandd
expect_status daemon-ends 0
check_kernel_log kernel-log
