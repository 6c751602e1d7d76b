//! Asks the one DFU device on this machine's USB what Windows asks a new device, and takes the answers as Windows does: which
//! driver each interface is for, and by which class a program finds it. Takes Linux; `cargo xtask vm windows` runs it in a guest.
//!
//! ```text
//! as-windows 1.0|2.0|none
//! ```
//!
//! The word is the version of Microsoft's OS descriptors that the device has to have. Prints `ok NAME` or `failed NAME REASON`; exits with
//! 1 if something failed.

use std::process::ExitCode;

#[cfg(target_os = "linux")]
mod ask;
#[cfg(target_os = "linux")]
mod first;
#[cfg(target_os = "linux")]
mod second;

#[cfg(target_os = "linux")]
fn main() -> ExitCode {
    let wanted = std::env::args().nth(1).unwrap_or_default();
    match ask::run(&wanted) {
        Ok(()) => {
            println!("ok windows-{wanted}");
            ExitCode::SUCCESS
        }
        Err(why) => {
            println!("failed windows-{wanted} {}", why.replace('\n', " "));
            ExitCode::FAILURE
        }
    }
}

#[cfg(not(target_os = "linux"))]
fn main() -> ExitCode {
    eprintln!("only Linux lets a program send what Windows sends by itself");
    ExitCode::FAILURE
}
