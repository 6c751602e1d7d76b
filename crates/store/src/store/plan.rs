//! What a target slot has to hold in the end, and whether it does.

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

/// The first half of a digest, as the record keeps it.
pub(super) fn short(digest: &Digest) -> [u8; 16] {
    let mut short = [0; 16];
    short.copy_from_slice(&digest[..16]);
    short
}

/// The members of an index, laid out in a slot.
#[derive(Debug)]
pub(super) struct Plan {
    index: Index,
    head: [u8; 16],
    /// The regions, in the order of the layout.
    regions: Vec<Region>,
    /// For each member of the index, which of the regions it goes to; `None` for one that is not written. Each region
    /// that is replaced has a member, and no other region has.
    places: Vec<Option<usize>>,
    /// Fingerprints of what the session wrote; none are taken without a key.
    key: Option<FingerprintKey>,
    /// For each member of the index, those of its chunks.
    fingerprints: Vec<Vec<Option<Fingerprint>>>,
}

impl Plan {
    /// Finds a region for each image of the index, and an image for each region that is to be replaced: with half a package,
    /// however well signed, a host could start a slot that cannot run, again and again.
    pub(super) fn new(
        layout: &Layout,
        index: &Index,
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
        let none = |member: &Member| alloc::vec![None; if key.is_some() { member.chunks.len() } else { 0 }];
        let fingerprints = index.members.iter().map(none).collect();
        Ok(Self { index: index.clone(), head: short(head), regions, places, key, fingerprints })
    }

    /// Takes the fingerprint of a chunk that was written, if it is the one that the index has at its place.
    pub(super) fn remember(&mut self, chunk: &Checked<'_>) {
        let (member, number) = (chunk.member(), chunk.number());
        let meant = self.index.members.get(member).and_then(|member| member.chunks.get(number));
        let room = self.fingerprints.get_mut(member).and_then(|chunks| chunks.get_mut(number));
        if let (Some(key), Some(meant), Some(room)) = (&self.key, meant, room)
            && meant.digest == *chunk.digest()
        {
            *room = Some(Fingerprint::of(key, chunk.bytes()));
        }
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
        let known = self.index.members.get(member).zip(self.places.get(member));
        let Some((entry, place)) = known else { return Err(StoreError::Order("no such member")) };
        let end = u64::try_from(length).ok().and_then(|length| offset.checked_add(length));
        if end.is_none_or(|end| end > entry.length) {
            return Err(StoreError::Order("bytes behind the end of the member"));
        }
        // Neither sum overflows: the member ends inside its region, and that inside the slot.
        Ok(place.map(|place| self.regions[place].offset + offset))
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
                    if medium.read(slot, at, there).is_ok() && there.iter().all(|&byte| byte == FILL) {
                        return Ok(());
                    }
                }
                there.fill(FILL);
                medium.write(slot, at, there).map_err(StoreError::Write)
            })?;
        }
        Ok(())
    }

    /// Reads all regions and compares them with the index, chunk by chunk, tails included.
    pub(super) fn read_back(
        &self,
        medium: &mut impl Medium,
        slot: Slot,
        piece: &mut [u8],
    ) -> Result<(), StoreError> {
        for (number, (region, member)) in self.contents() {
            let mut at = region.offset;
            for (chunk_number, chunk) in member.chunks.iter().enumerate() {
                let end = at + u64::from(chunk.length);
                let known = self.fingerprints[number].get(chunk_number).copied().flatten();
                let same = match known.zip(self.key) {
                    Some((known, key)) => fingerprint(medium, slot, at, chunk, &key, piece)? == known,
                    None => holds(medium, slot, at, chunk, piece)?,
                };
                if !same {
                    return Err(StoreError::Mismatch { slot, offset: at, what: "the chunk" });
                }
                at = end;
            }
            pieces(at, region.end(), piece.len(), |at, length| {
                medium.read(slot, at, &mut piece[..length]).map_err(StoreError::Read)?;
                match piece[..length].iter().position(|&byte| byte != FILL) {
                    Some(inside) => {
                        Err(StoreError::Mismatch { slot, offset: at + inside as u64, what: "the filling" })
                    }
                    None => Ok(()),
                }
            })?;
        }
        Ok(())
    }

    /// Whether the slot holds a chunk where it belongs; a chunk that does not exist, or goes nowhere, it does not hold.
    pub(super) fn holds_chunk(
        &self,
        medium: &mut impl Medium,
        slot: Slot,
        (member, offset): (usize, u64),
        chunk: &Chunk,
        piece: &mut [u8],
    ) -> Result<bool, StoreError> {
        match self.place(member, offset, chunk.length as usize)? {
            Some(at) => holds(medium, slot, at, chunk, piece),
            None => Ok(false),
        }
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
    key: &FingerprintKey,
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
