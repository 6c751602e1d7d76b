# Our disk before a tester, on dummy_hcd by FunctionFS and on vhci_hcd; and before a host without manners.
# timeout: 1200
# clock: instructions
# binaries: example:inband/disk-cases example:inbandd/disk
. /guest/lib.sh
. /guest/bmc.sh
. /guest/disk.sh
. /guest/disk-tester.sh

memory() {
    sed -n 's/^VmRSS:[^0-9]*\([0-9]*\).*/\1/p' "/proc/$(cat /tmp/disk.pid)/status"
}

# A host without manners: neither memory nor time without end.
hostile() {
    prefix=$1
    shift
    scenarios "$prefix-hostile-first" disk-cases "$@" hostile "$prefix" 500 1
    before=$(memory)
    scenarios "$prefix-hostile" disk-cases "$@" hostile "$prefix" 2000 2
    after=$(memory)
    echo "---- memory of the disk: $before KiB, and behind 2,000 hostile commands $after KiB"
    if [ "$after" -le $((before + 256)) ]; then
        ok "$prefix-memory"
    else
        fail "$prefix-memory" "$after KiB, before $before"
    fi
}

show_disk gadget 16
scenarios gadget-cases disk-cases --dummy cases gadget
hostile gadget --dummy
remove_disk

show_disk usbip:127.0.0.1:3240 16
scenarios usbip-cases disk-cases cases usbip
hostile usbip
remove_disk
check_kernel_log kernel-log
