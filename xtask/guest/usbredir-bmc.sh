# A BMC beside the guest, with the factory's firmware; USB is the side of the socket that it has. The names of the numbers are those of bmc.sh.
VENDOR=1209
RUNTIME_ID=0001
DFU_ID=0002
SLOT_SIZE=${SLOT_SIZE:-16777216}

mkdir keys
inband keygen --out release
cp release.pub keys/release.pem
cat >inbandd.toml <<END
machine = "test-board"
usb = "$USB:usbredir.sock"

[identity]
vendor_id = 0x$VENDOR
product_id = 0x$RUNTIME_ID
dfu_product_id = 0x$DFU_ID
serial = "BMC-1"

[signatures]
keys = "keys"

[store]
path = "store"
slot_size = $SLOT_SIZE

[[region]]
member = "image-bmc"
offset = 0
size = $SLOT_SIZE

[limits]
slot_rewrites_per_day = 0
sessions_per_day = 0
refusals = 0
END
inbandd init --config inbandd.toml

# pack FILE VERSION [BYTES [KEY]]: a package for it, in guest/.
pack() {
    head -c "${3:-8388608}" /dev/urandom >image
    inband pack --key "${4:-release}.key" --machine test-board --version "$2" --bcd-device "$2" --member image-bmc=image --out "guest/$1"
}
