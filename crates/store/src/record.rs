//! The record of the store (docs/spec/store.md, 2): what the slots hold, which of them boots, the last session, the log.

use alloc::vec::Vec;

use sha2::{Digest, Sha256};

use crate::text::Text;

/// What a record begins with.
pub const MAGIC: [u8; 8] = *b"INBANDST";
/// The one format version there is.
pub const FORMAT: u16 = 1;
/// Log records a record holds at most; [`Record::push_log`] makes room.
pub const LOG_LIMIT: usize = 16;
/// Length in bytes of the longest record.
pub const MAX_LENGTH: usize = LOG_AT + LOG_LIMIT * SESSION_LENGTH + START_LENGTH + CHECKSUM_LENGTH;

const SLOT_LENGTH: usize = 80;
const SESSION_LENGTH: usize = 72;
const START_LENGTH: usize = 16;
const CHECKSUM_LENGTH: usize = 32;
const SLOTS_AT: usize = 32;
const SESSION_AT: usize = SLOTS_AT + 2 * SLOT_LENGTH;
const LOG_COUNT_AT: usize = SESSION_AT + SESSION_LENGTH;
const LOG_AT: usize = LOG_COUNT_AT + 2;

/// One of the two bootable copies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Slot {
    /// Number 0.
    A,
    /// Number 1.
    B,
}

impl Slot {
    /// Both, in the order of their numbers.
    pub const ALL: [Self; 2] = [Self::A, Self::B];

    /// The number that stands for the slot in the record and in status pages.
    #[must_use]
    pub const fn number(self) -> u8 {
        match self {
            Self::A => 0,
            Self::B => 1,
        }
    }

    /// The slot with that number.
    #[must_use]
    pub const fn from_number(number: u8) -> Option<Self> {
        match number {
            0 => Some(Self::A),
            1 => Some(Self::B),
            _ => None,
        }
    }

    /// `a` or `b`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::A => "a",
            Self::B => "b",
        }
    }

    /// The slot that this one is not.
    #[must_use]
    pub const fn other(self) -> Self {
        match self {
            Self::A => Self::B,
            Self::B => Self::A,
        }
    }

    const fn index(self) -> usize {
        self.number() as usize
    }
}

/// What a slot holds, as far as booting it goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SlotState {
    /// Number 0: never written.
    Empty,
    /// Number 1: being written, or given up.
    Invalid,
    /// Number 2: complete and checked, not booted yet.
    Staged,
    /// Number 3: booted and not confirmed yet.
    Trial,
    /// Number 4: confirmed.
    Good,
}

impl SlotState {
    /// The number that stands for the state in the record and in status pages.
    #[must_use]
    pub const fn number(self) -> u8 {
        match self {
            Self::Empty => 0,
            Self::Invalid => 1,
            Self::Staged => 2,
            Self::Trial => 3,
            Self::Good => 4,
        }
    }

    /// The state with that number.
    #[must_use]
    pub const fn from_number(number: u8) -> Option<Self> {
        match number {
            0 => Some(Self::Empty),
            1 => Some(Self::Invalid),
            2 => Some(Self::Staged),
            3 => Some(Self::Trial),
            4 => Some(Self::Good),
            _ => None,
        }
    }

    /// The word for the state, in lower case.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Empty => "empty",
            Self::Invalid => "invalid",
            Self::Staged => "staged",
            Self::Trial => "trial",
            Self::Good => "good",
        }
    }
}

/// What the record says of one slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SlotRecord {
    /// Whether it can be booted, and how sure that is.
    pub state: SlotState,
    /// bcdDevice of the firmware.
    pub bcd_device: u16,
    /// Security version of the firmware.
    pub security_version: u32,
    /// First 16 bytes of the SHA-256 of the package's head; 0 where there was no package.
    pub head: [u8; 16],
    /// Version of the firmware, for people.
    pub version: Text<48>,
    /// Number of the door the firmware came through; 0 where there was none.
    pub door: u8,
    /// The session that staged the slot, for as long as it is open whether the firmware proves itself; else 0.
    pub pending: u32,
    /// How its trial goes.
    pub trial: TrialRecord,
}

