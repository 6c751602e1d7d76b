//! Messages by their hashes, for signatures over what is too long to be in memory.

use alloc::vec::Vec;

use sha2::{Digest as _, Sha256, Sha384, Sha512};

use crate::signature::Hash;

/// A message that has been hashed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hashed {
    hash: Hash,
    digest: Vec<u8>,
}

impl Hashed {
    /// Of all `parts`, one behind the other.
    #[must_use]
    pub fn of(hash: Hash, parts: &[&[u8]]) -> Self {
        let mut hasher = Hasher::new(hash);
        parts.iter().for_each(|part| hasher.update(part));
        hasher.finish()
    }

    /// With what it was hashed.
    #[must_use]
    pub const fn hash(&self) -> Hash {
        self.hash
    }

    /// The digest (FIPS 180-4): 32, 48 or 64 bytes in the order the standard writes them.
    #[must_use]
    pub fn digest(&self) -> &[u8] {
        &self.digest
    }
}

/// Hashes a message in pieces.
#[derive(Clone, Debug)]
pub struct Hasher(State);

#[derive(Clone, Debug)]
enum State {
    Sha256(Sha256),
    Sha384(Sha384),
    Sha512(Sha512),
}

impl Hasher {
    /// At the beginning of a message.
    #[must_use]
    pub fn new(hash: Hash) -> Self {
        Self(match hash {
            Hash::Sha256 => State::Sha256(Sha256::new()),
            Hash::Sha384 => State::Sha384(Sha384::new()),
            Hash::Sha512 => State::Sha512(Sha512::new()),
        })
    }

    /// Takes the next bytes.
    pub fn update(&mut self, bytes: &[u8]) {
        match &mut self.0 {
            State::Sha256(state) => state.update(bytes),
            State::Sha384(state) => state.update(bytes),
            State::Sha512(state) => state.update(bytes),
        }
    }

    /// The message is complete.
    #[must_use]
    pub fn finish(self) -> Hashed {
        match self.0 {
            State::Sha256(state) => Hashed { hash: Hash::Sha256, digest: state.finalize().to_vec() },
            State::Sha384(state) => Hashed { hash: Hash::Sha384, digest: state.finalize().to_vec() },
            State::Sha512(state) => Hashed { hash: Hash::Sha512, digest: state.finalize().to_vec() },
        }
    }
}
