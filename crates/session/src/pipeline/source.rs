//! What a session's bytes are read by: a package, or a firmware tar that has no head.

use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec::Vec;

use inband_package::openbmc::{self, Format, Intake, MAX_WINDOW, Profile, Staging};
use inband_package::reader::Beginning;
use inband_package::refusal::{Surprise, Unindexed as NotTaken};
use inband_package::{
    Checked, Digest, Head, Index, KeyRing, Policy, Reader, Refusal, Sink, Verifier, reader, tar,
};
use inband_store::medium::Medium;
use inband_store::{Store, StoreError};

use super::Target;
use super::needed::Needed;

/// Memory that must be free besides a tar's own, in bytes: for the decoder with its window, for the index, and for the rest
/// of the BMC.
const MARGIN: u64 = MAX_WINDOW + 16 * 1024 * 1024;

/// What it takes to accept firmware tars that have no head (docs/spec/openbmc.md).
#[derive(Debug)]
pub struct Unindexed {
    /// The board, its images and the limits.
    pub profile: Profile,
    /// Whose signatures count.
    pub keys: KeyRing,
    /// Where a tar waits until it is complete.
    pub staging: Box<dyn Staging>,
}

impl Unindexed {
    /// Begins to take a tar, if this is not forbidden and there is room for the largest one.
    fn open<M: Medium>(&self, store: &Store<M>) -> Result<Intake, Fault> {
        let record = store.record();
        // The floor is what the running firmware has raised it to; but it must not be above either.
        let version = record.floor.max(record.slot(store.running()).security_version);
        if version > 0 {
            return Err(Refusal::Unindexed(NotTaken::SecurityVersion(version)).into());
        }
        let stage = self.staging.open(self.profile.max_staged(), MARGIN).map_err(openbmc::Error::from)?;
        Ok(Intake::new(self.profile.clone(), stage))
    }
}

