//! A medium in memory that fails, loses power and forgets on request: for tests and fuzzing.

use alloc::collections::VecDeque;
use alloc::format;
use alloc::vec;
use alloc::vec::Vec;

use crate::medium::{Medium, MediumError, MediumErrorKind, check_range};
use crate::record::{Place, Slot};

/// What a power cut does to bytes that were not durable: to those written and not synchronised, and to those of the very
/// operation that it hits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Loss {
    /// All are lost.
    All,
    /// None is lost: the cut came just behind them.
    None,
    /// Every other write is lost, and the last one is torn in the middle.
    Some,
    /// Those of the operation that it hits are kept, all others are lost.
    Older,
}

impl Loss {
    /// Each of them.
    pub const ALL: [Self; 4] = [Self::All, Self::None, Self::Some, Self::Older];
}

/// An operation that changed the medium, or would have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    /// [`Medium::write`].
    Write {
        /// Where to.
        slot: Slot,
        /// First byte.
        offset: u64,
        /// Number of bytes.
        length: usize,
    },
    /// [`Medium::sync`].
    Sync(Slot),
    /// [`Medium::save_record`].
    Record(Place),
    /// [`Medium::save_index`].
    Index(Slot),
    /// [`Medium::append_journal`] or [`Medium::start_journal`].
    Journal(Place),
}

/// What one slot, place, index file or area is to become when its last operation is durable.
#[derive(Clone, Debug)]
enum Pending {
    Write {
        slot: Slot,
        offset: usize,
        data: Vec<u8>,
    },
    Record {
        place: Place,
        bytes: Vec<u8>,
    },
    Index {
        slot: Slot,
        bytes: Vec<u8>,
    },
    /// The first `keep` bytes of the area stay as they are.
    Journal {
        area: Place,
        keep: usize,
        bytes: Vec<u8>,
    },
}

/// Two slots, two records, two indexes and two areas of the journal in memory. Reads see what was written at once; [`MemoryMedium::power_cycle`]
/// decides what of it was durable.
#[derive(Clone, Debug)]
pub struct MemoryMedium {
    /// As reads see them.
    slots: [Vec<u8>; 2],
    records: [Option<Vec<u8>>; 2],
    indexes: [Option<Vec<u8>>; 2],
    journal: [Vec<u8>; 2],
    /// As a power cut leaves them, with `pending` on top.
    durable_slots: [Vec<u8>; 2],
    pending: VecDeque<Pending>,
    operations: Vec<Operation>,
    reads: Vec<(Slot, u64, usize)>,
    cut_at: Option<usize>,
    fail_at: Option<(usize, MediumErrorKind)>,
    room: Option<u64>,
    flip: Option<(Slot, u64)>,
    powered: bool,
}

impl MemoryMedium {
    /// Two slots of that many bytes, all FFh as in erased flash, and nothing else.
    #[must_use]
    pub fn new(slot_length: usize) -> Self {
        let slot = vec![0xff; slot_length];
        Self {
            slots: [slot.clone(), slot.clone()],
            records: [None, None],
            indexes: [None, None],
            journal: [Vec::new(), Vec::new()],
            durable_slots: [slot.clone(), slot],
            pending: VecDeque::new(),
            operations: Vec::new(),
            reads: Vec::new(),
            cut_at: None,
            fail_at: None,
            room: None,
            flip: None,
            powered: true,
        }
    }

    /// Puts bytes at the beginning of a slot, durably, without an operation.
    pub fn fill(&mut self, slot: Slot, bytes: &[u8]) {
        for copy in [&mut self.slots[at(slot)], &mut self.durable_slots[at(slot)]] {
            copy[..bytes.len()].copy_from_slice(bytes);
        }
    }

    /// The bytes of a slot.
    #[must_use]
    pub fn slot(&self, slot: Slot) -> &[u8] {
        &self.slots[at(slot)]
    }

    /// Puts a record copy there, or takes it away, without an operation.
    pub fn set_record(&mut self, place: Place, bytes: Option<Vec<u8>>) {
        self.records[usize::from(place.number())] = bytes;
    }

    /// Puts these bytes in an area of the journal, without an operation.
    pub fn set_journal(&mut self, area: Place, bytes: Vec<u8>) {
        self.journal[usize::from(area.number())] = bytes;
    }

    /// The bytes of an area of the journal.
    #[must_use]
    pub fn journal(&self, area: Place) -> &[u8] {
        &self.journal[usize::from(area.number())]
    }

    /// The operations since the last [`MemoryMedium::forget_operations`], those that failed included.
    #[must_use]
    pub fn operations(&self) -> &[Operation] {
        &self.operations
    }

