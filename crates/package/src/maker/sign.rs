//! Signing a packed package.

use std::io::{Read, Seek, SeekFrom, Write};
use std::vec::Vec;

use super::inspect::read_head;
use super::{MakeError, PrivateKey};
use crate::head::{self, Head, SignatureEntry};
use crate::key::PublicKey;
use crate::signature::{MAX_LENGTH, SIGNED_LENGTH, signed_bytes};
use crate::tar;

/// The bytes that every signature of this package signs; `package` stands at its beginning.
///
/// # Errors
/// [`MakeError::Package`] and [`MakeError::Refused`] if there is no valid head.
pub fn signed_bytes_of(package: &mut impl Read) -> Result<[u8; SIGNED_LENGTH], MakeError> {
    Ok(signed_bytes(&read_head(package)?.bytes))
}

/// The signatures that are still missing: packing leaves zeros in their places. What is there may be wrong all the
/// same.
///
/// # Errors
/// Those of [`signed_bytes_of`].
pub fn missing(package: &mut (impl Read + Seek)) -> Result<Vec<SignatureEntry>, MakeError> {
    package.rewind().map_err(MakeError::Package)?;
    let head = read_head(package)?.head;
    let mut missing = Vec::new();
    let mut signature = Vec::with_capacity(MAX_LENGTH.into());
    for (offset, entry) in places(&head) {
        signature.clear();
        package.seek(SeekFrom::Start(offset)).map_err(MakeError::Package)?;
        // Of a file that ends before, there are no bytes but zeros either.
        let mut place = package.by_ref().take(entry.length.into());
        place.read_to_end(&mut signature).map_err(MakeError::Package)?;
        if is_empty(&signature) {
            missing.push(entry);
        }
    }
    Ok(missing)
}

/// Whether nobody has signed here yet: packing leaves zeros.
pub(super) fn is_empty(signature: &[u8]) -> bool {
    signature.iter().all(|byte| *byte == 0)
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
    places(head).find(|(_, entry)| entry.kind() == key.kind() && entry.key_id == *key.id())
}

/// Where in the package each signature stands, in bytes, and what the head says of it.
fn places(head: &Head) -> impl Iterator<Item = (u64, SignatureEntry)> {
    // Four signatures of 8 KiB and a head cannot overflow anything.
    let span = |length: u64| tar::span(length).unwrap_or(0);
    head.signatures.iter().scan(span(head::LENGTH as u64), move |next: &mut u64, entry| {
        let offset = *next + tar::BLOCK_LENGTH;
        *next += span(entry.length.into());
        Some((offset, *entry))
    })
}
