# Others that have the controller's endpoints, in a gadget of ours that is not bound: `. /guest/crowd.sh` after lib.sh.
#
#   crowd NUMBER                    inband-NUMBER has so many functions before ours that there are no endpoints left
#   uncrowd NUMBER                  they are gone
#   expect_told_once TEST EVENT     one test: the log of the inbandd of `bmc` has that event once

# The kernel does not bind it then, and tells the reason to its log only.
HARMLESS="$HARMLESS\|unable to autoconfigure all endpoints\|failed to start inband-[0-9]\|failed with error -524\|find an available UDC"
GADGETS=/sys/kernel/config/usb_gadget

crowd() {
    local gadget=$GADGETS/inband-$1 number
    rm "$gadget/configs/c.1/ffs.inband-$1"
    for number in 0 1 2 3 4 5 6 7 8 9 10 11 12; do
        mkdir "$gadget/functions/mass_storage.$number"
        ln -s "$gadget/functions/mass_storage.$number" "$gadget/configs/c.1/"
    done
    ln -s "$gadget/functions/ffs.inband-$1" "$gadget/configs/c.1/"
}

uncrowd() {
    local gadget=$GADGETS/inband-$1 function
    for function in "$gadget"/functions/mass_storage.*; do
        rm "$gadget/configs/c.1/${function##*/}"
        rmdir "$function"
    done
}

expect_told_once() {
    run grep -c "event=$2" /tmp/bmc-inbandd.log
    if [ "$(cat "$OUT")" = 1 ]; then ok "$1"; else fail "$1" "told $(cat "$OUT") times"; fi
}
