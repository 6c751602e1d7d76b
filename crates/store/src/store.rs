//! The store itself: the record, the slots, and the rules of docs/spec/store.md, 1.

use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec;
use alloc::vec::Vec;

use inband_package::digest::sha256;
use inband_package::{Checked, Digest, Index};

use crate::boot;
use crate::journal::{Facts, Journal, Levels, Progress};
use crate::layout::Layout;
use crate::medium::Medium;
use crate::record::{
    self, PairError, Place, Record, SessionRecord, Slot, SlotRecord, SlotState, StartId, TrialRecord,
};
use crate::text::Text;

mod error;
mod finding;
mod fingerprint;
mod have;
mod plan;
#[cfg(test)]
mod tests;
mod writing;

pub use error::StoreError;
pub use finding::Found;
pub use fingerprint::FingerprintKey;
pub use have::ChunkHint;
use plan::Plan;
pub use plan::ReadBack;
use writing::{Before, Known, Writing};

/// Bytes compared, filled and read back at a time: 64 KiB.
const PIECE: usize = 64 * 1024;

/// Of these so many are compared before the others are read: 4 KiB.
const FIRST: usize = 4 * 1024;

/// Boots of one trial that are given back at most, whatever the host asks for.
pub const GIVEN_BACK_LIMIT: u8 = 16;

/// What can be chosen about a store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options {
    /// How often a staged slot is booted before it is given up; at least 1.
    pub boots: u8,
    /// Bytes of a package from one mark in the journal to the next, at least; more where there would be more than 64 marks.
    pub mark_every: u64,
    /// For the read-back to compare fingerprints with those of the chunks that a session wrote; without it, all is hashed again.
    pub fingerprints: Option<FingerprintKey>,
}

impl Default for Options {
    fn default() -> Self {
        Self { boots: 3, mark_every: 4 << 20, fingerprints: None }
    }
}

/// The firmware that a new store begins with, in slot a.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Firmware {
    /// Its version, for people.
    pub version: Text<48>,
    /// Its bcdDevice.
    pub bcd_device: u16,
    /// Its security version, which is the floor from the beginning.
    pub security_version: u32,
}

/// How a session stands: the numbers of docs/spec/session.md, 3, and docs/spec/results.md. The store keeps and does not read
/// them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ending {
    /// Number of the session state.
    pub state: u8,
    /// Number of the result.
    pub result: u16,
}

/// What names a package in the record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Identity {
    /// First 16 bytes of the SHA-256 of the head.
    pub head: [u8; 16],
    /// Version, cut to 40 bytes.
    pub version: Text<40>,
}

impl Identity {
    /// Of the package with this index, and this SHA-256 of its head.
    #[must_use]
    pub fn new(index: &Index, head: &Digest) -> Self {
        Self { head: plan::short(head), version: Text::cut(&index.version) }
    }
}

/// How far the session is that the store serves.
#[derive(Debug)]
enum Phase {
    /// There is none.
    Idle,
    /// It has begun; nothing but the record has been written for it.
    Begun,
    /// Its index is authentic and fits; the other slot is being written.
    Writing(Box<Writing>),
}

/// Two slots and the record, on a medium.
///
/// A session goes [`begin`](Self::begin), [`prepare`](Self::prepare), any number of [`write`](Self::write),
/// [`finish`](Self::finish); [`abandon`](Self::abandon) ends it at any point, also after one of the others failed. Each
/// method refuses the wrong order and then changes nothing. A session writes the record three times at most, and the journal
/// 67 times.
///
/// The slot written to is always the one that is not running; no method takes a slot to write.
#[derive(Debug)]
pub struct Store<M> {
    medium: M,
    layout: Layout,
    options: Options,
    record: Record,
    /// Where `record` stands; the next one goes to the other place.
    place: Place,
    journal: Journal,
    running: Slot,
    phase: Phase,
    piece: Vec<u8>,
}

