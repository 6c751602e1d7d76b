//! Which chunks: a set of their numbers, and NEED's body (spec, 3.4).

use alloc::{vec, vec::Vec};

use crate::wire::{MAX_CHUNKS, NEED_LENGTH, message_length, u32_at};

/// A set of the chunks of one exchange, which are numbered from 0.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ChunkSet {
    count: u32,
    /// As on the wire: chunk k is bit k mod 8 of byte k / 8; bits that stand for no chunk are 0.
    bits: Vec<u8>,
}

impl ChunkSet {
    /// None of `count` chunks; of more than [`MAX_CHUNKS`] there are no sets, so that many are taken for that number.
    #[must_use]
    pub fn new(count: u32) -> Self {
        let count = count.min(MAX_CHUNKS);
        Self { count, bits: vec![0; (count as usize).div_ceil(8)] }
    }

    /// All of `count` chunks.
    #[must_use]
    pub fn all(count: u32) -> Self {
        let mut set = Self::new(count);
        for chunk in 0..set.count {
            set.insert(chunk);
        }
        set
    }

    /// How many chunks there are, in the set or not.
    #[must_use]
    pub const fn count(&self) -> u32 {
        self.count
    }

    /// How many are in the set.
    #[must_use]
    pub fn len(&self) -> u32 {
        self.bits.iter().map(|byte| byte.count_ones()).sum()
    }

    /// Whether none is in the set.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.bits.iter().all(|byte| *byte == 0)
    }

    /// Whether a chunk is in the set; one that does not exist is not.
    #[must_use]
    pub fn contains(&self, chunk: u32) -> bool {
        self.bits.get(chunk as usize / 8).is_some_and(|byte| byte >> (chunk % 8) & 1 == 1)
    }

    /// Puts a chunk into the set; one that does not exist stays outside.
    pub fn insert(&mut self, chunk: u32) {
        if chunk < self.count {
            self.bits[chunk as usize / 8] |= 1 << (chunk % 8);
        }
    }

    /// Puts all chunks of another set of as many into this one.
    pub fn extend(&mut self, other: &Self) {
        for (mine, theirs) in self.bits.iter_mut().zip(&other.bits) {
            *mine |= theirs;
        }
    }

    /// Whether the two have a chunk in common.
    #[must_use]
    pub fn intersects(&self, other: &Self) -> bool {
        self.bits.iter().zip(&other.bits).any(|(mine, theirs)| mine & theirs != 0)
    }

    /// The first chunk in the set that is `from` or behind it.
    #[must_use]
    pub fn next(&self, from: u32) -> Option<u32> {
        (from..self.count).find(|chunk| self.contains(*chunk))
    }

    /// The chunks in the set, in rising order.
    pub fn iter(&self) -> impl Iterator<Item = u32> + '_ {
        (0..self.count).filter(|chunk| self.contains(*chunk))
    }

    /// The sum of the lengths of the chunks in the set, in bytes, by the lengths of all.
    #[must_use]
    pub fn bytes(&self, lengths: &[u32]) -> u64 {
        let of = |chunk: u32| lengths.get(chunk as usize).copied().map_or(0, u64::from);
        self.iter().map(of).sum()
    }

    /// What their messages have together, in bytes, by the lengths of all.
    #[must_use]
    pub fn message_bytes(&self, lengths: &[u32]) -> u64 {
        self.iter().map(|chunk| message_length(lengths.get(chunk as usize).copied().unwrap_or(0))).sum()
    }

    /// NEED's body that asks for these chunks, by the lengths of all.
    #[must_use]
    pub fn to_need(&self, lengths: &[u32]) -> Vec<u8> {
        let mut body = Vec::with_capacity(NEED_LENGTH + self.bits.len());
        body.extend_from_slice(&self.count.to_le_bytes());
        body.extend_from_slice(&self.len().to_le_bytes());
        body.extend_from_slice(&self.bytes(lengths).to_le_bytes());
        body.extend_from_slice(&self.bits);
        body
    }

    /// Reads NEED's body, of an exchange whose chunks have these lengths.
    ///
    /// # Errors
    /// The first rule that is broken.
    pub fn from_need(body: &[u8], lengths: &[u32]) -> Result<Self, NeedError> {
        let (fields, bitmap) = body.split_at_checked(NEED_LENGTH).ok_or(NeedError::Length(body.len()))?;
        let count = u32_at(fields, 0);
        if usize::try_from(count) != Ok(lengths.len()) {
            return Err(NeedError::Count { found: count, chunks: lengths.len() });
        }
        let mut set = Self::new(count);
        if bitmap.len() != set.bits.len() {
            return Err(NeedError::Length(body.len()));
        }
        set.bits.copy_from_slice(bitmap);
        let behind = count % 8;
        if behind != 0 && bitmap.last().is_some_and(|byte| byte >> behind != 0) {
            return Err(NeedError::Behind);
        }
        let asked = u32_at(fields, 4);
        if asked != set.len() {
            return Err(NeedError::Asked { said: asked, set: set.len() });
        }
        let bytes = u64::from(u32_at(fields, 12)) << 32 | u64::from(u32_at(fields, 8));
        if bytes != set.bytes(lengths) {
            return Err(NeedError::Bytes { said: bytes, sum: set.bytes(lengths) });
        }
        Ok(set)
    }
}

/// How NEED's body breaks the protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NeedError {
    /// It is not as long as its count of chunks asks for.
    #[error("it has {0} bytes")]
    Length(usize),
    /// It is about another number of chunks.
    #[error("it is about {found} chunks, there are {chunks}")]
    Count {
        /// What it says.
        found: u32,
        /// How many there are.
        chunks: usize,
    },
    /// Bits that stand for no chunk are set.
    #[error("it asks for chunks that there are not")]
    Behind,
    /// The number of chunks asked for is not that of the bitmap.
    #[error("it says that it asks for {said} chunks and names {set}")]
    Asked {
        /// What it says.
        said: u32,
        /// How many bits are set.
        set: u32,
    },
    /// The sum of their lengths is wrong.
    #[error("it says that it asks for {said} bytes, the chunks have {sum}")]
    Bytes {
        /// What it says.
        said: u64,
        /// The sum.
        sum: u64,
    },
}
