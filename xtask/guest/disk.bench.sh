# The disk over FunctionFS beside the kernel's own target on a file in memory: 64 MiB written and read past the page cache, by commands of 64 and of 120 KiB.
# timeout: 1800
# processors: 2
# binaries: example:inband/stopwatch example:inbandd/disk
. /guest/lib.sh
. /guest/disk.sh
. /guest/two.sh

ROUNDS=$(sed -n 's/.*inband\.rounds=\([0-9]*\).*/\1/p' /proc/cmdline)
MIB=64

# move TARGET write|read KIB: all of the disk that goes into whole commands; a line of what it took.
move() {
    local count=$((MIB * 1024 / $3))
    case $2 in
        write) set -- "$@" "if=/dev/zero" "of=$DISK" oflag=direct ;;
        read) set -- "$@" "if=$DISK" "of=/dev/null" iflag=direct ;;
    esac
    stopwatch --note target "$1" --note what "$2" --note kib "$3" --note bytes $((count * $3 * 1024)) \
        -- dd "$4" "$5" "$6" bs="$3k" count=$count >line 2>"$OUT"
    STATUS=$?
    show "$OUT"
    result "$(cat line)"
    expect_status "$1-$2-$3-$round" 0
}

# measure TARGET: with all of its memory in use already.
measure() {
    run_on $HOST
    check "$1-filled-$round" dd if=/dev/zero of="$DISK" bs=120k count=$((MIB * 1024 / 120)) oflag=direct
    for kib in 64 120; do
        move "$1" write $kib
        move "$1" read $kib
    done
    run_on $BMC
}

round=1
run_on $BMC
while [ "$round" -le "$ROUNDS" ]; do
    kernel_disk_start $MIB
    measure kernel
    kernel_disk_stop
    disk_start $MIB
    measure ours
    disk_order tell "round-$round"
    wait_for_log disk "round-$round"
    result "{\"target\":\"ours\",\"what\":\"slowest\",$(sed -n 's/.*\("slowest_us":[0-9]*}\).*/\1/p' /tmp/disk.log)"
    disk_stop
    round=$((round + 1))
done
check_kernel_log kernel-log
