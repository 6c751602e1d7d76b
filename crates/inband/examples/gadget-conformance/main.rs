//! The suite every pair of backends passes, over FunctionFS: a gadget on a controller of this machine whose host is this
//! machine as well, as with `dummy_hcd`. Takes Linux and root: `cargo xtask vm gadget-conformance` runs it in a
//! guest.
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
    eprintln!("only Linux has FunctionFS");
    ExitCode::FAILURE
}
