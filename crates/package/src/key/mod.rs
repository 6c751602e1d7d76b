//! Public keys and the set of them that one BMC accepts (docs/spec/package.md, 4 and 8).

#[cfg(feature = "std")]
mod directory;
pub mod files;
mod p384;
mod ring;
mod rsa;

use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;

use ed25519_dalek::pkcs8::ObjectIdentifier;
use ed25519_dalek::pkcs8::spki::SubjectPublicKeyInfoRef;
use ed25519_dalek::pkcs8::spki::der::asn1::AnyRef;
use ed25519_dalek::pkcs8::spki::der::pem::LineEnding;
use ed25519_dalek::pkcs8::spki::der::{Decode, Document};

#[cfg(feature = "std")]
pub use self::directory::{DirectoryError, SystemKeys};
pub(crate) use self::ring::DEVELOPMENT_KEYS;
pub use self::ring::KeyRing;
use crate::digest::{Digest, Hex, sha256};
use crate::hashed::Hashed;
use crate::head::SignatureEntry;
use crate::signature::{Hash, Kind, RsaPadding, Scheme};

/// What names a key: SHA-256 of it as DER SubjectPublicKeyInfo (RFC 5280, 4.1.2.7).
pub type KeyId = Digest;

/// The label of SubjectPublicKeyInfo in PEM (RFC 7468, 13).
const PEM_LABEL: &str = "PUBLIC KEY";

/// id-Ed25519 (RFC 8410, 3).
pub(crate) const ED25519: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.101.112");
/// id-ecPublicKey (RFC 5480, 2.1.1).
pub(crate) const EC_PUBLIC_KEY: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.2.1");
/// secp384r1 (RFC 5480, 2.1.1.1).
pub(crate) const SECP384R1: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.132.0.34");
/// rsaEncryption (RFC 3279, 2.3.1).
pub(crate) const RSA_ENCRYPTION: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.1");

/// A public key of a kind that this version can verify.
#[derive(Clone, PartialEq, Eq)]
pub struct PublicKey {
    id: KeyId,
    /// SubjectPublicKeyInfo.
    der: Vec<u8>,
    material: Material,
    /// The only scheme it is for; `None` for all of its kind.
    only: Option<Scheme>,
}

#[derive(Clone, PartialEq, Eq)]
enum Material {
    Ed25519(ed25519_dalek::VerifyingKey),
    P384(p384::Key),
    Rsa(rsa::Key),
}

