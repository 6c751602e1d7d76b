//! Debian packages unpacked into a cache: for what is not to be installed on the machine.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::{Outcome, packages, program};

/// The ending of a folder that is still being unpacked.
pub(crate) const PARTIAL: &str = ".partial";

/// Downloads packages and unpacks them into one folder; `finish` does what their installation scripts would have done.
/// The folder appears under its name only when it is whole.
pub(crate) fn unpack(packages: &[&str], folder: &Path, finish: impl FnOnce(&Path) -> Outcome) -> Outcome {
    let partial = PathBuf::from(format!("{}{PARTIAL}", folder.display()));
    let io = |e: std::io::Error| format!("{}: {e}", partial.display());
    if partial.exists() {
        fs::remove_dir_all(&partial).map_err(io)?;
    }
    fs::create_dir_all(&partial).map_err(io)?;
    // Lists older than the archive name files it no longer has: then one more try with new ones.
    if let Err(why) = download(packages, &partial) {
        packages::update_lists().map_err(|how| format!("{why}; {how}"))?;
        download(packages, &partial)?;
    }
    let debs: Vec<PathBuf> = fs::read_dir(&partial)
        .map_err(io)?
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| path.extension().is_some_and(|ending| ending == "deb"))
        .collect();
    if debs.len() != packages.len() {
        return Err(format!("apt-get download left {} packages of {}", debs.len(), packages.len()));
    }
    for deb in debs {
        program::run(Command::new("dpkg").arg("--extract").arg(&deb).arg(&partial))?;
        fs::remove_file(&deb).map_err(io)?;
    }
    finish(&partial)?;
    fs::rename(&partial, folder).map_err(io)
}

fn download(packages: &[&str], folder: &Path) -> Outcome {
    // It prints what goes wrong only.
    program::run(
        Command::new("apt-get")
            .arg("--quiet=2")
            .args(packages::OPTIONS.map(|option| format!("--option={option}")))
            .arg("download")
            .args(packages)
            .current_dir(folder),
    )
    .map_err(|why| format!("{why}: is there a network? Debian's archive is needed this once"))
}
