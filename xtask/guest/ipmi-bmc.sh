# A BMC for suites that ask for its doors by IPMI, whose host has to: `. ipmi-bmc.sh`. Its packages are pack's of usbredir-bmc.sh.
USB=usbredir
. "${0%/*}/usbredir-bmc.sh"
sed -i 's/^usb = .*/&\ncontrol = "control"/; s/^dfu_product_id.*/&\nvolume_product_id = 0x0003/; s/^serial.*/serial = "0123456789ABCDEF"/; s/^slot_size.*/&\nmax_package = 33554432/' inbandd.toml
cat >>inbandd.toml <<END

[doors]
dfu.policy = "armed"
bulk.policy = "armed"
volume.policy = "armed"

[ipmi]
channel = "qemu:ipmi.sock"
activate = true
confirm = true
END

# New firmware is confirmed by the host, not by itself.
trial_waits() {
    cat >>inbandd.toml <<END

[trial]
health = ["/usr/bin/test", "-e", "$PWD/healthy"]
END
}
