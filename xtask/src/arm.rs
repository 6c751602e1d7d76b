//! `cargo xtask arm`: what the machine's own compiler cannot build. The daemon for the BMC's processor, its size and
//! its tests under emulation; and whether everything else is free of what other systems lack.

use std::fs;
use std::path::Path;
use std::process::Command;

use crate::task::{self, Task};
use crate::{Outcome, packages, program};

mod size;
mod toolchain;

use size::grouped;
use toolchain::{Library, Target, Toolchain};

const TASKS: &[Task] = &[
    Task {
        name: "build",
        about: "inbandd for ARMv7: it runs, and is small enough; its size by crate",
        run: build,
    },
    Task {
        name: "check",
        about: "inbandd for ARMv6 and ARMv5, inband for Windows and macOS, the cores without std",
        run: check,
    },
    Task {
        name: "test",
        about: "the unit tests of inbandd and of the cores on ARMv7, under qemu",
        run: test,
    },
];

/// Bytes that inbandd may have, stripped: it shares 32 MiB of flash with a whole BMC.
const MOST: u64 = 1 << 20;

/// Bytes from which a crate has a line of its own.
const SHOWN: u64 = 4096;

/// A BMC's inbandd: the profile, and no virtual backend.
pub(crate) const DAEMON: [&str; 5] = ["--profile", "bmc", "--package", "inbandd", "--no-default-features"];

/// macOS. Its Rust alone: there are no headers of Apple's here, nor a linker.
const DARWIN: &str = "x86_64-apple-darwin";

/// AST2600, NPCM7xx.
const ARMV7: &str = "armv7-unknown-linux-gnueabihf";

/// The cores. They have no std, so they build where there is none.
const CORES: [&str; 8] = [
    "inband-usb",
    "inband-dfu",
    "inband-bulk",
    "inband-volume",
    "inband-ipmi",
    "inband-package",
    "inband-store",
    "inband-session",
];

/// What must build beside ARMv7, and for what.
const CHECKED: &[(Target, &[&str])] = &[
    (target("arm-unknown-linux-gnueabi", STD, "ARMv6, AST2500"), &["inbandd"]),
    (target("armv5te-unknown-linux-gnueabi", STD, "ARMv5, AST2400"), &["inbandd"]),
    (target("x86_64-pc-windows-gnu", STD, "a host with Windows"), &["inband"]),
    (target(DARWIN, STD, "a host with macOS"), &["inband"]),
    (target("thumbv7em-none-eabi", CORE, "no operating system, so no std"), &CORES),
];

/// The standard library for a BMC. Without std's feature `backtrace`, which is 100 KB that read debug information no BMC has;
/// contrib/openbmc says how an image gets such a library.
const STD: Library = Library { crates: "std,panic_abort", features: "optimize_for_size" };
/// The same for tests, which go on after one has failed.
const STD_OF_TESTS: Library =
    Library { crates: "std,panic_unwind,test", features: "panic-unwind,optimize_for_size" };
const CORE: Library = Library { crates: "core,alloc", features: "" };

const fn target(triple: &'static str, library: Library, about: &'static str) -> Target {
    Target { triple, library, about }
}

/// `cargo xtask arm [--list] [TASK]...`
pub(crate) fn command(args: lexopt::Parser) -> Outcome {
    task::command(args, TASKS, |_, _| Ok(()))
}

/// What is installed, and what is only unpacked.
fn toolchain() -> Outcome<Toolchain> {
    packages::ensure()?;
    Toolchain::fetch()
}

fn build() -> Outcome {
    let target = target(ARMV7, STD, "ARMv7, AST2600");
    program::run(toolchain()?.cargo("build", &target).args(DAEMON))?;
    let named = toolchain::built(&target, "bmc", "inbandd");
    // What is shipped has no names.
    let stripped = named.with_extension("stripped");
    program::run(Command::new("arm-linux-gnueabihf-strip").arg("-o").arg(&stripped).arg(&named))?;
    let version = program::output(toolchain::armv7(&stripped).arg("--version"))?;
    println!("{} runs on {}", version.trim(), target.about);
    measure(&named, &stripped)
}

