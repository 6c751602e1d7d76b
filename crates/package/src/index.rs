//! The index: everything that follows it in the archive, chunk by chunk with its hash (docs/spec/package.md,
//! 5).

use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;
use core::ops::RangeInclusive;

use crate::digest::Digest;
use crate::head::{Head, MAX_INDEX_LENGTH, MAX_MACHINE};
use crate::tar;
use crate::wire::{FieldError, Fields, put_str};

/// Name of the tar member that holds the index.
pub const MEMBER_NAME: &str = "inband.index";

/// Version of the index's format that this crate reads and writes.
pub const FORMAT_VERSION: u16 = 1;

/// Most bytes of a chunk: 128 KiB.
pub const MAX_CHUNK_LENGTH: u32 = 128 * 1024;

/// Most names of compatible machines.
pub const MAX_COMPATIBLE: usize = 16;

/// Most bytes of the version.
pub const MAX_VERSION: usize = 48;

/// Most targets.
pub const MAX_TARGETS: usize = 4;

/// Most bytes of a target's name.
pub const MAX_TARGET_NAME: usize = 16;

/// Most members.
pub const MAX_MEMBERS: usize = 64;

const MAGIC: &[u8; 8] = b"INBANDIX";
/// Bytes of a chunk in the index, at least.
const CHUNK_ENTRY_LENGTH: usize = 37;
/// Number of [`Encoding::Plain`]. Like the next one part of the format: never reorder, never reuse one.
const PLAIN: u8 = 0;
/// Number of [`Encoding::Zstd`].
const ZSTD: u8 = 1;
/// What stands before the name of a member in the archive if one of its chunks is not sent as it is stored. No
/// member's own name begins so, and none who knows nothing of chunks takes it for an image.
const ENCODED_PREFIX: &str = "inband.chunks/";
/// What the names of the package's own members begin with.
const OWN_PREFIX: &str = "inband.";

/// What the index says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Index {
    /// The board this package is for; the head says the same.
    pub machine: String,
    /// Names of compatible machines.
    pub compatible: Vec<String>,
    /// The firmware's version, for people.
    pub version: String,
    /// Compared with the BMC's security floor.
    pub security_version: u32,
    /// What USB shows as bcdDevice once this firmware is staged: four BCD digits.
    pub bcd_device: u16,
    /// Names of the things to be updated.
    pub targets: Vec<String>,
    /// The members that follow, in order.
    pub members: Vec<Member>,
}

/// A member of the archive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// Its name in the archive.
    pub name: String,
    /// What it is.
    pub kind: MemberKind,
    /// Which of the index's targets it belongs to.
    pub target: u8,
    /// Its length in bytes as it is stored: the sum of its chunks.
    pub length: u64,
    /// Its chunks, in order and without gaps.
    pub chunks: Vec<Chunk>,
}

/// What a member is. The numbers are part of the format: never reorder, never reuse one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum MemberKind {
    /// Goes to the region of the member's name.
    Image = 0,
    /// Checked, not written: MANIFEST, keys, signatures of other update paths.
    Metadata = 1,
}

/// How a chunk's bytes stand in the archive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encoding {
    /// As they are.
    Plain,
    /// As a Zstandard frame (RFC 8878), shorter than they are.
    Zstd(Sent),
}

/// A chunk as it is sent, where that is not as it is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sent {
    /// Its length in bytes: at least 1, and less than that of what is stored.
    pub length: u32,
    /// SHA-256 of its bytes.
    pub digest: Digest,
}

/// A piece of a member with its own hash.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Chunk {
    /// How its bytes stand in the archive.
    pub encoding: Encoding,
    /// Its length in bytes as it is stored: 1 to [`MAX_CHUNK_LENGTH`].
    pub length: u32,
    /// SHA-256 of its bytes as they are stored.
    pub digest: Digest,
}

/// What [`Index::visit`] comes by, in the order of the index.
#[derive(Clone, Copy, Debug)]
pub enum Part<'a> {
    /// A member begins.
    Member {
        /// The index, with the members before this one.
        index: &'a Index,
        /// The member, without chunks.
        member: &'a Member,
        /// How many chunks follow.
        count: usize,
    },
    /// The next chunk of that member.
    Chunk {
        /// Where in the member it begins, in bytes.
        offset: u64,
        /// The chunk.
        chunk: Chunk,
    },
}

