# A host to try things on by hand: the terminal is its console.
# timeout: 0
# binaries: inband inbandd
# beside: host.host.sh
# ipmi: isa-ipmi-kcs
. /guest/lib.sh
. /guest/bmc.sh
. /guest/disk.sh
. /guest/copy.sh
. /guest/ipmi.sh

cd "/guest/$SUITE" || exit
host_modules
hidden
# The terminal is not for the kernel.
dmesg -n 1
if [ -e commands ]; then
    sh -ev commands
    exit
fi
cat >/tmp/profile <<'END'
PS1='host# '
alias poweroff='poweroff -f'
END
cat <<'END'

This is a Linux host. Its BMC is an inbandd, by /dev/ipmi0 and on USB, and its doors are shut. Here are firmware.tar and next.tar.

Start, which shows a disk:    ipmitool raw 0x2e 0x49 0xcf 0xc2 0x00 0x01 0x01 0x00 0x00 0x00 0x03 0x00 0x00
Copy, and eject:              mount /dev/sda /mnt && cp firmware.tar /mnt/FIRMWARE.BIN && umount /mnt && eject -s /dev/sda
Status, 05 being staged:      ipmitool raw 0x2e 0x49 0xcf 0xc2 0x00 0x03
Or for dfu-util, door 1:      ipmitool raw 0x2e 0x49 0xcf 0xc2 0x00 0x01 0x02 0x00 0x00 0x00 0x01 0x00 0x00
                              dfu-util -D next.tar
With a tool that does it all: inband update next.tar; inband status

`exit` ends it, or Ctrl-A X.

END
ENV=/tmp/profile setsid cttyhack sh -i
