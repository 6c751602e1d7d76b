//! The suites of the guest: `xtask/guest/*.suite.sh`, each a shell script with a head that says what it needs.
//!
//! ```text
//! # One line that says what the suite is about.
//! # timeout: 600
//! # binaries: inband inbandd example:inband/conformance
//! # kernel: 6.1
//! # memory: 1024
//! # processors: 2
//! # root: debian
//! # beside: x.host.sh
//! # runs: disk usbredir:usbredir.sock 64
//! # controller: usb-ehci
//! # qemu: connects
//! # ipmi: isa-ipmi-kcs
//! # machine: -device usb-kbd
//! # uefi: x.nsh
//! # drives: one two
//! ```
//!
//! A binary is a package's program, or `example:PACKAGE/EXAMPLE`; what measurements run is built as users have it, all else with the profile
//! `guest`. The kernel is the newest of a series that Debian
//! has, 6.12 unless the head says another. Memory is in MiB. There is one processor unless there are to be more (with two, one boot in
//! sixty failed). The root is the bare one unless it is said to be Debian's.
//!
//! With `# clock: instructions` the guest's clock goes on by a nanosecond with each instruction, and at once over a time in which nothing
//! happens. Whoever waits in the guest, for a timer or for a host that looks again in five seconds, then takes no time; a busy machine
//! makes the guest slow but never late; figures are the same again and again; and such guests run at once, one for each processor.
//! It is for suites that wait more than they compute: each instruction costs about twice as much, so that one that packs, signs and hashes
//! all the time (dfu-util, gadget-dfu-util) is sooner done by the machine's clock, as all are whose head says nothing. And for the bare guest
//! alone: while a disk is read nothing happens in the guest, and the Debian one found itself twenty minutes old when it was up. The timeout
//! is by the machine's clock in both: with a counted one it only ends what hangs, and can be long.
//!
//! With `# beside: SCRIPT` an inbandd runs on this machine, or the program of ours that `# runs:` names, and is a device on the USB of a QEMU that
//! has an xHCI controller for it, or the one that `# controller:` names (see `beside`). QEMU listens at the socket, or connects to it.
//! With `# ipmi: INTERFACE` it is the machine's BMC as well, at the IPMI interface that QEMU calls so, by the socket `ipmi.sock`, at which QEMU listens.
//! What `# machine:` says it gets besides; files are where the program beside has its own.
//!
//! With `# drives: NAME...` it has USB disks whose writes are logged (see `logged`), and nothing runs beside it; the script beside makes what is on them.
//!
//! With `# uefi: SCRIPT` the machine has UEFI firmware, whose shell runs that script first and then boots the kernel (see `uefi`).
//!
//! A measurement, `xtask/guest/*.bench.sh`, has the same head, but `cargo xtask bench`, which alone runs it, chooses the clock. Likewise
//! `xtask/guest/*.soak.sh` and `cargo xtask soak`, and `xtask/guest/*.record.sh` and `cargo xtask record`. `xtask/guest/host.console.sh` is for whoever
//! sits at the console (see `host`).

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use super::kernel::Series;
use super::programs::Profile;
use crate::{Outcome, layout};

/// How long a boot and its suite may take if the script does not say.
const TIMEOUT: Duration = Duration::from_secs(300);

/// The guest's memory if the script does not say, MiB.
const MEMORY: u32 = 1024;

/// What runs beside the guest if the script does not say.
const DAEMON: [&str; 3] = ["inbandd", "--config", "inbandd.toml"];

/// The USB controller it is on if the script does not say.
const CONTROLLER: &str = "qemu-xhci";

/// The ending by which a script in `xtask/guest` is a suite.
const ENDING: &str = ".suite.sh";
/// The ending by which it is a measurement.
const BENCH_ENDING: &str = ".bench.sh";
/// The ending by which it takes longer than a test run may.
const SOAK_ENDING: &str = ".soak.sh";
/// The ending by which it records what a host writes.
const RECORD_ENDING: &str = ".record.sh";
/// The ending by which it asks somebody what to do.
const CONSOLE_ENDING: &str = ".console.sh";

/// A kind of guest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Kind {
    /// Busybox and a few programs of the host, up in seconds.
    Bare,
    /// Debian with systemd, udevd, D-Bus and fwupd.
    Debian,
}

impl Kind {
    /// The kind of this name.
    fn named(name: &str) -> Option<Self> {
        [Self::Bare, Self::Debian].into_iter().find(|kind| kind.name() == name)
    }

    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Bare => "bare",
            Self::Debian => "debian",
        }
    }
}

