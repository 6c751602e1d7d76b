//! What of an update goes over the wire, and how long it takes there: a squashfs image of which one program has changed, over a model of a
//! high-speed wire (see `wire`), on this machine's processors. The store of the BMC is in memory, so that no time is that of a disk; its
//! slots leave some room behind the image, as those of a BMC do.

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};
use std::{fs, thread};

use super::figures::{Figure, Values, Wanted, print};
use super::lab::{Bmc, Lab, number_behind};
use super::tree;
use super::wire::{Carried, Wire};
use super::{RUNS, folder};
use crate::{Outcome, program};

/// The small change goes over the wire as so much of the image, at most.
const SHARE: f64 = 0.05;
/// And as so much of what has changed: new chunks, index, head.
const OF_THE_NEW: f64 = 1.1;
/// And is so many times as fast as the whole.
const FASTER: f64 = 10.0;
/// It takes so many times as long as to hash the image, and so many seconds besides.
const HASHES: f64 = 1.25;
const BESIDES: f64 = 0.3;
/// What an identical package may send besides its index.
const NEXT_TO_NOTHING: f64 = 65_536.0;

/// MiB of a slot.
const SLOT_MIB: u64 = 32;

/// The store of a BMC that runs the version before, and has the one before that in its other slot.
const USED: &str = "used";

/// What is measured.
#[derive(Clone, Copy, PartialEq)]
enum Kind {
    Dfu,
    Full,
    Change,
    Identical,
    Rest,
}

const KINDS: [(Kind, &str); 5] = [
    (Kind::Dfu, "plain DFU, empty slot"),
    (Kind::Full, "bulk, empty slot"),
    (Kind::Change, "bulk, one program changed"),
    (Kind::Identical, "bulk, the same again"),
    (Kind::Rest, "bulk, the rest after a stop at half"),
];

/// One update.
struct Run {
    kind: Kind,
    /// From the choice of the door to the verdict.
    time: Duration,
    /// Bytes that the host has sent of the package.
    sent: u64,
    carried: Carried,
    /// The device's processor time.
    worked: Duration,
    /// The device's peak of resident memory.
    peak_kib: u64,
}

pub(super) fn run() -> Outcome {
    let lab = Lab::in_memory(SLOT_MIB)?;
    let outcome = run_in(&lab);
    lab.remove().and(outcome)
}

fn run_in(lab: &Lab) -> Outcome {
    let images = tree::versions(&folder("bench-delta")?)?;
    let packages = images.iter().zip(["1.0.0", "1.0.1", "1.0.2"]);
    let packages = packages.map(|(image, version)| lab.pack(version, image)).collect::<Outcome<Vec<_>>>()?;
    let [before, running, new] = &packages[..] else { return Err("there are three packages".into()) };
    let [.., newest] = &images;
    let length = length_of(newest)?;
    let mut bmc = lab.bmc()?;
    for package in [before, running] {
        bulk(lab, bmc.address(), package)?;
        bmc = lab.restart(bmc)?;
    }
    lab.keep(bmc, USED)?;
    let (mut runs, mut hashes) = (Vec::new(), Vec::new());
    for _ in 0..RUNS {
        for kind in [Kind::Dfu, Kind::Full] {
            let door = if kind == Kind::Dfu { "dfu" } else { "bulk" };
            let bmc = lab.bmc()?;
            runs.push(measure(lab, kind, &bmc, door, new)?);
        }
        let bmc = lab.bmc_with(USED)?;
        for kind in [Kind::Change, Kind::Identical] {
            runs.push(measure(lab, kind, &bmc, "bulk", new)?);
        }
        let bmc = lab.bmc()?;
        stop_at(lab, &bmc, new, length / 2)?;
        runs.push(measure(lab, Kind::Rest, &bmc, "bulk", new)?);
        let start = Instant::now();
        program::output(&mut lab.openssl(newest))?;
        hashes.push(start.elapsed().as_secs_f64());
    }
    println!(
        "\nimage of {length} bytes, package of {} bytes; slots of {SLOT_MIB} MiB in memory",
        length_of(new)?
    );
    println!("{}", table(&runs));
    let hash = Values::new(hashes).median();
    println!("SHA-256 of the image, openssl: {hash:.3} s");
    let new_bytes = lab.new_bytes(running, new)?;
    print(&figures(&runs, length as f64, new_bytes as f64, hash))
}

/// An update by bulk that is not measured.
fn bulk(lab: &Lab, address: &str, package: &Path) -> Outcome {
    program::output(lab.host(address).args(["update", "--door", "bulk"]).arg(package)).map(drop)
}

