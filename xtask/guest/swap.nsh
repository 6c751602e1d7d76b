# swap.nsh OLD NEW: the volume OLD goes, and is seen to be gone; then NEW comes, and is seen. Its name is added to %swaps%.
@echo -off
echo HOST say eject
set -v looks 0
:look
map -r > nul
if not exist %found%:\%1.txt then
  goto gone
endif
set -v looks x%looks%
if "%looks%" == "xxxxxxxxxxxxxxxxxxxx0" then
  goto end
endif
stall 100000
goto look
:gone
echo HOST say insert %2.img
wait.nsh %2
comp fs0:\%2.txt %found%:\%2.txt > nul
if %lasterror% == 0x0 then
  set -v swaps %swaps%%2
endif
:end
