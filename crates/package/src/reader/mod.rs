//! Reads a package as it streams in, and lets nothing through that is not checked.
//!
//! The order of checks is that of docs/spec/package.md, 6. What the reader holds is bounded whatever arrives:
//! a few blocks, the signatures (32 KiB at most), the index (512 KiB at most and about twice as much again
//! parsed; taken only once the signatures have verified), and one chunk (128 KiB at most; where chunks are
//! compressed, another and the decoder with some 400 KiB). None of it depends on the
//! length of the package.

pub(crate) mod archive;
mod chunks;
mod stages;

use alloc::sync::Arc;
use core::mem;

use archive::Input;
pub use chunks::{ChunkPlace, Chunks};
use stages::{Authentic, HeadStage, IndexStage, MemberStage, SignatureStage, Step};

use crate::checked::Checked;
use crate::digest::Digest;
use crate::head::Head;
use crate::index::Index;
use crate::policy::Policy;
use crate::refusal::Refusal;
use crate::signature::Verifier;
use crate::suffix::{NotASuffix, Suffix};

/// Takes what a [`Reader`] has checked.
///
/// The calls come in this order: [`begin`](Self::begin) once; [`chunk`](Self::chunk) for every chunk of every
/// member, in the order of the index; [`end`](Self::end) once. After an error, of the sink or of the reader,
/// none follows.
pub trait Sink {
    /// Why the sink stops the reading.
    type Error;

    /// Head and index are authentic, follow the format and suit the policy. From here the target may be
    /// touched. The sink refuses here what it cannot take: an image it has no region for, or one too large.
    ///
    /// `head_digest` is SHA-256 of the 512 bytes of the head; `index_bytes` is what `index` was parsed from. Who needs the index
    /// for longer keeps the reader's: there is one in memory.
    ///
    /// # Errors
    /// Any: it ends the reading and comes back from [`Reader::push`].
    fn begin(
        &mut self,
        head: &Head,
        head_digest: &Digest,
        index: &Arc<Index>,
        index_bytes: &[u8],
    ) -> Result<(), Self::Error>;

    /// One whole chunk.
    ///
    /// # Errors
    /// Any: it ends the reading and comes back from [`Reader::push`].
    fn chunk(&mut self, chunk: &Checked<'_>) -> Result<(), Self::Error>;

    /// The last byte that the head announced has come, and all are good. Bytes behind it may still make
    /// [`Reader::push`] or [`Reader::finish`] refuse the stream.
    ///
    /// # Errors
    /// Any: it ends the reading and comes back from [`Reader::push`].
    fn end(&mut self) -> Result<(), Self::Error>;
}

/// Whether more bytes are needed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// The package is not complete.
    More,
    /// The package is complete. A DFU suffix may still follow.
    Complete,
}

/// How far a [`Reader`] is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Waits for the head.
    Head,
    /// Waits for signatures.
    Signatures,
    /// Waits for the index.
    Index,
    /// Takes members and the end.
    Members,
    /// The package is complete.
    Complete,
    /// The package was refused, or the sink stopped the reading.
    Failed,
}

/// Why [`Reader::push`] failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error<S> {
    /// The package is refused.
    #[error("{0}")]
    Refused(Refusal),
    /// The sink stopped the reading.
    #[error("{0}")]
    Sink(S),
    /// An earlier push has failed: the caller's fault.
    #[error("the reading has already failed")]
    Failed,
}

impl<S> From<Refusal> for Error<S> {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

/// What is no beginning of a package up to its first member.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Beginning {
    /// It ends before that, or was refused.
    #[error("{0}")]
    Short(Refusal),
    /// It goes on behind that.
    #[error("there are bytes behind the index")]
    Long,
}

/// Reads one package.
///
/// * Input: [`push`](Self::push) with the next bytes, in any portions; [`finish`](Self::finish) when there
///   are no more.
/// * Output: the [`Sink`] given to `push`, and the results.
/// * Getters: the others, at any time.
#[derive(Debug)]
pub struct Reader<V> {
    verifier: V,
    policy: Policy,
    received: u64,
    /// `None` if nothing may follow the archive.
    suffix: Option<Suffix>,
    state: State,
}

