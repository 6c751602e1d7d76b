//! The disk in the kernel guest beside the kernel's own target: what `xtask/guest/disk.bench.sh` measured, as a Markdown table and ratios.
//!
//! By two clocks, as the bulk door is (see `bulk`): ours makes system calls where the kernel's does not, and these take an emulator many times as long
//! as instructions that copy.

use serde::Deserialize;

use super::figures::{Figure, Values, Wanted, print};
use super::guest;
use crate::Outcome;
use crate::vm::Measure;

/// Of the rate of the kernel's target, what ours reaches in writing.
const OF_THE_KERNEL: f64 = 0.8;
/// The slowest answer to a WRITE, ms.
const ANSWER_MS: f64 = 100.0;
/// Commands of so many KiB.
const SIZES: [u64; 2] = [64, 120];

/// One measurement, as the guest tells it.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct Run {
    /// `ours` or `kernel`.
    target: String,
    /// `write`, `read` or `slowest`.
    what: String,
    /// KiB of a command.
    kib: u64,
    bytes: f64,
    total_ms: f64,
    /// Of ours, since it was started.
    slowest_us: f64,
}

/// By the clock of the machine.
pub(super) fn run() -> Outcome {
    let runs = measure(Measure { rounds: super::RUNS, counted: false })?;
    runs.ratio_figures().iter().for_each(|figure| println!("by this clock, {figure}"));
    print(&[runs.slowest()])
}

/// By the instructions of the guest, whose one processor is host and device. Two rounds show that there is no spread.
pub(super) fn run_counted() -> Outcome {
    let runs = measure(Measure { rounds: 2, counted: true })?;
    println!("by this clock, {}", runs.slowest());
    print(&runs.ratio_figures())
}

fn measure(how: Measure) -> Outcome<Runs> {
    let runs = Runs(guest::measure("disk", how, &[])?);
    println!("\n{}", runs.table());
    Ok(runs)
}

/// All that was measured.
struct Runs(Vec<Run>);

impl Runs {
    /// MB a second in each round.
    fn rates(&self, target: &str, what: &str, kib: u64) -> Vec<f64> {
        let fits = |run: &&Run| run.target == target && run.what == what && run.kib == kib;
        self.0.iter().filter(fits).map(|run| run.bytes / run.total_ms / 1e3).collect()
    }

    /// Ours of the kernel's, in each round.
    fn ratios(&self, what: &str, kib: u64) -> Values {
        let pairs = self.rates("ours", what, kib).into_iter().zip(self.rates("kernel", what, kib));
        Values::new(pairs.map(|(ours, kernel)| ours / kernel).collect())
    }

    /// Medians with the slowest and the fastest, as Markdown.
    fn table(&self) -> String {
        let mut text = String::from(
            "| command | f_mass_storage, MB/s | ours, MB/s | ours of the kernel's |\n|---|---|---|---|\n",
        );
        for what in ["write", "read"] {
            for kib in SIZES {
                text += &format!(
                    "| {what} {kib} KiB | {} | {} | {} |\n",
                    Values::new(self.rates("kernel", what, kib)).spread(),
                    Values::new(self.rates("ours", what, kib)).spread(),
                    self.ratios(what, kib).spread(),
                );
            }
        }
        text
    }

    /// What is expected of the clock that counts.
    fn ratio_figures(&self) -> [Figure; 2] {
        let ratio = |what, kib| Figure {
            what,
            value: self.ratios("write", kib).median(),
            bar: Wanted::AtLeast(OF_THE_KERNEL),
        };
        [
            ratio("written by 64 KiB, of the rate of f_mass_storage", 64),
            ratio("written by 120 KiB, of the rate of f_mass_storage", 120),
        ]
    }

    /// What is expected of the machine's.
    fn slowest(&self) -> Figure {
        let slowest = self.0.iter().filter(|run| run.what == "slowest").map(|run| run.slowest_us / 1e3);
        Figure {
            what: "slowest answer, from what the host sent until all that follows is queued, ms",
            value: slowest.fold(f64::NAN, f64::max),
            bar: Wanted::AtMost(ANSWER_MS),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rounds_are_compared_one_by_one() {
        let run = |target: &str, total_ms| Run {
            target: target.into(),
            what: "write".into(),
            kib: 64,
            bytes: 1e6,
            total_ms,
            slowest_us: 0.0,
        };
        let slowest = Run { what: "slowest".into(), slowest_us: 5e3, ..Run::default() };
        // The second round met a machine that was busy: for both.
        let runs = Runs(vec![
            run("kernel", 10.0),
            run("ours", 12.5),
            run("kernel", 100.0),
            run("ours", 200.0),
            run("kernel", 10.0),
            run("ours", 10.0),
            slowest,
        ]);
        let figures = runs.ratio_figures().map(|figure| figure.to_string());
        assert!(figures[0].ends_with("0.800, wanted at least 0.8: holds"), "{figures:?}");
        assert!(figures[1].contains("NaN"), "what was not measured holds nothing: {figures:?}");
        assert!(runs.slowest().to_string().ends_with("5.000, wanted at most 100: holds"));
        assert!(
            runs.table().contains("| write 64 KiB | 100.00 (10.00 to 100.00) | 80.00 (5.00 to 100.00) |")
        );
    }
}
