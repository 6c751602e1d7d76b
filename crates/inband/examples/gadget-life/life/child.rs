//! The process that dies.

use std::{
    env,
    io::{BufRead as _, BufReader},
    os::fd::{AsRawFd as _, OwnedFd},
    process::{self, ChildStdout, Command, Stdio},
    time::Duration,
};

use inband_gadget::{Gadget, Options};
use inband_usb::DeviceBackend as _;
use rustix::process::{Pid, PidfdFlags, PidfdGetfdFlags, pidfd_getfd, pidfd_open};

use super::world::{Function, set};

/// Attaches a device and answers, until it is killed. Prints its open files, and `held` when it leaves a request unanswered.
pub(crate) fn serve() -> ! {
    let mut gadget = Gadget::open(Options::default()).unwrap();
    gadget.attach(&set(1)).unwrap();
    let waiter = gadget.waiter();
    let mut function = Function::default();
    let mut told = false;
    loop {
        function.step(&mut gadget);
        if function.enabled && !told {
            told = true;
            for (name, file) in gadget.files() {
                println!("file {name} {}", file.as_raw_fd());
            }
            println!("ready");
        }
        if function.held.take().is_some() {
            println!("held");
        }
        waiter.wait(Duration::from_secs(1));
    }
}

/// A handle of it.
pub(crate) struct Child {
    process: process::Child,
    lines: BufReader<ChildStdout>,
    files: Vec<(String, i32)>,
}

impl Child {
    /// Starts one, and waits until its device is configured.
    pub(crate) fn new() -> Self {
        let mut command = Command::new(env::current_exe().unwrap());
        let mut process = command.arg("serve").stdout(Stdio::piped()).spawn().unwrap();
        let lines = BufReader::new(process.stdout.take().unwrap());
        let mut child = Self { process, lines, files: Vec::new() };
        child.wait_for("ready");
        child
    }

    /// Reads what it prints up to this line.
    pub(crate) fn wait_for(&mut self, wanted: &str) {
        let mut line = String::new();
        loop {
            line.clear();
            assert_ne!(self.lines.read_line(&mut line).unwrap(), 0, "it ended before it said {wanted}");
            match line.split_whitespace().collect::<Vec<_>>()[..] {
                ["file", name, number] => self.files.push((name.to_owned(), number.parse().unwrap())),
                [word] if word == wanted => return,
                _ => {}
            }
        }
    }

    /// Its open files, taken as systemd would have got them.
    pub(crate) fn files(&mut self) -> Vec<(String, OwnedFd)> {
        let pid = Pid::from_child(&self.process);
        let process = pidfd_open(pid, PidfdFlags::empty()).unwrap();
        let copy = |number: &i32| pidfd_getfd(&process, *number, PidfdGetfdFlags::empty()).unwrap();
        self.files.iter().map(|(name, number)| (name.clone(), copy(number))).collect()
    }

    /// Kills it with SIGKILL.
    pub(crate) fn kill(mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        // After a scenario that failed.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
