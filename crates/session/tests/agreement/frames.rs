//! Zstandard frames: by libzstd, by hand, and wrong ones.

use crate::draft::Chunk;
use crate::random::Random;

const MAGIC: [u8; 4] = [0x28, 0xB5, 0x2F, 0xFD];

/// A chunk that every reader takes.
pub(crate) fn good(random: &mut Random) -> Chunk {
    let content = content(random);
    let frame = match random.below(6) {
        0 => by_hand(&content, random),
        _ => compressed(&content, random),
    };
    // What was no gain, is not sent so.
    if frame.len() < content.len() { Chunk::zstd(&content, frame) } else { Chunk::plain(content) }
}

/// A chunk that may be wrong, or only strange.
pub(crate) fn strange(random: &mut Random) -> Chunk {
    let content = content(random);
    let good = compressed(&content, random);
    let header = header_length(&good);
    let mut frame = good.clone();
    match random.below(24) {
        // A bit of the header's descriptor: checksum, dictionary, window, reserved ones.
        0 => frame[4] ^= 1 << random.below(8),
        // The form with a window.
        1 => {
            frame =
                [&MAGIC[..], &[0x80, 0x38], &(content.len() as u32).to_le_bytes(), &good[header..]].concat();
        }
        // Another content size.
        2 => {
            let at = random.within(5, header - 1);
            frame[at] ^= 1 << random.below(8);
        }
        3 => frame.push(random.next() as u8),
        4 => frame.extend(&good),
        5 => frame = [&[0x50, 0x2A, 0x4D, 0x18, 0, 0, 0, 0], &good[..]].concat(),
        6 => frame.extend([0x5F, 0x2A, 0x4D, 0x18, 1, 0, 0, 0, 9]),
        7 => frame.truncate(random.below(good.len())),
        8 => frame = blocks(&content, random, 3),
        9 => frame = blocks(&content, random, 4),
        _ => return mutated(good, content.len(), random),
    }
    Chunk::zstd(&content, frame)
}

/// A frame with bits flipped behind its header. If libzstd decodes it nonetheless, the chunk is what came out; else
/// no reader has the content that the chunk is said to be.
fn mutated(mut frame: Vec<u8>, length: usize, random: &mut Random) -> Chunk {
    let header = header_length(&frame);
    for _ in 0..random.within(1, 2) {
        random.flip(&mut frame[header..]);
    }
    let content = zstd::bulk::decompress(&frame, length).unwrap_or_default();
    Chunk::zstd(if content.len() == length { &content } else { &[0xA5; 131_072][..length] }, frame)
}

/// Text that repeats itself, runs, and noise.
fn content(random: &mut Random) -> Vec<u8> {
    let most = match random.below(40) {
        0 => 131_072,
        1..4 => 20_000,
        _ => 1500,
    };
    let length = random.within(30, most);
    let mut out = Vec::new();
    while out.len() < length {
        match random.below(4) {
            0 => out.extend([random.next() as u8].repeat(random.within(1, length))),
            1 => {
                let noise = random.within(1, 40);
                out.extend(random.bytes(noise));
            }
            2 if !out.is_empty() => {
                let start = random.below(out.len());
                let end = random.within(start, out.len() - 1) + 1;
                out.extend_from_within(start..end);
            }
            _ => {
                let words = ["kernel ", "rofs ", "u-boot\n", "the quick brown fox ", "0x1e620000;"];
                (0..random.within(1, 30)).for_each(|_| out.extend(random.pick(&words).as_bytes()));
            }
        }
    }
    out.truncate(length);
    out
}

fn compressed(content: &[u8], random: &mut Random) -> Vec<u8> {
    zstd::bulk::compress(content, *random.pick(&[1, 3, 9, 19])).unwrap()
}

/// Bytes of the frame's header.
fn header_length(frame: &[u8]) -> usize {
    5 + [1, 2, 4, 8][usize::from(frame[4] >> 6)]
}

/// Raw and RLE blocks, with the content's length in a field of any size that holds it.
fn by_hand(content: &[u8], random: &mut Random) -> Vec<u8> {
    blocks(content, random, 2)
}

/// The same with this many types of block to choose from: the third is not for contents like these, the fourth is
/// reserved.
fn blocks(content: &[u8], random: &mut Random, types: usize) -> Vec<u8> {
    let length = content.len() as u64;
    let mut frame = MAGIC.to_vec();
    match random.below(4) {
        0 if length < 256 => frame.extend([0x20, length as u8]),
        0 | 1 if (256..65_792).contains(&length) => {
            frame.push(0x60);
            frame.extend((length as u16).wrapping_sub(256).to_le_bytes());
        }
        2 => {
            frame.push(0xE0);
            frame.extend(length.to_le_bytes());
        }
        _ => {
            frame.push(0xA0);
            frame.extend((length as u32).to_le_bytes());
        }
    }
    let mut rest = content;
    while !rest.is_empty() {
        let run = rest.iter().take_while(|byte| **byte == rest[0]).count();
        let (kind, taken) = if run > 4 {
            (1, run)
        } else {
            (0, random.below(rest.len()).min(300) + usize::from(!random.once_in(8)))
        };
        let taken = taken.min(rest.len());
        let last = u32::from(taken == rest.len());
        let kind = if types > 2 && random.once_in(3) { types as u32 - 1 } else { kind };
        frame.extend(&(last | kind << 1 | (taken as u32) << 3).to_le_bytes()[..3]);
        frame.extend(if kind == 1 { &rest[..1] } else { &rest[..taken] });
        rest = &rest[taken..];
    }
    frame
}
