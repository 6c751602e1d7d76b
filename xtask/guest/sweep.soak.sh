# Every request there is, to BMCs whose doors are shut.
# timeout: 28800
# clock: instructions
# binaries: inband inbandd example:inband/hostile
PAIRS=all
. /guest/sweep.sh
