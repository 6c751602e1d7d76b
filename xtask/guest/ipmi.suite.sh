# The door handle in a QEMU guest, one inbandd being its IPMI controller (KCS) and its USB device: every example of docs/spec/ipmi.md, and faults.
# timeout: 240
# binaries: inband inbandd
# beside: ipmi.host.sh
# ipmi: isa-ipmi-kcs
. /guest/lib.sh
. /guest/bmc.sh
. /guest/disk.sh
. /guest/copy.sh
. /guest/volume.sh
. /guest/ipmi.sh

cd "/guest/$SUITE" || exit
host_modules

# What the specification calls the bytes of a package's length, and the first of its head's digest.
length() {
    printf %08x "$(stat -c %s "$1")" | sed 's/\(..\)\(..\)\(..\)\(..\)/\4 \3 \2 \1/'
}

digest() {
    head_of "$1" | cut -c 1-16 | sed 's/../& /g'
}

known l $(length firmware.tar)
known h $(digest firmware.tar)
known k $(length next.tar)
known g $(digest next.tar)

hidden
for name in device-id self-test set-enables enables clear-flags flags bt-capabilities no-chassis capabilities status board board-rest version \
    page page-rest no-item no-subcommand too-short no-door no-stop no-abort no-activate no-confirm; do
    example $name
done

example start
shown
for name in start-again start-other stop-other status-started; do
    example $name
done
mounted
check copy cp firmware.tar /mnt/FIRMWARE.BIN
check copy-umount umount /mnt
example status-receiving
# One ipmitool asks many times, and is quicker than one for each question; until it is staged.
seq 200 | sed 's/.*/raw 0x2e 0x49 0xcf 0xc2 0x00 0x03/' >/tmp/questions
start polls sh -c 'until [ -e /tmp/is-staged ]; do ipmitool exec /tmp/questions; done'
wait_for_log polls '^ cf c2 00'
check eject eject -s "$DISK"
comes_to staged 5
: >/tmp/is-staged
finish polls
example status-verifying /tmp/polls.log
example status-staged
example result
example activate
hidden
comes_to trial 7
for name in status-trial start-trial confirm; do
    example $name
done
comes_to done 8
example status-done

example start-dfu
check dfu dfu-util -D next.tar
comes_to dfu-staged 5
hidden
example status-dfu

example start-raw
shown
example stop
hidden
example start-empty
shown
example stop-empty
hidden

example start-commit
shown
mounted
check commit-copy cp firmware.tar /mnt/FIRMWARE.BIN
check commit-umount umount /mnt
example stop-commit
comes_to committed 5
marker verdict PASS
check verdict-eject eject -s "$DISK"
hidden
example start-aborted
shown
mounted
check aborted-copy dd if=firmware.tar of=/mnt/FIRMWARE.BIN bs=64k count=20 conv=fsync
check aborted-umount umount /mnt
example abort
hidden
example status-aborted

example start-options
shown
check unexpected-copy dd if=next.tar of="$DISK" bs=64k conv=fsync
check unexpected-eject eject -s "$DISK"
comes_to unexpected 9
example status-unexpected
example result-unexpected
medium unexpected FAIL
check unexpected-taken-out eject -s "$DISK"
hidden

# The interface itself, without a driver.
STATUS_REQUEST='b8 49 cf c2 00 03'
STATUS_REPLY='bc 49 00 cf c2 00 01 09'
check unloaded rmmod ipmi_devintf ipmi_si
answers kcs "$STATUS_REPLY" perl /guest/kcs.pl $STATUS_REQUEST
# A request is dropped in the middle, and a reply.
answers kcs-abort-request aborted perl /guest/kcs.pl abort-request $STATUS_REQUEST
answers kcs-after-request "$STATUS_REPLY" perl /guest/kcs.pl $STATUS_REQUEST
answers kcs-abort-reply aborted perl /guest/kcs.pl abort-reply $STATUS_REQUEST
answers kcs-after-reply "$STATUS_REPLY" perl /guest/kcs.pl $STATUS_REQUEST

# The BMC's program is killed while it has a request. It does not get to answer one when QEMU gives it up, by its clock, behind 4 s.
given_up() {
    perl /guest/kcs.pl $STATUS_REQUEST | grep -q '^bc 49 c3'
}

order pause
check paused wait_for 30 given_up
start killed perl /guest/kcs.pl $STATUS_REQUEST
wait_for_log killed sent
order kill
finish killed
expect_text killed-says 'bc 49 d2'
ipmi_modules
# It was the BMC's start as well, into what is staged.
comes_to killed-next 7
check killed-confirm ask 0x06 0x00 0x00 0x00 0x00
comes_to killed-confirmed 8
hidden
check killed-start ask 0x01 0x00 0x00 0x00 0x00 0x01 0x00 0x00
check killed-dfu dfu-util -D next.tar
comes_to killed-staged 5
hidden
check_kernel_log kernel-log

# A BMC that lets its host do less.
order run ipmi.less.sh
order restart
comes_to less 8
hidden
for name in start-off not-activate not-confirm; do
    example $name
done
check last-session inband update firmware.tar
hidden
example start-worn
order run ipmi.arm.sh
check granted wait_for 10 may_begin
expect_exit forged 6 inband update forged.tar
hidden
example start-locked-out
examples_are_done every-example
