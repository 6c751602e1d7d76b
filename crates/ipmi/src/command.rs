//! The subcommands (spec, 2): requests a host encodes and a BMC decodes, replies the other way round.

use alloc::vec::Vec;

use crate::wire::{BODY, Code, ORGANISATION};

/// Which door is to be opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Door {
    /// 1: DFU.
    Dfu,
    /// 2: the bulk interface, which DFU mode has.
    Bulk,
    /// 3: the disk.
    Volume(Profile),
}

/// What the disk holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Profile {
    /// 0: a FAT volume.
    Fat,
    /// 1: the package itself, from block 0 on.
    Raw,
}

impl Door {
    const fn numbers(self) -> (u8, u8) {
        match self {
            Self::Dfu => (1, 0),
            Self::Bulk => (2, 0),
            Self::Volume(Profile::Fat) => (3, 0),
            Self::Volume(Profile::Raw) => (3, 1),
        }
    }

    const fn from_numbers(numbers: (u8, u8)) -> Option<Self> {
        Some(match numbers {
            (1, 0) => Self::Dfu,
            (2, 0) => Self::Bulk,
            (3, 0) => Self::Volume(Profile::Fat),
            (3, 1) => Self::Volume(Profile::Raw),
            _ => return None,
        })
    }
}

/// What the host wants of the session it starts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Wishes {
    /// Bit 0: an older version than the running one is refused.
    pub no_downgrade: bool,
    /// Bit 1: staged firmware waits for an activation, whatever the BMC's configuration says.
    pub defer_activation: bool,
    /// Bit 2: a package of another length is refused; bytes.
    pub length: Option<u32>,
    /// Bit 3: a package whose head has another SHA-256 is refused.
    pub head: Option<[u8; 32]>,
}

impl Wishes {
    /// Bit of [`no_downgrade`](Self::no_downgrade).
    pub const NO_DOWNGRADE: u8 = 1 << 0;
    /// Bit of [`defer_activation`](Self::defer_activation).
    pub const DEFER_ACTIVATION: u8 = 1 << 1;
    /// Bit of [`length`](Self::length).
    pub const LENGTH: u8 = 1 << 2;
    /// Bit of [`head`](Self::head).
    pub const HEAD: u8 = 1 << 3;
    /// All bits that are understood.
    pub const BITS: u8 = Self::NO_DOWNGRADE | Self::DEFER_ACTIVATION | Self::LENGTH | Self::HEAD;

    /// The bits of what is wanted.
    #[must_use]
    pub const fn bits(&self) -> u8 {
        (if self.no_downgrade { Self::NO_DOWNGRADE } else { 0 })
            | (if self.defer_activation { Self::DEFER_ACTIVATION } else { 0 })
            | (if self.length.is_some() { Self::LENGTH } else { 0 })
            | (if self.head.is_some() { Self::HEAD } else { 0 })
    }
}

/// What a host asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Command {
    /// 00: what the BMC can do.
    Capabilities,
    /// 01: open a door.
    Start {
        /// Chosen by the host, another for each act; 0: a repeat is an act of its own.
        tag: u32,
        /// Which one.
        door: Door,
        /// What for.
        wishes: Wishes,
    },
    /// 02: shut it.
    Stop {
        /// As in `Start`.
        tag: u32,
        /// Of the start that is to end.
        nonce: u32,
        /// What has come in so far is all: judge it. Else it is dropped.
        commit: bool,
    },
    /// 03: how things stand.
    Status,
    /// 04: a text or a page, from a byte on.
    Info {
        /// Which one.
        item: u8,
        /// From where on.
        offset: u8,
    },
    /// 05: restart into staged firmware.
    Activate {
        /// As in `Start`.
        tag: u32,
    },
    /// 06: the running firmware is good.
    Confirm {
        /// As in `Start`.
        tag: u32,
    },
    /// 07: drop whatever session and whatever start there is.
    Abort {
        /// As in `Start`.
        tag: u32,
    },
}

