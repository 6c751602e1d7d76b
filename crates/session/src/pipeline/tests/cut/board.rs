//! A BMC whose file store lies on a disk of 24 erase blocks of 8 pages: what it runs, how it starts, and whether what it says is so.

use alloc::format;
use std::path::Path;

use inband_store::disk::{BLOCK_PAGES, Disk, Image, PAGE};
use inband_store::file::FileMedium;
use inband_store::{Record, SlotRecord};

use super::super::*;
use crate::door::DoorPolicy;
use crate::session::{Config, Limits, Session};

/// A slot takes ten erase blocks; four are left for records, indexes and their successors.
pub(super) const SLOT_PAGES: usize = 10 * BLOCK_PAGES;
const SLOT: usize = SLOT_PAGES * PAGE;
/// Where the regions begin and end: in the middle of pages, so that neighbours share them.
const KERNEL: (usize, usize) = (0, 12_000);
const ROFS: (usize, usize) = (12_000, 24_800);
/// What an update leaves alone: the last erase block.
const SETTINGS: (usize, usize) = (SLOT - BLOCK_PAGES * PAGE, BLOCK_PAGES * PAGE);
const STORE: &str = "/store";
/// A package has a few marks in the journal.
const MARK_EVERY: u64 = 10_000;

pub(super) type Board = Pipeline<FileMedium<Disk>, KeyRing>;

/// The firmware versions that occur here. The fourth has the kernel of the second, which it replaces.
pub(super) struct Versions([Package; 6]);

impl Versions {
    pub(super) fn new() -> Self {
        let package = |version, security_version, kernel, rofs: (u32, usize)| {
            let (kernel, rofs) = (noise(kernel, 9_001), noise(rofs.0, rofs.1));
            Package::of("board", version, security_version, "kernel", kernel, rofs)
        };
        Self([
            package("1.0", 1, 11, (12, 20_000)),
            package("2.0", 2, 21, (22, 24_001)),
            package("3.0", 2, 31, (32, 20_000)),
            package("4.0", 3, 21, (42, 22_100)),
            package("5.0", 3, 51, (52, 18_000)),
            package("6.0", 4, 61, (62, 22_000)),
        ])
    }

    /// By its first number.
    pub(super) fn get(&self, major: usize) -> &Package {
        &self.0[major - 1]
    }

    /// The next one, that any store here takes.
    pub(super) fn next(&self) -> &Package {
        self.get(6)
    }

    /// Whether the slot holds the very bytes of the firmware that the record names.
    fn holds(&self, slot: &[u8], firmware: &SlotRecord) -> bool {
        let version = firmware.version.as_str();
        self.0.iter().any(|package| package.version == version && package.slot() == slot)
    }
}

impl Package {
    /// The bytes of a slot that holds it.
    pub(super) fn slot(&self) -> Vec<u8> {
        let mut slot = vec![0xff; ROFS.0 + ROFS.1];
        slot[KERNEL.0..][..self.kernel.len()].copy_from_slice(&self.kernel);
        slot[ROFS.0..][..self.rofs.len()].copy_from_slice(&self.rofs);
        slot
    }
}

fn layout() -> Layout {
    let region = |member: &str, (offset, length): (usize, usize)| {
        Region::new("bmc", member, offset as u64, length as u64)
    };
    let regions = vec![region("kernel", KERNEL), region("rofs", ROFS), region("image-rwfs", SETTINGS)];
    Layout::new(SLOT as u64, regions).unwrap()
}

pub(super) fn slot_path(slot: Slot) -> &'static Path {
    Path::new(match slot {
        Slot::A => "/store/slot-a.img",
        Slot::B => "/store/slot-b.img",
    })
}

/// What `inbandd init` does, on a board whose slots are written before its record.
pub(super) fn init(disk: &Disk, versions: &Versions) -> Result<(), StoreError> {
    let mut medium = FileMedium::create_on(disk.clone(), Path::new(STORE), SLOT as u64).unwrap();
    for slot in Slot::ALL {
        let mut bytes = vec![slot.number(); SLOT];
        if slot == Slot::A {
            let firmware = versions.get(1).slot();
            bytes[..firmware.len()].copy_from_slice(&firmware);
        }
        medium.write(slot, 0, &bytes).map_err(StoreError::Write)?;
        medium.sync(slot).map_err(StoreError::Write)?;
    }
    let firmware = Firmware { version: Text::cut("1.0"), bcd_device: 0x0100, security_version: 1 };
    Store::create(&mut medium, &firmware)
}

/// The store as it lies on the disk; nothing is booted or recovered yet.
pub(super) fn open(disk: &Disk) -> Result<Store<FileMedium<Disk>>, String> {
    let medium = FileMedium::open_on(disk.clone(), Path::new(STORE), SLOT as u64);
    let medium = medium.map_err(|error| error.to_string())?;
    Store::open(medium, layout(), Options { mark_every: MARK_EVERY, ..Options::default() })
        .map_err(|error| error.to_string())
}

/// Starts the daemon alone.
pub(super) fn daemon(disk: &Disk) -> Board {
    let mut store = open(disk).unwrap();
    start::recover(&mut store).unwrap();
    pipeline(store, policy())
}