/// Why a text is no usable key, or keys are no usable ring.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// Not PEM in the right envelope, not the DER it should be, or a key of another kind or curve.
    #[error("this is not the PEM file of an Ed25519, P-384 or RSA {0} key")]
    Pem(KeyHalf),
    /// A key of small order: signatures of it prove nothing.
    #[error("this public key is of small order: anybody can sign for it")]
    Weak,
    /// An RSA key of another length or exponent.
    #[error("an RSA key must have 3072 or 4096 bits and the exponent 65537")]
    Rsa,
    /// A private RSA key: this crate only verifies with RSA.
    #[error("RSA keys sign elsewhere: with openssl(1), or in the HSM that keeps them")]
    RsaPrivate,
    /// A key cannot make signatures of this scheme.
    #[error("{scheme} signatures need another kind of key than this {kind} key")]
    Scheme {
        /// Kind of the key.
        kind: Kind,
        /// The scheme.
        scheme: Scheme,
    },
    /// A ring that requires no kind would accept no package.
    #[error("no kind of signature is required")]
    NothingRequired,
    /// A required kind that this version cannot verify.
    #[error("{0} signatures cannot be verified by this version")]
    NotImplemented(Kind),
    /// A required kind without a key that is not revoked: no package could be accepted.
    #[error("{0} signatures are required, but there is no {0} key")]
    NoKey(Kind),
    /// A key whose private half everybody has.
    #[error("the key {} is OpenBMC's development key: its private half is public", Hex(.0))]
    Development(KeyId),
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
    /// [`KeyError::Pem`], [`KeyError::Weak`] and [`KeyError::Rsa`].
    pub fn from_pem(pem: &str) -> Result<Self, KeyError> {
        let (label, document) = Document::from_pem(pem).map_err(|_| KeyError::Pem(KeyHalf::Public))?;
        if label != PEM_LABEL {
            return Err(KeyError::Pem(KeyHalf::Public));
        }
        Self::from_der(document.as_bytes())
    }

    /// Reads SubjectPublicKeyInfo DER. Every key has one form only: points are not compressed, parameters are
    /// as the standards have them. Else one key would have several names, and revoking one would not be enough.
    ///
    /// # Errors
    /// As [`from_pem`](Self::from_pem).
    pub fn from_der(der: &[u8]) -> Result<Self, KeyError> {
        const WRONG: KeyError = KeyError::Pem(KeyHalf::Public);
        let info = SubjectPublicKeyInfoRef::from_der(der).map_err(|_| WRONG)?;
        let algorithm = info.algorithm;
        let bytes = info.subject_public_key.as_bytes().ok_or(WRONG)?;
        let material = match algorithm.oid {
            ED25519 if algorithm.parameters.is_none() => {
                let key = bytes.try_into().map_err(|_| WRONG)?;
                let key = ed25519_dalek::VerifyingKey::from_bytes(key).map_err(|_| WRONG)?;
                // y + p is taken for y there (RFC 8032, 5.1.3 refuses it): a second form of some keys.
                if key.to_edwards().compress().as_bytes() != key.as_bytes() {
                    return Err(WRONG);
                }
                if key.is_weak() {
                    return Err(KeyError::Weak);
                }
                Material::Ed25519(key)
            }
            EC_PUBLIC_KEY if algorithm.parameters_oid() == Ok(SECP384R1) => {
                Material::P384(p384::Key::from_sec1(bytes).ok_or(WRONG)?)
            }
            RSA_ENCRYPTION if algorithm.parameters == Some(AnyRef::NULL) => {
                Material::Rsa(rsa::Key::from_pkcs1(bytes)?)
            }
            _ => return Err(WRONG),
        };
        Ok(Self { id: sha256(der), der: der.to_vec(), material, only: None })
    }

    /// The same key, for signatures of this scheme only.
    ///
    /// # Errors
    /// [`KeyError::Scheme`] if it is none of the key's kind.
    pub fn only_for(self, scheme: Scheme) -> Result<Self, KeyError> {
        self.suits(scheme)?;
        Ok(Self { only: Some(scheme), ..self })
    }

    /// Writes SubjectPublicKeyInfo PEM.
    ///
    /// # Errors
    /// [`KeyError::Pem`] if the key cannot be written, which no key of this type is known to cause.
    pub fn to_pem(&self) -> Result<String, KeyError> {
        Document::try_from(self.der.as_slice())
            .and_then(|document| document.to_pem(PEM_LABEL, LineEnding::LF))
            .map_err(|_| KeyError::Pem(KeyHalf::Public))
    }

    /// What names the key.
    #[must_use]
    pub const fn id(&self) -> &KeyId {
        &self.id
    }

    /// The kind of signature that it verifies.
    #[must_use]
    pub const fn kind(&self) -> Kind {
        match &self.material {
            Material::Ed25519(_) => Kind::Ed25519,
            Material::P384(_) => Kind::P384,
            Material::Rsa(_) => Kind::Rsa,
        }
    }

    /// The scheme that it is for; where there are several, the one to choose for a new package.
    #[must_use]
    pub const fn scheme(&self) -> Scheme {
        match (self.only, &self.material) {
            (Some(scheme), _) => scheme,
            (None, Material::Ed25519(_)) => Scheme::Ed25519,
            (None, Material::P384(_)) => Scheme::P384,
            (None, Material::Rsa(_)) => Scheme::Rsa(RsaPadding::Pss, Hash::Sha256),
        }
    }

    /// Length of its signatures in bytes.
    #[must_use]
    pub const fn signature_length(&self) -> u16 {
        match &self.material {
            Material::Ed25519(_) => 64,
            Material::P384(_) => p384::SIGNATURE_LENGTH,
            Material::Rsa(key) => key.length(),
        }
    }

    /// What a signature table says of a signature by this key in its [`scheme`](Self::scheme).
    #[must_use]
    pub const fn signature_entry(&self) -> SignatureEntry {
        SignatureEntry { scheme: self.scheme(), length: self.signature_length(), key_id: self.id }
    }

    /// Whether the key takes signatures of this scheme.
    pub(crate) fn accepts(&self, scheme: Scheme) -> bool {
        match self.only {
            Some(only) => scheme == only,
            None => scheme.kind() == self.kind(),
        }
    }

    /// Whether this is a signature of `message`: exactly one form of it is accepted.
    pub(crate) fn verifies(&self, scheme: Scheme, message: &[u8], signature: &[u8]) -> bool {
        if !self.accepts(scheme) {
            return false;
        }
        match (&self.material, scheme) {
            (Material::Ed25519(key), Scheme::Ed25519) => ed25519_dalek::Signature::from_slice(signature)
                .is_ok_and(|signature| key.verify_strict(message, &signature).is_ok()),
            (Material::P384(key), Scheme::P384) => key.verifies(message, signature),
            (Material::Rsa(key), Scheme::Rsa(padding, hash)) => {
                key.verifies(padding, &Hashed::of(hash, &[message]), signature)
            }
            (
                Material::Ed25519(_) | Material::P384(_) | Material::Rsa(_),
                Scheme::Ed25519 | Scheme::P384 | Scheme::Rsa(..) | Scheme::MlDsa,
            ) => false,
        }
    }

    /// Whether this is a signature, by RSASSA-PKCS1-v1_5, of the message with this hash: for one who hashes a
    /// message in pieces. Keys of other kinds, or for other schemes, have made none.
    #[must_use]
    pub fn verifies_pkcs1(&self, message: &Hashed, signature: &[u8]) -> bool {
        let padding = RsaPadding::Pkcs1;
        match &self.material {
            Material::Rsa(key) if self.accepts(Scheme::Rsa(padding, message.hash())) => {
                key.verifies(padding, message, signature)
            }
            Material::Ed25519(_) | Material::P384(_) | Material::Rsa(_) => false,
        }
    }

    /// A signature in the form that packages hold, from the forms that signers write.
    #[cfg(feature = "maker")]
    pub(crate) fn canonical(&self, signature: &[u8]) -> Vec<u8> {
        match &self.material {
            Material::P384(_) => p384::canonical(signature),
            Material::Ed25519(_) | Material::Rsa(_) => None,
        }
        .unwrap_or_else(|| signature.to_vec())
    }

    fn suits(&self, scheme: Scheme) -> Result<(), KeyError> {
        if scheme.kind() == self.kind() {
            Ok(())
        } else {
            Err(KeyError::Scheme { kind: self.kind(), scheme })
        }
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PublicKey({} {})", self.kind(), Hex(&self.id))
    }
}