/// How an index breaks the format. Members and chunks are counted from 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum IndexError {
    /// It is not the index that the head names.
    #[error("its hash is not the head's")]
    Digest,
    /// Its first bytes are not the magic.
    #[error("it does not begin with the magic")]
    Magic,
    /// A version of the format that this reader does not know.
    #[error("format version {0}; known is {FORMAT_VERSION}")]
    Version(u16),
    /// A flag is set.
    #[error("a reserved flag is set")]
    Reserved,
    /// A field breaks the rules of its type.
    #[error("{0} {1}")]
    Field(Field, FieldError),
    /// A count is out of bounds.
    #[error("{0} has {1} entries, which is not allowed")]
    Count(Field, usize),
    /// The machine is not the head's.
    #[error("the machine is not the head's")]
    Machine,
    /// bcdDevice has a digit above 9.
    #[error("bcdDevice {0:04x}")]
    BcdDevice(u16),
    /// Two targets of one name.
    #[error("target {0} has the name of an earlier one")]
    TargetTwice(usize),
    /// Two members of one name.
    #[error("member {0} has the name of an earlier one")]
    MemberTwice(usize),
    /// A member's name is reserved, or has an empty part, `.` or `..`.
    #[error("member {0} has a name that is not allowed")]
    MemberName(usize),
    /// A member's kind that the format does not have.
    #[error("member {member} is of kind {kind}")]
    MemberKind {
        /// Which member.
        member: usize,
        /// Its kind.
        kind: u8,
    },
    /// A member's target that the index does not list.
    #[error("member {0} belongs to no target")]
    MemberTarget(usize),
    /// A member's chunks do not add up to its length.
    #[error("the chunks of member {0} do not add up to its length")]
    MemberLength(usize),
    /// An encoding that this reader does not know.
    #[error("chunk {chunk} of member {member} has encoding {encoding}")]
    Encoding {
        /// Which member.
        member: usize,
        /// Which of its chunks.
        chunk: usize,
        /// Its encoding.
        encoding: u8,
    },
    /// A chunk that is empty or too long.
    #[error("chunk {chunk} of member {member} has {length} bytes")]
    ChunkLength {
        /// Which member.
        member: usize,
        /// Which of its chunks.
        chunk: usize,
        /// Its length in bytes.
        length: u32,
    },
    /// A chunk that would be sent empty, or not shorter than it is stored.
    #[error("chunk {chunk} of member {member} is sent as {length} bytes")]
    SentLength {
        /// Which member.
        member: usize,
        /// Which of its chunks.
        chunk: usize,
        /// Its length as sent, in bytes.
        length: u32,
    },
    /// Bytes behind the last member's entry.
    #[error("there are {0} bytes behind the last member")]
    Trailing(usize),
    /// It is longer than an index may be. Only a maker meets this: a reader refuses such a head.
    #[error("{0} bytes; {MAX_INDEX_LENGTH} are allowed")]
    TooLong(usize),
    /// The archive that it describes is not as long as the head says.
    #[error("the members do not add up to the head's total length")]
    TotalLength,
}

/// A field of the index, as errors name it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Field {
    /// Magic, format version and flags.
    Start,
    /// The machine.
    Machine,
    /// The list of compatible machines.
    Compatible,
    /// Version, security version, bcdDevice.
    Version,
    /// The list of targets.
    Targets,
    /// The number of members.
    Members,
    /// A field of this member.
    Member(usize),
}

impl fmt::Display for Field {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Start => f.write_str("the beginning"),
            Self::Machine => f.write_str("the machine"),
            Self::Compatible => f.write_str("the list of compatible machines"),
            Self::Version => f.write_str("the version"),
            Self::Targets => f.write_str("the list of targets"),
            Self::Members => f.write_str("the list of members"),
            Self::Member(number) => write!(f, "member {number}"),
        }
    }
}

/// Names the field that a [`FieldError`] happened in.
fn within<T>(field: Field, result: Result<T, FieldError>) -> Result<T, IndexError> {
    result.map_err(|fault| IndexError::Field(field, fault))
}

