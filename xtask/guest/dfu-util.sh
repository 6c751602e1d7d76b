# Stock dfu-util in every way of use, whatever carries the BMC: `. /guest/dfu-util.sh` after bmc.sh.
#
# The BMC is called bmc, its serial number is BMC-1, its factory firmware 1.0, and nothing but it is on USB.
#
#   takes TEST OPTION...          dfu-util sends the package, and says that it is done
#   refuses TEST OPTION...        dfu-util fails, and does not say that it is done
#   is_done TEST                  the dfu-util that ran last was done
#   lists_both_modes PATH         what -l and -e make of it in both modes; PATH is where it is, as in 1-1. Before any session
#   names_in_every_way PATH       each option that chooses a device; packages plain.tar (2.0.1) and next.tar (3.0.0), of which the second
#                                 is staged last and fits a BMC whose slot b runs
#   waits_for_it                  -w, before there is a device; then from run time. Ends with slot b running 3.0.0

takes() {
    local test=$1
    shift
    run dfu-util "$@"
    is_done "$test"
}

is_done() {
    if [ "$STATUS" = 0 ] && grep -q 'Done!' "$OUT"; then
        ok "$1"
    else
        fail "$1" "exit status $STATUS, and the end is: $(last_line)"
    fi
}

refuses() {
    local test=$1
    shift
    run dfu-util "$@"
    if [ "$STATUS" != 0 ] && ! grep -q 'Done!' "$OUT"; then
        ok "$test"
    else
        fail "$test" "exit status $STATUS, and the end is: $(last_line)"
    fi
}

lists_both_modes() {
    check list dfu-util -l
    expect_text list-shows-the-runtime-device "Found Runtime: [$VENDOR:$RUNTIME_ID] ver=0100"
    expect_text list-shows-path-name-and-serial "path=\"$1\", alt=0, name=\"bmc\", serial=\"BMC-1\""
    expect_no_text list-shows-it-once 'Found DFU'
    status_is status-before-any-session result=none state=idle mode=run-time session=0 a=good:factory b=empty:

    check detach dfu-util -e
    mode dfu
    check list-in-dfu-mode dfu-util -l
    expect_text list-shows-the-dfu-mode-device "Found DFU: [$VENDOR:$DFU_ID] ver=0100"
    expect_text list-shows-the-same-path-name-and-serial "path=\"$1\", alt=0, name=\"bmc\", serial=\"BMC-1\""
    expect_no_text list-shows-that-once 'Found Runtime'
    check detach-in-dfu-mode dfu-util -e
    mode runtime
}

names_in_every_way() {
    enter_dfu
    takes name -a bmc -D plain.tar
    status_is name-status result=ok running=b boots_next=a a=staged:2.0.1
    enter_dfu
    takes number -a 0 -i 0 -c 1 -D next.tar
    status_is number-status result=ok boots_next=a a=staged:3.0.0
    enter_dfu
    takes serial -S BMC-1 -D plain.tar
    status_is serial-status result=ok a=staged:2.0.1
    enter_dfu
    takes path -p "$1" -D next.tar
    status_is path-status result=ok a=staged:3.0.0
    enter_dfu
    takes id -d "$VENDOR:$RUNTIME_ID,$VENDOR:$DFU_ID" -D plain.tar
    status_is id-status result=ok a=staged:2.0.1
    enter_dfu
    takes small-blocks -t 1000 -D next.tar
    status_is small-blocks-status result=ok a=staged:3.0.0
    enter_dfu
    takes stdin -D - <plain.tar
    status_is stdin-status result=ok a=staged:2.0.1
    mode runtime
    expect_exit other-serial 74 dfu-util -S BMC-2 -D plain.tar
    expect_exit other-path 74 dfu-util -p "${1%1}2" -D plain.tar
    expect_exit other-id 74 dfu-util -d "$VENDOR:0003" -D plain.tar
    # In run-time dfu-util does not look at names.
    enter_dfu
    expect_exit other-name 74 dfu-util -a BMC -D plain.tar
}

waits_for_it() {
    # With -w, before there is a device; then from run-time.
    stop bmc-inbandd
    mode none
    new_boot bmc
    start waiting dfu-util -w -S BMC-1 -D next.tar
    wait_for_log waiting 'Waiting for device'
    bmc_start bmc
    finish waiting
    is_done wait
    status_is wait-status result=ok running=a boots_next=b b=staged:3.0.0
    bmc_restart bmc
    status_is wait-started running=b b=good:3.0.0
}
