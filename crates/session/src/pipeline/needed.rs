//! A package of which only what is missing comes: chunks by their numbers (docs/spec/bulk.md, 6.1).

use alloc::vec::Vec;

use inband_package::Chunks;
use inband_store::medium::Medium;
use inband_store::{Store, StoreError};

use super::Target;
use super::source::Fault;

/// Bytes that are looked at in the slot in one go, at least: who asks for more has other work in between.
const LOOK: u64 = 1 << 20;

/// What is known of a chunk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Known {
    /// It has to come.
    Missing,
    /// The slot is said to hold it in its place.
    Said,
    /// It has come, or the slot does hold it.
    There,
}

/// The chunks of a package whose index is authentic, and which of them are there.
#[derive(Debug)]
pub(super) struct Needed {
    chunks: Chunks,
    /// By the numbers of the chunks.
    known: Vec<Known>,
    /// Of no chunk before this one it is only said that it is there.
    looked: usize,
    /// Bytes taken, those before the chunks included.
    received: u64,
}

impl Needed {
    /// Behind the index, for which the store has been made ready.
    pub(super) fn new<M: Medium>(chunks: Chunks, store: &Store<M>, received: u64) -> Self {
        // Both in the order of the index.
        let mut held = store.held_chunks().peekable();
        let known = chunks.places().map(|place| match held.next_if_eq(&(place.member, place.chunk)) {
            Some(_) => Known::Said,
            None => Known::Missing,
        });
        Self { known: known.collect(), chunks, looked: 0, received }
    }

    /// Lengths of all chunks as they are sent, in the order of their numbers.
    pub(super) fn lengths(&self) -> Vec<u32> {
        let members = &self.chunks.index().members;
        members.iter().flat_map(|member| &member.chunks).map(|chunk| chunk.sent().length).collect()
    }

    /// Numbers of the chunks that have to come.
    pub(super) fn missing(&self) -> Vec<u32> {
        let numbered = (0..).zip(&self.known);
        numbered.filter(|(_, known)| **known == Known::Missing).map(|(number, _)| number).collect()
    }

    /// Takes the next bytes of a chunk as it is sent. What stands before it in the slot is looked at first, so that all is passed in the
    /// order of the index, and the journal's marks mean what they do for a file.
    pub(super) fn push<M: Medium>(
        &mut self,
        number: u32,
        bytes: &[u8],
        target: &mut Target<'_, M>,
    ) -> Result<(), Fault> {
        let at = usize::try_from(number).unwrap_or(usize::MAX);
        if self.known.get(at) != Some(&Known::Missing) {
            return Err(StoreError::Order("a chunk that is not missing").into());
        }
        while self.looked < at {
            self.look(target.store)?;
        }
        self.received = self.received.saturating_add(bytes.len() as u64);
        if self.chunks.push(number, bytes, target)? {
            self.known[at] = Known::There;
        }
        Ok(())
    }

    /// Looks at some of the chunks that the slot is only said to hold. Returns whether there are none left.
    pub(super) fn settle<M: Medium>(&mut self, store: &mut Store<M>) -> Result<bool, StoreError> {
        let mut bytes = 0;
        while bytes < LOOK && self.looked < self.known.len() {
            bytes += self.look(store)?;
        }
        Ok(self.looked == self.known.len())
    }

    /// Looks at the next chunk, if it is only said to be there. Returns how many bytes were looked at.
    fn look<M: Medium>(&mut self, store: &mut Store<M>) -> Result<u64, StoreError> {
        let at = self.looked;
        self.looked += 1;
        if self.known[at] != Known::Said {
            return Ok(0);
        }
        let place = u32::try_from(at).ok().and_then(|number| self.chunks.place(number));
        let Some(place) = place else { return Err(StoreError::Order("no such chunk")) };
        let there = store.check_chunk(place.member, place.chunk)?;
        self.known[at] = if there { Known::There } else { Known::Missing };
        let chunk = &self.chunks.index().members[place.member].chunks[place.chunk];
        Ok(chunk.length.into())
    }

    pub(super) fn received(&self) -> u64 {
        self.received
    }

    /// Length of the package.
    pub(super) fn announced(&self) -> u64 {
        self.chunks.head().total_length
    }

    /// Whether all of it is there.
    pub(super) fn is_whole(&self) -> bool {
        self.known.iter().all(|known| *known == Known::There)
    }
}
