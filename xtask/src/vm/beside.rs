//! An inbandd on this machine beside the guest, which is a device on the guest's USB (see `suite`).
//!
//! The suite's script of this name in `xtask/guest` makes it ready, before anything boots, in a folder of its own: `inbandd.toml`, which names the
//! socket `usbredir.sock`, the store, and in `guest` what is to be in the guest's /guest. The guest says `HOST restart` where it says
//! results, to have the inbandd end and start again.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use super::suite::{self, Suite};
use crate::program;
use crate::{Outcome, layout};

/// An inbandd that ends with its guest.
pub(super) struct Beside {
    folder: PathBuf,
    daemon: Child,
}

/// Where a suite's inbandd has its files.
fn folder(vm: &Path, suite: &Suite) -> PathBuf {
    vm.join(format!("{}.beside", suite.name))
}

/// What its inbandd has to say.
pub(super) fn log(vm: &Path, suite: &Suite) -> PathBuf {
    folder(vm, suite).join("inbandd.log")
}

/// Makes the inbandd of a suite ready, and returns what is for the guest. Our own programs are built.
pub(super) fn prepare(vm: &Path, suite: &Suite) -> Outcome<Vec<PathBuf>> {
    let Some(script) = &suite.beside else { return Ok(Vec::new()) };
    let folder = folder(vm, suite);
    let guest = folder.join("guest");
    let cannot_make = |e| format!("cannot make {}: {e}", guest.display());
    if folder.exists() {
        fs::remove_dir_all(&folder).map_err(cannot_make)?;
    }
    fs::create_dir_all(&guest).map_err(cannot_make)?;
    let mut path = release().into_os_string();
    if let Some(rest) = std::env::var_os("PATH") {
        path.push(":");
        path.push(rest);
    }
    let script = suite::scripts().join(script);
    program::output(Command::new("sh").arg("-eu").arg(script).current_dir(&folder).env("PATH", path))?;
    let entries = fs::read_dir(&guest).map_err(|e| format!("cannot read {}: {e}", guest.display()))?;
    Ok(entries.flatten().map(|entry| entry.path()).collect())
}

impl Beside {
    /// Starts the inbandd of a suite that has one, and gives its guest the device.
    pub(super) fn start(vm: &Path, suite: &Suite, guest: &mut Command) -> Outcome<Option<Self>> {
        if suite.beside.is_none() {
            return Ok(None);
        }
        let folder = folder(vm, suite);
        // The path of a socket has 107 bytes at most: it is named from where it is.
        guest.current_dir(&folder);
        guest.args(["-device", "qemu-xhci"]);
        guest.args(["-chardev", "socket,id=bmc,path=usbredir.sock,server=on,wait=off"]);
        guest.args(["-device", "usb-redir,chardev=bmc"]);
        let daemon = daemon(&folder)?;
        Ok(Some(Self { folder, daemon }))
    }

    /// What the guest asks for.
    pub(super) fn order(&mut self, order: &str) -> Outcome {
        match order {
            "restart" => {
                let id = self.daemon.id().to_string();
                program::output(Command::new("sh").args(["-c", "kill \"$1\"", "kill", &id]))?;
                let status = self.daemon.wait().map_err(|e| format!("cannot wait for inbandd: {e}"))?;
                if !status.success() {
                    return Err(format!("inbandd beside the guest ended with {status}"));
                }
                self.daemon = daemon(&self.folder)?;
                Ok(())
            }
            other => Err(format!("the guest asks its host for {other}, which is nothing")),
        }
    }
}

impl Drop for Beside {
    fn drop(&mut self) {
        let _ = self.daemon.kill();
        let _ = self.daemon.wait();
    }
}

fn daemon(folder: &Path) -> Outcome<Child> {
    let program = release().join("inbandd");
    let cannot_run = |e| format!("cannot run {}: {e}", program.display());
    let log = File::options().create(true).append(true).open(folder.join("inbandd.log"));
    Command::new(&program)
        .args(["--config", "inbandd.toml"])
        .current_dir(folder)
        .stdin(Stdio::null())
        .stderr(log.map_err(cannot_run)?)
        .spawn()
        .map_err(cannot_run)
}

fn release() -> PathBuf {
    layout::target().join("release")
}
