//! A disk over usbredir in a QEMU guest, UEFI shell and Linux, beside a disk of QEMU's own on the same controller: what
//! `xtask/guest/disk-usbredir.bench.sh` measured, as a Markdown table.

use serde::Deserialize;

use super::figures::{Figure, Values, Wanted, print};
use super::{MIB, RUNS, guest};
use crate::Outcome;
use crate::vm::Measure;

/// What is measured, and for readers; of each 32 MiB.
const PHASES: [(&str, &str); 5] = [
    ("uefi", "UEFI shell, `cp` from another disk onto FAT"),
    ("write-64", "Linux, `dd` writes, 64 KiB a command"),
    ("write-120", "the same, 120 KiB"),
    ("read-64", "Linux, `dd` reads, 64 KiB a command"),
    ("read-120", "the same, 120 KiB"),
];
/// The slowest answer to a command, ms.
const ANSWER_MS: f64 = 100.0;

/// One go, as our disk tells it.
#[derive(Clone, Debug, Deserialize)]
struct Phase {
    /// What, and `-ours` or `-theirs`.
    name: String,
    ms: f64,
    /// Our disk's: from what the host sent to the answer, at most.
    slowest_us: f64,
}

pub(super) fn run() -> Outcome {
    let phases = Phases(guest::measure("disk-usbredir", Measure { rounds: RUNS, counted: false }, &[])?);
    println!("\n{}", phases.table());
    print(&[phases.slowest()])
}

/// All that was measured.
struct Phases(Vec<Phase>);

impl Phases {
    fn values(&self, name: &str, whose: &str, of: fn(&Phase) -> f64) -> Values {
        let wanted = |phase: &&Phase| phase.name.strip_prefix(name) == Some(whose);
        Values::new(self.0.iter().filter(wanted).map(of).collect())
    }

    fn table(&self) -> String {
        let mut text = String::from(
            "| 32 MiB | s | MB/s | QEMU's own disk, s | our time to its | slowest answer, ms |\n|---|---|---|---|---|---|\n",
        );
        let seconds = |phase: &Phase| phase.ms / 1e3;
        for (name, what) in PHASES {
            let (ours, theirs) = (self.values(name, "-ours", seconds), self.values(name, "-theirs", seconds));
            let rate = 32.0 * MIB as f64 / 1e6 / ours.median();
            let ratio = ours.median() / theirs.median();
            let slowest = self.slowest_of(name);
            text += &format!(
                "| {what} | {} | {rate:.1} | {} | {ratio:.2} | {slowest:.2} |\n",
                ours.spread(),
                theirs.spread()
            );
        }
        text
    }

    fn slowest_of(&self, name: &str) -> f64 {
        self.values(name, "-ours", |phase| phase.slowest_us / 1e3).most()
    }

    fn slowest(&self) -> Figure {
        let slowest = PHASES.map(|(name, _)| self.slowest_of(name));
        // One that was not measured makes it none, where max would lose it.
        let measured = slowest.iter().all(|value| value.is_finite());
        let value = if measured { slowest.into_iter().fold(0.0, f64::max) } else { f64::NAN };
        Figure { what: "slowest answer, ms", value, bar: Wanted::AtMost(ANSWER_MS) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn phases(names: &[(&str, &str, u32)]) -> Phases {
        let line = |(name, whose, ms): &(&str, &str, u32)| {
            guest::parse(&format!(
                r#"{{"name":"{name}-{whose}","ms":{ms},"read":7,"written":33554432,"slowest_us":1500}}"#
            ))
            .unwrap()
        };
        Phases(names.iter().map(line).collect())
    }

    #[test]
    fn ours_is_told_beside_theirs() {
        let table = phases(&[("uefi", "ours", 500), ("uefi", "theirs", 1000)]).table();
        assert!(
            table.contains("onto FAT | 0.50 (0.50 to 0.50) | 67.1 | 1.00 (1.00 to 1.00) | 0.50 | 1.50 |"),
            "{table}"
        );
    }

    #[test]
    fn the_slowest_answer_is_of_all_that_was_to_be_measured() {
        let mut all = PHASES.map(|(name, _)| (name, "ours", 500));
        assert!(phases(&all).slowest().to_string().contains("1.500, wanted at most 100: holds"));
        all[2].1 = "theirs";
        assert!(phases(&all).slowest().to_string().contains("DOES NOT HOLD"));
    }
}
