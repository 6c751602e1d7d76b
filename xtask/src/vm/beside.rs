//! A program of ours on this machine beside the guest, which is a device on the guest's USB (see `suite`): an inbandd, unless the suite says
//! another.
//!
//! The suite's script of this name in `xtask/guest` makes it ready, before anything boots, in a folder of its own, where it then runs: `inbandd.toml`,
//! which names the socket `usbredir.sock`, the store; in `guest` what is to be in the guest's /guest/SUITE, and in `uefi` what its UEFI shell finds. The
//! guest gives orders where it says results:
//!
//! ```text
//! HOST restart        the program ends, as it is to end, and starts again
//! HOST end            only the first half of that
//! HOST start          the second
//! HOST kill           it is killed, and starts again
//! HOST pause          it is stopped where it is, until it is killed
//! HOST say WORDS      it finds these words as a line on its standard input
//! HOST run SCRIPT...  this script of `xtask/guest` runs in its folder, with these arguments; what that prints is as if the guest had said it
//! HOST cut            it is the guest that ends, at once, and boots again
//! ```
//!
//! Lines of its standard output that are JSON are measurements, as if the guest had told them.

use std::fs::{self, File};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use super::programs::Profile;
use super::suite::{self, Suite};
use crate::Outcome;
use crate::program;

/// A program that ends with its guest.
pub(super) struct Beside {
    folder: PathBuf,
    profile: Profile,
    /// What it is called with.
    runs: Vec<String>,
    child: Child,
}

/// Where a suite's program has its files.
pub(super) fn folder(vm: &Path, suite: &Suite) -> PathBuf {
    vm.join(format!("{}.beside", suite.name))
}

/// What its program has to say.
pub(super) fn log(vm: &Path, suite: &Suite) -> PathBuf {
    folder(vm, suite).join("log")
}

/// Makes the program of a suite ready, and returns what is for the guest. Our own programs are built.
pub(super) fn prepare(vm: &Path, suite: &Suite) -> Outcome<Vec<PathBuf>> {
    let Some(script) = &suite.beside else { return Ok(Vec::new()) };
    let folder = folder(vm, suite);
    let guest = folder.join("guest");
    let cannot_make = |e| format!("cannot make {}: {e}", guest.display());
    if folder.exists() {
        fs::remove_dir_all(&folder).map_err(cannot_make)?;
    }
    fs::create_dir_all(&guest).map_err(cannot_make)?;
    run_script(&folder, suite.profile, script)?;
    files_in(&guest)
}

/// Runs a script, which may have arguments, where the program is; what it prints.
fn run_script(folder: &Path, profile: Profile, script: &str) -> Outcome<String> {
    let mut words = script.split_whitespace();
    let script = suite::scripts().join(words.next().ok_or("no script is said to be run")?);
    program::output(
        Command::new("sh")
            .arg("-eu")
            .arg(script)
            .args(words)
            .current_dir(folder)
            .env("PATH", profile.path()?),
    )
}

/// What was made for the UEFI shell of a suite.
pub(super) fn for_shell(vm: &Path, suite: &Suite) -> Outcome<Vec<PathBuf>> {
    let files = folder(vm, suite).join("uefi");
    if files.exists() { files_in(&files) } else { Ok(Vec::new()) }
}

fn files_in(folder: &Path) -> Outcome<Vec<PathBuf>> {
    let entries = fs::read_dir(folder).map_err(|e| format!("cannot read {}: {e}", folder.display()))?;
    Ok(entries.flatten().map(|entry| entry.path()).collect())
}

impl Beside {
    /// Starts the program of a suite that has one.
    pub(super) fn start(vm: &Path, suite: &Suite) -> Outcome<Option<Self>> {
        if suite.beside.is_none() || !suite.drives.is_empty() {
            return Ok(None);
        }
        let folder = folder(vm, suite);
        let log = log(vm, suite);
        fs::write(&log, "").map_err(|e| format!("cannot write {}: {e}", log.display()))?;
        let child = spawn(&folder, suite.profile, &suite.runs)?;
        Ok(Some(Self { folder, profile: suite.profile, runs: suite.runs.clone(), child }))
    }

