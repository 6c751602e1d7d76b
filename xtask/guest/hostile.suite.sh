# A host program that means harm, over real usbfs: each way in which other devices were broken, and the next session works.
# timeout: 1200
# clock: instructions
# binaries: inband inbandd example:inband/hostile
. /guest/lib.sh
. /guest/bmc.sh

image image 16384
pack good.tar 2.0.0 image

begin() {
    bmc_make "$1" "$2" BMC-1
    unlimited "$1"
    bmc_start "$1"
    bmc_attach "$1"
    # What one session takes it keeps.
    run hostile --package good.tar --no-bus-reset end-twice
    bmc_mark "$1"
}

end() {
    bmc_has_not_grown "$1-no-leak" "$1"
    stop "$1-inbandd"
    expect_status "$1-stops" 0
    mode none
}

begin gadget gadget
scenarios gadget-ends hostile --package good.tar
end gadget

# What a gadget's kernel keeps from the daemon reaches the USB/IP server.
begin virtual 3240
check virtual hostile --package good.tar --no-bus-reset cve-2022-2347-oversize-download cve-2020-10019-oversize-upload \
    cve-2021-3625-set-address-as-in cve-2018-6242-long-get-status cve-2021-39685-oversize-requests long-descriptors usbliter8-setup-storm \
    random-storm
end virtual

check_kernel_log kernel-log
