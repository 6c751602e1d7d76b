# Two machines in one guest, for measurements: `. /guest/two.sh`. What is started behind `run_on $HOST` or `run_on $BMC` stays on that
# processor, if there are two. Host and BMC are two machines: the kernel is not to have the BMC work on the host's processor, nor to put
# the host aside for it.
HOST=1
BMC=2

run_on() {
    [ "$(nproc --all)" -lt 2 ] || taskset -p "$1" $$ >/dev/null
}
