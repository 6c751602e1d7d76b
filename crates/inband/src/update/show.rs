//! Shows the events of an update: a bar on a terminal, plain lines elsewhere, or JSON.

use std::time::{Duration, Instant};

use inband_session::ResultCode;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::event::{Event, Listener};
use crate::{
    output::Output,
    text::{bytes, counted, in_slot, per_second, seconds, shown},
};

/// Least time between two progress events in JSON.
const JSON_INTERVAL: Duration = Duration::from_millis(100);
/// A plain line of progress each so many percent.
const LINE_STEP: u64 = 10;

/// A sink of events for a person or a program.
pub struct Show<'a> {
    output: &'a mut Output,
    /// Somebody else tells what happened: no text but the bar.
    bar_only: bool,
    bar: Option<ProgressBar>,
    /// When the first byte was sent.
    start: Instant,
    /// Percent of the last plain line.
    line: u64,
    /// When the last progress event was written.
    last: Option<Instant>,
}

impl<'a> Show<'a> {
    /// Shows events on an output.
    pub fn new(output: &'a mut Output) -> Self {
        Self::with(output, false)
    }

    /// Shows a bar on a terminal, JSON where that was asked for, and no text.
    pub fn bar_only(output: &'a mut Output) -> Self {
        Self::with(output, true)
    }

    fn with(output: &'a mut Output, bar_only: bool) -> Self {
        Self { output, bar_only, bar: None, start: Instant::now(), line: 0, last: None }
    }

    fn begin(&mut self, total: u64) {
        self.end_bar();
        (self.start, self.line) = (Instant::now(), 0);
        if self.output.wants_bar() {
            let bar = ProgressBar::with_draw_target(Some(total), ProgressDrawTarget::stderr_with_hz(10));
            let style = "{bar:40} {percent:>3} %  {binary_bytes} of {binary_total_bytes}  {binary_bytes_per_sec}  {eta} left";
            if let Ok(style) = ProgressStyle::with_template(style) {
                bar.set_style(style.progress_chars("##-"));
            }
            self.bar = Some(bar);
        }
    }

    fn progress(&mut self, event: &Event, sent: u64, total: u64) {
        if self.output.is_json() {
            if sent == total || self.last.is_none_or(|last| last.elapsed() >= JSON_INTERVAL) {
                // The first bytes that are taken are news, however soon they are.
                self.last = (sent > 0).then(Instant::now);
                self.output.json_event(event);
            }
        } else if let Some(bar) = &self.bar {
            // More may be asked for on the way.
            bar.set_length(total);
            bar.set_position(sent);
        } else if !self.bar_only {
            let percent = sent.saturating_mul(100).checked_div(total).unwrap_or(100);
            let line = percent - percent % LINE_STEP;
            if line > self.line {
                self.line = line;
                let rate = per_second(sent, self.start.elapsed()).filter(|rate| *rate > 0);
                let pace = rate.map_or_else(String::new, |rate| {
                    let left = Duration::from_secs((total - sent.min(total)).div_ceil(rate));
                    let left =
                        if left.is_zero() { String::new() } else { format!(", {} left", seconds(left)) };
                    format!(", {}/s{left}", bytes(rate))
                });
                self.output.note(format_args!("{line:>3} %  {} of {}{pace}", bytes(sent), bytes(total)));
            }
        }
    }

    fn end_bar(&mut self) {
        if let Some(bar) = self.bar.take() {
            bar.finish_and_clear();
        }
    }

