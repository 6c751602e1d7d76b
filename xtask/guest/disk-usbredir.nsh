# What the UEFI shell does in the measurement disk-usbredir.
@echo -off
echo HOST say insert a.img
wait.nsh b
set -v theirs %found%
wait.nsh a
for %i run (1 5)
  echo HOST say tell between
  cp -q fs0:\payload %found%:\payload%i
  if %lasterror% == 0x0 then
    echo HOST say tell uefi-ours
    echo TEST disk-usbredir.uefi-ours-%i ok
  else
    echo TEST disk-usbredir.uefi-ours-%i FAILED %lasterror%
  endif
  echo HOST say tell between
  cp -q fs0:\payload %theirs%:\payload%i
  if %lasterror% == 0x0 then
    echo HOST say tell uefi-theirs
    echo TEST disk-usbredir.uefi-theirs-%i ok
  else
    echo TEST disk-usbredir.uefi-theirs-%i FAILED %lasterror%
  endif
endfor
