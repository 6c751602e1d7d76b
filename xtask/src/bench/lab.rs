//! What measurements run on: the released programs, keys, packages, and virtual BMCs with empty slots.

use std::fs::{self, File};
use std::io::{self, BufRead as _, BufReader, Read as _};
use std::path::{Path, PathBuf};
use std::process::{self, Child, ChildStderr, Command, Stdio};
use std::thread;
use std::time::Duration;

use super::MIB;
use crate::program::{self, cargo};
use crate::{Outcome, layout};

/// MiB of a slot: room for the largest package that is measured.
const SLOT_MIB: u64 = 128;
/// A file system in memory, where Linux has one.
const MEMORY: &str = "/dev/shm";

/// The store of the BMC that there is.
const STORE: &str = "store";

/// Between two looks at a BMC that is to confirm what it runs.
const LOOK_AGAIN: Duration = Duration::from_millis(50);

/// A directory with keys and packages.
pub(super) struct Lab {
    directory: PathBuf,
    /// Where the store of a BMC is, and those that are kept.
    stores: PathBuf,
    /// MiB of a slot.
    slot_mib: u64,
}

/// A running virtual BMC; it ends when it is dropped.
pub(super) struct Bmc {
    child: Child,
    /// Of its USB/IP server.
    address: String,
    /// Kept open: a log line must not find nobody there.
    log: BufReader<ChildStderr>,
}

impl Lab {
    /// Builds the programs, and makes keys. What an earlier run left is removed.
    pub(super) fn new() -> Outcome<Self> {
        program::run(&mut cargo(&["build", "--release", "--package", "inband", "--package", "inbandd"]))?;
        let directory = layout::target().join("bench");
        let lab = Self { stores: directory.clone(), directory, slot_mib: SLOT_MIB };
        if lab.directory.exists() {
            fs::remove_dir_all(&lab.directory).map_err(|e| lab.failed("remove", &e))?;
        }
        fs::create_dir_all(lab.path("keys")).map_err(|e| lab.failed("create", &e))?;
        program::output(release("inband").arg("keygen").arg("--out").arg(lab.path("bench")))?;
        fs::copy(lab.path("bench.pub"), lab.path("keys/bench.pem"))
            .map_err(|e| lab.failed("write to", &e))?;
        Ok(lab)
    }

    /// The same, with BMCs that have slots of so many MiB in memory: what is measured then is no disk of a developer's.
    pub(super) fn in_memory(slot_mib: u64) -> Outcome<Self> {
        let stores = Path::new(MEMORY).join(format!("inband-bench-{}", process::id()));
        let lab = Self { stores, slot_mib, ..Self::new()? };
        fs::create_dir(&lab.stores)
            .map_err(|e| format!("no file system in memory: {}: {e}", lab.stores.display()))?;
        Ok(lab)
    }

    /// Removes what lies outside the directory. What cannot be removed is told.
    pub(super) fn remove(self) -> Outcome {
        if self.stores == self.directory {
            return Ok(());
        }
        fs::remove_dir_all(&self.stores).map_err(|e| format!("cannot remove {}: {e}", self.stores.display()))
    }

    /// A package with so many MiB of random bytes.
    pub(super) fn package(&self, mib: u64) -> Outcome<PathBuf> {
        let image = self.path(&format!("{mib}.image"));
        random(&image, mib)?;
        let package = self.pack(&mib.to_string(), &image)?;
        fs::remove_file(image).map_err(|e| self.failed("clean", &e))?;
        Ok(package)
    }

    /// A package of this version with an image in it.
    pub(super) fn pack(&self, version: &str, image: &Path) -> Outcome<PathBuf> {
        let package = self.path(&format!("{version}.tar"));
        let mut pack = release("inband");
        pack.args(["pack", "--machine", "bench", "--version", version]);
        pack.arg("--key").arg(self.path("bench.key"));
        pack.arg("--member").arg(format!("image-bmc={}", image.display()));
        program::output(pack.arg("--out").arg(&package))?;
        Ok(package)
    }

