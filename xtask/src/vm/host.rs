//! `cargo xtask vm host`: the guest as a host to try things on by hand, its IPMI controller and its USB device being one inbandd.

use std::fs::{self, File};
use std::io::{self, IsTerminal as _};
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use super::beside::{self, Beside};
use super::suite::{self, Suite};
use super::{Guests, qemu};
use crate::{Outcome, layout};

/// What the guest is to run instead of asking for commands.
const COMMANDS: &str = "commands";

/// How long what the README has may take, on a busy machine.
const README_LIMIT: Duration = Duration::from_secs(300);

/// Boots it, and returns when it has ended.
pub(super) fn run() -> Outcome {
    let input = io::stdin();
    let commands = if input.is_terminal() { None } else { Some(read(input)?) };
    boot(&suite::console("host")?, commands)
}

/// Has it run what the README says is to be pasted there.
pub(super) fn readme() -> Outcome {
    let file = layout::workspace().join("README.md");
    let text = fs::read_to_string(&file).map_err(|e| format!("cannot read {}: {e}", file.display()))?;
    let commands = pasted(&text).ok_or_else(|| format!("{} has nothing to paste", file.display()))?;
    boot(&Suite { timeout: README_LIMIT, ..suite::console("host")? }, Some(read(commands.as_bytes())?))
}

/// The indented lines behind the one that boots it, as far as the section goes.
fn pasted(readme: &str) -> Option<String> {
    let (_, behind) = readme.split_once("\n    cargo xtask vm host\n")?;
    let section = behind.split("\n## ").next().unwrap_or(behind);
    let lines: Vec<_> = section.lines().filter_map(|line| line.strip_prefix("    ")).collect();
    if lines.is_empty() { None } else { Some(lines.join("\n") + "\n") }
}

fn boot(suite: &Suite, commands: Option<PathBuf>) -> Outcome {
    let guests = Guests::prepare(&[suite], commands.as_slice())?;
    let ended_with = guests.folder.join("host.ended");
    fs::write(&ended_with, "").map_err(|e| format!("cannot write {}: {e}", ended_with.display()))?;

    let mut beside = Beside::start(&guests.folder, suite)?.ok_or("nothing runs beside the guest")?;
    println!("inbandd runs in {}, and logs there", beside::folder(&guests.folder, suite).display());
    let mut guest = qemu::machine(&guests.folder, guests.system(suite)?, suite)?;
    beside.plug(suite, &mut guest);
    // Ctrl-A gets at QEMU; all else, Ctrl-C too, is the guest's.
    guest.args(["-chardev", "stdio,id=terminal,mux=on,signal=off", "-mon", "chardev=terminal"]);
    guest.args(["-serial", "chardev:terminal", "-serial", &format!("file:{}", ended_with.display())]);
    guest.stdin(if commands.is_some() { Stdio::null() } else { Stdio::inherit() });
    let status = guest.status().map_err(|e| format!("cannot start the guest: {e}"))?;
    beside.order("end")?;
    if !status.success() {
        return Err(format!("the guest ended with {status}"));
    }
    match fs::read_to_string(&ended_with).ok().filter(|_| commands.is_some()) {
        Some(said) if said.lines().all(|line| line.trim() != "EXIT 0") => Err("a command failed".into()),
        _ => Ok(()),
    }
}

/// The commands, in a file.
fn read(mut input: impl io::Read) -> Outcome<PathBuf> {
    let folder = layout::target().join("vm");
    let file = folder.join(COMMANDS);
    let mut copy = || {
        fs::create_dir_all(&folder)?;
        io::copy(&mut input, &mut File::create(&file)?)
    };
    copy().map_err(|e| format!("cannot write {}: {e}", file.display()))?;
    Ok(file)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_to_be_pasted_stands_behind_the_line_that_boots() {
        let readme = "    first\n\n## Try\n\n    cargo xtask vm host\n\nsays:\n\n    one\n    two | 2\n\ntext\n\n    three\n\n## Next\n\n    four\n";
        assert_eq!(pasted(readme).as_deref(), Some("one\ntwo | 2\nthree\n"));
        assert_eq!(pasted("    cargo xtask vm host\n"), None);
        assert_eq!(pasted("\n    cargo xtask vm host\n\ntext\n\n## Next\n\n    four\n"), None);
    }
}
