# A BMC at whose socket QEMU connects, and connects again: an update by stock dfu-util, the BMC restarted and killed, the guest cut off.
# timeout: 600
# binaries: inband inbandd
# beside: usbredir-listen.host.sh
# qemu: connects
. /guest/lib.sh
. /guest/bmc.sh
. /guest/dfu-util.sh
. /guest/usbredir.sh

cd "/guest/$SUITE" || exit
modprobe xhci_pci || die "no xhci_pci"
mode runtime BMC-1
PLACE=$(place_of BMC-1)

run inband status --json
if [ "$(field running)" = b ]; then
    status_is second-guest mode=run-time running=b b=good:2.00
    check_kernel_log second-kernel-log
    exit
fi
takes from-run-time -D good.tar
status_is from-run-time-status result=ok state=staged mode=dfu running=a boots_next=b b=staged:2.00
host restart
status_is started mode=run-time running=b on_trial=false a=good:factory b=good:2.00
# Its socket stays behind.
host kill
status_is killed mode=run-time running=b b=good:2.00
check_kernel_log kernel-log
order cut
sleep 30
die "the guest was not cut off"