impl Index {
    /// Reads an index and checks all its rules. Takes time and memory in proportion to `bytes`.
    ///
    /// # Errors
    /// The first rule that is broken, in the order of the fields.
    pub fn parse(bytes: &[u8]) -> Result<Self, IndexError> {
        let mut members: Vec<Vec<Chunk>> = Vec::new();
        let mut index = Self::visit(bytes, |part| match part {
            Part::Member { count, .. } => members.push(Vec::with_capacity(count)),
            Part::Chunk { chunk, .. } => {
                if let Some(chunks) = members.last_mut() {
                    chunks.push(chunk);
                }
            }
        })?;
        for (member, chunks) in index.members.iter_mut().zip(members) {
            member.chunks = chunks;
        }
        Ok(index)
    }

    /// As [`Index::parse`], but keeps no chunk: `each` gets them one by one, and what is returned has members without any. What `each` got
    /// of an index that is refused in the end is worth nothing.
    ///
    /// # Errors
    /// Those of `parse`.
    pub fn visit(bytes: &[u8], mut each: impl FnMut(Part<'_>)) -> Result<Self, IndexError> {
        let mut fields = Fields(bytes);
        let mut index = Self::start(&mut fields)?;
        let count = usize::from(within(Field::Members, fields.u16())?);
        if !(1..=MAX_MEMBERS).contains(&count) {
            return Err(IndexError::Count(Field::Members, count));
        }
        index.members.reserve_exact(count);
        for number in 0..count {
            let (member, count) = Member::start(&mut fields, number, index.targets.len())?;
            each(Part::Member { index: &index, member: &member, count });
            let mut offset: u64 = 0;
            let mut encoded = false;
            for place in 0..count {
                let chunk = Chunk::parse(&mut fields, number, place)?;
                encoded |= chunk.encoding != Encoding::Plain;
                each(Part::Chunk { offset, chunk });
                offset = offset.saturating_add(chunk.length.into());
            }
            if offset != member.length {
                return Err(IndexError::MemberLength(number));
            }
            if archive_name(&member.name, encoded).len() > tar::MAX_NAME {
                return Err(IndexError::MemberName(number));
            }
            if index.members.iter().any(|earlier| earlier.name == member.name) {
                return Err(IndexError::MemberTwice(number));
            }
            index.members.push(member);
        }
        if !fields.0.is_empty() {
            return Err(IndexError::Trailing(fields.0.len()));
        }
        Ok(index)
    }

    /// Reads what stands before the members.
    fn start(fields: &mut Fields<'_>) -> Result<Self, IndexError> {
        if &within(Field::Start, fields.array())? != MAGIC {
            return Err(IndexError::Magic);
        }
        let format = within(Field::Start, fields.u16())?;
        if format != FORMAT_VERSION {
            return Err(IndexError::Version(format));
        }
        if within(Field::Start, fields.u16())? != 0 {
            return Err(IndexError::Reserved);
        }
        let machine = within(Field::Machine, fields.str(1..=MAX_MACHINE))?;
        let compatible = names(fields, Field::Compatible, 0..=MAX_COMPATIBLE, MAX_MACHINE)?;
        let version = within(Field::Version, fields.str(1..=MAX_VERSION))?;
        let security_version = within(Field::Version, fields.u32())?;
        let bcd_device = within(Field::Version, fields.u16())?;
        if !is_bcd(bcd_device) {
            return Err(IndexError::BcdDevice(bcd_device));
        }
        let targets = names(fields, Field::Targets, 1..=MAX_TARGETS, MAX_TARGET_NAME)?;
        if let Some(twice) = first_repeated(&targets) {
            return Err(IndexError::TargetTwice(twice));
        }
        let members = Vec::new();
        Ok(Self { machine, compatible, version, security_version, bcd_device, targets, members })
    }

    /// Writes the index.
    ///
    /// # Errors
    /// The first rule that the values break.
    pub fn encode(&self) -> Result<Vec<u8>, IndexError> {
        let mut out = Vec::new();
        out.extend_from_slice(MAGIC);
        out.extend_from_slice(&FORMAT_VERSION.to_le_bytes());
        out.extend_from_slice(&[0; 2]);
        put_text(&mut out, Field::Machine, &self.machine)?;
        put_names(&mut out, Field::Compatible, &self.compatible)?;
        put_text(&mut out, Field::Version, &self.version)?;
        out.extend_from_slice(&self.security_version.to_le_bytes());
        out.extend_from_slice(&self.bcd_device.to_le_bytes());
        put_names(&mut out, Field::Targets, &self.targets)?;
        let count = u16::try_from(self.members.len())
            .map_err(|_| IndexError::Count(Field::Members, self.members.len()))?;
        out.extend_from_slice(&count.to_le_bytes());
        for (number, member) in self.members.iter().enumerate() {
            member.encode(number, &mut out)?;
        }
        if u32::try_from(out.len()).is_ok_and(|length| length <= MAX_INDEX_LENGTH) {
            // The other rules are written down once, in the reader.
            Self::parse(&out)?;
            Ok(out)
        } else {
            Err(IndexError::TooLong(out.len()))
        }
    }

    /// Checks what head and index must agree on.
    ///
    /// # Errors
    /// [`IndexError::Machine`] and [`IndexError::TotalLength`].
    pub fn check_against(&self, head: &Head) -> Result<(), IndexError> {
        if self.machine != head.machine {
            return Err(IndexError::Machine);
        }
        let signatures = head.signatures.iter().map(|entry| entry.length);
        if self.archive_length(signatures, head.index_length) != Some(head.total_length) {
            return Err(IndexError::TotalLength);
        }
        Ok(())
    }

    /// Length in bytes of the archive with this index, which is `index_length` bytes long, and signatures of
    /// these lengths. `None` if a u64 cannot hold it.
    #[must_use]
    pub fn archive_length(&self, signatures: impl Iterator<Item = u16>, index_length: u32) -> Option<u64> {
        let head = tar::span(crate::head::LENGTH as u64);
        let signatures = signatures.map(|length| tar::span(length.into()));
        let members = self.members.iter().map(|member| tar::span(member.sent_length()));
        [head, tar::span(index_length.into())]
            .into_iter()
            .chain(signatures)
            .chain(members)
            .try_fold(tar::END_LENGTH, |sum, span| sum.checked_add(span?))
    }
}

impl Member {
    /// Its length in bytes as it is sent: what its tar header says.
    #[must_use]
    pub fn sent_length(&self) -> u64 {
        // A sum of u32 that an index has no room for enough of to overflow.
        self.chunks.iter().map(|chunk| u64::from(chunk.sent().length)).sum()
    }

