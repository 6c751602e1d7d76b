# The kernel backend of `inband` passes the suite of all backends, its device being one of the USB/IP server's.
# timeout: 1200
# clock: instructions
# binaries: example:inband/conformance
. /guest/lib.sh

scenarios conformance-ends conformance

check_kernel_log kernel-log
