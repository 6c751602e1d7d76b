//! Private keys.

use core::fmt;
use core::ops::Deref;
use std::string::String;
use std::vec::Vec;

use ed25519_dalek::pkcs8::spki::der::asn1::{AnyRef, BitStringRef};
use ed25519_dalek::pkcs8::spki::der::pem::LineEnding;
use ed25519_dalek::pkcs8::spki::der::{Encode, SecretDocument};
use ed25519_dalek::pkcs8::spki::{AlgorithmIdentifier, SubjectPublicKeyInfoRef};
use ed25519_dalek::pkcs8::{EncodePrivateKey, KeypairBytes, ObjectIdentifier, PrivateKeyInfoRef};
use p384::ecdsa::signature::Signer;

use crate::key::{EC_PUBLIC_KEY, ED25519, KeyError, KeyHalf, PublicKey, RSA_ENCRYPTION, SECP384R1};
use crate::signature::SIGNED_LENGTH;

/// The label of PKCS#8 without a password in PEM (RFC 7468, 10).
const PEM_LABEL: &str = "PRIVATE KEY";

const WRONG: KeyError = KeyError::Pem(KeyHalf::Private);

/// A private key: Ed25519 or P-384. Its memory is overwritten when it is dropped.
///
/// RSA keys are not among them: what is worth signing with RSA is kept in an HSM, and openssl(1) signs with the
/// others. [`signed_bytes_of`](super::signed_bytes_of) gives what to sign, [`attach`](super::attach) takes it.
pub struct PrivateKey(Material);

enum Material {
    Ed25519(ed25519_dalek::SigningKey),
    P384(p384::ecdsa::SigningKey),
}

impl PrivateKey {
    /// The Ed25519 key that `seed` makes: 32 bytes from the system's source of randomness.
    #[must_use]
    pub fn from_seed(seed: &[u8; 32]) -> Self {
        Self(Material::Ed25519(ed25519_dalek::SigningKey::from_bytes(seed)))
    }

    /// The P-384 key that is this number, most significant byte first: 48 bytes from the system's source of
    /// randomness. `None` if it is zero or not below the order of the curve; then draw another.
    #[must_use]
    pub fn p384_from_number(number: &[u8; 48]) -> Option<Self> {
        p384::ecdsa::SigningKey::from_slice(number).ok().map(|key| Self(Material::P384(key)))
    }

    /// Reads PKCS#8 PEM without a password, as `openssl genpkey` writes it.
    ///
    /// # Errors
    /// [`KeyError::Pem`] and [`KeyError::RsaPrivate`].
    pub fn from_pem(pem: &str) -> Result<Self, KeyError> {
        let (label, document) = SecretDocument::from_pem(pem).map_err(|_| WRONG)?;
        if label != PEM_LABEL {
            return Err(WRONG);
        }
        let info = PrivateKeyInfoRef::try_from(document.as_bytes()).map_err(|_| WRONG)?;
        match info.algorithm.oid {
            ED25519 => info.try_into().map(Material::Ed25519).map_err(|_| WRONG),
            EC_PUBLIC_KEY => {
                // The curve is compared in there.
                let key: p384::SecretKey = info.try_into().map_err(|_| WRONG)?;
                Ok(Material::P384(key.into()))
            }
            RSA_ENCRYPTION => Err(KeyError::RsaPrivate),
            _ => Err(WRONG),
        }
        .map(Self)
    }

    /// Writes PKCS#8 PEM, in memory that is overwritten when it is dropped.
    ///
    /// # Errors
    /// [`KeyError::Pem`] if the key cannot be written, which no key of this type is known to cause.
    pub fn to_pem(&self) -> Result<impl Deref<Target = String> + use<>, KeyError> {
        match &self.0 {
            Material::Ed25519(key) => {
                // Version 1, without the public key: openssl(1) before 3.x reads no other.
                let pair = KeypairBytes { secret_key: key.to_bytes(), public_key: None };
                pair.to_pkcs8_pem(LineEnding::LF)
            }
            Material::P384(key) => p384::SecretKey::from(key).to_pkcs8_pem(LineEnding::LF),
        }
        .map_err(|_| WRONG)
    }

    /// The public half.
    ///
    /// # Errors
    /// [`KeyError::Weak`] if the key is of small order, which no seed is known to cause.
    pub fn public(&self) -> Result<PublicKey, KeyError> {
        match &self.0 {
            Material::Ed25519(key) => public_key(ED25519, None, key.verifying_key().as_bytes()),
            Material::P384(key) => {
                let point = key.verifying_key().to_sec1_point(false);
                public_key(EC_PUBLIC_KEY, Some(AnyRef::from(&SECP384R1)), point.as_bytes())
            }
        }
    }

    /// The signature of what [`signed_bytes`](crate::signature::signed_bytes) gives, as packages hold it. The
    /// same each time: P-384 signatures are the deterministic ones of RFC 6979.
    #[must_use]
    pub fn sign(&self, bytes: &[u8; SIGNED_LENGTH]) -> Vec<u8> {
        match &self.0 {
            Material::Ed25519(key) => {
                let signature: ed25519_dalek::Signature = key.sign(bytes);
                signature.to_bytes().to_vec()
            }
            Material::P384(key) => {
                let signature: p384::ecdsa::Signature = key.sign(bytes);
                signature.normalize_s().to_vec()
            }
        }
    }
}

/// The public key with this algorithm identifier and these bytes.
fn public_key(
    oid: ObjectIdentifier,
    parameters: Option<AnyRef<'_>>,
    key: &[u8],
) -> Result<PublicKey, KeyError> {
    let write = || {
        let subject_public_key = BitStringRef::from_bytes(key)?;
        let algorithm = AlgorithmIdentifier { oid, parameters };
        SubjectPublicKeyInfoRef { algorithm, subject_public_key }.to_der()
    };
    PublicKey::from_der(&write().map_err(|_| KeyError::Pem(KeyHalf::Public))?)
}

impl fmt::Debug for PrivateKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Never the key itself.
        f.write_str("PrivateKey")
    }
}
