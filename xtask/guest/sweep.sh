# Every request there is, to BMCs whose doors are shut, over real usbfs: `. /guest/sweep.sh`, with PAIRS quarter or all (crates/inband/examples/hostile/sweep.rs). Gadgets
# are swept by that; `sweep NAME PORT POLICY` sweeps another one.
. /guest/lib.sh
. /guest/bmc.sh

image image 16384
pack good.tar 2.0.0 image

# sweep NAME PORT POLICY
sweep() {
    bmc_make "$1" "$2" BMC-1
    cat >>"/tmp/$1/inbandd.toml" <<END

[doors.dfu]
policy = "$3"

[doors.bulk]
policy = "$3"
END
    bmc_start "$1"
    bmc_attach "$1"
    mode runtime
    bmc_mark "$1"
    check "$1" hostile --package good.tar --sweep "$PAIRS"
    tail -n 3 "$OUT"
    bmc_has_not_grown "$1-no-leak" "$1"
    daemon_says "$1-as-before" "$1" session=0
    stop "$1-inbandd"
    expect_status "$1-stops" 0
    mode none
}

sweep gadget-off gadget off
sweep gadget-armed gadget armed
