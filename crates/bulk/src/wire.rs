//! What travels (spec, 2 and 3). All integers are little-endian.

use alloc::{vec, vec::Vec};
use core::{fmt, ops::RangeInclusive};

/// Bytes of a unit: each message begins with one and is filled up with zeros to the end of its last.
pub const UNIT: usize = 512;
/// Bytes of a header; the body follows.
pub const HEADER_LENGTH: usize = 20;
/// What every header begins with.
pub const MAGIC: [u8; 4] = *b"IBLK";
/// The version of the protocol that this crate speaks, and the only one.
pub const VERSION: u8 = 1;

/// Bytes of an OFFER's body: a package up to its first member, with one signature and the shortest index, or with four and the
/// longest.
pub const OFFER_LENGTHS: RangeInclusive<u32> = 3_072..=560_640;
/// Most chunks of an exchange: pieces of the longest file. No index has room for as many.
pub const MAX_CHUNKS: u32 = 16_385;
/// Most bytes of a chunk as it is sent.
pub const MAX_CHUNK_LENGTH: u32 = 131_072;
/// Bytes of a piece of a file without an index, but for the last one.
pub const PIECE_LENGTH: u32 = 65_536;
/// Most bytes of such a file.
pub const MAX_FILE_LENGTH: u64 = MAX_CHUNKS as u64 * PIECE_LENGTH as u64;
/// Bytes of WHOLE's body.
pub const WHOLE_LENGTH: usize = 8;
/// Bytes of NEED's body in front of the bitmap.
pub const NEED_LENGTH: usize = 16;
/// Most bytes of NEED's body.
pub const MAX_NEED_LENGTH: usize = NEED_LENGTH + (MAX_CHUNKS as usize).div_ceil(8);
/// Bytes of RESULT's body.
pub const RESULT_LENGTH: usize = 8;

/// The result for a message that breaks the protocol: `protocol` of docs/spec/results.md.
pub const PROTOCOL: u16 = 53;
/// The result for a package that is staged: `ok` of docs/spec/results.md.
pub const OK: u16 = 1;

/// What a message is. Part of the protocol: never reorder, never reuse a number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Kind {
    /// From the host: a package up to its first member.
    Offer = 0x01,
    /// From the host: the length of a file that has no index.
    Whole = 0x02,
    /// From the host: a chunk, or a piece.
    Chunk = 0x03,
    /// From the device: which chunks are to be sent.
    Need = 0x81,
    /// From the device: how the exchange ended.
    Result = 0x82,
}

impl Kind {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Offer, Self::Whole, Self::Chunk, Self::Need, Self::Result];

    /// The number on the wire.
    #[must_use]
    pub const fn number(self) -> u8 {
        self as u8
    }

    /// The kind with that number.
    #[must_use]
    pub fn from_number(number: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.number() == number)
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Offer => "OFFER",
            Self::Whole => "WHOLE",
            Self::Chunk => "CHUNK",
            Self::Need => "NEED",
            Self::Result => "RESULT",
        })
    }
}

/// A header, read but not judged: of what is not a message of this exchange nothing but this is looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// Protocol version.
    pub version: u8,
    /// Number of the type; [`Kind::from_number`] knows which.
    pub kind: u8,
    /// Which exchange it belongs to.
    pub exchange: u32,
    /// Of a CHUNK the chunk's, of a NEED the round's; else 0.
    pub number: u32,
    /// Bytes of the body.
    pub length: u32,
    /// The reserved bytes are zero.
    pub clean: bool,
}

impl Header {
    /// One that keeps the rules.
    #[must_use]
    pub const fn new(kind: Kind, exchange: u32, number: u32, length: u32) -> Self {
        Self { version: VERSION, kind: kind.number(), exchange, number, length, clean: true }
    }

    /// Reads a header; `None` if it does not begin with the magic.
    #[must_use]
    pub fn parse(bytes: &[u8; HEADER_LENGTH]) -> Option<Self> {
        if bytes[..4] != MAGIC {
            return None;
        }
        Some(Self {
            version: bytes[4],
            kind: bytes[5],
            clean: bytes[6..8] == [0; 2],
            exchange: u32_at(bytes, 8),
            number: u32_at(bytes, 12),
            length: u32_at(bytes, 16),
        })
    }