impl<M: Medium> Store<M> {
    /// Initialises a medium: slot a holds this firmware, confirmed, and slot b nothing. Slot bytes are left alone.
    ///
    /// # Errors
    /// [`StoreError::Exists`] if there is a record already, valid or not; else those of the medium.
    pub fn create(medium: &mut M, firmware: &Firmware) -> Result<(), StoreError> {
        match load(medium) {
            Err(StoreError::Unusable(PairError::Missing)) => {}
            Ok(_) | Err(StoreError::Unusable(PairError::Corrupt { .. })) => return Err(StoreError::Exists),
            Err(error) => return Err(error),
        }
        let good = SlotRecord {
            state: SlotState::Good,
            bcd_device: firmware.bcd_device,
            security_version: firmware.security_version,
            version: firmware.version,
            ..SlotRecord::EMPTY
        };
        let record = Record {
            sequence: 1,
            choice: Slot::A,
            boots_left: 0,
            booted: Slot::A,
            floor: firmware.security_version,
            last_id: 0,
            slots: [good, SlotRecord::EMPTY],
            session: SessionRecord::NONE,
            log: Vec::new(),
            start: None,
        };
        // Before the record, which makes it a store: a new one begins with full budgets, and knows nothing of what was here.
        let facts = Facts { session: 0, levels: Levels::FULL, progress: None };
        Journal::load(medium).record(medium, facts).map_err(StoreError::Record)?;
        medium.save_record(Place::First, &record.encode()).map_err(StoreError::Record)
    }

    /// Opens a store. The slot that booted last is taken for the running one: right after a restart of the daemon;
    /// after a start of the machine call [`Store::boot`], or [`Store::boot_once`] where that is not known.
    ///
    /// # Errors
    /// [`StoreError::SlotLength`] if the layout is not for slots of this length; [`StoreError::Unusable`] if no record is
    /// valid; those of the medium.
    pub fn open(mut medium: M, layout: Layout, options: Options) -> Result<Self, StoreError> {
        if layout.slot_length() != medium.slot_length() {
            return Err(StoreError::SlotLength {
                layout: layout.slot_length(),
                medium: medium.slot_length(),
            });
        }
        let (record, place) = load(&mut medium)?;
        let journal = Journal::load(&mut medium);
        let running = record.booted;
        let piece = vec![0; PIECE];
        Ok(Self { medium, layout, options, record, place, journal, running, phase: Phase::Idle, piece })
    }

    /// Does what the boot loader does when the machine starts, and returns the slot that it boots. Any session is over.
    ///
    /// # Errors
    /// [`StoreError::NothingBootable`]; those of the medium, and then nothing is booted.
    pub fn boot(&mut self) -> Result<Slot, StoreError> {
        self.boot_for(None)
    }

    /// As [`Store::boot`], once for each start of the machine: in one for which the loader has decided, the slot that it chose
    /// then runs on, and nothing is counted. That it has decided becomes durable with what it decided.
    ///
    /// # Errors
    /// Those of [`Store::boot`].
    pub fn boot_once(&mut self, start: StartId) -> Result<Slot, StoreError> {
        if self.record.start == Some(start) {
            self.phase = Phase::Idle;
            return Ok(self.running);
        }
        self.boot_for(Some(start))
    }

    fn boot_for(&mut self, start: Option<StartId>) -> Result<Slot, StoreError> {
        // Also if nothing is booted: whoever asked has nothing left to end that session with.
        self.phase = Phase::Idle;
        let after = Record { start, ..boot::decide(&self.record)? };
        if after != self.record {
            self.save(after)?;
        }
        self.running = self.record.booted;
        Ok(self.running)
    }

    /// The record as it was last written or read.
    #[must_use]
    pub const fn record(&self) -> &Record {
        &self.record
    }

    /// The slot whose firmware runs.
    #[must_use]
    pub const fn running(&self) -> Slot {
        self.running
    }

    /// What the budgets have left, as last written down; `None` if the journal, or its newest entries, are lost.
    #[must_use]
    pub fn levels(&self) -> Option<Levels> {
        self.newest_facts().map(|facts| facts.levels)
    }

    /// The regions of a slot.
    #[must_use]
    pub const fn layout(&self) -> &Layout {
        &self.layout
    }

