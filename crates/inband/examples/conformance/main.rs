//! The suite every pair of backends passes, over the kernel: a port of the USB/IP server, given to `vhci_hcd`, and the
//! device that shows up on the kernel's bus. Takes Linux, root and the module:
//! `cargo xtask vm conformance` runs it in a guest.
//!
//! Prints `ok NAME` or `failed NAME REASON` for each scenario; exits with 1 if one failed.

use std::process::ExitCode;

#[cfg(target_os = "linux")]
#[path = "../shared/attempt.rs"]
mod attempt;
#[cfg(target_os = "linux")]
mod rig;

#[cfg(target_os = "linux")]
fn main() -> ExitCode {
    match rig::run() {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

#[cfg(not(target_os = "linux"))]
fn main() -> ExitCode {
    eprintln!("only Linux has vhci_hcd");
    ExitCode::FAILURE
}
