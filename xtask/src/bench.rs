//! `cargo xtask bench`: measurements. A task prints what it measured and nothing else.

use std::env::consts::ARCH;
use std::fs;

use crate::program::{self, cargo};
use crate::task::{self, Task};
use crate::{Outcome, layout};

mod lab;

use lab::Lab;

const TASKS: &[Task] = &[
    Task { name: "size", about: "the daemon as built for a BMC, on disk", run: size },
    Task { name: "memory", about: "the daemon's peak memory, for a small and a large package", run: memory },
    Task { name: "speed", about: "plain DFU over USB/IP on loopback, by our host", run: speed },
];

/// Bytes in a MiB.
const MIB: u64 = 1 << 20;
/// Runs of one measurement; the median counts.
const RUNS: usize = 5;

/// `cargo xtask bench [--list] [TASK]...`
pub(crate) fn command(args: lexopt::Parser) -> Outcome {
    task::command(args, TASKS, |_, _| Ok(()))
}

/// The size of inbandd with the `bmc` profile and without the virtual backends.
fn size() -> Outcome {
    program::run(&mut cargo(&[
        "build",
        "--profile",
        "bmc",
        "--package",
        "inbandd",
        "--no-default-features",
    ]))?;
    let file = layout::target().join("bmc/inbandd");
    let bytes = fs::metadata(&file).map_err(|e| format!("cannot read {}: {e}", file.display()))?.len();
    println!("inbandd, {ARCH}: {bytes} bytes");
    Ok(())
}

/// Peak resident memory of inbandd in an update, a process of its own for each package.
fn memory() -> Outcome {
    let lab = Lab::new()?;
    let mut peaks = Vec::new();
    for mib in [8, 128] {
        let package = lab.package(mib)?;
        let bmc = lab.bmc()?;
        let start = bmc.peak_kib()?;
        lab.update(&bmc, &package)?;
        let peak = bmc.peak_kib()?;
        println!(
            "inbandd, {ARCH}, {mib} MiB package over USB/IP: peak {peak} KiB resident ({start} KiB at the start)"
        );
        peaks.push(peak);
    }
    if let [small, large] = peaks[..] {
        println!("ratio: {:.3}", large as f64 / small as f64);
    }
    Ok(())
}

/// Time of the data phase, from the first byte to the verdict, into an empty slot.
fn speed() -> Outcome {
    const PACKAGE_MIB: u64 = 32;
    let lab = Lab::new()?;
    let package = lab.package(PACKAGE_MIB)?;
    let mut times = Vec::new();
    for _ in 0..RUNS {
        times.push(lab.update(&lab.bmc()?, &package)?);
    }
    times.sort_unstable();
    let rate = |ms: u64| PACKAGE_MIB as f64 * MIB as f64 / 1e6 / (ms.max(1) as f64 / 1e3);
    let (fastest, slowest) = (times[0], times[RUNS - 1]);
    let median = times[RUNS / 2];
    println!(
        "inband update, plain DFU over USB/IP, {PACKAGE_MIB} MiB, {ARCH}: median {median} ms, {:.1} MB/s \
         (of {RUNS}: {:.1} to {:.1} MB/s)",
        rate(median),
        rate(slowest),
        rate(fastest)
    );
    Ok(())
}