    /// The name in its tar header.
    #[must_use]
    pub fn archive_name(&self) -> String {
        archive_name(&self.name, self.chunks.iter().any(|chunk| chunk.encoding != Encoding::Plain))
    }

    /// The chunks with their offsets in the member, in bytes.
    pub fn chunks_with_offsets(&self) -> impl Iterator<Item = (u64, &Chunk)> {
        self.chunks.iter().scan(0, |next: &mut u64, chunk| {
            let offset = *next;
            *next = offset.saturating_add(chunk.length.into());
            Some((offset, chunk))
        })
    }

    /// Reads the member that has this `number`, of an index with `targets` targets, and how many chunks follow.
    fn start(fields: &mut Fields<'_>, number: usize, targets: usize) -> Result<(Self, usize), IndexError> {
        let this = Field::Member(number);
        let name = within(this, fields.str(1..=tar::MAX_NAME))?;
        if name.starts_with(OWN_PREFIX) || name.split('/').any(|part| matches!(part, "" | "." | "..")) {
            return Err(IndexError::MemberName(number));
        }
        let kind = match within(this, fields.u8())? {
            0 => MemberKind::Image,
            1 => MemberKind::Metadata,
            kind => return Err(IndexError::MemberKind { member: number, kind }),
        };
        let target = within(this, fields.u8())?;
        if usize::from(target) >= targets {
            return Err(IndexError::MemberTarget(number));
        }
        let length = within(this, fields.u64())?;
        let count = within(this, fields.u32())?;
        // Whatever the count claims: memory is taken for chunks that are there.
        let count = usize::try_from(count).unwrap_or(usize::MAX);
        if fields.0.len() / CHUNK_ENTRY_LENGTH < count {
            return Err(IndexError::Field(this, FieldError::Short));
        }
        Ok((Self { name, kind, target, length, chunks: Vec::new() }, count))
    }

