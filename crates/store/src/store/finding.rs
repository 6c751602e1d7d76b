//! Chunks that need not come, because they are there already: found where they are said to be, hashed, and copied.

use inband_package::Checked;
use inband_package::index::MAX_CHUNK_LENGTH;

use super::have::{ChunkHint, Have, Search, Source};
use super::plan::{Plan, Wanted};
use super::writing::{Before, Known};
use super::{Phase, Store, StoreError};
use crate::medium::Medium;
use crate::record::Slot;

/// What has become of a chunk that was looked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Found {
    /// It stands in the slot.
    There,
    /// It has to come.
    Missing,
    /// It has the content of the chunk of this number, and is copied once that one stands in the slot: it is to be looked for, or to come, first.
    Behind(u32),
}

impl<M: Medium> Store<M> {
    /// What is said of the chunks of the index, in their order: which of them the slot holds in their places already, by the journal and the
    /// index that it was written from before; which the running slot holds in a region that is replaced, by its index; which have the
    /// content of another one. Hints, which [`Store::find_chunk`] looks into. None without a session that has come to [`Store::prepare`].
    pub fn chunk_hints(&self) -> impl Iterator<Item = ChunkHint> {
        let writing = match &self.phase {
            Phase::Writing(writing) => Some(writing),
            Phase::Idle | Phase::Begun => None,
        };
        writing.into_iter().flat_map(|writing| writing.hints())
    }

    /// Looks for the chunk of this number, counted across all members of the index, where it is said to be. What is there is read and
    /// hashed, at most once in each place; if it is the chunk, it is put to where it belongs unless it stands there, and counts as if it had come.
    /// In its own place a chunk counts only if something says so, however it reads: it may have been hit in the middle of being written (rule 6).
    ///
    /// # Errors
    /// [`StoreError::Order`] before [`Store::prepare`]; those of the medium, if the chunk or a mark cannot be written.
    pub fn find_chunk(&mut self, number: u32) -> Result<Found, StoreError> {
        let Phase::Writing(writing) = &mut self.phase else {
            return Err(StoreError::Order("there is no index to look for chunks of"));
        };
        let mut room = core::mem::take(&mut writing.room);
        room.resize(MAX_CHUNK_LENGTH as usize, 0);
        let found = self.find_with(number, &mut room);
        if let Phase::Writing(writing) = &mut self.phase {
            writing.room = room;
        }
        found
    }

    /// As [`Store::find_chunk`], with room for a chunk.
    fn find_with(&mut self, number: u32, room: &mut [u8]) -> Result<Found, StoreError> {
        let Phase::Writing(writing) = &mut self.phase else {
            return Err(StoreError::Order("there is no index to look for chunks of"));
        };
        let target = self.running.other();
        let Some(wanted) = writing.plan.chunk(number) else { return Ok(Found::Missing) };
        let Some(at) = wanted.at else { return Ok(Found::There) };
        if writing.is_there(number) {
            return Ok(Found::There);
        }
        if writing.have.take_in_place(number)
            && let Some(chunk) = read_chunk(&mut self.medium, target, at, &wanted, room)
        {
            writing.pass_chunk(&chunk);
            self.mark_if_due()?;
            return Ok(Found::There);
        }
        let (slot, at) = match writing.have.source(number) {
            Source::Nowhere => return Ok(Found::Missing),
            Source::Running(at) => (self.running, at),
            Source::Same(other) if !writing.is_there(other) => return Ok(Found::Behind(other)),
            Source::Same(other) => match writing.plan.chunk(other).and_then(|other| other.at) {
                Some(at) => (target, at),
                None => return Ok(Found::Missing),
            },
        };
        writing.have.forget_source(number);
        match read_chunk(&mut self.medium, slot, at, &wanted, room) {
            Some(chunk) => self.write_chunk(&chunk).map(|()| Found::There),
            None => Ok(Found::Missing),
        }
    }

    /// What is said of a plan's chunks by the indexes of both slots. Only hints: an index that cannot be read says nothing.
    pub(super) fn have(&mut self, plan: &Plan, known: &Known, before: &Before) -> Have {
        let mut search = Search::new(plan, &self.layout);
        // One after the other: each may be as long as an index can be.
        if let Ok(Some(index)) = self.medium.load_index(self.running.other())
            && let Some(end) = before.end(known, &index)
        {
            search.target(&index, end);
        }
        if let Ok(Some(index)) = self.medium.load_index(self.running) {
            search.running(&index);
        }
        search.finish()
    }
}

/// Reads and hashes the bytes of a slot from `at` on; `None` if they are not the chunk. What cannot be read is not there.
fn read_chunk<'a>(
    medium: &mut impl Medium,
    slot: Slot,
    at: u64,
    wanted: &Wanted<'_>,
    room: &'a mut [u8],
) -> Option<Checked<'a>> {
    let bytes = room.get_mut(..wanted.chunk.length as usize)?;
    medium.read(slot, at, bytes).ok()?;
    Checked::new((wanted.member, wanted.number, wanted.offset), wanted.chunk, bytes)
}
