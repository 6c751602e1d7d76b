# copy-update.nsh PACKAGE
#
# Updates a BMC by the disk that it shows: copies a package onto it, says that it is to be taken, and prints what the BMC says of it.
# For the UEFI shell, 2.0 and later, as it is. What is on the disk: docs/spec/volume.md.
#
#   fs0:\> copy-update.nsh fs0:\firmware.tar
#
# Exit status, which is %lasterror% to a script that calls it:
#
#   0x0   PASS: the BMC has staged the package
#   0x1   FAIL: it has not, and runs what it ran; FAIL.TXT, which is printed, says why
#   0x2   the command line is wrong
#   0x3   no disk of a BMC
#   0x4   several disks
#   0x7   the package cannot be read, or not be written to the disk
#   0x9   busy: the BMC takes no package now; BUSY.TXT, which is printed, says why
#   0xA   no verdict in time
@echo -off

if x%1 == x then
  echo "Usage: copy-update.nsh PACKAGE"
  exit /b 2
endif

# The disk is the file system with a STATUS.TXT and one of four files that say how it stands: all that a script can find out of a file
# is that it is there. READY.TXT is what is waited for. A disk that was plugged in, and what is on one that was taken out and put in
# again, the shell sees when it is told to look, by map -r.
#
# PASS.TXT or FAIL.TXT are of an update before. A shell cannot eject them; after ten minutes they go by themselves.
for %t run (1 660)
  map -r > nul
  set -v bmc_disk none
  for %i run (0 15)
    if exist fs%i:\STATUS.TXT then
      for %m in READY BUSY PASS FAIL
        if exist fs%i:\%m.TXT then
          if not %bmc_disk% == none then
            echo "There are several disks of BMCs: %bmc_disk% and fs%i:"
            exit /b 4
          endif
          set -v bmc_disk fs%i:
          set -v bmc_says %m
        endif
      endfor
    endif
  endfor
  if %bmc_disk% == none then
    if %t gt 30 then
      echo "There is no disk of a BMC."
      exit /b 3
    endif
  else
    if %bmc_says% == READY then
      goto ready
    endif
    if %bmc_says% == BUSY then
      echo "The BMC is busy:"
      type %bmc_disk%\BUSY.TXT
      exit /b 9
    endif
    if %t == 1 then
      echo "The disk tells of an update before. The next one can begin when that has gone, in ten minutes at most."
    endif
  endif
  stall 1000000
endfor
echo "The BMC is not ready."
exit /b 9

:ready
# map -r numbers the file systems anew: what was fs1: may be fs0: now.
if not exist %1 then
  echo There is no %1
  exit /b 7
endif
echo "The BMC's disk is %bmc_disk%"
cp -q %1 %bmc_disk%\FIRMWARE.BIN
if not %lasterror% == 0x0 then
  # What is there by now is to be forgotten.
  echo cancel > %bmc_disk%\CANCEL.CMD
  exit /b 7
endif

# To be made when the copy is complete: the BMC takes FIRMWARE.BIN as soon as nothing has been written for two seconds. What is in the
# file does not matter.
echo apply > %bmc_disk%\APPLY.CMD

# The disk is empty while the BMC looks at the package, and then has other files.
for %w run (1 600)
  stall 1000000
  map -r > nul
  for %j run (0 15)
    if exist fs%j:\STATUS.TXT then
      if exist fs%j:\PASS.TXT then
        type fs%j:\PASS.TXT
        exit /b 0
      endif
      if exist fs%j:\FAIL.TXT then
        type fs%j:\FAIL.TXT
        exit /b 1
      endif
    endif
  endfor
endfor
echo "There is no verdict."
exit /b 10
