//! What can be seen of a BMC, and what has changed, in the words of the tables.

use std::time::Duration;

use inband_dfu::wire::State;
use inband_session::{Door, DoorState, ResultCode, SessionState};
use inband_store::Slot;
use inband_virtual::memory::MemoryHost;
use inband_volume::bot::host::Data;

use super::{event::Outcome, stage::Stage};
use crate::{
    bench::{Bench, GEOMETRY, VOLUME_PRODUCT, get_state},
    disk_host::{Disk, NO_MEDIUM},
    fat::FREE,
};

/// What is on the bus.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Set {
    Nothing,
    /// Run time, without the disk.
    Bare,
    /// Run time, with it.
    Disk,
    Dfu,
}

/// What is in the drive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Drive {
    Empty,
    /// A medium with a package on it, or part of one, or other files.
    Written,
    /// What a medium says that is as it came, and its generation.
    Says(String, String),
}

/// What a host sees.
pub(super) struct Look {
    set: Set,
    /// How often the host has seen it come.
    comes: u64,
    dfu: Option<State>,
    drive: Option<Drive>,
    session: (u32, SessionState, Option<ResultCode>),
    running: Slot,
    doors: [DoorState; 2],
    waits: bool,
    held: bool,
}

pub(crate) fn set(bench: &Bench) -> Set {
    if bench.is_hidden() {
        return Set::Nothing;
    }
    bench.wait_attached();
    match bench.bus.descriptors().unwrap().product_id {
        VOLUME_PRODUCT => Set::Disk,
        _ if bench.in_dfu_mode() => Set::Dfu,
        _ => Set::Bare,
    }
}

/// Opens the disk, as a host that has just noticed it.
pub(crate) fn disk(bench: &Bench) -> Disk<MemoryHost> {
    let mut disk = Disk::open(bench.open());
    // Another medium, if it is another.
    _ = disk.ready();
    disk
}

/// Whether the disk says that it has a filesystem.
pub(crate) fn is_fat(disk: &mut Disk<MemoryHost>) -> bool {
    let inquiry = disk.command(&[0x12, 0, 0, 0, 36, 0], Data::In(36)).unwrap();
    inquiry[16..].starts_with(b"FIRMWARE FAT")
}

pub(crate) fn drive(bench: &Bench) -> Drive {
    let mut disk = disk(bench);
    let fat = is_fat(&mut disk);
    match disk.ready() {
        Ok(()) => {}
        Err(NO_MEDIUM) => return Drive::Empty,
        other => panic!("{other:?}"),
    }
    if !fat {
        let text = String::from_utf8_lossy(&disk.read(0, 1).unwrap()).into_owned();
        let value = |key: &str| text.lines().find_map(|line| line.strip_prefix(key)).unwrap().to_owned();
        let as_it_came = text.starts_with("SPEC=INBAND-RAW-1\r\n");
        return if as_it_came { Drive::Says(value("STATE="), value("GENERATION=")) } else { Drive::Written };
    }
    let root = disk.read(GEOMETRY.root(), 1).unwrap();
    if root[FREE as usize * 32..].iter().any(|byte| *byte != 0) {
        return Drive::Written;
    }
    let says = match &root[3 * 32..][..11] {
        b"READY   TXT" => "READY",
        b"BUSY    TXT" => "REFUSED",
        b"PASS    TXT" => "PASS",
        b"FAIL    TXT" => "FAIL",
        other => panic!("{other:?}"),
    };
    Drive::Says(says.into(), format!("{:x?}", &disk.read(0, 1).unwrap()[39..43]))
}

impl Stage {
    pub(super) fn look(&self) -> Look {
        let bench = &self.bench;
        let set = set(bench);
        let dfu = (set == Set::Dfu).then(|| match get_state(&mut bench.open()).unwrap() {
            // One and the same, but for whether bwPollTimeout is over.
            State::DfuDnloadSync => State::DfuDnbusy,
            state => state,
        });
        let drive = (set == Set::Disk).then(|| drive(bench));
        let status = bench.status();
        Look {
            set,
            comes: bench.bus.generation(),
            dfu,
            drive,
            session: (status.session, status.state, status.result()),
            running: status.running,
            doors: [status.door_state(Door::Dfu), status.door_state(Door::Volume)],
            waits: status.wait_minutes > 0,
            held: bench.restart_is_held(),
        }
    }

