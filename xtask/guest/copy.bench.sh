# An update by copy, both profiles, beside the same package by bulk, by plain DFU and by stock dfu-util; and what takes the BMC longest meanwhile.
# timeout: 3600
# memory: 3072
# processors: 2
# binaries: inband inbandd example:inband/stopwatch
. /guest/lib.sh
. /guest/bmc.sh
. /guest/disk.sh
. /guest/two.sh

# What mount says of a drive without a medium.
HARMLESS="$HARMLESS\|Can't open blockdev"
ROUNDS=$(sed -n 's/.*inband\.rounds=\([0-9]*\).*/\1/p' /proc/cmdline)
SIZES=$(cat "/guest/$SUITE/sizes")

# bmc MIB [PROFILE]: one with an empty slot that the image fills, and with a disk if there is a profile.
bmc() {
    RUNTIME_ID=0001
    SLOT_SIZE=$(($1 * 1048576))
    bmc_make bmc gadget $SERIAL
    unlimited bmc
    if [ "${2:-}" ]; then
        RUNTIME_ID=0003
        sed -i "s/^dfu_product_id.*/&\nvolume_product_id = 0x0003/; s/^slot_size.*/&\nmax_package = $((SLOT_SIZE + 2097152))/" bmc/inbandd.toml
        printf '\n[doors]\nvolume = { policy = "always", profile = "%s" }\n' "$2" >>bmc/inbandd.toml
    fi
    run_on $BMC
    bmc_start bmc
    run_on $HOST
    mode runtime
    if [ "${2:-}" ]; then
        disk_is ours
    fi
}

gone() {
    stop bmc-inbandd
    mode none
    rm -rf bmc
}

# What a shell's user does, and what of it is done: `sh fat FILE`, `sh raw FILE`. The BMC has judged when it says so in its log. All the while it is asked how it
# stands if there is a word behind the file.
cat >common <<'END'
VERDICT='event=session-state .* state=\(staged\|failed\)'

judged() {
    until grep -q "$VERDICT" /tmp/bmc-inbandd.log; do
        pause
    done
    echo judged
}

pause() {
    if [ "$ASKED" ]; then inband status --json >/dev/null; else sleep 0.02; fi
}

# What took the BMC longest by now is of the copy; and of what follows, if there is anything that takes longer.
written() {
    echo written
    [ -z "$ASKED" ] || inbandd status --config /tmp/bmc/inbandd.toml --json >/tmp/copied
}

fail() {
    echo "$*"
    exit 1
}
END
cat >fat <<'END'
DISK=$1 ASKED=$3
. ./common
mount -t vfat "$DISK" /mnt || fail mount
echo begin
cp "$2" /mnt/FIRMWARE.BIN || fail cp
echo copied
umount /mnt || fail umount
written
eject -s "$DISK" || fail eject
echo ejected
judged
until mount -t vfat -o ro "$DISK" /mnt 2>/dev/null && [ -e /mnt/PASS.TXT -o -e /mnt/FAIL.TXT ]; do
    umount /mnt 2>/dev/null
    pause
done
text=$(cat /mnt/STATUS.TXT)
echo verdict
echo "$text"
umount /mnt
END
cat >raw <<'END'
DISK=$1 ASKED=$3
. ./common
echo begin
dd if="$2" of="$DISK" bs=64k conv=fsync 2>/dev/null || fail dd
written
eject -s "$DISK" || fail eject
echo ejected
judged
until text=$(dd if="$DISK" bs=512 count=1 iflag=direct 2>/dev/null) && [ "$text" ]; do
    pause
done
echo verdict
echo "$text"
END

# The slowest answers, of what inbandd told.
slowest() {
    sed -n 's/.*\("slowest_answer_us":[0-9]*\).*\("slowest_disk_answer_us":[0-9]*\).*/\1,\2/p' "$1"
}

# measured WHAT MIB PROGRAM...: one update by a program that the stopwatch is told about; a line of what it took.
measured() {
    local what=$1 mib=$2 told
    shift 2
    set -- --note what "$what" --note mib "$mib" --watch "$(cat bmc-inbandd.pid)" "$@"
    stopwatch "$@" >line 2>"$OUT"
    STATUS=$?
    show "$OUT"
    inbandd status --config bmc/inbandd.toml --json >status
    told=$(slowest status)
    if [ -e copied ]; then
        told="$told,$(slowest copied | sed 's/"slowest/"copied_slowest/g')"
        rm copied
    fi
    result "$(sed "s/}\$/,$told}/" line)"
    expect_status "$what-$mib-$round" 0
}

# copy WHAT PROFILE MIB FILE RESULT [asked]: one update by copy, that ends with this result.
copy() {
    local what=$1 profile=$2 mib=$3 file=$4 result=$5
    bmc "$mib" "$profile"
    measured "$what" "$mib" --note length "$(stat -c %s "$file")" --mark begin begin --mark copied copied --mark written written --mark ejected ejected \
        --mark judged judged --mark end verdict -- sh "$profile" "$DISK" "$file" "${6:-}"
    tr -d '\r' <"$OUT" >text && mv text "$OUT"
    expect_text "$what-$mib-$round-result" "RESULT=$result"
    gone
}

# by DOOR|dfu-util MIB FILE
by() {
    bmc "$2"
    case $1 in
        dfu-util) set -- "$@" --mark begin 'Download	[' --mark end 'Done!' -- dfu-util -D "$3" ;;
        *) set -- "$@" --mark begin '"event":"door"' --mark end '"event":"sent"' -- inband --json update --door "$1" "$3" ;;
    esac
    what=$1 mib=$2 file=$3
    shift 3
    measured "$what" "$mib" --note length "$(stat -c %s "$file")" "$@"
    gone
}

disk_modules
mkdir -p /mnt
cd /tmp
for mib in $SIZES; do
    image "$mib.image" $((mib * 1048576))
    pack "$mib.tar" "$mib.0.0" "$mib.image"
done

round=1
while [ "$round" -le "$ROUNDS" ]; do
    for mib in $SIZES; do
        by bulk "$mib" "$mib.tar"
        copy fat fat "$mib" "$mib.tar" ok
        by dfu "$mib" "$mib.tar"
        copy raw raw "$mib" "$mib.tar" ok
        by dfu-util "$mib" "$mib.tar"
    done
    round=$((round + 1))
done
# While it is asked how it stands: a package that is taken; a file that is none, whose pages are dropped when the first has been looked at; one that is too
# large, of which nothing is. Of the largest size.
mib=${SIZES##* }
copy asked fat "$mib" "$mib.tar" ok asked
copy asked-raw raw "$mib" "$mib.tar" ok asked
copy no-package fat "$mib" "$mib.image" bad-head asked
head -c 3145728 /dev/zero >>"$mib.image"
copy too-large fat "$mib" "$mib.image" too-large asked
check_kernel_log kernel-log
