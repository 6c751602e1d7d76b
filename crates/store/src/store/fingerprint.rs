//! Fingerprints of bytes that were hashed already: what the read-back compares, where there is one, instead of hashing again
//! (docs/decisions/0019-read-back-by-fingerprint.md).

use twox_hash::xxhash3_128::Hasher;

/// What fingerprints depend on. It need not be secret, but no fault of a medium may depend on it: a random number, a new one for each
/// start of the program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FingerprintKey(u64);

impl FingerprintKey {
    /// From a random number.
    #[must_use]
    pub const fn new(random: u64) -> Self {
        Self(random)
    }
}

/// A fingerprint: XXH3 with 128 bits (xxHash 0.8) over the bytes, under the key as its seed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Fingerprint([u8; 16]);

/// Takes a fingerprint of bytes that come in pieces.
pub(super) struct Taker(Hasher);

impl Taker {
    pub(super) fn new(key: FingerprintKey) -> Self {
        Self(Hasher::with_seed(key.0))
    }

    pub(super) fn update(&mut self, piece: &[u8]) {
        self.0.write(piece);
    }

    pub(super) fn finish(self) -> Fingerprint {
        Fingerprint(self.0.finish_128().to_le_bytes())
    }
}

impl Fingerprint {
    /// Of these bytes.
    pub(super) fn of(key: FingerprintKey, bytes: &[u8]) -> Self {
        Self(Hasher::oneshot_with_seed(key.0, bytes).to_le_bytes())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::PIECE;
    use super::*;

    proptest! {
        #[test]
        fn pieces_have_the_fingerprint_of_the_whole(bytes in proptest::collection::vec(any::<u8>(), 0..3 * PIECE)) {
            let key = FingerprintKey::new(7);
            let mut taker = Taker::new(key);
            bytes.chunks(PIECE).for_each(|piece| taker.update(piece));
            prop_assert_eq!(taker.finish(), Fingerprint::of(key, &bytes));
        }

        #[test]
        fn one_bit_makes_another_fingerprint(
            mut bytes in proptest::collection::vec(any::<u8>(), 1..2000),
            bit in any::<prop::sample::Index>(),
        ) {
            let key = FingerprintKey::new(7);
            let before = Fingerprint::of(key, &bytes);
            let bit = bit.index(bytes.len() * 8);
            bytes[bit / 8] ^= 1 << (bit % 8);
            prop_assert_ne!(before, Fingerprint::of(key, &bytes));
        }
    }
}
