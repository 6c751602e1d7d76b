//! What a target slot has to hold in the end, and whether it does.

use alloc::sync::Arc;
use alloc::vec::Vec;

use inband_package::index::{Chunk, Member, MemberKind};
use inband_package::{Checked, Digest, Index, Refusal};
use sha2::{Digest as _, Sha256};

use super::StoreError;
use super::fingerprint::{Fingerprint, FingerprintKey, Taker};
use crate::layout::{Layout, Region, RegionPolicy};
use crate::medium::Medium;
use crate::record::{Slot, SlotRecord, SlotState, TrialRecord};
use crate::text::Text;

/// What a region holds behind its member, as erased flash does.
const FILL: u8 = 0xff;

/// How far a slot has been read back, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReadBack {
    /// What was read, and is as it has to be.
    pub done: u64,
    /// All there is to read.
    pub all: u64,
}

impl ReadBack {
    /// In percent.
    #[must_use]
    pub const fn percent(self) -> u8 {
        match self.done.saturating_mul(100).checked_div(self.all) {
            Some(percent @ 0..100) => percent as u8,
            Some(_) | None => 100,
        }
    }
}

/// The first half of a digest, as the record keeps it.
pub(super) fn short(digest: &Digest) -> [u8; 16] {
    let mut short = [0; 16];
    short.copy_from_slice(&digest[..16]);
    short
}

/// The members of an index, laid out in a slot.
#[derive(Debug)]
pub(super) struct Plan {
    index: Arc<Index>,
    head: [u8; 16],
    /// The regions, in the order of the layout.
    regions: Vec<Region>,
    /// For each member of the index, which of the regions it goes to; `None` for one that is not written. Each region
    /// that is replaced has a member, and no other region has.
    places: Vec<Option<usize>>,
    /// For each member of the index, the number of its first chunk: they are counted across all members.
    first: Vec<usize>,
    /// Where in its member each chunk begins.
    offsets: Vec<u64>,
    /// Fingerprints of what the session wrote or found; none are taken without a key.
    key: Option<FingerprintKey>,
    fingerprints: Vec<Option<Fingerprint>>,
}

/// A chunk of the index, and where it belongs.
#[derive(Clone, Copy, Debug)]
pub(super) struct Wanted<'a> {
    /// Number of the member.
    pub(super) member: usize,
    /// Number of the chunk in the member.
    pub(super) number: usize,
    /// Where in the member it begins.
    pub(super) offset: u64,
    /// Where in the slot it belongs; `None` if it goes nowhere.
    pub(super) at: Option<u64>,
    pub(super) chunk: &'a Chunk,
}

impl Plan {
    /// Finds a region for each image of the index, and an image for each region that is to be replaced: with half a package,
    /// however well signed, a host could start a slot that cannot run, again and again.
    pub(super) fn new(
        layout: &Layout,
        index: &Arc<Index>,
        head: &Digest,
        key: Option<FingerprintKey>,
    ) -> Result<Self, Refusal> {
        if let Some(target) = index.targets.iter().find(|target| !layout.has_target(target)) {
            return Err(Refusal::UnmappedTarget { target: target.clone() });
        }
        let place = |member: &Member| match member.kind {
            MemberKind::Metadata => Ok(None),
            MemberKind::Image => place_image(layout, index, member),
        };
        let places = index.members.iter().map(place).collect::<Result<Vec<_>, _>>()?;
        for (number, region) in layout.regions().iter().enumerate() {
            if region.policy == RegionPolicy::Replace && !places.contains(&Some(number)) {
                return Err(Refusal::MissingMember { member: region.member.clone() });
            }
        }
        let regions = layout.regions().to_vec();
        let mut first = Vec::with_capacity(index.members.len());
        let mut offsets = Vec::with_capacity(index.members.iter().map(|member| member.chunks.len()).sum());
        for member in &index.members {
            first.push(offsets.len());
            offsets.extend(member.chunks_with_offsets().map(|(offset, _)| offset));
        }
        let fingerprints = alloc::vec![None; if key.is_some() { offsets.len() } else { 0 }];
        let index = Arc::clone(index);
        Ok(Self { index, head: short(head), regions, places, first, offsets, key, fingerprints })
    }

    /// How many chunks there are.
    pub(super) fn chunk_count(&self) -> usize {
        self.offsets.len()
    }

