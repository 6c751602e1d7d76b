# A host at the disk of a BMC, raw profile: `. /guest/volume.sh` after disk.sh, which finds the disk.
#
#   medium TEST STATE      one test: in the end there is a medium that says STATE; what else it says is what was printed last
#   copies TEST FILE       tests: FILE is written to the disk and ejected, as a shell's user does it

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