/// An update over the wire.
fn measure(lab: &Lab, kind: Kind, bmc: &Bmc, door: &str, package: &Path) -> Outcome<Run> {
    let wire = Wire::to(bmc.address()).map_err(|e| format!("no wire: {e}"))?;
    let mut command = lab.host(wire.address());
    command.args(["update", "--door", door]).arg(package).stdin(Stdio::null()).stdout(Stdio::piped());
    let mut child = command.spawn().map_err(|e| format!("cannot run inband: {e}"))?;
    let output = BufReader::new(child.stdout.take().ok_or("inband has no standard output")?);
    let (mut start, mut end, mut sent) = (None, None, 0);
    let mut worked = Duration::ZERO;
    for line in output.lines().map_while(Result::ok) {
        if line.contains("\"event\":\"door\"") {
            wire.take_carried();
            worked = bmc.processor_time()?;
            start = Some(Instant::now());
        }
        if line.contains("\"event\":\"sent\"") {
            end = Some((Instant::now(), wire.take_carried()));
            worked = bmc.processor_time()?.saturating_sub(worked);
            sent = number_behind(&line, "\"total\":").unwrap_or(0);
        }
    }
    let status = child.wait().map_err(|e| format!("cannot wait for inband: {e}"))?;
    wire.wait_for_end();
    let Some((start, (end, carried))) = start.zip(end).filter(|_| status.success()) else {
        return Err(format!("inband ended with {status}"));
    };
    Ok(Run { kind, time: end - start, sent, carried, worked, peak_kib: bmc.peak_kib()? })
}

/// An update that is killed when the BMC has taken so many bytes.
fn stop_at(lab: &Lab, bmc: &Bmc, package: &Path, bytes: u64) -> Outcome {
    // On the wire, for without one it is over before it can be stopped.
    let wire = Wire::to(bmc.address()).map_err(|e| format!("no wire: {e}"))?;
    let mut command = lab.host(wire.address());
    command.args(["update", "--door", "bulk"]).arg(package).stdin(Stdio::null()).stdout(Stdio::null());
    let mut child = command.spawn().map_err(|e| format!("cannot run inband: {e}"))?;
    let failed = |e: std::io::Error| format!("cannot stop inband: {e}");
    while wire.carried().bytes < bytes {
        if child.try_wait().map_err(failed)?.is_some() {
            return Err("the update was over before half of it had gone".into());
        }
        thread::sleep(Duration::from_millis(1));
    }
    child.kill().map_err(failed)?;
    child.wait().map_err(failed)?;
    wire.wait_for_end();
    Ok(())
}

fn length_of(file: &Path) -> Outcome<u64> {
    fs::metadata(file).map(|data| data.len()).map_err(|e| format!("cannot read {}: {e}", file.display()))
}

/// One quantity of all runs of a kind.
fn values(runs: &[Run], kind: Kind, of: impl Fn(&Run) -> f64) -> Values {
    Values::new(runs.iter().filter(|run| run.kind == kind).map(of).collect())
}

/// Medians with the fastest and the slowest, as Markdown.
fn table(runs: &[Run]) -> String {
    let mut text = String::from(
        "| what | offer to verdict, s | sent, bytes | on the wire, bytes | wire busy, s | device's processor time, s | device's peak memory, KiB |\n|---|---|---|---|---|---|---|\n",
    );
    for (kind, name) in KINDS {
        text += &format!(
            "| {name} | {} | {} | {} | {:.3} | {:.3} | {} |\n",
            values(runs, kind, |run| run.time.as_secs_f64()).spread(),
            values(runs, kind, |run| run.sent as f64).median(),
            values(runs, kind, |run| run.carried.bytes as f64).median(),
            values(runs, kind, |run| run.carried.busy.as_secs_f64()).median(),
            values(runs, kind, |run| run.worked.as_secs_f64()).median(),
            values(runs, kind, |run| run.peak_kib as f64).most(),
        );
    }
    text
}

/// What is expected something of.
fn figures(runs: &[Run], image: f64, new_bytes: f64, hash: f64) -> [Figure; 5] {
    let time = |kind| values(runs, kind, |run| run.time.as_secs_f64()).median();
    let sent = |kind| values(runs, kind, |run| run.sent as f64).median();
    [
        Figure {
            what: "one program changed: sent, of the image",
            value: sent(Kind::Change) / image,
            bar: Wanted::AtMost(SHARE),
        },
        Figure {
            what: "one program changed: sent, of new chunks, index and head",
            value: sent(Kind::Change) / new_bytes,
            bar: Wanted::AtMost(OF_THE_NEW),
        },
        Figure {
            what: "one program changed: seconds beyond 1.25 times the hash of the image",
            value: time(Kind::Change) - HASHES * hash,
            bar: Wanted::AtMost(BESIDES),
        },
        Figure {
            what: "everything against one program changed, by time",
            value: time(Kind::Full) / time(Kind::Change),
            bar: Wanted::AtLeast(FASTER),
        },
        Figure {
            what: "the same again: bytes sent",
            value: sent(Kind::Identical),
            bar: Wanted::AtMost(NEXT_TO_NOTHING),
        },
    ]
}
