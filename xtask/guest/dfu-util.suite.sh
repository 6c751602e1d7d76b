# Stock dfu-util 0.11 and the kernel's USB: every way to name the device and to send it firmware, and every verdict.
# timeout: 420
# binaries: inband inbandd
. /guest/lib.sh
. /guest/bmc.sh
. /guest/dfu-util.sh

SUFFIX="--dfu-suffix $VENDOR:$RUNTIME_ID"

bmc_make bmc 3240 BMC-1 --security-version 2
image image 262144
# shellcheck disable=SC2086 # options
{
    pack good.tar 2.0.0 image --security-version 3 --bcd-device 2.00 $SUFFIX
    pack plain.tar 2.0.1 image --security-version 3 --bcd-device 2.01
    pack next.tar 3.0.0 image --security-version 3 --bcd-device 3.00 $SUFFIX
    pack old.tar 1.0.0 image --security-version 1 $SUFFIX
    pack foreign.tar 2.0.0 image --security-version 3 --machine other-board $SUFFIX
    pack suffix.tar 2.0.0 image --security-version 3 --machine other-board --dfu-suffix dead:beef
    inband keygen --out /tmp/stranger
    pack forged.tar 2.0.0 image --security-version 3 --key /tmp/stranger.key $SUFFIX
}
cp plain.tar tampered.tar
spoil tampered.tar 150000
head -c 150000 plain.tar >truncated.tar
cat plain.tar image >longer.tar
# 65 blocks and nothing else, then more.
image blocks 261632
pack blocks.tar 2.0.2 blocks --security-version 3
cat blocks.tar image >more-blocks.tar
cp plain.tar resigned.tar
# Behind the header and the 512 bytes of the head, and its own header.
spoil resigned.tar 1536
image noise 20000
: >empty

check suffix dfu-suffix --check good.tar
expect_text suffix-has-our-vendor "0x$VENDOR"

# Debian's own usbip, which knows our server from the protocol alone.
bmc_start bmc
check usbip-lists-the-device usbip list --remote 127.0.0.1
expect_text usbip-shows-the-ids "($VENDOR:$RUNTIME_ID)"
check usbip-attaches-the-device usbip attach --remote 127.0.0.1 --busid 1-1
mode runtime
check usbip-detaches-the-device usbip detach --port 0
mode none
bmc_attach bmc

lists_both_modes 1-1

# A suffix that names another device. Only in DFU mode without -d dfu-util does not look at it, and the BMC has to.
refuses other-suffix -D suffix.tar
expect_text other-suffix-fits-no-device 'No DFU capable USB device available'
refuses other-suffix-with-id -d "$VENDOR:$RUNTIME_ID" -D suffix.tar
expect_text other-suffix-is-named 'File ID'
status_is other-suffix-sends-nothing session=0

refuses tampered -D tampered.tar
status_is tampered-status result=bad-chunk state=failed mode=dfu running=a boots_next=a a=good:factory
refuses truncated -D truncated.tar
status_is truncated-status result=truncated state=failed running=a boots_next=a a=good:factory
refuses other-machine -D foreign.tar
status_is other-machine-status result=wrong-machine state=failed running=a boots_next=a
refuses old-security-version -D old.tar
status_is old-security-version-status result=old-security-version state=failed running=a boots_next=a
refuses other-suffix-in-dfu-mode -D suffix.tar
status_is other-suffix-in-dfu-mode-status result=wrong-machine state=failed running=a boots_next=a
refuses forged -D forged.tar
status_is forged-status result=unknown-key state=failed running=a boots_next=a
refuses resigned -D resigned.tar
status_is resigned-status result=bad-signature state=failed running=a boots_next=a
refuses longer -D longer.tar
status_is longer-status result=trailing-bytes state=failed running=a boots_next=a a=good:factory
refuses noise -D noise
status_is noise-status result=bad-head state=failed running=a boots_next=a a=good:factory
refuses empty -D empty

bmc_restart bmc
status_is unharmed mode=run-time running=a on_trial=false a=good:factory

takes runtime -D good.tar
status_is runtime-status result=ok state=staged mode=dfu running=a boots_next=b a=good:factory b=staged:2.0.0
mode runtime
check list-after-staging dfu-util -l
expect_text list-shows-the-staged-version "Found Runtime: [$VENDOR:$RUNTIME_ID] ver=0200"
# A forged package never comes as far as the slot, so what is staged stays staged.
enter_dfu
refuses forged-after-staging -D forged.tar
status_is forged-after-staging-status result=unknown-key running=a boots_next=b b=staged:2.0.0
bmc_restart bmc
status_is started running=b on_trial=false a=good:factory b=good:2.0.0

names_in_every_way 1-1
waits_for_it

# The first byte too many comes in a block of its own, when the package before it is staged: dfu-util hears of it, the
# package stays (docs/spec/dfu.md, 1.2).
enter_dfu
refuses longer-by-blocks -D more-blocks.tar
status_is longer-by-blocks-status result=ok state=staged running=b boots_next=a a=staged:2.0.2

check_kernel_log kernel-log
