SUMMARY = "What hosts ask of inbandd by IPMI, from ipmid to inbandd"
HOMEPAGE = "https://github.com/inband/inband"
LICENSE = "Apache-2.0 | MIT"
LIC_FILES_CHKSUM = "\
    file://LICENSE-APACHE;md5=3b83ef96387f14655fc854ddc3c6bd57 \
    file://LICENSE-MIT;md5=a999185d92ef44d11b82d34105f1fcca \
"

# To fill in, as in the daemon's recipe, and of the same commit.
SRC_URI = "git://github.com/inband/inband.git;protocol=https;branch=main"
SRCREV = "${AUTOREV}"
PV = "0.1.0+git"
# Before OE-core 5.1 (styhead): S = "${WORKDIR}/git".

DEPENDS = "boost phosphor-ipmi-host phosphor-logging sdbusplus"

inherit meson pkgconfig

MESON_SOURCEPATH = "${S}/contrib/openbmc/ipmi-provider"

# ipmid loads what it finds there.
FILES:${PN} += "${libdir}/ipmid-providers"

RDEPENDS:${PN} = "inbandd"
