//! The bulk door in the kernel guest: what `xtask/guest/bulk.bench.sh` measured, as medians and ratios, a Markdown table and a picture.
//!
//! By two clocks, for the emulator's own costs are not those of a processor: page tables, locks and changes of mode take it many times as long as
//! so many instructions that compute. What a BMC's work is beside hashing, of which each instruction is fast, is measured by the
//! clock that counts instructions; and against a bus and a host that wait for each other, of which that clock knows nothing, by the machine's.

use serde::Deserialize;

use super::figures::{Figure, Values, Wanted, print};
use super::plot::{self, Bar, Panel};
use super::{MIB, folder, guest, tree};
use crate::Outcome;
use crate::vm::Measure;

/// The picture that the documentation shows.
const PICTURE: &str = "docs/bulk.svg";

/// What is expected of the package of this size.
const BAR_MIB: u64 = 32;
/// What stands for the squashfs images among the sizes.
const SQUASHFS: u64 = 0;
/// The data phase takes the bus or the hash to so much of what it can do.
const OF_THE_LIMIT: f64 = 0.8;
/// So many times as fast as dfu-util is an update by bulk, to the verdict.
const TIMES_DFU_UTIL: f64 = 10.0;
/// A small change takes so many times as long as to hash the image, and so many seconds besides.
const HASHES: f64 = 1.25;
const BESIDES: f64 = 0.3;
/// What is written where nothing has changed, bytes: records of the store, and nothing to a slot.
const RECORDS: f64 = 65_536.0;
/// The device's memory for a transfer, KiB.
const MEMORY_KIB: f64 = 4096.0;
/// The slowest answer to a control request, ms.
const ANSWER_MS: f64 = 100.0;

/// What is measured, and its name for readers.
const KINDS: [(&str, &str); 9] = [
    ("usb", "bulk writes, thrown away"),
    ("hash", "SHA-256 on one processor"),
    ("full", "inband, bulk, empty slot"),
    ("identical", "inband, bulk, the same again"),
    ("rest", "inband, bulk, the rest after half"),
    ("dfu", "inband, plain DFU, empty slot"),
    ("dfu-util", "dfu-util, empty slot"),
    ("squashfs-full", "inband, bulk, empty slot"),
    ("squashfs-change", "inband, bulk, one program changed"),
];

/// One measurement, as the guest tells it. Times are from the start of the program; a limit has no more than one.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct Run {
    what: String,
    mib: u64,
    total_ms: f64,
    /// The door is chosen, or dfu-util is about to send the first byte.
    begin_ms: Option<f64>,
    /// The BMC has taken all; by bulk what is behind that is the look at the whole slot.
    taken_ms: Option<f64>,
    /// The verdict is there.
    end_ms: Option<f64>,
    /// Bytes of the package.
    length: f64,
    /// Bytes of data that were sent.
    wire: f64,
    /// Processor time of the device's process.
    cpu_ms: f64,
    /// Of its thread that hashes and writes: for the one, and for the other.
    worker_user_ms: f64,
    worker_system_ms: f64,
    /// What that wrote, bytes, and in how many calls.
    written: f64,
    writes: f64,
    /// Processor time of the host's process.
    host_cpu_ms: f64,
    /// The device's peak of resident memory, before and after.
    before_kib: f64,
    peak_kib: f64,
    /// Its slowest answer to a control request.
    slowest_us: f64,
}

impl Run {
    /// Until all was taken, which dfu-util does not tell, and which its last block is not before the verdict.
    fn data_ms(&self) -> f64 {
        let end = self.taken_ms.or(self.end_ms);
        self.begin_ms.zip(end).map_or(self.total_ms, |(begin, end)| end - begin)
    }

    /// Until the verdict.
    fn verdict_ms(&self) -> f64 {
        self.begin_ms.zip(self.end_ms).map_or(self.total_ms, |(begin, end)| end - begin)
    }

    fn is_limit(&self) -> bool {
        self.begin_ms.is_none()
    }
}

/// By the clock of the machine.
pub(super) fn run() -> Outcome {
    let runs = measure(Measure { rounds: super::RUNS, counted: false })?;
    guest::draw(PICTURE, &runs.picture())?;
    println!("by this clock, {}", runs.of_the_limit());
    print(&runs.figures())
}

