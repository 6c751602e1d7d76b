# Firmware by plain copy in the UEFI shell and then in Linux, on the same machine, to the disk of a BMC by usbredir: the example scripts, as they are.
# timeout: 900
# binaries: inband inbandd
# beside: usbredir-copy.host.sh
# uefi: usbredir-copy.nsh
. /guest/lib.sh
. /guest/bmc.sh
. /guest/disk.sh
. /guest/copy.sh

cd "/guest/$SUITE" || exit
for module in xhci_pci usb_storage sd_mod sg vfat; do
    modprobe $module || die "no $module"
done
RUNTIME_ID=0003
disk_is ours

# What the shell left is still there. The example takes it out.
marker after-the-shell PASS
expect_text after-the-shell-version VERSION=3.00
status_is after-the-shell-status result=ok state=staged running=b boots_next=a a=staged:3.00
expect_exit strange 1 sh /guest/copy-update.sh strange.tar
expect_text strange-why RESULT=unknown-key
expect_exit next 0 sh /guest/copy-update.sh next.tar
expect_text next-version VERSION=4.00
status_is next-status result=ok state=staged running=b boots_next=a a=staged:4.00
check_kernel_log kernel-log