    /// Whether the running slot is not confirmed, so that no session may begin.
    #[must_use]
    pub fn is_on_trial(&self) -> bool {
        self.record.slot(self.running).state != SlotState::Good
    }

    /// The medium, to read from.
    #[must_use]
    pub const fn medium(&self) -> &M {
        &self.medium
    }

    /// Gives the medium back.
    #[must_use]
    pub fn into_medium(self) -> M {
        self.medium
    }

    /// Begins a session: from now on the record says so. `state` is the number of the session state to be found
    /// if the session is cut off. No slot changes, and a staged slot stays chosen. `levels` is what this session leaves of the
    /// budgets; it is in the journal before anything else.
    ///
    /// # Errors
    /// [`StoreError::OnTrial`] while the running slot is not confirmed (rule 2); [`StoreError::Order`] while another
    /// session is open; those of the medium.
    pub fn begin(&mut self, id: u32, door: u8, state: u8, levels: Levels) -> Result<(), StoreError> {
        match self.phase {
            Phase::Idle => {}
            Phase::Begun | Phase::Writing(_) => return Err(StoreError::Order("a session is open")),
        }
        if self.is_on_trial() {
            return Err(StoreError::OnTrial);
        }
        let facts = Facts { session: id, levels, progress: self.progress() };
        self.journal.record(&mut self.medium, facts).map_err(StoreError::Record)?;
        let mut record = self.record.clone();
        record.last_id = id;
        record.session =
            SessionRecord { id, state, door, target: self.running.other(), ..SessionRecord::NONE };
        self.save(record)?;
        self.phase = Phase::Begun;
        Ok(())
    }

    /// Makes the other slot ready for the members of an authentic index: it becomes invalid, and the boot choice the
    /// running slot, before this returns (rules 3 and 4). `head` is the SHA-256 of the package's head, `index_bytes`
    /// what the index was parsed from, `levels` what this rewrite leaves of the budgets: before the first write to the slot it
    /// is in the journal.
    ///
    /// # Errors
    /// [`StoreError::Refused`] if the layout does not take these members (docs/spec/store.md, 5), and then nothing changed;
    /// [`StoreError::Order`] if no session has begun or its index is there already; those of the medium.
    pub fn prepare(
        &mut self,
        index: &Arc<Index>,
        index_bytes: &[u8],
        head: &Digest,
        levels: Levels,
    ) -> Result<(), StoreError> {
        match self.phase {
            Phase::Begun => {}
            Phase::Idle => return Err(StoreError::Order("no session has begun")),
            Phase::Writing(_) => return Err(StoreError::Order("the index is there already")),
        }
        let plan = Plan::new(&self.layout, index, head, self.options.fingerprints)?;
        let digest = sha256(index_bytes);
        let target = self.running.other();
        let known = self.known();
        let before = Before::new(&known, &digest);
        let have = self.have(&plan, &known, &before);
        let writing = Writing::new(plan, have, before, digest, self.options.mark_every);

        let mut record = self.record.clone();
        record.choice = self.running;
        record.boots_left = 0;
        *record.slot_mut(target) = SlotRecord::BEING_WRITTEN;
        record.session.identify(&Identity::new(index, head));
        self.save(record)?;
        self.medium.save_index(target, index_bytes).map_err(StoreError::Write)?;
        let progress = Some(writing.progress(self.record.session.id, target));
        let session = self.record.session.id;
        self.journal
            .record(&mut self.medium, Facts { session, levels, progress })
            .map_err(StoreError::Record)?;
        self.phase = Phase::Writing(Box::new(writing));
        Ok(())
    }

    /// Puts bytes of a member, counted in the order of the index, to where they belong, unless they are there already and
    /// can be believed. Bytes of members that are not written, metadata and what is for a preserved region, are taken and
    /// dropped. Order and completeness are not checked here: [`Store::finish`] checks the slot itself.
    ///
    /// # Errors
    /// [`StoreError::Order`] before [`Store::prepare`], or for bytes that are not the member's; those of the medium.
    pub fn write(&mut self, member: usize, offset: u64, data: &[u8]) -> Result<(), StoreError> {
        self.place(member, offset, data)?.pass(member, offset, data.len() as u64);
        self.mark_if_due()
    }