/// How the trial of a slot goes; [`Record::boots_left`] is the rest of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TrialRecord {
    /// Boots that the slot was given when it was staged; 0 where it is not and never was on trial.
    pub given: u8,
    /// Boots given back because the host asked for the restart that ended them.
    pub given_back: u8,
    /// The boot under way has been given back already, or counts whatever happens.
    pub settled: bool,
    /// In one boot at least the firmware came up and its health command said no.
    pub unhealthy: bool,
}

impl TrialRecord {
    /// No trial.
    pub const NONE: Self = Self { given: 0, given_back: 0, settled: false, unhealthy: false };

    const SETTLED: u8 = 1;
    const UNHEALTHY: u8 = 2;

    const fn flags(self) -> u8 {
        (if self.settled { Self::SETTLED } else { 0 }) | (if self.unhealthy { Self::UNHEALTHY } else { 0 })
    }
}

impl SlotRecord {
    /// A slot that holds nothing.
    pub const EMPTY: Self = Self {
        state: SlotState::Empty,
        bcd_device: 0,
        security_version: 0,
        head: [0; 16],
        version: Text::EMPTY,
        door: 0,
        pending: 0,
        trial: TrialRecord::NONE,
    };

    /// A slot that is being written, or that no session has finished.
    pub const BEING_WRITTEN: Self = Self { state: SlotState::Invalid, ..Self::EMPTY };

    fn encode(&self, to: &mut [u8]) {
        to[0] = self.state.number();
        to[1] = self.trial.given;
        to[2..4].copy_from_slice(&self.bcd_device.to_le_bytes());
        to[4..8].copy_from_slice(&self.security_version.to_le_bytes());
        to[8..24].copy_from_slice(&self.head);
        self.version.encode(&mut to[24..73]);
        to[73] = self.door;
        to[74] = self.trial.given_back;
        to[75] = self.trial.flags();
        to[76..80].copy_from_slice(&self.pending.to_le_bytes());
    }

    fn parse(from: &[u8; SLOT_LENGTH]) -> Result<Self, RecordError> {
        let flags = from[75];
        zero(&[&[flags & !(TrialRecord::SETTLED | TrialRecord::UNHEALTHY)]])?;
        Ok(Self {
            state: SlotState::from_number(from[0]).ok_or(RecordError::Field("slot state"))?,
            bcd_device: u16::from_le_bytes(array(from, 2)),
            security_version: u32::from_le_bytes(array(from, 4)),
            head: array(from, 8),
            version: Text::parse(&from[24..73]).ok_or(RecordError::Field("slot version"))?,
            door: from[73],
            pending: u32::from_le_bytes(array(from, 76)),
            trial: TrialRecord {
                given: from[1],
                given_back: from[74],
                settled: flags & TrialRecord::SETTLED != 0,
                unhealthy: flags & TrialRecord::UNHEALTHY != 0,
            },
        })
    }
}

/// A session as the record keeps it: the last one, or one in the log. Result, state and door are the numbers of
/// docs/spec/results.md and docs/spec/session.md; the store carries them and does not read them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SessionRecord {
    /// Session id; 0 is none.
    pub id: u32,
    /// Number of the result.
    pub result: u16,
    /// Number of the session state.
    pub state: u8,
    /// Number of the door.
    pub door: u8,
    /// The slot that the session was to write.
    pub target: Slot,
    /// The boot of the trial, counted from 1, that this tells of; 0 where it tells of none.
    pub boot: u8,
    /// First 16 bytes of the SHA-256 of the package's head; 0 where none came that far.
    pub head: [u8; 16],
    /// Version of the package, cut to 40 bytes.
    pub version: Text<40>,
}

impl SessionRecord {
    /// No session.
    pub const NONE: Self = Self {
        id: 0,
        result: 0,
        state: 0,
        door: 0,
        target: Slot::A,
        boot: 0,
        head: [0; 16],
        version: Text::EMPTY,
    };

