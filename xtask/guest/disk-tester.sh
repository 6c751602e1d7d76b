# A disk of the example `disk`, and ways to take it away: `. /guest/disk-tester.sh` after lib.sh, bmc.sh and disk.sh.
#
#   show_disk gadget|usbip:ADDRESS MIB   starts it; over USB/IP it is attached as well. It is there
#   remove_disk                          ends it
#   sh cable.sh, unbind.sh, crash.sh     take it off the bus and bring it back: the port of the hub, the administrator, SIGKILL of the program
#   sh detach.sh                         likewise over USB/IP
#   sh configuration.sh                  has the host unconfigure and configure it

modprobe dummy_hcd || die "no dummy_hcd"
modprobe libcomposite || die "no libcomposite"

script() {
    printf '. /guest/lib.sh\n. /guest/bmc.sh\n. /guest/disk.sh\n' >"$1.sh"
    cat >>"$1.sh"
}
script cable <<'END'
port=$(readlink -f "/sys/bus/usb/devices/$(place_of $SERIAL)/port")
echo 1 >"$port/disable"
mode none
echo 0 >"$port/disable"
mode runtime
END
script unbind <<'END'
file=$(grep -l dummy_udc.0 /sys/kernel/config/usb_gadget/*/UDC)
echo >"$file"
mode none
echo dummy_udc.0 >"$file"
mode runtime
END
script configuration <<'END'
cd "/sys/bus/usb/devices/$(place_of $SERIAL)" || exit
echo 0 >authorized
echo 1 >authorized
END
script crash <<'END'
signal disk KILL
mode none
start disk $(cat /tmp/disk.command)
mode runtime
END
script attach <<'END'
usbip attach --remote 127.0.0.1 --busid 1-1 && mode runtime
END
script detach <<'END'
usbip detach --port 0
mode none
sh /tmp/attach.sh
END

show_disk() {
    echo "disk $*" >/tmp/disk.command
    start disk disk "$@"
    case $1 in
        gadget) mode runtime ;;
        *) wait_for 20 sh attach.sh || die "the disk is not attached" ;;
    esac
}

# One that a script has started is not this shell's to wait for.
remove_disk() {
    signal disk TERM
    mode none
}
