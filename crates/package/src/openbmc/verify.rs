//! The chain of signatures in a tar that is complete and sealed, and what comes out of it.

use alloc::string::ToString;
use alloc::vec;
use alloc::vec::Vec;

use super::image::{self, PIECE};
use super::intake::{Error, Extent, Intake, read};
use super::manifest::{Manifest, PURPOSE};
use super::member::{File, Member};
use super::trust::{Signed, Trust};
use crate::digest::{Digest, sha256};
use crate::hashed::{Hashed, Hasher};
use crate::index::{self, Chunk, Index, IndexError, MemberKind};
use crate::key::PublicKey;
use crate::policy::Policy;
use crate::refusal::{KeyFault, Refusal};
use crate::signature::Hash;

/// An authentic tar, as if it had come with an index.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Firmware {
    /// What it is for, and its images as they will lie in flash, in chunks of 128 KiB. Its bytes, as
    /// [`Index::encode`] has them, are in [`index_bytes`](Self::index_bytes).
    pub index: Index,
    /// The index, written down.
    pub index_bytes: Vec<u8>,
    /// What names the tar, in place of a head's digest: SHA-256 of `image-full.sig`, which signs all that is in it.
    pub identity: Digest,
}

impl Intake {
    /// Seals the stage and checks the chain of signatures over it. Takes as long as to hash all images twice, and to
    /// decode those that are compressed.
    ///
    /// # Errors
    /// The first fault, in the order of docs/spec/openbmc.md, 6; those of the stage.
    pub fn verify(&mut self, trust: &impl Trust, policy: &Policy) -> Result<Firmware, Error> {
        self.check_complete()?;
        self.seal()?;
        self.check_members()?;
        let manifest = self.read(Member::File(File::Manifest))?;
        let public_key = self.read(Member::File(File::PublicKey))?;
        trust.system(
            Signed { bytes: &manifest, signature: &self.read(Member::Signature(File::Manifest))? },
            Signed { bytes: &public_key, signature: &self.read(Member::Signature(File::PublicKey))? },
        )?;

        // MANIFEST and publickey are authentic.
        let manifest = Manifest::parse(&manifest).map_err(Refusal::BadManifest)?;
        if manifest.purpose != PURPOSE {
            return Err(Refusal::WrongPurpose { found: manifest.purpose }.into());
        }
        if manifest.machine != self.profile.machine() {
            let expected = self.profile.machine().to_string();
            return Err(Refusal::WrongMachine { expected, found: manifest.machine }.into());
        }
        let key = trust.release_key(&public_key)?;
        for place in self.profile.places() {
            self.check_image(trust, &key, manifest.hash, place.file)?;
        }
        let identity = self.check_full(trust, &key, manifest.hash)?;

        // All of it is authentic.
        let index = self.index(manifest)?;
        policy.check_index(&index)?;
        let index_bytes = index.encode().map_err(|error| match error {
            IndexError::TooLong(length) => Refusal::TooLarge {
                member: None,
                length: length as u64,
                limit: crate::head::MAX_INDEX_LENGTH.into(),
            },
            other => Refusal::BadIndex(other),
        })?;
        Ok(Firmware { index, index_bytes, identity })
    }

    /// Calls `each` with number in the index, offset and bytes of every chunk of a tar that [`verify`](Self::verify) has
    /// accepted.
    ///
    /// # Errors
    /// Those of `each`, and those of the stage.
    pub fn chunks<E: From<Error>>(
        &self,
        mut each: impl FnMut(usize, u64, &[u8]) -> Result<(), E>,
    ) -> Result<(), E> {
        let stage = self.stage().map_err(Error::from)?;
        for (number, place) in self.profile.places().iter().enumerate() {
            let extent = self.present(Member::File(place.file)).map_err(|refusal| E::from(refusal.into()))?;
            image::pieces(stage, extent, place, |offset, piece| each(number, offset, piece))?;
        }
        Ok(())
    }

    /// Checks that nothing is missing: every image of this BMC, MANIFEST, publickey, each one's signature, and the one of
    /// all. What is too much was refused when it came.
    fn check_members(&self) -> Result<(), Refusal> {
        let metadata = [File::Manifest, File::PublicKey];
        let images = self.profile.places().iter().map(|place| place.file);
        let files: Vec<File> = images.chain(metadata).collect();
        for file in &files {
            self.present(Member::File(*file))?;
        }
        for file in &files {
            self.present(Member::Signature(*file))?;
        }
        self.present(Member::FullSignature).map(drop)
    }

