# Every fourth request there is, to gadgets whose doors are shut: only what is specified is answered, and nothing grows.
# timeout: 1200
# clock: instructions
# binaries: inband inbandd example:inband/hostile
PAIRS=quarter
. /guest/sweep.sh
check_kernel_log kernel-log