    fn text(&mut self, event: &Event) {
        match event {
            Event::Package { machine, version, security_version, length, verified } => {
                let checked = if *verified { "signature verified" } else { "signature left to the BMC" };
                self.output.note(format_args!(
                    "package: version {}, security version {security_version}, for {}, {} ({checked})",
                    shown(version),
                    shown(machine),
                    bytes(*length),
                ));
            }
            Event::Device { path, serial, machine, mode, version, door: _ } => {
                // A disk that somebody has written to tells nothing.
                let told = |text: &str| if text.is_empty() { "-".to_owned() } else { shown(text) };
                self.output.note(format_args!(
                    "BMC:     {} at {path}, serial {}, in {mode} mode, runs {}",
                    told(machine),
                    told(serial.as_deref().unwrap_or_default()),
                    told(version),
                ));
            }
            Event::Tar { length } => self.output.note(format_args!(
                "package: a firmware tar without a head, {} (all checks left to the BMC)",
                bytes(*length)
            )),
            Event::UpToDate { slot, version } => self.output.text(format_args!(
                "up to date: version {} runs already{}; nothing was sent (--allow-same sends it again)",
                shown(version),
                in_slot(", from slot", *slot)
            )),
            Event::Opened { door, nonce, holds_s, .. } => self.output.note(format_args!(
                "the door is shut: a start by IPMI opens {door} (nonce {nonce}, holds {})",
                counted((*holds_s).into(), "second")
            )),
            Event::NotOpened { reason } => {
                self.output.note(format_args!("no door was opened by IPMI: {reason}"));
            }
            Event::Shut => {
                self.end_bar();
                self.output.note("the door is shut again");
            }
            Event::StillOpen { reason, holds_s } => {
                self.end_bar();
                self.output.note(format_args!(
                    "the door may be open still, for {} at most: {reason}",
                    counted((*holds_s).into(), "second")
                ));
            }
            Event::Detach => self.output.note("asking the BMC to enter DFU mode"),
            Event::DfuMode { after_ms } => {
                self.output
                    .note(format_args!("DFU mode after {}", seconds(Duration::from_millis(*after_ms))));
            }
            Event::Door { door, reason } => self.output.note(format_args!("door:    {door}, {reason}")),
            Event::Need { round: 0, needed_chunks: 0, .. } => {
                self.output.note("need:    nothing, the BMC has every chunk");
            }
            Event::Need { round, chunks, needed_chunks, bytes: all, needed } => {
                let word = if *round == 0 { "need:   " } else { "need now:" };
                self.output.note(format_args!(
                    "{word} {needed_chunks} of {chunks} chunks, {} of {}",
                    bytes(*needed),
                    bytes(*all)
                ));
            }
            Event::Cleared { result_code } => {
                let result = ResultCode::from_code(*result_code).map_or("unknown", ResultCode::name);
                self.output
                    .note(format_args!("the disk told of an earlier session ({result}), and was ejected"));
            }
            Event::Ejected => {
                self.end_bar();
                self.output.note("written and ejected; waiting for the BMC's verdict");
            }
            Event::Lost { wait_s } => {
                self.end_bar();
                self.output.note(format_args!(
                    "the BMC has left the bus; waiting up to {wait_s} s for it to be back"
                ));
            }
            Event::Back { mode, after_ms } => self.output.note(format_args!(
                "back in {mode} mode after {}; offering the package again",
                seconds(Duration::from_millis(*after_ms))
            )),
            // These two are no text.
            Event::Start { .. } | Event::Progress { .. } => {}
            Event::Sent { total, saved, elapsed_ms } => {
                self.end_bar();
                let elapsed = Duration::from_millis(*elapsed_ms);
                let rate = per_second(*total, elapsed)
                    .map_or_else(String::new, |rate| format!(", {}/s", bytes(rate)));
                let saved = match saved {
                    0 => String::new(),
                    saved => format!("; {} did not have to be sent", bytes(*saved)),
                };
                self.output.note(format_args!(
                    "sent {} and checked by the BMC in {}{rate}{saved}",
                    bytes(*total),
                    seconds(elapsed)
                ));
            }
            Event::Staged { slot, version } => {
                self.output.text(format_args!(
                    "staged: version {}{}",
                    shown(version),
                    in_slot(" in slot", *slot)
                ));
            }
            Event::WaitActivation => self.output.note("waiting for the BMC to run it"),
            Event::Activated { slot, version, on_trial } => {
                let trial = if *on_trial { ", on trial until the BMC confirms it" } else { "" };
                let slot = in_slot(" from slot", *slot);
                self.output.text(format_args!("running: version {}{slot}{trial}", shown(version)));
            }
        }
    }
}

impl Listener for Show<'_> {
    fn event(&mut self, event: &Event) {
        match event {
            Event::Progress { sent, total } => self.progress(event, *sent, *total),
            _ if self.output.is_json() => self.output.json_event(event),
            Event::Start { total } => self.begin(*total),
            Event::Need { .. } if self.bar_only => {}
            _ if self.bar_only => self.end_bar(),
            _ => self.text(event),
        }
    }
}

impl Drop for Show<'_> {
    fn drop(&mut self) {
        self.end_bar();
    }
}