/// By the instructions of the guest, whose one processor is host and device. Two rounds show that there is no spread.
pub(super) fn run_counted() -> Outcome {
    let runs = measure(Measure { rounds: 2, counted: true })?;
    runs.figures().iter().for_each(|figure| println!("by this clock, {figure}"));
    print(&[runs.of_the_limit()])
}

fn measure(how: Measure) -> Outcome<Runs> {
    let images = tree::versions(&folder("bench-bulk")?)?;
    let runs = Runs(guest::measure("bulk", how, &images)?);
    println!("\n{}", runs.table());
    Ok(runs)
}

/// All that was measured.
struct Runs(Vec<Run>);

impl Runs {
    /// The package sizes, smallest first, and then the squashfs images.
    fn sizes(&self) -> Vec<u64> {
        let mut sizes: Vec<u64> = self.0.iter().map(|run| run.mib).collect();
        sizes.sort_unstable_by_key(|&mib| (mib == SQUASHFS, mib));
        sizes.dedup();
        sizes
    }

    /// One quantity of all runs of a kind and a size.
    fn values(&self, what: &str, mib: u64, of: impl Fn(&Run) -> f64) -> Values {
        let runs = self.0.iter().filter(|run| run.what == what && run.mib == mib);
        Values::new(runs.map(of).collect())
    }

    /// Bytes a second of the bus by itself, at the size that something is expected of.
    fn bus(&self) -> f64 {
        (BAR_MIB * MIB) as f64 / self.values("usb", BAR_MIB, |run| run.total_ms / 1e3).median()
    }

    /// Medians with the fastest and the slowest, as Markdown.
    fn table(&self) -> String {
        let mut text = String::from(
            "| MiB | what | data phase, s | MB/s | to the verdict, s | in all, s | sent, bytes | that at the bus's rate, s | hashing, s | storing, s | stored, bytes | in writes \
             | processor time, s: device | host | device's memory, KiB: for it | peak |\n\
             |---|---|---|---|---|---|---|---|---|---|---|---|---|---|---|---|\n",
        );
        for mib in self.sizes() {
            for (what, name) in KINDS {
                let Some(run) = self.0.iter().find(|run| run.what == what && run.mib == mib) else {
                    continue;
                };
                let median = |of: fn(&Run) -> f64| self.values(what, mib, of).median();
                let size = if mib == SQUASHFS { "squashfs".into() } else { mib.to_string() };
                let data = self.values(what, mib, |run| run.data_ms() / 1e3);
                let length = if run.is_limit() { (mib * MIB) as f64 } else { run.length };
                text +=
                    &format!("| {size} | {name} | {} | {:.1} ", data.spread(), length / 1e6 / data.median());
                if run.is_limit() {
                    text += "| | | | | | | | | | | | |\n";
                    continue;
                }
                let sent = median(|run| run.wire);
                text += &format!(
                    "| {} | {} | {sent} | {:.2} | {:.2} | {:.2} | {} | {} | {:.2} | {:.2} | {:.0} | {:.0} |\n",
                    self.values(what, mib, |run| run.verdict_ms() / 1e3).spread(),
                    self.values(what, mib, |run| run.total_ms / 1e3).spread(),
                    sent / self.bus(),
                    median(|run| run.worker_user_ms / 1e3),
                    median(|run| run.worker_system_ms / 1e3),
                    median(|run| run.written),
                    median(|run| run.writes),
                    median(|run| run.cpu_ms / 1e3),
                    median(|run| run.host_cpu_ms / 1e3),
                    self.values(what, mib, |run| run.peak_kib - run.before_kib).most(),
                    self.values(what, mib, |run| run.peak_kib).most(),
                );
            }
        }
        text
    }

    /// One that is expected of the clock that counts.
    fn of_the_limit(&self) -> Figure {
        let data = |what| self.values(what, BAR_MIB, Run::data_ms).median();
        Figure {
            what: "bulk, data phase: of the rate of bulk writes or of SHA-256, whichever is less",
            value: data("usb").max(data("hash")) / data("full"),
            bar: Wanted::AtLeast(OF_THE_LIMIT),
        }
    }

