//! `inband update --dry-run`: what would be done, as far as can be told without beginning a session.
//!
//! The bulk protocol has no question that begins none: an OFFER is a session, with its record and out of its budget (docs/spec/bulk.md, 4).
//! So what a BMC lacks is known to nobody before the update; what can be said are bounds.

use std::collections::HashSet;

use inband_bulk::wire::message_length;
use inband_dfu::host::InterfaceMode;
use inband_ipmi::command::Door;
use inband_package::index::MemberKind;
use inband_session::{ResultCode, SessionState, first_block::BLOCK, status::StatusPage};
use serde::Serialize;

use super::{
    ByUsb, Contents, Hidden, Plan, Prepared,
    door::{Choice, Wish},
    handle::Offer,
    volume,
};
use crate::{
    output::Output,
    text::{bytes, counted, shown_path},
};

#[derive(Serialize)]
struct DryRun {
    path: String,
    door: &'static str,
    reason: String,
    /// Chunks there are.
    chunks: usize,
    /// Bytes that go over the wire, at least and at most.
    least: u64,
    most: u64,
    /// Bytes that are written into the slot, at most.
    flash: u64,
    /// `None` if only the disk of the BMC tells.
    slot: Option<&'static str>,
    /// Bytes that the BMC has of this very package, from a session that was not finished.
    received: u64,
    /// The door that a start by IPMI would open; `None` if it is open.
    opens: Option<&'static str>,
    steps: Vec<String>,
}

/// Says what an update would do. Nothing changes by that, on the BMC or here.
pub fn run(plan: &Plan<'_>, prepared: &Prepared, output: &mut Output) {
    match prepared {
        Prepared::Usb(prepared) => by_usb(plan, prepared, output),
        Prepared::Disk(prepared) => by_disk(plan, prepared, output),
        Prepared::Hidden(prepared) => by_start(plan, prepared, output),
    }
}

fn by_usb(plan: &Plan<'_>, prepared: &ByUsb, output: &mut Output) {
    let &ByUsb { ref contents, ref bmc, ref status, choice, offer } = prepared;
    let (least, most) = on_the_wire(contents, choice);
    let mut report = DryRun {
        path: bmc.place.to_string(),
        door: choice.door().name(),
        reason: choice.reason(plan.door),
        chunks: contents.load().chunks(),
        least,
        most,
        flash: in_the_slot(contents),
        slot: Some(status.running.other().name()),
        received: received(contents, status),
        opens: offer.map(Offer::name),
        steps: Vec::new(),
    };
    report.steps.push(match bmc.mode() {
        InterfaceMode::Runtime => "ask the BMC to enter DFU mode, and follow it there".to_owned(),
        InterfaceMode::Dfu => "clear up what an earlier session left in DFU mode".to_owned(),
    });
    report.steps.push(send_step(&report, choice, bmc.interface().block_size()));
    report.steps.push(slot_step(&report));
    report.steps.push("let the BMC return to run-time".to_owned());
    tell(report, plan, output);
}

fn by_disk(plan: &Plan<'_>, prepared: &volume::Prepared, output: &mut Output) {
    let contents = &prepared.contents;
    // Whole blocks.
    let sent = contents.length().next_multiple_of(BLOCK as u64);
    let mut report = DryRun {
        path: prepared.disk.place.to_string(),
        door: "volume",
        reason: prepared.reason.clone(),
        chunks: contents.load().chunks(),
        least: sent,
        most: sent,
        flash: in_the_slot(contents),
        slot: prepared.slot(),
        received: 0,
        opens: None,
        steps: Vec::new(),
    };
    report.steps.push(
        "eject the disk if it tells of an earlier session, and wait for one that takes a package".to_owned(),
    );
    report.steps.push(format!(
        "write {} to {} and eject it; the BMC checks every byte and stages the firmware",
        bytes(sent),
        shown_path(&prepared.disk.file)
    ));
    report.steps.push(slot_step(&report));
    report.steps.push("read the verdict from the disk that comes back, and eject that".to_owned());
    tell(report, plan, output);
}