    /// Puts bytes of a member to where they belong, if they go anywhere.
    fn place(&mut self, member: usize, offset: u64, data: &[u8]) -> Result<&mut Writing, StoreError> {
        let Phase::Writing(writing) = &mut self.phase else {
            return Err(StoreError::Order("the slot is not ready to be written"));
        };
        let target = self.running.other();
        if let Some(start) = writing.plan.place(member, offset, data.len())? {
            let compare = writing.can_compare(member, offset.saturating_add(data.len() as u64));
            let result = put(&mut self.medium, target, start, data, compare.then_some(&mut self.piece));
            if result.is_err() {
                writing.sound = false;
            }
            result?;
        }
        Ok(writing)
    }

    /// Puts a chunk to where it belongs, as [`Store::write`] does, and remembers its fingerprint for the read-back.
    ///
    /// # Errors
    /// Those of [`Store::write`].
    pub fn write_chunk(&mut self, chunk: &Checked<'_>) -> Result<(), StoreError> {
        self.place(chunk.member(), chunk.offset(), chunk.bytes())?.pass_chunk(chunk);
        self.mark_if_due()
    }

    /// Completes the slot, reads it back against the index (rule 5), and chooses it for the next boot. Takes
    /// as long as reading the slot, and hashing what has no fingerprint.
    ///
    /// # Errors
    /// [`StoreError::Mismatch`] if the slot does not hold what the index says; [`StoreError::Order`] before
    /// [`Store::prepare`]; those of the medium. The slot then stays invalid; [`Store::abandon`] is due.
    pub fn finish(&mut self, ending: Ending) -> Result<(), StoreError> {
        self.finish_telling(ending, &mut |_| ())
    }

    /// The same, telling how far the reading back has come.
    ///
    /// # Errors
    /// As there.
    pub fn finish_telling(
        &mut self,
        ending: Ending,
        tell: &mut dyn FnMut(ReadBack),
    ) -> Result<(), StoreError> {
        let Phase::Writing(writing) = &mut self.phase else {
            return Err(StoreError::Order("the slot is not ready to be finished"));
        };
        let target = self.running.other();
        let result = complete(&mut self.medium, target, writing, &mut self.piece, tell);
        if result.is_err() {
            writing.sound = false;
        }
        result?;

        let mut record = self.record.clone();
        let boots = self.options.boots.max(1);
        *record.slot_mut(target) = writing.plan.slot_record(record.session.id, record.session.door, boots);
        record.choice = target;
        record.boots_left = boots;
        record.session.state = ending.state;
        record.session.result = ending.result;
        record.push_log(record.session);
        self.save(record)?;
        self.phase = Phase::Idle;
        Ok(())
    }

    /// Ends a session that is not to be finished: a slot that was being written stays invalid, everything else as it was.
    /// `identity` names the package where it came that far.
    ///
    /// # Errors
    /// [`StoreError::Order`] without a session; those of the medium: the record then still says what it said, and
    /// the session is over all the same.
    pub fn abandon(&mut self, ending: Ending, identity: Option<&Identity>) -> Result<(), StoreError> {
        match core::mem::replace(&mut self.phase, Phase::Idle) {
            Phase::Begun => {}
            Phase::Writing(writing) => self.note_progress(&writing),
            Phase::Idle => return Err(StoreError::Order("no session has begun")),
        }
        let mut session = SessionRecord { state: ending.state, result: ending.result, ..self.record.session };
        if let Some(identity) = identity {
            session.identify(identity);
        }
        self.log_session(session, None)
    }

    /// Makes the running slot good and raises the security floor to its security version.
    ///
    /// # Errors
    /// [`StoreError::NotOnTrial`] if the running slot is not on trial; those of the medium.
    pub fn confirm(&mut self, ending: Ending) -> Result<(), StoreError> {
        if self.record.slot(self.running).state != SlotState::Trial {
            return Err(StoreError::NotOnTrial);
        }
        let session = self.session_of(self.running, ending);
        let mut record = self.record.clone();
        let slot = record.slot_mut(self.running);
        slot.state = SlotState::Good;
        slot.pending = 0;
        slot.trial = TrialRecord::NONE;
        let security_version = slot.security_version;
        record.floor = record.floor.max(security_version);
        record.choice = self.running;
        record.boots_left = 0;
        record.session = session;
        record.push_log(session);
        self.save(record)
    }

