//! The four stages of reading, one type each: what a stage does not have yet, it cannot use.
//!
//! Each `take` consumes input as far as it can and returns itself to wait for more, or the next stage.

use alloc::boxed::Box;
use alloc::string::ToString;
use alloc::sync::Arc;
use alloc::vec::Vec;

use sha2::{Digest as _, Sha256};

use super::archive::{Gather, Input, Zeros, check_header};
use super::chunks::ChunkPlace;
use super::{Error, Sink};
use crate::checked::Checked;
use crate::digest::{Digest, sha256};
use crate::head::{self, Head, HeadError, SignedHead};
use crate::index::{self, Chunk, Encoding, Index, IndexError};
use crate::openbmc::Format;
use crate::policy::Policy;
use crate::refusal::{ArchivePart, Refusal, Unindexed};
use crate::signature::Verifier;
use crate::tar::{self, Block};
use crate::zstd::Decoder;

/// What a stage made of its input.
pub(super) enum Step<This, Next> {
    /// The input is used up, the stage is not complete.
    Wait(This),
    /// The stage is complete.
    Next(Next),
}

/// Which part of a member is being taken.
#[derive(Debug)]
enum Part {
    Header(Gather),
    Content,
    Padding(Zeros),
}

impl Part {
    fn start() -> Self {
        Self::Header(Gather::new())
    }

    const fn padding(length: u64) -> Self {
        Self::Padding(Zeros::new(tar::padding(length)))
    }
}

/// Waits for the head.
#[derive(Debug)]
pub(super) struct HeadStage {
    /// The head's tar header once it is there. Its mtime can be checked only when the head is.
    header: Option<Box<Block>>,
    gather: Gather,
}

impl Default for HeadStage {
    fn default() -> Self {
        Self { header: None, gather: Gather::new() }
    }
}

impl HeadStage {
    pub(super) fn take(
        mut self,
        input: &mut Input<'_>,
        policy: &Policy,
        verifier: &impl Verifier,
    ) -> Result<Step<Self, SignatureStage>, Refusal> {
        loop {
            let Some(block) = self.gather.take(input) else { return Ok(Step::Wait(self)) };
            match self.header {
                None => {
                    check_first_header(&block)?;
                    self = Self { header: Some(Box::new(block)), gather: Gather::new() };
                }
                Some(header) => {
                    policy.expected.check_digest(&block)?;
                    let head = Head::parse(&block)?;
                    let expected = tar::header(head::MEMBER_NAME, head::LENGTH as u64, head.mtime);
                    if expected.as_ref() != Some(&*header) {
                        return Err(bad_first_header());
                    }
                    policy.check_head(&head)?;
                    verifier.accepts(&head)?;
                    return Ok(Step::Next(SignatureStage::new(head, block)));
                }
            }
        }
    }
}

/// Checks what can be checked of the first header before the head is there.
fn check_first_header(found: &Block) -> Result<(), Refusal> {
    let Some(expected) = tar::header(head::MEMBER_NAME, head::LENGTH as u64, 0) else {
        return Err(bad_first_header());
    };
    if found[tar::NAME] != expected[tar::NAME] {
        // Say so, rather than name a field.
        return Err(match Format::of(found) {
            Format::Unindexed => Refusal::Unindexed(Unindexed::Never),
            Format::Package => HeadError::NotAPackage.into(),
        });
    }
    if !tar::equal_but_mtime(found, &expected) {
        return Err(bad_first_header());
    }
    Ok(())
}

fn bad_first_header() -> Refusal {
    Refusal::BadArchive { part: ArchivePart::Header(head::MEMBER_NAME.to_string()), offset: 0 }
}

/// Waits for signatures. The head is not authentic: nothing but the lengths of its table is used.
#[derive(Debug)]
pub(super) struct SignatureStage {
    head: Head,
    bytes: Box<SignedHead>,
    complete: Vec<Vec<u8>>,
    current: Vec<u8>,
    part: Part,
}

impl SignatureStage {
    fn new(head: Head, bytes: SignedHead) -> Self {
        let bytes = Box::new(bytes);
        Self { head, bytes, complete: Vec::new(), current: Vec::new(), part: Part::start() }
    }

    pub(super) const fn unverified_total(&self) -> u64 {
        self.head.total_length
    }

