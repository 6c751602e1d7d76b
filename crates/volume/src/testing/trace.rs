//! What a host wrote, in its order, as a text.
//!
//! A line `# ...` is for readers. `file N SEED LENGTH` is the package number N, which is [`package`] of these. `write LBA` is a WRITE, and the lines
//! behind it, which begin with two spaces, what was written, in this order:
//!
//! ```text
//!   file N BLOCK COUNT    so many blocks of a package from one on, with zeros behind its end
//!   zero COUNT            blocks of zeros
//!   image COUNT           blocks as they are in the image
//!   hex DIGITS            one block, without the zeros at its end
//! ```
//!
//! The volume is that of [`FatHost`] for [`MAX_SIZE`] bytes.

use alloc::{format, string::String, vec, vec::Vec};

use super::FatHost;
use crate::{
    fat::Image,
    scsi::BLOCK,
    sparse::{Base, Sparse},
};

/// The largest package of the volume that traces are of, in bytes.
pub const MAX_SIZE: u32 = 1 << 20;

/// Seed and length, in bytes, of the packages that are recorded.
pub const PACKAGES: [(u64, usize); 2] = [(21, 300_001), (22, 200_100)];

/// First bytes of a log.
const MAGIC: u64 = 0x006a_7366_7773_6872;

/// Flag of an entry in a log: blocks are thrown away, and there is no data.
const DISCARD: u64 = 4;

/// Bytes that look like nothing: no two blocks of them are the same, whatever the seeds, and none is all 0.
#[must_use]
pub fn package(seed: u64, length: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let words = (0..length.div_ceil(8)).flat_map(|_| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    });
    words.take(length).collect()
}

/// What a host wrote.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Trace {
    /// The packages that it copied, each as a whole.
    pub files: Vec<Vec<u8>>,
    /// The first block of each WRITE, and what was written.
    pub writes: Vec<(u64, Vec<u8>)>,
}

impl Trace {
    /// Reads the text.
    ///
    /// # Errors
    /// The line that is none.
    pub fn parse(text: &str) -> Result<Self, String> {
        let host = FatHost::new(MAX_SIZE).ok_or("no volume")?;
        let mut trace = Self::default();
        for line in text.lines().filter(|line| !line.starts_with('#')) {
            trace.take(host.store.base(), line).ok_or_else(|| format!("not of a trace: {line}"))?;
        }
        Ok(trace)
    }

    fn take(&mut self, image: &Image, line: &str) -> Option<()> {
        let words: Vec<&str> = line.split_whitespace().collect();
        let number = |at: usize| words.get(at)?.parse::<usize>().ok();
        match (line.starts_with(' '), *words.first()?) {
            (false, "file") if number(1) == Some(self.files.len()) => {
                self.files.push(package(number(2)? as u64, number(3)?));
            }
            (false, "write") => self.writes.push((number(1)? as u64, Vec::new())),
            (true, kind) => {
                let (lba, data) = self.writes.last_mut()?;
                let begin = data.len();
                match kind {
                    "file" => {
                        let (file, count) = (self.files.get(number(1)?)?, number(3)? * BLOCK);
                        let rest = file.get(number(2)? * BLOCK..)?;
                        data.extend(&rest[..rest.len().min(count)]);
                        data.resize(begin + count, 0);
                    }
                    "zero" => data.resize(begin + number(1)? * BLOCK, 0),
                    "image" => {
                        data.resize(begin + number(1)? * BLOCK, 0);
                        let blocks = data[begin..].chunks_exact_mut(BLOCK);
                        let first = *lba + (begin / BLOCK) as u64;
                        (first..).zip(blocks).for_each(|(lba, block)| image.block(lba, block));
                    }
                    "hex" => {
                        let digits =
                            words.get(1).filter(|digits| digits.len() % 2 == 0)?.as_bytes().chunks(2);
                        for pair in digits {
                            data.push(u8::from_str_radix(core::str::from_utf8(pair).ok()?, 16).ok()?);
                        }
                        data.resize(begin + BLOCK, 0);
                    }
                    _ => return None,
                }
            }
            _ => return None,
        }
        Some(())
    }

