//! Private keys.

use core::fmt;
use core::ops::Deref;
use std::string::String;

use ed25519_dalek::pkcs8::spki::der::pem::LineEnding;
use ed25519_dalek::pkcs8::{DecodePrivateKey, EncodePrivateKey, KeypairBytes};
use ed25519_dalek::{Signer, SigningKey};

use crate::key::{KeyError, KeyHalf, PublicKey};
use crate::signature::SIGNED_LENGTH;

/// A private Ed25519 key. Its memory is overwritten when it is dropped.
pub struct PrivateKey(SigningKey);

impl PrivateKey {
    /// The key that `seed` makes: 32 bytes from the system's source of randomness.
    #[must_use]
    pub fn from_seed(seed: &[u8; 32]) -> Self {
        Self(SigningKey::from_bytes(seed))
    }

    /// Reads PKCS#8 PEM without a password, as `openssl genpkey -algorithm ed25519` writes it.
    ///
    /// # Errors
    /// [`KeyError::Pem`].
    pub fn from_pem(pem: &str) -> Result<Self, KeyError> {
        SigningKey::from_pkcs8_pem(pem).map(Self).map_err(|_| KeyError::Pem(KeyHalf::Private))
    }

    /// Writes PKCS#8 PEM, in memory that is overwritten when it is dropped.
    ///
    /// # Errors
    /// [`KeyError::Pem`] if the key cannot be written, which no key of this type is known to cause.
    pub fn to_pem(&self) -> Result<impl Deref<Target = String> + use<>, KeyError> {
        // Version 1, without the public key: openssl(1) before 3.x reads no other.
        let pair = KeypairBytes { secret_key: self.0.to_bytes(), public_key: None };
        pair.to_pkcs8_pem(LineEnding::LF).map_err(|_| KeyError::Pem(KeyHalf::Private))
    }

    /// The public half.
    ///
    /// # Errors
    /// [`KeyError::Weak`] if the key is of small order, which no seed is known to cause.
    pub fn public(&self) -> Result<PublicKey, KeyError> {
        PublicKey::new(self.0.verifying_key())
    }

    /// The signature of what [`signed_bytes`](crate::signature::signed_bytes) gives.
    #[must_use]
    pub fn sign(&self, bytes: &[u8; SIGNED_LENGTH]) -> [u8; 64] {
        self.0.sign(bytes).to_bytes()
    }
}

impl fmt::Debug for PrivateKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Never the key itself.
        f.write_str("PrivateKey")
    }
}
