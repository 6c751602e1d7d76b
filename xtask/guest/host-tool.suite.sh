# `inband` and the kernel's USB: each command, and each way in which there is no device for it.
# timeout: 420
# binaries: inband inbandd
. /guest/lib.sh
. /guest/bmc.sh

image image 262144
pack good.tar 2.0.0 image --security-version 3 --bcd-device 2.00
pack next.tar 3.0.0 image --security-version 3 --bcd-device 3.00 --dfu-suffix "$VENDOR:$RUNTIME_ID"
pack old.tar 1.0.0 image --security-version 1
pack foreign.tar 2.0.0 image --machine other-board
inband keygen --out /tmp/stranger
pack forged.tar 2.0.0 image --security-version 3 --key /tmp/stranger.key
cp good.tar tampered.tar
spoil tampered.tar 150000
image large 1048576
pack large.tar 4.0.0 large --security-version 3
bmc_make one 3240 BMC-1 --security-version 2
bmc_make two 3241 BMC-2 --firmware-version other

as_operator() {
    su operator -c "$*"
}

# Nothing there.
for command in list status log detach; do
    expect_exit "$command-without-device" 3 inband "$command"
done
expect_exit update-without-device 3 inband update good.tar
expect_text update-without-device-advice 'help: is the BMC up'
expect_exit attach-without-server bad inband --usbip 127.0.0.1 attach

# One device.
bmc_start one
expect_exit attach-without-permission 5 as_operator inband --usbip 127.0.0.1 attach
bmc_attach one
check list inband list
expect_text list-shows-the-path 'usb:1-1  BMC-1   test-board  run-time  factory'
check list-json inband list --json
expect_text list-json-shows-ids '"vendor_id":"1209","product_id":"0001","bcd_device":"1.00"'
check log inband log
expect_text log-empty 'the log is empty'
check status inband status
expect_text status-shows-the-result 'none: no session has ended yet'
check dry-run inband update good.tar --dry-run
status_is dry-run-changes-nothing session=0 mode=run-time b=empty:

check update inband update good.tar
expect_text update-takes-the-bulk-door 'door:    bulk, the fastest that is open'
expect_text update-says-where 'staged: version 2.0.0 in slot b'
status_is update-status result=ok state=staged mode=run-time running=a boots_next=b a=good:factory b=staged:2.0.0
bmc_restart one
status_is update-started result=ok state=done running=b on_trial=false b=good:2.0.0
check update-of-what-runs inband update good.tar
expect_text update-of-what-runs-says-so 'up to date: version 2.0.0 runs already'
status_is update-of-what-runs-sends-nothing session=1 mode=run-time
check update-json inband update next.tar --json --keys "$KEY.pub"
expect_text update-json-staged '"event":"staged","slot":"a","version":"3.0.0"'
expect_text update-json-verified '"verified":true'

# What is wrong with a package is seen before anything is sent, but for a stranger's signature: keys are the BMC's.
for package in tampered old foreign; do
    expect_exit "update-$package" 6 inband update "$package.tar"
    status_is "update-$package-sends-nothing" session=2 mode=run-time boots_next=a a=staged:3.0.0
done
expect_exit update-forged 6 inband update forged.tar --allow-same
expect_text update-forged-reason unknown-key
status_is update-forged-status result=unknown-key session=3 mode=run-time running=b boots_next=a a=staged:3.0.0
check log-of-sessions inband log
expect_text log-shows-the-refusal 'unknown-key (20)'
expect_text log-shows-the-update 'ok (1)'

check detach inband detach
status_is detach-status mode=dfu
check detach-again inband detach
expect_text detach-again-says-so 'in DFU mode already'
check update-in-dfu-mode inband update good.tar --allow-same --door dfu
status_is update-in-dfu-mode-status result=ok state=staged mode=run-time boots_next=a a=staged:2.0.0
check detach-for-dfu-util inband detach
check detach-then-dfu-util dfu-util -D next.tar
status_is detach-then-dfu-util-status result=ok boots_next=a a=staged:3.0.0
mode runtime