#[derive(Debug)]
enum State {
    Head(HeadStage),
    Signatures(SignatureStage),
    Index(IndexStage),
    Members(MemberStage),
    Complete(Authentic),
    /// With the first refusal; `None` if it was the sink's error.
    Failed(Option<Refusal>),
}

impl<V: Verifier> Reader<V> {
    /// A reader at the beginning of a package.
    #[must_use]
    pub fn new(verifier: V, policy: Policy) -> Self {
        Self::with(verifier, policy, Some(Suffix::new()))
    }

    /// The same for a package that is known to have no DFU suffix: any byte behind the archive is refused. It spares
    /// the suffix's checksum over the whole package, a third of the reading where hashing is done by hardware.
    #[must_use]
    pub fn without_suffix(verifier: V, policy: Policy) -> Self {
        Self::with(verifier, policy, None)
    }

    fn with(verifier: V, policy: Policy, suffix: Option<Suffix>) -> Self {
        Self { verifier, policy, received: 0, suffix, state: State::Head(HeadStage::default()) }
    }

    /// Takes the next bytes of the stream: any number of them. How the stream is cut into pushes changes
    /// neither the result nor the calls to `sink`, as long as each push gets the same one.
    ///
    /// # Errors
    /// [`Error::Refused`] and [`Error::Sink`] with the first byte that shows the fault; nothing behind it is
    /// looked at. [`Error::Failed`] from then on.
    pub fn push<S: Sink>(&mut self, input: &[u8], sink: &mut S) -> Result<Progress, Error<S::Error>> {
        let mut rest = Input::new(input, self.received);
        let result = self.take(&mut rest, input, sink);
        self.received = rest.offset();
        if let Err(error) = &result {
            match error {
                Error::Refused(refusal) => self.state = State::Failed(Some(refusal.clone())),
                Error::Sink(_) => self.state = State::Failed(None),
                Error::Failed => {}
            }
        }
        result
    }

    /// The stream has ended.
    ///
    /// # Errors
    /// [`Refusal::Truncated`] if the package is not complete, [`Refusal::TrailingBytes`] if what follows it
    /// is less than a whole DFU suffix. After a refusal the same again.
    pub fn finish(&self) -> Result<(), Refusal> {
        let truncated = Refusal::Truncated { received: self.received, total: self.total() };
        match &self.state {
            State::Head(_) | State::Signatures(_) | State::Index(_) | State::Members(_) => Err(truncated),
            State::Complete(package) => {
                let offset = package.head.total_length;
                let complete = self.suffix.as_ref().map_or(Ok(()), Suffix::finish);
                complete.map_err(|NotASuffix| Refusal::TrailingBytes { offset })
            }
            State::Failed(refusal) => Err(refusal.clone().unwrap_or(truncated)),
        }
    }

    /// Goes on with chunks by their numbers instead of the stream, for a reader that has got the package up to its first
    /// member and nothing behind (docs/spec/bulk.md, 3.2). The reader itself takes nothing any more.
    ///
    /// # Errors
    /// [`Beginning::Short`] or [`Beginning::Long`], if that is not what it has got.
    pub fn chunks(&mut self) -> Result<Chunks, Beginning> {
        match mem::replace(&mut self.state, State::Failed(None)) {
            State::Members(stage) => stage.into_package().map(Chunks::new).ok_or(Beginning::Long),
            State::Complete(_) => Err(Beginning::Long),
            before @ (State::Head(_) | State::Signatures(_) | State::Index(_) | State::Failed(_)) => {
                self.state = before;
                let truncated = Refusal::Truncated { received: self.received, total: self.total() };
                Err(Beginning::Short(self.finish().err().unwrap_or(truncated)))
            }
        }
    }

