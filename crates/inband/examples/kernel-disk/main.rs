//! What can be made of the kernel's own disk (f_mass_storage), with this machine as host of its own controller. Takes Linux, root, and a
//! machine that has no driver for disks on USB loaded: `cargo xtask vm kernel-disk` runs it in a guest.
//!
//! Prints `ok NAME` or `failed NAME REASON` for each scenario; exits with 1 if one failed.
#![allow(clippy::panic, clippy::unwrap_used, reason = "a test suite reports by panicking")]

use std::process::ExitCode;

#[cfg(target_os = "linux")]
#[path = "../shared/attempt.rs"]
mod attempt;
#[cfg(target_os = "linux")]
mod scenarios;

#[cfg(target_os = "linux")]
fn main() -> ExitCode {
    if scenarios::run(&std::env::args().skip(1).collect::<Vec<_>>()) {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

#[cfg(not(target_os = "linux"))]
fn main() -> ExitCode {
    eprintln!("only Linux has a disk to lend");
    ExitCode::FAILURE
}
