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

COUNT=2
run_on $BMC
kernel_disk_start $MIB
disk_start $MIB
run_on $HOST
# With all of its memory in use.
for target in kernel ours; do
    disk_is $target
    check filled-$target dd if=/dev/zero of="$DISK" bs=64k oflag=direct count=$((MIB * 16))
done
round=1
while [ "$round" -le "$ROUNDS" ]; do
    for kib in 64 120; do
        for what in write read; do
            for target in kernel ours; do
                disk_is $target
                move $target $what $kib
            done
        done
    done
    round=$((round + 1))
done
disk_order tell slowest
wait_for_log disk '"name":"slowest"'
result "{\"target\":\"ours\",\"what\":\"slowest\",$(sed -n 's/.*\("slowest_us":[0-9]*}\).*/\1/p' /tmp/disk.log)"
disk_stop
kernel_disk_stop
check_kernel_log kernel-log