    /// Runs the stages over `input`, of which `rest` is what is not taken yet.
    fn take<S: Sink>(
        &mut self,
        rest: &mut Input<'_>,
        input: &[u8],
        sink: &mut S,
    ) -> Result<Progress, Error<S::Error>> {
        loop {
            // Whatever leaves this function early leaves the reader failed.
            match mem::replace(&mut self.state, State::Failed(None)) {
                State::Head(stage) => match stage.take(rest, &self.policy, &self.verifier)? {
                    Step::Wait(stage) => return self.wait(State::Head(stage), input),
                    Step::Next(next) => self.state = State::Signatures(next),
                },
                State::Signatures(stage) => match stage.take(rest, &self.verifier)? {
                    Step::Wait(stage) => return self.wait(State::Signatures(stage), input),
                    Step::Next(next) => self.state = State::Index(next),
                },
                State::Index(stage) => match stage.take(rest, &self.policy, sink)? {
                    Step::Wait(stage) => return self.wait(State::Index(stage), input),
                    Step::Next(next) => self.state = State::Members(next),
                },
                State::Members(stage) => match stage.take(rest, sink)? {
                    Step::Wait(stage) => return self.wait(State::Members(stage), input),
                    Step::Next(package) => {
                        self.checksum(&input[..input.len() - rest.len()]);
                        sink.end().map_err(Error::Sink)?;
                        self.state = State::Complete(package);
                    }
                },
                State::Complete(package) => {
                    while rest.len() > 0 {
                        let offset = package.head.total_length;
                        let byte = rest.take(1);
                        let taken = self.suffix.as_mut().map_or(Err(NotASuffix), |suffix| suffix.push(byte));
                        taken.map_err(|NotASuffix| Refusal::TrailingBytes { offset })?;
                    }
                    self.state = State::Complete(package);
                    return Ok(Progress::Complete);
                }
                State::Failed(refusal) => {
                    self.state = State::Failed(refusal);
                    return Err(Error::Failed);
                }
            }
        }
    }

    /// All of `input` belonged to the archive, and `state` needs more.
    fn wait<E>(&mut self, state: State, input: &[u8]) -> Result<Progress, Error<E>> {
        self.checksum(input);
        self.state = state;
        Ok(Progress::More)
    }

    /// Takes bytes of the archive for the suffix that may follow it.
    fn checksum(&mut self, archive: &[u8]) {
        if let Some(suffix) = &mut self.suffix {
            suffix.archive(archive);
        }
    }
}

impl<V> Reader<V> {
    /// What this BMC takes.
    #[must_use]
    pub const fn policy(&self) -> &Policy {
        &self.policy
    }

    /// How far the reader is.
    #[must_use]
    pub const fn phase(&self) -> Phase {
        match &self.state {
            State::Head(_) => Phase::Head,
            State::Signatures(_) => Phase::Signatures,
            State::Index(_) => Phase::Index,
            State::Members(_) => Phase::Members,
            State::Complete(_) => Phase::Complete,
            State::Failed(_) => Phase::Failed,
        }
    }

    /// Bytes taken so far, a DFU suffix included. After a refusal: up to and with the byte that showed the
    /// fault.
    #[must_use]
    pub const fn received(&self) -> u64 {
        self.received
    }

    /// Length of the archive in bytes, as the verified head says it.
    #[must_use]
    pub fn total(&self) -> Option<u64> {
        self.head().map(|head| head.total_length)
    }

    /// The same as soon as there is a head that follows the format, verified or not: a hint to show progress
    /// by, nothing more.
    #[must_use]
    pub fn announced_total(&self) -> Option<u64> {
        match &self.state {
            State::Signatures(stage) => Some(stage.unverified_total()),
            State::Head(_) | State::Index(_) | State::Members(_) | State::Complete(_) | State::Failed(_) => {
                self.total()
            }
        }
    }

    /// The head, once it is verified; gone after a failure.
    #[must_use]
    pub fn head(&self) -> Option<&Head> {
        match &self.state {
            State::Head(_) | State::Signatures(_) | State::Failed(_) => None,
            State::Index(stage) => Some(stage.head()),
            State::Members(stage) => Some(&stage.package().head),
            State::Complete(package) => Some(&package.head),
        }
    }

    /// The index, once it is verified and the sink has begun; gone after a failure.
    #[must_use]
    pub fn index(&self) -> Option<&Index> {
        match &self.state {
            State::Head(_) | State::Signatures(_) | State::Index(_) | State::Failed(_) => None,
            State::Members(stage) => Some(&stage.package().index),
            State::Complete(package) => Some(&package.index),
        }
    }
}
