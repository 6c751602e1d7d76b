# wait.nsh NAME: until there is a file system with NAME.txt besides fs0; %found% is which, or empty after 10 s.
@echo -off
set -v found ""
for %t run (1 100)
  if "%found%" == "" then
    map -r > nul
    for %d in fs1 fs2 fs3
      if exist %d:\%1.txt then
        set -v found %d
      endif
    endfor
    if "%found%" == "" then
      stall 100000
    endif
  endif
endfor
