# wait.nsh NAME: until there is a file system with NAME.txt besides fs0; %found% is which, or none after twenty looks.
@echo -off
set -v found none
set -v looks 0
:look
map -r > nul
for %d in fs1 fs2 fs3
  if exist %d:\%1.txt then
    set -v found %d
  endif
endfor
if not "%found%" == "none" then
  goto end
endif
set -v looks x%looks%
if "%looks%" == "xxxxxxxxxxxxxxxxxxxx0" then
  goto end
endif
stall 100000
goto look
:end
