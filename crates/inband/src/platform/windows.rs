//! Windows: docs/windows.md has what a user should know. Nobody has run it there; `cargo xtask arm check` has it compiled.

use std::fs::OpenOptions;

pub(crate) use super::not_linux::{attach, disks, holder, ipmi, take_disk};

/// How to be allowed to open devices.
pub(crate) fn permission_advice(_vendor_id: u16) -> String {
    "run it as an administrator".to_owned()
}

/// What to do about a device that cannot be opened for want of a driver.
pub(crate) fn driver_advice() -> Option<String> {
    let advice = "Windows gives a BMC the driver WinUSB by itself, if the BMC asks for that: wait until it has, and try again. A BMC on Linux \
                  before 5.17 does not ask: give it WinUSB with Zadig, in both modes";
    Some(advice.to_owned())
}

/// A file inherits who may read it from its folder.
pub(crate) const fn owner_only(_: &mut OpenOptions) {}
