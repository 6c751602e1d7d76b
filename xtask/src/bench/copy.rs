//! Updates by copy in the kernel guest: what `xtask/guest/copy.bench.sh` measured, as Markdown tables and ratios.

use std::fmt::Write as _;
use std::fs;

use serde::Deserialize;

use super::figures::{Figure, Values, Wanted, print};
use super::{folder, guest};
use crate::Outcome;
use crate::vm::Measure;

/// Rounds of the smaller packages, and of the large one, which takes dfu-util a minute.
const ROUNDS: usize = 3;
const LARGE_ROUNDS: usize = 1;
/// Memory beyond the package, KiB: 8 MiB that a host may write besides, and what the daemon may have for all else.
const MEMORY_KIB: f64 = (8 << 10) as f64 + super::MOST_KIB as f64;
/// The slowest answer while a package is copied and judged, ms: to a control request, as one that asks how the BMC stands, and to a command of the disk's.
const ANSWER_MS: f64 = 50.0;
const DISK_ANSWER_MS: f64 = 100.0;

/// What is compared, and its name for readers.
const COPIES: [(&str, &str); 2] = [("fat", "`cp`, profile `fat`"), ("raw", "`dd`, profile `raw`")];
const PEERS: [(&str, &str); 3] =
    [("bulk", "`inband update`, bulk"), ("dfu", "`inband update`, plain DFU"), ("dfu-util", "dfu-util")];
/// What the BMC is asked in all the while how it stands.
const ASKED: [(&str, &str); 4] = [
    ("asked", "a package, `fat`"),
    ("asked-raw", "a package, `raw`"),
    ("no-package", "a file that is none, `fat`"),
    ("too-large", "a file that is too large, `fat`"),
];

/// One update, as the guest tells it. Times are from the start of the host's program.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct Run {
    what: String,
    mib: u64,
    /// Bytes of the file.
    length: f64,
    total_ms: f64,
    /// `cp` or `dd` begins; or the first byte is about to be sent.
    begin_ms: f64,
    /// `cp` has ended.
    copied_ms: Option<f64>,
    /// All is on the disk.
    written_ms: Option<f64>,
    /// The medium is out.
    ejected_ms: Option<f64>,
    /// The BMC knows what it makes of it.
    judged_ms: Option<f64>,
    /// The host has read the verdict.
    end_ms: f64,
    /// The device's peak of resident memory, before and after.
    before_kib: f64,
    peak_kib: f64,
    /// Processor time of the device's process.
    cpu_ms: f64,
    /// Its slowest answers, to a control request and to a command of the disk's.
    slowest_answer_us: f64,
    slowest_disk_answer_us: f64,
    /// The same by the time that all was on the disk, where that was asked.
    copied_slowest_answer_us: Option<f64>,
    copied_slowest_disk_answer_us: Option<f64>,
}

impl Run {
    /// Seconds from the begin of the copy, NaN if it never came there.
    fn since(&self, at: Option<f64>) -> f64 {
        at.map_or(f64::NAN, |at| (at - self.begin_ms) / 1e3)
    }

    /// Seconds that were needed in all, without waiting for the next medium.
    fn net(&self) -> f64 {
        (self.total_ms - self.judged_ms.map_or(0.0, |judged| self.end_ms - judged)) / 1e3
    }

    /// Memory beyond the file, KiB.
    fn beside_kib(&self) -> f64 {
        self.peak_kib - self.length / 1024.0
    }
}

pub(super) fn run() -> Outcome {
    measure(&[8, 32], ROUNDS)
}

pub(super) fn run_large() -> Outcome {
    measure(&[128], LARGE_ROUNDS)
}

fn measure(sizes: &[u64], rounds: usize) -> Outcome {
    let file = folder("bench-copy")?.join("sizes");
    let text = sizes.iter().map(u64::to_string).collect::<Vec<_>>().join(" ");
    fs::write(&file, text).map_err(|e| format!("cannot write {}: {e}", file.display()))?;
    let runs = Runs(guest::measure("copy", Measure { rounds, counted: false }, &[file])?);
    println!("\n{}\n{}\n{}", runs.times(), runs.ratios(), runs.costs());
    print(&runs.figures())
}

