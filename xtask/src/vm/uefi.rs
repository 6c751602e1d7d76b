//! The UEFI shell before the kernel: a suite's machine with UEFI firmware, whose shell runs a script of `xtask/guest` and then boots the
//! guest's kernel, on the same machine with the same devices.
//!
//! The script says results and gives orders as the guest does (see `report` and `beside`), by `echo`: what the firmware shows is on both serial
//! lines, among escape sequences and whatever else the shell has to say, of which nothing counts. It finds on `fs0:` the scripts `*.nsh` and
//! what was made for it.

use std::fs;
use std::io;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::suite::{self, Suite};
use super::{System, beside};
use crate::Outcome;

/// The firmware, and what it begins with to remember.
const CODE: &str = "/usr/share/OVMF/OVMF_CODE_4M.fd";
const VARIABLES: &str = "/usr/share/OVMF/OVMF_VARS_4M.fd";

/// Has a machine boot the system by way of the shell, with this command line.
pub(super) fn boot(
    folder: &Path,
    (suite, script): (&Suite, &str),
    system: &System,
    arguments: &str,
    guest: &mut Command,
) -> Outcome {
    let volume = folder.join(format!("{}.uefi", suite.name));
    let variables = folder.join(format!("{}.variables", suite.name));
    let files = beside::for_shell(folder, suite)?;
    make(&volume, script, system, arguments, &files)
        .and_then(|()| fs::copy(VARIABLES, &variables).map(drop))
        .map_err(|e| format!("cannot make {}: {e}", volume.display()))?;
    guest.arg("-drive").arg(format!("if=pflash,unit=0,format=raw,readonly=on,file={CODE}"));
    guest.arg("-drive").arg(format!("if=pflash,unit=1,format=raw,file={}", variables.display()));
    // The first on the bus: fs0.
    guest.arg("-drive").arg(format!("if=none,id=esp,format=raw,readonly=on,file=fat:{}", volume.display()));
    guest.args(["-device", "virtio-blk-pci,drive=esp,addr=2"]);
    Ok(())
}

/// The folder that the firmware takes for a FAT volume. Nothing is copied that is large.
fn make(volume: &Path, script: &str, system: &System, arguments: &str, files: &[PathBuf]) -> io::Result<()> {
    if volume.exists() {
        fs::remove_dir_all(volume)?;
    }
    fs::create_dir_all(volume)?;
    symlink(&system.kernel.image, volume.join("linux.efi"))?;
    symlink(&system.initrd, volume.join("initrd"))?;
    let scripts = fs::read_dir(suite::scripts())?.flatten().map(|entry| entry.path());
    for file in scripts.filter(|path| path.extension().is_some_and(|it| it == "nsh")).chain(files.to_vec()) {
        if let Some(name) = file.file_name() {
            symlink(&file, volume.join(name))?;
        }
    }
    let startup = format!("@echo -off\nfs0:\n{script}\nfs0:\\linux.efi initrd=initrd {arguments}\n");
    fs::write(volume.join("startup.nsh"), startup)
}

/// A result, a measurement or an order, if that is what the shell has shown.
pub(super) fn told(line: &str) -> Option<String> {
    let line = plain(line);
    let line = line.trim();
    let counts = line == "READY" || line.starts_with("TEST ") || line.starts_with("HOST ");
    counts.then(|| line.to_string())
}

/// Text without the terminal's escape sequences.
fn plain(line: &str) -> String {
    let mut parts = line.split('\u{1b}');
    let mut text = parts.next().unwrap_or_default().to_string();
    for part in parts {
        // `[`, parameters, a letter.
        let end = part.strip_prefix('[').and_then(|it| it.find(|c: char| ('@'..='~').contains(&c)));
        text += end.map_or("", |end| &part[end + 2..]);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_are_found_among_what_the_shell_shows() {
        assert_eq!(told("TEST a.b ok\r").as_deref(), Some("TEST a.b ok"));
        assert_eq!(
            told("\u{1b}[2J\u{1b}[01;01H\u{1b}[=3hHOST say eject\r").as_deref(),
            Some("HOST say eject")
        );
        assert_eq!(told("\u{1b}[0m\u{1b}[37m\u{1b}[40mREADY").as_deref(), Some("READY"));
        assert_eq!(told("\u{1b}[24;01HDirectory of: \u{1b}[1mfs0:\\\u{1b}[0m\r"), None);
        assert_eq!(told("\u{1b}[1;\u{1b}"), None);
    }
}
