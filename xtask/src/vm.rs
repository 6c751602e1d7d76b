//! The kernel guest: a Debian kernel under QEMU in software emulation, a root, and the suites of `xtask/guest`, one boot
//! each, and several at once where their clock allows it (see `suite`). It needs neither root, KVM nor USB hardware. Two kinds
//! of root: busybox with the programs of the host, up in seconds; and a Debian with systemd.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;
use std::thread;

use crate::{Outcome, Selection, contrib, layout};

mod beside;
mod debian;
mod host;
mod kernel;
mod logged;
mod modules;
mod programs;
mod qemu;
mod report;
mod root;
mod suite;
mod uefi;

use kernel::{Kernel, Series};
use programs::Profile;
use report::Report;
pub(crate) use suite::Measure;
use suite::{Kind, Suite};

/// How many guests run at once, however many processors there are: each may take a GiB of memory.
const MOST_AT_ONCE: usize = 4;

/// `cargo xtask vm [--list] [SUITE]...`, `cargo xtask vm host`, `cargo xtask vm readme`
pub(crate) fn command(args: lexopt::Parser) -> Outcome {
    let selection = Selection::parse(args)?;
    match selection.names.as_slice() {
        [name] if name == "host" => return host::run(),
        [name] if name == "readme" => return readme(),
        _ => {}
    }
    let suites = suite::all()?;
    if selection.list {
        for suite in &suites {
            println!("{:<12} {}", suite.name, suite.about);
        }
        return Ok(());
    }
    run(&selection.pick(&suites, |suite| &suite.name)?)
}

/// Runs every suite.
pub(crate) fn all() -> Outcome {
    run(&suite::all()?.iter().collect::<Vec<_>>())
}

/// Has the guest of `cargo xtask vm host` run what the README says is to be pasted there.
pub(crate) fn readme() -> Outcome {
    host::readme()
}

/// Runs a suite that takes long.
pub(crate) fn soak(name: &str) -> Outcome {
    run(&[&suite::soak(name)?])
}

/// Runs a measurement of `xtask/guest`, and returns what it measured, line by line. It finds these files in /guest/NAME.
pub(crate) fn measure(name: &str, measure: Measure, files: &[PathBuf]) -> Outcome<Vec<String>> {
    let bench = Suite { measure, ..suite::bench(name)? };
    let guests = Guests::prepare(&[&bench], files)?;
    let report = guests.boot(&bench, &mut print)?;
    report.verdict()?;
    Ok(report.into_measured())
}

/// What a recording left.
pub(crate) struct Recorded {
    /// What its guest told, line by line.
    pub(crate) told: Vec<String>,
    folder: PathBuf,
    suite: Suite,
}

impl Recorded {
    /// The log of one of its disks.
    pub(crate) fn log(&self, drive: &str) -> PathBuf {
        logged::log(&self.folder, &self.suite, drive)
    }

    /// Where a program of ours is that the recording asked for.
    pub(crate) fn program(&self, name: &str) -> Outcome<PathBuf> {
        self.suite.profile.find(name)
    }
}

/// Runs a recording of `xtask/guest`.
pub(crate) fn record(name: &str) -> Outcome<Recorded> {
    let suite = suite::record(name)?;
    let guests = Guests::prepare(&[&suite], &[])?;
    let report = guests.boot(&suite, &mut print)?;
    report.verdict()?;
    Ok(Recorded { told: report.into_measured(), folder: guests.folder, suite })
}

/// What a suite's guest boots.
struct System {
    kernel: Kernel,
    /// The RAM disk, with this kernel's modules in it.
    initrd: PathBuf,
    /// A disk, if its root is on one.
    disk: Option<PathBuf>,
}

/// All that a boot needs.
struct Guests {
    folder: PathBuf,
    systems: BTreeMap<(Kind, Series), System>,
}

