# What the UEFI shell of EDK2 writes when a package is copied onto the volume, each way on a disk of its own.
# timeout: 600
# binaries: example:inband-volume/trace
# beside: record.host.sh
# drives: edk2 edk2-again edk2-over
# uefi: edk2.record.nsh
. /guest/lib.sh
. /guest/record.sh

# The shell has told whether it worked.
HOST="EDK2 (OVMF $(cat "/guest/$SUITE/ovmf")), its shell"
told edk2 'cp fw1 fs1:\FIRMWARE.BIN; echo x > fs1:\APPLY.CMD'
told edk2-again 'cp fw1 fs2:\FIRMWARE.BIN; rm fs2:\FIRMWARE.BIN; cp fw2 fs2:\FIRMWARE.TMP; mv fs2:\FIRMWARE.TMP fs2:\FIRMWARE.BIN'
told edk2-over 'cp fw1 fs3:\FIRMWARE.BIN; cp fw2 fs3:\FIRMWARE.BIN'
