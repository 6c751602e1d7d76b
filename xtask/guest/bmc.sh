# BMCs and packages for them: `. /guest/bmc.sh` after lib.sh.
#
# A BMC has a name; its files are in /tmp/NAME: inbandd.toml, the store, the system keys. Either it is a virtual one, served over USB/IP
# on loopback, and `inband attach --keep` gives it to this kernel, again whenever it comes back after leaving the bus; or it is a
# gadget on dummy_hcd, which is plugged into this kernel.
#
#   bmc_make NAME PORT SERIAL [OPTION...]   configuration and store; options of `inbandd init`. PORT is a TCP port, or the word gadget
#   bmc_start NAME                          starts inbandd, which is a start of a virtual BMC
#   bmc_restart NAME [SIGNAL]               ends it (TERM) and starts it, as the machine would: the boot loader decides what runs
#   daemon_restart NAME [SIGNAL]            likewise, but of a gadget the daemon alone: the machine runs on
#   new_boot NAME                           from now on a gadget's machine has started anew
#   bmc_attach NAME                         attaches a virtual one, and keeps it attached; waits until it is there
#   bmc_mark NAME                           remembers how much memory and how many descriptors its inbandd has
#   bmc_has_not_grown TEST NAME             one test: it has as many descriptors now, and hardly more memory
#   unlimited NAME                          no budgets and no lock-out, for hosts that need as many tries as they want
#   gadget_option NAME 'KEY = VALUE'        for a gadget's configuration, [gadget]
#   place_of SERIAL                         prints where on USB the device with this serial number is, as in 1-1
#   mode runtime|dfu|none [SERIAL]          waits until the device is there in that mode, or is not there
#   enter_dfu                               brings the only device there into DFU mode, anew if it is in it
#   status_is NAME FIELD=VALUE...           one test: `inband status` over this kernel's USB says all of that, or does so
#                                           in a moment; fields of its JSON, and a=STATE:VERSION, b=STATE:VERSION
#   daemon_says TEST NAME FIELD=VALUE...    one test: `inbandd status` says all of that; fields of its JSON
#   inbandd_says TEST FILE FIELD=VALUE...   likewise, the one with this configuration
#   answers_are_fast TEST COUNT [FIELD SLOWEST]
#                                           one test: by what it said, the daemon has answered so many control requests at least, none of them
#                                           later than within 100 ms; or what else FIELD counts, the slowest in SLOWEST us
#   slowest_answer NAME                     prints its slowest answer to a control request as inbandd tells it, in microseconds
#   image FILE BYTES                        an image that no two runs share
#   pack FILE VERSION IMAGE [OPTION...]     a signed package; options of `inband pack`
#   spoil FILE OFFSET                       overwrites 16 bytes of it

# What the kernel has to say where a cable is pulled: in the middle of an enumeration, and from a controller that was stopped by soft_connect
# before its gadget is unbound (docs/kernels.md). A device that comes and goes within a moment is such a one as well.
UNPLUGGED='device descriptor read/[a-z0-9]*, error -[0-9]*\|device not accepting address [0-9]*, error -[0-9]*\|unable to enumerate USB device'
UNPLUGGED="$UNPLUGGED\|unable to read config index [0-9]* descriptor/[a-z]*: -71\|can't read configurations, error -71\|can't set config #[0-9]*, error -71"
UNPLUGGED="$UNPLUGGED\|string descriptor 0 read error: -71\|UDC had already stopped"
HARMLESS="$HARMLESS\|$UNPLUGGED"

MACHINE=test-board
KEY=/tmp/release
VENDOR=1209
RUNTIME_ID=0001
DFU_ID=0002
# Small, so that nothing that is done to a whole slot takes long in here.
SLOT_SIZE=2097152

make_key() {
    [ -f "$KEY.key" ] || inband keygen --out "$KEY" || die "no keys"
}

