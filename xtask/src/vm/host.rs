//! `cargo xtask vm host`: the guest as a host to try things on by hand, its IPMI controller and its USB device being one inbandd.

use std::fs::{self, File};
use std::io::{self, IsTerminal as _};
use std::path::PathBuf;
use std::process::Stdio;

use super::beside::{self, Beside};
use super::{Guests, qemu, suite};
use crate::{Outcome, layout};

/// What the guest is to run instead of asking for commands.
const COMMANDS: &str = "commands";

/// Boots it, and returns when it has ended.
pub(super) fn run() -> Outcome {
    let suite = suite::console("host")?;
    let input = io::stdin();
    let commands = if input.is_terminal() { None } else { Some(read(input)?) };
    let guests = Guests::prepare(&[&suite], commands.as_slice())?;
    let ended_with = guests.folder.join("host.ended");
    fs::write(&ended_with, "").map_err(|e| format!("cannot write {}: {e}", ended_with.display()))?;

    let mut beside = Beside::start(&guests.folder, &suite)?.ok_or("nothing runs beside the guest")?;
    println!("inbandd runs in {}, and logs there", beside::folder(&guests.folder, &suite).display());
    let mut guest = qemu::machine(&guests.folder, guests.system(&suite)?, &suite)?;
    beside.plug(&suite, &mut guest);
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