    /// What is expected of the machine's.
    fn figures(&self) -> [Figure; 5] {
        let verdict = |what| self.values(what, BAR_MIB, Run::verdict_ms).median();
        let most = |of: fn(&Run) -> f64| {
            let by_bulk = |run: &&Run| !run.is_limit() && !run.what.starts_with("dfu");
            self.0.iter().filter(by_bulk).map(of).fold(f64::NAN, f64::max)
        };
        let change = |of: fn(&Run) -> f64| self.values("squashfs-change", SQUASHFS, of).median();
        let hash = verdict("hash") / 1e3 / (BAR_MIB * MIB) as f64 * change(|run| run.length);
        [
            Figure {
                what: "to the verdict, dfu-util against bulk",
                value: verdict("dfu-util") / verdict("full"),
                bar: Wanted::AtLeast(TIMES_DFU_UTIL),
            },
            Figure {
                what: "one program changed: seconds beyond 1.25 times the hash of the package",
                value: change(Run::verdict_ms) / 1e3 - HASHES * hash,
                bar: Wanted::AtMost(BESIDES),
            },
            Figure {
                what: "the same again: bytes stored",
                value: self.values("identical", BAR_MIB, |run| run.written).median(),
                bar: Wanted::AtMost(RECORDS),
            },
            Figure {
                what: "device's memory for a transfer by bulk, KiB, the most of all",
                value: most(|run| run.peak_kib - run.before_kib),
                bar: Wanted::AtMost(MEMORY_KIB),
            },
            Figure {
                what: "slowest answer to a control request in an update by bulk, ms",
                value: most(|run| run.slowest_us / 1e3),
                bar: Wanted::AtMost(ANSWER_MS),
            },
        ]
    }

    fn picture(&self) -> String {
        let panel = |mib| {
            let bar = |(what, label): (&str, &'static str)| {
                let median = |of: fn(&Run) -> f64| self.values(what, mib, |run| of(run) / 1e3).median();
                let total = self.values(what, mib, |run| run.total_ms / 1e3);
                Bar {
                    label,
                    parts: [
                        median(|run| run.begin_ms.unwrap_or(0.0)),
                        median(Run::data_ms),
                        median(|run| {
                            run.end_ms
                                .map_or(0.0, |_| run.total_ms - run.begin_ms.unwrap_or(0.0) - run.data_ms())
                        }),
                    ],
                    range: [total.least(), total.most()],
                }
            };
            let is_there =
                |(what, _): &(&str, _)| self.0.iter().any(|run| run.what == *what && run.mib == mib);
            let title =
                if mib == SQUASHFS { "An image of squashfs".into() } else { format!("{mib} MiB, random") };
            Panel { title, bars: KINDS.into_iter().filter(is_there).map(bar).collect() }
        };
        let title = "Until the verdict, s: before the data phase, in it (blue), after it; the line is from the fastest run to the slowest";
        plot::draw(title, &self.sizes().into_iter().map(panel).collect::<Vec<_>>())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn runs(lines: &[(&str, u64, f64)]) -> Runs {
        let run = |&(what, mib, total): &(&str, u64, f64)| {
            let phase = if matches!(what, "usb" | "hash") {
                String::new()
            } else {
                format!(
                    r#","begin_ms":100,"taken_ms":{},"end_ms":{},"length":{}"#,
                    total - 50.0,
                    total - 50.0,
                    mib * MIB
                )
            };
            let line = format!(r#"{{"what":"{what}","mib":{mib},"total_ms":{total}{phase}}}"#);
            serde_json::from_str(&line).unwrap()
        };
        Runs(lines.iter().map(run).collect())
    }

    #[test]
    fn the_slower_of_the_two_limits_counts() {
        let runs =
            runs(&[("usb", 32, 400.0), ("hash", 32, 800.0), ("full", 32, 1150.0), ("dfu-util", 32, 9150.0)]);
        let figures = runs.figures().map(|figure| figure.to_string());
        let limit = runs.of_the_limit().to_string();
        assert!(limit.ends_with("0.800, wanted at least 0.8: holds"), "{limit}");
        assert!(figures[0].ends_with("9.000, wanted at least 10: DOES NOT HOLD"), "{figures:?}");
        assert!(figures[1].contains("NaN"), "what was not measured holds nothing: {figures:?}");
        assert!(runs.table().contains("| 32 | SHA-256 on one processor | 0.80 "));
        let picture = runs.picture();
        assert_eq!(picture.matches("dfu-util").count(), 1);
        assert_eq!(picture.matches("squashfs").count(), 0);
    }

    #[test]
    fn squashfs_comes_last() {
        assert_eq!(
            runs(&[("squashfs-full", 0, 1.0), ("full", 128, 1.0), ("full", 8, 1.0)]).sizes(),
            [8, 128, 0]
        );
    }
}
