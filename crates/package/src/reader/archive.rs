//! The pieces of an archive that carry no signed content, taken as bytes arrive.

use alloc::boxed::Box;
use alloc::string::ToString;

use crate::refusal::{ArchivePart, Refusal};
use crate::tar::{self, BLOCK, Block};

/// The bytes of one push that are not taken yet, and where in the stream they stand.
pub(crate) struct Input<'a> {
    bytes: &'a [u8],
    offset: u64,
}

impl<'a> Input<'a> {
    pub(crate) const fn new(bytes: &'a [u8], offset: u64) -> Self {
        Self { bytes, offset }
    }

    /// Offset in the stream of the next byte.
    pub(crate) const fn offset(&self) -> u64 {
        self.offset
    }

    pub(crate) const fn len(&self) -> usize {
        self.bytes.len()
    }

    /// The next bytes: `most`, or as many as there are.
    pub(crate) fn take(&mut self, most: usize) -> &'a [u8] {
        let (taken, rest) = self.bytes.split_at(most.min(self.bytes.len()));
        self.bytes = rest;
        self.offset = self.offset.saturating_add(taken.len() as u64);
        taken
    }

    /// The same bytes without taking them.
    pub(crate) fn peek(&self, most: usize) -> &'a [u8] {
        &self.bytes[..most.min(self.bytes.len())]
    }
}

/// A block being filled.
#[derive(Debug)]
pub(crate) struct Gather {
    block: Box<Block>,
    filled: usize,
}

impl Gather {
    pub(crate) fn new() -> Self {
        Self { block: Box::new([0; BLOCK]), filled: 0 }
    }

    /// Whether nothing of the block has come.
    pub(crate) const fn is_empty(&self) -> bool {
        self.filled == 0
    }

    /// The block, once it is full.
    pub(crate) fn take(&mut self, input: &mut Input<'_>) -> Option<Block> {
        let bytes = input.take(BLOCK - self.filled);
        self.block[self.filled..self.filled + bytes.len()].copy_from_slice(bytes);
        self.filled += bytes.len();
        (self.filled == BLOCK).then_some(*self.block)
    }
}

/// Refuses a header, at the end of which `input` stands, that is not the one that docs/spec/package.md, 2 has
/// for this member.
pub(crate) fn check_header(
    found: &Block,
    input: &Input<'_>,
    name: &str,
    length: u64,
    mtime: u64,
) -> Result<(), Refusal> {
    if tar::header(name, length, mtime).as_ref() == Some(found) {
        return Ok(());
    }
    Err(Refusal::BadArchive {
        part: ArchivePart::Header(name.to_string()),
        offset: input.offset().saturating_sub(tar::BLOCK_LENGTH),
    })
}

/// Zeros that must come.
#[derive(Debug)]
pub(crate) struct Zeros {
    left: u64,
}

impl Zeros {
    pub(crate) const fn new(left: u64) -> Self {
        Self { left }
    }

    /// Whether all have come.
    ///
    /// # Errors
    /// With the first byte that is not zero.
    pub(crate) fn take(
        &mut self,
        input: &mut Input<'_>,
        part: impl FnOnce() -> ArchivePart,
    ) -> Result<bool, Refusal> {
        let most = usize::try_from(self.left).unwrap_or(usize::MAX);
        if let Some(at) = input.peek(most).iter().position(|byte| *byte != 0) {
            // Nothing behind the fault is taken, however much has come with it.
            input.take(at);
            let refusal = Refusal::BadArchive { part: part(), offset: input.offset() };
            input.take(1);
            return Err(refusal);
        }
        let bytes = input.take(most);
        self.left -= bytes.len() as u64;
        Ok(self.left == 0)
    }
}
