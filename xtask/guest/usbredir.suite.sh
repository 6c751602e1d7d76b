# A BMC as a USB device of a QEMU guest, by usbredir: stock dfu-util, the bulk door, hot plug, leaving and coming back.
# timeout: 420
# binaries: inband inbandd
# beside: usbredir.host.sh
. /guest/lib.sh
. /guest/bmc.sh
. /guest/dfu-util.sh
. /guest/usbredir.sh

# What a command took, for whoever reads the console.
timed() {
    local begin
    begin=$(uptime_hundredths)
    "$@"
    echo "---- that took $(($(uptime_hundredths) - begin)) hundredths of a second"
}

cd "/guest/$SUITE" || exit
modprobe xhci_pci || die "no xhci_pci"
mode runtime BMC-1
PLACE=$(place_of BMC-1)
check high-speed [ "$(cat "/sys/bus/usb/devices/$PLACE/speed")" = 480 ]

lists_both_modes "$PLACE"

refuses tampered -D tampered.tar
status_is tampered-status result=bad-chunk state=failed mode=dfu running=a boots_next=a a=good:factory
enter_dfu
refuses tampered-in-dfu-mode -D tampered.tar
status_is tampered-in-dfu-mode-status result=bad-chunk state=failed running=a boots_next=a a=good:factory

host restart
status_is plugged-in-again mode=run-time running=a on_trial=false a=good:factory
timed takes from-run-time -D good.tar
status_is from-run-time-status result=ok state=staged mode=dfu running=a boots_next=b a=good:factory b=staged:2.00
host restart
status_is started running=b on_trial=false a=good:factory b=good:2.00

timed expect_exit bulk 0 inband update --door bulk next.tar
status_is bulk-status result=ok state=staged mode=run-time running=b boots_next=a a=staged:3.00
host restart
status_is bulk-started running=a a=good:3.00
expect_exit bulk-tampered bad inband update --door bulk tampered.tar
status_is bulk-tampered-status running=a boots_next=a a=good:3.00
# In DFU mode, where both doors are.
enter_dfu
timed takes in-dfu-mode -D other.tar
status_is in-dfu-mode-status result=ok state=staged running=a boots_next=b b=staged:4.00
mode runtime

# Each is a disconnect and a connect within one connection.
swaps=0
while [ $swaps -lt 10 ] && run dfu-util -e && mode dfu && run dfu-util -e && mode runtime; do
    swaps=$((swaps + 1))
done
check twenty-swaps [ $swaps = 10 ]
status_is after-twenty-swaps result=ok state=staged running=a boots_next=b b=staged:4.00

# The daemon goes in the middle of an update, as a cable is pulled.
enter_dfu
start cut dfu-util -D good.tar
wait_for_log cut 'Copying data'
host restart
finish cut
expect_status cut bad
status_is after-the-cut mode=run-time running=a boots_next=a a=good:3.00 b=invalid:
check update-after-the-cut inband update good.tar
status_is update-after-the-cut-status result=ok state=staged boots_next=b b=staged:2.00

check_kernel_log kernel-log
