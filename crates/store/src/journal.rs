//! The journal of the store (docs/spec/store.md, 7): how far a session came, and what the budgets have left. All of it can be
//! lost without harm.
//!
//! Each entry holds all facts there are, so that the newest valid one is the truth by itself: there is nothing to replay, and
//! damage costs what is newer than the newest entry that survived, and nothing else.

use alloc::vec::Vec;

use inband_package::Digest;
use sha2::{Digest as _, Sha256};

use crate::medium::{Medium, MediumError};
use crate::record::{Place, Slot, array};

/// Bytes of an area at most, 32 KiB.
pub const AREA_LENGTH: usize = 32 * 1024;
/// Bytes of an entry.
pub const ENTRY_LENGTH: usize = 128;
/// What an entry begins with.
pub const MAGIC: [u8; 4] = *b"IBJ1";

/// Entries in an area.
const ENTRIES: u64 = (AREA_LENGTH / ENTRY_LENGTH) as u64;
const CHECKSUM_AT: usize = ENTRY_LENGTH - 32;
const HAS_PROGRESS: u8 = 1;
const SETTLED: u8 = 2;

/// What the journal keeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Facts {
    /// The session that began last. If the record knows of a later one, the newest entries are lost.
    pub session: u32,
    /// What the budgets have left.
    pub levels: Levels,
    /// How far a package came into a slot that is not complete; `None` if no slot is in that state.
    pub progress: Option<Progress>,
}

/// What the budgets have left (docs/spec/session.md, 7). The store keeps the numbers and does not read them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Levels {
    /// Of sessions.
    pub sessions: u64,
    /// Of slot rewrites.
    pub rewrites: u64,
}

impl Levels {
    /// More than any budget holds: those of a new store.
    pub const FULL: Self = Self { sessions: u64::MAX, rewrites: u64::MAX };
}

/// How far the writing of a slot came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// The session that writes, or wrote last.
    pub session: u32,
    /// The slot.
    pub target: Slot,
    /// SHA-256 of the package's index, which says what every byte of the slot is to be.
    pub index: Digest,
    /// Everything before it was written from checked chunks, and synchronised.
    pub mark: Mark,
    /// No byte of the slot can have been hit in the middle of being written, behind the mark neither.
    pub settled: bool,
}

/// A place in the members of a package, in the order of its index.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Mark {
    /// Number of the member.
    pub member: u16,
    /// Bytes of it.
    pub offset: u64,
}

/// An entry as it stands in an area.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Counts up with each entry written; the highest counts, wherever it stands.
    pub sequence: u64,
    /// All facts at that time.
    pub facts: Facts,
}

impl Entry {
    /// The bytes of the entry, checksum included.
    #[must_use]
    pub fn encode(&self) -> [u8; ENTRY_LENGTH] {
        let Facts { session, levels, progress } = self.facts;
        let mut bytes = [0; ENTRY_LENGTH];
        bytes[0..4].copy_from_slice(&MAGIC);
        bytes[8..16].copy_from_slice(&self.sequence.to_le_bytes());
        bytes[16..24].copy_from_slice(&levels.sessions.to_le_bytes());
        bytes[24..32].copy_from_slice(&levels.rewrites.to_le_bytes());
        bytes[36..40].copy_from_slice(&session.to_le_bytes());
        if let Some(progress) = progress {
            bytes[4] = HAS_PROGRESS | if progress.settled { SETTLED } else { 0 };
            bytes[5] = progress.target.number();
            bytes[6..8].copy_from_slice(&progress.mark.member.to_le_bytes());
            bytes[32..36].copy_from_slice(&progress.session.to_le_bytes());
            bytes[40..48].copy_from_slice(&progress.mark.offset.to_le_bytes());
            bytes[48..80].copy_from_slice(&progress.index);
        }
        let checksum = Sha256::digest(&bytes[..CHECKSUM_AT]);
        bytes[CHECKSUM_AT..].copy_from_slice(&checksum);
        bytes
    }

    /// Reads an entry; `None` for anything but the exact bytes that [`Entry::encode`] makes.
    #[must_use]
    pub fn parse(bytes: &[u8; ENTRY_LENGTH]) -> Option<Self> {
        let progress = match bytes[4] {
            0 => None,
            flags => Some(Progress {
                session: u32::from_le_bytes(array(bytes, 32)),
                target: Slot::from_number(bytes[5])?,
                index: array(bytes, 48),
                mark: Mark {
                    member: u16::from_le_bytes(array(bytes, 6)),
                    offset: u64::from_le_bytes(array(bytes, 40)),
                },
                settled: flags & SETTLED != 0,
            }),
        };
        let levels = Levels {
            sessions: u64::from_le_bytes(array(bytes, 16)),
            rewrites: u64::from_le_bytes(array(bytes, 24)),
        };
        let session = u32::from_le_bytes(array(bytes, 36));
        let facts = Facts { session, levels, progress };
        let entry = Self { sequence: u64::from_le_bytes(array(bytes, 8)), facts };
        // Checks magic, checksum, unknown flags and reserved bytes at once: an entry has one form.
        (entry.encode() == *bytes).then_some(entry)
    }
}

