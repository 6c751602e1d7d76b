# An update cut off half-way, by every party that can do it, and the repeat that always works.
# timeout: 420
# binaries: inband inbandd
. /guest/lib.sh
. /guest/bmc.sh

# Somewhere in the middle of what dfu-util and `inband update` show of their progress.
HALF_WAY='[3-7][0-9] \{0,1\}%'

image old 1048576
image new 1048576
pack old.tar 2.0.0 old --bcd-device 2.00
pack new.tar 3.0.0 new --bcd-device 3.00
bmc_make bmc 3240 BMC-1
bmc_start bmc
bmc_attach bmc

# repeat TEST VERSION COMMAND...: the update now works; the version waits in slot b, the running one in slot a as ever.
repeat() {
    local test=$1 version=$2
    shift 2
    check "$test-repeated" "$@"
    status_is "$test-repeated-status" result=ok state=staged running=a boots_next=b a=good:factory "b=staged:$version"
}

# dfu-util dies: the BMC hears nothing of that, and the next session ends the old one.
enter_dfu
start dying dfu-util -D old.tar
wait_for_log dying "$HALF_WAY"
stop dying KILL
expect_status dfu-util-killed 137
status_is dfu-util-killed-status result=none state=receiving mode=dfu running=a boots_next=a a=good:factory
repeat dfu-util-killed 2.0.0 dfu-util -D old.tar
run inband log
expect_text dfu-util-killed-log 'aborted (48)'

# The same for inband.
start dying inband update new.tar --door dfu
wait_for_log dying "$HALF_WAY"
stop dying KILL
status_is inband-killed-status result=none state=receiving mode=dfu running=a boots_next=a a=good:factory
repeat inband-killed 3.0.0 inband update new.tar

# Told to end, it ends the session too and sends the BMC back.
start cancelled inband update old.tar --door dfu
wait_for_log cancelled "$HALF_WAY"
stop cancelled TERM
expect_status inband-cancelled 14
mode runtime
status_is inband-cancelled-status result=aborted state=aborted mode=run-time running=a boots_next=a a=good:factory
repeat inband-cancelled 2.0.0 dfu-util -D old.tar

# The daemon dies under dfu-util, and comes back.
enter_dfu
start orphan dfu-util -D new.tar
wait_for_log orphan "$HALF_WAY"
bmc_restart bmc KILL
finish orphan
expect_status daemon-killed-under-dfu-util bad
expect_no_text daemon-killed-is-not-done 'Done!'
status_is daemon-killed-status result=interrupted state=interrupted mode=run-time running=a boots_next=a a=good:factory
repeat daemon-killed 3.0.0 dfu-util -D new.tar

# The daemon dies under inband.
start orphan inband update old.tar --door dfu
wait_for_log orphan "$HALF_WAY"
bmc_restart bmc KILL
finish orphan
expect_status daemon-killed-under-inband 10
status_is daemon-killed-under-inband-status result=interrupted state=interrupted running=a boots_next=a a=good:factory
repeat daemon-killed-under-inband 2.0.0 inband update old.tar

# The cable is pulled.
start unplugged dfu-util -D new.tar
wait_for_log unplugged "$HALF_WAY"
check unplug usbip detach --port 0
finish unplugged
expect_status unplugged bad
expect_no_text unplugged-is-not-done 'Done!'
status_is unplugged-status result=disconnected state=failed running=a boots_next=a a=good:factory
repeat unplugged 3.0.0 inband update new.tar

# After all of that the firmware starts.
bmc_restart bmc
status_is started result=ok state=done running=b on_trial=false b=good:3.0.0

check_kernel_log kernel-log
