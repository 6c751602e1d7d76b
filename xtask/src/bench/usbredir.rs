//! A disk over usbredir in a QEMU guest, UEFI shell and Linux: what `xtask/guest/disk-usbredir.bench.sh` measured, as a Markdown table. The
//! times are the disk's own, from the first piece of data to the last.

use serde::Deserialize;

use super::figures::{Figure, Values, Wanted, print};
use super::{RUNS, guest};
use crate::Outcome;
use crate::vm::Measure;

/// What is measured, and for readers.
const PHASES: [(&str, &str); 5] = [
    ("uefi-copy", "UEFI shell, `cp` of 32 MiB onto FAT"),
    ("linux-write-64", "Linux, `dd` writes 32 MiB, 64 KiB a command"),
    ("linux-write-120", "the same, 120 KiB"),
    ("linux-read-64", "Linux, `dd` reads 32 MiB, 64 KiB a command"),
    ("linux-read-120", "the same, 120 KiB"),
];
/// The slowest answer to a command, ms.
const ANSWER_MS: f64 = 100.0;

/// What went over the bus in one go.
#[derive(Clone, Debug, Deserialize)]
struct Phase {
    name: String,
    read: f64,
    read_ms: f64,
    written: f64,
    written_ms: f64,
    /// From what the host sent to the answer, at most.
    slowest_us: f64,
}

impl Phase {
    /// Of the direction in which more went.
    fn ms(&self) -> f64 {
        if self.written > self.read { self.written_ms } else { self.read_ms }
    }

    /// MB/s, likewise.
    fn rate(&self) -> f64 {
        self.written.max(self.read) / 1e3 / self.ms()
    }
}

pub(super) fn run() -> Outcome {
    let phases = Phases(guest::measure("disk-usbredir", Measure { rounds: RUNS, counted: false }, &[])?);
    println!("\n{}", phases.table());
    print(&[phases.slowest()])
}

/// All that was measured.
struct Phases(Vec<Phase>);

impl Phases {
    fn values(&self, name: &str, of: fn(&Phase) -> f64) -> Values {
        Values::new(self.0.iter().filter(|phase| phase.name == name).map(of).collect())
    }

    fn table(&self) -> String {
        let mut text = String::from("| | s | MB/s | slowest answer, ms |\n|---|---|---|---|\n");
        for (name, what) in PHASES {
            let seconds = self.values(name, |phase| phase.ms() / 1e3);
            let rate = self.values(name, Phase::rate);
            let slowest = self.values(name, |phase| phase.slowest_us / 1e3).most();
            text += &format!("| {what} | {} | {:.1} | {slowest:.2} |\n", seconds.spread(), rate.median());
        }
        text
    }

    fn slowest(&self) -> Figure {
        let names = PHASES.map(|(name, _)| self.values(name, |phase| phase.slowest_us / 1e3).most());
        Figure {
            what: "slowest answer, ms",
            // What was not measured holds nothing.
            value: if names.iter().any(|value| value.is_nan()) {
                f64::NAN
            } else {
                names.into_iter().fold(0.0, f64::max)
            },
            bar: Wanted::AtMost(ANSWER_MS),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn phases(names: &[&str]) -> Phases {
        let line = |name: &&str| {
            guest::parse(&format!(
                r#"{{"name":"{name}","read":1024,"read_ms":7,"written":33554432,"written_ms":500.0,"slowest_us":1500}}"#
            ))
            .unwrap()
        };
        Phases(names.iter().map(line).collect())
    }

    #[test]
    fn a_rate_is_of_what_most_was() {
        let table = phases(&["uefi-copy"]).table();
        assert!(table.contains("onto FAT | 0.50 (0.50 to 0.50) | 67.1 | 1.50 |"), "{table}");
    }

    #[test]
    fn the_slowest_answer_is_of_all_that_was_to_be_measured() {
        let all = phases(&PHASES.map(|(name, _)| name));
        assert!(all.slowest().to_string().contains("1.500, wanted at most 100: holds"));
        assert!(phases(&["uefi-copy"]).slowest().to_string().contains("DOES NOT HOLD"));
    }
}