/// Items of [`Command::Info`] that are texts.
pub mod item {
    /// Name of the board.
    pub const MACHINE: u8 = 0;
    /// Version of the running firmware.
    pub const RUNNING: u8 = 1;
    /// Version of the firmware in the other slot.
    pub const OTHER: u8 = 2;
    /// Name of the session's result.
    pub const RESULT: u8 = 3;
    /// Version of the daemon.
    pub const DAEMON: u8 = 4;
    /// This and up to 9Fh: the pages of the vendor request, from page 0 on (docs/spec/session.md, 5).
    pub const FIRST_PAGE: u8 = 0x80;
}

impl Command {
    /// The tag of a command that does something; `None` for one that only asks.
    #[must_use]
    pub const fn tag(&self) -> Option<u32> {
        match self {
            Self::Capabilities | Self::Status | Self::Info { .. } => None,
            Self::Start { tag, .. }
            | Self::Stop { tag, .. }
            | Self::Activate { tag }
            | Self::Confirm { tag }
            | Self::Abort { tag } => Some(*tag),
        }
    }

    /// The data of the request: organisation, subcommand, body.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut data = ORGANISATION.to_vec();
        match self {
            Self::Capabilities => data.push(0),
            Self::Start { tag, door, wishes } => {
                data.push(1);
                data.extend(tag.to_le_bytes());
                let (door, profile) = door.numbers();
                data.extend([door, profile, wishes.bits()]);
                data.extend(wishes.length.iter().flat_map(|length| length.to_le_bytes()));
                data.extend(wishes.head.iter().flatten());
            }
            Self::Stop { tag, nonce, commit } => {
                data.push(2);
                data.extend(tag.to_le_bytes());
                data.extend(nonce.to_le_bytes());
                data.push(u8::from(!commit));
            }
            Self::Status => data.push(3),
            Self::Info { item, offset } => data.extend([4, *item, *offset]),
            Self::Activate { tag } => tagged(&mut data, 5, *tag),
            Self::Confirm { tag } => tagged(&mut data, 6, *tag),
            Self::Abort { tag } => tagged(&mut data, 7, *tag),
        }
        data
    }

    /// What a request's data, behind the organisation, says.
    ///
    /// # Errors
    /// The completion code to answer with: [`Code::LENGTH`], [`Code::FIELD`], and [`Code::INVALID_COMMAND`] for an unknown subcommand.
    pub fn decode(data: &[u8]) -> Result<Self, Code> {
        let (&subcommand, body) = data.split_first().ok_or(Code::LENGTH)?;
        if body.len() > BODY {
            return Err(Code::LENGTH);
        }
        let mut fields = Fields(body);
        let command = match subcommand {
            0 => Self::Capabilities,
            1 => {
                let tag = fields.u32()?;
                let door = Door::from_numbers((fields.u8()?, fields.u8()?)).ok_or(Code::FIELD)?;
                let options = fields.u8()?;
                if options & !Wishes::BITS != 0 {
                    return Err(Code::FIELD);
                }
                let has = |bit| options & bit != 0;
                let wishes = Wishes {
                    no_downgrade: has(Wishes::NO_DOWNGRADE),
                    defer_activation: has(Wishes::DEFER_ACTIVATION),
                    length: if has(Wishes::LENGTH) { Some(fields.u32()?) } else { None },
                    head: if has(Wishes::HEAD) { Some(fields.array()?) } else { None },
                };
                Self::Start { tag, door, wishes }
            }
            2 => {
                let (tag, nonce) = (fields.u32()?, fields.u32()?);
                let commit = match fields.u8()? {
                    0 => true,
                    1 => false,
                    _ => return Err(Code::FIELD),
                };
                Self::Stop { tag, nonce, commit }
            }
            3 => Self::Status,
            4 => Self::Info { item: fields.u8()?, offset: fields.u8()? },
            5 => Self::Activate { tag: fields.u32()? },
            6 => Self::Confirm { tag: fields.u32()? },
            7 => Self::Abort { tag: fields.u32()? },
            _ => return Err(Code::INVALID_COMMAND),
        };
        fields.end()?;
        Ok(command)
    }
}

