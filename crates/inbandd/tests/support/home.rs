//! A directory with all that the program `inbandd` needs, and the program running in it.

use std::{
    fs,
    io::{BufRead as _, BufReader, Read as _},
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Child, ChildStderr, Command, Output, Stdio},
};

use inband_store::Slot;
use tempfile::TempDir;

use crate::package::{IMAGE, MACHINE, key};

/// Bytes of a slot, all of them the image's region.
pub(crate) const SLOT: usize = 256 * 1024;

/// Keys, configuration and a place for the store.
pub(crate) struct Home {
    directory: TempDir,
}

impl Home {
    /// Keys and a good configuration; no store yet.
    pub(crate) fn new() -> Self {
        let home = Self { directory: tempfile::tempdir().unwrap() };
        fs::create_dir(home.path("keys")).unwrap();
        fs::write(home.path("keys/system.pem"), key().public().unwrap().to_pem().unwrap()).unwrap();
        home.configure(&good_config());
        home
    }

    /// The same, with a store.
    pub(crate) fn with_store() -> Self {
        let home = Self::new();
        let output = home.inbandd(&["init"]).output().unwrap();
        assert!(output.status.success(), "{output:?}");
        home
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// What stands in a slot.
    pub(crate) fn slot(&self, slot: Slot) -> Vec<u8> {
        fs::read(self.path(&format!("store/slot-{}.img", slot.name()))).unwrap()
    }

    /// Writes the configuration.
    pub(crate) fn configure(&self, text: &str) {
        fs::write(self.path("inbandd.toml"), text).unwrap();
    }

    /// The program with these arguments and this configuration.
    pub(crate) fn inbandd(&self, arguments: &[&str]) -> Command {
        let mut command = program();
        command.args(arguments).arg("--config").arg(self.path("inbandd.toml"));
        command
    }

    /// Starts the program and waits until it serves.
    pub(crate) fn start(&self) -> Running {
        Running::start(&mut self.inbandd(&[]))
    }
}

/// A configuration that is right, for any port that is free.
pub(crate) fn good_config() -> String {
    format!(
        r#"machine = "{MACHINE}"
usb = "usbip:127.0.0.1:0"

[identity]
vendor_id = 0x1209
product_id = 1
dfu_product_id = 2
serial = "PROGRAM-1"

[signatures]
keys = "keys"

[store]
path = "store"
slot_size = {SLOT}

[[region]]
member = "{IMAGE}"
offset = 0
size = {SLOT}
"#
    )
}

/// The same with slots of this length, without budgets, and with more behind it.
pub(crate) fn config_with(slot: usize, more: &str) -> String {
    let limits = "\n[limits]\nslot_rewrites_per_day = 0\nsessions_per_day = 0\nrefusals = 0\n";
    good_config().replace(&SLOT.to_string(), &slot.to_string()) + limits + more
}

/// The program.
pub(crate) fn program() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_inbandd"));
    command.stdin(Stdio::null());
    command
}

/// Sends a signal, such as `TERM`, to a process.
pub(crate) fn signal(pid: u32, name: &str) {
    let mut command = Command::new("sh");
    let status = command.args(["-c", "kill -s \"$1\" \"$2\"", "kill", name, &pid.to_string()]).status();
    assert!(status.unwrap().success());
}

/// What a program said on standard error.
pub(crate) fn errors(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

/// The program, serving. Killed when dropped.
pub(crate) struct Running {
    pub(crate) child: Child,
    pub(crate) address: SocketAddr,
    /// Lines of the log up to the one that says that it serves, or that was waited for.
    pub(crate) first_lines: Vec<String>,
    stderr: BufReader<ChildStderr>,
}

impl Running {
    pub(crate) fn start(command: &mut Command) -> Self {
        let mut child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        let mut stderr = BufReader::new(child.stderr.take().unwrap());
        let mut first_lines = Vec::new();
        let address = loop {
            let mut line = String::new();
            if stderr.read_line(&mut line).unwrap() == 0 {
                panic!("inbandd did not start ({}): {first_lines:?}", child.wait().unwrap());
            }
            let serves = line.contains("event=started");
            let address =
                line.split("usb=usbip:").nth(1).and_then(|rest| rest.split(' ').next()?.parse().ok());
            first_lines.push(line);
            if let (true, Some(address)) = (serves, address) {
                break address;
            }
        };
        Self { child, address, first_lines, stderr }
    }

    /// Reads on until some line of the log has had this.
    pub(crate) fn wait_for(&mut self, what: &str) {
        while !self.first_lines.iter().any(|line| line.contains(what)) {
            let mut line = String::new();
            assert_ne!(self.stderr.read_line(&mut line).unwrap(), 0, "no {what}: {:?}", self.first_lines);
            self.first_lines.push(line);
        }
    }

    /// Sends a signal, such as `TERM`.
    pub(crate) fn signal(&self, name: &str) {
        signal(self.child.id(), name);
    }

    /// Bytes of memory that it has.
    pub(crate) fn resident(&self) -> usize {
        self.memory("VmRSS:")
    }

    /// The most that it ever had.
    pub(crate) fn peak(&self) -> usize {
        self.memory("VmHWM:")
    }

    fn memory(&self, what: &str) -> usize {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix(what)).unwrap();
        line.trim().strip_suffix(" kB").unwrap().parse::<usize>().unwrap() * 1024
    }

    /// Waits for a line of the log with this in it; the lines up to it.
    pub(crate) fn until(&mut self, what: &str) -> Vec<String> {
        let mut lines = Vec::new();
        for line in self.stderr.by_ref().lines() {
            lines.push(line.unwrap());
            if lines.last().is_some_and(|line| line.contains(what)) {
                return lines;
            }
        }
        panic!("{what} was never said: {lines:?}");
    }

    /// Waits for the end; exit code, if it ended by itself, and the lines of the log behind the first ones.
    pub(crate) fn wait(mut self) -> (Option<i32>, Vec<String>) {
        let lines = self.stderr.by_ref().lines().map(|line| line.unwrap()).collect();
        (self.child.wait().unwrap().code(), lines)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Both fail only for one that has ended and been waited for.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The names and contents of all files below a directory.
pub(crate) fn contents(directory: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let mut all = Vec::new();
    let mut left = vec![directory.to_owned()];
    while let Some(directory) = left.pop() {
        for entry in fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                left.push(path);
            } else {
                all.push((path.clone(), fs::read(path).unwrap()));
            }
        }
    }
    all.sort();
    all
}
