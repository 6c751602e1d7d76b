# An update by bulk over FunctionFS that is cut off: the cable, the daemon, the host's program; what is sent behind that is the rest.
# timeout: 1200
# clock: instructions
# binaries: inband inbandd
. /guest/lib.sh
. /guest/bmc.sh
. /guest/bulk.sh

# The journal has a mark every 4 MiB (docs/spec/store.md, 8): three of them.
SLOT_SIZE=16777216
MARK=4194304
# What was in a read that was not full, and a chunk that was not whole (docs/spec/bulk.md, 4).
UNFINISHED=196608

# Each update has its own content: nothing of it is there.
pack_new() {
    image "$1" 14680064
    pack "$1.tar" "$2" "$1"
}
unplug() {
    UDC_FILE=$(grep -l dummy_udc.0 /sys/kernel/config/usb_gadget/*/UDC)
    echo >"$UDC_FILE"
    mode none
}
plug() {
    echo dummy_udc.0 >"$UDC_FILE"
}
# has_told NAME EVENT COUNT
has_told() {
    [ "$(grep -c "\"event\":\"$2\"" "/tmp/$1.log")" -ge "$3" ]
}
# is_staged TEST NAME VERSION: an update that was begun ends well, and what it brought is in the slot to the byte.
is_staged() {
    finish "$2"
    expect_status "$1" 0
    arrived "$@"
}
arrived() {
    slot_holds "$1-slot" bmc b "$2"
    status_is "$1-status" result=ok state=staged mode=run-time running=a boots_next=b a=good:factory "b=staged:$3"
}

bmc_make bmc gadget BMC-1
unlimited bmc
bmc_start bmc
bmc_attach bmc

# The cable is pulled three times in one update.
pack_new cable 2.0.0
update_begins cable cable.tar
pulled=0
for percent in 10 40 40; do
    wait_for_sent cable $percent
    unplug
    pulled=$((pulled + 1))
    wait_for 60 has_told cable lost $pulled || die "the loss is not told"
    plug
    wait_for 60 has_told cable back $pulled || die "it does not come back"
done
is_staged cable-pulled cable 2.0.0
sends_the_rest cable-pulled-rest cable $UNFINISHED

# Behind the last byte: the BMC goes on alone, or begins with nothing to send.
pack_new late 3.0.0
update_begins late late.tar
wait_for_sent late 100
unplug
plug
is_staged cable-pulled-behind-the-end late 3.0.0

# The daemon is killed, and comes back: the host goes on. What it has by the journal's last mark is not sent again.
pack_new killed 4.0.0
update_begins killed killed.tar
wait_for_sent killed 60
stop bmc-inbandd KILL
mode none
bmc_start bmc
is_staged daemon-killed killed 4.0.0
sends_the_rest daemon-killed-rest killed $MARK

# It stays away for longer than a host waits.
pack_new away 5.0.0
update_begins away away.tar
wait_for_sent away 60
stop bmc-inbandd KILL
finish away
expect_status daemon-stays-away 10
expect_text daemon-stays-away-is-told '"error":"not-back"'
bmc_start bmc
mode runtime
status_is daemon-stays-away-status result=interrupted state=interrupted running=a boots_next=a
cp away.log first.log
update_begins away away.tar
is_staged daemon-stayed-away away 5.0.0
joined first away
sends_the_rest daemon-stayed-away-rest away $MARK

# The host's program is killed; another begins in DFU mode, where it finds an exchange under way.
pack_new dying 6.0.0
update_begins dying dying.tar
wait_for_sent dying 50
stop dying KILL
expect_status host-killed 137
cp dying.log first.log
update_begins dying dying.tar
is_staged host-killed-repeated dying 6.0.0
joined first dying
sends_the_rest host-killed-rest dying $UNFINISHED

# It is told to end, and leaves in order.
pack_new ended 7.0.0
update_begins ended ended.tar
wait_for_sent ended 50
stop ended TERM
expect_status host-ended 14
mode runtime
status_is host-ended-status result=aborted state=aborted mode=run-time running=a boots_next=a
cp ended.log first.log
update_begins ended ended.tar
is_staged host-ended-repeated ended 7.0.0
joined first ended
sends_the_rest host-ended-rest ended $UNFINISHED

check_kernel_log kernel-log
