# The bulk door of the BMC as a FunctionFS gadget on dummy_hcd, by the host tool over the kernel's USB; and a controller without endpoints for it.
# timeout: 1200
# clock: instructions
# binaries: inband inbandd example:inband/asking
. /guest/lib.sh
. /guest/bmc.sh
. /guest/bulk.sh
. /guest/crowd.sh

SLOT_SIZE=8388608
image image 1048576
image large 8388608
pack good.tar 2.0.0 image --bcd-device 2.00
pack same.tar 2.0.1 image --bcd-device 2.01
pack large.tar 3.0.0 large --bcd-device 3.00
bmc_make bmc gadget BMC-1
check check inbandd check --config /tmp/bmc/inbandd.toml
expect_text check-says-what-is-not-known 'bulk always if the controller has two bulk endpoints left'
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

# Asked how it stands all the while, one request behind the other.
check asked asking large.tar
expect_text asked-while-it-receives '"DfuDnbusy":'
expect_text asked-while-it-verifies '"DfuManifest":'
expect_text asked-for-the-page '"receiving":'
slot_holds asked-slot bmc a large
status_is asked-status result=ok state=staged running=b boots_next=a a=staged:3.0.0
daemon_says asked-daemon bmc state=staged door_bulk=armed
answers_are_fast answered-at-once 100
check_kernel_log kernel-log

# Others have the controller's endpoints: the kernel does not bind the set with the bulk interface.
crowd 2
for version in 2.0.0 3.0.0; do
    case $version in 2.0.0) package=good.tar ;; *) package=large.tar ;; esac
    check "crowded-$version" inband --json update "$package" --allow-same
    expect_text "crowded-$version-by-dfu" '"event":"door","door":"dfu","reason":"the BMC has no bulk door"'
    status_is "crowded-$version-status" result=ok state=staged mode=run-time running=b boots_next=a "a=staged:$version"
done
expect_told_once crowded-is-told-once bulk-unavailable
run grep event=bulk-unavailable /tmp/bmc-inbandd.log
expect_text crowded-is-told-why 'its endpoints do not suffice'
daemon_says crowded-daemon bmc door_dfu=armed door_bulk=shut
expect_exit crowded-bulk 8 inband update --door bulk good.tar --allow-same
expect_text crowded-bulk-why 'has no bulk door'
run dmesg
expect_text crowded-by-the-kernel 'unable to autoconfigure all endpoints'

# They are free again: the next entry finds that out.
uncrowd 2
check uncrowded inband --json update good.tar --allow-same
expect_text uncrowded-by-bulk '"event":"door","door":"bulk"'
expect_told_once uncrowded-is-told-once bulk-available
daemon_says uncrowded-daemon bmc door_bulk=armed
status_is uncrowded-status result=ok state=staged mode=run-time a=staged:2.0.0

stop bmc-inbandd
expect_status stops 0
run ls /sys/kernel/config/usb_gadget
expect_no_text nothing-stays-in-configfs inband
check_kernel_log kernel-log-of-the-crowd