    /// The chunk of this number.
    pub(super) fn chunk(&self, number: u32) -> Option<Wanted<'_>> {
        let number = number as usize;
        // Of members without chunks and the one behind them, which begin with the same number, it is the last.
        let member = self.first.partition_point(|first| *first <= number).checked_sub(1)?;
        let in_member = number - self.first[member];
        let chunk = self.index.members.get(member)?.chunks.get(in_member)?;
        let offset = *self.offsets.get(number)?;
        Some(Wanted { member, number: in_member, offset, at: self.start(member, offset), chunk })
    }

    /// All chunks in the order of their numbers.
    pub(super) fn chunks(&self) -> impl Iterator<Item = Wanted<'_>> {
        (0..).map_while(|number| self.chunk(number))
    }

    /// The chunk that belongs at this offset in the slot, and its number.
    pub(super) fn chunk_at(&self, at: u64) -> Option<(u32, Wanted<'_>)> {
        let region = self.regions.partition_point(|region| region.offset <= at).checked_sub(1)?;
        let member = self.places.iter().position(|place| *place == Some(region))?;
        let first = self.first[member];
        let offsets = self.offsets.get(first..first + self.index.members[member].chunks.len())?;
        let in_member = offsets.binary_search(&(at - self.regions[region].offset)).ok()?;
        let number = u32::try_from(first + in_member).ok()?;
        Some((number, self.chunk(number)?))
    }

    /// The number of a chunk that was checked, if it is the one that the index has at its place.
    pub(super) fn number_of(&self, chunk: &Checked<'_>) -> Option<u32> {
        let meant = self.index.members.get(chunk.member())?.chunks.get(chunk.number())?;
        let number = self.first.get(chunk.member())? + chunk.number();
        u32::try_from(number).ok().filter(|_| meant.digest == *chunk.digest())
    }

    /// Where in the slot a member's byte belongs.
    fn start(&self, member: usize, offset: u64) -> Option<u64> {
        let place = (*self.places.get(member)?)?;
        // No sum overflows: the member ends inside its region, and that inside the slot.
        Some(self.regions[place].offset + offset)
    }

    /// Takes the fingerprint of the chunk of this number, which was written or found.
    pub(super) fn remember(&mut self, number: u32, chunk: &Checked<'_>) {
        if let (Some(key), Some(room)) = (self.key, self.fingerprints.get_mut(number as usize)) {
            *room = Some(Fingerprint::of(key, chunk.bytes()));
        }
    }

    /// How many chunks have a fingerprint.
    #[cfg(test)]
    pub(super) fn fingerprints_taken(&self) -> usize {
        self.fingerprints.iter().flatten().count()
    }

    /// The members of the index.
    pub(super) fn members(&self) -> &[Member] {
        &self.index.members
    }

    /// What the record is to say of the slot once it is complete.
    pub(super) fn slot_record(&self, session: u32, door: u8, boots: u8) -> SlotRecord {
        SlotRecord {
            state: SlotState::Staged,
            bcd_device: self.index.bcd_device,
            security_version: self.index.security_version,
            head: self.head,
            // Nothing is cut: the field holds the longest version there is, and versions to come are compared with it.
            version: Text::cut(&self.index.version),
            door,
            pending: session,
            trial: TrialRecord { given: boots, ..TrialRecord::NONE },
        }
    }

    /// Where in the slot bytes of a member go; `None` if they go nowhere.
    pub(super) fn place(&self, member: usize, offset: u64, length: usize) -> Result<Option<u64>, StoreError> {
        let Some(entry) = self.index.members.get(member) else {
            return Err(StoreError::Order("no such member"));
        };
        let end = u64::try_from(length).ok().and_then(|length| offset.checked_add(length));
        if end.is_none_or(|end| end > entry.length) {
            return Err(StoreError::Order("bytes behind the end of the member"));
        }
        Ok(self.start(member, offset))
    }

    /// Fills what the members leave of their regions: where it is not filled already if it can be compared, else all of it.
    pub(super) fn fill_tails(
        &self,
        medium: &mut impl Medium,
        slot: Slot,
        piece: &mut [u8],
        compare: bool,
    ) -> Result<(), StoreError> {
        for (_, (region, member)) in self.contents() {
            let start = region.offset + member.length;
            pieces(start, region.end(), piece.len(), |at, length| {
                let there = &mut piece[..length];
                if compare {
                    // As in `Store::write`: what cannot be read is written anew.
                    if medium.read(slot, at, there).is_ok() && not_filled(there).is_none() {
                        return Ok(());
                    }
                }
                there.fill(FILL);
                medium.write(slot, at, there).map_err(StoreError::Write)
            })?;
        }
        Ok(())
    }

    /// Reads all regions and compares them with the index, chunk by chunk, tails included. Tells how far it is behind each of them.
    pub(super) fn read_back(
        &self,
        medium: &mut impl Medium,
        slot: Slot,
        piece: &mut [u8],
        tell: &mut dyn FnMut(ReadBack),
    ) -> Result<(), StoreError> {
        let all = self.contents().map(|(_, (region, _))| region.length).sum();
        let mut done = 0;
        let mut tell = |bytes: u64| {
            done += bytes;
            tell(ReadBack { done, all });
        };
        for (number, (region, member)) in self.contents() {
            let mut at = region.offset;
            for (chunk_number, chunk) in member.chunks.iter().enumerate() {
                let end = at + u64::from(chunk.length);
                let known = self.fingerprints.get(self.first[number] + chunk_number).copied().flatten();
                let same = match known.zip(self.key) {
                    Some((known, key)) => fingerprint(medium, slot, at, chunk, key, piece)? == known,
                    None => holds(medium, slot, at, chunk, piece)?,
                };
                if !same {
                    return Err(StoreError::Mismatch { slot, offset: at, what: "the chunk" });
                }
                at = end;
                tell(chunk.length.into());
            }
            pieces(at, region.end(), piece.len(), |at, length| {
                medium.read(slot, at, &mut piece[..length]).map_err(StoreError::Read)?;
                match not_filled(&piece[..length]) {
                    Some(inside) => {
                        Err(StoreError::Mismatch { slot, offset: at + inside as u64, what: "the filling" })
                    }
                    None => {
                        tell(length as u64);
                        Ok(())
                    }
                }
            })?;
        }
        Ok(())
    }

    /// The members that go to regions: number, region, member.
    fn contents(&self) -> impl Iterator<Item = (usize, (&Region, &Member))> {
        let placed = self.index.members.iter().zip(&self.places).enumerate();
        placed.filter_map(|(number, (member, place))| Some((number, (&self.regions[(*place)?], member))))
    }
}

