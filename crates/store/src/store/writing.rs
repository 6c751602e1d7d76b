//! What is known of a slot while it is being written: what it held before, how far the package has come, and which of its
//! bytes can be believed (docs/spec/store.md, 8).

use alloc::vec::Vec;

use inband_package::Checked;
use inband_package::digest::{Digest, sha256};

use super::have::{ChunkHint, Have};
use super::plan::{Plan, Wanted};
use crate::journal::{Mark, Progress};
use crate::record::Slot;

/// Entries of the journal that a session makes on its way, at most.
const MARKS: u64 = 64;

/// Which bytes of a slot can be compared with what is to stand there. All others are written however they read: what was hit
/// in the middle of being written can read well today and badly tomorrow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Trust {
    /// All of them.
    All,
    /// Those before the mark, in the order of the very index that is written again.
    Before(Mark),
    /// None.
    Nothing,
}

/// What a slot held before it is written.
#[derive(Clone, Copy, Debug)]
pub(super) struct Before {
    pub(super) trust: Trust,
    /// Everything before it has been written from the very index that is written again.
    base: Mark,
}

/// What is known of a slot from earlier.
pub(super) enum Known {
    /// What was written to it was written to its end: the package that its index tells of, if there ever was one.
    Whole,
    /// A package in part.
    Part(Progress),
    /// Something, and nobody knows what.
    Nothing,
}

impl Before {
    /// What is known of the slot, for a package with this index.
    pub(super) fn new(known: &Known, index: &Digest) -> Self {
        match known {
            Known::Whole => Self { trust: Trust::All, base: Mark::default() },
            Known::Part(progress) => {
                let base = if progress.index == *index { progress.mark } else { Mark::default() };
                let trust = match (progress.settled, progress.index == *index) {
                    (true, _) => Trust::All,
                    (false, true) => Trust::Before(base),
                    (false, false) => Trust::Nothing,
                };
                Self { trust, base }
            }
            Known::Nothing => Self { trust: Trust::Nothing, base: Mark::default() },
        }
    }

    /// How far these bytes, which the medium has as the index of the slot, can be taken for what it was written from.
    pub(super) fn end(&self, known: &Known, old_index: &[u8]) -> Option<Mark> {
        match (self.trust, known) {
            (Trust::Nothing, _) | (_, Known::Nothing) => None,
            // Any other index than the one that the journal speaks of says nothing about the slot.
            (Trust::All | Trust::Before(_), Known::Part(progress)) => {
                (sha256(old_index) == progress.index).then_some(progress.mark)
            }
            (Trust::All | Trust::Before(_), Known::Whole) => Some(Mark { member: u16::MAX, offset: 0 }),
        }
    }
}

/// A place in the members; an index has far fewer than 65,536 of them.
pub(super) fn mark(member: usize, offset: u64) -> Mark {
    Mark { member: u16::try_from(member).unwrap_or(u16::MAX), offset }
}

/// A session that writes a slot.
#[derive(Debug)]
pub(super) struct Writing {
    pub(super) plan: Plan,
    pub(super) have: Have,
    before: Before,
    index: Digest,
    /// Everything before it that goes to the slot stands there.
    passed: Mark,
    /// Which chunks stand in the slot, by their numbers.
    there: Vec<bool>,
    /// Of chunks: those before this one stand in the slot, or go nowhere.
    next: u32,
    /// Bytes passed since the last mark.
    since_mark: u64,
    /// Bytes to be passed from one mark to the next, at least.
    mark_every: u64,
    /// Writing has never failed, and the slot held what was written to it.
    pub(super) sound: bool,
    /// Room for a chunk that is looked for, once one has been.
    pub(super) room: Vec<u8>,
}

impl Writing {
    /// Nothing has come yet. `mark_every` is the least distance of two marks in bytes; it is more where there would be too many.
    pub(super) fn new(plan: Plan, have: Have, before: Before, index: Digest, mark_every: u64) -> Self {
        let total = plan.members().iter().fold(0u64, |sum, member| sum.saturating_add(member.length));
        let mark_every = mark_every.max(total.div_ceil(MARKS)).max(1);
        Self {
            have,
            before,
            index,
            passed: Mark::default(),
            there: alloc::vec![false; plan.chunk_count()],
            plan,
            next: 0,
            since_mark: 0,
            mark_every,
            sound: true,
            room: Vec::new(),
        }
    }

    /// Whether the bytes of a member up to `end` can be compared instead of being written.
    pub(super) fn can_compare(&self, member: usize, end: u64) -> bool {
        match self.before.trust {
            Trust::All => true,
            Trust::Before(trusted) => mark(member, end) <= trusted,
            Trust::Nothing => false,
        }
    }

    /// Whether the filling behind the members can be compared instead of being written.
    pub(super) fn can_compare_tails(&self) -> bool {
        self.before.trust == Trust::All
    }

    /// What is said of the chunks, in the order of their numbers.
    pub(super) fn hints(&self) -> impl Iterator<Item = ChunkHint> {
        let hint = |(number, wanted): (u32, Wanted<'_>)| match wanted.at {
            Some(_) => self.have.hint(number),
            None => ChunkHint::Unplaced,
        };
        (0..).zip(self.plan.chunks()).map(hint)
    }

    /// Whether the chunk of this number stands in the slot.
    pub(super) fn is_there(&self, number: u32) -> bool {
        self.there.get(number as usize).is_some_and(|there| *there)
    }

    /// Bytes of a member stand in the slot. Counts only what follows on what has passed.
    pub(super) fn pass(&mut self, member: usize, offset: u64, length: u64) {
        while let Some(entry) = self.plan.members().get(usize::from(self.passed.member))
            && self.passed.offset >= entry.length
            && usize::from(self.passed.member) < member
        {
            self.passed = Mark { member: self.passed.member + 1, offset: 0 };
        }
        if self.passed == mark(member, offset) {
            self.passed.offset += length;
            self.since_mark = self.since_mark.saturating_add(length);
        }
    }

    /// A chunk stands in the slot, if it is one of the index. In whatever order chunks come, those that the first one which does not stand there yet
    /// leaves in front of it have passed; those that go nowhere keep no other one back.
    pub(super) fn pass_chunk(&mut self, chunk: &Checked<'_>) {
        let Some(number) = self.plan.number_of(chunk) else { return };
        self.plan.remember(number, chunk);
        if let Some(there) = self.there.get_mut(number as usize) {
            *there = true;
        }
        while let Some(Wanted { member, offset, at, chunk, .. }) = self.plan.chunk(self.next)
            && (at.is_none() || self.is_there(self.next))
        {
            let length = chunk.length.into();
            self.pass(member, offset, length);
            self.next += 1;
        }
    }

    /// Whether a mark is due; if so, the next one is not before as many bytes again.
    pub(super) fn take_mark(&mut self) -> bool {
        let due = self.since_mark >= self.mark_every;
        if due {
            self.since_mark = 0;
        }
        due
    }

    /// What the journal is to say while the session goes on.
    pub(super) fn progress(&self, session: u32, target: Slot) -> Progress {
        Progress { session, target, index: self.index, mark: self.passed, settled: false }
    }

    /// What the journal is to say once the session is over before its end, and all it wrote is synchronised.
    pub(super) fn progress_at_end(&self, session: u32, target: Slot) -> Progress {
        let progress = self.progress(session, target);
        if self.sound {
            let settled = self.before.trust == Trust::All;
            Progress { mark: self.passed.max(self.before.base), settled, ..progress }
        } else {
            Progress { mark: Mark::default(), ..progress }
        }
    }
}
