# Stock dfu-util sends what OpenBMC's own build makes: a firmware tar without a head, signed by openssl(1) and packed by tar(1).
# timeout: 300
# binaries: inband inbandd
. /guest/lib.sh
. /guest/bmc.sh

# make FILE VERSION [MACHINE]: a tar with one image, by the steps of OpenBMC's image class.
make() {
    rm -rf build && mkdir build && image build/image-bmc 262144
    cat >build/MANIFEST <<END_OF_MANIFEST
purpose=xyz.openbmc_project.Software.Version.VersionPurpose.BMC
version=$2
KeyType=OpenBMC
HashType=RSA-SHA256
MachineName=${3:-$MACHINE}
END_OF_MANIFEST
    (cd build && sh /guest/make-tar.sh "../$1" /tmp/key.pem /tmp/key.pem sha256 image-bmc) || die "no $1"
}

# verdict TEST FILE [RESULT]: dfu-util sends the file, is done where there is no result, and fails where there is one.
verdict() {
    run dfu-util -D "$2"
    if [ -z "${3:-}" ]; then
        if [ "$STATUS" = 0 ] && grep -q 'Done!' "$OUT"; then ok "$1"; else fail "$1" "exit status $STATUS, $(last_line)"; fi
        return
    fi
    if [ "$STATUS" != 0 ] && ! grep -q 'Done!' "$OUT"; then ok "$1"; else fail "$1" "exit status $STATUS, $(last_line)"; fi
    status_is "$1-status" "result=$3" state=failed running=a boots_next=a a=good:factory
}

openssl genpkey -quiet -algorithm RSA -pkeyopt rsa_keygen_bits:3072 -out key.pem 2>/dev/null ||
    openssl genpkey -algorithm RSA -pkeyopt rsa_keygen_bits:3072 -out key.pem || die "no key"
bmc_make bmc 3240 BMC-1
mkdir -p bmc/activationdata/OEM
openssl pkey -in key.pem -pubout -out bmc/activationdata/OEM/publickey
echo HashType=RSA-SHA256 >bmc/activationdata/OEM/hashfunc
sed 's|^keys = .*|keys = "activationdata"\nformat = "openbmc"\nrequired = ["rsa"]|' -i bmc/inbandd.toml
printf '\n[openbmc]\naccept_unindexed = true\n' >>bmc/inbandd.toml

make good.tar 2.14.0
make foreign.tar 2.14.0 other-board
cp good.tar tampered.tar
spoil tampered.tar 150000
head -c 200000 good.tar >truncated.tar

bmc_start bmc
bmc_attach bmc
verdict tampered tampered.tar bad-signature
verdict other-machine foreign.tar wrong-machine
verdict truncated truncated.tar truncated
verdict good good.tar
status_is good-status result=ok state=staged running=a boots_next=b b=staged:2.14.0
bmc_restart bmc
status_is good-runs result=ok state=done running=b on_trial=false b=good:2.14.0

sed 's|accept_unindexed = true|accept_unindexed = false|' -i bmc/inbandd.toml
bmc_restart bmc
run dfu-util -D good.tar
if [ "$STATUS" != 0 ] && ! grep -q 'Done!' "$OUT"; then ok not-accepted; else fail not-accepted "$(last_line)"; fi
status_is not-accepted-status result=unindexed state=failed running=b boots_next=b b=good:2.14.0

check_kernel_log kernel-log
