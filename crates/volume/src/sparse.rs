//! What a host has written, in memory.

use alloc::vec::Vec;
use core::{iter, ops::Range};

use crate::scsi::{BLOCK, Fault};

/// Bytes of a page: memory is taken in these, when one of their blocks is written first.
pub const PAGE: usize = 16 * 1024;
const PAGE_BLOCKS: u64 = (PAGE / BLOCK) as u64;

/// What a block holds that nobody has written.
pub trait Base {
    /// Fills one block of 512 bytes.
    fn block(&self, lba: u64, block: &mut [u8]);
}

/// Nothing: zeros.
#[derive(Clone, Copy, Debug, Default)]
pub struct Blank;

impl Base for Blank {
    fn block(&self, _lba: u64, block: &mut [u8]) {
        block.fill(0);
    }
}

#[derive(Debug)]
struct Page {
    bytes: Vec<u8>,
    /// Bit n: block n of the page was written.
    written: u32,
}

/// Blocks over a [`Base`], and which of them were written. Memory: [`PAGE`] for each page that was written to, at most as many as were allowed, and
/// a word or two for each page there could be.
#[derive(Debug)]
pub struct Sparse<B> {
    base: B,
    blocks: u64,
    pages: Vec<Option<Page>>,
    /// Pages that may still be taken.
    room: usize,
}

impl<B: Base> Sparse<B> {
    /// So many blocks, of which nothing is written yet. `room` is how many bytes the pages may take, rounded up to whole pages.
    ///
    /// # Errors
    /// There is no memory for the list of the pages.
    pub fn new(base: B, blocks: u64, room: usize) -> Result<Self, Fault> {
        let count = usize::try_from(blocks.div_ceil(PAGE_BLOCKS)).map_err(|_| Fault::NoSpace)?;
        let mut pages = Vec::new();
        pages.try_reserve_exact(count).map_err(|_| Fault::NoSpace)?;
        pages.resize_with(count, || None);
        Ok(Self { base, blocks, pages, room: room.div_ceil(PAGE) })
    }

    /// Ends all writing.
    ///
    /// ```compile_fail,E0382
    /// # use inband_volume::sparse::{Blank, Sparse};
    /// # fn late(mut store: Sparse<Blank>) {
    /// let sealed = store.seal();
    /// store.write(0, &[0; 512]); // there is no store any more
    /// # }
    /// ```
    #[must_use]
    pub const fn seal(self) -> Sealed<B> {
        Sealed(self)
    }

    /// How many blocks there are.
    #[must_use]
    pub const fn blocks(&self) -> u64 {
        self.blocks
    }

    /// What nobody has written.
    #[must_use]
    pub const fn base(&self) -> &B {
        &self.base
    }

    /// Whether a block was written.
    #[must_use]
    pub fn is_written(&self, lba: u64) -> bool {
        self.page(lba).is_some_and(|page| page.written & bit(lba) != 0)
    }

    /// Reads whole blocks.
    ///
    /// # Errors
    /// [`Fault::Unreadable`]: blocks that are not there.
    pub fn read(&self, lba: u64, buffer: &mut [u8]) -> Result<(), Fault> {
        self.check(lba, buffer.len()).ok_or(Fault::Unreadable)?;
        for (lba, block) in (lba..).zip(buffer.chunks_exact_mut(BLOCK)) {
            match self.page(lba).filter(|page| page.written & bit(lba) != 0) {
                Some(page) => block.copy_from_slice(&page.bytes[place(lba)..place(lba) + BLOCK]),
                None => self.base.block(lba, block),
            }
        }
        Ok(())
    }

    /// Bytes of memory that a write of so many bytes there would take: the pages that there are none of yet.
    #[must_use]
    pub fn needs(&self, lba: u64, length: usize) -> u64 {
        let Some(end) = self.check(lba, length) else { return 0 };
        let slots = self.pages.get(slots(lba, end)).unwrap_or_default();
        slots.iter().filter(|slot| slot.is_none()).count() as u64 * PAGE as u64
    }

    /// Writes whole blocks, all or none.
    ///
    /// # Errors
    /// [`Fault::NoSpace`]: no more pages are allowed, or there is no memory. [`Fault::Unwritable`]: blocks that are not there.
    pub fn write(&mut self, lba: u64, data: &[u8]) -> Result<(), Fault> {
        let end = self.check(lba, data.len()).ok_or(Fault::Unwritable)?;
        self.make_pages(lba, end)?;
        let (mut lba, mut data) = (lba, data);
        while !data.is_empty() {
            let (run, rest) = data.split_at(data.len().min(PAGE - place(lba)));
            let next = lba + (run.len() / BLOCK) as u64;
            let Some(Some(page)) = self.pages.get_mut((lba / PAGE_BLOCKS) as usize) else {
                return Err(Fault::Unwritable);
            };
            page.bytes[place(lba)..place(lba) + run.len()].copy_from_slice(run);
            (lba..next).for_each(|lba| page.written |= bit(lba));
            (lba, data) = (next, rest);
        }
        Ok(())
    }