    /// The host asked for the restart that is about to come: the boot under way does not count against the firmware on
    /// trial. Returns whether it was given back. It is not if nothing is on trial, or this boot was given back or found
    /// unhealthy before, or [`GIVEN_BACK_LIMIT`] is reached: a host must not keep a firmware on trial for ever.
    ///
    /// # Errors
    /// Those of the medium: the boot then counts.
    pub fn give_boot_back(&mut self) -> Result<bool, StoreError> {
        let mut record = self.record.clone();
        let boots_left = record.boots_left;
        let slot = record.slot_mut(self.running);
        let trial = &mut slot.trial;
        if slot.state != SlotState::Trial
            || trial.settled
            || trial.given_back >= GIVEN_BACK_LIMIT
            || boots_left >= trial.given
        {
            return Ok(false);
        }
        trial.settled = true;
        trial.given_back += 1;
        record.boots_left = boots_left + 1;
        self.save(record)?;
        Ok(true)
    }

    /// The running firmware, which is on trial, was found unhealthy: this boot counts whatever the host does, and the record says
    /// so. In the log it takes the place of such a finding in the boot before.
    ///
    /// # Errors
    /// [`StoreError::NotOnTrial`] if the running slot is not on trial; those of the medium.
    pub fn unhealthy(&mut self, ending: Ending) -> Result<(), StoreError> {
        if self.record.slot(self.running).state != SlotState::Trial {
            return Err(StoreError::NotOnTrial);
        }
        let session = self.session_of(self.running, ending);
        let mut record = self.record.clone();
        let trial = &mut record.slot_mut(self.running).trial;
        trial.settled = true;
        trial.unhealthy = true;
        record.session = session;
        record.log.pop_if(|last| SessionRecord { boot: session.boot, ..*last } == session);
        record.push_log(session);
        self.save(record)
    }

    /// The session that a slot's firmware came by.
    #[must_use]
    pub fn session_of(&self, slot: Slot, ending: Ending) -> SessionRecord {
        let firmware = self.record.slot(slot);
        SessionRecord {
            id: firmware.pending,
            result: ending.result,
            state: ending.state,
            door: firmware.door,
            target: slot,
            boot: self.record.boots_used(slot),
            head: firmware.head,
            version: Text::cut(firmware.version.as_str()),
        }
    }

    /// Makes this session, whose state is new, the last one, and adds it to the log. `settled` is a slot of which it is now
    /// known that its firmware did not prove itself.
    ///
    /// # Errors
    /// Those of the medium.
    pub fn log_session(&mut self, session: SessionRecord, settled: Option<Slot>) -> Result<(), StoreError> {
        let mut record = self.record.clone();
        if let Some(slot) = settled {
            record.slot_mut(slot).pending = 0;
        }
        record.session = session;
        record.push_log(session);
        self.save(record)
    }

    /// Keeps what the budgets have left.
    ///
    /// # Errors
    /// Those of the medium.
    pub fn save_levels(&mut self, levels: Levels) -> Result<(), StoreError> {
        let empty = Facts { session: 0, levels, progress: None };
        let facts = self.journal.facts().map_or(empty, |facts| Facts { levels, ..facts });
        self.journal.record(&mut self.medium, facts).map_err(StoreError::Record)
    }

    /// What the journal says, unless it has lost its newest entries: then it does not know of a session that the record knows of.
    fn newest_facts(&self) -> Option<Facts> {
        self.journal.facts().filter(|facts| facts.session >= self.record.last_id)
    }

    /// How far the writing of a slot came, by the journal.
    fn progress(&self) -> Option<Progress> {
        self.newest_facts().and_then(|facts| facts.progress)
    }