    /// A virtual BMC with empty slots, in place of the one before.
    pub(super) fn bmc(&self) -> Outcome<Bmc> {
        self.bmc_with_more("")
    }

    /// The same, with more in its configuration.
    pub(super) fn bmc_with_more(&self, more: &str) -> Outcome<Bmc> {
        self.remove_store()?;
        let size = self.slot_mib * MIB;
        let store = self.store(STORE);
        let config = format!(
            "machine = \"bench\"\n\
             usb = \"usbip:127.0.0.1:0\"\n\
             identity = {{ vendor_id = 0x1209, product_id = 1, dfu_product_id = 2, serial = \"BENCH\" }}\n\
             signatures = {{ keys = \"keys\" }}\n\
             store = {{ path = {store:?}, slot_size = {size} }}\n\
             limits = {{ slot_rewrites_per_day = 0, sessions_per_day = 0 }}\n\
             region = [{{ member = \"image-bmc\", offset = 0, size = {size} }}]\n{more}"
        );
        let file = self.path("inbandd.toml");
        fs::write(&file, config).map_err(|e| self.failed("write to", &e))?;
        program::output(release("inbandd").arg("init").arg("--config").arg(&file))?;
        Bmc::start(&file)
    }

    /// What the BMC answers to a command on its control socket, as JSON.
    pub(super) fn ask_bmc(&self, command: &str) -> Outcome<String> {
        let mut ask = release("inbandd");
        program::output(ask.args([command, "--json", "--config"]).arg(self.path("inbandd.toml")))
    }

    fn remove_store(&self) -> Outcome {
        let store = self.store(STORE);
        if store.exists() {
            fs::remove_dir_all(store).map_err(|e| self.failed("clean", &e))?;
        }
        Ok(())
    }

    /// Starts the BMC anew, into the firmware that it has staged; returns once that is confirmed.
    pub(super) fn restart(&self, bmc: Bmc) -> Outcome<Bmc> {
        drop(bmc);
        let bmc = Bmc::start(&self.path("inbandd.toml"))?;
        loop {
            let status = program::output(self.host(bmc.address()).arg("status"))?;
            if status.contains("\"on_trial\":false") {
                return Ok(bmc);
            }
            thread::sleep(LOOK_AGAIN);
        }
    }

    /// Ends a BMC, and keeps its store under a name.
    pub(super) fn keep(&self, bmc: Bmc, name: &str) -> Outcome {
        drop(bmc);
        fs::rename(self.store(STORE), self.store(name)).map_err(|e| self.failed("rename in", &e))
    }

    /// A BMC with a copy of a store that was kept, in place of the one before.
    pub(super) fn bmc_with(&self, name: &str) -> Outcome<Bmc> {
        self.remove_store()?;
        let mut copy = Command::new("cp");
        copy.args(["--recursive", "--sparse=always"]).arg(self.store(name)).arg(self.store(STORE));
        program::output(&mut copy)?;
        Bmc::start(&self.path("inbandd.toml"))
    }

    /// The host tool with a BMC's address; lines of JSON.
    pub(super) fn host(&self, address: &str) -> Command {
        let mut command = release("inband");
        command.args(["--json", "--usbip", address]);
        command
    }

    /// Bytes of a package that are not in another one, index and head included, as the host tool has them.
    pub(super) fn new_bytes(&self, old: &Path, new: &Path) -> Outcome<u64> {
        let diff = program::output(release("inband").args(["--json", "inspect", "--diff"]).args([old, new]))?;
        number_behind(&diff, "\"bulk\":")
            .ok_or_else(|| format!("inband does not tell the difference: {diff}"))
    }