    pub(super) fn take(
        mut self,
        input: &mut Input<'_>,
        verifier: &impl Verifier,
    ) -> Result<Step<Self, IndexStage>, Refusal> {
        loop {
            let number = match self.part {
                Part::Header(_) | Part::Content => self.complete.len(),
                // While its padding comes, a signature is complete already.
                Part::Padding(_) => self.complete.len().saturating_sub(1),
            };
            let Some(entry) = self.head.signatures.get(number).copied() else {
                return Ok(Step::Next(IndexStage::new(self.head, head::digest(&self.bytes))));
            };
            match &mut self.part {
                Part::Header(gather) => {
                    let Some(block) = gather.take(input) else { return Ok(Step::Wait(self)) };
                    check_header(
                        &block,
                        input,
                        entry.kind().member_name(),
                        entry.length.into(),
                        self.head.mtime,
                    )?;
                    self.part = Part::Content;
                }
                Part::Content => {
                    // Grows with what arrives, never ahead of it: the length is not authentic.
                    let length = usize::from(entry.length);
                    self.current.extend_from_slice(input.take(length - self.current.len()));
                    if self.current.len() < length {
                        return Ok(Step::Wait(self));
                    }
                    self.part = Part::padding(entry.length.into());
                    self.complete.push(core::mem::take(&mut self.current));
                    if self.complete.len() == self.head.signatures.len() {
                        verifier.verify(&self.head, &self.bytes, &self.complete)?;
                    }
                }
                Part::Padding(zeros) => {
                    if !zeros.take(input, || ArchivePart::Padding(entry.kind().member_name().to_string()))? {
                        return Ok(Step::Wait(self));
                    }
                    self.part = Part::start();
                }
            }
        }
    }
}

/// Waits for the index. The head is authentic.
#[derive(Debug)]
pub(super) struct IndexStage {
    head: Head,
    head_digest: Digest,
    bytes: Vec<u8>,
    part: IndexPart,
}

#[derive(Debug)]
enum IndexPart {
    Header(Gather),
    Content,
    Padding(Zeros, Arc<Index>),
}

impl IndexStage {
    fn new(head: Head, head_digest: Digest) -> Self {
        Self { head, head_digest, bytes: Vec::new(), part: IndexPart::Header(Gather::new()) }
    }

    pub(super) const fn head(&self) -> &Head {
        &self.head
    }

    pub(super) fn take<S: Sink>(
        mut self,
        input: &mut Input<'_>,
        policy: &Policy,
        sink: &mut S,
    ) -> Result<Step<Self, MemberStage>, Error<S::Error>> {
        let length = self.head.index_length as usize;
        loop {
            match self.part {
                IndexPart::Header(mut gather) => {
                    let Some(block) = gather.take(input) else {
                        self.part = IndexPart::Header(gather);
                        return Ok(Step::Wait(self));
                    };
                    check_header(&block, input, index::MEMBER_NAME, length as u64, self.head.mtime)?;
                    // This length is authentic, and the format bounds it.
                    self.bytes.reserve_exact(length);
                    self.part = IndexPart::Content;
                }
                IndexPart::Content => {
                    self.bytes.extend_from_slice(input.take(length - self.bytes.len()));
                    if self.bytes.len() < length {
                        return Ok(Step::Wait(self));
                    }
                    let index = check_index(&self.head, &self.bytes, policy)?;
                    self.part = IndexPart::Padding(Zeros::new(tar::padding(length as u64)), Arc::new(index));
                }
                IndexPart::Padding(mut zeros, index) => {
                    if !zeros.take(input, || ArchivePart::Padding(index::MEMBER_NAME.to_string()))? {
                        self.part = IndexPart::Padding(zeros, index);
                        return Ok(Step::Wait(self));
                    }
                    sink.begin(&self.head, &self.head_digest, &index, &self.bytes).map_err(Error::Sink)?;
                    return Ok(Step::Next(MemberStage::new(Authentic { head: self.head, index })));
                }
            }
        }
    }
}

/// The index, if it is the one that the head means, follows the format and suits the policy.
fn check_index(head: &Head, bytes: &[u8], policy: &Policy) -> Result<Index, Refusal> {
    if sha256(bytes) != head.index_digest {
        return Err(IndexError::Digest.into());
    }
    let index = Index::parse(bytes)?;
    index.check_against(head)?;
    policy.check_index(&index)?;
    Ok(index)
}

/// Head and index, verified and accepted by the sink.
#[derive(Debug)]
pub(super) struct Authentic {
    pub(super) head: Head,
    pub(super) index: Arc<Index>,
}

impl Authentic {
    /// Bytes of the longest chunk as it is sent.
    pub(super) fn longest_chunk(&self) -> usize {
        let chunks = self.index.members.iter().flat_map(|member| &member.chunks);
        chunks.map(|chunk| chunk.sent().length).max().unwrap_or(0) as usize
    }
}

/// Takes members and the end of the archive.
#[derive(Debug)]
pub(super) struct MemberStage {
    package: Authentic,
    chunk: Portions,
    decoder: Decoder,
    at: At,
}

#[derive(Debug)]
enum At {
    Header { member: usize, gather: Gather },
    Chunk { member: usize, chunk: usize, offset: u64 },
    Padding { member: usize, zeros: Zeros },
    End(Zeros),
}

impl At {
    /// The beginning of the member with this number, or the end if there is none.
    fn start(member: usize, index: &Index) -> Self {
        if member < index.members.len() {
            Self::Header { member, gather: Gather::new() }
        } else {
            Self::End(Zeros::new(tar::END_LENGTH))
        }
    }
}