/// What an area holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Area {
    /// The newest valid entry.
    pub newest: Option<Entry>,
    /// Whether there is nothing but valid entries, each newer than the one before.
    pub sound: bool,
}

impl Area {
    /// Reads an area, whatever it holds. What is no valid entry is passed over, and so is what stands behind [`AREA_LENGTH`].
    #[must_use]
    pub fn read(bytes: &[u8]) -> Self {
        let mut area = Self { newest: None, sound: bytes.len() <= AREA_LENGTH };
        let (entries, rest) = bytes[..bytes.len().min(AREA_LENGTH)].as_chunks::<ENTRY_LENGTH>();
        area.sound &= rest.is_empty();
        for bytes in entries {
            let entry = Entry::parse(bytes);
            let newer = |entry: &Entry| area.newest.is_none_or(|newest| entry.sequence > newest.sequence);
            match entry.filter(newer) {
                Some(entry) => area.newest = Some(entry),
                None => area.sound = false,
            }
        }
        area
    }
}

/// The journal as the store uses it.
#[derive(Debug)]
pub(crate) struct Journal {
    newest: Option<Entry>,
    /// The area that holds the newest entry.
    area: Place,
    /// Bytes of it, if an entry can be added to it; else the other area is to be started.
    length: Option<usize>,
}

impl Journal {
    /// Reads both areas. An area that cannot be read holds nothing.
    pub(crate) fn load(medium: &mut impl Medium) -> Self {
        let mut journal = Self { newest: None, area: Place::Second, length: None };
        let mut sound = true;
        for place in Place::ALL {
            let read = medium.load_journal(place);
            sound &= read.is_ok();
            let bytes: Vec<u8> = read.unwrap_or_default();
            let area = Area::read(&bytes);
            sound &= area.sound;
            let newest = journal.newest.map(|entry| entry.sequence);
            if let Some(entry) =
                area.newest.filter(|entry| newest.is_none_or(|newest| entry.sequence > newest))
            {
                journal = Self { newest: Some(entry), area: place, length: Some(bytes.len()) };
            }
        }
        // What cannot be read in the other area could be newer than all that is written here: it is to be emptied first.
        journal.length = journal.length.filter(|_| sound);
        journal
    }

    /// What the newest entry says; `None` if there is none.
    pub(crate) fn facts(&self) -> Option<Facts> {
        self.newest.map(|entry| entry.facts)
    }

    /// Writes down how far a session came; what the budgets have left stays as it is.
    pub(crate) fn note(&mut self, medium: &mut impl Medium, progress: Progress) -> Result<(), MediumError> {
        match self.facts() {
            Some(facts) => self.record(medium, Facts { progress: Some(progress), ..facts }),
            // A session begins with an entry, so that there is one.
            None => Ok(()),
        }
    }

    /// Writes down these facts, durably. What is so already is not written again.
    pub(crate) fn record(&mut self, medium: &mut impl Medium, facts: Facts) -> Result<(), MediumError> {
        if self.facts() == Some(facts) {
            return Ok(());
        }
        let last = self.newest.map_or(0, |entry| entry.sequence);
        let room = self.length.filter(|length| length + ENTRY_LENGTH <= AREA_LENGTH);
        // Until it is known that the entry stands there whole, nothing is to be put behind it.
        self.length = None;
        let entry = match room {
            Some(length) => {
                let entry = Entry { sequence: last.saturating_add(1), facts };
                medium.append_journal(self.area, &entry.encode())?;
                self.length = Some(length + ENTRY_LENGTH);
                entry
            }
            None => {
                // An entry that could not be read today is not to count should it be readable tomorrow.
                let entry = Entry { sequence: last.saturating_add(ENTRIES), facts };
                medium.start_journal(self.area.other(), &entry.encode())?;
                self.area = self.area.other();
                self.length = Some(ENTRY_LENGTH);
                entry
            }
        };
        self.newest = Some(entry);
        Ok(())
    }
}

#[cfg(test)]
mod tests;