    /// Gives a guest the device, and the BMC.
    pub(super) fn plug(&self, suite: &Suite, guest: &mut Command) {
        // The path of a socket has 107 bytes at most: it is named from where it is.
        guest.current_dir(&self.folder);
        let side = if suite.connects { "reconnect=1" } else { "server=on,wait=off" };
        guest.args(["-device", &suite.controller]);
        guest.args(["-chardev", &format!("socket,id=bmc,path=usbredir.sock,{side}")]);
        guest.args(["-device", "usb-redir,chardev=bmc"]);
        if let Some(interface) = &suite.ipmi {
            guest.args(["-chardev", "socket,id=ipmi,path=ipmi.sock,server=on,wait=off"]);
            guest.args(["-device", "ipmi-bmc-extern,id=ipmi,chardev=ipmi"]);
            guest.args(["-device", &format!("{interface},bmc=ipmi")]);
        }
        guest.args(&suite.machine);
    }

    /// What the guest asks for; what there is to say to it.
    pub(super) fn order(&mut self, order: &str) -> Outcome<String> {
        match order.split_once(' ') {
            None if order == "restart" => {
                self.end_well()?;
                self.start_again()
            }
            None if order == "end" => self.end_well().map(|()| String::new()),
            None if order == "pause" => self.signal("STOP").map(|()| String::new()),
            None if order == "start" => self.start_again(),
            None if order == "kill" => {
                self.end();
                self.start_again()
            }
            Some(("say", words)) => {
                let said = self.child.stdin.as_mut().map(|input| writeln!(input, "{words}"));
                said.transpose()
                    .map(|_| String::new())
                    .map_err(|e| format!("what is beside the guest does not listen: {e}"))
            }
            Some(("run", script)) => run_script(&self.folder, self.profile, script),
            _ => Err(format!("the guest asks its host for {order}, which is nothing")),
        }
    }

    fn start_again(&mut self) -> Outcome<String> {
        self.child = spawn(&self.folder, self.profile, &self.runs)?;
        Ok(String::new())
    }

    fn end_well(&mut self) -> Outcome {
        self.signal("TERM")?;
        let status = self.child.wait().map_err(|e| format!("cannot wait for what is beside: {e}"))?;
        if status.success() { Ok(()) } else { Err(format!("what is beside the guest ended with {status}")) }
    }

    fn signal(&self, signal: &str) -> Outcome {
        let id = self.child.id().to_string();
        let kill = ["-c", "kill -\"$1\" \"$2\"", "kill", signal, &id];
        program::output(Command::new("sh").args(kill)).map(drop)
    }

    fn end(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Beside {
    fn drop(&mut self) {
        self.end();
    }
}

/// The measurements that a suite's program has told.
pub(super) fn measured(vm: &Path, suite: &Suite) -> Vec<String> {
    let text = fs::read(log(vm, suite)).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    text.lines().filter(|line| line.starts_with('{')).map(String::from).collect()
}

fn spawn(folder: &Path, profile: Profile, runs: &[String]) -> Outcome<Child> {
    let (name, arguments) = runs.split_first().ok_or("a suite runs nothing beside its guest")?;
    let program = profile.find(name)?;
    let cannot_run = |e| format!("cannot run {}: {e}", program.display());
    let log = File::options().create(true).append(true).open(folder.join("log")).map_err(cannot_run)?;
    Command::new(&program)
        .args(arguments)
        .current_dir(folder)
        .stdin(Stdio::piped())
        .stdout(log.try_clone().map_err(cannot_run)?)
        .stderr(log)
        .spawn()
        .map_err(cannot_run)
}
