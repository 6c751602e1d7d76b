//! What of a package is there already, as far as anybody says: in its place in the slot, in the slot that runs, or elsewhere in the
//! package itself (docs/spec/bulk.md, 6.1). Hints all of it: a chunk counts when its bytes were read and hashed.
//!
//! The indexes that say so lie on the medium beside the slots, and may be old, damaged, or forged. Each of them names at most one
//! place for a chunk of the package, so that what is not so costs one read of that chunk. All these places are in regions that are
//! replaced: nothing else is ever read.

use alloc::vec::Vec;

use inband_package::Index;
use inband_package::index::{Chunk, Member, MemberKind, Part};

use super::plan::Plan;
use super::writing::mark;
use crate::journal::Mark;
use crate::layout::{Layout, Region, RegionPolicy};

/// What is said of a chunk before anything has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChunkHint {
    /// It goes nowhere: of metadata, or for a region that is preserved.
    Unplaced,
    /// It has to come.
    Missing,
    /// It is said to be there, in its place or elsewhere; [`Store::find_chunk`](super::Store::find_chunk) looks.
    Said,
}

/// Where a chunk may be, besides in its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Source {
    /// Nowhere.
    Nowhere,
    /// In the slot that runs, from this byte on.
    Running(u64),
    /// Where the chunk of this number stands, once it does: its content is the same.
    Same(u32),
}

/// What is said of a package's chunks, by their numbers.
#[derive(Debug)]
pub(super) struct Have {
    /// Which of them are said to stand in their place.
    in_place: Vec<bool>,
    sources: Vec<Source>,
}

impl Have {
    /// What is said of a chunk; of one that goes nowhere, or that there is not, nothing.
    pub(super) fn hint(&self, number: u32) -> ChunkHint {
        let at = number as usize;
        match (self.in_place.get(at), self.sources.get(at)) {
            (Some(false), Some(Source::Nowhere)) | (None, _) | (_, None) => ChunkHint::Missing,
            (Some(true), _) | (_, Some(Source::Running(_) | Source::Same(_))) => ChunkHint::Said,
        }
    }

    /// Whether a chunk is said to stand in its place; said once.
    pub(super) fn take_in_place(&mut self, number: u32) -> bool {
        self.in_place.get_mut(number as usize).is_some_and(core::mem::take)
    }

    /// Where else a chunk may be.
    pub(super) fn source(&self, number: u32) -> Source {
        self.sources.get(number as usize).copied().unwrap_or(Source::Nowhere)
    }

    /// It is not there.
    pub(super) fn forget_source(&mut self, number: u32) {
        if let Some(source) = self.sources.get_mut(number as usize) {
            *source = Source::Nowhere;
        }
    }
}

/// Looks for a plan's chunks in the indexes of what was written before.
pub(super) struct Search<'a> {
    plan: &'a Plan,
    layout: &'a Layout,
    have: Have,
    /// Numbers of the chunks that go to the slot, those of the same content side by side and in rising order.
    by_digest: Vec<u32>,
}

impl<'a> Search<'a> {
    pub(super) fn new(plan: &'a Plan, layout: &'a Layout) -> Self {
        let count = plan.chunk_count();
        let mut by_digest = Vec::with_capacity(count);
        let numbers = (0..).zip(plan.chunks());
        by_digest.extend(numbers.filter(|(_, wanted)| wanted.at.is_some()).map(|(number, _)| number));
        by_digest
            .sort_unstable_by_key(|number| (plan.chunk(*number).map(|wanted| wanted.chunk.digest), *number));
        let have = Have { in_place: alloc::vec![false; count], sources: alloc::vec![Source::Nowhere; count] };
        Self { plan, layout, have, by_digest }
    }

    /// Takes what the index that the target was written from says, up to the mark `end` in its members.
    pub(super) fn target(&mut self, index: &[u8], end: Mark) {
        let Self { plan, layout, have, .. } = self;
        let valid = visit(index, layout, |at, behind, chunk| {
            if behind <= end
                && let Some((number, wanted)) = plan.chunk_at(at)
                && is_same(wanted.chunk, chunk)
                && let Some(in_place) = have.in_place.get_mut(number as usize)
            {
                *in_place = true;
            }
        });
        if !valid {
            have.in_place.fill(false);
        }
    }

    /// Takes what the index that the running slot was written from says.
    pub(super) fn running(&mut self, index: &[u8]) {
        let Self { plan, layout, have, by_digest } = self;
        let digest = |number: u32| plan.chunk(number).map(|wanted| wanted.chunk.digest);
        let valid = visit(index, layout, |at, _, chunk| {
            let first = by_digest.partition_point(|number| digest(*number) < Some(chunk.digest));
            if let Some(number) = by_digest.get(first)
                && plan.chunk(*number).is_some_and(|wanted| is_same(wanted.chunk, chunk))
                && let Some(source @ Source::Nowhere) = have.sources.get_mut(*number as usize)
            {
                *source = Source::Running(at);
            }
        });
        if !valid {
            have.sources.fill(Source::Nowhere);
        }
    }

    /// Of chunks with the same content one is to be found, or to come; the others are copied from there. It is one that is said to stand in its
    /// place, if there is any, else the first.
    pub(super) fn finish(self) -> Have {
        let Self { plan, mut have, by_digest, .. } = self;
        let same = |one: &u32, other: &u32| match (plan.chunk(*one), plan.chunk(*other)) {
            (Some(one), Some(other)) => is_same(one.chunk, other.chunk),
            (None, _) | (_, None) => false,
        };
        for group in by_digest.chunk_by(same) {
            let Some(&first) = group.first() else { continue };
            let in_place = |number: &&u32| have.in_place.get(**number as usize).is_some_and(|held| *held);
            let leader = group.iter().find(in_place).copied().unwrap_or(first);
            let source = have.source(first);
            for &number in group {
                if let Some(room) = have.sources.get_mut(number as usize) {
                    *room = if number == leader { source } else { Source::Same(leader) };
                }
            }
        }
        have
    }
}

fn is_same(one: &Chunk, other: &Chunk) -> bool {
    one.digest == other.digest && one.length == other.length
}

/// Calls `each` for the chunks of an index that went to regions which are replaced: offset in the slot, mark behind the chunk, chunk. None
/// of them ends behind its region. Returns whether the index is one; if not, what `each` got is worth nothing.
fn visit(index: &[u8], layout: &Layout, mut each: impl FnMut(u64, Mark, &Chunk)) -> bool {
    let mut number = 0;
    let mut region = None;
    let valid = Index::visit(index, |part| match part {
        Part::Member { index, member, .. } => {
            number = index.members.len();
            region = replaced(layout, index, member);
        }
        Part::Chunk { offset, chunk } => {
            let end = offset.saturating_add(chunk.length.into());
            if let Some(region) = region.filter(|region| end <= region.length) {
                each(region.offset.saturating_add(offset), mark(number, end), &chunk);
            }
        }
    });
    valid.is_ok()
}

/// The region of a member, if it is replaced.
fn replaced<'l>(layout: &'l Layout, index: &Index, member: &Member) -> Option<&'l Region> {
    let target = match member.kind {
        MemberKind::Image => index.targets.get(usize::from(member.target))?,
        MemberKind::Metadata => return None,
    };
    let region = layout.regions().get(layout.find(target, &member.name)?)?;
    match region.policy {
        RegionPolicy::Replace => Some(region),
        RegionPolicy::Preserve | RegionPolicy::Refuse => None,
    }
}
