//! The device leaves in the middle of a command, or is reset.

use alloc::{format, string::String, vec, vec::Vec};

use inband_usb::{Direction, HostDevice, HostTransfer, TransferId};

use super::{
    Bench, Outcome, Session,
    session::{PATIENCE, cdb10, ensure},
};
use crate::{bot::wire::CBW_LENGTH, scsi::BLOCK, testing::pattern};

/// Brings a command to a step, and returns what is in flight there.
pub(super) type Fault<U> = fn(&mut Session<'_, U>) -> Result<Vec<TransferId>, String>;

pub(super) fn all<U: HostDevice>() -> Vec<(&'static str, Fault<U>)> {
    vec![
        ("between-commands", |_| Ok(Vec::new())),
        ("in-cbw", in_cbw),
        ("behind-cbw", behind_cbw),
        ("in-data-in", in_data_in),
        ("in-data-out", in_data_out),
        ("in-csw", in_csw),
        ("csw-unread", csw_unread),
        ("halted", halted),
        ("behind-a-bad-cbw", behind_a_bad_cbw),
    ]
}

/// 120 KiB, as of a Linux host.
const BLOCKS: u16 = 240;

pub(super) fn run<B: Bench>(bench: &mut B, fault: Fault<B::Usb>) -> Outcome {
    let between = bench.between();
    let mut disk = bench.open()?;
    let mut session = Session::new(&mut disk, between);
    session.recover()?;
    session.ready()?;
    session.works()?;
    let flights = fault(&mut session)?;
    let anew = bench.pull()?;
    for id in flights.into_iter().filter(|_| anew) {
        // However it ends, it ends. A transfer that had come to its end before is no fault of anybody's.
        let before = disk.usb.now();
        let _ = disk.usb.finish(id, PATIENCE);
        let waited = disk.usb.now().saturating_sub(before);
        ensure(&format!("a transfer in flight ends: {waited:?}"), waited < PATIENCE)?;
    }
    drop(disk);
    let mut disk = bench.open()?;
    let mut session = Session::new(&mut disk, between);
    if !anew {
        session.recover()?;
    }
    session.ready()?;
    session.works()
}

fn send<U: HostDevice>(disk: &mut Session<'_, U>, direction: Direction, length: u32, cdb: &[u8]) -> Outcome {
    let cbw = disk.cbw(direction, length, cdb);
    disk.send(&cbw.to_bytes()).map_err(|error| format!("the CBW: {error}"))
}

fn submit<U: HostDevice>(disk: &mut Session<'_, U>, transfer: HostTransfer) -> Result<TransferId, String> {
    disk.usb.submit(transfer).map_err(|error| format!("{error}"))
}

/// Behind a command whose CSW waits, and a CBW that does too, a third one is not taken.
fn in_cbw<U: HostDevice>(disk: &mut Session<'_, U>) -> Result<Vec<TransferId>, String> {
    send(disk, Direction::Out, 0, &[0; 6])?;
    send(disk, Direction::Out, 0, &[0; 6])?;
    let data = disk.cbw(Direction::Out, 0, &[0; 6]).to_bytes().to_vec();
    let endpoint = disk.output;
    Ok(vec![submit(disk, HostTransfer::BulkOut { endpoint, data })?])
}

fn behind_cbw<U: HostDevice>(disk: &mut Session<'_, U>) -> Result<Vec<TransferId>, String> {
    send(disk, Direction::In, u32::from(BLOCKS) * BLOCK as u32, &cdb10(0x28, 0, BLOCKS))?;
    Ok(Vec::new())
}

/// Some is read, and the rest on its way.
fn in_data_in<U: HostDevice>(disk: &mut Session<'_, U>) -> Result<Vec<TransferId>, String> {
    behind_cbw(disk)?;
    disk.receive(20 * BLOCK).map_err(|error| format!("{error}"))?;
    let (endpoint, length) = (disk.input, usize::from(BLOCKS - 20) * BLOCK);
    Ok(vec![submit(disk, HostTransfer::BulkIn { endpoint, length })?])
}

/// Some is sent, and some is on its way; then the device waits for more.
fn in_data_out<U: HostDevice>(disk: &mut Session<'_, U>) -> Result<Vec<TransferId>, String> {
    send(disk, Direction::Out, u32::from(BLOCKS) * BLOCK as u32, &cdb10(0x2a, 0, BLOCKS))?;
    disk.send(&pattern(3, 40 * BLOCK)).map_err(|error| format!("{error}"))?;
    // And more is on its way.
    let (endpoint, data) = (disk.output, pattern(4, 140 * BLOCK));
    Ok(vec![submit(disk, HostTransfer::BulkOut { endpoint, data })?])
}

/// The host waits for a CSW that does not come: its data is not all there.
fn in_csw<U: HostDevice>(disk: &mut Session<'_, U>) -> Result<Vec<TransferId>, String> {
    send(disk, Direction::Out, BLOCK as u32, &cdb10(0x2a, 0, 1))?;
    let endpoint = disk.input;
    Ok(vec![submit(disk, HostTransfer::BulkIn { endpoint, length: BLOCK })?])
}

fn csw_unread<U: HostDevice>(disk: &mut Session<'_, U>) -> Result<Vec<TransferId>, String> {
    send(disk, Direction::Out, 0, &[0; 6])?;
    Ok(Vec::new())
}

/// Short data was read, its halt was not cleared.
fn halted<U: HostDevice>(disk: &mut Session<'_, U>) -> Result<Vec<TransferId>, String> {
    send(disk, Direction::In, 4096, &cdb10(0x28, 0, 2))?;
    let stalled = disk.receive(4096).is_err();
    ensure("IN is halted", stalled)?;
    Ok(Vec::new())
}

fn behind_a_bad_cbw<U: HostDevice>(disk: &mut Session<'_, U>) -> Result<Vec<TransferId>, String> {
    disk.send(&[0; CBW_LENGTH]).map_err(|error| format!("{error}"))?;
    Ok(Vec::new())
}