bmc_make() {
    local bmc=$1 port=$2 serial=$3 usb machine restart
    shift 3
    make_key
    mkdir -p "/tmp/$bmc/keys"
    cp "$KEY.pub" "/tmp/$bmc/keys/release.pem"
    echo "$port" >"/tmp/$bmc/port"
    if [ "$port" = gadget ]; then
        modprobe dummy_hcd || die "no dummy_hcd"
        modprobe libcomposite || die "no gadgets"
        new_boot "$bmc"
        # A machine that restarts: its daemon ends, and whoever starts that again finds another start of the machine.
        cat >"/tmp/$bmc/reboot" <<END
#!/bin/sh
cat /proc/sys/kernel/random/uuid >/tmp/$bmc/boot_id
kill \$(cat /tmp/$bmc-inbandd.pid)
END
        chmod +x "/tmp/$bmc/reboot"
        usb='usb = "gadget"'
        machine='[gadget]
boot_id = "boot_id"'
        restart="restart_command = [\"/tmp/$bmc/reboot\"]"
    else
        usb="usb = \"usbip:127.0.0.1:$port\""
        machine=
        restart=
    fi
    cat >"/tmp/$bmc/inbandd.toml" <<END
machine = "$MACHINE"
$usb
control = "control"

$machine

[identity]
vendor_id = 0x$VENDOR
product_id = 0x$RUNTIME_ID
dfu_product_id = 0x$DFU_ID
serial = "$serial"

[signatures]
keys = "keys"

[store]
path = "store"
slot_size = $SLOT_SIZE

[[region]]
member = "image-bmc"
offset = 0
size = $SLOT_SIZE

[activation]
when = "${ACTIVATION:-reboot}"
$restart
END
    inbandd init --config "/tmp/$bmc/inbandd.toml" "$@" || die "no store for $bmc"
}

bmc_start() {
    start "$1-inbandd" inbandd --config "/tmp/$1/inbandd.toml"
    wait_for_log "$1-inbandd" event=started
}

is_gadget() {
    [ "$(cat "/tmp/$1/port")" = gadget ]
}

new_boot() {
    cat /proc/sys/kernel/random/uuid >"/tmp/$1/boot_id"
}

bmc_restart() {
    if is_gadget "$1"; then
        new_boot "$1"
    fi
    daemon_restart "$@"
}

daemon_restart() {
    stop "$1-inbandd" "${2:-TERM}"
    mode none
    bmc_start "$1"
    mode runtime
}

bmc_attach() {
    if ! is_gadget "$1"; then
        start "$1-attach" inband --usbip "127.0.0.1:$(cat "/tmp/$1/port")" attach --keep
        wait_for_log "$1-attach" 'on port'
    fi
    mode runtime
}

unlimited() {
    cat >>"/tmp/$1/inbandd.toml" <<END

[limits]
slot_rewrites_per_day = 0
sessions_per_day = 0
refusals = 0
END
}

gadget_option() {
    sed -i "s/^\[gadget\]/&\n$2/" "/tmp/$1/inbandd.toml"
}

place_of() {
    local file
    file=$(grep -lx -- "$1" /sys/bus/usb/devices/*/serial) || return
    file=${file%/serial}
    echo "${file##*/}"
}

bmc_mark() {
    resources "$1" >"/tmp/$1.resources"
    echo "---- $1: $(cat "/tmp/$1.resources") (KiB, descriptors)"
}

bmc_has_not_grown() {
    local memory descriptors memory_now descriptors_now
    read -r memory descriptors <"/tmp/$2.resources"
    # A connection that has just ended may not have been cleared away.
    wait_for 5 has_descriptors "$2" "$descriptors"
    read -r memory_now descriptors_now <<END
$(resources "$2")
END
    echo "---- $2: $memory_now KiB, $descriptors_now descriptors; before $memory, $descriptors"
    # What an allocator keeps back, and buffers that grew to the size of a request.
    if [ "$memory_now" -le $((memory + 1024)) ] && [ "$descriptors_now" = "$descriptors" ]; then
        ok "$1"
    else
        fail "$1" "$memory_now KiB and $descriptors_now descriptors, before $memory and $descriptors"
    fi
}

has_descriptors() {
    [ "$(resources "$1" | sed 's/.* //')" = "$2" ]
}

resources() {
    local pid
    pid=$(cat "/tmp/$1-inbandd.pid")
    echo "$(sed -n 's/^VmRSS:[^0-9]*\([0-9]*\).*/\1/p' "/proc/$pid/status") $(ls "/proc/$pid/fd" | wc -l)"
}