/// All that was measured.
struct Runs(Vec<Run>);

impl Runs {
    fn sizes(&self) -> Vec<u64> {
        let mut sizes: Vec<u64> = self.0.iter().map(|run| run.mib).collect();
        sizes.sort_unstable();
        sizes.dedup();
        sizes
    }

    /// One quantity of all runs of a kind and a size.
    fn values(&self, what: &str, mib: u64, of: impl Fn(&Run) -> f64) -> Values {
        let runs = self.0.iter().filter(|run| run.what == what && run.mib == mib);
        Values::new(runs.map(of).collect())
    }

    /// How long it took, medians with the fastest and the slowest.
    fn times(&self) -> String {
        let mut text = String::from(
            "| MiB | what | `cp` done, s | all written, s | ejected, s | judged, s | verdict read, s | in all, s | in all but the gap, s | processor time of the device, s |\n\
             |---|---|---|---|---|---|---|---|---|---|\n",
        );
        for mib in self.sizes() {
            for (what, name) in COPIES.into_iter().chain(PEERS) {
                let median = |of: fn(&Run) -> f64| {
                    let median = self.values(what, mib, of).median();
                    if median.is_nan() { String::new() } else { format!("{median:.2}") }
                };
                _ = writeln!(
                    text,
                    "| {mib} | {name} | {} | {} | {} | {} | {} | {} | {} | {} |",
                    median(|run| run.since(run.copied_ms)),
                    median(|run| run.since(run.written_ms)),
                    median(|run| run.since(run.ejected_ms)),
                    median(|run| run.since(run.judged_ms)),
                    self.values(what, mib, |run| run.since(Some(run.end_ms))).spread(),
                    self.values(what, mib, |run| run.total_ms / 1e3).spread(),
                    self.values(what, mib, Run::net).spread(),
                    median(|run| run.cpu_ms / 1e3),
                );
            }
        }
        text
    }

    /// Each copy by each other way, of the medians.
    fn ratios(&self) -> String {
        let mut text = String::from("| MiB | in all, of that of | ");
        text += &PEERS.map(|(_, name)| name).join(" | ");
        text += " |\n|---|---|---|---|---|\n";
        for mib in self.sizes() {
            for (what, name) in COPIES {
                for (of, behind) in
                    [((|run| run.total_ms / 1e3) as fn(&Run) -> f64, ""), (Run::net, ", but the gap")]
                {
                    let copy = self.values(what, mib, of).median();
                    let peers =
                        PEERS.map(|(peer, _)| format!("{:.2}", copy / self.values(peer, mib, of).median()));
                    _ = writeln!(text, "| {mib} | {name}{behind} | {} |", peers.join(" | "));
                }
            }
        }
        text
    }

    /// Memory, and the slowest answers.
    fn costs(&self) -> String {
        let mut text = String::from(
            "| MiB | what | memory at the start, KiB | peak | beyond the file | a MiB written | slowest answer, ms: to a control request | by the time all was copied | to a command | by then |\n\
             |---|---|---|---|---|---|---|---|---|---|\n",
        );
        for mib in self.sizes() {
            for (what, name) in COPIES.into_iter().chain(ASKED) {
                let most = |of: fn(&Run) -> f64| self.values(what, mib, of).most();
                let copied = |of: fn(&Run) -> Option<f64>| {
                    let us = self.values(what, mib, |run| of(run).unwrap_or(f64::NAN)).most();
                    if us.is_nan() { String::new() } else { format!("{:.1}", us / 1e3) }
                };
                if most(|run| run.length).is_nan() {
                    continue;
                }
                _ = writeln!(
                    text,
                    "| {mib} | {name} | {:.0} | {:.0} | {:.0} | {:.0} | {:.1} | {} | {:.1} | {} |",
                    most(|run| run.before_kib),
                    most(|run| run.peak_kib),
                    most(Run::beside_kib),
                    most(|run| (run.peak_kib - run.before_kib) / (run.length / super::MIB as f64)),
                    most(|run| run.slowest_answer_us / 1e3),
                    copied(|run| run.copied_slowest_answer_us),
                    most(|run| run.slowest_disk_answer_us / 1e3),
                    copied(|run| run.copied_slowest_disk_answer_us),
                );
            }
        }
        text
    }

