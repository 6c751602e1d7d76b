# Firmware by plain copy while another program of the host writes nonsense to the same disk, before the eject, while it comes, and behind it: what is staged was judged.
# timeout: 600
# clock: instructions
# binaries: inband inbandd example:inbandd/blocks
. /guest/lib.sh
. /guest/bmc.sh
. /guest/bulk.sh
. /guest/disk.sh
. /guest/copy.sh

# What a kernel says whose writes are refused.
HARMLESS="$HARMLESS\|I/O error\|FAT-fs (sd\|lost async page write\|lost sync page write\|Can't open blockdev"
SLOT_SIZE=8388608
# Blocks: all of the medium, and where FATs, root directory and package are.
ALL=82048
PACKAGE=760

for version in 2.0.0 2.0.1; do
    image image-$version 262144
    pack $version.tar $version image-$version
done
copy_make
# The eject, of those who come by this path, is that of somebody else as well.
mkdir hostile
cat >hostile/eject <<END
#!/bin/sh
blocks scribble $DISK \$\$ 1 0 $PACKAGE >>/tmp/storms &
exec /usr/bin/eject "\$@"
END
chmod +x hostile/eject

# Whether there is a medium that is ready; if not, what is left is forgotten.
fresh() {
    marker_text READY >/dev/null && [ "$(daemon state)" != receiving ] && return
    inbandd abort --config /tmp/bmc/inbandd.toml
    eject -s "$DISK"
    return 1
}
is_judged() {
    case $(daemon state) in handover | verifying) return 1 ;; esac
}

# round NUMBER: nothing but what was judged is ever staged, whatever came of it.
round() {
    wait_for 60 fresh || die "no medium"
    version=2.0.$(($1 % 2))
    tools=$PATH
    # A block here and there; where the package is; there from the eject on; and none, which passes.
    storm=
    case $(($1 % 4)) in
        0) storm=$ALL ;;
        1) storm=$PACKAGE ;;
        2) tools=/tmp/hostile:$PATH ;;
    esac
    [ -z "$storm" ] || start storm blocks scribble "$DISK" "$1" 3 0 "$storm"
    run env PATH="$tools" bash /guest/copy-update.sh -w 5 -t 20 $version.tar
    script=$STATUS
    if [ -n "$storm" ]; then
        finish storm
        cat /tmp/storm.log >>/tmp/storms
    fi
    wait_for 20 is_judged || die "no verdict"
    result=$(daemon result)
    boots=$(daemon boots_next)
    staged=$(daemon version_b)
    echo "---- round $1: exit status $script, $result, boots $boots, $staged"
    [ "$script" = 0 ] && passed=$((passed + 1)) || refused=$((refused + 1))
    if [ "$script" = 0 ] && [ "$boots $staged" != "b $version" ]; then
        fail "round-$1" "PASS for $version, and $staged is staged"
    elif [ "$boots" = b ] && ! cmp -n 262144 /tmp/bmc/store/slot-b.img "image-$staged"; then
        fail "round-$1" "the slot that boots next is not $staged"
    else
        ok "round-$1"
    fi
}
passed=0 refused=0
for number in $(seq 12); do
    round "$number"
done
# It was a storm, and an update got through it.
echo "---- $passed passed, $refused refused"
check some-pass test $passed -ge 2
check some-are-refused test $refused -ge 2
check some-writes-come-before awk '/taken/ { sum += $1 } END { exit !(sum > 50) }' /tmp/storms
check some-writes-come-too-late awk '/refused/ { sum += $3 } END { exit !(sum > 50) }' /tmp/storms

wait_for 60 fresh || die "no medium"
expect_exit honest 0 bash /guest/copy-update.sh 2.0.0.tar
slot_holds honest-slot bmc b image-2.0.0
stop bmc-inbandd
expect_status daemon-ends 0
check_kernel_log kernel-log