    /// Whether firmware was staged, confirmed or rolled back: by its result, the numbers of docs/spec/results.md.
    const fn tells_of_firmware(&self) -> bool {
        matches!(self.result, 0..16 | 80..96)
    }

    fn encode(&self, to: &mut [u8]) {
        to[0..4].copy_from_slice(&self.id.to_le_bytes());
        to[4..6].copy_from_slice(&self.result.to_le_bytes());
        to[6] = self.state;
        to[7] = self.door;
        to[8] = self.target.number();
        to[9] = self.boot;
        to[10..26].copy_from_slice(&self.head);
        self.version.encode(&mut to[26..67]);
    }

    fn parse(from: &[u8; SESSION_LENGTH]) -> Result<Self, RecordError> {
        zero(&[&from[67..72]])?;
        Ok(Self {
            id: u32::from_le_bytes(array(from, 0)),
            result: u16::from_le_bytes(array(from, 4)),
            state: from[6],
            door: from[7],
            target: Slot::from_number(from[8]).ok_or(RecordError::Field("target slot"))?,
            boot: from[9],
            head: array(from, 10),
            version: Text::parse(&from[26..67]).ok_or(RecordError::Field("package version"))?,
        })
    }
}

/// The whole record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// Counts up by one with each record written; of two valid copies the higher counts.
    pub sequence: u64,
    /// The slot the loader is to boot.
    pub choice: Slot,
    /// Boots left for a slot on trial; 0 where the choice is no trial.
    pub boots_left: u8,
    /// The slot that booted last: the one that is running.
    pub booted: Slot,
    /// Lowest security version that is still taken.
    pub floor: u32,
    /// The highest session id given so far.
    pub last_id: u32,
    /// Slots a and b; [`Record::slot`] reads better.
    pub slots: [SlotRecord; 2],
    /// The last session.
    pub session: SessionRecord,
    /// Endings of earlier sessions, oldest first, at most [`LOG_LIMIT`].
    pub log: Vec<SessionRecord>,
    /// The start of the machine that the loader decided for last; `None` where each decision is a start.
    pub start: Option<StartId>,
}

/// What tells a start of the machine from all others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StartId([u8; START_LENGTH]);

impl StartId {
    /// From bytes that the system has for this start and for no other one.
    #[must_use]
    pub fn of(bytes: &[u8]) -> Self {
        Self(array(&Sha256::digest(bytes), 0))
    }
}

impl Record {
    /// What the record says of a slot.
    #[must_use]
    pub fn slot(&self, slot: Slot) -> &SlotRecord {
        &self.slots[slot.index()]
    }

    /// As [`Record::slot`], to change it.
    pub fn slot_mut(&mut self, slot: Slot) -> &mut SlotRecord {
        &mut self.slots[slot.index()]
    }

    /// How often a slot on trial, or one that was given up, has been booted.
    #[must_use]
    pub fn boots_used(&self, slot: Slot) -> u8 {
        let TrialRecord { given, given_back, .. } = self.slot(slot).trial;
        let left = if self.choice == slot { self.boots_left } else { 0 };
        given.saturating_add(given_back).saturating_sub(left)
    }

    /// Adds a log record. When the log is full the oldest one leaves: of those that tell of no firmware while they are
    /// the greater half, so that attempts that came to nothing cannot push out what did run here.
    pub fn push_log(&mut self, entry: SessionRecord) {
        while self.log.len() >= LOG_LIMIT {
            let idle = |entry: &SessionRecord| !entry.tells_of_firmware();
            let crowded = self.log.iter().filter(|entry| idle(entry)).count() > LOG_LIMIT / 2;
            let leaving = if crowded { self.log.iter().position(idle) } else { None };
            self.log.remove(leaving.unwrap_or_default());
        }
        self.log.push(entry);
    }