/// What can be said of a door that is on the bus behind a start.
fn by_start(plan: &Plan<'_>, prepared: &Hidden, output: &mut Output) {
    let Hidden { contents, place, status, offer } = prepared;
    let (least, most) = match offer.door {
        Door::Bulk => on_the_wire(contents, Choice::Bulk(None)),
        Door::Dfu => (contents.length(), contents.length()),
        Door::Volume(_) => {
            let sent = contents.length().next_multiple_of(BLOCK as u64);
            (sent, sent)
        }
    };
    let mut report = DryRun {
        path: place.to_string(),
        door: offer.name(),
        reason: match plan.door {
            Wish::Fastest => "the fastest that a start opens".to_owned(),
            Wish::Dfu | Wish::Bulk | Wish::Volume => "as --door says".to_owned(),
        },
        chunks: contents.load().chunks(),
        least,
        most,
        flash: in_the_slot(contents),
        slot: Some(status.running.other().name()),
        received: received(contents, status),
        opens: Some(offer.name()),
        steps: Vec::new(),
    };
    let (least, most) = (bytes(least), bytes(most));
    report.steps.push("wait until it is on the bus".to_owned());
    report.steps.push(format!(
        "send between {least} and {most} by {}; the BMC checks every byte and stages the firmware",
        offer.name()
    ));
    report.steps.push(slot_step(&report));
    tell(report, plan, output);
}

fn slot_step(report: &DryRun) -> String {
    let slot =
        report.slot.map_or_else(|| "the slot that does not run".to_owned(), |slot| format!("slot {slot}"));
    format!(
        "have the BMC write {} into {slot}, at most: what stands there already it does not write",
        bytes(report.flash)
    )
}

fn tell(mut report: DryRun, plan: &Plan<'_>, output: &mut Output) {
    if let Some(door) = report.opens {
        report.steps.insert(0, format!("open the door {door}, which is shut, by IPMI"));
        report.steps.push("shut the door again".to_owned());
    }
    if let Some(limit) = plan.wait {
        report.steps.push(format!("wait up to {} s until the BMC runs it", limit.as_secs()));
    }
    output.text("nothing was sent; an update would");
    for step in &report.steps {
        output.text(format_args!("  - {step}"));
    }
    output.json("dry-run", &report);
}

fn send_step(report: &DryRun, choice: Choice, block: u16) -> String {
    let (least, most) = (bytes(report.least), bytes(report.most));
    match choice {
        Choice::Dfu(reason) => format!(
            "send {most} by dfu ({reason}) in blocks of {block} bytes; the BMC checks every byte and stages the firmware"
        ),
        Choice::Bulk(_) if report.least == report.most => {
            format!("send {most} by bulk; the BMC checks every byte and stages the firmware")
        }
        Choice::Bulk(_) => {
            let had = match report.received {
                0 => String::new(),
                had => format!(", of which it has received {} before", bytes(had)),
            };
            format!(
                "send by bulk {least} (head, signatures and index), and of {} what the BMC lacks, {most} in all at most{had}; \
                 it checks every byte and stages the firmware",
                counted(report.chunks, "chunk")
            )
        }
    }
}

/// Bytes that go over the wire, at least and at most.
fn on_the_wire(contents: &Contents, choice: Choice) -> (u64, u64) {
    let whole = contents.length();
    let package = match (choice, contents) {
        (Choice::Dfu(_), _) => return (whole, whole),
        (Choice::Bulk(_), Contents::Package(package)) => package,
        (Choice::Bulk(_), Contents::Tar(_)) => {
            let sent = inband_bulk::wire::pieces(whole).into_iter().map(message_length).sum::<u64>();
            let sent = sent.saturating_add(message_length(inband_bulk::wire::WHOLE_LENGTH as u32));
            return (sent, sent);
        }
    };
    // At most 560,640 (bulk.md, 3.2).
    let offer = u32::try_from(inband_package::spans::beginning(&package.head)).unwrap_or(u32::MAX);
    let least = message_length(offer);
    // Of chunks with the same content one is sent, and of metadata none is kept.
    let mut distinct = HashSet::new();
    let chunks = package.index.members.iter().flat_map(|member| &member.chunks);
    let sent = chunks.map(|chunk| chunk.sent()).filter(|sent| distinct.insert(sent.digest));
    (least, sent.fold(least, |sum, chunk| sum.saturating_add(message_length(chunk.length))))
}

/// Bytes of images, as they stand in a slot.
fn in_the_slot(contents: &Contents) -> u64 {
    match contents {
        Contents::Package(package) => {
            let images = package.index.members.iter().filter(|member| member.kind == MemberKind::Image);
            images.fold(0, |sum, member| sum.saturating_add(member.length))
        }
        Contents::Tar(length) => *length,
    }
}

/// What a session that was not finished has received of this very package.
fn received(contents: &Contents, status: &StatusPage) -> u64 {
    let ended_early = match status.state {
        SessionState::Interrupted | SessionState::Aborted => true,
        SessionState::Failed => {
            matches!(status.result(), Some(ResultCode::Disconnected | ResultCode::Timeout))
        }
        _ => false,
    };
    match contents {
        Contents::Package(_) if ended_early && contents.is_session_of(status) => status.received.into(),
        Contents::Package(_) | Contents::Tar(_) => 0,
    }
}
