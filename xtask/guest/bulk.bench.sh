# The bulk door: what the bus and one processor can do, updates by bulk, and the same by plain DFU.
# timeout: 7200
# memory: 3072
# processors: 2
# binaries: inband inbandd example:inband/stopwatch example:inband/pour example:inbandd/drain
. /guest/lib.sh
. /guest/bmc.sh
. /guest/two.sh

ROUNDS=$(sed -n 's/.*inband\.rounds=\([0-9]*\).*/\1/p' /proc/cmdline)
SIZES='8 32 128'
# Of the size that is resumed, and that plain DFU is measured with.
SIZE=32
# Room for a squashfs image.
SQUASHFS_SLOT=32

# bmc MIB: one with an empty slot that the image fills, or that has room for it.
bmc() {
    SLOT_SIZE=$(($1 * 1048576))
    bmc_make bmc gadget BENCH
    unlimited bmc
    bmc_begin
}

# bmc_with STORE: one with a copy of a store that was kept.
bmc_with() {
    cp -r "$1" bmc
    bmc_begin
}

bmc_begin() {
    run_on $BMC
    bmc_start bmc
    run_on $HOST
    mode runtime
}

bmc_end() {
    stop bmc-inbandd
    mode none
}

gone() {
    bmc_end
    rm -rf bmc
}

# limit usb|hash MIB: a limit by itself; a line of what it took.
limit() {
    if [ "$1" = usb ]; then
        run_on $BMC
        start drain drain
        run_on $HOST
        mode dfu DRAIN
    fi
    pour "$1" "$2" >line 2>"$OUT"
    STATUS=$?
    show "$OUT"
    result "$(cat line)"
    expect_status "$1-$2-$round" 0
    if [ "$1" = usb ]; then
        stop drain
        mode none
    fi
}

# update WHAT MIB PACKAGE [DOOR]: one update, by dfu-util unless there is a door; a line of what it took. MIB is 0 for an image of squashfs.
update() {
    local what=$1 mib=$2 package=$3 door=${4:-} wire slowest
    set -- --note what "$what" --note mib "$mib" --note length "$(stat -c %s "$package")" --watch "$(cat bmc-inbandd.pid)"
    if [ "$door" ]; then
        set -- "$@" --mark begin '"event":"door"' --last taken '"event":"progress"' --mark end '"event":"sent"' \
            -- inband --json update --door "$door" --allow-same "$package"
    else
        set -- "$@" --mark begin 'Download	[' --mark end 'Done!' -- dfu-util -D "$package"
    fi
    stopwatch "$@" >line 2>"$OUT"
    STATUS=$?
    show "$OUT"
    wire=$(sed -n 's/.*"event":"sent".*"total":\([0-9]*\).*/\1/p' "$OUT")
    # dfu-util does not tell: it sends the file.
    wire=${wire:-$(stat -c %s "$package")}
    slowest=$(slowest_answer bmc)
    result "$(sed "s/}\$/,\"wire\":$wire,\"slowest_us\":${slowest:-0}}/" line)"
    expect_status "$what-$mib-$round" 0
}

# stop_at BYTES PACKAGE: an update by bulk whose host is killed when it has sent so many.
stop_at() {
    local line sent
    mkfifo events
    inband --json update --door bulk "$2" >events &
    while read -r line; do
        case $line in
            *'"event":"progress"'*)
                sent=${line##*'"sent":'}
                if [ "${sent%%[,\}]*}" -ge "$1" ]; then
                    kill -9 $!
                fi
                ;;
        esac
    done <events
    wait $!
    STATUS=$?
    expect_status "stopped-$round" 137
    rm events
}

modprobe dummy_hcd || die "no dummy_hcd"
modprobe libcomposite || die "no gadgets"
for mib in $SIZES; do
    image image $((mib * 1048576))
    pack "$mib.tar" "$mib.0.0" image
    rm image
done
# Images that differ by a program each: the first two are what a BMC has in its slots.
bmc "$SQUASHFS_SLOT"
for version in 0 1 2; do
    pack "squashfs-$version.tar" "1.0.$version" "/guest/$SUITE/squashfs-$version"
    rm "/guest/$SUITE/squashfs-$version"
    if [ "$version" != 2 ]; then
        check "version-$version" inband update --door bulk "squashfs-$version.tar"
        bmc_restart bmc
        mode runtime
        status_is "runs-$version" on_trial=false
    fi
done
bmc_end
mv bmc used

round=1
while [ "$round" -le "$ROUNDS" ]; do
    for mib in $SIZES; do
        limit usb "$mib"
        limit hash "$mib"
        bmc "$mib"
        update full "$mib" "$mib.tar" bulk
        # What is staged already.
        update identical "$mib" "$mib.tar" bulk
        gone
    done
    bmc $SIZE
    stop_at $((SIZE * 1048576 / 2)) "$SIZE.tar"
    update rest $SIZE "$SIZE.tar" bulk
    gone
    bmc $SIZE
    update dfu $SIZE "$SIZE.tar" dfu
    gone
    bmc $SIZE
    update dfu-util $SIZE "$SIZE.tar"
    gone
    bmc "$SQUASHFS_SLOT"
    update squashfs-full 0 squashfs-2.tar bulk
    gone
    bmc_with used
    update squashfs-change 0 squashfs-2.tar bulk
    gone
    round=$((round + 1))
done