    /// What was read of the slots since then: slot, first byte, number of bytes.
    #[must_use]
    pub fn reads(&self) -> &[(Slot, u64, usize)] {
        &self.reads
    }

    /// Begins to count operations anew, from 0, and forgets what was read.
    pub fn forget_operations(&mut self) {
        self.operations.clear();
        self.reads.clear();
    }

    /// The power goes during the operation of that number; it and everything behind it, reads included, fails until
    /// [`MemoryMedium::power_cycle`].
    pub fn cut_power_at(&mut self, operation: usize) {
        self.cut_at = Some(operation);
    }

    /// The operation of that number fails, once, and changes nothing.
    pub fn fail_at(&mut self, operation: usize, kind: MediumErrorKind) {
        self.fail_at = Some((operation, kind));
    }

    /// There is room for that many more bytes, written anywhere; then writing fails for want of space.
    pub fn limit_room(&mut self, bytes: u64) {
        self.room = Some(bytes);
    }

    /// From now on this byte of a slot reads back with its lowest bit inverted: a worn cell.
    pub fn break_cell(&mut self, slot: Slot, offset: u64) {
        self.flip = Some((slot, offset));
    }

    /// Whether [`MemoryMedium::cut_power_at`] has struck.
    #[must_use]
    pub const fn is_powered(&self) -> bool {
        self.powered
    }

    /// Takes the power away, if it is still there, and gives it back: what was not durable is lost as `loss` says, and
    /// faults that were asked for and did not happen are forgotten. Worn cells stay.
    pub fn power_cycle(&mut self, loss: Loss) {
        let pending = core::mem::take(&mut self.pending);
        let last = pending.len().saturating_sub(1);
        for (number, change) in pending.into_iter().enumerate() {
            match loss {
                Loss::All => {}
                Loss::None => self.make_durable(change),
                Loss::Some if number == last => self.make_torn(change),
                Loss::Some if number % 2 == 0 => self.make_durable(change),
                Loss::Older if number == last => self.make_durable(change),
                Loss::Some | Loss::Older => {}
            }
        }
        self.slots = self.durable_slots.clone();
        self.cut_at = None;
        self.fail_at = None;
        self.room = None;
        self.powered = true;
    }

    fn make_durable(&mut self, change: Pending) {
        match change {
            Pending::Write { slot, offset, data } => {
                self.durable_slots[at(slot)][offset..offset + data.len()].copy_from_slice(&data);
            }
            Pending::Record { place, bytes } => self.records[usize::from(place.number())] = Some(bytes),
            Pending::Index { slot, bytes } => self.indexes[at(slot)] = Some(bytes),
            Pending::Journal { area, keep, bytes } => {
                let area = &mut self.journal[usize::from(area.number())];
                area.truncate(keep);
                area.extend(bytes);
            }
        }
    }

    /// Makes the first half of a change durable.
    fn make_torn(&mut self, change: Pending) {
        let tear = |old: Option<&Vec<u8>>, mut new: Vec<u8>| {
            let half = new.len() / 2;
            new.truncate(half);
            new.extend(old.map(Vec::as_slice).unwrap_or_default().iter().skip(half));
            new
        };
        let torn = match change {
            Pending::Write { slot, offset, mut data } => {
                data.truncate(data.len() / 2);
                Pending::Write { slot, offset, data }
            }
            Pending::Record { place, bytes } => {
                let bytes = tear(self.records[usize::from(place.number())].as_ref(), bytes);
                Pending::Record { place, bytes }
            }
            Pending::Index { slot, bytes } => {
                let bytes = tear(self.indexes[at(slot)].as_ref(), bytes);
                Pending::Index { slot, bytes }
            }
            Pending::Journal { area, keep, bytes } => {
                let old = self.journal[usize::from(area.number())].split_off(keep);
                Pending::Journal { area, keep, bytes: tear(Some(&old), bytes) }
            }
        };
        self.make_durable(torn);
    }

