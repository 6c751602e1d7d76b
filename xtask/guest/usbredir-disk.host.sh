# What the suites usbredir-disk and usbredir-disk-ehci have beside their guest: nothing but the disk, blank.
