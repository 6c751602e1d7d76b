# A host at the disk of a BMC, raw profile: `. /guest/volume.sh` after disk.sh, which finds the disk.
#
#   medium TEST STATE      one test: in the end there is a medium that says STATE; what else it says is what was printed last
#   copies TEST FILE       tests: FILE is written to the disk and ejected, as a shell's user does it
#   is_receiving           whether the BMC, which is `bmc`, has seen that something is written
#   in_the_middle OPTION...
#                          our tool, with these options, has sent some of large.tar, and is stopped there
#   goes_on                it goes on to its end

first_block() {
    dd if="$DISK" bs=512 count=1 iflag=direct 2>/dev/null | tr -d '\r'
}

says() {
    first_block 2>/dev/null | grep -qx "STATE=$1"
}

medium() {
    wait_for 60 says "$2"
    run first_block
    expect_text "$1" "STATE=$2"
}

copies() {
    check "$1-copy" dd if="$2" of="$DISK" bs=64k conv=fsync
    check "$1-eject" eject -s "$DISK"
}

is_receiving() {
    inbandd status --config /tmp/bmc/inbandd.toml --json | grep -q '"state":"receiving"'
}

in_the_middle() {
    start tool inband update --json "$@" large.tar
    wait_for 60 grep -q '"event":"progress","sent":[1-9]' /tmp/tool.log || die "nothing is sent"
    signal tool STOP
    wait_for 10 is_receiving || die "what is written is not seen"
}

goes_on() {
    signal tool CONT
    finish tool
}
