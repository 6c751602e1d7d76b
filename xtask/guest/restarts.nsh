# restarts.nsh: the BMC restarts. EDK2 misses a device now and then that is back before it has seen it go.
@echo -off
echo HOST end
:look
map -r > nul
set -v there no
for %d in fs1 fs2 fs3
  if exist %d:\STATUS.TXT then
    set -v there yes
  endif
endfor
if %there% == yes then
  stall 100000
  goto look
endif
echo HOST start