mode() {
    wait_for 20 in_mode "$@" || die "no device, or another one than expected: $*"
    udevadm settle
}

in_mode() {
    local device product
    for device in /sys/bus/usb/devices/*; do
        [ "$(cat "$device/idVendor")" = "$VENDOR" ] || continue
        [ -z "${2:-}" ] || [ "$(cat "$device/serial")" = "$2" ] || continue
        product=$(cat "$device/idProduct")
        case $1 in
            runtime) [ "$product" = "$RUNTIME_ID" ] && return 0 ;;
            dfu) [ "$product" = "$DFU_ID" ] && return 0 ;;
            none) return 1 ;;
        esac
    done
    [ "$1" = none ]
}

enter_dfu() {
    if in_mode dfu 2>/dev/null; then
        # It may be about to leave by itself: whether dfu-util finds it does not matter.
        run dfu-util -e
        mode runtime
    fi
    run dfu-util -e
    mode dfu
}

status_is() {
    local test=$1 tries=0 wanted found wrong
    shift
    while :; do
        run inband status --json
        wrong=
        for wanted in "$@"; do
            found=$(field "${wanted%%=*}")
            [ "$found" = "${wanted#*=}" ] || wrong="$wrong ${wanted%%=*}=$found, not ${wanted#*=};"
        done
        if [ "$STATUS" = 0 ] && [ -z "$wrong" ]; then
            ok "$test"
            return
        fi
        # It may be between its two descriptor sets, or about to confirm what it has just started.
        tries=$((tries + 1))
        if [ "$tries" -ge 5 ]; then
            fail "$test" "exit status $STATUS;$wrong"
            return
        fi
        sleep 1
    done
}

daemon_says() {
    local test=$1 bmc=$2
    shift 2
    inbandd_says "$test" "/tmp/$bmc/inbandd.toml" "$@"
}

inbandd_says() {
    local test=$1 config=$2 wanted wrong=
    shift 2
    run inbandd status --config "$config" --json
    for wanted in "$@"; do
        [ "$(field "${wanted%%=*}")" = "${wanted#*=}" ] || wrong="$wrong ${wanted%%=*}=$(field "${wanted%%=*}"), not ${wanted#*=};"
    done
    if [ "$STATUS" = 0 ] && [ -z "$wrong" ]; then
        ok "$test"
    else
        fail "$test" "exit status $STATUS;$wrong"
    fi
}

answers_are_fast() {
    local requests slowest
    requests=$(field "${3:-control_requests}")
    slowest=$(field "${4:-slowest_answer_us}")
    echo "---- $requests answered, the slowest in $slowest us" >&2
    if [ "$requests" -ge "$2" ] && [ "$slowest" -gt 0 ] && [ "$slowest" -lt 100000 ]; then
        ok "$1"
    else
        fail "$1" "$requests answered, the slowest in $slowest us"
    fi
}

# A field of the JSON line in $OUT.
field() {
    case $1 in
        a | b) sed -n 's/.*{"slot":"'"$1"'","state":"\([^"]*\)","version":"\([^"]*\)".*/\1:\2/p' "$OUT" ;;
        *) sed -n 's/^[^[]*"'"$1"'":"\{0,1\}\([^",}]*\).*/\1/p' "$OUT" ;;
    esac
}

slowest_answer() {
    inbandd status --config "/tmp/$1/inbandd.toml" --json | sed -n 's/.*"slowest_answer_us":\([0-9]*\).*/\1/p'
}

image() {
    head -c "$2" /dev/urandom >"$1"
}

pack() {
    local file=$1 version=$2 image=$3
    shift 3
    case " $* " in
        *" --key "*) ;;
        *)
            make_key
            set -- --key "$KEY.key" "$@"
            ;;
    esac
    case " $* " in
        *" --machine "*) ;;
        *) set -- --machine "$MACHINE" "$@" ;;
    esac
    inband pack --version "$version" --member "image-bmc=$image" --out "$file" "$@" || die "no package $file"
}

spoil() {
    printf 'sixteen bytes ..' | dd of="$1" bs=1 seek="$2" conv=notrunc 2>/dev/null
}
