//! The keys that one BMC accepts, and its policy.

use alloc::vec::Vec;

use super::{KeyError, KeyId, PublicKey};
use crate::head::{Head, SignatureEntry, SignedHead};
use crate::refusal::{KeyFault, Refusal};
use crate::signature::{Kind, Verifier, signed_bytes};

/// Keys whose private halves are published, and which are in use nonetheless: whoever builds OpenBMC without a
/// key of his own signs with the one in meta-phosphor, `recipes-phosphor/flash/files/OpenBMC.priv`.
pub(crate) const DEVELOPMENT_KEYS: [KeyId; 1] = [[
    0xA4, 0x8A, 0xE9, 0x77, 0xCF, 0x91, 0xAD, 0x27, 0xF3, 0xA9, 0x0C, 0x25, 0x50, 0xA9, 0x90, 0xF9, 0xE2,
    0x21, 0xC0, 0x83, 0xB0, 0x00, 0xD6, 0xE4, 0x73, 0x9A, 0x6B, 0xED, 0xD1, 0x40, 0xDA, 0xA6,
]];

/// The system keys of a BMC and the kinds of signature it requires. Policy is all-of: every signature of a
/// package must be of a required kind and by one of these keys, and every required kind must be there.
///
/// There may be several keys of a kind, so that a package by the next key is accepted before the last one by
/// the previous key is gone. A key in the list of revoked ones is refused, also if it is among the keys.
#[derive(Clone, Debug)]
pub struct KeyRing {
    required: Vec<Kind>,
    keys: Vec<PublicKey>,
    revoked: Vec<KeyId>,
}

impl KeyRing {
    /// A ring that requires each kind in `required` and accepts signatures by `keys`.
    ///
    /// # Errors
    /// As [`with_revoked`](Self::with_revoked).
    pub fn new(required: Vec<Kind>, keys: Vec<PublicKey>) -> Result<Self, KeyError> {
        Self::with_revoked(required, keys, Vec::new())
    }

    /// The same, but for signatures by the keys in `revoked`.
    ///
    /// # Errors
    /// [`KeyError::Development`], [`KeyError::NothingRequired`], [`KeyError::NotImplemented`] and
    /// [`KeyError::NoKey`].
    pub fn with_revoked(
        required: Vec<Kind>,
        keys: Vec<PublicKey>,
        revoked: Vec<KeyId>,
    ) -> Result<Self, KeyError> {
        Self::without(&DEVELOPMENT_KEYS, required, keys, revoked)
    }

    fn without(
        development: &[KeyId],
        required: Vec<Kind>,
        keys: Vec<PublicKey>,
        revoked: Vec<KeyId>,
    ) -> Result<Self, KeyError> {
        // Also where no signature of its kind is required: nobody who put it there meant to.
        if let Some(key) = keys.iter().find(|key| development.contains(key.id())) {
            return Err(KeyError::Development(*key.id()));
        }
        if required.is_empty() {
            return Err(KeyError::NothingRequired);
        }
        for kind in &required {
            if !kind.is_implemented() {
                return Err(KeyError::NotImplemented(*kind));
            }
            if !keys.iter().any(|key| key.kind() == *kind && !revoked.contains(key.id())) {
                return Err(KeyError::NoKey(*kind));
            }
        }
        Ok(Self { required, keys, revoked })
    }

    /// A ring of the same keys that requires these kinds: for who looks at a package without being the BMC that it is for, and
    /// takes the kinds from the head. A kind without a key accepts no package.
    #[must_use]
    pub fn requiring(&self, required: Vec<Kind>) -> Self {
        Self { required, keys: self.keys.clone(), revoked: self.revoked.clone() }
    }

    /// The keys of the ring, revoked ones among them.
    #[must_use]
    pub fn keys(&self) -> &[PublicKey] {
        &self.keys
    }

    /// The keys whose signatures are refused.
    #[must_use]
    pub fn revoked(&self) -> &[KeyId] {
        &self.revoked
    }

    /// The kinds of signature that a package must have.
    #[must_use]
    pub fn required(&self) -> &[Kind] {
        &self.required
    }

    /// The key that is to verify this signature.
    fn find(&self, entry: &SignatureEntry) -> Result<&PublicKey, KeyFault> {
        let (kind, id) = (entry.kind(), entry.key_id);
        if !self.required.contains(&kind) {
            return Err(KeyFault::NotRequired(kind));
        }
        if self.revoked.contains(&id) {
            return Err(KeyFault::Revoked { kind, id });
        }
        let mut named = self.keys.iter().filter(|key| key.kind() == kind && *key.id() == id).peekable();
        if named.peek().is_none() {
            return Err(KeyFault::NotKnown { kind, id });
        }
        // One key may stand there more than once, each time for another scheme.
        named.find(|key| key.accepts(entry.scheme)).ok_or(KeyFault::Scheme { scheme: entry.scheme, id })
    }
}

impl Verifier for KeyRing {
    fn accepts(&self, head: &Head) -> Result<(), Refusal> {
        for entry in &head.signatures {
            self.find(entry).map_err(Refusal::UnknownKey)?;
        }
        for kind in &self.required {
            if head.signatures.iter().all(|entry| entry.kind() != *kind) {
                return Err(Refusal::UnknownKey(KeyFault::Missing(*kind)));
            }
        }
        Ok(())
    }

    fn verify(&self, head: &Head, bytes: &SignedHead, signatures: &[Vec<u8>]) -> Result<(), Refusal> {
        self.accepts(head)?;
        let message = signed_bytes(bytes);
        for (number, entry) in head.signatures.iter().enumerate() {
            let key = self.find(entry).map_err(Refusal::UnknownKey)?;
            // An entry without a signature is as good as a wrong one.
            let verified = signatures
                .get(number)
                .is_some_and(|signature| key.verifies(entry.scheme, &message, signature));
            if !verified {
                return Err(Refusal::BadSignature { kind: entry.kind() });
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PEM: &str = "-----BEGIN PUBLIC KEY-----\n\
        MCowBQYDK2VwAyEAGb9ECWmEzf6FQbrBZ9w7lshQhqowtrbLDFw4rXAxZuE=\n\
        -----END PUBLIC KEY-----\n";

    #[test]
    fn development_keys_are_refused_whatever_is_required() {
        let key = PublicKey::from_pem(PEM).unwrap();
        let refused = Err(KeyError::Development(*key.id()));
        let ring = |development: &[KeyId], required: &[Kind]| {
            KeyRing::without(development, required.to_vec(), alloc::vec![key.clone()], Vec::new()).map(drop)
        };
        assert_eq!(ring(&[[0; 32], *key.id()], &[Kind::Ed25519]), refused);
        assert_eq!(ring(&[*key.id()], &[Kind::P384]), refused);
        assert_eq!(ring(&[*key.id()], &[]), refused);
        assert_eq!(ring(&DEVELOPMENT_KEYS, &[Kind::Ed25519]), Ok(()));
    }
}
