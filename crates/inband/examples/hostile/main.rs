//! A host program that means harm: the ways in which other DFU devices and USB gadgets were broken, and some of our own
//! (docs/hostile.md), sent to the one DFU device on this machine's USB. Takes Linux and a device that may be abused;
//! `cargo xtask vm hostile` runs it in a guest.
//!
//! ```text
//! hostile --package FILE [--no-bus-reset] [SCENARIO]...
//! hostile --package FILE --rounds N --udc CONTROLLER [--seed N]
//! hostile --package FILE --sweep quarter|all
//! ```
//!
//! FILE is a package that the device takes. `--no-bus-reset`: the connection has no message for it (USB/IP). `--rounds`: the loops instead,
//! of a device that is a gadget of this machine's own on that controller. `--sweep`: every request there is, or a quarter of them, to a device whose doors are
//! shut. Prints `ok NAME TIME` or
//! `failed NAME REASON` for each scenario; exits with 1 if one failed.

use std::process::ExitCode;

#[cfg(target_os = "linux")]
mod chapter9;
#[cfg(target_os = "linux")]
mod dfu;
#[cfg(target_os = "linux")]
mod loops;
#[cfg(target_os = "linux")]
mod own;
#[cfg(target_os = "linux")]
mod run;
#[cfg(target_os = "linux")]
mod sweep;
#[cfg(target_os = "linux")]
mod target;
#[cfg(target_os = "linux")]
mod usbfs;
#[cfg(target_os = "linux")]
mod wire;

#[cfg(target_os = "linux")]
fn main() -> ExitCode {
    match run::run() {
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
    eprintln!("only Linux lets a program send any request that it likes");
    ExitCode::FAILURE
}
