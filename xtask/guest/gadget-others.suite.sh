# The gadget among others: gadgets of somebody else, an administrator, a second program, a crash; mode switch and pulled cable many times.
# timeout: 1800
# clock: instructions
# binaries: inband inbandd example:inband/hostile
. /guest/lib.sh
. /guest/bmc.sh

GADGETS=/sys/kernel/config/usb_gadget
HALF_WAY='[3-7][0-9] \{0,1\}%'

image image 1048576
pack good.tar 2.0.0 image --bcd-device 2.00
pack next.tar 3.0.0 image --bcd-device 3.00
image medium 262144
pack medium.tar 4.0.0 medium

# A disk of somebody else on the other controller, and two gadgets that are nowhere: one of them has a name like ours.
modprobe dummy_hcd num=2 && modprobe libcomposite || die "no dummy_hcd"
foreign() {
    local gadget=$GADGETS/$1
    mkdir "$gadget" "$gadget/strings/0x409" "$gadget/configs/c.1" "$gadget/functions/mass_storage.0"
    echo 0x1d6b >"$gadget/idVendor"
    echo 0x0104 >"$gadget/idProduct"
    echo "$1" >"$gadget/strings/0x409/serialnumber"
    ln -s "$gadget/functions/mass_storage.0" "$gadget/configs/c.1/"
}
foreign other-idle || die "no gadget of somebody else"
foreign inband-7 || die "no gadget with a name like ours"
foreign other-disk || die "no disk"
image disk 1048576
echo /tmp/disk >"$GADGETS/other-disk/functions/mass_storage.0/lun.0/file"
echo dummy_udc.1 >"$GADGETS/other-disk/UDC" || die "the disk is not to be had"
wait_for 20 place_of other-disk || die "the disk is not there"
# Everything of theirs; also the device's number, which is another one once it has left the bus.
others() {
    (
        cd "$GADGETS" || return
        ls -d other-* inband-7
        # Each file is read alone: some cannot be.
        find other-idle other-disk inband-7 | sort | while read -r file; do
            [ -f "$file" ] && echo "$file: $(cat "$file" 2>&1)"
        done
        cat "/sys/bus/usb/devices/$(place_of other-disk)/devnum"
    )
}
others >/tmp/others
others_are_untouched() {
    others >/tmp/others.now
    check "$1" cmp /tmp/others /tmp/others.now
}

bmc_make bmc gadget BMC-1
gadget_option bmc 'udc = "dummy_udc.0"'
unlimited bmc
bmc_start bmc
bmc_attach bmc
others_are_untouched others-started
expect_exit second-daemon 5 inbandd --config bmc/inbandd.toml
expect_text second-daemon-is-told 'is in use by another inbandd'
status_is second-daemon-changes-nothing mode=run-time state=idle

# Another program holds the device: it is named, and left alone.
enter_dfu
start holder dfu-util -D good.tar
wait_for_log holder "$HALF_WAY"
signal holder STOP
expect_exit status-while-held 12 inband status
expect_text holder-is-named "\`dfu-util\` (process $(cat /tmp/holder.pid))"
expect_exit update-while-held 12 inband update good.tar
signal holder CONT
finish holder
expect_status holder-goes-on 0
status_is holder-status result=ok b=staged:2.0.0
mode runtime

# The administrator unbinds the gadget in the middle of an update, and binds it again.
ours() {
    grep -l dummy_udc.0 "$GADGETS"/*/UDC
}
unbind() {
    UDC_FILE=$(ours)
    echo >"$UDC_FILE"
}
start unbound inband update next.tar --door dfu
wait_for_log unbound "$HALF_WAY"
unbind
mode none BMC-1
finish unbound
expect_status unbound 10
check bind-again sh -c "echo dummy_udc.0 >$UDC_FILE"
mode dfu
status_is unbound-status result=disconnected state=failed mode=dfu running=a boots_next=a
check after-unbind inband update next.tar
status_is after-unbind-status result=ok b=staged:3.0.0 mode=run-time
# At run time, and for good: the next DETACH finds nobody, the daemon goes on.
unbind
mode none BMC-1
check unbound-daemon inbandd status --config bmc/inbandd.toml
check bind-in-run-time sh -c "echo dummy_udc.0 >$UDC_FILE"
mode runtime BMC-1
check after-unbind-in-run-time inband update good.tar
others_are_untouched others-after-unbind

# A crash in the middle of a download: what stays is removed by the next start, what others have stays.
enter_dfu
start orphan dfu-util -D good.tar
wait_for_log orphan "$HALF_WAY"
stop bmc-inbandd KILL
finish orphan
expect_status crash bad
mode none BMC-1
run ls "$GADGETS"
expect_text crash-leaves-gadgets inband-0
others_are_untouched others-crash
bmc_start bmc
mode runtime BMC-1
others_are_untouched others-restart
status_is crash-status result=interrupted state=interrupted mode=run-time running=a boots_next=a a=good:factory
check after-crash inband update next.tar
status_is after-crash-status result=ok b=staged:3.0.0

# No hang, no leak.
bmc_mark bmc
scenarios loops-end hostile --package medium.tar --rounds 50 --udc dummy_udc.0
bmc_has_not_grown no-leak bmc

stop bmc-inbandd
expect_status stops 0
mode none BMC-1
run ls "$GADGETS"
expect_text foreign-gadget-with-our-name-stays inband-7
expect_no_text nothing-is-left inband-0
expect_no_text nothing-is-left-of-the-second inband-1
others_are_untouched others-stopped
check_kernel_log kernel-log
