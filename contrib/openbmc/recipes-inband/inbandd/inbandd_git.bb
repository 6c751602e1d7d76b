SUMMARY = "Firmware updates of the BMC from its host, over USB"
DESCRIPTION = "Takes signed firmware packages from the host by USB DFU into the slot that does not run, checks them while \
they stream in, and boots them on trial."
HOMEPAGE = "https://github.com/inband/inband"
LICENSE = "Apache-2.0 | MIT"
LIC_FILES_CHKSUM = "\
    file://LICENSE-APACHE;md5=3b83ef96387f14655fc854ddc3c6bd57 \
    file://LICENSE-MIT;md5=a999185d92ef44d11b82d34105f1fcca \
"

# To fill in: where you take the source from, and the commit that you have reviewed.
SRC_URI = "\
    git://github.com/inband/inband.git;protocol=https;branch=main \
    file://inbandd.toml \
    file://inband-host-powered-on.service \
    file://inband.conf \
"
SRCREV = "${AUTOREV}"
PV = "0.1.0+git"
# Before OE-core 5.1 (styhead): S = "${WORKDIR}/git", and ${WORKDIR} for ${UNPACKDIR} below.

inherit cargo cargo-update-recipe-crates systemd useradd

# The crates of Cargo.lock with their checksums. To make it, and again after each change of SRCREV:
#   bitbake -c update_crates inbandd
# Cargo builds with --frozen: a crate that is not listed stops the build and is named.
include ${BPN}-crates.inc

# The profile for a BMC instead of the release: the smallest code but for hashing, which stays fast.
BUILD_MODE = "--profile bmc"
BUILD_DIR = "bmc"
# One program of the workspace, and no USB/IP and no usbredir in it.
CARGO_BUILD_FLAGS:append = " --package inbandd --no-default-features"
# ipmid and the host's power state by D-Bus: PACKAGECONFIG:append = " dbus", and see inband-ipmi-provider.
PACKAGECONFIG ??= ""
PACKAGECONFIG[dbus] = "--features dbus"
# A quarter smaller. OpenBMC's tune for the AST2600 is of ARM instructions; the two call each other.
RUSTFLAGS:append:armv7a = " -C target-feature=+thumb-mode"
# OpenEmbedded splits off what it wants to keep before it strips.
export CARGO_PROFILE_BMC_STRIP = "none"

SYSTEMD_SERVICE:${PN} = "inbandd.service inband-restart.path"

# What contrib/systemd/inband.sysusers says, at the time of the build.
USERADD_PACKAGES = "${PN}"
USERADD_PARAM:${PN} = "--system --user-group --no-create-home --home-dir ${localstatedir}/lib/inband --shell /sbin/nologin inband"

do_install:append() {
    install -d ${D}${systemd_system_unitdir}
    for unit in ${S}/contrib/systemd/*; do
        case "$unit" in
        *.path|*.service|*.timer) install -m 0644 "$unit" ${D}${systemd_system_unitdir} ;;
        esac
    done
    # Not enabled: for doors.arm_by = ["power-on"].
    install -m 0644 ${UNPACKDIR}/inband-host-powered-on.service ${D}${systemd_system_unitdir}
    # inbandd.toml is the machine's, and so are the keys: a bbappend brings both.
    install -d ${D}${sysconfdir}/inband/keys
    install -m 0644 ${UNPACKDIR}/inbandd.toml ${D}${sysconfdir}/inband
    if ${@bb.utils.contains('PACKAGECONFIG', 'dbus', 'true', 'false', d)}; then
        install -D -m 0644 ${UNPACKDIR}/inband.conf ${D}${datadir}/dbus-1/system.d/inband.conf
    fi
}

FILES:${PN} += "${systemd_system_unitdir} ${datadir}/dbus-1"
CONFFILES:${PN} = "${sysconfdir}/inband/inbandd.toml"

# Where these are modules, not built in (see inband.cfg); a kernel that has them built in provides no such package.
RRECOMMENDS:${PN} = "kernel-module-libcomposite kernel-module-usb-f-fs"
