# The wall clock goes back to 1970, or on by ten years, while a door is armed, an update comes in and is verified, and firmware is on trial: nothing ends early, or never.
# timeout: 1800
# clock: instructions
# binaries: inband inbandd
. /guest/lib.sh
. /guest/bmc.sh

CONFIG=/tmp/bmc/inbandd.toml

is() {
    inbandd status --config $CONFIG --json >"$OUT" && [ "$(field "$1")" = "$2" ]
}

arm() {
    check "$WHERE-$1" inbandd arm dfu --for 20 --config $CONFIG
}

# jumps WHILE: one test; the clock of the BMC and of its host.
jumps() {
    case $WHERE in
        back) check "$WHERE-$1" date -s '1970-01-02 00:00' ;;
        on) check "$WHERE-$1" date -s "@$(($(date +%s) + 315360000))" ;;
    esac
}

# ends_behind SECONDS TEST COMMAND...: one test: so many seconds after $SINCE the command exits with 0, and 5 s before that it does not.
ends_behind() {
    local seconds=$1 test=$2
    shift 2
    # To sleep takes hardly any time here, to ask does.
    sleep $((seconds - 5 - ($(uptime_hundredths) - SINCE) / 100))
    if "$@"; then
        fail "$WHERE-$test" "$((($(uptime_hundredths) - SINCE) / 100)) s later already"
    else
        check "$WHERE-$test" wait_for 15 "$@"
    fi
}

is_unhealthy() {
    grep -q result=unhealthy /tmp/bmc-inbandd.log
}

# The tool sends a package, and the BMC has begun to take it.
sends() {
    start tool inband update --door dfu --json "$1"
    wait_for 30 is state receiving || die "nothing is sent"
}

# A host that stops in the middle.
stopped() {
    arm arm-for-one-that-stops
    sends firmware.tar
    signal tool STOP
    SINCE=$(uptime_hundredths)
    jumps while-one-has-stopped
    daemon_says "$WHERE-receiving" bmc state=receiving
    ends_behind 60 timeout is result timeout
    signal tool KILL
    finish tool
    mode runtime
}

round() {
    SINCE=$(uptime_hundredths)
    arm arm
    jumps while-armed
    daemon_says "$WHERE-armed" bmc door_dfu=armed
    ends_behind 20 shut is door_dfu shut

    arm arm-for-one-that-goes-on
    sends firmware.tar
    jumps while-it-sends
    wait_for 30 is state verifying || die "nothing is verified"
    jumps while-it-is-verified
    finish tool
    expect_status "$WHERE-sent" 0
    mode runtime
    daemon_says "$WHERE-staged" bmc state=staged result=ok

    rm -f /tmp/bmc/healthy
    SINCE=$(uptime_hundredths)
    bmc_restart bmc
    jumps while-on-trial
    daemon_says "$WHERE-on-trial" bmc state=pending-confirm on_trial=true
}

SLOT_SIZE=33554432
bmc_make bmc gadget BMC-1
unlimited bmc
cat >>$CONFIG <<END

[doors]
dfu.policy = "armed"

[trial]
health = ["/usr/bin/test", "-e", "/tmp/bmc/healthy"]
retry_s = 1
deadline_s = 20
END
bmc_start bmc
mode runtime

image image 8000000
pack firmware.tar 2.0 image --bcd-device 2.00
WHERE=back
stopped
round
touch /tmp/bmc/healthy
check $WHERE-confirmed wait_for 10 is state done

image image 8000000
pack firmware.tar 3.0 image --bcd-device 3.00
WHERE=on
round
ends_behind 20 unhealthy is_unhealthy

check_kernel_log kernel-log
