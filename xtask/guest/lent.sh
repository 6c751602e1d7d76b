# A host at the kernel's disk that a BMC has: `. /guest/lent.sh` after disk.sh, in the place of volume.sh.
. /guest/volume.sh

# It may come back under another name.
says() {
    local folder
    folder=$(disk_folder $SERIAL) && DISK=/dev/$(ls "$folder/block") && first_block 2>/dev/null | grep -qx "STATE=$1"
}
