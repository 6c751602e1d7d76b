# In the restriction mode "Allowlist" the system interface gets nothing that is on no list: ours is one more.
FILESEXTRAPATHS:prepend := "${THISDIR}/${PN}:"
SRC_URI:append = " file://inband-whitelist.conf"
WHITELIST_CONF:append = " ${UNPACKDIR}/inband-whitelist.conf"
