//! Every timer of the BMC is in one table (docs/spec/session.md, 4), with its number.

use std::time::Duration;

use inband_session::Limits;

use super::{held, trial, volume};
use crate::config::{Doors, Ipmi, Trial};

/// As the specification writes it.
fn words(time: Duration) -> String {
    let (seconds, milliseconds) = (time.as_secs(), time.subsec_millis());
    match (seconds, milliseconds) {
        (_, 1..) => format!("{seconds}.{} s", milliseconds / 100),
        (3600.., 0) if seconds % 3600 == 0 => format!("{} h", seconds / 3600),
        (120.., 0) if seconds % 60 == 0 => format!("{} min", seconds / 60),
        _ => format!("{seconds} s"),
    }
}

#[test]
fn the_table_of_the_specification_has_every_timer_and_its_number() {
    let (limits, doors, ipmi, proof) =
        (Limits::default(), Doors::default(), Ipmi::default(), Trial::default());
    let seconds = Duration::from_secs;
    let ours = [
        (
            "DFU mode, no request accepted for so long, and the BMC not at work on a block",
            inband_dfu::device::IDLE_LIMIT,
        ),
        (
            "DFU mode, image accepted and manifested, whatever the host asks meanwhile, unless another download begins",
            inband_dfu::device::LEAVE_DELAY,
        ),
        ("Receiving by `dfu` or `bulk`, to the next 64 KiB", limits.progress_time),
        ("Receiving by `volume`, to the next WRITE", limits.volume_progress_time),
        ("Receiving in all", limits.total_time),
        ("the disk's host is gone", volume::GRACE),
        ("no WRITE behind the name of a trigger file", inband_volume::fat::QUIET),
        ("WRITEs behind the name of a trigger file", inband_volume::fat::LONGEST),
        ("the drive is empty between two media", volume::GAP),
        ("a verdict in the drive", volume::VERDICT_TIME),
        ("a verdict in the drive on what is to run at once", volume::ACTIVATE_AFTER),
        ("no memory for a medium", volume::FILL_AGAIN),
        ("a door is armed (`doors.armed_for_s`)", seconds(doors.armed_for_s.into())),
        ("a host has come to DFU mode near that end", inband_session::ENTERED),
        ("that is over, and no session at work in DFU mode any more", held::TO_READ),
        ("the door's time is over, and something else written to the disk, once", volume::SPARED),
        ("a start by IPMI holds (`ipmi.start_holds_s`)", seconds(ipmi.start_holds_s.into())),
        ("a start by IPMI has run out, and its session is at work", inband_ipmi::LOOK_AGAIN),
        ("a tag of IPMI is remembered", inband_ipmi::REPEATED),
        ("a restart is held, the session over, and its host has not left", held::TO_READ),
        ("ten refusals in a row", inband_session::LOCKED),
        ("no refusal", inband_session::FORGET),
        ("a budget that is not full", super::KEEP_BUDGET),
        ("new firmware on trial (`trial.deadline_s`)", seconds(proof.deadline_s.into())),
        ("a health command has failed (`trial.retry_s`)", seconds(proof.retry_s.into())),
        ("a confirmation that the store did not take", super::CONFIRM_AGAIN),
        ("the restart command was started and the BMC is up", trial::RESTART_LIMIT),
        ("a restart of unhealthy firmware has failed", trial::RESTART_AGAIN),
        ("a restart has failed that the host may ask for", trial::RESTART_AGAIN),
    ];
    let text = include_str!("../../../../docs/spec/session.md");
    let (_, table) = text.split_once("## 4. Deadlines").unwrap();
    let lines =
        table.lines().skip_while(|line| !line.starts_with('|')).take_while(|line| line.starts_with('|'));
    let told: Vec<_> = lines
        .skip(2)
        .map(|line| {
            let cells: Vec<_> = line.split('|').map(str::trim).collect();
            (cells[1].to_owned(), cells[2].to_owned())
        })
        .collect();
    let ours: Vec<_> = ours.iter().map(|(what, time)| ((*what).to_owned(), words(*time))).collect();
    assert_eq!(told, ours);
}
