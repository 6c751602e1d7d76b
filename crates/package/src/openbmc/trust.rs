//! Whose signatures count in a tar.

use super::member::{File, Member};
use crate::hashed::Hashed;
use crate::key::{DEVELOPMENT_KEYS, KeyError, KeyRing, PublicKey};
use crate::refusal::{KeyFault, Refusal};
use crate::signature::{Hash, Kind};

/// The hashes that are tried where nothing authentic says which it is.
const HASHES: [Hash; 3] = [Hash::Sha256, Hash::Sha384, Hash::Sha512];

/// A file of the tar, and its signature.
#[derive(Clone, Copy, Debug)]
pub struct Signed<'a> {
    /// All of the file.
    pub bytes: &'a [u8],
    /// All of the signature.
    pub signature: &'a [u8],
}

/// Decides whether a tar is authentic. [`KeyRing`] is the one for use; fuzz targets bring another to get past the
/// signatures.
pub trait Trust {
    /// Whether one system key has signed both `MANIFEST` and `publickey`. Neither has been looked into.
    ///
    /// # Errors
    /// [`Refusal::UnknownKey`] if signatures like these are not accepted, or the key is revoked;
    /// [`Refusal::BadMemberSignature`] if no key verifies them.
    fn system(&self, manifest: Signed<'_>, key: Signed<'_>) -> Result<(), Refusal>;

    /// The key in an authentic `publickey`.
    ///
    /// # Errors
    /// [`Refusal::UnknownKey`] if it is none, or one that must not be used.
    fn release_key(&self, pem: &[u8]) -> Result<PublicKey, Refusal>;

    /// Whether that key has signed the message with this hash.
    fn verifies(&self, key: &PublicKey, message: &Hashed, signature: &[u8]) -> bool;
}

impl Trust for KeyRing {
    fn system(&self, manifest: Signed<'_>, key: Signed<'_>) -> Result<(), Refusal> {
        // All-of: a tar has RSA signatures and no others.
        if let Some(other) = self.required().iter().find(|kind| **kind != Kind::Rsa) {
            return Err(Refusal::UnknownKey(KeyFault::Missing(*other)));
        }
        let mut bad = Member::Signature(File::Manifest);
        for system in self.keys().iter().filter(|system| system.kind() == Kind::Rsa) {
            let signed = |signed: Signed<'_>, hash| {
                system.verifies_pkcs1(&Hashed::of(hash, &[signed.bytes]), signed.signature)
            };
            // Of each signature there is one form, so it verifies with one hash at most.
            let Some(hash) = HASHES.into_iter().find(|hash| signed(manifest, *hash)) else { continue };
            if !signed(key, hash) {
                bad = Member::Signature(File::PublicKey);
                continue;
            }
            if self.revoked().contains(system.id()) {
                return Err(Refusal::UnknownKey(KeyFault::Revoked { kind: Kind::Rsa, id: *system.id() }));
            }
            return Ok(());
        }
        Err(Refusal::BadMemberSignature { signature: bad })
    }

    fn release_key(&self, pem: &[u8]) -> Result<PublicKey, Refusal> {
        release_key(pem, self.revoked()).map_err(Refusal::UnknownKey)
    }

    fn verifies(&self, key: &PublicKey, message: &Hashed, signature: &[u8]) -> bool {
        key.verifies_pkcs1(message, signature)
    }
}

fn release_key(pem: &[u8], revoked: &[crate::key::KeyId]) -> Result<PublicKey, KeyFault> {
    let wrong = KeyError::Pem(crate::key::KeyHalf::Public);
    let text = core::str::from_utf8(pem).map_err(|_| KeyFault::Unusable(wrong))?;
    let key = PublicKey::from_pem(text).map_err(KeyFault::Unusable)?;
    let (kind, id) = (key.kind(), *key.id());
    if kind != Kind::Rsa {
        return Err(KeyFault::NotRequired(kind));
    }
    if DEVELOPMENT_KEYS.contains(&id) {
        return Err(KeyFault::Unusable(KeyError::Development(id)));
    }
    if revoked.contains(&id) {
        return Err(KeyFault::Revoked { kind, id });
    }
    Ok(key)
}
