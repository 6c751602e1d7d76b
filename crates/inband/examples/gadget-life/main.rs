//! What becomes of a gadget when processes die, administrators write to its files, and others want its controller: over
//! FunctionFS, with this machine as host of its own controller. Takes Linux and root:
//! `cargo xtask vm gadget-life` runs it in a guest.
//!
//! Prints `ok NAME` or `failed NAME REASON` for each scenario, and lines with figures; exits with 1 if a scenario failed. `serve` as
//! the only argument is the process that is going to die.
#![allow(clippy::panic, clippy::unwrap_used, reason = "a test suite reports by panicking")]

use std::process::ExitCode;

#[cfg(target_os = "linux")]
#[path = "../shared/attempt.rs"]
mod attempt;
#[cfg(target_os = "linux")]
mod life;

#[cfg(target_os = "linux")]
fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    let first = arguments.next();
    if first.as_deref() == Some("serve") {
        life::child::serve();
    }
    if life::run(first.into_iter().chain(arguments).collect()) {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

#[cfg(not(target_os = "linux"))]
fn main() -> ExitCode {
    eprintln!("only Linux has FunctionFS");
    ExitCode::FAILURE
}