/// A board that runs 3.0 from slot a and has 2.0, confirmed, in slot b.
pub(super) fn board(versions: &Versions) -> Board {
    let disk = Disk::new(Image::blank());
    init(&disk, versions).unwrap();
    let mut board = daemon(&disk);
    for major in [2, 3] {
        whole_update(&mut board, versions.get(major)).unwrap();
    }
    assert_eq!(board.store().running(), Slot::A);
    board
}

/// The next session, to its confirmation.
pub(super) fn whole_update(board: &mut Board, package: &Package) -> Result<(), ResultCode> {
    let id = board.store().record().last_id + 1;
    let target = board.store().running().other();
    update(board, id, package)?;
    assert_eq!(board.boot(), Ok(target), "what was staged boots");
    board.confirm()?;
    assert_eq!(last(board), (id, SessionState::Done, ResultCode::Ok));
    Ok(())
}

/// What any start must find, whatever happened before it. `found` is the record as the start found it.
pub(super) fn check(board: &Board, disk: &Disk, versions: &Versions, found: &Record) -> Result<(), String> {
    let record = board.store().record();
    let running = board.store().running();
    let image = disk.image();
    ensure(record.booted == running, || "the record does not know what runs".to_string())?;
    // Every slot that could be booted holds exactly the version that the record names.
    for slot in Slot::ALL {
        let firmware = record.slot(slot);
        match firmware.state {
            SlotState::Empty | SlotState::Invalid => ensure(slot != running, || "brick".to_string())?,
            SlotState::Staged | SlotState::Trial | SlotState::Good => {
                let bytes = image.file(slot_path(slot)).ok_or("a slot cannot be read")?;
                let settings = &bytes[SETTINGS.0..];
                let kept = settings.iter().all(|&byte| byte == slot.number());
                ensure(kept, || format!("the settings in slot {} are not as they were", slot.name()))?;
                let holds = versions.holds(&bytes[..ROFS.0 + ROFS.1], firmware);
                ensure(holds, || format!("slot {} does not hold {}", slot.name(), firmware.version))?;
            }
        }
    }
    // The floor is what was confirmed, and no start moves it, or gives session ids away.
    let good = record.slots.iter().filter(|slot| slot.state == SlotState::Good);
    let floor = good.map(|slot| slot.security_version).max();
    ensure(floor == Some(record.floor), || format!("the security floor is {}", record.floor))?;
    ensure(record.floor == found.floor, || "a start moved the security floor".to_string())?;
    ensure(record.last_id == found.last_id, || "a start lost session ids".to_string())?;
    ensure(record.session.id <= record.last_id, || "a session id above the highest".to_string())?;
    let next_is_whole = record.choice == running || record.slot(record.choice).state == SlotState::Staged;
    ensure(next_is_whole, || format!("slot {} is chosen", record.choice.name()))?;
    let (state, result) = says(board);
    let truth = match state {
        SessionState::Idle => record.session.id == 0 && result == ResultCode::None,
        SessionState::Interrupted | SessionState::Failed | SessionState::Aborted => !result.is_ok(),
        SessionState::Staged => {
            let target = record.session.target;
            record.slot(target).state == SlotState::Staged
                && target == record.choice
                && target != running
                && result == ResultCode::Ok
        }
        SessionState::PendingConfirm | SessionState::Done => {
            let wanted = match state {
                SessionState::Done => SlotState::Good,
                _ => SlotState::Trial,
            };
            record.slot(running).state == wanted
                && record.session.target == running
                && record.session.version.as_str() == record.slot(running).version.as_str()
                && match (state, record.slot(running).trial.unhealthy) {
                    (SessionState::PendingConfirm, true) => result == ResultCode::Unhealthy,
                    _ => result == ResultCode::Ok,
                }
        }
        SessionState::RolledBack => {
            record.session.target != running
                && record.slot(record.session.target).state == SlotState::Invalid
                && match record.slot(record.session.target).trial.unhealthy {
                    true => result == ResultCode::Unhealthy,
                    false => result == ResultCode::RolledBack,
                }
        }
        SessionState::Receiving
        | SessionState::Handover
        | SessionState::Verifying
        | SessionState::Activating => false,
    };
    ensure(truth, || format!("status says {state}, {result}, and that is not so: {record:?}"))?;
    let on_trial = record.slot(running).state == SlotState::Trial;
    ensure(on_trial == (state == SessionState::PendingConfirm), || format!("{state} on trial: {on_trial}"))
}

/// What the status page tells a host.
fn says(board: &Board) -> (SessionState, ResultCode) {
    let config = Config {
        machine: Text::cut("board"),
        doors: [DoorPolicy::Always; 4],
        limits: Limits::default(),
        takes_ahead: false,
    };
    let status = Session::new(config, board.view()).status(NOW);
    (status.state, ResultCode::from_code(status.result_code).unwrap_or(ResultCode::Internal))
}

/// The next update is taken, up to its confirmation.
pub(super) fn goes_on(board: &mut Board, disk: &Disk, versions: &Versions) -> Result<(), String> {
    if board.store().is_on_trial() {
        board.confirm().map_err(|result| format!("confirming the trial: {result}"))?;
    }
    if let Err(result) = whole_update(board, versions.next()) {
        return Err(format!("the next update fails: {result}, {:?}", board.last_error()));
    }
    let found = board.store().record().clone();
    check(board, disk, versions, &found)
}

pub(super) fn ensure(holds: bool, otherwise: impl FnOnce() -> String) -> Result<(), String> {
    if holds { Ok(()) } else { Err(otherwise()) }
}
