# Plain DFU: stock dfu-util and inband against inbandd, and dfu-util against a device that throws the data away.
# timeout: 7200
# memory: 2048
# processors: 2
# binaries: inband inbandd example:inband/stopwatch example:inbandd/sink
. /guest/lib.sh
. /guest/bmc.sh
. /guest/two.sh

ROUNDS=$(sed -n 's/.*inband\.rounds=\([0-9]*\).*/\1/p' /proc/cmdline)
SIZES='8 32 128'

modprobe dummy_hcd || die "no dummy_hcd"
modprobe libcomposite || die "no gadgets"
for mib in $SIZES; do
    image image $((mib * 1048576))
    pack "$mib.tar" "$mib.0.0" image
    rm image
done

# device_start inbandd|sink MIB: at run time; inbandd with an empty slot that the image fills.
device_start() {
    run_on $BMC
    case $1 in
        inbandd)
            SLOT_SIZE=$(($2 * 1048576))
            bmc_make bmc gadget BENCH
            bmc_start bmc
            ;;
        sink)
            start bmc-inbandd sink gadget
            ;;
    esac
    run_on $HOST
    mode runtime
}

device_stop() {
    stop bmc-inbandd
    mode none
    rm -rf bmc
}

# The line with the slowest answer to a control request as inbandd tells it, in microseconds.
slowest() {
    local slowest
    slowest=$(slowest_answer bmc)
    sed "s/}\$/,\"slowest_us\":${slowest:-0}}/" line
}

# measure DEVICE HOST MIB ROUND: one update; a line of what it took.
measure() {
    local device=$1 host=$2 mib=$3 round=$4
    device_start "$device" "$mib"
    set -- --note device "$device" --note host "$host" --note mib "$mib" --note round "$round" \
        --watch "$(cat bmc-inbandd.pid)"
    case $host in
        dfu-util)
            set -- "$@" --mark begin 'Download	[' --mark end 'Done!' -- dfu-util -D "$mib.tar"
            ;;
        inband)
            set -- "$@" --mark detach '"event":"detach"' --mark dfu_mode '"event":"dfu-mode"' \
                --mark begin '"event":"start"' --mark end '"event":"sent"' -- inband --json update --door dfu "$mib.tar"
            ;;
    esac
    stopwatch "$@" >line 2>"$OUT"
    STATUS=$?
    show "$OUT"
    if [ "$device" = inbandd ]; then slowest; else cat line; fi >told
    result "$(cat told)"
    expect_status "$device-$host-$mib-$round" 0
    device_stop
}

round=1
while [ "$round" -le "$ROUNDS" ]; do
    for mib in $SIZES; do
        measure sink dfu-util "$mib" "$round"
        measure inbandd dfu-util "$mib" "$round"
        measure inbandd inband "$mib" "$round"
    done
    round=$((round + 1))
done
