# The same on Debian bookworm's own kernel, whose FunctionFS knows no DFU descriptor.
# timeout: 240
# kernel: 6.1
. /guest/kernel.suite.sh
