//! What an update from one package to another costs.

use core::iter::Sum;
use core::ops::Add;
use std::collections::HashSet;
use std::string::String;
use std::vec::Vec;

use crate::digest::Digest;
use crate::head::{self, Head};
use crate::index::{Chunk, Index, Member, MemberKind};

/// What an update costs a BMC whose target slot holds the old package.
///
/// A chunk is shared if the old package has it in any image, at whatever place. Metadata is not kept by a BMC, so it is sent each
/// time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diff {
    /// The members of the new package, in its order.
    pub members: Vec<MemberDiff>,
    /// Names of members that only the old package has, in its order.
    pub gone: Vec<String>,
    /// Bytes that are sent before a chunk is: head, signatures and index.
    pub offer: u64,
    /// Bytes of the whole new package, as plain DFU sends it.
    pub whole: u64,
}

/// What a member of the new package costs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemberDiff {
    /// Its name.
    pub name: String,
    /// What it is.
    pub kind: MemberKind,
    /// How it stands to the member of this name and kind in the old package.
    pub change: Change,
    /// What it costs.
    pub cost: Cost,
}

/// How a member stands to its predecessor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// There is none.
    Added,
    /// It has other bytes.
    Changed,
    /// It has the same bytes.
    Same,
}

/// Counts of one member, or of several.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cost {
    /// Chunks.
    pub chunks: usize,
    /// Chunks that the old package has in an image.
    pub shared_chunks: usize,
    /// Bytes as they are stored.
    pub length: u64,
    /// Bytes of shared chunks, as they are stored; all others are new.
    pub shared: u64,
    /// Bytes of needed chunks as they are sent. A new chunk that the package holds several times is sent once.
    pub sent: u64,
    /// Bytes in flash that change: those of chunks that the image of this name does not have at the same offset.
    pub flash: u64,
}

impl Diff {
    /// The sum over all members.
    #[must_use]
    pub fn total(&self) -> Cost {
        self.members.iter().map(|member| member.cost).sum()
    }

    /// Bytes of a transfer that sends what precedes the chunks, and those chunks that the BMC does not have.
    #[must_use]
    pub fn needed(&self) -> u64 {
        self.offer.saturating_add(self.total().sent)
    }
}

impl Cost {
    /// Bytes that no image of the old package has, as they are stored.
    #[must_use]
    pub const fn new_bytes(&self) -> u64 {
        self.length.saturating_sub(self.shared)
    }
}

impl Add for Cost {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self {
            chunks: self.chunks.saturating_add(other.chunks),
            shared_chunks: self.shared_chunks.saturating_add(other.shared_chunks),
            length: self.length.saturating_add(other.length),
            shared: self.shared.saturating_add(other.shared),
            sent: self.sent.saturating_add(other.sent),
            flash: self.flash.saturating_add(other.flash),
        }
    }
}

impl Sum for Cost {
    fn sum<I: Iterator<Item = Self>>(costs: I) -> Self {
        costs.fold(Self::default(), Self::add)
    }
}

/// Compares two packages by what their indexes say. Takes time and memory in proportion to the indexes.
#[must_use]
pub fn diff(old: &Index, new_head: &Head, new: &Index) -> Diff {
    let kept: HashSet<Digest> = old
        .members
        .iter()
        .filter(|member| member.kind == MemberKind::Image)
        .flat_map(|member| &member.chunks)
        .map(|chunk| chunk.digest)
        .collect();
    let mut seen = HashSet::new();
    let members = new
        .members
        .iter()
        .map(|member| {
            let before = predecessor(old, member);
            let change = match before {
                None => Change::Added,
                Some(before) if same_bytes(before, member) => Change::Same,
                Some(_) => Change::Changed,
            };
            let cost = match member.kind {
                MemberKind::Image => image(before, member, &kept, &mut seen),
                MemberKind::Metadata => Cost { sent: member.sent_length(), ..plain_cost(member) },
            };
            MemberDiff { name: member.name.clone(), kind: member.kind, change, cost }
        })
        .collect();
    let gone = old.members.iter().filter(|member| predecessor(new, member).is_none());
    let signatures: u64 = new_head.signatures.iter().map(|entry| u64::from(entry.length)).sum();
    Diff {
        members,
        gone: gone.map(|member| member.name.clone()).collect(),
        offer: (head::LENGTH as u64).saturating_add(signatures).saturating_add(new_head.index_length.into()),
        whole: new_head.total_length,
    }
}

/// The member of another package that has this one's name and kind.
fn predecessor<'a>(index: &'a Index, member: &Member) -> Option<&'a Member> {
    index.members.iter().find(|other| other.name == member.name && other.kind == member.kind)
}

/// Whether the chunks say so. Equal bytes are cut at equal places.
fn same_bytes(one: &Member, other: &Member) -> bool {
    let stored = |chunk: &Chunk| (chunk.length, chunk.digest);
    one.chunks.iter().map(stored).eq(other.chunks.iter().map(stored))
}

fn plain_cost(member: &Member) -> Cost {
    Cost { chunks: member.chunks.len(), length: member.length, ..Cost::default() }
}

fn image(
    before: Option<&Member>,
    member: &Member,
    kept: &HashSet<Digest>,
    seen: &mut HashSet<Digest>,
) -> Cost {
    let placed = |(offset, chunk): (u64, &Chunk)| (offset, chunk.length, chunk.digest);
    let in_place: HashSet<_> = before.into_iter().flat_map(Member::chunks_with_offsets).map(placed).collect();
    let mut cost = plain_cost(member);
    for (offset, chunk) in member.chunks_with_offsets() {
        let length = u64::from(chunk.length);
        if !in_place.contains(&placed((offset, chunk))) {
            cost.flash = cost.flash.saturating_add(length);
        }
        if kept.contains(&chunk.digest) {
            cost.shared_chunks += 1;
            cost.shared = cost.shared.saturating_add(length);
        } else if seen.insert(chunk.digest) {
            cost.sent = cost.sent.saturating_add(chunk.sent().length.into());
        }
    }
    cost
}
