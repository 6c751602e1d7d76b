# copies.nsh TEST FILE STATUS: one test: the example copies this file of fs0:, and ends with this.
@echo -off
copy-update.nsh fs0:\%2
if %lasterror% == %3 then
  echo TEST usbredir-copy.%1 ok
else
  echo TEST usbredir-copy.%1 FAILED %lasterror%
endif
