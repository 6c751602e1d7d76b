//! Takes a tar as it streams in. Nothing but headers, zeros and the end is looked at: members go to the stage.

use alloc::boxed::Box;
use alloc::string::{String, ToString};

use super::header::{Header, HeaderError};
use super::member::{COUNT, Member};
use super::profile::Profile;
use super::stage::{Stage, StageError};
use super::tail::Tail;
use crate::reader::archive::{Gather, Input, Zeros};
use crate::refusal::{ArchivePart, Refusal};
use crate::suffix::Suffix;
use crate::tar::{self, BLOCK, BLOCK_LENGTH};

/// Why a tar is not taken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// It is refused.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// The stage failed.
    #[error(transparent)]
    Stage(#[from] StageError),
}

/// Where in the stage a member stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Extent {
    /// In bytes.
    pub(super) offset: u64,
    /// In bytes.
    pub(super) length: u64,
}

/// One tar, on its way into a stage.
///
/// * Input: [`push`](Self::push) with the next bytes, in any portions.
/// * Output: once `push` says that it is complete, [`verify`](Self::verify).
/// * Getters: the others, at any time.
#[derive(Debug)]
pub struct Intake {
    pub(super) profile: Profile,
    /// `None` once it is not needed any more.
    stage: Option<Box<dyn Stage>>,
    members: [Option<Extent>; COUNT],
    /// Bytes in the stage.
    staged: u64,
    /// Bytes taken.
    received: u64,
    /// What dwCRC of a suffix is over, up to what was taken.
    suffix: Suffix,
    state: State,
}

#[derive(Debug)]
enum State {
    Header(Gather),
    Content {
        member: Member,
        left: u64,
        padding: u64,
    },
    Padding {
        member: Member,
        zeros: Zeros,
    },
    /// The second block of zeros.
    End(Zeros),
    /// What may stand behind them.
    Complete(Tail),
    Failed(Error),
}

impl Intake {
    /// At the beginning of a tar, with an empty stage for it.
    #[must_use]
    pub fn new(profile: Profile, stage: Box<dyn Stage>) -> Self {
        let state = State::Header(Gather::new());
        let members = [None; COUNT];
        let stage = Some(stage);
        Self { profile, stage, members, staged: 0, received: 0, suffix: Suffix::new(), state }
    }

    /// Takes the next bytes. How the stream is cut into pushes changes nothing. Returns whether the tar is complete: then
    /// only zeros up to the end of tar's record and a DFU suffix may follow.
    ///
    /// # Errors
    /// With the first byte that shows a fault, and the same again from then on.
    pub fn push(&mut self, input: &[u8]) -> Result<bool, Error> {
        if let State::Failed(error) = &self.state {
            return Err(error.clone());
        }
        let mut rest = Input::new(input, self.received);
        let result = self.take(&mut rest, input);
        self.received = rest.offset();
        if let Err(error) = &result {
            self.state = State::Failed(error.clone());
        }
        result
    }

    /// Bytes taken so far. After a refusal: up to and with the byte that showed the fault.
    #[must_use]
    pub const fn received(&self) -> u64 {
        self.received
    }

    /// Whether the tar is complete, with nothing behind it or with all of what may stand there.
    #[must_use]
    pub const fn is_whole(&self) -> bool {
        match &self.state {
            State::Complete(tail) => tail.is_whole(),
            State::Header(_)
            | State::Content { .. }
            | State::Padding { .. }
            | State::End(_)
            | State::Failed(_) => false,
        }
    }

    /// Gives the memory back. What was staged is lost; the stream is still watched to its end.
    pub fn release(&mut self) {
        self.stage = None;
    }

    pub(super) fn stage(&self) -> Result<&dyn Stage, StageError> {
        self.stage.as_deref().ok_or_else(no_stage)
    }

    pub(super) fn seal(&mut self) -> Result<(), StageError> {
        self.stage.as_mut().ok_or_else(no_stage)?.seal()
    }

