# The host tool where a BMC without FunctionFS shows nothing but its disk, which is the kernel's: on dummy_hcd.
# timeout: 1800
# clock: instructions
# binaries: inband inbandd
. /guest/lib.sh
. /guest/bmc.sh
. /guest/disk.sh
. /guest/lent.sh

# Of the host: a disk that is ejected, or leaves the bus, in its hands.
HARMLESS="$HARMLESS\|error, dev sd\|error on dev sd"

SLOT_SIZE=33554432
image image 262144
image large 30000000
pack good.tar 2.0.0 image --bcd-device 2.00
pack large.tar 3.0.0 large --bcd-device 3.00
inband keygen --out /tmp/stranger
pack forged.tar 2.0.0 image --key /tmp/stranger.key

bmc_make bmc gadget $SERIAL
sed -i 's/^dfu_product_id.*/&\nvolume_product_id = 0x0003/; s/^slot_size.*/&\nmax_package = 41943040/' /tmp/bmc/inbandd.toml
unlimited bmc
printf '\n[doors]\nvolume = { policy = "always", profile = "raw" }\n' >>/tmp/bmc/inbandd.toml
rm $(find /lib/modules/ -name 'usb_f_fs.ko*')
disk_modules
bmc_start bmc
RUNTIME_ID=0003
mode runtime $SERIAL
disk_is ours

check list inband list
expect_text list-shows-the-disk "$SERIAL  $MACHINE  $DISK  raw      factory  ready"
check status inband status --json
expect_text status-tells '"medium":"ready","machine":"test-board","running":"factory"'

# Nobody has to say that it is the disk.
check update inband update good.tar
expect_text update-says-so 'door:    volume, the BMC shows its disk alone'
expect_text update-staged 'staged: version 2.0.0'
daemon_says update-daemon bmc result=ok state=staged boots_next=b version_b=2.0.0
expect_exit dfu-alone 3 inband update --door dfu good.tar
expect_exit another-device 3 inband --device other update good.tar
expect_exit forged 6 inband --device $SERIAL update forged.tar
expect_text forged-why unknown-key
daemon_says forged-daemon bmc result=unknown-key state=failed
check after-a-refusal inband update good.tar
expect_exit no-downgrade 2 inband update --no-downgrade good.tar

in_the_middle
signal tool INT
goes_on
expect_status cancelled 14
medium cancelled READY
# The BMC ends it: the disk leaves the bus for that, and comes back.
in_the_middle
check abort inbandd abort --config /tmp/bmc/inbandd.toml
goes_on
expect_status aborted 14
expect_text aborted-why '"result":"aborted"'
check large inband update large.tar
daemon_says large-daemon bmc result=ok state=staged boots_next=b version_b=3.0.0

# It is waited for until the disk says that it runs.
start tool inband update --json --wait=120 good.tar
wait_for_log tool '"event":"wait-activation"'
bmc_restart bmc
finish tool
expect_status wait 0
expect_text wait-runs '"event":"activated","slot":null,"version":"2.0.0"'
check runs-already inband update good.tar
expect_text runs-already-says-so 'up to date: version 2.0.0 runs already; nothing was sent'
expect_exit wait-for-the-same 2 inband update --allow-same --wait good.tar

stop bmc-inbandd
expect_status daemon-ends 0
mode none
expect_exit nothing-there 3 inband update good.tar
check_kernel_log kernel-log