    /// Lets what follows follow.
    pub(super) fn settle(&self) {
        settle(&self.bench);
    }
}

/// Lets what follows follow.
pub(super) fn settle(bench: &Bench) {
    bench.bus.advance(Duration::from_secs(3));
    bench.wait_attached();
}

const fn dfu_name(state: State) -> &'static str {
    match state {
        State::DfuIdle => "dfuIDLE",
        State::DfuDnloadIdle => "dfuDNLOAD-IDLE",
        State::DfuDnbusy => "dfuDNBUSY",
        State::DfuError => "dfuERROR",
        State::AppIdle
        | State::AppDetach
        | State::DfuDnloadSync
        | State::DfuManifestSync
        | State::DfuManifest
        | State::DfuManifestWaitReset
        | State::DfuUploadIdle => "another state",
    }
}

fn session_word((_, state, result): (u32, SessionState, Option<ResultCode>)) -> String {
    match (state, result) {
        (SessionState::Receiving, _) => "begins".into(),
        (SessionState::Handover | SessionState::Verifying, _) => "judged".into(),
        (SessionState::Done, _) => "runs".into(),
        (SessionState::PendingConfirm, Some(ResultCode::Ok)) => "on trial".into(),
        (_, Some(result)) => format!("`{result}`"),
        (_, None) => "no result".into(),
    }
}

/// What was answered, and what has changed. `comes_back`: how often the device comes anew by the event itself; `None` where another daemon's does.
pub(super) fn words(outcome: Outcome, before: &Look, after: &Look, comes_back: Option<u64>) -> String {
    let mut words = Vec::new();
    if before.session != after.session {
        words.push(session_word(after.session));
    }
    if before.running != after.running && after.session.1 != SessionState::Done {
        words.push("old firmware".into());
    }
    match (before.set, after.set) {
        (Set::Nothing, Set::Nothing) => {}
        (_, Set::Nothing) => words.push("off the bus".into()),
        (Set::Dfu | Set::Nothing, Set::Bare | Set::Disk) => words.push("run time".into()),
        (_, Set::Dfu) if before.set != Set::Dfu => words.push("DFU mode".into()),
        (Set::Disk, Set::Bare) => words.push("no disk".into()),
        (Set::Bare, Set::Disk) => {}
        _ if comes_back.is_some_and(|times| before.comes + times < after.comes) => words.push("anew".into()),
        _ => {}
    }
    if before.set == Set::Dfu
        && before.dfu != after.dfu
        && let Some(state) = after.dfu
    {
        words.push(dfu_name(state).into());
    }
    if (before.drive != after.drive || comes_back.is_none())
        && let Some(drive) = &after.drive
    {
        words.push(match drive {
            Drive::Empty => "empty".into(),
            Drive::Written => "written".into(),
            Drive::Says(state, _) => state.clone(),
        });
    }
    for (door, (before, after)) in
        ["dfu", "volume"].into_iter().zip(before.doors.into_iter().zip(after.doors))
    {
        if before != after && before != DoorState::Open && after != DoorState::Open {
            words.push(format!("`{door}` {after:?}").to_lowercase());
        }
    }
    if before.waits && !after.waits && after.drive.is_none() {
        words.push("may begin".into());
    }
    if before.held && !after.held && comes_back.is_some() {
        words.push("restarts".into());
    }
    let changes = words.join(", ");
    match outcome {
        Outcome::CannotBe => "–".into(),
        Outcome::NoAnswer if changes.is_empty() => "=".into(),
        Outcome::NoAnswer => changes,
        Outcome::Answer(answer) if changes.is_empty() => answer,
        Outcome::Answer(answer) => format!("{answer}: {changes}"),
    }
}
