//! What is known of a slot while it is being written: what it held before, how far the package has come, and which of its
//! bytes can be believed (docs/spec/store.md, 8).

use alloc::vec::Vec;

use inband_package::digest::{Digest, sha256};
use inband_package::{Index, index::Chunk};

use super::plan::Plan;
use crate::journal::{Mark, Progress};
use crate::layout::Layout;
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
#[derive(Debug)]
pub(super) struct Before {
    pub(super) trust: Trust,
    /// Everything before it has been written from the very index that is written again.
    base: Mark,
    /// For each member of the new index, which of its chunks are believed to stand where they belong.
    held: Vec<Vec<bool>>,
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
    /// Compares what the slot is known to hold with what the new plan wants. `old_index` is what the medium has as the index
    /// of the slot: a hint, which may be anything.
    pub(super) fn new(
        known: &Known,
        old_index: Option<&[u8]>,
        layout: &Layout,
        plan: &Plan,
        index: &Digest,
    ) -> Self {
        let (trust, base) = match known {
            Known::Whole => (Trust::All, Mark::default()),
            Known::Part(progress) => {
                let base = if progress.index == *index { progress.mark } else { Mark::default() };
                let trust = match (progress.settled, progress.index == *index) {
                    (true, _) => Trust::All,
                    (false, true) => Trust::Before(base),
                    (false, false) => Trust::Nothing,
                };
                (trust, base)
            }
            Known::Nothing => (Trust::Nothing, Mark::default()),
        };
        let end = match (trust, known) {
            (Trust::Nothing, _) | (_, Known::Nothing) => None,
            (Trust::All | Trust::Before(_), Known::Part(progress)) => {
                // Any other index than the one that the journal speaks of says nothing about the slot.
                old_index.filter(|bytes| sha256(bytes) == progress.index).map(|_| progress.mark)
            }
            (Trust::All | Trust::Before(_), Known::Whole) => Some(Mark { member: u16::MAX, offset: 0 }),
        };
        let old = end.zip(old_index).and_then(|(end, bytes)| {
            let old = Plan::new(layout, &Index::parse(bytes).ok()?, &[0; 32], None).ok()?;
            Some((old, end))
        });
        Self { trust, base, held: old.map_or_else(Vec::new, |(old, end)| in_place(&old, end, plan)) }
    }
}

/// Which chunks of `new` stand in their place once `old` has been written up to the mark `end`.
fn in_place(old: &Plan, end: Mark, new: &Plan) -> Vec<Vec<bool>> {
    let mut there = placed(old).filter(|(_, mark, _)| *mark <= end).collect::<Vec<_>>();
    there.sort_unstable_by_key(|(at, ..)| *at);
    let is_there = |at: u64, chunk: &Chunk| {
        let found = there.binary_search_by_key(&at, |(at, ..)| *at).ok();
        found.is_some_and(|number| {
            let old = there[number].2;
            old.length == chunk.length && old.digest == chunk.digest
        })
    };
    let mut held =
        new.members().iter().map(|member| alloc::vec![false; member.chunks.len()]).collect::<Vec<_>>();
    for (number, member) in new.members().iter().enumerate() {
        for (chunk_number, (offset, chunk)) in member.chunks_with_offsets().enumerate() {
            let at = new.place(number, offset, chunk.length as usize).ok().flatten();
            held[number][chunk_number] = at.is_some_and(|at| is_there(at, chunk));
        }
    }
    held
}

/// The chunks of a plan that go to the slot: offset in the slot, mark behind the chunk, the chunk.
fn placed(plan: &Plan) -> impl Iterator<Item = (u64, Mark, &Chunk)> {
    plan.members().iter().enumerate().flat_map(move |(number, member)| {
        member.chunks_with_offsets().filter_map(move |(offset, chunk)| {
            let at = plan.place(number, offset, chunk.length as usize).ok().flatten()?;
            Some((at, mark(number, offset + u64::from(chunk.length)), chunk))
        })
    })
}

/// A place in the members; an index has far fewer than 65,536 of them.
pub(super) fn mark(member: usize, offset: u64) -> Mark {
    Mark { member: u16::try_from(member).unwrap_or(u16::MAX), offset }
}

/// A session that writes a slot.
#[derive(Debug)]
pub(super) struct Writing {
    pub(super) plan: Plan,
    before: Before,
    index: Digest,
    /// Everything before it has come and stands in the slot.
    passed: Mark,
    /// Bytes passed since the last mark.
    since_mark: u64,
    /// Bytes to be passed from one mark to the next, at least.
    mark_every: u64,
    /// Writing has never failed, and the slot held what was written to it.
    pub(super) sound: bool,
}

impl Writing {
    /// Nothing has come yet. `mark_every` is the least distance of two marks in bytes; it is more where there would be too many.
    pub(super) fn new(plan: Plan, before: Before, index: Digest, mark_every: u64) -> Self {
        let total = plan.members().iter().fold(0u64, |sum, member| sum.saturating_add(member.length));
        let mark_every = mark_every.max(total.div_ceil(MARKS)).max(1);
        Self { plan, before, index, passed: Mark::default(), since_mark: 0, mark_every, sound: true }
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

    /// The chunks that are believed to stand where they belong: member and number of the chunk.
    pub(super) fn held(&self) -> impl Iterator<Item = (usize, usize)> {
        self.before.held.iter().enumerate().flat_map(|(member, chunks)| {
            chunks.iter().enumerate().filter_map(move |(chunk, held)| held.then_some((member, chunk)))
        })
    }

    /// Whether that chunk is one of them.
    pub(super) fn is_held(&self, member: usize, chunk: usize) -> bool {
        self.before.held.get(member).and_then(|chunks| chunks.get(chunk)).is_some_and(|held| *held)
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