    /// The first fault, if there was one; that of a stream that ends here, if it is not complete.
    pub(super) fn check_complete(&self) -> Result<(), Error> {
        match &self.state {
            State::Complete(_) => Ok(()),
            State::Failed(error) => Err(error.clone()),
            State::Header(_) | State::Content { .. } | State::Padding { .. } | State::End(_) => {
                Err(Refusal::Truncated { received: self.received, total: None }.into())
            }
        }
    }

    /// Where in the stage a member stands, if it is there.
    pub(super) const fn extent(&self, member: Member) -> Option<Extent> {
        self.members[member.number()]
    }

    fn take(&mut self, rest: &mut Input<'_>, input: &[u8]) -> Result<bool, Error> {
        loop {
            let next = match &mut self.state {
                State::Header(gather) => match gather.take(rest) {
                    None => None,
                    Some(block) if block == [0; BLOCK] => Some(State::End(Zeros::new(BLOCK_LENGTH))),
                    Some(block) => {
                        let offset = rest.offset().saturating_sub(BLOCK_LENGTH);
                        let Header { member, length } = self.header(&block, offset)?;
                        Some(State::Content { member, left: length, padding: tar::padding(length) })
                    }
                },
                State::Content { member, left, padding } => {
                    let bytes = rest.take(usize::try_from(*left).unwrap_or(usize::MAX));
                    if !bytes.is_empty() {
                        self.stage.as_mut().ok_or_else(no_stage)?.append(bytes)?;
                    }
                    *left -= bytes.len() as u64;
                    let zeros = Zeros::new(*padding);
                    (*left == 0).then_some(State::Padding { member: *member, zeros })
                }
                State::Padding { member, zeros } => zeros
                    .take(rest, || ArchivePart::Padding(member.to_string()))?
                    .then(|| State::Header(Gather::new())),
                State::End(zeros) => zeros.take(rest, || ArchivePart::End)?.then(|| {
                    self.suffix.archive(&input[..input.len() - rest.len()]);
                    State::Complete(Tail::new(rest.offset(), self.suffix.clone()))
                }),
                State::Complete(tail) => {
                    while rest.len() > 0 {
                        tail.push(rest.take(1)).map_err(|offset| Refusal::TrailingBytes { offset })?;
                    }
                    return Ok(true);
                }
                State::Failed(error) => return Err(error.clone()),
            };
            match next {
                Some(next) => self.state = next,
                None => {
                    self.suffix.archive(input);
                    return Ok(false);
                }
            }
        }
    }

    /// Checks the header at `offset` and notes its member.
    fn header(&mut self, block: &tar::Block, offset: u64) -> Result<Header, Refusal> {
        let bad = |error| Refusal::BadArchive { part: ArchivePart::OpenBmcHeader(error), offset };
        let header = Header::parse(block).map_err(bad)?;
        let Header { member, length } = header;
        let name = || member.to_string();
        let Some(limit) = self.profile.limit(member) else {
            return Err(Refusal::UnmappedMember { member: name() });
        };
        let place = &mut self.members[member.number()];
        if place.is_some() {
            return Err(bad(HeaderError::Twice));
        }
        if length > limit {
            return Err(Refusal::TooLarge { member: Some(name()), length, limit });
        }
        let limit = self.profile.max_length();
        let total = tar::span(length).and_then(|span| span.checked_add(offset + tar::END_LENGTH));
        let total = total.unwrap_or(u64::MAX);
        if total > limit {
            return Err(Refusal::TooLarge { member: None, length: total, limit });
        }
        *place = Some(Extent { offset: self.staged, length });
        // No member is longer than the largest tar.
        self.staged += length;
        Ok(header)
    }
}

fn no_stage() -> StageError {
    StageError::Failed(String::from("it was given back"))
}

/// A member's whole content; only for those that are short.
pub(super) fn read(stage: &dyn Stage, extent: Extent) -> Result<alloc::vec::Vec<u8>, StageError> {
    let length = usize::try_from(extent.length).map_err(|_| StageError::Failed(String::from("too long")))?;
    let mut bytes = alloc::vec![0; length];
    stage.read_at(extent.offset, &mut bytes)?;
    Ok(bytes)
}