    /// The bytes of the record, checksum included.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        // Only the newest count, should somebody have filled the public field beyond the limit.
        let log = &self.log[self.log.len().saturating_sub(LOG_LIMIT)..];
        let log_end = LOG_AT + log.len() * SESSION_LENGTH;
        let body = log_end + self.start.map_or(0, |start| start.0.len());
        let mut bytes = alloc::vec![0; log_end];
        bytes[0..8].copy_from_slice(&MAGIC);
        bytes[8..10].copy_from_slice(&FORMAT.to_le_bytes());
        bytes[10..12].copy_from_slice(&small(body + CHECKSUM_LENGTH).to_le_bytes());
        bytes[12..20].copy_from_slice(&self.sequence.to_le_bytes());
        bytes[20] = self.choice.number();
        bytes[21] = self.boots_left;
        bytes[22] = self.booted.number();
        bytes[24..28].copy_from_slice(&self.floor.to_le_bytes());
        bytes[28..32].copy_from_slice(&self.last_id.to_le_bytes());
        for (slot, to) in self.slots.iter().zip(bytes[SLOTS_AT..SESSION_AT].chunks_exact_mut(SLOT_LENGTH)) {
            slot.encode(to);
        }
        self.session.encode(&mut bytes[SESSION_AT..LOG_COUNT_AT]);
        bytes[LOG_COUNT_AT..LOG_AT].copy_from_slice(&small(log.len()).to_le_bytes());
        for (entry, to) in log.iter().zip(bytes[LOG_AT..].chunks_exact_mut(SESSION_LENGTH)) {
            entry.encode(to);
        }
        bytes.extend(self.start.iter().flat_map(|start| start.0));
        let checksum = Sha256::digest(&bytes);
        bytes.extend_from_slice(&checksum);
        bytes
    }

    /// Reads a record.
    ///
    /// # Errors
    /// Anything but the exact bytes that [`Record::encode`] makes is refused: the first thing that is wrong is named.
    pub fn parse(bytes: &[u8]) -> Result<Self, RecordError> {
        if bytes.len() < LOG_AT + CHECKSUM_LENGTH || bytes.len() > MAX_LENGTH {
            return Err(RecordError::Length(bytes.len()));
        }
        if bytes[..8] != MAGIC {
            return Err(RecordError::Magic);
        }
        let format = u16::from_le_bytes(array(bytes, 8));
        if format != FORMAT {
            return Err(RecordError::Format(format));
        }
        let log_count = usize::from(u16::from_le_bytes(array(bytes, LOG_COUNT_AT)));
        let announced = usize::from(u16::from_le_bytes(array(bytes, 10)));
        let log_end = LOG_AT + log_count * SESSION_LENGTH;
        let has_start = bytes.len() == log_end + START_LENGTH + CHECKSUM_LENGTH;
        if announced != bytes.len() || (!has_start && bytes.len() != log_end + CHECKSUM_LENGTH) {
            return Err(RecordError::Length(bytes.len()));
        }
        let (body, checksum) = bytes.split_at(bytes.len() - CHECKSUM_LENGTH);
        if Sha256::digest(body).as_slice() != checksum {
            return Err(RecordError::Checksum);
        }
        zero(&[&body[23..24]])?;
        let boot_slot = |at: usize| Slot::from_number(body[at]).ok_or(RecordError::Field("boot choice"));
        let mut log = Vec::with_capacity(log_count);
        for entry in body[LOG_AT..log_end].chunks_exact(SESSION_LENGTH) {
            log.push(SessionRecord::parse(&array(entry, 0))?);
        }
        Ok(Self {
            sequence: u64::from_le_bytes(array(body, 12)),
            choice: boot_slot(20)?,
            boots_left: body[21],
            booted: boot_slot(22)?,
            floor: u32::from_le_bytes(array(body, 24)),
            last_id: u32::from_le_bytes(array(body, 28)),
            slots: [
                SlotRecord::parse(&array(body, SLOTS_AT))?,
                SlotRecord::parse(&array(body, SLOTS_AT + SLOT_LENGTH))?,
            ],
            session: SessionRecord::parse(&array(body, SESSION_AT))?,
            log,
            start: has_start.then(|| StartId(array(body, log_end))),
        })
    }
}

/// Which of two places a copy of the record stands in, or an entry of the journal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Place {
    /// Number 0.
    First,
    /// Number 1.
    Second,
}

