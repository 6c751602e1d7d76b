//! Public keys and the set of them that one BMC accepts (docs/spec/package.md, 4 and 8).

use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;

use ed25519_dalek::pkcs8::spki::der::pem::LineEnding;
use ed25519_dalek::pkcs8::{DecodePublicKey, EncodePublicKey};
use ed25519_dalek::{Signature, VerifyingKey};

use crate::digest::{Digest, Hex, sha256};
use crate::head::{Head, SignatureEntry, SignedHead};
use crate::refusal::{KeyFault, Refusal};
use crate::signature::{Kind, Verifier, signed_bytes};

/// What names a key: SHA-256 of it as DER SubjectPublicKeyInfo (RFC 5280, 4.1.2.7).
pub type KeyId = Digest;

/// A public key of a kind that this version can verify.
#[derive(Clone, PartialEq, Eq)]
pub struct PublicKey {
    id: KeyId,
    key: VerifyingKey,
}

/// Why a text is no usable key, or keys are no usable ring.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// Not the PEM of an Ed25519 key in the right envelope.
    #[error("this is not the PEM file of an Ed25519 {0} key")]
    Pem(KeyHalf),
    /// A key of small order: signatures of it prove nothing.
    #[error("this public key is of small order: anybody can sign for it")]
    Weak,
    /// A ring that requires no kind would accept no package.
    #[error("no kind of signature is required")]
    NothingRequired,
    /// A required kind that this version cannot verify.
    #[error("{0} signatures cannot be verified by this version")]
    NotImplemented(Kind),
    /// A required kind without a key: no package could be accepted.
    #[error("{0} signatures are required, but there is no {0} key")]
    NoKey(Kind),
}

/// Half of a key pair.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyHalf {
    /// SubjectPublicKeyInfo.
    Public,
    /// PKCS#8.
    Private,
}

impl fmt::Display for KeyHalf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Public => "public",
            Self::Private => "private",
        })
    }
}

impl PublicKey {
    /// Reads SubjectPublicKeyInfo PEM, as `openssl pkey -pubout` writes it.
    ///
    /// # Errors
    /// [`KeyError::Pem`] and [`KeyError::Weak`].
    pub fn from_pem(pem: &str) -> Result<Self, KeyError> {
        let key = VerifyingKey::from_public_key_pem(pem).map_err(|_| KeyError::Pem(KeyHalf::Public))?;
        Self::new(key)
    }

    pub(crate) fn new(key: VerifyingKey) -> Result<Self, KeyError> {
        if key.is_weak() {
            return Err(KeyError::Weak);
        }
        let der = key.to_public_key_der().map_err(|_| KeyError::Pem(KeyHalf::Public))?;
        Ok(Self { id: sha256(der.as_bytes()), key })
    }

    /// Writes SubjectPublicKeyInfo PEM.
    ///
    /// # Errors
    /// [`KeyError::Pem`] if the key cannot be written, which no key of this type is known to cause.
    pub fn to_pem(&self) -> Result<String, KeyError> {
        self.key.to_public_key_pem(LineEnding::LF).map_err(|_| KeyError::Pem(KeyHalf::Public))
    }

    /// What names the key.
    #[must_use]
    pub const fn id(&self) -> &KeyId {
        &self.id
    }

    /// The kind of signature that it verifies.
    #[must_use]
    pub const fn kind(&self) -> Kind {
        Kind::Ed25519
    }

    /// What a signature table says of a signature by this key.
    #[must_use]
    pub const fn signature_entry(&self) -> SignatureEntry {
        SignatureEntry { kind: self.kind(), length: 64, key_id: self.id }
    }

    /// Whether this is a signature of `message`, by the strict rule.
    pub(crate) fn verifies(&self, message: &[u8], signature: &[u8]) -> bool {
        Signature::from_slice(signature)
            .is_ok_and(|signature| self.key.verify_strict(message, &signature).is_ok())
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PublicKey({} {})", self.kind(), Hex(&self.id))
    }
}

/// The system keys of a BMC and the kinds of signature it requires. Policy is all-of: every signature of a
/// package must be of a required kind and by one of these keys, and every required kind must be there.
#[derive(Clone, Debug)]
pub struct KeyRing {
    required: Vec<Kind>,
    keys: Vec<PublicKey>,
}

impl KeyRing {
    /// The keys of the ring.
    #[must_use]
    pub fn keys(&self) -> &[PublicKey] {
        &self.keys
    }

    /// A ring that requires each kind in `required` and accepts signatures by `keys`.
    ///
    /// # Errors
    /// [`KeyError::NothingRequired`], [`KeyError::NotImplemented`] and [`KeyError::NoKey`].
    pub fn new(required: Vec<Kind>, keys: Vec<PublicKey>) -> Result<Self, KeyError> {
        if required.is_empty() {
            return Err(KeyError::NothingRequired);
        }
        for kind in &required {
            if !kind.is_implemented() {
                return Err(KeyError::NotImplemented(*kind));
            }
            if keys.iter().all(|key| key.kind() != *kind) {
                return Err(KeyError::NoKey(*kind));
            }
        }
        Ok(Self { required, keys })
    }

    /// The key of this kind and name.
    fn find(&self, kind: Kind, id: &KeyId) -> Result<&PublicKey, Refusal> {
        if !self.required.contains(&kind) {
            return Err(Refusal::UnknownKey(KeyFault::NotRequired(kind)));
        }
        self.keys
            .iter()
            .find(|key| key.kind() == kind && key.id() == id)
            .ok_or(Refusal::UnknownKey(KeyFault::NotKnown { kind, id: *id }))
    }
}

impl Verifier for KeyRing {
    fn accepts(&self, head: &Head) -> Result<(), Refusal> {
        for entry in &head.signatures {
            self.find(entry.kind, &entry.key_id)?;
        }
        for kind in &self.required {
            if head.signatures.iter().all(|entry| entry.kind != *kind) {
                return Err(Refusal::UnknownKey(KeyFault::Missing(*kind)));
            }
        }
        Ok(())
    }

    fn verify(&self, head: &Head, bytes: &SignedHead, signatures: &[Vec<u8>]) -> Result<(), Refusal> {
        self.accepts(head)?;
        let message = signed_bytes(bytes);
        for (number, entry) in head.signatures.iter().enumerate() {
            let key = self.find(entry.kind, &entry.key_id)?;
            // An entry without a signature is as good as a wrong one.
            let verified = signatures.get(number).is_some_and(|signature| key.verifies(&message, signature));
            if !verified {
                return Err(Refusal::BadSignature { kind: entry.kind });
            }
        }
        Ok(())
    }
}
