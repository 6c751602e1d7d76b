//! Checking a package as a BMC would, and looking into one without trusting it.

use core::cell::RefCell;
use core::convert::Infallible;
use std::io::{self, Read, Seek, SeekFrom};
use std::string::ToString;
use std::sync::Arc;
use std::vec::Vec;

use super::MakeError;
use super::sign::is_empty;
use crate::checked::Checked;
use crate::digest::Digest;
use crate::head::{self, Head, HeadError, SignedHead};
use crate::index::Index;
use crate::policy::Policy;
use crate::reader::{Error, Reader, Sink};
use crate::refusal::{ArchivePart, Refusal};
use crate::signature::Verifier;
use crate::suffix;
use crate::tar::{self, BLOCK, Block};

/// Bytes read at a time. Most chunks lie whole in one such piece, and the reader then need not copy them.
const READ_LENGTH: usize = 1024 * 1024;

/// A package that a BMC with this policy and these keys takes, as far as the package decides it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verified {
    /// The head.
    pub head: Head,
    /// SHA-256 of the head.
    pub head_digest: Digest,
    /// The index.
    pub index: Index,
}

/// What a file says of itself. None of it is authentic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Inspection {
    /// The head.
    pub head: Head,
    /// SHA-256 of the head.
    pub head_digest: Digest,
    /// The signatures, one for each entry of the head's table; empty if the file ends or breaks before them
    /// all.
    pub signatures: Vec<Vec<u8>>,
    /// The index; `None` if the file ends or breaks before it.
    pub index: Option<Index>,
    /// What breaks the format first, everything but the signatures considered; `None` if nothing does.
    pub fault: Option<Refusal>,
}

impl Inspection {
    /// Whether the signature of this number is there at all, right or wrong: packing leaves zeros.
    #[must_use]
    pub fn is_signed(&self, number: usize) -> bool {
        self.signatures.get(number).is_some_and(|signature| !is_empty(signature))
    }
}

/// Reads a whole package from its beginning, as a BMC with this policy and these keys would.
///
/// # Errors
/// [`MakeError::Refused`] as the BMC would refuse it; [`MakeError::Package`].
pub fn verify(
    package: &mut (impl Read + Seek),
    keys: &impl Verifier,
    policy: Policy,
) -> Result<Verified, MakeError> {
    // A stream has to be prepared for a suffix all the way; a file can be looked at from its end.
    let mut reader = if could_have_suffix(package).map_err(MakeError::Package)? {
        Reader::new(keys, policy)
    } else {
        Reader::without_suffix(keys, policy)
    };
    let mut sink = Look::default();
    feed(&mut reader, &mut sink, package)?;
    match sink {
        Look { begun: Some(verified) } => Ok(verified),
        // A reader that has nothing to complain about at the end has begun.
        Look { begun: None } => Err(Refusal::Truncated { received: reader.received(), total: None }.into()),
    }
}

/// Looks into a package from its beginning. What a file with a readable head has wrong is in the result, not
/// an error.
///
/// # Errors
/// [`MakeError::Refused`] if there is no readable head; [`MakeError::Package`].
pub fn inspect(package: &mut impl Read) -> Result<Inspection, MakeError> {
    let found = read_head(package)?;
    let policy = Policy::for_machine(found.head.machine.clone());
    let keep = Keep::default();
    let mut reader = Reader::new(&keep, policy);
    let mut sink = Look::default();
    let begin = found.header.chain(found.bytes.as_slice());
    let fault = match feed(&mut reader, &mut sink, &mut begin.chain(package)) {
        Ok(()) => None,
        Err(MakeError::Refused(refusal)) => Some(refusal),
        Err(other) => return Err(other),
    };
    Ok(Inspection {
        head_digest: head::digest(&found.bytes),
        head: found.head,
        signatures: keep.signatures.into_inner(),
        index: sink.begun.map(|begun| begun.index),
        fault,
    })
}

/// Whether a DFU suffix may stand at the end of the file, which then stands at its beginning.
fn could_have_suffix(file: &mut (impl Read + Seek)) -> io::Result<bool> {
    let length = file.seek(SeekFrom::End(0))?;
    let mut end = [0; suffix::LEN];
    if length >= end.len() as u64 {
        file.seek(SeekFrom::Start(length - end.len() as u64))?;
        file.read_exact(&mut end)?;
    }
    file.rewind()?;
    Ok(suffix::could_be(&end))
}

/// Pushes all of `package` through `reader`.
fn feed<V: Verifier>(
    reader: &mut Reader<V>,
    sink: &mut Look,
    package: &mut impl Read,
) -> Result<(), MakeError> {
    let mut buffer = Vec::with_capacity(READ_LENGTH);
    loop {
        buffer.clear();
        let mut piece = package.by_ref().take(READ_LENGTH as u64);
        if piece.read_to_end(&mut buffer).map_err(MakeError::Package)? == 0 {
            return Ok(reader.finish()?);
        }
        match reader.push(&buffer, sink) {
            Ok(_) => {}
            Err(Error::Refused(refusal)) => return Err(refusal.into()),
            Err(Error::Sink(never)) => match never {},
            // A reader that has failed is not pushed to again.
            Err(Error::Failed) => return Ok(reader.finish()?),
        }
    }
}

/// Keeps what the reader begins with and lets the chunks go.
#[derive(Default)]
struct Look {
    begun: Option<Verified>,
}

impl Sink for Look {
    type Error = Infallible;

    fn begin(
        &mut self,
        head: &Head,
        digest: &Digest,
        index: &Arc<Index>,
        _: &[u8],
    ) -> Result<(), Infallible> {
        self.begun = Some(Verified { head: head.clone(), head_digest: *digest, index: Index::clone(index) });
        Ok(())
    }

    fn chunk(&mut self, _: &Checked<'_>) -> Result<(), Infallible> {
        Ok(())
    }

    fn end(&mut self) -> Result<(), Infallible> {
        Ok(())
    }
}

/// Keeps the signatures and lets all pass. Only for looking: it must not leave this module.
#[derive(Default)]
struct Keep {
    signatures: RefCell<Vec<Vec<u8>>>,
}

impl Verifier for Keep {
    fn accepts(&self, _: &Head) -> Result<(), Refusal> {
        Ok(())
    }

    fn verify(&self, _: &Head, _: &SignedHead, signatures: &[Vec<u8>]) -> Result<(), Refusal> {
        self.signatures.replace(signatures.to_vec());
        Ok(())
    }
}

/// A head as read from a file, with its tar header.
pub(super) struct FoundHead {
    header: Block,
    pub(super) bytes: SignedHead,
    pub(super) head: Head,
}

/// Reads the first 1,024 bytes of a package.
pub(super) fn read_head(package: &mut impl Read) -> Result<FoundHead, MakeError> {
    let mut start = Vec::with_capacity(2 * BLOCK);
    package.take(2 * BLOCK as u64).read_to_end(&mut start).map_err(MakeError::Package)?;
    let (&[header, bytes], _) = start.as_chunks::<BLOCK>() else {
        // Too short even for a head.
        return Err(Refusal::from(HeadError::NotAPackage).into());
    };
    let head = Head::parse(&bytes).map_err(Refusal::from)?;
    if tar::header(head::MEMBER_NAME, head::LENGTH as u64, head.mtime) != Some(header) {
        let part = ArchivePart::Header(head::MEMBER_NAME.to_string());
        return Err(Refusal::BadArchive { part, offset: 0 }.into());
    }
    Ok(FoundHead { header, bytes, head })
}
