//! Signing a packed package.

use std::io::{Read, Seek, SeekFrom, Write};

use super::inspect::read_head;
use super::{MakeError, PrivateKey};
use crate::head::{self, Head, SignatureEntry};
use crate::key::PublicKey;
use crate::signature::{SIGNED_LENGTH, signed_bytes};
use crate::tar;

/// The bytes that every signature of this package signs; `package` stands at its beginning.
///
/// # Errors
/// [`MakeError::Package`] and [`MakeError::Refused`] if there is no valid head.
pub fn signed_bytes_of(package: &mut impl Read) -> Result<[u8; SIGNED_LENGTH], MakeError> {
    Ok(signed_bytes(&read_head(package)?.bytes))
}

/// Signs the package in place.
///
/// Only the head is looked at: [`inspect`](super::inspect()) first, if the package comes from elsewhere.
///
/// # Errors
/// [`MakeError::NotASigner`] if it was packed for other keys; and those of [`signed_bytes_of`].
pub fn sign(package: &mut (impl Read + Write + Seek), key: &PrivateKey) -> Result<(), MakeError> {
    package.rewind().map_err(MakeError::Package)?;
    let signature = key.sign(&signed_bytes_of(package)?);
    attach(package, &key.public().map_err(MakeError::Key)?, &signature)
}

/// Puts a signature, made elsewhere by the private half of `key`, into the package in place.
///
/// A `p384` signature may be DER or the two numbers, its s in either half of its range: what is written is the
/// one form that packages have. All other kinds have one form only.
///
/// # Errors
/// [`MakeError::WrongSignature`] if it does not verify, [`MakeError::NotASigner`] if the package was packed
/// for other keys; and those of [`signed_bytes_of`]. The package is then as it was.
pub fn attach(
    package: &mut (impl Read + Write + Seek),
    key: &PublicKey,
    signature: &[u8],
) -> Result<(), MakeError> {
    package.rewind().map_err(MakeError::Package)?;
    let found = read_head(package)?;
    let (offset, entry) =
        place_of(&found.head, key).ok_or(MakeError::NotASigner { kind: key.kind(), id: *key.id() })?;
    let signature = key.canonical(signature);
    if !key.verifies(entry.scheme, &signed_bytes(&found.bytes), &signature) {
        return Err(MakeError::WrongSignature { id: *key.id(), scheme: entry.scheme });
    }
    package.seek(SeekFrom::Start(offset)).map_err(MakeError::Package)?;
    package.write_all(&signature).map_err(MakeError::Package)?;
    package.flush().map_err(MakeError::Package)
}

/// Where in the package the signature by `key` stands, in bytes, and what the head says of it.
fn place_of(head: &Head, key: &PublicKey) -> Option<(u64, SignatureEntry)> {
    let mut offset = tar::span(head::LENGTH as u64)?;
    for entry in &head.signatures {
        if entry.kind() == key.kind() && entry.key_id == *key.id() {
            return Some((offset.checked_add(tar::BLOCK_LENGTH)?, *entry));
        }
        offset = offset.checked_add(tar::span(entry.length.into())?)?;
    }
    None
}
