# What the UEFI shell does with the disk of the suite usbredir-uefi.
@echo -off
echo HOST say insert a.img
wait.nsh a
if "%found%" == "none" then
  echo TEST usbredir-uefi.disk FAILED not found
  exit /b
endif
echo TEST usbredir-uefi.disk ok

# Each is twice out and in, and another volume each time.
set -v swaps 0
for %i run (1 10)
  swap.nsh a b
  swap.nsh b a
endfor
if "%swaps%" == "0babababababababababa" then
  echo TEST usbredir-uefi.re-insertions ok
else
  echo TEST usbredir-uefi.re-insertions FAILED %swaps%
endif

cp -q fs0:\payload %found%:\payload
if %lasterror% == 0x0 then
  echo TEST usbredir-uefi.copy ok
else
  echo TEST usbredir-uefi.copy FAILED %lasterror%
endif
map -r > nul
comp fs0:\payload %found%:\payload
if %lasterror% == 0x0 then
  echo TEST usbredir-uefi.compare ok
else
  echo TEST usbredir-uefi.compare FAILED %lasterror%
endif
ls %found%:\
