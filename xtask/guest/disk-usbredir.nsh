# What the UEFI shell does in the measurement disk-usbredir.
@echo -off
echo HOST say insert a.img
wait.nsh a
for %i run (1 5)
  stall 200000
  echo HOST say tell uefi-between
  stall 200000
  cp -q fs0:\payload %found%:\payload%i
  if %lasterror% == 0x0 then
    echo TEST disk-usbredir.uefi-copy-%i ok
  else
    echo TEST disk-usbredir.uefi-copy-%i FAILED %lasterror%
  endif
  stall 200000
  echo HOST say tell uefi-copy
endfor
stall 200000