    fn encode(&self, number: usize, out: &mut Vec<u8>) -> Result<(), IndexError> {
        put_text(out, Field::Member(number), &self.name)?;
        out.extend_from_slice(&[self.kind as u8, self.target]);
        out.extend_from_slice(&self.length.to_le_bytes());
        let count = u32::try_from(self.chunks.len())
            .map_err(|_| IndexError::Count(Field::Member(number), self.chunks.len()))?;
        out.extend_from_slice(&count.to_le_bytes());
        for chunk in &self.chunks {
            chunk.encode(out);
        }
        Ok(())
    }
}

impl Chunk {
    /// What is sent for the chunk.
    #[must_use]
    pub const fn sent(&self) -> Sent {
        match self.encoding {
            Encoding::Plain => Sent { length: self.length, digest: self.digest },
            Encoding::Zstd(sent) => sent,
        }
    }

    fn encode(&self, out: &mut Vec<u8>) {
        out.push(match self.encoding {
            Encoding::Plain => PLAIN,
            Encoding::Zstd(_) => ZSTD,
        });
        out.extend_from_slice(&self.length.to_le_bytes());
        out.extend_from_slice(&self.digest);
        match self.encoding {
            Encoding::Plain => {}
            Encoding::Zstd(sent) => {
                out.extend_from_slice(&sent.length.to_le_bytes());
                out.extend_from_slice(&sent.digest);
            }
        }
    }

    fn parse(fields: &mut Fields<'_>, member: usize, chunk: usize) -> Result<Self, IndexError> {
        let this = Field::Member(member);
        let compressed = match within(this, fields.u8())? {
            PLAIN => false,
            ZSTD => true,
            encoding => return Err(IndexError::Encoding { member, chunk, encoding }),
        };
        let length = within(this, fields.u32())?;
        if !(1..=MAX_CHUNK_LENGTH).contains(&length) {
            return Err(IndexError::ChunkLength { member, chunk, length });
        }
        let digest = within(this, fields.array())?;
        if !compressed {
            return Ok(Self { encoding: Encoding::Plain, length, digest });
        }
        let sent = Sent { length: within(this, fields.u32())?, digest: within(this, fields.array())? };
        if !(1..length).contains(&sent.length) {
            return Err(IndexError::SentLength { member, chunk, length: sent.length });
        }
        Ok(Self { encoding: Encoding::Zstd(sent), length, digest })
    }
}

/// The name in the tar header of a member; `encoded` is whether any of its chunks is not sent as it is stored.
fn archive_name(name: &str, encoded: bool) -> String {
    let prefix = if encoded { ENCODED_PREFIX } else { "" };
    [prefix, name].concat()
}

/// A count byte and that many *str* of 1 to `longest` bytes.
fn names(
    fields: &mut Fields<'_>,
    field: Field,
    counts: RangeInclusive<usize>,
    longest: usize,
) -> Result<Vec<String>, IndexError> {
    let count = usize::from(within(field, fields.u8())?);
    if !counts.contains(&count) {
        return Err(IndexError::Count(field, count));
    }
    (0..count).map(|_| within(field, fields.str(1..=longest))).collect()
}

fn put_names(out: &mut Vec<u8>, field: Field, names: &[String]) -> Result<(), IndexError> {
    out.push(u8::try_from(names.len()).map_err(|_| IndexError::Count(field, names.len()))?);
    names.iter().try_for_each(|name| put_text(out, field, name))
}

fn put_text(out: &mut Vec<u8>, field: Field, text: &str) -> Result<(), IndexError> {
    put_str(out, text).ok_or(IndexError::Field(field, FieldError::Length))
}

/// The first name that stands in the list before.
fn first_repeated(names: &[String]) -> Option<usize> {
    (0..names.len()).find(|number| names[..*number].contains(&names[*number]))
}

/// Whether all four digits of a bcdDevice are 0 to 9.
#[must_use]
pub fn is_bcd(value: u16) -> bool {
    [0, 4, 8, 12].into_iter().all(|shift| (value >> shift) & 0xF <= 9)
}
