//! The host's look at a whole disk: every block has contents of its own, written past the page cache (O_DIRECT) and compared.
//!
//! ```text
//! blocks write|read DEVICE SEED               from the first block to the last
//! blocks write|read DEVICE SEED random        in pieces of 1 to 240 blocks, in no order
//! blocks scribble DEVICE SEED SECONDS FIRST END
//!                                             nonsense, a block or a few at a time, anywhere from block FIRST to END, for so long, on whatever is in
//!                                             the drive then
//! ```

use std::{
    env,
    error::Error,
    fs::{File, OpenOptions},
    io::{self, Seek as _, SeekFrom},
    ops::Range,
    os::unix::fs::{FileExt as _, OpenOptionsExt as _},
    thread,
    time::{Duration, Instant},
};

use rustix::fs::OFlags;

const BLOCK: usize = 512;
/// Blocks of the longest command that Linux sends to a disk at high speed.
const LONGEST: u64 = 240;
/// What O_DIRECT wants buffers to begin at a multiple of.
const ALIGNED: usize = 4096;

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let (write, device, seed, shuffled) = match arguments[..] {
        ["write", device, seed] => (true, device, seed.parse()?, false),
        ["write", device, seed, "random"] => (true, device, seed.parse()?, true),
        ["read", device, seed] => (false, device, seed.parse()?, false),
        ["read", device, seed, "random"] => (false, device, seed.parse()?, true),
        ["scribble", device, seed, seconds, first, end] => {
            let time = Duration::from_secs_f64(seconds.parse()?);
            scribble(device, &mut Random(seed.parse()?), time, first.parse()?..end.parse()?);
            return Ok(());
        }
        _ => {
            return Err(
                "usage: blocks write|read DEVICE SEED [random] | scribble DEVICE SEED SECONDS LAST".into()
            );
        }
    };
    let mut disk = open(device, write)?;
    let blocks = disk.seek(SeekFrom::End(0))? / BLOCK as u64;
    let mut random = Random(seed);
    let mut memory = vec![0; ALIGNED + LONGEST as usize * BLOCK];
    let start = memory.as_ptr().align_offset(ALIGNED);
    let mut expected = vec![0; LONGEST as usize * BLOCK];
    let mut pieces = pieces(blocks, shuffled, &mut random);
    if shuffled {
        for last in (1..pieces.len()).rev() {
            pieces.swap(last, random.below(last as u64 + 1) as usize);
        }
    }
    for piece in &pieces {
        let length = (piece.end - piece.start) as usize * BLOCK;
        let offset = piece.start * BLOCK as u64;
        let buffer = &mut memory[start..start + length];
        if write {
            fill(buffer, seed, piece.start);
            disk.write_all_at(buffer, offset)?;
        } else {
            let expected = &mut expected[..length];
            fill(expected, seed, piece.start);
            disk.read_exact_at(buffer, offset)?;
            let mut pairs = buffer.chunks(BLOCK).zip(expected.chunks(BLOCK));
            if let Some(wrong) = pairs.position(|(read, wanted)| read != wanted) {
                return Err(format!("block {} is not as it was written", piece.start + wrong as u64).into());
            }
        }
    }
    println!("{blocks} blocks in {} pieces", pieces.len());
    Ok(())
}

fn open(device: &str, write: bool) -> io::Result<File> {
    let flags = OFlags::DIRECT.bits().cast_signed();
    OpenOptions::new().read(true).write(write).custom_flags(flags).open(device)
}

/// Prints how many writes were taken, and how many were not.
fn scribble(device: &str, random: &mut Random, time: Duration, area: Range<u64>) {
    const MOST: u64 = 4;
    /// Others want to come to it, too; and what is refused is refused for a while.
    const SHORT: Duration = Duration::from_millis(1);
    const LONG: Duration = Duration::from_millis(10);
    let mut memory = vec![0; ALIGNED + MOST as usize * BLOCK];
    let start = memory.as_ptr().align_offset(ALIGNED);
    let (mut taken, mut refused) = (0, 0);
    let until = Instant::now() + time;
    while Instant::now() < until {
        let lba = area.start + random.below(area.end - area.start);
        let blocks = (random.below(MOST) + 1).min(area.end - lba);
        let buffer = &mut memory[start..start + blocks as usize * BLOCK];
        fill(buffer, random.next(), lba);
        // Opened each time: by what was opened before the medium changed nothing can be written.
        if open(device, true).and_then(|disk| disk.write_all_at(buffer, lba * BLOCK as u64)).is_ok() {
            taken += 1;
            thread::sleep(SHORT);
        } else {
            refused += 1;
            thread::sleep(LONG);
        }
    }
    println!("{taken} taken, {refused} refused");
}

/// All blocks, cut into pieces, in order.
fn pieces(blocks: u64, uneven: bool, random: &mut Random) -> Vec<Range<u64>> {
    let mut pieces = Vec::new();
    let mut next = 0;
    while next < blocks {
        let length = if uneven { random.below(LONGEST) + 1 } else { LONGEST };
        let end = blocks.min(next + length);
        pieces.push(next..end);
        next = end;
    }
    pieces
}

/// What the blocks from `lba` on hold.
fn fill(blocks: &mut [u8], seed: u64, lba: u64) {
    for (lba, block) in (lba..).zip(blocks.chunks_exact_mut(BLOCK)) {
        let mut random = Random(seed ^ lba << 20);
        for word in block.chunks_exact_mut(8) {
            word.copy_from_slice(&random.next().to_le_bytes());
        }
    }
}

/// SplitMix64 (Steele, Lea, Flood 2014).
struct Random(u64);

impl Random {
    const fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ self.0 >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ mixed >> 31
    }

    const fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }
}
