# Every request there is, to BMCs whose doors are shut, gadgets and virtual ones.
# timeout: 28800
# clock: instructions
# binaries: inband inbandd example:inband/hostile
PAIRS=all
. /guest/sweep.sh
sweep virtual-off 3240 off
sweep virtual-armed 3241 armed
check_kernel_log kernel-log
