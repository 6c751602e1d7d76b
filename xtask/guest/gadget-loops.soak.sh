# The mode switch and the pulled cable, 1,000 times each, a hundred at a time.
# timeout: 14400
# clock: instructions
# binaries: inband inbandd example:inband/hostile
. /guest/lib.sh
. /guest/bmc.sh

image medium 262144
pack medium.tar 2.0.0 medium
bmc_make bmc gadget BMC-1
unlimited bmc
bmc_start bmc
bmc_attach bmc
# What one session takes it keeps.
run hostile --package medium.tar end-twice
bmc_mark bmc
for seed in 1 2 3 4 5 6 7 8 9 10; do
    check "loops-$seed" hostile --package medium.tar --rounds 100 --seed $seed --udc dummy_udc.0
    bmc_has_not_grown "no-leak-$seed" bmc
    # The log of the daemon is in memory.
    tail -n 50 bmc-inbandd.log >tail.log
    cat tail.log >bmc-inbandd.log
done
check_kernel_log kernel-log