    /// Sends a package by DFU; milliseconds from the first byte to the verdict, as the host tool has them.
    pub(super) fn update(&self, bmc: &Bmc, package: &Path) -> Outcome<u64> {
        let events =
            program::output(self.host(bmc.address()).args(["update", "--door", "dfu"]).arg(package))?;
        let sent = events.lines().find(|line| line.contains("\"event\":\"sent\""));
        sent.and_then(|line| number_behind(line, "\"elapsed_ms\":"))
            .ok_or_else(|| format!("inband does not tell how long it took: {events}"))
    }

    /// The public key that the packages are verified with.
    pub(super) fn key(&self) -> PathBuf {
        self.path("bench.pub")
    }

    /// Verifies a package.
    pub(super) fn verify(&self, package: &Path) -> Command {
        let mut command = release("inband");
        command.arg("verify").arg("--key").arg(self.key()).arg(package);
        command
    }

    /// The peer of that: SHA-256 alone.
    pub(super) fn openssl(&self, package: &Path) -> Command {
        let mut command = Command::new("openssl");
        command.args(["dgst", "-sha256"]).arg(package);
        command
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }

    fn store(&self, name: &str) -> PathBuf {
        self.stores.join(name)
    }

    fn failed(&self, what: &str, error: &io::Error) -> String {
        format!("cannot {what} {}: {error}", self.directory.display())
    }
}

impl Bmc {
    fn start(config: &Path) -> Outcome<Self> {
        let mut command = release("inbandd");
        command.arg("--config").arg(config).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut child = command.spawn().map_err(|e| format!("cannot run inbandd: {e}"))?;
        let stderr = child.stderr.take().ok_or("inbandd has no standard error")?;
        let mut bmc = Self { child, address: String::new(), log: BufReader::new(stderr) };
        let mut line = String::new();
        while bmc.log.read_line(&mut line).is_ok_and(|length| length > 0) {
            if let Some(address) = line.split("usb=usbip:").nth(1).and_then(|rest| rest.split(' ').next()) {
                bmc.address = address.to_owned();
                return Ok(bmc);
            }
        }
        Err(format!("inbandd does not start: {line}"))
    }

    /// Where its USB/IP server listens.
    pub(super) fn address(&self) -> &str {
        &self.address
    }

    /// Processor time of all its threads so far.
    pub(super) fn processor_time(&self) -> Outcome<Duration> {
        let folder = format!("/proc/{}/task", self.child.id());
        let failed = |e: io::Error| format!("cannot read {folder}: {e}");
        let mut nanoseconds = 0;
        for task in fs::read_dir(&folder).map_err(failed)? {
            let file = task.map_err(failed)?.path().join("schedstat");
            let times = fs::read_to_string(file).map_err(failed)?;
            nanoseconds += times.split(' ').next().and_then(|time| time.parse::<u64>().ok()).unwrap_or(0);
        }
        Ok(Duration::from_nanos(nanoseconds))
    }

    /// The most memory it has had resident so far, KiB.
    pub(super) fn peak_kib(&self) -> Outcome<u64> {
        let file = format!("/proc/{}/status", self.child.id());
        let status = fs::read_to_string(&file).map_err(|e| format!("cannot read {file}: {e}"))?;
        number_behind(&status, "VmHWM:").ok_or_else(|| format!("{file} has no VmHWM"))
    }
}

impl Drop for Bmc {
    fn drop(&mut self) {
        // Both fail only for one that has ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Makes a file of so many MiB of random bytes.
pub(super) fn random(file: &Path, mib: u64) -> Outcome {
    let write = || -> io::Result<u64> {
        let source = File::open("/dev/urandom")?;
        io::copy(&mut source.take(mib * MIB), &mut File::create(file)?)
    };
    write().map(drop).map_err(|e| format!("cannot write to {}: {e}", file.display()))
}

/// A program as it is released.
fn release(name: &str) -> Command {
    Command::new(layout::target().join("release").join(name))
}

/// The number that follows a word, blanks between them or not.
pub(super) fn number_behind(text: &str, word: &str) -> Option<u64> {
    let rest = text.split(word).nth(1)?.trim_start();
    rest.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()
}
