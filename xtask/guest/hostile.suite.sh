# A host program that means harm, over real usbfs: each way in which other devices were broken, and the next session works.
# timeout: 420
# binaries: inband inbandd example:inband/hostile
. /guest/lib.sh
. /guest/bmc.sh

image image 16384
pack good.tar 2.0.0 image
bmc_make bmc 3240 BMC-1
# Budgets are another test's: here a host has as many tries as it wants.
cat >>/tmp/bmc/inbandd.toml <<END

[limits]
slot_rewrites_per_day = 0
sessions_per_day = 0
refusals = 0
END
bmc_start bmc
bmc_attach bmc
# What one session takes it keeps.
run hostile --package good.tar --no-bus-reset end-twice
bmc_mark bmc
scenarios hostile-ends hostile --package good.tar --no-bus-reset
bmc_has_not_grown no-leak bmc

check_kernel_log kernel-log