    /// What the other slot is known to hold.
    fn known(&self) -> Known {
        let target = self.running.other();
        if *self.record.slot(target) != SlotRecord::BEING_WRITTEN {
            return Known::Whole;
        }
        match self.progress().filter(|progress| progress.target == target) {
            Some(progress) => Known::Part(progress),
            None => Known::Nothing,
        }
    }

    /// Puts a mark in the journal if enough has been written since the last one: first the slot, then the word about it.
    fn mark_if_due(&mut self) -> Result<(), StoreError> {
        let Phase::Writing(writing) = &mut self.phase else { return Ok(()) };
        if !writing.take_mark() {
            return Ok(());
        }
        let target = self.running.other();
        let synced = self.medium.sync(target).map_err(StoreError::Write);
        if synced.is_err() {
            writing.sound = false;
        }
        synced?;
        let progress = writing.progress(self.record.session.id, target);
        self.journal.note(&mut self.medium, progress).map_err(StoreError::Record)
    }

    /// Notes how far a session came that is not to be finished. A failure costs the next session time, and nothing else: the
    /// journal then still says what it said, and that the slot is in doubt.
    fn note_progress(&mut self, writing: &Writing) {
        let target = self.running.other();
        if self.medium.sync(target).is_ok() {
            let progress = writing.progress_at_end(self.record.session.id, target);
            let _ = self.journal.note(&mut self.medium, progress);
        }
    }

    /// Writes the record to the place that does not hold the newest one.
    fn save(&mut self, mut record: Record) -> Result<(), StoreError> {
        record.sequence = self.record.sequence.saturating_add(1);
        let place = self.place.other();
        self.medium.save_record(place, &record.encode()).map_err(StoreError::Record)?;
        self.record = record;
        self.place = place;
        Ok(())
    }
}

impl SessionRecord {
    fn identify(&mut self, identity: &Identity) {
        self.head = identity.head;
        self.version = identity.version;
    }
}

/// Writes bytes to a slot. With a buffer to compare in, only those pieces that are not there already.
fn put(
    medium: &mut impl Medium,
    slot: Slot,
    start: u64,
    data: &[u8],
    mut compare: Option<&mut Vec<u8>>,
) -> Result<(), StoreError> {
    let mut at = start;
    for data in data.chunks(PIECE) {
        let same = match &mut compare {
            Some(piece) => holds(medium, slot, at, data, &mut piece[..data.len()]),
            None => false,
        };
        if !same {
            medium.write(slot, at, data).map_err(StoreError::Write)?;
        }
        at = at.saturating_add(data.len() as u64);
    }
    Ok(())
}

/// Whether these bytes stand in a slot from `at` on; `there` is as long as they are. What differs mostly does so at its beginning, and the rest of it
/// is not read then. What a power cut left in the middle of a write need not be readable: it is written anew; `finish` reads it.
fn holds(medium: &mut impl Medium, slot: Slot, mut at: u64, data: &[u8], there: &mut [u8]) -> bool {
    let (first, rest) = data.split_at(data.len().min(FIRST));
    let (room_for_first, room_for_rest) = there.split_at_mut(first.len());
    for (data, there) in [(first, room_for_first), (rest, room_for_rest)] {
        if medium.read(slot, at, there).is_err() || there != data {
            return false;
        }
        at = at.saturating_add(data.len() as u64);
    }
    true
}

/// Fills what the members leave, makes all of it durable and reads it back.
fn complete(
    medium: &mut impl Medium,
    slot: Slot,
    writing: &Writing,
    piece: &mut [u8],
    tell: &mut dyn FnMut(ReadBack),
) -> Result<(), StoreError> {
    writing.plan.fill_tails(medium, slot, piece, writing.can_compare_tails())?;
    medium.sync(slot).map_err(StoreError::Write)?;
    writing.plan.read_back(medium, slot, piece, tell)
}

/// Reads both places and picks the newest valid record.
fn load(medium: &mut impl Medium) -> Result<(Record, Place), StoreError> {
    let first = medium.load_record(Place::First).map_err(StoreError::Record)?;
    let second = medium.load_record(Place::Second).map_err(StoreError::Record)?;
    Ok(record::newest(first.as_deref(), second.as_deref())?)
}