impl MemberStage {
    fn new(package: Authentic) -> Self {
        let at = At::start(0, &package.index);
        let chunk = Portions::with_capacity(package.longest_chunk());
        Self { package, chunk, decoder: Decoder::default(), at }
    }

    /// The package, if nothing of its members has come.
    pub(super) fn into_package(self) -> Option<Authentic> {
        let untouched = match &self.at {
            At::Header { member: 0, gather } => gather.is_empty(),
            At::Header { .. } | At::Chunk { .. } | At::Padding { .. } | At::End(_) => false,
        };
        untouched.then_some(self.package)
    }

    pub(super) const fn package(&self) -> &Authentic {
        &self.package
    }

    pub(super) fn take<S: Sink>(
        mut self,
        input: &mut Input<'_>,
        sink: &mut S,
    ) -> Result<Step<Self, Authentic>, Error<S::Error>> {
        loop {
            let Authentic { head, index } = &self.package;
            match &mut self.at {
                At::Header { member, gather } => {
                    let Some(block) = gather.take(input) else { return Ok(Step::Wait(self)) };
                    let found = &index.members[*member];
                    check_header(&block, input, &found.archive_name(), found.sent_length(), head.mtime)?;
                    self.at = At::Chunk { member: *member, chunk: 0, offset: 0 };
                }
                At::Chunk { member, chunk, offset } => {
                    let found = &index.members[*member];
                    let Some(expected) = found.chunks.get(*chunk) else {
                        let zeros = Zeros::new(tar::padding(found.sent_length()));
                        self.at = At::Padding { member: *member, zeros };
                        continue;
                    };
                    let sent = expected.sent();
                    let Some((data, digest)) = self.chunk.whole(input, sent.length as usize) else {
                        return Ok(Step::Wait(self));
                    };
                    let place = ChunkPlace { member: *member, chunk: *chunk, offset: *offset };
                    deliver(&mut self.decoder, place, &found.name, expected, (data, digest), sink)?;
                    self.chunk.clear();
                    *chunk += 1;
                    *offset = offset.saturating_add(expected.length.into());
                }
                At::Padding { member, zeros } => {
                    let found = &index.members[*member];
                    if !zeros.take(input, || ArchivePart::Padding(found.archive_name()))? {
                        return Ok(Step::Wait(self));
                    }
                    self.at = At::start(*member + 1, index);
                }
                At::End(zeros) => {
                    if !zeros.take(input, || ArchivePart::End)? {
                        return Ok(Step::Wait(self));
                    }
                    return Ok(Step::Next(self.package));
                }
            }
        }
    }
}

/// Hands on what a chunk of a member of this name holds, if its bytes as they were sent, which have this digest, are those that are signed.
/// Only what is authentic is decoded.
pub(super) fn deliver<S: Sink>(
    decoder: &mut Decoder,
    place: ChunkPlace,
    name: &str,
    expected: &Chunk,
    (sent, digest): (&[u8], Digest),
    sink: &mut S,
) -> Result<(), Error<S::Error>> {
    let bad = || Refusal::BadChunk { member: name.to_string(), offset: place.offset };
    if digest != expected.sent().digest {
        return Err(bad().into());
    }
    let at = (place.member, place.chunk, place.offset);
    match expected.encoding {
        Encoding::Plain => sink.chunk(&Checked::hashed(at, expected, sent, digest).ok_or_else(bad)?),
        Encoding::Zstd(_) => {
            let data = decoder.decode(sent, expected.length).ok_or_else(bad)?;
            sink.chunk(&Checked::new(at, expected, &data).ok_or_else(bad)?)
        }
    }
    .map_err(Error::Sink)
}

/// A chunk that is coming in portions. Each is hashed as it comes: to hash a chunk whole would keep the one processor of a small BMC
/// from answering the host for as long as a dozen blocks take.
#[derive(Debug)]
pub(super) struct Portions {
    bytes: Vec<u8>,
    hash: Sha256,
}

impl Portions {
    /// With room for `longest` bytes.
    pub(super) fn with_capacity(longest: usize) -> Self {
        Self { bytes: Vec::with_capacity(longest), hash: Sha256::new() }
    }

    /// Makes room for the next chunk, whatever there is of this one.
    pub(super) fn clear(&mut self) {
        self.bytes.clear();
        self.hash.reset();
    }

    /// The next `length` bytes and their digest, once all are there: from the input if it has them all, else gathered here.
    pub(super) fn whole<'a, 'i: 'a>(
        &'a mut self,
        input: &mut Input<'i>,
        length: usize,
    ) -> Option<(&'a [u8], Digest)> {
        if self.bytes.is_empty() && input.len() >= length {
            let data = input.take(length);
            return Some((data, sha256(data)));
        }
        let portion = input.take(length - self.bytes.len());
        self.hash.update(portion);
        self.bytes.extend_from_slice(portion);
        (self.bytes.len() == length).then(|| (&self.bytes[..], self.hash.finalize_reset().into()))
    }
}
