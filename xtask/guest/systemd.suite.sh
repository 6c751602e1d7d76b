# The daemon's life under systemd, by the units we ship: hardened, as a user of its own, restarted without the host noticing.
# By the machine's clock: one that counts instructions runs away while the disk is read.
# timeout: 600
# root: debian
# binaries: inband inbandd
. /guest/lib.sh
. /guest/bmc.sh
. /guest/dfu-util.sh

UNIT=inbandd.service
CONFIG=/etc/inband/inbandd.toml

# The address that the bus gave the device: another one after each disconnect.
devnum() {
    local device
    for device in /sys/bus/usb/devices/*; do
        if [ "$(cat "$device/idVendor" 2>/dev/null)" = "$VENDOR" ]; then
            cat "$device/devnum"
        fi
    done
}

property() {
    systemctl show --property="$1" --value $UNIT
}

is_another() {
    local pid
    pid=$(property MainPID)
    [ "$pid" != 0 ] && [ "$pid" != "$1" ] && [ "$(property SubState)" = running ]
}

# comes_back TEST PID: another process serves, and the host saw no disconnect since `before`.
comes_back() {
    if ! wait_for 30 is_another "$2"; then
        fail "$1" "$(systemctl status --no-pager --lines=20 $UNIT | tr '\n' '/')"
        return
    fi
    run inband status --json
    if [ "$STATUS" = 0 ] && [ "$(devnum)" = "$DEVNUM" ] && ! dmesg | grep -q 'USB disconnect'; then
        ok "$1"
    else
        fail "$1" "inband status ends with $STATUS; address $(devnum), before $DEVNUM; $(dmesg | grep -c 'USB disconnect') disconnects"
    fi
}

before() {
    DEVNUM=$(devnum)
    PID=$(property MainPID)
    dmesg -C
}

drop_in() {
    mkdir -p "/etc/systemd/system/$1.d"
    cat >"/etc/systemd/system/$1.d/test.conf"
    systemctl daemon-reload
}

image image 1048576
pack one.tar 2.0.0 image --bcd-device 2.00
bmc_make bmc gadget BMC-1
mkdir -p /etc/inband
cp -r /tmp/bmc/keys /etc/inband/
cp /tmp/bmc/boot_id /etc/inband/boot_id
sed -e 's,^path = .*,path = "/var/lib/inband",' -e 's,^control = .*,control = "/run/inband/control",' \
    -e 's,^restart_command = .*,restart_command = ["/bin/touch"\, "/run/inband/restart"],' \
    /tmp/bmc/inbandd.toml >$CONFIG
cp /guest/inband.sysusers /usr/lib/sysusers.d/inband.conf
systemd-sysusers || die "no user"
cp /guest/inbandd*.service /guest/inbandd*.timer /guest/inband-restart.* /etc/systemd/system/
systemctl daemon-reload
check units-are-valid systemd-analyze verify $UNIT inbandd-release.timer inband-restart.path
inbandd init --config $CONFIG || die "no store"

check start systemctl start $UNIT
run systemctl status --no-pager $UNIT
expect_text ready-and-says-how-it-stands 'Status: "slot a runs factory; idle, none"'
mode runtime
check check-status inband status

# What the daemon may.
PID=$(property MainPID)
run grep -E '^(Uid|CapEff|CapBnd|NoNewPrivs|Seccomp):' "/proc/$PID/status"
expect_text own-user "$(id -u inband)"
expect_text no-capabilities 'CapEff:	0000000000000000'
expect_text none-to-gain 'CapBnd:	0000000000000000'
expect_text no-new-privileges 'NoNewPrivs:	1'
expect_text calls-are-filtered 'Seccomp:	2'
expect_exit system-is-read-only bad nsenter --target "$PID" --mount touch /etc/touched /usr/touched
check store-is-not nsenter --target "$PID" --mount touch /var/lib/inband/touched
rm /var/lib/inband/touched
run nsenter --target "$PID" --mount ls /dev
expect_no_text no-devices vda
check exposure systemd-analyze security --no-pager --threshold=15 $UNIT
run stat --format=%U /sys/kernel/config/usb_gadget/inband-0/UDC /sys/kernel/config/usb_gadget/inband-0/bcdUSB /var/lib/inband
expect_text owner-of-what-it-writes inband
expect_text not-of-the-rest root

# Restarts that the host does not see. Ten seconds can be short for a guest.
printf '[Timer]\nOnActiveSec=\nOnActiveSec=60\n' | drop_in inbandd-release.timer
before
check restart systemctl restart $UNIT
comes_back restart-keeps-the-bus "$PID"
before
kill -KILL "$PID"
comes_back crash-keeps-the-bus "$PID"
printf '[Service]\nWatchdogSec=3\n' | drop_in $UNIT
before
systemctl restart $UNIT
PID=$(property MainPID)
kill -STOP "$PID"
comes_back watchdog-ends-one-that-hangs "$PID"
run journalctl --boot --no-pager --unit $UNIT
expect_text watchdog-is-named 'Watchdog timeout'
run systemctl is-active inbandd-release.timer
expect_text nobody-waits-for-its-end inactive

# The ten seconds are over in the moment in which a daemon has begun to serve and systemd is not done with its start: it is left alone.
in_start_post() {
    [ "$(property SubState)" = start-post ]
}
printf '[Service]\nExecStartPost=\nExecStartPost=/bin/sleep 10\n' | drop_in $UNIT
before
systemctl --no-block restart $UNIT
wait_for 30 in_start_post || die "no daemon: $(property SubState)"
check too-late-to-release systemctl start inbandd-release.service
comes_back who-serves-is-left-alone "$PID"
printf '[Service]\nWatchdogSec=3\n' | drop_in $UNIT
# While the device is being released none begins to serve. The lock is had when the daemon ends; the next one is slower.
start release flock /run/inband sleep 5
before
expect_exit restart-while-it-is-released bad systemctl restart $UNIT
comes_back serves-once-that-is-over "$PID"
finish release
run journalctl --boot --no-pager --unit $UNIT
expect_text says-that-it-comes-too-late 'comes too late'

# A request is under way when the daemon dies: the next one answers it, or the host gives it up before; and then all works.
before
kill -STOP "$PID"
start waits inband status
sleep 1
check nobody-answers kill -0 "$(cat /tmp/waits.pid)"
kill -KILL "$PID"
finish waits
comes_back dies-with-a-request "$PID"

# An update, in which one restart comes: back to run time, cleanly.
enter_dfu
check restart-in-dfu-mode systemctl restart $UNIT
mode runtime
run dfu-util -e
mode dfu
takes update -D one.tar
mode runtime
status_is update-status result=ok state=staged running=a boots_next=b b=staged:2.0.0
before
check restart-with-staged-firmware systemctl restart $UNIT
comes_back which-keeps-the-bus "$PID"
status_is which-is-no-start-of-the-machine state=staged running=a boots_left=3
cat /proc/sys/kernel/random/uuid >/etc/inband/boot_id
check restart-of-the-machine systemctl restart $UNIT
mode runtime
status_is the-machine-started state=done running=b b=good:2.0.0

# A daemon that does not come back: ten seconds, then the device leaves.
rm -r /etc/systemd/system/inbandd-release.timer.d
systemctl daemon-reload
mv $CONFIG $CONFIG.away
since=$(uptime_hundredths)
systemctl --no-block restart $UNIT
sleep 5
check five-seconds-later-it-is-there in_mode runtime
wait_for 30 in_mode none
took=$(($(uptime_hundredths) - since))
# As long as the timer, and what a slow guest needs to end a daemon and to unbind.
if [ "$took" -ge 900 ] && [ "$took" -le 2000 ]; then ok ten-seconds; else fail ten-seconds "$took hundredths of a second"; fi
mv $CONFIG.away $CONFIG
mode runtime
wait_for 10 is_another 0
check which-serves inband status

# The end, and a beginning with what it left.
check stop systemctl stop $UNIT
mode none
check nothing-to-release systemctl start inbandd-release.service
expect_exit stays-stopped bad systemctl is-active $UNIT
check start-again systemctl start $UNIT
mode runtime
check which-serves-too inband status
# Without systemd having the files, as after a kill of all: what was left is removed.
systemctl stop $UNIT
mode none
mkdir /run/inband
start root inbandd --config $CONFIG
mode runtime
stop root
mode none
rm -r /run/inband
run ls /sys/kernel/config/usb_gadget
expect_no_text root-leaves-nothing inband

# A restart of the BMC, by a user who may not.
printf '[Service]\nExecStart=\nExecStart=/usr/bin/touch /run/rebooted\n' | drop_in inband-restart.service
chown -R inband: /var/lib/inband
check restart-path systemctl start inband-restart.path
systemctl start $UNIT
mode runtime
check restart-is-asked-for inbandd restart --config $CONFIG
check restart-comes wait_for 10 test -e /run/rebooted
systemctl stop $UNIT
check_kernel_log kernel-log