impl Place {
    /// Both, in the order of their numbers.
    pub const ALL: [Self; 2] = [Self::First, Self::Second];

    /// 0 or 1.
    #[must_use]
    pub const fn number(self) -> u8 {
        match self {
            Self::First => 0,
            Self::Second => 1,
        }
    }

    /// The place that the next record is written to when the newest one stands here; the area that takes over from this one.
    #[must_use]
    pub const fn other(self) -> Self {
        match self {
            Self::First => Self::Second,
            Self::Second => Self::First,
        }
    }
}

/// The newest valid one of two copies, and where it stands. A copy may be missing (`None`) or torn; the other counts.
///
/// # Errors
/// [`PairError::Missing`] if there is no copy at all, [`PairError::Corrupt`] if there is none that is valid.
pub fn newest(first: Option<&[u8]>, second: Option<&[u8]>) -> Result<(Record, Place), PairError> {
    let first = first.map(Record::parse);
    let second = second.map(Record::parse);
    match (first, second) {
        (None, None) => Err(PairError::Missing),
        (Some(Ok(first)), Some(Ok(second))) => {
            Ok(if second.sequence > first.sequence { (second, Place::Second) } else { (first, Place::First) })
        }
        (Some(Ok(first)), None | Some(Err(_))) => Ok((first, Place::First)),
        (None | Some(Err(_)), Some(Ok(second))) => Ok((second, Place::Second)),
        (Some(Err(first)), second) => {
            Err(PairError::Corrupt { first: Some(first), second: second.and_then(Result::err) })
        }
        (None, Some(Err(second))) => Err(PairError::Corrupt { first: None, second: Some(second) }),
    }
}

/// Why bytes are no record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RecordError {
    /// The bytes are fewer or more than the record says or can have.
    #[error("wrong length, {0} bytes")]
    Length(usize),
    /// It does not begin as a record does.
    #[error("no INBANDST at its beginning")]
    Magic,
    /// Made by a version of Inband that this one does not know.
    #[error("format version {0} is not known")]
    Format(u16),
    /// The bytes are not those that were written.
    #[error("checksum does not match")]
    Checksum,
    /// The checksum is right and a field is not: written by something that does not keep the rules.
    #[error("field \"{0}\" is out of range")]
    Field(&'static str),
}

/// Why two places hold no usable record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PairError {
    /// There is no copy: the store was never initialised.
    #[error("the store has no record; initialise it with `inbandd init`")]
    Missing,
    /// There are copies, and none is valid.
    #[error(
        "no valid record in the store (record.0: {}, record.1: {}); restore one from a backup, or \
         remove the store and initialise it anew with `inbandd init`", Shown(.first), Shown(.second)
    )]
    Corrupt {
        /// What is wrong with the first copy; `None` if it is missing.
        first: Option<RecordError>,
        /// What is wrong with the second copy; `None` if it is missing.
        second: Option<RecordError>,
    },
}

/// Shows what is wrong with a copy.
struct Shown<'a>(&'a Option<RecordError>);

impl core::fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self.0 {
            Some(error) => core::fmt::Display::fmt(error, f),
            None => f.write_str("missing"),
        }
    }
}

/// `N` bytes at an offset that the caller has checked against the length.
pub(crate) fn array<const N: usize>(from: &[u8], at: usize) -> [u8; N] {
    let mut bytes = [0; N];
    bytes.copy_from_slice(&from[at..at + N]);
    bytes
}

/// Reserved bytes are 0.
fn zero(reserved: &[&[u8]]) -> Result<(), RecordError> {
    if reserved.iter().all(|bytes| bytes.iter().all(|&byte| byte == 0)) {
        Ok(())
    } else {
        Err(RecordError::Field("reserved"))
    }
}

/// A length of the record, all of which are below [`MAX_LENGTH`].
fn small(length: usize) -> u16 {
    const { assert!(MAX_LENGTH <= u16::MAX as usize) };
    u16::try_from(length).unwrap_or(u16::MAX)
}

#[cfg(test)]
mod tests;
