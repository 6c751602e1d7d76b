//! Programs that the tests compare us with.

use std::path::Path;
use std::process::Command;

/// Runs a program in `folder` and gives what it prints.
pub(crate) fn run(folder: &Path, program: &str, arguments: &[&str]) -> Vec<u8> {
    let started = Command::new(program).args(arguments).current_dir(folder).env("LC_ALL", "C").output();
    let output = match started {
        Ok(output) => output,
        Err(error) => panic!("{program} does not start: {error}; `cargo xtask packages` installs it"),
    };
    let complaint = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{program} {arguments:?}: {complaint}");
    output.stdout
}

/// As [`run`], for a program that prints text.
pub(crate) fn run_for_text(folder: &Path, program: &str, arguments: &[&str]) -> String {
    String::from_utf8(run(folder, program, arguments)).unwrap()
}
