# A host at the disk of a BMC, profile with a filesystem: `. /guest/copy.sh` after bmc.sh and disk.sh, which finds the disk.
#
#   copy_make BMC                a gadget that shows its disk, for packages of 16 MiB at most; starts it, and waits until the host has the disk
#   marker TEST MARKER           one test: in the end there is a medium with this marker, READY, BUSY, PASS or FAIL; what it says is what was printed last
#   next TEST                    tests: what tells of the end is taken out, and there is a medium for another package
#   mounted                      mounts the medium at /mnt, to be written to
#   ejected TEST                 tests: it is unmounted and ejected
#   passes TEST PACKAGE IMAGE    tests: what was copied was this package, and the slot that does not run holds its image; goes on to the next medium
#   refused_for TEST RESULT [DETAIL]
#                                tests: it was refused for that, and boots_next is the slot that runs; likewise
#   without_eject                makes /tmp/tools, for the PATH of a host that has all but eject
#   slots                        remembers what the slots hold
#   slots_are_the_same TEST      one test: they hold that now

# The one that is there.
BMC=bmc

mkdir -p /mnt

copy_make() {
    bmc_make "$BMC" gadget $SERIAL
    unlimited "$BMC"
    sed -i 's/^dfu_product_id.*/&\nvolume_product_id = 0x0003/; s/^slot_size.*/&\nmax_package = 16777216/' "/tmp/$BMC/inbandd.toml"
    printf '\n[doors]\nvolume.policy = "always"\n' >>"/tmp/$BMC/inbandd.toml"
    disk_modules
    modprobe vfat || die "no vfat"
    bmc_start "$BMC"
    RUNTIME_ID=0003
    mode runtime $SERIAL
    disk_is ours
}

# What the marker says, if the medium has this one. To open an empty drive says less than to mount it.
marker_text() {
    { true <"$DISK"; } 2>/dev/null && mount -t vfat -o ro "$DISK" /mnt || return
    if [ -e "/mnt/$1.TXT" ]; then
        tr -d '\r' <"/mnt/$1.TXT"
        umount /mnt
    else
        umount /mnt
        return 1
    fi
}

marker() {
    wait_for 20 marker_text "$2"
    check "$1" marker_text "$2"
}

next() {
    check "$1-taken-out" eject -s "$DISK"
    marker "$1-next" READY
}

mounted() {
    mount -t vfat "$DISK" /mnt || die "the medium cannot be mounted"
}

ejected() {
    check "$1-umount" umount /mnt
    check "$1-eject" eject -s "$DISK"
}

# Of the JSON line of `inbandd status`.
daemon() {
    inbandd status --config "/tmp/$BMC/inbandd.toml" --json >"$OUT" && field "$1"
}

passes() {
    marker "$1" PASS
    expect_text "$1-head" "HEAD=$(head_of "$2")"
    daemon_says "$1-daemon" "$BMC" result=ok state=staged boots_next=b
    slot_holds "$1-slot" "$BMC" b "$3"
    next "$1"
}

head_of() {
    dd if="$1" bs=512 skip=1 count=1 2>/dev/null | sha256sum | cut -c 1-32
}

refused_for() {
    marker "$1" FAIL
    expect_text "$1-result" "RESULT=$2"
    [ -z "${3:-}" ] || expect_text "$1-detail" "DETAIL=$3"
    daemon_says "$1-daemon" "$BMC" "result=$2"
    next "$1"
}

without_eject() {
    mkdir /tmp/tools
    busybox --install -s /tmp/tools
    rm -f /tmp/tools/eject
    ln -s /usr/bin/bash /tmp/tools/
}

slots() {
    sha256sum "/tmp/$BMC"/store/slot-*.img >/tmp/slots
}

slots_are_the_same() {
    check "$1" sha256sum -c /tmp/slots
}
