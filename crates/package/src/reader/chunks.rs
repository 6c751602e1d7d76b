//! Chunks by their numbers, of a package whose index is authentic: for a transfer that brings only what is missing (docs/spec/bulk.md).

use super::archive::Input;
use super::stages::{Authentic, Portions, deliver};
use super::{Error, Sink};
use crate::head::Head;
use crate::index::{Index, Member};
use crate::zstd::Decoder;

/// Where a chunk belongs: numbers of its member and of the chunk in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ChunkPlace {
    /// Number of the member.
    pub member: usize,
    /// Number of the chunk in its member.
    pub chunk: usize,
    /// Offset in the member, in bytes as they are stored.
    pub offset: u64,
}

impl ChunkPlace {
    const FIRST: Self = Self { member: 0, chunk: 0, offset: 0 };

    /// The next place that has a chunk, this one included.
    fn settle(mut self, members: &[Member]) -> Option<Self> {
        while self.chunk >= members.get(self.member)?.chunks.len() {
            self = Self { member: self.member + 1, chunk: 0, offset: 0 };
        }
        Some(self)
    }

    /// The place behind, which may have no chunk.
    fn behind(self, members: &[Member]) -> Self {
        let length = members.get(self.member).and_then(|member| member.chunks.get(self.chunk));
        let length = length.map_or(0, |chunk| u64::from(chunk.length));
        Self { chunk: self.chunk + 1, offset: self.offset.saturating_add(length), ..self }
    }
}

/// Checks the chunks of one package in any order. Chunks are numbered from 0 across all members, in the order of the index.
#[derive(Debug)]
pub struct Chunks {
    package: Authentic,
    decoder: Decoder,
    chunk: Portions,
    /// The chunk that was looked up last, and its place: chunks come in rising order most often.
    last: (u32, ChunkPlace),
    /// The chunk that is coming.
    current: u32,
}

impl Chunks {
    pub(super) fn new(package: Authentic) -> Self {
        let chunk = Portions::with_capacity(package.longest_chunk());
        Self { package, decoder: Decoder::default(), chunk, last: (0, ChunkPlace::FIRST), current: 0 }
    }

    /// The head, which is verified.
    #[must_use]
    pub const fn head(&self) -> &Head {
        &self.package.head
    }

    /// The index, which is verified.
    #[must_use]
    pub fn index(&self) -> &Index {
        &self.package.index
    }

    /// Where the chunk of this number belongs.
    pub fn place(&mut self, number: u32) -> Option<ChunkPlace> {
        let members = &self.package.index.members;
        let (mut at, mut place) = if number < self.last.0 { (0, ChunkPlace::FIRST) } else { self.last };
        place = place.settle(members)?;
        while at < number {
            place = place.behind(members).settle(members)?;
            at += 1;
        }
        self.last = (number, place);
        Some(place)
    }

    /// Takes the next bytes of a chunk as it is sent, in any portions; with the last of them it goes to the sink, which gets nothing else,
    /// and `true` is returned. Bytes of another chunk begin anew.
    ///
    /// # Errors
    /// [`Error::Refused`] with [`Refusal::BadChunk`](crate::Refusal::BadChunk) for bytes that are not those that are signed;
    /// [`Error::Sink`]; [`Error::Failed`] for a chunk that there is not, and for more bytes than it has: the caller's fault.
    pub fn push<S: Sink>(
        &mut self,
        number: u32,
        bytes: &[u8],
        sink: &mut S,
    ) -> Result<bool, Error<S::Error>> {
        if self.current != number {
            self.chunk.clear();
            self.current = number;
        }
        let place = self.place(number);
        let found = place.and_then(|place| {
            let member = self.package.index.members.get(place.member)?;
            Some((place, member, member.chunks.get(place.chunk)?))
        });
        let Some((place, member, expected)) = found else { return Err(Error::Failed) };
        let mut input = Input::new(bytes, 0);
        let Some((sent, digest)) = self.chunk.whole(&mut input, expected.sent().length as usize) else {
            return Ok(false);
        };
        if input.len() > 0 {
            return Err(Error::Failed);
        }
        deliver(&mut self.decoder, place, &member.name, expected, (sent, digest), sink)?;
        self.chunk.clear();
        Ok(true)
    }
}
