//! A package of which only what is missing comes: chunks by their numbers (docs/spec/bulk.md, 6.1).

use alloc::vec::Vec;

use inband_package::Chunks;
use inband_store::medium::Medium;
use inband_store::{ChunkHint, Found, Store, StoreError};

use super::Target;
use super::source::Fault;

/// What is known of a chunk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Known {
    /// It has to come.
    Missing,
    /// It is said to be there, in its place or elsewhere.
    Said,
    /// It has come, or was there; or it goes nowhere.
    There,
}

/// The chunks of a package whose index is authentic, and which of them are there.
#[derive(Debug)]
pub(super) struct Needed {
    chunks: Chunks,
    /// By the numbers of the chunks.
    known: Vec<Known>,
    /// The chunks before this one have been looked for, or put off.
    looked: usize,
    /// Bytes taken, those before the chunks included.
    received: u64,
}

impl Needed {
    /// Behind the index, for which the store has been made ready.
    pub(super) fn new<M: Medium>(chunks: Chunks, store: &Store<M>, received: u64) -> Self {
        let known = store.chunk_hints().map(|hint| match hint {
            ChunkHint::Unplaced => Known::There,
            ChunkHint::Missing => Known::Missing,
            ChunkHint::Said => Known::Said,
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

    /// Takes the next bytes of a chunk as it is sent. What is said to be there of those before it is looked for first, so that all is passed in the
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
            self.step(target.store)?;
        }
        self.received = self.received.saturating_add(bytes.len() as u64);
        if self.chunks.push(number, bytes, target)? {
            self.known[at] = Known::There;
        }
        Ok(())
    }

    /// Looks for one chunk that is said to be there, of those before the next one that has to come. Returns whether there was none.
    pub(super) fn look<M: Medium>(&mut self, store: &mut Store<M>) -> Result<bool, StoreError> {
        while self.known.get(self.looked) == Some(&Known::There) {
            self.looked += 1;
        }
        let said = self.known.get(self.looked) == Some(&Known::Said);
        if said {
            self.step(store)?;
        }
        Ok(!said)
    }

    /// Looks for one chunk that is said to be there, wherever it stands. Returns whether there was none: the next call then begins anew,
    /// with those that were put off.
    pub(super) fn settle<M: Medium>(&mut self, store: &mut Store<M>) -> Result<bool, StoreError> {
        while matches!(self.known.get(self.looked), Some(Known::There | Known::Missing)) {
            self.looked += 1;
        }
        if self.looked < self.known.len() {
            self.step(store)?;
            return Ok(false);
        }
        self.looked = 0;
        Ok(true)
    }

    /// Goes on to the next chunk, and looks for it if it is said to be there. If it is a copy of one that is only said to be there as well, that one is
    /// looked for instead; if of one that has to come, it is put off.
    fn step<M: Medium>(&mut self, store: &mut Store<M>) -> Result<(), StoreError> {
        let at = self.looked;
        self.looked += 1;
        if self.known.get(at) != Some(&Known::Said) {
            return Ok(());
        }
        if let Some(original) = self.find(at, store)? {
            match self.known.get(original) {
                Some(Known::Said) => {
                    self.looked = at;
                    self.find(original, store)?;
                }
                Some(Known::Missing) => {}
                Some(Known::There) | None => self.known[at] = Known::Missing,
            }
        }
        Ok(())
    }

    /// Looks for a chunk. Returns the chunk that it is a copy of, if that one is not there yet.
    fn find<M: Medium>(&mut self, at: usize, store: &mut Store<M>) -> Result<Option<usize>, StoreError> {
        let number = u32::try_from(at).map_err(|_| StoreError::Order("no such chunk"))?;
        let known = match store.find_chunk(number)? {
            Found::There => Known::There,
            Found::Missing => Known::Missing,
            Found::Behind(original) => return Ok(Some(original as usize)),
        };
        self.known[at] = known;
        Ok(None)
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
