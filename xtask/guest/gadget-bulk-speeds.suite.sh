# The bulk door on ports of other speeds than the gadget's own: full speed, where a packet has 64 bytes, and SuperSpeed.
# timeout: 1200
# clock: instructions
# binaries: inband inbandd example:inband/half-unit
. /guest/lib.sh
. /guest/bmc.sh
. /guest/bulk.sh

SLOT_SIZE=4194304
image one 4194304
image two 4194304
image three 262144

# at_speed TEST MBIT PACKET PARAMETERS...: the controller and its host begin anew; updates by bulk, and one that is cut off.
at_speed() {
    local speed=$1 mbit=$2 packet=$3 place
    shift 3
    rmmod dummy_hcd 2>/dev/null
    modprobe dummy_hcd "$@" && modprobe libcomposite || die "no dummy_hcd with $*"
    rm -rf /tmp/bmc
    pack one.tar 2.0.0 one
    pack two.tar 3.0.0 two
    pack three.tar 4.0.0 three
    bmc_make bmc gadget BMC-1
    bmc_start bmc
    bmc_attach bmc
    run dfu-util -e
    mode dfu
    place=$(place_of BMC-1)
    run cat "/sys/bus/usb/devices/$place/speed"
    if [ "$(cat "$OUT")" = "$mbit" ]; then ok "$speed"; else fail "$speed" "it runs at $(cat "$OUT") Mbit/s"; fi
    run sh -c "cat /sys/bus/usb/devices/$place:1.1/ep_*/wMaxPacketSize | sort -u"
    if [ "$(cat "$OUT")" = "$packet" ]; then ok "$speed-packet"; else fail "$speed-packet" "$(cat "$OUT")"; fi
    update_begins one one.tar
    finish one
    expect_status "$speed-update" 0
    slot_holds "$speed-slot" bmc b one
    status_is "$speed-status" result=ok state=staged running=a boots_next=b b=staged:2.0.0
    update_begins two two.tar
    wait_for_sent two 50
    stop two KILL
    cp two.log first.log
    update_begins two two.tar
    finish two
    expect_status "$speed-cut" 0
    joined first two
    sends_the_rest "$speed-cut-rest" two 196608
    slot_holds "$speed-cut-slot" bmc b two
    check "$speed-by-dfu" inband update --door dfu three.tar
    slot_holds "$speed-by-dfu-slot" bmc b three
    stop bmc-inbandd
    mode none
}

at_speed full-speed 12 0040 is_high_speed=0
# There a unit has eight packets, and a host may die behind any of them. Who comes next goes on at once: no deadline has to pass first.
bmc_start bmc
for place in out in chunk; do
    pack "$place.tar" "5.0.$place" one
    mode runtime
    run dfu-util -e
    mode dfu
    check "full-speed-dies-in-$place" half-unit "$place"
    check "full-speed-behind-$place" inband --json update --door bulk "$place.tar"
    expect_no_text "full-speed-behind-$place-at-once" '"event":"lost"'
done
stop bmc-inbandd
mode none
at_speed super-speed 480 0200 is_super_speed=1
check_kernel_log kernel-log
