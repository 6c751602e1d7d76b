//! The kernel guest: a Debian kernel under QEMU in software emulation, a root, and the suites of `xtask/guest`, one boot
//! each. It needs neither root, KVM nor USB hardware. Two kinds of root: busybox with the programs of the host, up in
//! seconds; and a Debian with systemd.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::fs;
use std::path::{Path, PathBuf};

use crate::program::{self, cargo};
use crate::{Outcome, Selection, contrib, layout};

mod debian;
mod kernel;
mod modules;
mod qemu;
mod report;
mod root;
mod suite;

use kernel::{Kernel, Series};
use report::Report;
pub(crate) use suite::Measure;
use suite::{Kind, Suite};

/// `cargo xtask vm [--list] [SUITE]...`
pub(crate) fn command(args: lexopt::Parser) -> Outcome {
    let selection = Selection::parse(args)?;
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

/// Runs a suite that takes long.
pub(crate) fn soak(name: &str) -> Outcome {
    run(&[&suite::soak(name)?])
}

/// Runs a measurement of `xtask/guest`, and returns what it measured, line by line.
pub(crate) fn measure(name: &str, measure: Measure) -> Outcome<Vec<String>> {
    let bench = Suite { measure, ..suite::bench(name)? };
    let guests = Guests::prepare(&[&bench])?;
    let report = guests.boot(&bench)?;
    match report.verdict() {
        Ok(()) => Ok(report.into_measured()),
        Err(why) => {
            show_tail(&guests.folder, &bench);
            Err(why)
        }
    }
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
    /// The systems that these suites ask for, and our programs.
    fn prepare(suites: &[&Suite]) -> Outcome<Self> {
        let folder = layout::target().join("vm");
        fs::create_dir_all(&folder).map_err(|e| format!("cannot make {}: {e}", folder.display()))?;
        let binaries = build(suites)?;
        let mut systems = BTreeMap::new();
        for suite in suites {
            if let Entry::Vacant(entry) = systems.entry((suite.kind, suite.kernel)) {
                let kernel = kernel::fetch(&folder, suite.kernel)?;
                let config = fs::read_to_string(&kernel.config)
                    .map_err(|e| format!("cannot read {}: {e}", kernel.config.display()))?;
                contrib::kernel_has_fragment(&config)?;
                let initrd = root::build(&folder, suite.kind, &kernel, &binaries)?;
                let disk = match suite.kind {
                    Kind::Bare => None,
                    Kind::Debian => Some(debian::disk(&folder)?),
                };
                entry.insert(System { kernel, initrd, disk });
            }
        }
        Ok(Self { folder, systems })
    }

    fn boot(&self, suite: &Suite) -> Outcome<Report> {
        println!("guest {}: {}", suite.name, suite.about);
        let system = self.systems.get(&(suite.kind, suite.kernel));
        qemu::run(&self.folder, system.ok_or("a suite that nothing was prepared for")?, suite)
    }
}

fn run(suites: &[&Suite]) -> Outcome {
    let guests = Guests::prepare(suites)?;
    let (mut passed, mut failed, mut broken) = (0, 0, Vec::new());
    for suite in suites {
        let report = guests.boot(suite)?;
        passed += report.passed();
        failed += report.failed();
        if let Err(why) = report.verdict() {
            // A boot that went wrong without a failed test counts as one.
            failed += usize::from(report.failed() == 0);
            broken.push(format!("{}: {why}", suite.name));
            show_tail(&guests.folder, suite);
        }
    }
    println!("{passed} passed, {failed} failed");
    if broken.is_empty() { Ok(()) } else { Err(broken.join("; ")) }
}

/// Builds our own programs that the suites ask for, and returns where they are.
fn build(suites: &[&Suite]) -> Outcome<Vec<PathBuf>> {
    let mut names: Vec<&str> = suites.iter().flat_map(|suite| &suite.binaries).map(String::as_str).collect();
    names.sort_unstable();
    names.dedup();
    if names.is_empty() {
        return Ok(Vec::new());
    }
    let mut command = cargo(&["build", "--release"]);
    let (mut packages, mut files) = (0, Vec::new());
    let release = layout::target().join("release");
    for name in names {
        match name.strip_prefix("example:").and_then(|example| example.split_once('/')) {
            // By itself: the features that an example's tests ask for are none of a program's.
            Some((package, example)) => {
                let mut command = cargo(&["build", "--release"]);
                program::run(command.args(["--package", package, "--example", example]))?;
                files.push(release.join("examples").join(example));
            }
            None => {
                command.args(["--package", name]);
                packages += 1;
                files.push(release.join(name));
            }
        }
    }
    if packages > 0 {
        program::run(&mut command)?;
    }
    Ok(files)
}

/// Shows the end of a guest's console: what happened before it went wrong.
fn show_tail(folder: &Path, suite: &Suite) {
    const LINES: usize = 60;
    let file = qemu::console(folder, suite);
    let text = fs::read(&file).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let lines: Vec<&str> = text.lines().collect();
    println!("---- the last lines of {} ----", file.display());
    for line in &lines[lines.len().saturating_sub(LINES)..] {
        println!("{}", line.trim_end());
    }
    println!("----");
}
