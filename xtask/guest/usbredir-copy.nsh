# What the UEFI shell does with the disk of the suite usbredir-copy: the example, as a script of a user's would call it.
@echo -off
copies.nsh no-package nonesuch.tar 0x7
copies.nsh tampered tampered.tar 0x1
echo HOST run usbredir-copy.says.sh tampered-said RESULT=bad-chunk result=bad-chunk slot_b=invalid running=a
# The verdict goes with the BMC that restarts. What waits for it to go sees another disk.
restarts.nsh
copies.nsh small small.tar 0x0
echo HOST run usbredir-copy.says.sh small-said VERSION=2.00 result=ok slot_b=staged version_b=2.00
# Its firmware is on trial now, and cannot be replaced before that has passed.
restarts.nsh
copies.nsh busy large.tar 0x9
echo HOST run usbredir-copy.says.sh busy-said RESULT=on-trial running=b on_trial=true
echo HOST run usbredir-copy.says.sh healthy
# The BMC finds it out by itself.
for %i run (1 5)
  wait.nsh READY
endfor
copies.nsh large large.tar 0x0
echo HOST run usbredir-copy.says.sh large-said VERSION=3.00 result=ok slot_a=staged version_a=3.00