fn tagged(data: &mut Vec<u8>, subcommand: u8, tag: u32) {
    data.push(subcommand);
    data.extend(tag.to_le_bytes());
}

/// Why a reply makes no sense to a host.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadReply {
    /// Too short, or too long.
    #[error("a reply of a length that cannot be")]
    Length,
    /// It does not begin with the organisation.
    #[error("a reply of another organisation's")]
    Organisation,
    /// It answers another request.
    #[error("a reply to another request")]
    Tag,
    /// A format version that is not known.
    #[error("a reply of format {0}, which is not known")]
    Format(u8),
}

/// What a BMC can do: the answer to [`Command::Capabilities`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Capabilities {
    /// Bit n: the door with number n + 1 exists.
    pub doors: u8,
    /// Two bits for each door, as in page 0 (docs/spec/session.md, 5).
    pub door_states: u8,
    /// Bit n: profile n of the disk.
    pub profiles: u8,
    /// Bit n: bit n of the options is understood.
    pub options: u8,
    /// Bit 0: a start may open doors; 1: the host may activate; 2: the host may confirm.
    pub allowed: u8,
    /// How long a start holds, seconds.
    pub holds_s: u16,
    /// The largest package, MiB.
    pub largest_mib: u16,
}

impl Capabilities {
    const LENGTH: usize = 10;
    /// Bit of [`allowed`](Self::allowed): a start may open doors.
    pub const OPENS: u8 = 1 << 0;
    /// Bit of [`allowed`](Self::allowed): the host may activate.
    pub const ACTIVATES: u8 = 1 << 1;
    /// Bit of [`allowed`](Self::allowed): the host may confirm.
    pub const CONFIRMS: u8 = 1 << 2;

    /// Whether a start may open doors.
    #[must_use]
    pub const fn may_open(&self) -> bool {
        self.allowed & Self::OPENS != 0
    }

    /// Whether the door at this place, from 0 on, exists.
    #[must_use]
    pub const fn has_door(&self, index: usize) -> bool {
        index < 8 && self.doors >> index & 1 != 0
    }

    /// The number of the state of the door at this place, from 0 on.
    #[must_use]
    pub const fn door_state(&self, index: usize) -> u8 {
        if index < 4 { self.door_states >> (2 * index) & 3 } else { 0 }
    }

    /// Whether the disk can have a profile.
    #[must_use]
    pub const fn has_profile(&self, profile: Profile) -> bool {
        self.profiles >> Door::Volume(profile).numbers().1 & 1 != 0
    }

    /// The reply's data.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut data = reply();
        data.extend([FORMAT, self.doors, self.door_states, self.profiles, self.options, self.allowed]);
        data.extend(self.holds_s.to_le_bytes());
        data.extend(self.largest_mib.to_le_bytes());
        data
    }

    /// What a reply says; one that is longer than this version knows is read as far as it is known.
    ///
    /// # Errors
    /// It makes no sense.
    pub fn decode(data: &[u8]) -> Result<Self, BadReply> {
        let mut fields = formatted(data, Self::LENGTH)?;
        Ok(Self {
            doors: fields.u8()?,
            door_states: fields.u8()?,
            profiles: fields.u8()?,
            options: fields.u8()?,
            allowed: fields.u8()?,
            holds_s: fields.u16()?,
            largest_mib: fields.u16()?,
        })
    }
}

/// What a start gave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Started {
    /// Names the start; never 0.
    pub nonce: u32,
    /// How long it holds, seconds.
    pub holds_s: u16,
}

