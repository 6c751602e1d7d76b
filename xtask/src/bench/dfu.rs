//! Plain DFU in the kernel guest: what `xtask/guest/dfu.bench.sh` measured, as medians and ratios, a Markdown table and a picture.

use serde::Deserialize;

use super::figures::{Figure, Values, Wanted, print};
use super::guest;
use super::plot::{self, Bar, Panel};
use crate::Outcome;
use crate::vm::Measure;

/// The picture that the documentation shows.
const PICTURE: &str = "docs/plain-dfu.svg";

/// Who sends to whom.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Pair {
    host: &'static str,
    device: &'static str,
    /// For readers.
    name: &'static str,
}

const SINK: Pair = Pair { host: "dfu-util", device: "sink", name: "dfu-util, a device that throws away" };
const STOCK: Pair = Pair { host: "dfu-util", device: "inbandd", name: "dfu-util, inbandd" };
const OURS: Pair = Pair { host: "inband", device: "inbandd", name: "inband, inbandd" };
const PAIRS: [Pair; 3] = [SINK, STOCK, OURS];

/// What is expected of the package of this size.
const BAR_MIB: u64 = 32;
/// inbandd, told by stock dfu-util, takes so many times as long as the device that throws away, at most.
const WORK: f64 = 1.10;
/// So many times as fast as dfu-util is our host in all, at least.
const HOST: f64 = 1.3;
/// From DETACH to the DFU-mode device, ms.
const DETACH_MS: f64 = 1000.0;
/// The slowest answer to a control request, ms.
const ANSWER_MS: f64 = 100.0;

/// One update, as the guest tells it. Times are from the start of the host's program.
#[derive(Clone, Debug, Deserialize)]
struct Run {
    host: String,
    device: String,
    mib: u64,
    total_ms: f64,
    /// The first byte is about to be sent.
    begin_ms: f64,
    /// The verdict is there.
    end_ms: f64,
    /// DETACH is about to be sent, where the host tells.
    detach_ms: Option<f64>,
    /// The DFU-mode device was found, where the host tells.
    dfu_mode_ms: Option<f64>,
    /// Processor time of the device's process.
    cpu_ms: f64,
    /// Of the host's.
    host_cpu_ms: f64,
    /// Its peak of resident memory.
    peak_kib: f64,
    /// Its slowest answer to a control request, where it tells.
    slowest_us: Option<f64>,
}

impl Run {
    fn data_ms(&self) -> f64 {
        self.end_ms - self.begin_ms
    }
}

/// By the clock of the machine.
pub(super) fn run() -> Outcome {
    let runs = measure(Measure { rounds: super::RUNS, counted: false })?;
    guest::draw(PICTURE, &runs.picture())?;
    print(&runs.figures())
}

/// By the instructions of the guest, whose one processor is host and device: to compare one change with another, not with what is
/// wanted. Two rounds show that there is no spread.
pub(super) fn run_counted() -> Outcome {
    let runs = measure(Measure { rounds: 2, counted: true })?;
    runs.figures().iter().for_each(|figure| println!("{figure}"));
    Ok(())
}

fn measure(how: Measure) -> Outcome<Runs> {
    let runs = Runs(guest::measure("dfu", how, &[])?);
    println!("\n{}", runs.table());
    Ok(runs)
}

/// All that was measured.
struct Runs(Vec<Run>);

impl Runs {
    /// The package sizes, smallest first.
    fn sizes(&self) -> Vec<u64> {
        let mut sizes: Vec<u64> = self.0.iter().map(|run| run.mib).collect();
        sizes.sort_unstable();
        sizes.dedup();
        sizes
    }

    /// One quantity of all runs of a pair and a size.
    fn values(&self, pair: Pair, mib: u64, of: impl Fn(&Run) -> Option<f64>) -> Values {
        let of_pair = |run: &&Run| run.host == pair.host && run.device == pair.device && run.mib == mib;
        Values::new(self.0.iter().filter(of_pair).filter_map(of).collect())
    }

    /// Medians with the fastest and the slowest, as Markdown.
    fn table(&self) -> String {
        let mut text = String::from(
            "| MiB | host, device | data phase, s | MB/s | in all, s | processor time, ms/MiB: device | host | device's peak memory, KiB |\n\
             |---|---|---|---|---|---|---|---|\n",
        );
        for mib in self.sizes() {
            for pair in PAIRS {
                let data = self.values(pair, mib, |run| Some(run.data_ms() / 1e3));
                let total = self.values(pair, mib, |run| Some(run.total_ms / 1e3));
                let cpu = self.values(pair, mib, |run| Some(run.cpu_ms / run.mib as f64));
                let host_cpu = self.values(pair, mib, |run| Some(run.host_cpu_ms / run.mib as f64));
                let peak = self.values(pair, mib, |run| Some(run.peak_kib));
                let rate = mib as f64 * 1.048_576 / data.median();
                text += &format!(
                    "| {mib} | {} | {} | {rate:.2} | {} | {:.1} | {:.1} | {:.0} |\n",
                    pair.name,
                    data.spread(),
                    total.spread(),
                    cpu.median(),
                    host_cpu.median(),
                    peak.most(),
                );
            }
        }
        text
    }