    fn figures(&self) -> [Figure; 3] {
        let is_copy = |run: &&Run| COPIES.iter().chain(&ASKED).any(|(what, _)| run.what == *what);
        let most = |of: fn(&Run) -> f64| self.0.iter().filter(is_copy).map(of).fold(f64::NAN, f64::max);
        [
            Figure {
                what: "device's memory beyond what is copied, KiB, the most of all",
                value: most(Run::beside_kib),
                bar: Wanted::AtMost(MEMORY_KIB),
            },
            Figure {
                what: "slowest answer to a control request, ms",
                value: most(|run| run.slowest_answer_us / 1e3),
                bar: Wanted::AtMost(ANSWER_MS),
            },
            Figure {
                what: "slowest answer to a command of the disk's, ms",
                value: most(|run| run.slowest_disk_answer_us / 1e3),
                bar: Wanted::AtMost(DISK_ANSWER_MS),
            },
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A copy of 8 MiB whose `cp` begins a second after the mount does.
    fn copied(what: &str, judged: f64, peak_kib: f64) -> Run {
        Run {
            what: what.into(),
            mib: 8,
            length: 8.0 * 1024.0 * 1024.0,
            total_ms: 6000.0,
            begin_ms: 1000.0,
            ejected_ms: Some(3000.0),
            judged_ms: Some(judged),
            end_ms: 5500.0,
            peak_kib,
            slowest_answer_us: 3000.0,
            slowest_disk_answer_us: 160_000.0,
            ..Run::default()
        }
    }

    #[test]
    fn what_waits_for_the_next_medium_is_counted_apart() {
        let peer = Run {
            what: "bulk".into(),
            mib: 8,
            total_ms: 2000.0,
            begin_ms: 500.0,
            end_ms: 1500.0,
            ..Run::default()
        };
        let runs = Runs(vec![copied("fat", 3500.0, 9000.0), peer]);
        let times = runs.times();
        assert!(
            times.contains(
                "|  |  | 2.00 | 2.50 | 4.50 (4.50 to 4.50) | 6.00 (6.00 to 6.00) | 4.00 (4.00 to 4.00) |"
            ),
            "{times}"
        );
        assert!(
            times.contains("|  |  |  |  | 1.00 (1.00 to 1.00) | 2.00 (2.00 to 2.00) | 2.00 (2.00 to 2.00) |"),
            "{times}"
        );
        let ratios = runs.ratios();
        assert!(
            ratios.contains("`fat` | 3.00 | NaN") && ratios.contains("`fat`, but the gap | 2.00 | NaN"),
            "{ratios}"
        );
    }

    #[test]
    fn a_second_copy_and_a_slow_answer_do_not_hold() {
        let figures = |runs: &[Run]| Runs(runs.to_vec()).figures().map(|figure| figure.to_string());
        let [memory, control, disk] = figures(&[copied("raw", 3500.0, 14_000.0)]);
        assert!(memory.contains("5808.000, wanted at most 16384: holds"), "{memory}");
        assert!(control.ends_with("3.000, wanted at most 50: holds"), "{control}");
        assert!(disk.ends_with("160.000, wanted at most 100: DOES NOT HOLD"), "{disk}");
        let [memory, ..] =
            figures(&[copied("raw", 3500.0, 14_000.0), copied("no-package", 3500.0, 25_000.0)]);
        assert!(memory.ends_with("DOES NOT HOLD"), "{memory}");
        assert!(figures(&[])[0].ends_with("DOES NOT HOLD"), "what was not measured holds nothing");
    }
}