/// Which region an image goes to; `None` if its region keeps what it holds.
fn place_image(layout: &Layout, index: &Index, member: &Member) -> Result<Option<usize>, Refusal> {
    let name = || member.name.clone();
    let target = index.targets.get(usize::from(member.target));
    let place = target
        .and_then(|target| layout.find(target, &member.name))
        .ok_or_else(|| Refusal::UnmappedMember { member: name() })?;
    let region = &layout.regions()[place];
    let place = match region.policy {
        RegionPolicy::Replace => Some(place),
        RegionPolicy::Preserve => None,
        RegionPolicy::Refuse => return Err(Refusal::RefusedMember { member: name() }),
    };
    if member.length > region.length {
        let (length, limit) = (member.length, region.length);
        return Err(Refusal::TooLarge { member: Some(name()), length, limit });
    }
    Ok(place)
}

/// Where the first byte is that is no filling. Most of a slot may be, so many are compared at a time.
pub(super) fn not_filled(bytes: &[u8]) -> Option<usize> {
    let (blocks, _) = bytes.as_chunks::<16>();
    let filled = 16 * blocks.iter().take_while(|block| **block == [FILL; 16]).count();
    let inside = bytes.get(filled..)?.iter().position(|&byte| byte != FILL)?;
    Some(filled + inside)
}

/// Whether the bytes of a slot from `at` on are those of a chunk.
fn holds(
    medium: &mut impl Medium,
    slot: Slot,
    at: u64,
    chunk: &Chunk,
    piece: &mut [u8],
) -> Result<bool, StoreError> {
    let mut hash = Sha256::new();
    read(medium, slot, at, chunk, piece, |bytes| hash.update(bytes))?;
    Ok(hash.finalize().as_slice() == chunk.digest)
}

/// The fingerprint of the bytes that stand where a chunk belongs.
fn fingerprint(
    medium: &mut impl Medium,
    slot: Slot,
    at: u64,
    chunk: &Chunk,
    key: FingerprintKey,
    piece: &mut [u8],
) -> Result<Fingerprint, StoreError> {
    let mut taker = Taker::new(key);
    read(medium, slot, at, chunk, piece, |bytes| taker.update(bytes))?;
    Ok(taker.finish())
}

/// Reads the bytes of a slot where a chunk belongs, piece by piece.
fn read(
    medium: &mut impl Medium,
    slot: Slot,
    at: u64,
    chunk: &Chunk,
    piece: &mut [u8],
    mut take: impl FnMut(&[u8]),
) -> Result<(), StoreError> {
    pieces(at, at + u64::from(chunk.length), piece.len(), |at, length| {
        medium.read(slot, at, &mut piece[..length]).map_err(StoreError::Read)?;
        take(&piece[..length]);
        Ok(())
    })
}

/// Calls `each` with offset and length of the pieces, none longer than `most`, that make up the bytes from `at` to `end`.
fn pieces(
    mut at: u64,
    end: u64,
    most: usize,
    mut each: impl FnMut(u64, usize) -> Result<(), StoreError>,
) -> Result<(), StoreError> {
    while at < end {
        let length = usize::try_from(end - at).unwrap_or(most).min(most);
        each(at, length)?;
        at += length as u64;
    }
    Ok(())
}
