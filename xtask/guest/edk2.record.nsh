# What the UEFI shell does for the recording edk2: the disks are fs1 to fs3, in the order of their ports.
@echo -off
map -r > nul
if not exist fs3:\READY.TXT then
  echo TEST edk2.disks FAILED no fs3
  exit /b
endif
cp -q fs0:\fw1 fs1:\FIRMWARE.BIN
if %lasterror% == 0x0 then
  echo x > fs1:\APPLY.CMD
  echo TEST edk2.edk2 ok
else
  echo TEST edk2.edk2 FAILED %lasterror%
endif
cp -q fs0:\fw1 fs2:\FIRMWARE.BIN
rm -q fs2:\FIRMWARE.BIN
cp -q fs0:\fw2 fs2:\FIRMWARE.TMP
mv fs2:\FIRMWARE.TMP fs2:\FIRMWARE.BIN
if exist fs2:\FIRMWARE.BIN then
  echo TEST edk2.edk2-again ok
else
  echo TEST edk2.edk2-again FAILED %lasterror%
endif
cp -q fs0:\fw1 fs3:\FIRMWARE.BIN
cp -q fs0:\fw2 fs3:\FIRMWARE.BIN
if %lasterror% == 0x0 then
  echo TEST edk2.edk2-over ok
else
  echo TEST edk2.edk2-over FAILED %lasterror%
endif
