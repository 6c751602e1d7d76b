# A disk whose writes are logged: `. /guest/record.sh` after lib.sh and disk.sh.
#
#   recorded NAME COMMANDS           a test: runs these on the disk of this name, which is $DISK; what was done there by $HOST is told with the trace
#   told NAME WORDS                  tells it only

MACHINE=$(sed 's/.*-q35-/QEMU /' /sys/class/dmi/id/product_version)

recorded() {
    disk_is "$1"
    export DISK
    check "$1" sh -eu -c "$2"
    told "$1" "$2"
}

told() {
    local did
    did=$(echo "$2" | tr -s '\n ' ' ' | sed 's/["\\]/\\&/g')
    result "{\"trace\":\"$1\",\"host\":\"$HOST, a USB disk of $MACHINE (usb-storage)\",\"did\":\"${did% }\"}"
}
