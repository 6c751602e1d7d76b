#!/bin/sh
# Updates a BMC by the disk that it shows: copies a package onto it, ejects it, and reads from what comes back what the BMC says.
# For bash and other POSIX shells, with mount, eject, and coreutils or busybox. What is on the disk: docs/spec/volume.md.
set -u

usage() {
    cat <<END
Usage: $0 [-w SECONDS] [-t SECONDS] PACKAGE [DISK]

Copies PACKAGE to the disk of a BMC as FIRMWARE.BIN, ejects it, and prints PASS.TXT or FAIL.TXT. To be run by root.
DISK is a device such as /dev/sdX; without it, it is the one that is named INBAND FIRMWARE FAT.

  -w SECONDS   how long to wait for a disk that is ready (30)
  -t SECONDS   how long to wait for the verdict (600)

Exit status:
  0  PASS: the BMC has staged the package
  1  FAIL: it has not, and runs what it ran; FAIL.TXT says why
  2  the command line is wrong
  3  no disk
  4  several disks: say which
  5  not root
  7  the package cannot be read, or not be written to the disk
  9  busy: the BMC takes no package now; BUSY.TXT says why
 10  no verdict in time, or none on this package
 14  cancelled by a signal
END
}

die() {
    status=$1
    shift
    echo "$0: $*" >&2
    exit "$status"
}

# The disks of BMCs. Their names, unlike the label BMCUPDATE, are there while the drive is empty too.
disks() {
    for block in /sys/block/*; do
        { read -r vendor <"$block/device/vendor" && read -r model <"$block/device/model"; } 2>/dev/null || continue
        [ "$vendor $model" != 'INBAND FIRMWARE FAT' ] || echo "/dev/${block##*/}"
    done
}

# mount_as ro|rw
mount_as() {
    mount -t vfat -o "$1,nosuid,nodev,noexec" "$disk" "$dir" && mounted=yes
}

unmount() {
    umount "$dir" || die 7 "cannot unmount $disk"
    mounted=
}

# look MARKER...: waits for a medium with one of them, and leaves it mounted: read-only, which writes nothing, unless somebody has
# mounted it otherwise. A drive that is empty cannot be opened, and to open it is what makes a kernel look that does not by itself.
look() {
    while :; do
        # A link goes with the medium, and comes when somebody has looked at the next.
        [ ! -b "$named" ] || named=$(readlink -f "$named")
        disk=${named:-$(disks)}
        case $disk in *[[:space:]]*) die 4 'several disks:' "$disk" ;; esac
        if [ -b "$disk" ] && { true <"$disk" && { mount_as ro || mount_as rw; }; } >/dev/null 2>&1; then
            for marker in "$@"; do
                [ ! -e "$dir/$marker.TXT" ] || return 0
            done
            unmount
        fi
        [ "$(now)" -lt "$end" ] || return
        sleep 1
    done
}

# Seconds, of a clock that nobody sets.
now() {
    read -r uptime _ </proc/uptime
    echo "${uptime%.*}"
}

block() {
    dd if="$package" bs=512 skip="$1" count=1 2>/dev/null
}

# What the medium says: all of it, or the value of a key. It may be somebody else's who says it: as much as there can be, and no more than text.
text() {
    head -c 16384 <"$dir/$marker.TXT" | tr -cd '\n -~'
}
value() {
    text | sed -n "s/^$1=//p"
}

# A copy that was broken off is to be forgotten at once.
clean_up() {
    [ -z "$copying" ] || : >"$dir/CANCEL.CMD"
    [ -z "$mounted" ] || umount "$dir"
    rmdir "$dir"
}

disk_time=30 verdict_time=600
[ "${1-}" != --help ] || { usage; exit; }
while getopts w:t:h option; do
    case $option in
        w) disk_time=$OPTARG ;;
        t) verdict_time=$OPTARG ;;
        h) usage; exit ;;
        *) usage >&2; exit 2 ;;
    esac
done
shift $((OPTIND - 1))
case $#,$disk_time$verdict_time in
    [12],*[!0-9]* | [!12],*) usage >&2; exit 2 ;;
esac
package=$1
named=${2-}
[ -r "$package" ] || die 7 "cannot read $package"
[ "$(id -u)" = 0 ] || die 5 'only root can mount the disk'

copying='' mounted=''
dir=$(mktemp -d) || exit 7
trap clean_up EXIT
trap 'exit 14' HUP INT TERM

# A verdict that nobody took out makes room.
end=$(($(now) + disk_time))
while :; do
    look READY BUSY PASS FAIL || die 3 'no disk of a BMC that is ready'
    [ "$marker" != BUSY ] || { text; die 9 'the BMC is busy'; }
    generation=$(value GENERATION)
    unmount
    [ "$marker" != READY ] || break
    [ "$(now)" -lt "$end" ] || die 9 'there is one verdict behind the other'
    eject -s "$disk" || die 9 'the last verdict cannot be taken out: it goes by itself, 10 minutes after it came'
done

mount_as rw || die 7 "cannot mount $disk"
{ [ -e "$dir/READY.TXT" ] && [ "$(value GENERATION)" = "$generation" ]; } || die 3 "$disk is another disk now"
copying=yes
# The name first: with it the BMC is this host's, and who runs out of room can still create another.
: >"$dir/FIRMWARE.BIN" && sync "$dir"
# By its name here too: of the disk's errors an unmount tells nobody.
{ cp "$package" "$dir/FIRMWARE.BIN" && sync "$dir/FIRMWARE.BIN"; } || die 7 "cannot write to $disk"
copying=
unmount
# Where there is no eject, or it is refused, a file does the same. Of an eject that went well and says that it did not, the verdict tells.
if ! eject -s "$disk" && mount_as rw; then
    [ ! -e "$dir/FIRMWARE.BIN" ] || : >"$dir/APPLY.CMD"
    unmount
fi

end=$(($(now) + verdict_time))
while :; do
    look PASS FAIL BUSY READY || die 10 'no verdict'
    # A file is taken 2 s after it was written; until then the medium is the one that it was written to.
    [ "$(value GENERATION)" = "$generation" ] || break
    unmount
    [ "$(now)" -lt "$end" ] || die 10 'no verdict'
    sleep 1
done
text
head=$(value HEAD)
unmount
case $marker in
    PASS | FAIL) eject -s "$disk" ;;
    *) die 10 'the BMC has forgotten the package' ;;
esac
[ "$marker" = PASS ] || exit 1
# The head is the second block; a firmware tar of another kind has none.
[ "$(block 1 | head -c 8)" != INBANDFW ] || [ "$(block 1 | sha256sum | cut -c 1-32)" = "$head" ] || die 10 'that was another package'