# Another program holds the device: it is named, and left alone.
enter_dfu
start holder dfu-util -D large.tar
wait_for_log holder '[1-9][0-9]%'
signal holder STOP
expect_exit status-while-held 12 inband status
expect_text holder-is-named "\`dfu-util\` (process $(cat /tmp/holder.pid))"
expect_exit update-while-held 12 inband update good.tar
expect_exit list-while-held 12 inband list
signal holder CONT
finish holder
expect_status holder-goes-on 0
mode runtime

# Somebody who is not root, and the rule that the message tells; then the one in contrib.
new_rules() {
    udevadm control --reload || die "udevd did not read its rules anew"
    udevadm trigger --subsystem-match=usb --settle
}
# Without the rule. A device node keeps the group it has got: a new one, by way of DFU mode. After a reload a worker of udevd that is still
# busy finishes with the rules it has; a udevd that was started after the rule had gone, and its workers, cannot know it.
no_rules() {
    udevadm settle
    rm "$RULES"
    udevadm control --exit
    wait_for 20 no_udevd || die "udevd does not end"
    /usr/lib/systemd/systemd-udevd --daemon || die "udevd does not start"
    enter_dfu
    run dfu-util -e
    mode runtime
    check node-of-root-alone wait_for 10 node_is root
    # What it takes to understand a failure of this test or the next.
    node=$(the_node)
    udevadm info "$node" | cat
    ls -l "$node" "${RULES%/*}" /run/udev/rules.d
}
no_udevd() {
    ! pidof systemd-udevd
}
# The node of the only device there.
the_node() {
    local device
    for device in /sys/bus/usb/devices/*; do
        [ "$(cat "$device/idVendor" 2>/dev/null)" != "$VENDOR" ] || echo "/dev/$(sed -n s/DEVNAME=//p "$device/uevent")"
    done
}
# It belongs to this group, and udevd has seen it.
node_is() {
    [ "$(stat -c %G "$(the_node)")" = "$1" ] && udevadm info "$(the_node)" | grep -q USEC_INITIALIZED
}
RULES=/etc/udev/rules.d/70-inband.rules
mkdir -p /etc/udev/rules.d
expect_exit status-without-permission 5 as_operator inband status
expect_text permission-advice "$RULES"
grep 'SUBSYSTEM==' "$OUT" >"$RULES"
new_rules
check status-by-the-advised-rule as_operator inband status
no_rules
expect_exit status-without-any-rule 5 as_operator inband status
cp /guest/70-inband.rules "$RULES"
new_rules
check status-by-contrib-rule as_operator inband status
check update-by-contrib-rule as_operator inband update good.tar --allow-same
check dfu-util-by-contrib-rule as_operator dfu-util -D next.tar
mode runtime

# Two devices.
bmc_start two
start two-attach inband --usbip 127.0.0.1:3241 attach --keep
wait_for_log two-attach 'on port'
mode runtime BMC-2
check list-of-two inband list
expect_text list-shows-the-first 'usb:1-1  BMC-1'
expect_text list-shows-the-second 'usb:1-2  BMC-2'
for command in status log detach; do
    expect_exit "$command-of-two" 4 inband "$command"
done
expect_exit update-of-two 4 inband update good.tar
expect_text update-of-two-advice 'help: choose one with --device'
expect_exit dfu-util-of-two 74 dfu-util -D good.tar
check status-by-serial inband --device BMC-2 status
expect_text status-by-serial-is-the-one 'test-board at usb:1-2'
check status-by-path inband --device usb:1-1 status
expect_text status-by-path-is-the-one 'BMC-1'
expect_exit status-of-none 3 inband --device BMC-3 status
check update-by-serial inband --device BMC-2 update good.tar
check update-by-path inband --device usb:1-2 update large.tar
check update-of-the-other inband --device BMC-1 update good.tar --allow-same
check dfu-util-by-serial dfu-util -S BMC-2 -D good.tar
stop two-attach
stop two-inbandd

# A BMC that restarts by itself, waited for.
stop one-attach
stop one-inbandd
ACTIVATION=immediate
bmc_make three 3242 BMC-3
bmc_start three
bmc_attach three
check update-and-wait inband update next.tar --wait=60
expect_text update-and-wait-runs 'running: version 3.0.0 from slot b'
status_is update-and-wait-status result=ok running=b boots_next=b b=good:3.0.0

check_kernel_log kernel-log
