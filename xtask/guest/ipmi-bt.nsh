# What the UEFI shell does in the suite ipmi-bt: the example, behind a door that somebody on the BMC opens.
@echo -off
map -r > nul
set -v disk none
for %d in fs0 fs1 fs2 fs3
  if exist %d:\STATUS.TXT then
    set -v disk %d
  endif
endfor
if "%disk%" == "none" then
  echo TEST ipmi-bt.uefi-door-shut ok
else
  echo TEST ipmi-bt.uefi-door-shut FAILED %disk%
endif
echo HOST run ipmi-bt.arm.sh
copy-update.nsh fs0:\2.00.tar
if %lasterror% == 0x0 then
  echo TEST ipmi-bt.uefi-copy ok
else
  echo TEST ipmi-bt.uefi-copy FAILED %lasterror%
endif
