//! What the tests of the program share: running it, and the packages they run it with.

#![allow(dead_code, reason = "each test file uses a part of it")]
#![allow(clippy::expect_used, clippy::panic, reason = "a test that cannot go on has failed")]

pub(crate) mod bmc;
pub(crate) mod slow;
pub(crate) mod token;
pub(crate) mod zoo;

use std::{
    fs,
    io::Read as _,
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    sync::{PoisonError, RwLock},
};

/// The board of all packages and BMCs here.
pub(crate) const MACHINE: &str = "test-board";

/// The program, with arguments.
pub(crate) fn command<S: AsRef<std::ffi::OsStr>>(arguments: impl IntoIterator<Item = S>) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_inband"));
    command.args(arguments);
    command
}

/// A run of the program that has ended.
#[derive(Debug)]
pub(crate) struct Run {
    pub(crate) code: Option<i32>,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl From<Output> for Run {
    fn from(output: Output) -> Self {
        Self {
            code: output.status.code(),
            out: String::from_utf8(output.stdout).expect("the program writes UTF-8"),
            err: String::from_utf8(output.stderr).expect("the program writes UTF-8"),
        }
    }
}

impl Run {
    /// Fails unless the program ended with this code.
    #[track_caller]
    pub(crate) fn expect(self, code: i32) -> Self {
        assert_eq!(self.code, Some(code), "out: {}\nerr: {}", self.out, self.err);
        self
    }

    /// The JSON objects of its output, one a line.
    pub(crate) fn json(&self) -> Vec<serde_json::Value> {
        self.out.lines().map(|line| serde_json::from_str(line).expect("each line is JSON")).collect()
    }

    /// The first JSON object of an event.
    #[track_caller]
    pub(crate) fn event(&self, name: &str) -> serde_json::Value {
        let events = self.json();
        let found = events.iter().find(|event| event["event"] == name);
        found.unwrap_or_else(|| panic!("no event {name} in {events:?}")).clone()
    }
}

/// Held for reading while a process is started, and for writing while a store changes hands: a process that is being
/// started has this one's files open for a moment, and so its locks.
pub(crate) static STARTING: RwLock<()> = RwLock::new(());

/// Starts a process; once this returns, it has none of our files any more.
pub(crate) fn spawn(command: &mut Command) -> Child {
    let _starting = STARTING.read().unwrap_or_else(PoisonError::into_inner);
    command.spawn().unwrap_or_else(|error| {
        panic!("{:?} does not start: {error}; `cargo xtask packages` installs it", command.get_program())
    })
}

/// Runs the program to its end.
pub(crate) fn run<S: AsRef<std::ffi::OsStr>>(arguments: impl IntoIterator<Item = S>) -> Run {
    let mut command = command(arguments);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    spawn(&mut command).wait_with_output().expect("the program ends").into()
}

/// A folder with a key pair (`release.key`, `release.pub`) and what tests put there.
pub(crate) struct Bench {
    folder: tempfile::TempDir,
}

impl Bench {
    pub(crate) fn new() -> Self {
        let bench = Self { folder: tempfile::tempdir().expect("a temporary folder") };
        bench.keygen("release");
        bench
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// The path as an argument.
    pub(crate) fn arg(&self, name: &str) -> String {
        self.path(name).to_str().expect("temporary folders have plain names").to_owned()
    }

    /// A slot of the BMC, up to a length.
    pub(crate) fn slot(&self, name: &str, length: usize) -> Vec<u8> {
        let file = fs::File::open(self.path(&format!("store/slot-{name}.img"))).expect("there is a store");
        let mut slot = Vec::new();
        file.take(length as u64).read_to_end(&mut slot).expect("the slot can be read");
        slot
    }

    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    pub(crate) fn keygen(&self, prefix: &str) {
        run(["keygen", "--out", &self.arg(prefix)]).expect(0);
    }

    /// Runs another program here, such as openssl(1), which has to succeed; what it prints. Its token, if it needs one, lies here too.
    pub(crate) fn run(&self, program: &str, arguments: &[&str]) -> Vec<u8> {
        let mut command = Command::new(program);
        command.args(arguments).current_dir(self.folder()).env("LC_ALL", "C");
        command.env("SOFTHSM2_CONF", self.path("softhsm2.conf"));
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let output = spawn(&mut command).wait_with_output().expect("the program ends");
        let complaint = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{program} {arguments:?}: {complaint}");
        output.stdout
    }

    /// Bytes that no two chunks share, the same for the same seed.
    pub(crate) fn image(&self, name: &str, length: usize, seed: u64) {
        let mut state = seed | 1;
        let bytes: Vec<u8> = (0..length)
            .map(|_| {
                state ^= state << 13;
                state ^= state >> 7;
                state ^= state << 17;
                state as u8
            })
            .collect();
        fs::write(self.path(name), bytes).expect("the folder is writable");
    }

    /// Packs and signs `name` from the image `image`, with more arguments.
    pub(crate) fn pack(&self, name: &str, image: &str, more: &[&str]) -> Run {
        let member = format!("image-bmc={}", self.arg(image));
        let (out, key) = (self.arg(name), self.arg("release.key"));
        let mut arguments = vec!["pack", "--machine", MACHINE, "--member", &member, "--out", &out];
        if !more.contains(&"--unsigned") && !more.contains(&"--key") {
            arguments.extend(["--key", &key]);
        }
        if !more.contains(&"--version") {
            arguments.extend(["--version", "2.0.0"]);
        }
        arguments.extend(more);
        run(arguments)
    }

    /// A good package of about `length` bytes.
    pub(crate) fn package(&self, name: &str, length: usize) {
        self.image("image.bin", length, 7);
        self.pack(name, "image.bin", &["--security-version", "3", "--bcd-device", "2.00"]).expect(0);
    }
}
