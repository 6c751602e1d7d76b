//! Bytes that were compared with the index.

use crate::digest::{Digest, sha256};
use crate::index::Chunk;

/// One whole chunk of a member, as it is to stand in flash, whose SHA-256 is the index's. There is no other way to one than to
/// hash the bytes, so whoever is given one need not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Checked<'a> {
    member: usize,
    number: usize,
    offset: u64,
    digest: Digest,
    bytes: &'a [u8],
}

impl<'a> Checked<'a> {
    /// Hashes `bytes`, and compares them with what the index says of a chunk. Its place is the number of the member, the number of the
    /// chunk in it, and where in the member it begins. `None` if the bytes are others.
    #[must_use]
    pub fn new(place: (usize, usize, u64), expected: &Chunk, bytes: &'a [u8]) -> Option<Self> {
        Self::hashed(place, expected, bytes, sha256(bytes))
    }

    /// As [`new`](Self::new), where `digest` is known to be that of `bytes`.
    pub(crate) fn hashed(
        (member, number, offset): (usize, usize, u64),
        expected: &Chunk,
        bytes: &'a [u8],
        digest: Digest,
    ) -> Option<Self> {
        let same = digest == expected.digest && bytes.len() == expected.length as usize;
        same.then_some(Self { member, number, offset, digest, bytes })
    }

    /// Number of the member in the index.
    #[must_use]
    pub const fn member(&self) -> usize {
        self.member
    }

    /// Number of the chunk in the member.
    #[must_use]
    pub const fn number(&self) -> usize {
        self.number
    }

    /// Where in the member it begins, bytes.
    #[must_use]
    pub const fn offset(&self) -> u64 {
        self.offset
    }

    /// SHA-256 of the bytes.
    #[must_use]
    pub const fn digest(&self) -> &Digest {
        &self.digest
    }

    /// The bytes.
    #[must_use]
    pub const fn bytes(&self) -> &'a [u8] {
        self.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::index::Encoding;

    #[test]
    fn only_the_bytes_that_the_index_means_are_checked_ones() {
        let chunk = |length: u32| Chunk { length, digest: sha256(b"abc"), encoding: Encoding::Plain };
        let checked = Checked::new((1, 2, 3), &chunk(3), b"abc").unwrap();
        assert_eq!((checked.member(), checked.number(), checked.offset()), (1, 2, 3));
        assert_eq!((checked.bytes(), checked.digest()), (&b"abc"[..], &sha256(b"abc")));
        assert_eq!(Checked::new((1, 2, 3), &chunk(3), b"abd"), None);
        assert_eq!(Checked::new((1, 2, 3), &chunk(4), b"abc"), None);
    }
}