    /// Counts an operation and lets the faults have it. `change` is what it does; the cut may leave it in any part.
    fn operate(&mut self, operation: Operation, change: Option<Pending>) -> Result<(), MediumError> {
        self.check_power()?;
        let number = self.operations.len();
        self.operations.push(operation);
        if self.cut_at == Some(number) {
            self.powered = false;
            self.pending.extend(change);
            return self.check_power();
        }
        if let Some((_, kind)) = self.fail_at.filter(|(at, _)| *at == number) {
            self.fail_at = None;
            return Err(MediumError::new(
                kind,
                format!("operation {number} ({operation:?}) failed as asked for"),
            ));
        }
        if let (Some(room), Some(change)) = (&mut self.room, &change) {
            let length = match change {
                Pending::Write { data: bytes, .. }
                | Pending::Record { bytes, .. }
                | Pending::Index { bytes, .. }
                | Pending::Journal { bytes, .. } => bytes.len() as u64,
            };
            match room.checked_sub(length) {
                Some(left) => *room = left,
                None => {
                    return Err(MediumError::new(
                        MediumErrorKind::NoSpace,
                        "the medium is full as asked for",
                    ));
                }
            }
        }
        match change {
            Some(Pending::Write { slot, offset, data }) => {
                self.slots[at(slot)][offset..offset + data.len()].copy_from_slice(&data);
                self.pending.push_back(Pending::Write { slot, offset, data });
            }
            Some(durable @ (Pending::Record { .. } | Pending::Index { .. } | Pending::Journal { .. })) => {
                self.make_durable(durable);
            }
            None => {}
        }
        Ok(())
    }

    fn check_power(&self) -> Result<(), MediumError> {
        if self.powered { Ok(()) } else { Err(MediumError::new(MediumErrorKind::Io, "the power is off")) }
    }
}

impl Medium for MemoryMedium {
    fn slot_length(&self) -> u64 {
        self.slots[0].len() as u64
    }

    fn read(&mut self, slot: Slot, offset: u64, to: &mut [u8]) -> Result<(), MediumError> {
        self.check_power()?;
        check_range(self.slot_length(), slot, offset, to.len())?;
        self.reads.push((slot, offset, to.len()));
        let start = index(offset);
        to.copy_from_slice(&self.slots[at(slot)][start..start + to.len()]);
        if let Some((_, cell)) = self.flip.filter(|(broken, _)| *broken == slot)
            && let Some(byte) = cell.checked_sub(offset).and_then(|inside| to.get_mut(index(inside)))
        {
            *byte ^= 1;
        }
        Ok(())
    }

    fn write(&mut self, slot: Slot, offset: u64, data: &[u8]) -> Result<(), MediumError> {
        check_range(self.slot_length(), slot, offset, data.len())?;
        let operation = Operation::Write { slot, offset, length: data.len() };
        self.operate(operation, Some(Pending::Write { slot, offset: index(offset), data: data.to_vec() }))
    }

    fn sync(&mut self, slot: Slot) -> Result<(), MediumError> {
        self.operate(Operation::Sync(slot), None)?;
        for change in core::mem::take(&mut self.pending) {
            match change {
                Pending::Write { slot: written, .. } if written != slot => self.pending.push_back(change),
                Pending::Write { .. }
                | Pending::Record { .. }
                | Pending::Index { .. }
                | Pending::Journal { .. } => self.make_durable(change),
            }
        }
        Ok(())
    }

    fn load_record(&mut self, place: Place) -> Result<Option<Vec<u8>>, MediumError> {
        self.check_power()?;
        Ok(self.records[usize::from(place.number())].clone())
    }

    fn save_record(&mut self, place: Place, record: &[u8]) -> Result<(), MediumError> {
        self.operate(Operation::Record(place), Some(Pending::Record { place, bytes: record.to_vec() }))
    }

    fn load_index(&mut self, slot: Slot) -> Result<Option<Vec<u8>>, MediumError> {
        self.check_power()?;
        Ok(self.indexes[at(slot)].clone())
    }

    fn save_index(&mut self, slot: Slot, bytes: &[u8]) -> Result<(), MediumError> {
        self.operate(Operation::Index(slot), Some(Pending::Index { slot, bytes: bytes.to_vec() }))
    }

    fn load_journal(&mut self, area: Place) -> Result<Vec<u8>, MediumError> {
        self.check_power()?;
        Ok(self.journal(area).to_vec())
    }

    fn append_journal(&mut self, area: Place, bytes: &[u8]) -> Result<(), MediumError> {
        let keep = self.journal(area).len();
        self.operate(Operation::Journal(area), Some(Pending::Journal { area, keep, bytes: bytes.to_vec() }))
    }

    fn start_journal(&mut self, area: Place, bytes: &[u8]) -> Result<(), MediumError> {
        self.operate(
            Operation::Journal(area),
            Some(Pending::Journal { area, keep: 0, bytes: bytes.to_vec() }),
        )
    }
}

fn at(slot: Slot) -> usize {
    usize::from(slot.number())
}

/// An offset that was checked against the length of a slot, which is a `usize` here.
fn index(offset: u64) -> usize {
    usize::try_from(offset).unwrap_or(usize::MAX)
}
