//! Fingerprints of bytes that were hashed already: what the read-back compares, where there is one, instead of hashing again
//! (docs/decisions/0019-read-back-by-fingerprint.md).

use poly1305::{
    Key, Poly1305, Tag,
    universal_hash::{KeyInit as _, UniversalHash as _},
};

/// The bits of a key's first half that count (RFC 8439, 2.5).
const CLAMP: u128 = 0x0fff_fffc_0fff_fffc_0fff_fffc_0fff_ffff;

/// What fingerprints depend on. It need not be secret, but no fault of a medium may depend on it: random bytes, new ones for each
/// start of the program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FingerprintKey([u8; 32]);

impl FingerprintKey {
    /// From random bytes; `None` for those few by which all fingerprints would be the same.
    #[must_use]
    pub fn new(random: [u8; 32]) -> Option<Self> {
        let mut first = [0; 16];
        first.copy_from_slice(&random[..16]);
        (u128::from_le_bytes(first) & CLAMP != 0).then_some(Self(random))
    }
}

/// A fingerprint: Poly1305 (RFC 8439, 2.5) over the bytes, filled with zeros to a multiple of 16. Two different texts of one length,
/// at most 128 KiB, have the same one with fewer than one in 2^90 keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Fingerprint(Tag);

/// Takes a fingerprint of bytes that come in pieces. Each but the last has to be a multiple of 16 long.
pub(super) struct Taker(Poly1305);

impl Taker {
    pub(super) fn new(key: &FingerprintKey) -> Self {
        Self(Poly1305::new(&Key::from(key.0)))
    }

    pub(super) fn update(&mut self, piece: &[u8]) {
        self.0.update_padded(piece);
    }

    pub(super) fn finish(self) -> Fingerprint {
        Fingerprint(self.0.finalize())
    }
}

impl Fingerprint {
    /// Of these bytes.
    pub(super) fn of(key: &FingerprintKey, bytes: &[u8]) -> Self {
        let mut taker = Taker::new(key);
        taker.update(bytes);
        taker.finish()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::PIECE;
    use super::*;

    #[test]
    fn a_key_that_tells_nothing_apart_is_none() {
        assert_eq!(FingerprintKey::new([0; 32]), None);
        // Bits that are not used.
        let mut random = [0; 32];
        random[3] = 0xf0;
        random[4] = 0x03;
        random[16..].fill(0xff);
        assert_eq!(FingerprintKey::new(random), None);
        random[0] = 1;
        assert!(FingerprintKey::new(random).is_some());
    }

    proptest! {
        #[test]
        fn pieces_have_the_fingerprint_of_the_whole(bytes in proptest::collection::vec(any::<u8>(), 0..3 * PIECE)) {
            let key = FingerprintKey::new([7; 32]).unwrap();
            let mut taker = Taker::new(&key);
            bytes.chunks(PIECE).for_each(|piece| taker.update(piece));
            prop_assert_eq!(taker.finish(), Fingerprint::of(&key, &bytes));
        }

        #[test]
        fn one_bit_makes_another_fingerprint(
            mut bytes in proptest::collection::vec(any::<u8>(), 1..2000),
            bit in any::<prop::sample::Index>(),
        ) {
            let key = FingerprintKey::new([7; 32]).unwrap();
            let before = Fingerprint::of(&key, &bytes);
            let bit = bit.index(bytes.len() * 8);
            bytes[bit / 8] ^= 1 << (bit % 8);
            prop_assert_ne!(before, Fingerprint::of(&key, &bytes));
        }
    }
}