/// Why a source fails.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Fault {
    #[error(transparent)]
    Package(#[from] reader::Error<StoreError>),
    #[error(transparent)]
    Tar(#[from] openbmc::Error),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("there are bytes behind what a package offers")]
    BehindOffer,
}

impl From<Beginning> for Fault {
    fn from(beginning: Beginning) -> Self {
        match beginning {
            Beginning::Short(refusal) => refusal.into(),
            Beginning::Long => Self::BehindOffer,
        }
    }
}

impl From<Refusal> for Fault {
    fn from(refusal: Refusal) -> Self {
        Self::Package(refusal.into())
    }
}

/// Reads one session's bytes.
#[derive(Debug)]
pub(super) enum Source<V> {
    /// All of them, as they stand in the file.
    Stream(Stream<V>),
    /// What was asked for of a package whose index is authentic.
    Needed(Needed),
}

impl<V: Verifier> Source<V> {
    /// Takes the next bytes of the file; says whether it is complete.
    pub(super) fn push<M: Medium>(
        &mut self,
        bytes: &[u8],
        target: &mut Target<'_, M>,
        unindexed: Option<&Unindexed>,
    ) -> Result<bool, Fault> {
        match self {
            Self::Stream(stream) => stream.push(bytes, target, unindexed),
            Self::Needed(_) => Err(StoreError::Order("bytes of a file of which chunks come").into()),
        }
    }

    /// What has come is all that stands before a package's members: the slot is made ready, and from now on it is chunks by their numbers.
    pub(super) fn offered<M: Medium>(&mut self, target: &mut Target<'_, M>) -> Result<&Needed, Fault> {
        if let Self::Stream(stream) = self {
            let received = stream.received();
            let chunks = stream.reader.chunks()?;
            let Chosen::Offer(Offer(Some(good))) = &stream.format else {
                return Err(StoreError::Order("a file that was not offered").into());
            };
            target.accept(&good.index, &good.index_bytes, &good.head_digest)?;
            *self = Self::Needed(Needed::new(chunks, target.store, received));
        }
        self.needed().map(|needed| &*needed)
    }

    /// The chunks, where chunks come.
    pub(super) fn needed(&mut self) -> Result<&mut Needed, Fault> {
        match self {
            Self::Stream(_) => Err(StoreError::Order("chunks of what was not offered").into()),
            Self::Needed(needed) => Ok(needed),
        }
    }

    /// Does the checking that is left once the file is complete; see [`Stream::verify`].
    pub(super) fn verify<M: Medium>(
        &mut self,
        target: &mut Target<'_, M>,
        unindexed: Option<&Unindexed>,
    ) -> Result<(), Fault> {
        match self {
            Self::Stream(stream) => stream.verify(target, unindexed),
            Self::Needed(_) => Ok(()),
        }
    }

    /// Does the writing that is left behind [`verify`](Self::verify).
    pub(super) fn finish<M: Medium>(&mut self, target: &mut Target<'_, M>) -> Result<(), Fault> {
        match self {
            Self::Stream(stream) => stream.finish(target),
            Self::Needed(needed) if needed.is_whole() => Ok(()),
            Self::Needed(needed) => {
                let (received, total) = (needed.received(), Some(needed.announced()));
                Err(Refusal::Truncated { received, total }.into())
            }
        }
    }

    /// Bytes taken.
    pub(super) fn received(&self) -> u64 {
        match self {
            Self::Stream(stream) => stream.received(),
            Self::Needed(needed) => needed.received(),
        }
    }

    /// Length of the file, as a head says it, verified or not.
    pub(super) fn announced(&self) -> Option<u64> {
        match self {
            Self::Stream(stream) => stream.announced(),
            Self::Needed(needed) => Some(needed.announced()),
        }
    }

    /// Whether the file may end here.
    pub(super) fn is_whole(&self) -> bool {
        match self {
            Self::Stream(stream) => stream.is_whole(),
            Self::Needed(needed) => needed.is_whole(),
        }
    }
}

/// Reads a file from its beginning to its end.
#[derive(Debug)]
pub(super) struct Stream<V> {
    reader: Reader<V>,
    format: Chosen,
}

/// Which format it is.
#[derive(Debug)]
pub(super) enum Chosen {
    /// That is not known before the first block is complete. This is as much as there is of it.
    NotYet(Vec<u8>),
    /// An Inband package.
    Package,
    /// An Inband package up to its first member.
    Offer(Offer),
    /// A firmware tar without a head.
    Tar(Box<Intake>),
}

impl Chosen {
    /// What it is its first block tells.
    pub(super) fn not_yet() -> Self {
        Self::NotYet(Vec::with_capacity(tar::BLOCK))
    }
}

/// What is good of a package that is offered. The slot is not touched before the offer is known to end there.
#[derive(Debug, Default)]
pub(super) struct Offer(Option<Box<Good>>);

#[derive(Debug)]
struct Good {
    head_digest: Digest,
    index: Arc<Index>,
    index_bytes: Vec<u8>,
}

impl Sink for Offer {
    type Error = StoreError;

    fn begin(
        &mut self,
        _head: &Head,
        head_digest: &Digest,
        index: &Arc<Index>,
        index_bytes: &[u8],
    ) -> Result<(), StoreError> {
        let (index, index_bytes) = (Arc::clone(index), index_bytes.to_vec());
        self.0 = Some(Box::new(Good { head_digest: *head_digest, index, index_bytes }));
        Ok(())
    }

    fn chunk(&mut self, _: &Checked<'_>) -> Result<(), StoreError> {
        Err(StoreError::Order("a member in an offer"))
    }

    fn end(&mut self) -> Result<(), StoreError> {
        Err(StoreError::Order("the end of a package in an offer"))
    }
}

impl<V: Verifier> Stream<V> {
    /// At the beginning of a file.
    pub(super) fn new(verifier: V, policy: Policy, format: Chosen) -> Self {
        Self { reader: Reader::new(verifier, policy), format }
    }

    /// Takes the next bytes; says whether the file is complete.
    fn push<M: Medium>(
        &mut self,
        mut bytes: &[u8],
        target: &mut Target<'_, M>,
        unindexed: Option<&Unindexed>,
    ) -> Result<bool, Fault> {
        if let Chosen::NotYet(first) = &mut self.format {
            let missing = tar::BLOCK - first.len();
            let (taken, rest) = bytes.split_at(missing.min(bytes.len()));
            first.extend_from_slice(taken);
            let Ok(block) = tar::Block::try_from(first.as_slice()) else { return Ok(false) };
            bytes = rest;
            self.format = match (Format::of(&block), unindexed) {
                (Format::Unindexed, Some(_)) if self.reader.policy().expected.has_head() => {
                    return Err(Refusal::from(Surprise::NoHead).into());
                }
                (Format::Unindexed, Some(unindexed)) => Chosen::Tar(Box::new(unindexed.open(target.store)?)),
                (Format::Unindexed, None) | (Format::Package, _) => Chosen::Package,
            };
            self.push(&block, target, unindexed)?;
        }
        match &mut self.format {
            Chosen::NotYet(_) => Ok(false),
            Chosen::Package => Ok(self.reader.push(bytes, target)? == reader::Progress::Complete),
            Chosen::Offer(offer) => {
                // By blocks, of which everything before the first member is made: what stands behind is not looked at.
                while !bytes.is_empty() {
                    if self.reader.phase() == reader::Phase::Members {
                        return Err(Fault::BehindOffer);
                    }
                    let begun = self.reader.received() % tar::BLOCK as u64;
                    let (block, rest) = bytes.split_at((tar::BLOCK - begun as usize).min(bytes.len()));
                    self.reader.push(block, offer)?;
                    bytes = rest;
                }
                Ok(false)
            }
            Chosen::Tar(intake) => Ok(intake.push(bytes)?),
        }
    }

    /// Does the checking that is left once the file is complete and nobody else has access to it: for a tar, all of it. The slot
    /// is then ready to be written.
    fn verify<M: Medium>(
        &mut self,
        target: &mut Target<'_, M>,
        unindexed: Option<&Unindexed>,
    ) -> Result<(), Fault> {
        let truncated = Refusal::Truncated { received: self.received(), total: self.reader.total() };
        match &mut self.format {
            // A package is checked as it comes; that it is complete, `finish` sees.
            Chosen::NotYet(_) | Chosen::Package | Chosen::Offer(_) => Ok(()),
            Chosen::Tar(intake) => {
                let Some(unindexed) = unindexed else { return Err(truncated.into()) };
                let firmware = intake.verify(&unindexed.keys, self.reader.policy())?;
                Ok(target.accept(&Arc::new(firmware.index), &firmware.index_bytes, &firmware.identity)?)
            }
        }
    }

    /// Does the writing that is left behind [`verify`](Self::verify): for a tar, all of it.
    fn finish<M: Medium>(&mut self, target: &mut Target<'_, M>) -> Result<(), Fault> {
        let truncated = Refusal::Truncated { received: self.received(), total: self.reader.total() };
        match &mut self.format {
            Chosen::NotYet(_) | Chosen::Offer(_) => Err(truncated.into()),
            Chosen::Package => match self.reader.phase() {
                reader::Phase::Complete => Ok(()),
                reader::Phase::Head
                | reader::Phase::Signatures
                | reader::Phase::Index
                | reader::Phase::Members
                | reader::Phase::Failed => Err(truncated.into()),
            },
            Chosen::Tar(intake) => {
                intake.chunks(|member, offset, data| {
                    Ok::<_, Fault>(target.store.write(member, offset, data)?)
                })?;
                intake.release();
                Ok(())
            }
        }
    }

    /// Bytes taken.
    fn received(&self) -> u64 {
        match &self.format {
            Chosen::NotYet(first) => first.len() as u64,
            Chosen::Package | Chosen::Offer(_) => self.reader.received(),
            Chosen::Tar(intake) => intake.received(),
        }
    }

    /// Length of the file, as a head says it, verified or not.
    fn announced(&self) -> Option<u64> {
        self.reader.announced_total()
    }

    /// Whether the file may end here.
    fn is_whole(&self) -> bool {
        match &self.format {
            Chosen::NotYet(_) | Chosen::Offer(_) => false,
            Chosen::Package => self.reader.finish().is_ok(),
            Chosen::Tar(intake) => intake.is_whole(),
        }
    }
}
