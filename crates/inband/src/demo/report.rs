//! What the demo shows, and its final table.

use std::{fmt::Display, time::Duration};

use inband_dfu::host::InterfaceMode;
use inband_session::ResultCode;
use serde::Serialize;

use crate::{
    bmc::Bmc,
    commands::facts::{Facts, mode_name},
    error::Error,
    output::Output,
    text::{Table, bcd, bytes, in_slot, per_second, seconds, shown},
    update::event::{Event, milliseconds},
};

#[derive(Serialize)]
struct Step<'a> {
    number: usize,
    title: &'a str,
}

#[derive(Serialize)]
struct Verdict {
    what: String,
    expected: String,
    seen: String,
    as_expected: bool,
}

#[derive(Serialize)]
struct Descriptors {
    mode: &'static str,
    vendor_id: String,
    product_id: String,
    bcd_device: String,
    manufacturer: Option<String>,
    product: Option<String>,
    serial: Option<String>,
    interfaces: Vec<String>,
    transfer_size: u16,
    attributes: u8,
}

/// What an update cost.
#[derive(Serialize)]
struct Transfer {
    what: String,
    /// Bytes of the package.
    length: u64,
    /// Bytes that were sent.
    sent: u64,
    /// Until the BMC had checked and staged it; of one that was stopped nothing is known.
    elapsed_ms: Option<u64>,
}

#[derive(Serialize)]
struct Summary {
    verdicts: usize,
    unexpected: usize,
    elapsed_ms: u64,
}

/// Shows a demo as it goes and keeps its verdicts.
pub(super) struct Report<'a> {
    output: &'a mut Output,
    steps: usize,
    verdicts: Vec<Verdict>,
    transfers: Vec<Transfer>,
}

impl<'a> Report<'a> {
    pub(super) const fn new(output: &'a mut Output) -> Self {
        Self { output, steps: 0, verdicts: Vec::new(), transfers: Vec::new() }
    }

    pub(super) const fn output(&mut self) -> &mut Output {
        self.output
    }

    /// A new step begins.
    pub(super) fn step(&mut self, title: &str) {
        self.steps += 1;
        let gap = if self.steps == 1 { "" } else { "\n" };
        self.output.text(format_args!("{gap}{}. {title}", self.steps));
        self.output.json("demo-step", &Step { number: self.steps, title });
    }

    /// A line of the present step, for people.
    pub(super) fn line(&mut self, text: impl Display) {
        self.output.text(format_args!("   {text}"));
    }

    /// The descriptors a BMC shows.
    pub(super) fn descriptors(&mut self, bmc: &Bmc) {
        let text = |text: &Option<String>| text.as_deref().map_or_else(|| "-".to_owned(), shown);
        let strings = &bmc.strings;
        self.line(format_args!(
            "device {:04x}:{:04x}, bcdDevice {}, \"{}\" \"{}\", serial {}",
            bmc.vendor_id,
            bmc.product_id,
            bcd(bmc.device_version),
            text(&strings.manufacturer),
            text(&strings.product),
            text(&strings.serial)
        ));
        let functional = bmc.interface().functional;
        for interface in &bmc.interfaces {
            let what = if interface.number == bmc.interface().number {
                let mode = match bmc.mode() {
                    InterfaceMode::Runtime => "run-time",
                    InterfaceMode::Dfu => "DFU mode",
                };
                format!(
                    "DFU {}, {mode}; wTransferSize {}, bmAttributes {:02x}h",
                    bcd(functional.dfu_version),
                    functional.transfer_size,
                    functional.attributes.0
                )
            } else if bmc.bulk().is_some_and(|bulk| bulk.number == interface.number) {
                "bulk".to_owned()
            } else {
                "not DFU".to_owned()
            };
            self.line(format_args!(
                "interface {}: {:02x}/{:02x}/{:02x} ({what})",
                interface.number, interface.class, interface.subclass, interface.protocol
            ));
        }
        let descriptors = Descriptors {
            mode: mode_name(bmc.mode()),
            vendor_id: format!("{:04x}", bmc.vendor_id),
            product_id: format!("{:04x}", bmc.product_id),
            bcd_device: bcd(bmc.device_version),
            manufacturer: strings.manufacturer.clone(),
            product: strings.product.clone(),
            serial: strings.serial.clone(),
            interfaces: bmc
                .interfaces
                .iter()
                .map(|it| format!("{:02x}/{:02x}/{:02x}", it.class, it.subclass, it.protocol))
                .collect(),
            transfer_size: functional.transfer_size,
            attributes: functional.attributes.0,
        };
        self.output.json("descriptors", &descriptors);
    }

    /// The slots of a BMC.
    pub(super) fn slots(&mut self, facts: &Facts) {
        for slot in &facts.slots {
            let version = if slot.version.is_empty() { "nothing".to_owned() } else { shown(&slot.version) };
            let mut notes = String::new();
            if slot.slot == facts.running {
                notes.push_str(", running");
            }
            if slot.slot == facts.boots_next && facts.boots_next != facts.running {
                notes.push_str(", boots next");
            }
            self.line(format_args!("slot {}: {version} ({}{notes})", slot.slot, slot.state));
        }
        self.output.json("status", facts);
    }

