# Stock fwupd 2.0.20, its daemon and fwupdmgr over D-Bus, with the files and the commands of contrib/fwupd.
# By the machine's clock: one that counts instructions runs away while the disk is read.
# timeout: 900
# root: debian
# binaries: inband inbandd
. /guest/lib.sh
. /guest/bmc.sh

# Nobody is there to answer.
QUIET='--assume-yes --no-metadata-check --no-reboot-check --no-unreported-check'

# cabinet NAME VERSION [FILE...]: NAME.cab of NAME.tar, for the BMC's version as fwupd shows it.
cabinet() {
    local name=$1 version=$2
    shift 2
    sed "s/@GUID@/$GUID/; s/@VERSION@/$version/; s/@DATE@/$(date -I)/; s/@FILE@/$name.tar/" \
        /guest/bmc.metainfo.xml >"$name.metainfo.xml"
    rm -f "$name.cab"
    run fwupdtool build-cabinet "$name.cab" "$name.tar" "$name.metainfo.xml" "$@" || die "no cabinet $name"
}

# The version that fwupd shows is this one, or becomes it in a moment.
shows_version() {
    fwupdmgr get-devices >"$OUT" && grep -q "Current version: *$1\$" "$OUT"
}

# fwupd leaves a BMC that refused a package in DFU mode. That it leaves by itself takes it a minute: asked to, it does at once.
leave_dfu() {
    run dfu-util -e
    mode runtime
}

image image 262144
SUFFIX="--dfu-suffix $VENDOR:$RUNTIME_ID"
pack good.tar 2.0.0 image --bcd-device 2.00 $SUFFIX
pack next.tar 3.0.0 image --bcd-device 3.00 $SUFFIX
pack raw.tar 9.0.0 image --bcd-device 9.00
inband keygen --out /tmp/stranger
pack forged.tar 9.0.0 image --bcd-device 9.00 --key /tmp/stranger.key $SUFFIX
# Its suffix is good: what was spoilt is the BMC's to find.
cp raw.tar tampered.tar
spoil tampered.tar 150000
dfu-suffix -v "$VENDOR" -p "$RUNTIME_ID" -d 0900 -a tampered.tar

mkdir -p /var/lib/fwupd/quirks.d
cp /guest/inband.quirk /var/lib/fwupd/quirks.d
bmc_make one gadget BMC-1
bmc_start one
bmc_attach one

# What it is.
check daemon systemctl start fwupd
check version fwupdmgr --version
expect_text version-is-the-one-known 'org.freedesktop.fwupd         2.0.20'
check get-devices fwupdmgr get-devices
expect_text get-devices-name 'BMC:'
expect_text get-devices-serial 'BMC-1'
expect_text get-devices-vendor "(USB:0x$VENDOR)"
check get-devices-version shows_version 1.0
GUID=$(sed -n "s/.*GUID: *\([0-9a-f-]\{36\}\) .*USB.VID_$VENDOR&PID_$RUNTIME_ID\$/\1/p" "$OUT")
# The UUID, version 5, that everybody can compute from the name.
check get-devices-guid test "$GUID" = f831ee56-5480-59f0-9115-4a73312c287f

# A cabinet that nobody signed, and one that is.
cabinet good 2.0
expect_exit unsigned-cabinet bad fwupdmgr local-install good.cab $QUIET
expect_text unsigned-cabinet-reason 'firmware signature missing or not trusted'
status_is unsigned-cabinet-sends-nothing session=0 mode=run-time
openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 3650 \
    -subj '/CN=Example CA' -addext keyUsage=critical,keyCertSign -keyout ca.key -out ca.pem
openssl req -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes \
    -subj '/CN=Example BMC firmware' -addext keyUsage=critical,digitalSignature -keyout cabinet.key -out cabinet.csr
openssl x509 -req -in cabinet.csr -copy_extensions copy -CA ca.pem -CAkey ca.key -CAcreateserial -days 365 -out cabinet.pem
check sign jcat-tool --appstream-id com.example.my-board.bmc sign good.jcat good.tar cabinet.pem cabinet.key
check sign-checksum jcat-tool self-sign good.jcat good.tar --kind sha256
cabinet good 2.0 good.jcat
cp ca.pem /etc/pki/fwupd/
check restart-for-the-ca systemctl restart fwupd
check install-from-run-time fwupdmgr local-install good.cab $QUIET
expect_text install-ends-well 'Successfully installed firmware'
mode runtime
check install-shows-the-staged-version shows_version 2.0
status_is install-status result=ok state=staged mode=run-time running=a boots_next=b b=staged:2.0.0
bmc_restart one
status_is install-started result=ok state=done running=b b=good:2.0.0
check install-started-version wait_for 20 shows_version 2.0

# The BMC checks signatures itself: what reaches it need not be trusted by fwupd, and a forged package is refused all the same.
check modify-config fwupdmgr modify-config fwupd OnlyTrusted false
check restart-for-the-configuration systemctl restart fwupd
for case in tampered:bad-chunk forged:unknown-key; do
    package=${case%:*}
    cabinet "$package" 9.0
    expect_exit "install-$package" bad fwupdmgr local-install "$package.cab" $QUIET
    expect_text "install-$package-reason" 'failed to write-firmware'
    expect_no_text "install-$package-is-no-success" 'Successfully installed firmware'
    leave_dfu
    check "install-$package-version" wait_for 20 shows_version 2.0
    status_is "install-$package-status" result="${case#*:}" mode=run-time running=b boots_next=b b=good:2.0.0
done
# It has to have a DFU suffix: without one, fwupd does not get as far as sending it.
cabinet raw 9.0
expect_exit install-without-suffix bad fwupdmgr local-install raw.cab $QUIET
expect_text install-without-suffix-reason 'no bytes or chunks found in firmware'
leave_dfu

# Other hosts of the BMC while fwupd's daemon runs and looks at each device that comes.
check fwupd-runs systemctl is-active fwupd
check update-while-fwupd-runs inband update next.tar
status_is update-while-fwupd-runs-status result=ok boots_next=a a=staged:3.0.0
check fwupd-sees-the-update wait_for 20 shows_version 3.0
check dfu-util-while-fwupd-runs dfu-util -D good.tar
mode runtime
status_is dfu-util-while-fwupd-runs-status result=ok boots_next=a a=staged:2.0.0
check fwupd-sees-dfu-utils-update wait_for 20 shows_version 2.0
check fwupd-still-runs systemctl is-active fwupd

check_kernel_log kernel-log
