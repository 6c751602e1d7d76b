# For kernels of another name (linux-nuvoton, linux-hpe, ...): the same file under that name.
FILESEXTRAPATHS:prepend := "${THISDIR}/files:"
SRC_URI += "file://inband.cfg"
# To fill in below Linux 6.12, if you have it: the backport that lets FunctionFS take a DFU descriptor (README.md).
# SRC_URI += "file://0001-usb-gadget-f_fs-dfu-functional-descriptor.patch"