impl Started {
    /// The reply's data.
    #[must_use]
    pub fn encode(&self, tag: u32) -> Vec<u8> {
        let mut data = acknowledged(tag);
        data.extend(self.nonce.to_le_bytes());
        data.extend(self.holds_s.to_le_bytes());
        data
    }

    /// What a reply says.
    ///
    /// # Errors
    /// It makes no sense, or is for another tag.
    pub fn decode(data: &[u8], tag: u32) -> Result<Self, BadReply> {
        let mut fields = is_acknowledged(data, tag)?;
        Ok(Self { nonce: fields.u32()?, holds_s: fields.u16()? })
    }
}

/// The reply to a command that gives nothing back.
#[must_use]
pub fn acknowledged(tag: u32) -> Vec<u8> {
    let mut data = reply();
    data.extend(tag.to_le_bytes());
    data
}

/// Whether a reply acknowledges that tag.
///
/// # Errors
/// It does not.
pub fn check_acknowledged(data: &[u8], tag: u32) -> Result<(), BadReply> {
    is_acknowledged(data, tag).map(drop)
}

fn is_acknowledged(data: &[u8], tag: u32) -> Result<Fields<'_>, BadReply> {
    let mut fields = Fields(of_organisation(data)?);
    if fields.u32()? != tag {
        return Err(BadReply::Tag);
    }
    Ok(fields)
}

/// How things stand: the answer to [`Command::Status`]. Numbers are those of docs/spec/session.md and docs/spec/results.md.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Status {
    /// State of the session.
    pub state: u8,
    /// The door that owns it; 0: none.
    pub door: u8,
    /// How much of the package has come, or of the slot is read back, in percent; FFh: not known.
    pub percent: u8,
    /// Its result.
    pub result: u16,
    /// Two bits for each door.
    pub door_states: u8,
    /// As in page 0; bit 7: a start is in force.
    pub flags: u8,
    /// Session id; 0: none.
    pub session: u32,
    /// Bytes received.
    pub received: u32,
    /// Bytes announced; 0: not known.
    pub announced: u32,
    /// Of the start in force, or the one the session came by; 0: none.
    pub nonce: u32,
    /// First 8 bytes of the SHA-256 of the head of the running firmware's package; 0: not known.
    pub running: [u8; 8],
    /// Its security version.
    pub running_security: u32,
    /// Likewise, of the other slot.
    pub other: [u8; 8],
    /// Likewise.
    pub other_security: u32,
    /// Minutes until a session may begin; 0: now.
    pub wait_min: u16,
    /// Seconds that the start still holds, or until one whose time is over is looked at again; 0: none is in force.
    pub holds_s: u16,
}

/// Bit of [`Status::flags`]: a start is in force.
pub const FLAG_STARTED: u8 = 0x80;

impl Status {
    /// Bytes behind the organisation.
    pub const LENGTH: usize = 52;

    /// The reply's data.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut data = reply();
        data.extend([FORMAT, self.state, self.door, self.percent]);
        data.extend(self.result.to_le_bytes());
        data.extend([self.door_states, self.flags]);
        for number in [self.session, self.received, self.announced, self.nonce] {
            data.extend(number.to_le_bytes());
        }
        data.extend(self.running);
        data.extend(self.running_security.to_le_bytes());
        data.extend(self.other);
        data.extend(self.other_security.to_le_bytes());
        data.extend(self.wait_min.to_le_bytes());
        data.extend(self.holds_s.to_le_bytes());
        data
    }

    /// What a reply says; one that is longer than this version knows is read as far as it is known.
    ///
    /// # Errors
    /// It makes no sense.
    pub fn decode(data: &[u8]) -> Result<Self, BadReply> {
        let mut fields = formatted(data, Self::LENGTH)?;
        Ok(Self {
            state: fields.u8()?,
            door: fields.u8()?,
            percent: fields.u8()?,
            result: fields.u16()?,
            door_states: fields.u8()?,
            flags: fields.u8()?,
            session: fields.u32()?,
            received: fields.u32()?,
            announced: fields.u32()?,
            nonce: fields.u32()?,
            running: fields.array()?,
            running_security: fields.u32()?,
            other: fields.array()?,
            other_security: fields.u32()?,
            wait_min: fields.u16()?,
            holds_s: fields.u16()?,
        })
    }
}