    /// What happened in an update to a package of so many bytes.
    pub(super) fn update(&mut self, what: &str, length: u64, events: &[Event]) {
        let (mut went, mut elapsed) = (0, None);
        for event in events {
            match event {
                Event::Need { chunks, needed_chunks, .. } => {
                    self.line(format_args!("the BMC asks for {needed_chunks} of {chunks} chunks"));
                }
                Event::Progress { sent, .. } => went = *sent,
                Event::Sent { total, elapsed_ms, .. } => {
                    (went, elapsed) = (*total, Some(*elapsed_ms));
                    let time = Duration::from_millis(*elapsed_ms);
                    self.line(format_args!(
                        "sent and checked by the BMC: {} in {}",
                        bytes(went),
                        seconds(time)
                    ));
                }
                Event::Staged { slot, version } => {
                    self.line(format_args!(
                        "staged: version {}{}",
                        shown(version),
                        in_slot(" in slot", *slot)
                    ));
                }
                Event::Opened { door, nonce, holds_s, .. } => {
                    self.line(format_args!("a start by IPMI opens {door}: nonce {nonce}, holds {holds_s} s"));
                }
                Event::Shut => self.line("the door is shut again"),
                Event::Activated { slot, version, .. } => {
                    self.line(format_args!(
                        "the BMC restarted: version {} runs{}",
                        shown(version),
                        in_slot(" from slot", *slot)
                    ));
                }
                Event::Package { .. }
                | Event::Tar { .. }
                | Event::Door { .. }
                | Event::NotOpened { .. }
                | Event::StillOpen { .. }
                | Event::Cleared { .. }
                | Event::Ejected
                | Event::Lost { .. }
                | Event::Back { .. }
                | Event::Device { .. }
                | Event::UpToDate { .. }
                | Event::Detach
                | Event::DfuMode { .. }
                | Event::Start { .. }
                | Event::WaitActivation => {}
            }
        }
        if elapsed.is_none() {
            self.line(format_args!("stopped when {} were sent", bytes(went)));
        }
        let transfer = Transfer { what: what.to_owned(), length, sent: went, elapsed_ms: elapsed };
        self.output.json("transfer", &transfer);
        self.transfers.push(transfer);
    }

    /// A refusal, and how the BMC stands after it.
    pub(super) fn refusal(&mut self, what: &str, seen: &str, after: &Facts) {
        let meaning =
            ResultCode::ALL.into_iter().find(|code| code.name() == seen).map_or("", ResultCode::meaning);
        self.line(format_args!("{what}"));
        self.line(format_args!("    {seen}: {meaning}"));
        self.line(format_args!(
            "    the BMC still runs {} from slot {}",
            shown(after.version(after.running)),
            after.running
        ));
    }

    /// What was expected and what was seen.
    pub(super) fn verdict(&mut self, what: &str, expected: &str, seen: &str) {
        let as_expected = expected == seen;
        let (what, expected, seen) = (what.to_owned(), expected.to_owned(), seen.to_owned());
        let verdict = Verdict { what, expected, seen, as_expected };
        self.output.json("verdict", &verdict);
        self.verdicts.push(verdict);
    }

    /// What the updates cost, side by side.
    fn costs(&mut self, elapsed: Duration) {
        self.step("What it cost, over USB/IP on this machine");
        let mut table = Table::new(&["UPDATE", "SENT", "OF", "TIME", "PACKAGE/S"]);
        for Transfer { what, length, sent, elapsed_ms } in &self.transfers {
            let time = elapsed_ms.map(Duration::from_millis);
            let rate = time.and_then(|time| per_second(*length, time));
            table.row([
                what.clone(),
                bytes(*sent),
                bytes(*length),
                time.map_or_else(|| "-".to_owned(), seconds),
                rate.map_or_else(|| "-".to_owned(), |rate| format!("{}/s", bytes(rate))),
            ]);
        }
        for line in table.to_string().lines() {
            self.line(line);
        }
        self.output.text(format_args!("\nthe demo took {}", seconds(elapsed)));
    }

    /// The final tables.
    pub(super) fn finish(mut self, elapsed: Duration) -> Result<(), Error> {
        self.step("Verdicts");
        let mut table = Table::new(&["WHAT", "EXPECTED", "SEEN", ""]);
        for verdict in &self.verdicts {
            table.row([
                verdict.what.clone(),
                shown(&verdict.expected),
                shown(&verdict.seen),
                if verdict.as_expected { "as expected" } else { "NOT AS EXPECTED" }.to_owned(),
            ]);
        }
        for line in table.to_string().lines() {
            self.line(line);
        }
        let failed = self.verdicts.iter().filter(|verdict| !verdict.as_expected).count();
        let all = self.verdicts.len();
        self.costs(elapsed);
        self.output
            .json("demo", &Summary { verdicts: all, unexpected: failed, elapsed_ms: milliseconds(elapsed) });
        if failed == 0 { Ok(()) } else { Err(Error::Demo { failed, all }) }
    }
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;
    use crate::output::Verbosity;

    fn finished(seen: &str) -> Result<(), Error> {
        let mut output =
            Output::to_streams(Box::new(io::sink()), Box::new(io::sink()), false, Verbosity::Normal);
        let mut report = Report::new(&mut output);
        report.verdict("a good package", "ok", "ok");
        report.verdict("a forged package", "bad-chunk", seen);
        report.finish(Duration::ZERO)
    }

    #[test]
    fn one_verdict_that_was_not_expected_fails_the_demo() {
        assert!(finished("bad-chunk").is_ok());
        let failure = finished("ok").unwrap_err();
        assert!(matches!(failure, Error::Demo { failed: 1, all: 2 }), "{failure}");
        assert_eq!(failure.exit_code(), 20);
    }
}
