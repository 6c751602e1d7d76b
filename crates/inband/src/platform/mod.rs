//! What differs between the systems that the host tool runs on: one file for each, with the same functions in it. USB
//! itself is nusb's; the demo has a BMC in it, and so is Linux's as a whole (`lib.rs`).

#[cfg(target_os = "linux")]
mod linux;
#[cfg(target_os = "macos")]
mod macos;
#[cfg(not(target_os = "linux"))]
mod not_linux;
#[cfg(unix)]
mod unix;
#[cfg(windows)]
mod windows;

#[cfg(target_os = "linux")]
use linux as system;
#[cfg(target_os = "macos")]
use macos as system;
#[cfg(windows)]
use windows as system;

pub(crate) use system::{
    attach, disks, driver_advice, holder, ipmi, owner_only, permission_advice, take_disk,
};
