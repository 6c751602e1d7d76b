# Every fourth request there is, to BMCs whose doors are shut: only what is specified is answered, and nothing grows.
# timeout: 1200
# clock: instructions
# binaries: inband inbandd example:inband/hostile
PAIRS=quarter
. /guest/sweep.sh
