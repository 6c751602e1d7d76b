//! Running other programs, and saying which when one fails.

use std::env;
use std::ffi::{OsStr, OsString};
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};
use std::thread;
use std::time::Duration;

use crate::{Outcome, layout};

/// A cargo command in the workspace, with the lock file as it is.
pub(crate) fn cargo(subcommand: &[&str]) -> Command {
    // Cargo tells the programs it runs which cargo it is.
    let mut command = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.args(subcommand).arg("--locked").current_dir(layout::workspace());
    command
}

/// Shows the command line, runs it with our output, and fails unless it exits with 0.
pub(crate) fn run(command: &mut Command) -> Outcome {
    println!("$ {}", line(command));
    let status = command.stdin(Stdio::null()).status().map_err(|e| cannot_run(command, &e))?;
    if status.success() { Ok(()) } else { Err(format!("{} ended with {status}", line(command))) }
}

/// As [`run`], and again after a pause if it fails, so often in all: for what depends on somebody else's machine.
pub(crate) fn run_up_to(attempts: u32, pause: Duration, command: &mut Command) -> Outcome {
    for attempt in 1..attempts {
        match run(command) {
            Ok(()) => return Ok(()),
            Err(why) => println!("{why}\nattempt {attempt} of {attempts}; the next in {} s", pause.as_secs()),
        }
        thread::sleep(pause);
    }
    run(command)
}

/// Runs a command and returns what it prints; its errors are part of the message if it fails.
pub(crate) fn output(command: &mut Command) -> Outcome<String> {
    let Output { status, stdout, stderr } =
        command.stdin(Stdio::null()).output().map_err(|e| cannot_run(command, &e))?;
    if status.success() {
        Ok(String::from_utf8_lossy(&stdout).into_owned())
    } else {
        let said = String::from_utf8_lossy(&stderr);
        Err(format!("{} ended with {status}: {}", line(command), said.trim()))
    }
}

/// Where a program is. Looks in the system folders too, which are not in everybody's PATH.
pub(crate) fn find(name: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    let system = ["/usr/sbin", "/sbin", "/usr/bin", "/bin"].map(PathBuf::from);
    env::split_paths(&path).chain(system).map(|folder| folder.join(name)).find(|file| file.is_file())
}

fn cannot_run(command: &Command, error: &std::io::Error) -> String {
    format!("cannot run {}: {error}", command.get_program().display())
}

/// The command line as one would type it.
fn line(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    let words: Vec<OsString> = words.map(OsStr::to_os_string).collect();
    words.join(OsStr::new(" ")).to_string_lossy().into_owned()
}
