# What the suite usbredir has beside its guest: a BMC with the factory's firmware, and packages for it in guest/.
# The names of the numbers are those of bmc.sh.
VENDOR=1209
RUNTIME_ID=0001
DFU_ID=0002
SLOT_SIZE=16777216

mkdir keys
inband keygen --out release
cp release.pub keys/release.pem
cat >inbandd.toml <<END
machine = "test-board"
usb = "usbredir:usbredir.sock"

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

pack() {
    head -c 8388608 /dev/urandom >image
    inband pack --key release.key --machine test-board --version "$2" --bcd-device "$2" --member image-bmc=image --out "guest/$1"
}
pack good.tar 2.00
pack next.tar 3.00
pack other.tar 4.00
cp guest/good.tar guest/tampered.tar
printf 'sixteen bytes ..' | dd of=guest/tampered.tar bs=1 seek=150000 conv=notrunc 2>/dev/null