/// How to measure.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Measure {
    /// How often everything is measured.
    pub(crate) rounds: usize,
    /// By a clock that counts the guest's instructions.
    pub(crate) counted: bool,
}

#[derive(Debug, PartialEq)]
pub(super) struct Suite {
    /// The file's name.
    pub(super) script: String,
    /// The same without the ending.
    pub(super) name: String,
    /// What it is about.
    pub(super) about: String,
    /// How long the boot and the suite may take together; 0 is for ever.
    pub(super) timeout: Duration,
    /// Our own programs that it runs, as in the head.
    pub(super) binaries: Vec<String>,
    /// How they are built.
    pub(super) profile: Profile,
    /// The kernel it runs on.
    pub(super) kernel: Series,
    /// The guest's memory, MiB.
    pub(super) memory: u32,
    /// The guest's processors.
    pub(super) processors: u32,
    /// The guest it runs in.
    pub(super) kind: Kind,
    /// The script that makes ready what runs beside the guest.
    pub(super) beside: Option<String>,
    /// What runs there, and its arguments.
    pub(super) runs: Vec<String>,
    /// What QEMU calls the USB controller that it is on.
    pub(super) controller: String,
    /// QEMU connects to it, and not the other way round.
    pub(super) connects: bool,
    /// What QEMU calls the IPMI interface whose BMC it is as well.
    pub(super) ipmi: Option<String>,
    /// What QEMU is told besides.
    pub(super) machine: Vec<String>,
    /// USB disks whose writes are logged.
    pub(super) drives: Vec<String>,
    /// What the UEFI shell runs before the kernel is booted.
    pub(super) uefi: Option<String>,
    /// Its clock, and for a measurement its rounds.
    pub(super) measure: Measure,
}

/// The scripts that run in the guest.
pub(super) fn scripts() -> PathBuf {
    layout::workspace().join("xtask/guest")
}

/// All suites, by name.
pub(super) fn all() -> Outcome<Vec<Suite>> {
    with_ending(ENDING)
}

/// A measurement.
pub(super) fn bench(name: &str) -> Outcome<Suite> {
    named(name, BENCH_ENDING)
}

/// One that takes long.
pub(super) fn soak(name: &str) -> Outcome<Suite> {
    named(name, SOAK_ENDING)
}

/// One that records.
pub(super) fn record(name: &str) -> Outcome<Suite> {
    named(name, RECORD_ENDING)
}

/// One that asks somebody what to do.
pub(super) fn console(name: &str) -> Outcome<Suite> {
    named(name, CONSOLE_ENDING)
}

fn named(name: &str, ending: &str) -> Outcome<Suite> {
    let found = with_ending(ending)?.into_iter().find(|suite| suite.name == name);
    found.ok_or_else(|| format!("there is no {name}{ending}"))
}

fn with_ending(ending: &str) -> Outcome<Vec<Suite>> {
    let folder = scripts();
    let cannot_read = |e: std::io::Error| format!("cannot read {}: {e}", folder.display());
    let mut suites = Vec::new();
    for entry in fs::read_dir(&folder).map_err(cannot_read)? {
        let entry = entry.map_err(cannot_read)?;
        if let Some(script) = entry.file_name().to_str().filter(|file| file.ends_with(ending)) {
            let text = fs::read_to_string(entry.path()).map_err(cannot_read)?;
            suites.push(parse(script, ending, &text)?);
        }
    }
    suites.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(suites)
}

