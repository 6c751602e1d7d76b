//! The memory under a store, as the store sees it.

use alloc::string::String;
use alloc::vec::Vec;

use crate::record::{Place, Slot};

/// The memory under a store: the bytes of two slots, two places for the record, one index for each slot, two areas for the
/// journal. The calls block, so a store belongs to a worker thread.
///
/// What must hold for the store to survive a power cut at any moment:
///
/// * When [`save_record`](Self::save_record) returns `Ok`, the bytes survive a power cut. While it runs, a cut may leave
///   the old bytes, the new ones, or rubbish in *that* place; the other place it leaves alone.
/// * When [`sync`](Self::sync) returns `Ok`, all bytes written to the slot before survive a power cut. Bytes written and
///   not synchronised may survive in any part and order.
/// * When [`append_journal`](Self::append_journal) or [`start_journal`](Self::start_journal) returns `Ok`, the bytes survive a
///   power cut. While it runs, a cut may leave any part of them, or rubbish, from where they were to stand on, and may make
///   what stands before that in the same page unreadable; the rest, and the other area, it leaves alone.
/// * A call that failed may have done all, some or none of its work.
pub trait Medium {
    /// Bytes of a slot; the same for both.
    fn slot_length(&self) -> u64;

    /// Fills `to` with the bytes of a slot from `offset` on. Inside the slot, else it is an error.
    ///
    /// # Errors
    /// The bytes cannot be had.
    fn read(&mut self, slot: Slot, offset: u64, to: &mut [u8]) -> Result<(), MediumError>;

    /// Writes bytes to a slot from `offset` on. Inside the slot, else it is an error.
    ///
    /// # Errors
    /// The bytes, or some of them, could not be written.
    fn write(&mut self, slot: Slot, offset: u64, data: &[u8]) -> Result<(), MediumError>;

    /// Makes durable what was written to a slot. What is read afterwards comes from the memory itself, and not from a
    /// cache of what was written, as far as the system lets a medium see to that; also when this failed.
    ///
    /// # Errors
    /// It may or may not be durable.
    fn sync(&mut self, slot: Slot) -> Result<(), MediumError>;

    /// The bytes that were last saved in a place; `None` if there never were any. At most
    /// [`MAX_LENGTH`](crate::record::MAX_LENGTH) + 1 bytes: whatever is longer is no record.
    ///
    /// # Errors
    /// The bytes cannot be had.
    fn load_record(&mut self, place: Place) -> Result<Option<Vec<u8>>, MediumError>;

    /// Replaces what a place holds, durably.
    ///
    /// # Errors
    /// The place may hold the old bytes, the new ones, or rubbish.
    fn save_record(&mut self, place: Place, record: &[u8]) -> Result<(), MediumError>;

    /// The index that the slot was last written from; `None` if there never was one. It is a hint and not trusted.
    ///
    /// # Errors
    /// The bytes cannot be had, or are longer than any index.
    fn load_index(&mut self, slot: Slot) -> Result<Option<Vec<u8>>, MediumError>;

    /// Replaces the index of a slot, durably.
    ///
    /// # Errors
    /// The old one, the new one, or rubbish may be there.
    fn save_index(&mut self, slot: Slot, index: &[u8]) -> Result<(), MediumError>;

    /// What an area of the journal holds; nothing if it was never started. At most
    /// [`AREA_LENGTH`](crate::journal::AREA_LENGTH) + 1 bytes: what is longer was not written by the journal. Nothing in it is
    /// trusted.
    ///
    /// # Errors
    /// The bytes cannot be had.
    fn load_journal(&mut self, area: Place) -> Result<Vec<u8>, MediumError>;

    /// Adds bytes behind those that an area holds, durably. Only called while the area holds exactly what was written to it
    /// since its start, and never beyond [`AREA_LENGTH`](crate::journal::AREA_LENGTH).
    ///
    /// # Errors
    /// Any part of the bytes, or rubbish, may stand behind what the area held.
    fn append_journal(&mut self, area: Place, bytes: &[u8]) -> Result<(), MediumError>;

    /// Empties an area and puts these bytes at its beginning, durably.
    ///
    /// # Errors
    /// The area may hold anything.
    fn start_journal(&mut self, area: Place, bytes: &[u8]) -> Result<(), MediumError>;
}

/// What kind of thing went wrong under a store; decides about results and exit codes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MediumErrorKind {
    /// The medium has no room left.
    NoSpace,
    /// Another process uses the store.
    InUse,
    /// There is no store there, or one of another size.
    NotAStore,
    /// Reading or writing failed.
    Io,
    /// The caller asked for bytes outside the slot: a fault of the caller's.
    OutOfRange,
}

/// What failed under a store.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct MediumError {
    /// The kind of thing that went wrong.
    pub kind: MediumErrorKind,
    /// For the log: what was done to what, what the system said, what a person can do.
    pub message: String,
}

impl MediumError {
    /// An error of a kind.
    #[must_use]
    pub fn new(kind: MediumErrorKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into() }
    }
}

/// Checks that bytes lie inside a slot; what every medium does first.
///
/// # Errors
/// [`MediumErrorKind::OutOfRange`] if they do not.
pub fn check_range(slot_length: u64, slot: Slot, offset: u64, length: usize) -> Result<(), MediumError> {
    let end = u64::try_from(length).ok().and_then(|length| offset.checked_add(length));
    if end.is_some_and(|end| end <= slot_length) {
        return Ok(());
    }
    let name = slot.name();
    let message =
        alloc::format!("{length} bytes at offset {offset} are outside slot {name} ({slot_length} bytes)");
    Err(MediumError::new(MediumErrorKind::OutOfRange, message))
}