impl Guests {
    /// The systems that these suites ask for, our programs, and for each suite these files.
    fn prepare(suites: &[&Suite], files: &[PathBuf]) -> Outcome<Self> {
        let folder = layout::target().join("vm");
        fs::create_dir_all(&folder).map_err(|e| format!("cannot make {}: {e}", folder.display()))?;
        let mut binaries = Vec::new();
        for profile in Profile::ALL {
            let of_profile = suites.iter().filter(|suite| suite.profile == profile);
            let names: BTreeSet<_> =
                of_profile.flat_map(|suite| &suite.binaries).map(String::as_str).collect();
            binaries.extend(profile.build(&names)?);
        }
        let mut own = Vec::new();
        for suite in suites {
            own.push((suite.name.as_str(), [files, &beside::prepare(&folder, suite)?].concat()));
        }
        let mut systems = BTreeMap::new();
        for suite in suites {
            if let Entry::Vacant(entry) = systems.entry((suite.kind, suite.kernel)) {
                let kernel = kernel::fetch(&folder, suite.kernel)?;
                let config = fs::read_to_string(&kernel.config)
                    .map_err(|e| format!("cannot read {}: {e}", kernel.config.display()))?;
                contrib::kernel_has_fragment(&config)?;
                let initrd = root::build(&folder, suite.kind, &kernel, &binaries, &own)?;
                let disk = match suite.kind {
                    Kind::Bare => None,
                    Kind::Debian => Some(debian::disk(&folder)?),
                };
                entry.insert(System { kernel, initrd, disk });
            }
        }
        Ok(Self { folder, systems })
    }

    /// What the guest of a suite boots.
    fn system(&self, suite: &Suite) -> Outcome<&System> {
        let system = self.systems.get(&(suite.kind, suite.kernel));
        system.ok_or_else(|| format!("{}: nothing was prepared for it", suite.name))
    }

    /// Boots the guest of a suite, and says line by line what came of it; of one that went wrong also the end of its console.
    fn boot(&self, suite: &Suite, say: &mut dyn FnMut(&str)) -> Outcome<Report> {
        say(&format!("guest {}: {}", suite.name, suite.about));
        let report = qemu::run(&self.folder, self.system(suite)?, suite, say)?;
        if report.verdict().is_err() {
            show_tail(&self.folder, suite, say);
        }
        Ok(report)
    }

    /// Boots so many guests at once, and prints what each had to say when it has ended.
    fn boot_at_once<'a>(&self, suites: &[&'a Suite], at_once: usize) -> Outcome<Vec<(&'a Suite, Report)>> {
        let next = AtomicUsize::new(0);
        let (sender, ended) = mpsc::channel();
        thread::scope(|scope| {
            for _ in 0..at_once {
                let (sender, next) = (sender.clone(), &next);
                scope.spawn(move || {
                    while let Some(&suite) = suites.get(next.fetch_add(1, Ordering::Relaxed)) {
                        let mut said = String::new();
                        let report = self.boot(suite, &mut |line| said += &format!("{line}\n"));
                        if sender.send((suite, said, report)).is_err() {
                            break;
                        }
                    }
                });
            }
            drop(sender);
            let reports = ended.into_iter().map(|(suite, said, report)| {
                print!("{said}");
                Ok((suite, report?))
            });
            reports.collect()
        })
    }
}

fn run(suites: &[&Suite]) -> Outcome {
    let guests = Guests::prepare(suites, &[])?;
    // A guest whose clock counts instructions does not notice that there is another beside it.
    let (counted, alone): (Vec<&Suite>, Vec<&Suite>) = suites.iter().partition(|suite| suite.measure.counted);
    let at_once = thread::available_parallelism().map_or(1, usize::from).min(MOST_AT_ONCE).min(counted.len());
    let (mut reports, alone) = if at_once > 1 {
        (guests.boot_at_once(&counted, at_once)?, alone)
    } else {
        (Vec::new(), suites.to_vec())
    };
    for suite in alone {
        reports.push((suite, guests.boot(suite, &mut print)?));
    }

    let (mut passed, mut failed, mut broken) = (0, 0, Vec::new());
    for (suite, report) in reports {
        passed += report.passed();
        failed += report.failed();
        if let Err(why) = report.verdict() {
            // A boot that went wrong without a failed test counts as one.
            failed += usize::from(report.failed() == 0);
            broken.push(format!("{}: {why}", suite.name));
        }
    }
    println!("{passed} passed, {failed} failed");
    if broken.is_empty() { Ok(()) } else { Err(broken.join("; ")) }
}

fn print(line: &str) {
    println!("{line}");
}

/// Shows the end of a guest's console, and of what ran beside it: what happened before it went wrong.
fn show_tail(folder: &Path, suite: &Suite, say: &mut dyn FnMut(&str)) {
    tail(&qemu::console(folder, suite), say);
    if suite.beside.is_some() {
        tail(&beside::log(folder, suite), say);
    }
}

fn tail(file: &Path, say: &mut dyn FnMut(&str)) {
    const LINES: usize = 60;
    let text = fs::read(file).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let lines: Vec<&str> = text.lines().collect();
    say(&format!("---- the last lines of {} ----", file.display()));
    for line in &lines[lines.len().saturating_sub(LINES)..] {
        say(line.trim_end());
    }
    say("----");
}