/// Reads a suite's head: the comment lines it begins with.
fn parse(script: &str, ending: &str, text: &str) -> Outcome<Suite> {
    let name = script.strip_suffix(ending).unwrap_or(script);
    let mut suite = Suite {
        script: script.into(),
        name: name.into(),
        about: String::new(),
        timeout: TIMEOUT,
        binaries: Vec::new(),
        profile: if ending == BENCH_ENDING { Profile::Release } else { Profile::Guest },
        kernel: Series::V6_12,
        memory: MEMORY,
        processors: 1,
        kind: Kind::Bare,
        beside: None,
        runs: DAEMON.map(String::from).to_vec(),
        controller: CONTROLLER.into(),
        connects: false,
        ipmi: None,
        machine: Vec::new(),
        drives: Vec::new(),
        uefi: None,
        measure: Measure::default(),
    };
    for line in text.lines().map_while(|line| line.strip_prefix("# ")) {
        if let Some(seconds) = line.strip_prefix("timeout: ") {
            let seconds = seconds.parse().map_err(|_| format!("{name}: not a number: {line}"))?;
            suite.timeout = Duration::from_secs(seconds);
        } else if let Some(mebibytes) = line.strip_prefix("memory: ") {
            suite.memory = mebibytes.parse().map_err(|_| format!("{name}: not a number: {line}"))?;
        } else if let Some(processors) = line.strip_prefix("processors: ") {
            suite.processors = processors.parse().map_err(|_| format!("{name}: not a number: {line}"))?;
        } else if line == "clock: instructions" {
            suite.measure.counted = true;
        } else if let Some(names) = line.strip_prefix("binaries: ") {
            suite.binaries = names.split_whitespace().map(String::from).collect();
        } else if let Some(series) = line.strip_prefix("kernel: ") {
            suite.kernel = Series::named(series).ok_or_else(|| format!("{name}: no such kernel: {line}"))?;
        } else if let Some(root) = line.strip_prefix("root: ") {
            suite.kind = Kind::named(root).ok_or_else(|| format!("{name}: no such root: {line}"))?;
        } else if let Some(script) = line.strip_prefix("beside: ") {
            suite.beside = Some(script.into());
        } else if let Some(command) = line.strip_prefix("runs: ") {
            suite.runs = command.split_whitespace().map(String::from).collect();
        } else if let Some(controller) = line.strip_prefix("controller: ") {
            suite.controller = controller.into();
        } else if line == "qemu: connects" {
            suite.connects = true;
        } else if let Some(interface) = line.strip_prefix("ipmi: ") {
            suite.ipmi = Some(interface.into());
        } else if let Some(arguments) = line.strip_prefix("machine: ") {
            suite.machine = arguments.split_whitespace().map(String::from).collect();
        } else if let Some(names) = line.strip_prefix("drives: ") {
            suite.drives = names.split_whitespace().map(String::from).collect();
        } else if let Some(script) = line.strip_prefix("uefi: ") {
            suite.uefi = Some(script.into());
        } else if suite.about.is_empty() {
            suite.about = line.into();
        }
    }
    Ok(suite)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_head_says_what_a_suite_needs() {
        let suite = parse("x.suite.sh", ENDING,
            "# About x.\n# timeout: 7\n# binaries: one two\n# kernel: 6.1\n# memory: 99\n# root: debian\n# beside: x.host.sh\n# runs: disk it 64\n# controller: usb-ehci\n# qemu: connects\n# ipmi: isa-ipmi-bt\n# machine: -device a\n# uefi: x.nsh\n# drives: a b\n# clock: instructions\n\n# timeout: 9\n",
        )
        .unwrap();
        assert_eq!(suite.about, "About x.");
        assert_eq!(suite.timeout, Duration::from_secs(7));
        assert_eq!(suite.binaries, ["one", "two"]);
        assert_eq!(suite.kernel, Series::V6_1);
        assert_eq!(suite.memory, 99);
        assert!(suite.measure.counted);
        assert_eq!(suite.kind, Kind::Debian);
        assert_eq!(suite.beside.as_deref(), Some("x.host.sh"));
        assert_eq!(suite.runs, ["disk", "it", "64"]);
        assert_eq!(suite.controller, "usb-ehci");
        assert!(suite.connects);
        assert_eq!(suite.ipmi.as_deref(), Some("isa-ipmi-bt"));
        assert_eq!(suite.machine, ["-device", "a"]);
        assert_eq!(suite.uefi.as_deref(), Some("x.nsh"));
        assert_eq!(suite.drives, ["a", "b"]);
    }

    #[test]
    fn a_kernel_or_a_root_that_there_is_none_of_is_refused() {
        assert!(
            parse("x.suite.sh", ENDING, "# About x.\n# root: none\n").unwrap_err().contains("root: none")
        );
        assert!(parse("x.suite.sh", ENDING, "# About x.\n# kernel: 7\n").unwrap_err().contains("kernel: 7"));
    }

    #[test]
    fn a_timeout_that_is_no_number_is_refused() {
        assert!(
            parse("x.suite.sh", ENDING, "# About x.\n# timeout: soon\n")
                .unwrap_err()
                .contains("timeout: soon")
        );
    }

    #[test]
    fn every_script_of_the_tree_says_what_it_is_about() {
        for ending in [ENDING, BENCH_ENDING, SOAK_ENDING, RECORD_ENDING, CONSOLE_ENDING] {
            let scripts = with_ending(ending).unwrap();
            assert!(!scripts.is_empty());
            for script in scripts {
                assert!(!script.about.is_empty(), "{} has no first line", script.script);
                assert_eq!(format!("{}{ending}", script.name), script.script);
            }
        }
    }
}