    fn page(&self, lba: u64) -> Option<&Page> {
        self.pages.get(usize::try_from(lba / PAGE_BLOCKS).ok()?)?.as_ref()
    }

    /// The block behind these bytes, if they are whole blocks that there are.
    fn check(&self, lba: u64, length: usize) -> Option<u64> {
        let end = lba.checked_add((length / BLOCK) as u64)?;
        (length.is_multiple_of(BLOCK) && end <= self.blocks).then_some(end)
    }

    /// Has all pages from the block `lba` to before the block `end`. A write for which there is no room takes none.
    fn make_pages(&mut self, lba: u64, end: u64) -> Result<(), Fault> {
        let slots = self.pages.get_mut(slots(lba, end)).ok_or(Fault::Unwritable)?;
        let missing = slots.iter().filter(|slot| slot.is_none()).count();
        if missing > self.room {
            return Err(Fault::NoSpace);
        }
        for slot in slots.iter_mut().filter(|slot| slot.is_none()) {
            let mut bytes = Vec::new();
            bytes.try_reserve_exact(PAGE).map_err(|_| Fault::NoSpace)?;
            bytes.resize(PAGE, 0);
            *slot = Some(Page { bytes, written: 0 });
            self.room -= 1;
        }
        Ok(())
    }
}

/// What a host has written, when it can write no more: the value that could be written to is gone.
#[derive(Debug)]
pub struct Sealed<B>(Sparse<B>);

impl<B: Base> Sealed<B> {
    /// How many blocks there are.
    #[must_use]
    pub const fn blocks(&self) -> u64 {
        self.0.blocks()
    }

    /// What nobody has written.
    #[must_use]
    pub const fn base(&self) -> &B {
        self.0.base()
    }

    /// Reads whole blocks.
    ///
    /// # Errors
    /// [`Fault::Unreadable`]: blocks that are not there.
    pub fn read(&self, lba: u64, buffer: &mut [u8]) -> Result<(), Fault> {
        self.0.read(lba, buffer)
    }

    /// Blocks that were written, from this one on: as many as were asked for, up to the first that was not and to the end of the page. Empty if
    /// the first was not.
    #[must_use]
    pub fn written(&self, lba: u64, blocks: u64) -> &[u8] {
        let Some(page) = self.0.page(lba) else { return &[] };
        let there = (page.written >> (lba % PAGE_BLOCKS)).trailing_ones();
        let blocks = blocks.min(there.into()) as usize;
        &page.bytes[place(lba)..place(lba) + blocks * BLOCK]
    }

    /// The same blocks, taken away: a whole page with its memory, and then nobody has written it; what is less is copied.
    pub fn take(&mut self, lba: u64, blocks: u64) -> Vec<u8> {
        let bytes = self.written(lba, blocks);
        if bytes.len() < PAGE {
            return bytes.to_vec();
        }
        let page = self.0.pages.get_mut((lba / PAGE_BLOCKS) as usize).and_then(Option::take);
        page.map(|page| page.bytes).unwrap_or_default()
    }

    /// All pages, whatever is written on them, to be dropped one by one.
    pub fn into_pages(self) -> impl Iterator<Item = Vec<u8>> {
        self.0.pages.into_iter().flatten().map(|page| page.bytes)
    }

    /// What was written from the first block on, up to the first block that was not, [taken](Self::take) a [`PAGE`] at a time at most.
    pub fn into_run(mut self) -> impl Iterator<Item = Vec<u8>> {
        let mut lba = 0;
        iter::from_fn(move || {
            let bytes = self.take(lba, PAGE_BLOCKS);
            lba += (bytes.len() / BLOCK) as u64;
            Some(bytes).filter(|bytes| !bytes.is_empty())
        })
    }
}

/// The pages of the blocks from `lba` to before `end`, which there are.
const fn slots(lba: u64, end: u64) -> Range<usize> {
    (lba / PAGE_BLOCKS) as usize..end.div_ceil(PAGE_BLOCKS) as usize
}

/// Where a block lies in its page.
const fn place(lba: u64) -> usize {
    (lba % PAGE_BLOCKS) as usize * BLOCK
}

const fn bit(lba: u64) -> u32 {
    1 << (lba % PAGE_BLOCKS)
}
