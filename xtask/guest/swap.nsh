# swap.nsh OLD NEW: the volume OLD goes, and is seen to be gone; then NEW comes, and is seen. Its name is added to %swaps%.
@echo -off
echo HOST say eject
set -v gone ""
for %t run (1 100)
  if "%gone%" == "" then
    map -r > nul
    if exist %found%:\%1.txt then
      stall 100000
    else
      set -v gone yes
    endif
  endif
endfor
echo HOST say insert %2.img
wait.nsh %2
if "%gone%" == "yes" then
  comp fs0:\%2.txt %found%:\%2.txt > nul
  if %lasterror% == 0x0 then
    set -v swaps %swaps%%2
  endif
endif