/// A piece of an item: the answer to [`Command::Info`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Piece<'a> {
    /// Which item.
    pub item: u8,
    /// Bytes of all of it.
    pub total: u8,
    /// From the offset on; empty at its end.
    pub bytes: &'a [u8],
}

impl<'a> Piece<'a> {
    /// Bytes of a piece, at most.
    pub const LENGTH: usize = BODY - 2;

    /// The reply's data for a whole item, which is at most 255 bytes long: what is behind is cut.
    #[must_use]
    pub fn encode(item: u8, whole: &[u8], offset: u8) -> Vec<u8> {
        let whole = &whole[..whole.len().min(usize::from(u8::MAX))];
        let rest = whole.get(usize::from(offset)..).unwrap_or_default();
        let mut data = reply();
        data.extend([item, whole.len() as u8]);
        data.extend(&rest[..rest.len().min(Self::LENGTH)]);
        data
    }

    /// What a reply says.
    ///
    /// # Errors
    /// It makes no sense, or is another item's.
    pub fn decode(data: &'a [u8], item: u8, offset: u8) -> Result<Self, BadReply> {
        match of_organisation(data)? {
            [its, total, bytes @ ..] => {
                if *its != item {
                    return Err(BadReply::Tag);
                }
                let left = usize::from(total.saturating_sub(offset));
                if bytes.len() != left.min(Self::LENGTH) {
                    return Err(BadReply::Length);
                }
                Ok(Self { item, total: *total, bytes })
            }
            _ => Err(BadReply::Length),
        }
    }
}

const FORMAT: u8 = 1;

fn reply() -> Vec<u8> {
    ORGANISATION.to_vec()
}

/// A reply behind the organisation.
fn of_organisation(data: &[u8]) -> Result<&[u8], BadReply> {
    if data.len() > ORGANISATION.len() + BODY {
        return Err(BadReply::Length);
    }
    data.strip_prefix(&ORGANISATION).ok_or(BadReply::Organisation)
}

/// A reply behind the format, with as many bytes as it has in this version at least.
fn formatted(data: &[u8], length: usize) -> Result<Fields<'_>, BadReply> {
    let body = of_organisation(data)?;
    let (&format, fields) = body.split_first().ok_or(BadReply::Length)?;
    if format != FORMAT {
        return Err(BadReply::Format(format));
    }
    if body.len() < length {
        return Err(BadReply::Length);
    }
    Ok(Fields(fields))
}

/// Bytes that are read from the front.
struct Fields<'a>(&'a [u8]);

/// There are too few, or too many.
struct Short;

impl From<Short> for Code {
    fn from(_: Short) -> Self {
        Self::LENGTH
    }
}

impl From<Short> for BadReply {
    fn from(_: Short) -> Self {
        Self::Length
    }
}

impl Fields<'_> {
    fn array<const N: usize>(&mut self) -> Result<[u8; N], Short> {
        let (array, rest) = self.0.split_first_chunk().ok_or(Short)?;
        self.0 = rest;
        Ok(*array)
    }

    fn u8(&mut self) -> Result<u8, Short> {
        self.array().map(|[byte]| byte)
    }

    fn u16(&mut self) -> Result<u16, Short> {
        self.array().map(u16::from_le_bytes)
    }

    fn u32(&mut self) -> Result<u32, Short> {
        self.array().map(u32::from_le_bytes)
    }

    /// Nothing may be left.
    const fn end(&self) -> Result<(), Short> {
        if self.0.is_empty() { Ok(()) } else { Err(Short) }
    }
}
