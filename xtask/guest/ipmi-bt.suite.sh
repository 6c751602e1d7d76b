# The door handle by a BT interface: the UEFI shell copies behind a door that the BMC opens, Linux opens doors itself.
# timeout: 300
# binaries: inband inbandd
# beside: ipmi-bt.host.sh
# ipmi: isa-ipmi-bt
# uefi: ipmi-bt.nsh
. /guest/lib.sh
. /guest/bmc.sh
. /guest/disk.sh
. /guest/copy.sh
. /guest/ipmi.sh

cd "/guest/$SUITE" || exit
host_modules
check interface sh -c 'dmesg | grep -q "IPMI bt interface initialized"'

# What the shell left.
comes_to after-the-shell 5
shown
marker after-the-shell PASS
expect_text after-the-shell-version VERSION=2.00
check after-the-shell-eject eject -s "$DISK"
hidden

check start ask 0x01 0x01 0x00 0x00 0x00 0x03 0x00 0x00
shown
mounted
check copy cp 3.00.tar /mnt/FIRMWARE.BIN
check copy-umount umount /mnt
comes_to receiving 1
check copy-eject eject -s "$DISK"
comes_to staged 5
marker verdict PASS
expect_text verdict-version VERSION=3.00
check verdict-eject eject -s "$DISK"
hidden

check start-dfu ask 0x01 0x02 0x00 0x00 0x00 0x01 0x00 0x00
check dfu dfu-util -D 4.00.tar
comes_to dfu-staged 5
hidden
status_is dfu-status result=ok b=staged:4.00

check start-empty ask 0x01 0x03 0x00 0x00 0x00 0x03 0x00 0x00
nonce=$(nonce_of)
shown
check stop ask 0x02 0x04 0x00 0x00 0x00 $nonce 0x01
hidden

check start-aborted ask 0x01 0x05 0x00 0x00 0x00 0x03 0x00 0x00
shown
mounted
check aborted-copy dd if=3.00.tar of=/mnt/FIRMWARE.BIN bs=64k count=2 conv=fsync
check aborted-umount umount /mnt
check abort ask 0x07 0x06 0x00 0x00 0x00
hidden
comes_to aborted 10

# The same with our tool, by every door, which it opens and shuts itself.
check tool-bulk inband update --door bulk 2.00.tar
hidden
status_is tool-bulk-status result=ok b=staged:2.00
check tool-dfu inband update --door dfu 3.00.tar
hidden
status_is tool-dfu-status result=ok b=staged:3.00
check tool-volume inband update --door volume 4.00.tar
hidden
status_is tool-volume-status result=ok b=staged:4.00
check tool-activate inband activate
comes_to tool-trial 7
hidden
check tool-confirm inband confirm
comes_to tool-confirmed 8
check tool-start inband start volume
shown
check tool-stop inband stop
hidden
expect_exit tool-abort 17 inband abort
check_kernel_log kernel-log