/// Tells a program's size by crate; fails if it is too large.
fn measure(named: &Path, stripped: &Path) -> Outcome {
    let symbols = program::output(
        Command::new("arm-linux-gnueabihf-nm").args(["--print-size", "--demangle"]).arg(named),
    )?;
    let bytes = fs::metadata(stripped).map_err(|e| format!("cannot read {}: {e}", stripped.display()))?.len();
    let crates = size::by_crate(&symbols);
    let rest = bytes.saturating_sub(crates.iter().map(|(_, size)| size).sum());
    let (large, small): (Vec<_>, Vec<_>) = crates.into_iter().partition(|(_, size)| *size >= SHOWN);
    println!("\n| crate | bytes |\n|---|---|");
    for (name, size) in large {
        println!("| {name} | {} |", grouped(size));
    }
    println!("| {} others | {} |", small.len(), grouped(small.iter().map(|(_, size)| size).sum()));
    println!("| texts, tables and headers that have no name | {} |\n", grouped(rest));
    println!("inbandd, stripped: {} bytes of {}", grouped(bytes), grouped(MOST));
    if bytes > MOST {
        return Err(format!("inbandd has {} bytes for ARMv7 more than it may", grouped(bytes - MOST)));
    }
    Ok(())
}

fn check() -> Outcome {
    let toolchain = toolchain()?;
    for (target, crates) in CHECKED {
        println!("{}: {}", target.about, crates.join(" "));
        let mut check = toolchain.cargo("check", target);
        check.args(["--profile", "bmc", "--no-default-features"]);
        // What a check does not link need not be there: the programs that would make it of C do nothing.
        check.env("CC_x86_64_apple_darwin", "true").env("AR_x86_64_apple_darwin", "true");
        check.env("SDKROOT", "/nonexistent");
        program::run(check.args(crates.iter().flat_map(|name| ["--package", name])))?;
    }
    Ok(())
}

/// Tests that do not run under emulation of a processor, and why. By the start of their names. What can be tried less often
/// is (`INBAND_TESTS`).
const LEFT_OUT: &[(&str, &str)] = &[
    // qemu makes a copy of the process where Linux has the two share memory and the parent wait: what went wrong before exec
    // is lost, and the parent is there before the child has its group.
    ("programs::linux::tests::a_program_that_is_missing", NO_VFORK),
    ("programs::linux::tests::a_program_that_is_killed_before", NO_VFORK),
    ("pipeline::tests::a_full_disk", SLOW),
    ("pipeline::tests::cut::", SLOW),
    ("nothing_grows_with_the_package", SLOW),
    ("ten_thousand_packages", SLOW),
];
const NO_VFORK: &str = "qemu has no vfork";
const SLOW: &str = "it takes minutes, and less of it would prove nothing";

fn test() -> Outcome {
    let target = target(ARMV7, STD_OF_TESTS, "ARMv7, AST2600");
    for (name, why) in LEFT_OUT {
        println!("left out: {name}*: {why}");
    }
    println!(
        "the package's tests try every 37th byte, and they and the volume's an eighth of random cases: INBAND_TESTS=few"
    );
    let mut test = toolchain()?.cargo("test", &target);
    test.args([
        "--profile",
        "bmc-test",
        "--no-fail-fast",
        "--no-default-features",
        "--lib",
        "--bins",
        "--tests",
    ]);
    test.args(CORES.iter().chain(&["inband-gadget", "inbandd"]).flat_map(|name| ["--package", name]));
    // A point for each test, and the whole story of one that failed.
    test.args(["--", "--quiet"]).args(LEFT_OUT.iter().flat_map(|(name, _)| ["--skip", name]));
    program::run(test.env("INBAND_TESTS", "few"))
}
