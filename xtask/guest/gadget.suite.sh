# The BMC on a USB device controller: updates by dfu-util over FunctionFS, daemons that die and come back, machines that start.
# timeout: 420
# binaries: inband inbandd
. /guest/lib.sh
. /guest/bmc.sh
. /guest/dfu-util.sh

CONFIGFS=/sys/kernel/config/usb_gadget

image image 1048576
image other 1048576
pack one.tar 2.0.0 image --bcd-device 2.00
pack two.tar 3.0.0 other --bcd-device 3.00
bmc_make bmc gadget BMC-1

# What is wrong is said before there is a controller, and with one.
check check-says-what-is-there inbandd check --config /tmp/bmc/inbandd.toml
expect_text check-names-the-controller 'controller dummy_udc.0 (high-speed'

# Somebody else's gadget.
mkdir -p $CONFIGFS/theirs/configs/c.1 $CONFIGFS/theirs/functions/mass_storage.0
ln -s $CONFIGFS/theirs/functions/mass_storage.0 $CONFIGFS/theirs/configs/c.1
echo dummy_udc.0 >$CONFIGFS/theirs/UDC
expect_exit busy-controller 6 inbandd --config /tmp/bmc/inbandd.toml
expect_text busy-controller-is-named "in use by the gadget $CONFIGFS/theirs"
check their-gadget-is-left-alone grep -q dummy_udc.0 $CONFIGFS/theirs/UDC
echo >$CONFIGFS/theirs/UDC
# The kernel warns of a controller that is asked for and busy.
dmesg -c >/dev/null
sed 's/^boot_id/udc = "dummy_udc.7"\n&/' /tmp/bmc/inbandd.toml >/tmp/bmc/wrong.toml
expect_exit wrong-controller 6 inbandd check --config /tmp/bmc/wrong.toml
expect_text wrong-controller-says-what-there-is 'dummy_udc.0; set gadget.udc'

bmc_start bmc
bmc_attach bmc
run grep event=gadget-ready /tmp/bmc-inbandd.log
expect_text the-log-says-what-was-found 'DFU functional descriptor taken'
status_is status-before-any-session result=none state=idle mode=run-time session=0 a=good:factory b=empty:

# A whole update. The daemon's restarts, clean or not, are none of the machine.
run dfu-util -e
mode dfu
takes update -D one.tar
mode runtime
status_is update-status result=ok state=staged running=a boots_next=b a=good:factory b=staged:2.0.0
for signal in TERM KILL; do
    daemon_restart bmc $signal
    status_is "daemon-$signal-changes-nothing" result=ok state=staged running=a boots_next=b b=staged:2.0.0 boots_left=3
done
bmc_restart bmc
status_is machine-starts state=done result=ok running=b b=good:2.0.0 a=good:factory
daemon_says answers-are-measured bmc state=done running=b
answers_are_fast answers-are-fast 1

# Killed in the middle: a clean re-enumeration, and the next update works.
enter_dfu
start orphan dfu-util -D two.tar
wait_for_log orphan '[3-7][0-9] \{0,1\}%'
daemon_restart bmc KILL
finish orphan
expect_status killed-under-dfu-util bad
expect_no_text killed-is-not-done 'Done!'
expect_gadgets() {
    run ls $CONFIGFS
    if [ "$(grep -c ^inband "$OUT")" = "$2" ]; then ok "$1"; else fail "$1" "$(cat "$OUT")"; fi
}
expect_gadgets leftovers-are-removed 3
status_is killed-status result=interrupted state=interrupted running=b boots_next=b b=good:2.0.0
enter_dfu
takes update-after-that -D two.tar
status_is update-after-that-status result=ok state=staged running=b boots_next=a a=staged:3.0.0

# On trial: a daemon that dies neither counts a boot nor changes what runs.
sed -i '$a [trial]\nhealth = ["/usr/bin/test", "-e", "/tmp/bmc/healthy"]\nretry_s = 1' /tmp/bmc/inbandd.toml
bmc_restart bmc
status_is trial state=pending-confirm on_trial=true running=a boots_left=2 a=trial:3.0.0 b=good:2.0.0
for signal in KILL TERM KILL; do
    daemon_restart bmc $signal
done
status_is trial-after-daemons-died state=pending-confirm on_trial=true running=a boots_left=2 a=trial:3.0.0 b=good:2.0.0
enter_dfu
refuses trial-takes-no-update -D one.tar
bmc_restart bmc
status_is trial-goes-on state=pending-confirm running=a boots_left=1
touch /tmp/bmc/healthy
wait_for 20 grep -q event=health-passed /tmp/bmc-inbandd.log
status_is confirmed state=done running=a a=good:3.0.0

# A restart that is asked for.
check restart inbandd restart --config /tmp/bmc/inbandd.toml
finish bmc-inbandd
expect_status restarted 0
bmc_start bmc
mode runtime
stop bmc-inbandd
expect_status stops 0
mode none
expect_gadgets nothing-stays-in-configfs 0
check_kernel_log kernel-log
