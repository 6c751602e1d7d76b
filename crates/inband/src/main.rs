//! `inband`: updates the firmware of a BMC from its host.

use std::process::ExitCode;

fn main() -> ExitCode {
    inband::cli::main(std::env::args_os())
}