    /// Reads what QEMU's `blklogwrites` wrote, in the format of Linux's dm-log-writes, with sectors of 512 bytes: a sector with the magic number, a version, the number of
    /// entries (which QEMU writes at the end: 0 if it never came to that) and the size of a sector; then for each entry a sector with where, how many
    /// sectors, flags and the length of a mark, 8 bytes each, and what was written. The files are [`PACKAGES`].
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn from_log(log: &[u8]) -> Result<Self, String> {
        let number = |at: usize| {
            let bytes = log.get(at..at + 8).and_then(|bytes| bytes.try_into().ok());
            bytes.map(u64::from_le_bytes).ok_or("the log is cut off")
        };
        if number(0)? != MAGIC || number(24)? as u32 as usize != BLOCK {
            return Err("not a log of sectors of 512 bytes".into());
        }
        let count = Some(number(16)?).filter(|count| *count > 0);
        let files = PACKAGES.iter().map(|(seed, length)| package(*seed, *length)).collect();
        let mut trace = Self { files, writes: Vec::new() };
        let (mut at, mut entries) = (BLOCK, 0);
        while count.map_or(at < log.len(), |count| entries < count) {
            let (lba, sectors, flags) = (number(at)?, number(at + 8)?, number(at + 16)?);
            at += BLOCK;
            entries += 1;
            if sectors > 0 && flags & DISCARD == 0 {
                let length = usize::try_from(sectors).ok().and_then(|sectors| sectors.checked_mul(BLOCK));
                let end = length.and_then(|length| at.checked_add(length)).ok_or("no such length")?;
                trace.writes.push((lba, log.get(at..end).ok_or("the log is cut off")?.to_vec()));
                at = end;
            }
        }
        Ok(trace)
    }

    /// The text, with these lines for readers at its head. Its packages have to be [`PACKAGES`]; behind the last that was written none is named.
    ///
    /// # Errors
    /// There is no memory for the image.
    pub fn to_text(&self, head: &[String]) -> Result<String, String> {
        let host = FatHost::new(MAX_SIZE).ok_or("no volume")?;
        let (mut body, mut files) = (String::new(), 0);
        for (lba, data) in &self.writes {
            body += &format!("write {lba}\n");
            let blocks: Vec<Kind> = (*lba..)
                .zip(data.chunks(BLOCK))
                .map(|(lba, block)| self.kind(&host.store, lba, block))
                .collect();
            let mut at = 0;
            while let Some(kind) = blocks.get(at) {
                let count =
                    blocks[at..].iter().zip(0..).take_while(|(next, n)| kind.goes_on(next, *n)).count();
                body += &match kind {
                    Kind::File(file, block) => {
                        files = files.max(file + 1);
                        format!("  file {file} {block} {count}\n")
                    }
                    Kind::Zero => format!("  zero {count}\n"),
                    Kind::Image => format!("  image {count}\n"),
                    Kind::Other(digits) => format!("  hex {digits}\n"),
                };
                at += count;
            }
        }
        let mut text: String = head.iter().map(|line| format!("# {line}\n")).collect();
        for (number, (seed, length)) in PACKAGES.iter().enumerate().take(files) {
            text += &format!("file {number} {seed} {length}\n");
        }
        Ok(text + &body)
    }

    /// How a block is written down.
    fn kind(&self, image: &Sparse<Image>, lba: u64, block: &[u8]) -> Kind {
        for (number, file) in self.files.iter().enumerate() {
            let is_it =
                |own: &[u8]| block.starts_with(own) && block[own.len()..].iter().all(|byte| *byte == 0);
            if let Some(at) = file.chunks(BLOCK).position(is_it) {
                return Kind::File(number, at);
            }
        }
        if block.iter().all(|byte| *byte == 0) {
            return Kind::Zero;
        }
        let mut own = vec![0; block.len()];
        image.base().block(lba, &mut own);
        if own == block {
            return Kind::Image;
        }
        let length = block.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
        Kind::Other(block[..length].iter().map(|byte| format!("{byte:02x}")).collect())
    }
}

/// What is in a block.
enum Kind {
    /// A block of a package.
    File(usize, usize),
    Zero,
    Image,
    Other(String),
}

impl Kind {
    /// Whether the `n`th block from here on belongs to the same line.
    fn goes_on(&self, next: &Self, n: usize) -> bool {
        match (self, next) {
            (Self::File(file, block), Self::File(other, at)) => file == other && block + n == *at,
            (Self::Zero, Self::Zero) | (Self::Image, Self::Image) => true,
            (Self::Other(_), Self::Other(_)) => n == 0,
            _ => false,
        }
    }
}