    fn present(&self, member: Member) -> Result<Extent, Refusal> {
        self.extent(member).ok_or_else(|| match member {
            Member::File(file) => Refusal::MissingMember { member: file.name().to_string() },
            Member::Signature(_) | Member::FullSignature => Refusal::UnknownKey(KeyFault::Unsigned(member)),
        })
    }

    fn read(&self, member: Member) -> Result<Vec<u8>, Error> {
        Ok(read(self.stage()?, self.present(member)?)?)
    }

    fn check_image(&self, trust: &impl Trust, key: &PublicKey, hash: Hash, file: File) -> Result<(), Error> {
        let extent = self.present(Member::File(file))?;
        let mut hasher = Hasher::new(hash);
        let mut piece = vec![0; PIECE];
        let mut at = 0;
        while at < extent.length {
            let left = usize::try_from(extent.length - at).unwrap_or(PIECE);
            let piece = &mut piece[..left.min(PIECE)];
            self.stage()?.read_at(extent.offset + at, piece)?;
            hasher.update(piece);
            at += piece.len() as u64;
        }
        self.check_signature(trust, key, &hasher.finish(), Member::Signature(file)).map(drop)
    }

    /// Checks `image-full.sig`, and gives its digest.
    fn check_full(&self, trust: &impl Trust, key: &PublicKey, hash: Hash) -> Result<Digest, Error> {
        let mut all = Hasher::new(hash);
        for file in File::ALL {
            if self.extent(Member::Signature(file)).is_some() {
                all.update(&self.read(Member::Signature(file))?);
            }
        }
        let signature = self.check_signature(trust, key, &all.finish(), Member::FullSignature)?;
        Ok(sha256(&signature))
    }

    fn check_signature(
        &self,
        trust: &impl Trust,
        key: &PublicKey,
        message: &Hashed,
        member: Member,
    ) -> Result<Vec<u8>, Error> {
        let signature = self.read(member)?;
        if trust.verifies(key, message, &signature) {
            Ok(signature)
        } else {
            Err(Refusal::BadMemberSignature { signature: member }.into())
        }
    }

    /// What a maker would have written into the index.
    fn index(&self, manifest: Manifest) -> Result<Index, Error> {
        let mut members = Vec::with_capacity(self.profile.places().len());
        for place in self.profile.places() {
            let extent = self.present(Member::File(place.file))?;
            let (mut chunks, mut length) = (Vec::new(), 0);
            image::pieces(self.stage()?, extent, place, |_, piece| {
                // A piece is no longer than a chunk may be.
                let chunk_length = piece.len() as u32;
                chunks.push(Chunk {
                    encoding: index::Encoding::Plain,
                    length: chunk_length,
                    digest: sha256(piece),
                });
                length += u64::from(chunk_length);
                Ok::<_, Error>(())
            })?;
            let name = place.file.name().to_string();
            members.push(index::Member { name, kind: MemberKind::Image, target: 0, length, chunks });
        }
        Ok(Index {
            bcd_device: bcd_device(&manifest.version),
            machine: manifest.machine,
            compatible: manifest.compatible,
            version: manifest.version,
            security_version: 0,
            targets: vec![self.profile.target().to_string()],
            members,
        })
    }
}

/// bcdDevice from a version: the first two numbers of it, if there are two of at most two digits, such as 0214h from
/// `2.14.0-dev`; else 0.
fn bcd_device(version: &str) -> u16 {
    let version = version.strip_prefix('v').unwrap_or(version);
    let mut parts = version.split(|c: char| !c.is_ascii_digit());
    let mut number = || -> Option<u16> {
        let digits = parts.next().filter(|digits| (1..=2).contains(&digits.len()))?;
        // Decimal digits, one in each four bits.
        u16::from_str_radix(digits, 16).ok()
    };
    number().zip(number()).map_or(0, |(major, minor)| major << 8 | minor)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_become_bcd_where_they_can() {
        for (version, bcd) in [
            ("2.14.0-dev-1234-gabcdef0", 0x0214),
            ("v1.2", 0x0102),
            ("99.99", 0x9999),
            ("3-0", 0x0300),
            ("100.1", 0),
            ("1.100", 0),
            ("7", 0),
            ("latest", 0),
            ("", 0),
        ] {
            assert_eq!(bcd_device(version), bcd, "{version}");
        }
    }
}
