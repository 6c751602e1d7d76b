# An inbandd that is not in the guest: `. /guest/usbredir.sh` after bmc.sh. PLACE is where it is, as in 1-1.

# host restart|kill: it ends and starts again, which is pulling its cable and plugging it in.
host() {
    local before
    before=$(devnum)
    order "$1"
    wait_for 20 is_anew "$before" || die "the device did not come back"
    mode runtime
}

# It may be away for less time than it takes to look.
is_anew() {
    in_mode runtime && [ "$(devnum)" != "$1" ]
}

devnum() {
    cat "/sys/bus/usb/devices/$PLACE/devnum"
}