    /// What is expected something of.
    fn figures(&self) -> [Figure; 6] {
        let median = |pair, of: fn(&Run) -> f64| self.values(pair, BAR_MIB, |run| Some(of(run))).median();
        let total = |run: &Run| run.total_ms;
        let longest = |of: fn(&Run) -> Option<f64>| {
            let values = self.sizes().into_iter().map(|mib| self.values(OURS, mib, of).most());
            values
                .chain(self.sizes().into_iter().map(|mib| self.values(STOCK, mib, of).most()))
                .fold(f64::NAN, f64::max)
        };
        [
            Figure {
                what: "dfu-util in all, inbandd against the device that throws away",
                value: median(STOCK, total) / median(SINK, total),
                bar: Wanted::AtMost(WORK),
            },
            Figure {
                what: "the same, data phase",
                value: median(STOCK, Run::data_ms) / median(SINK, Run::data_ms),
                bar: Wanted::AtMost(WORK),
            },
            Figure {
                what: "inbandd in all, dfu-util against inband",
                value: median(STOCK, total) / median(OURS, total),
                bar: Wanted::AtLeast(HOST),
            },
            Figure {
                what: "the same, data phase",
                value: median(STOCK, Run::data_ms) / median(OURS, Run::data_ms),
                bar: Wanted::AtLeast(1.0),
            },
            Figure {
                what: "longest from DETACH to the DFU-mode device, ms",
                value: longest(|run| Some(run.dfu_mode_ms? - run.detach_ms?)),
                bar: Wanted::AtMost(DETACH_MS),
            },
            Figure {
                what: "slowest answer to a control request, ms",
                value: longest(|run| Some(run.slowest_us? / 1e3)),
                bar: Wanted::AtMost(ANSWER_MS),
            },
        ]
    }

    fn picture(&self) -> String {
        let panel = |mib| {
            let bar = |pair: Pair| {
                let median = |of: fn(&Run) -> f64| self.values(pair, mib, |run| Some(of(run) / 1e3)).median();
                let total = self.values(pair, mib, |run| Some(run.total_ms / 1e3));
                Bar {
                    label: pair.name,
                    parts: [
                        median(|run| run.begin_ms),
                        median(Run::data_ms),
                        median(|run| run.total_ms - run.end_ms),
                    ],
                    range: [total.least(), total.most()],
                }
            };
            Panel { title: format!("{mib} MiB"), bars: PAIRS.map(bar).to_vec() }
        };
        let title = "Plain DFU on dummy_hcd: seconds to the first byte, for the data, and behind the verdict";
        plot::draw(title, &self.sizes().into_iter().map(panel).collect::<Vec<_>>())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Runs of 32 MiB: host, device, first byte, verdict, end.
    fn runs(of: &[(&str, &str, f64, f64, f64)]) -> Runs {
        let line = |&(host, device, begin, end, total): &(&str, &str, f64, f64, f64)| {
            guest::parse(&format!(
                r#"{{"device":"{device}","host":"{host}","mib":32,"round":1,"exit":0,"total_ms":{total},"begin_ms":{begin},"end_ms":{end},"cpu_ms":320,"host_cpu_ms":160,"peak_kib":4000,"slowest_us":1500}}"#
            ))
            .unwrap()
        };
        Runs(of.iter().map(line).collect())
    }

    #[test]
    fn medians_are_of_each_pair_by_itself() {
        let runs = runs(&[
            ("dfu-util", "sink", 5000.0, 15000.0, 15000.0),
            ("dfu-util", "inbandd", 5000.0, 15000.0, 15100.0),
            ("dfu-util", "inbandd", 5000.0, 45000.0, 45100.0),
            ("dfu-util", "inbandd", 5000.0, 15500.0, 15600.0),
            ("inband", "inbandd", 1000.0, 11000.0, 11000.0),
        ]);
        assert!(runs.table().contains("| 32 | dfu-util, inbandd | 10.50 (10.00 to 40.00) | 3.20 | 15.60 (15.10 to 45.10) | 10.0 | 5.0 | 4000 |"));
        let bars = runs.figures().map(|figure| figure.to_string()).join("\n");
        assert!(bars.contains("data phase: 1.050, wanted at most 1.1: holds"), "{bars}");
        assert!(bars.contains("dfu-util against inband: 1.418, wanted at least 1.3: holds"), "{bars}");
        assert!(bars.contains("control request, ms: 1.500, wanted at most 100: holds"), "{bars}");
        assert!(
            bars.contains("device, ms: NaN, wanted at most 1000: DOES NOT HOLD"),
            "what was not measured holds nothing: {bars}"
        );
    }

    #[test]
    fn what_is_no_measurement_is_said() {
        assert!(guest::parse::<Run>(r#"{"device":"sink"}"#).unwrap_err().contains("missing field"));
    }

    #[test]
    fn the_picture_shows_each_pair_once_a_size() {
        let picture = runs(&[("dfu-util", "sink", 5000.0, 15000.0, 15000.0)]).picture();
        for pair in PAIRS {
            assert_eq!(picture.matches(pair.name).count(), 1);
        }
        assert!(picture.contains("15.0 s"));
    }
}