    /// The bytes; the reserved ones are zero.
    #[must_use]
    pub fn to_bytes(self) -> [u8; HEADER_LENGTH] {
        let mut bytes = [0; HEADER_LENGTH];
        bytes[..4].copy_from_slice(&MAGIC);
        bytes[4] = self.version;
        bytes[5] = self.kind;
        bytes[8..12].copy_from_slice(&self.exchange.to_le_bytes());
        bytes[12..16].copy_from_slice(&self.number.to_le_bytes());
        bytes[16..20].copy_from_slice(&self.length.to_le_bytes());
        bytes
    }
}

/// Bytes of a message with a body of this length: a multiple of [`UNIT`].
#[must_use]
pub const fn message_length(body: u32) -> u64 {
    (HEADER_LENGTH as u64 + body as u64).next_multiple_of(UNIT as u64)
}

/// Whether chunks of these lengths can be those of an exchange.
#[must_use]
pub fn are_chunks(lengths: &[u32]) -> bool {
    lengths.len() <= MAX_CHUNKS as usize
        && lengths.iter().all(|length| (1..=MAX_CHUNK_LENGTH).contains(length))
}

/// A message with this header and a body of as many zeros as the header says, to be written over from [`HEADER_LENGTH`] on.
#[must_use]
pub fn blank(header: &Header) -> Vec<u8> {
    // At most OFFER_LENGTHS or MAX_CHUNK_LENGTH and a unit, so that a u64 fits any usize there is.
    let mut message = vec![0; usize::try_from(message_length(header.length)).unwrap_or(usize::MAX)];
    message[..HEADER_LENGTH].copy_from_slice(&header.to_bytes());
    message
}

/// A message with this body. `body` is as long as some message's may be.
#[must_use]
pub fn message(kind: Kind, exchange: u32, number: u32, body: &[u8]) -> Vec<u8> {
    let length = u32::try_from(body.len()).unwrap_or(u32::MAX);
    let mut message = blank(&Header::new(kind, exchange, number, length));
    message[HEADER_LENGTH..HEADER_LENGTH + body.len()].copy_from_slice(body);
    message
}

/// Reads WHOLE's body: the length of the file in bytes, if it is one that a file may have.
#[must_use]
pub fn parse_whole(body: &[u8; WHOLE_LENGTH]) -> Option<u64> {
    let length = u64::from_le_bytes(*body);
    (1..=MAX_FILE_LENGTH).contains(&length).then_some(length)
}

/// The lengths of the pieces of a file of `length` bytes, at most [`MAX_FILE_LENGTH`].
#[must_use]
pub fn pieces(length: u64) -> Vec<u32> {
    let piece = u64::from(PIECE_LENGTH);
    let count = length.min(MAX_FILE_LENGTH).div_ceil(piece);
    // Both are at most the length of a piece.
    (0..count).map(|number| (length - number * piece).min(piece) as u32).collect()
}

/// RESULT's body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// A number of docs/spec/results.md.
    pub result: u16,
    /// Session id; 0 if none has begun.
    pub session: u32,
}

impl Outcome {
    /// Reads the body; `None` if a reserved byte is not zero.
    #[must_use]
    pub fn parse(body: &[u8; RESULT_LENGTH]) -> Option<Self> {
        let outcome = Self { result: u16::from_le_bytes([body[0], body[1]]), session: u32_at(body, 4) };
        (body[2..4] == [0; 2]).then_some(outcome)
    }

    /// The body.
    #[must_use]
    pub fn to_bytes(self) -> [u8; RESULT_LENGTH] {
        let mut body = [0; RESULT_LENGTH];
        body[..2].copy_from_slice(&self.result.to_le_bytes());
        body[4..].copy_from_slice(&self.session.to_le_bytes());
        body
    }
}

/// The u32 at an offset that is inside.
pub(crate) fn u32_at(bytes: &[u8], at: usize) -> u32 {
    let mut field = [0; 4];
    field.copy_from_slice(&bytes[at..at + 4]);
    u32::from_le_bytes(field)
}
