//! Chunks that are sent as Zstandard frames (RFC 8878).
//!
//! Every chunk is one frame of the plainest form: its content's length stands in its header and is the window,
//! without checksum and dictionary. So what a frame asks for is known before it is decoded, and is never more
//! than a chunk.

use alloc::boxed::Box;
use alloc::vec::Vec;
use core::fmt;

use ruzstd::decoding::{BlockDecodingStrategy, FrameDecoder};

/// Magic_Number (3.1.1).
const MAGIC: [u8; 4] = [0x28, 0xB5, 0x2F, 0xFD];
/// Frame_Header_Descriptor without Frame_Content_Size_Flag (3.1.1.1.1): Single_Segment_Flag and no other.
const DESCRIPTOR: u8 = 0x20;
/// The bits of Frame_Content_Size_Flag.
const CONTENT_SIZE_FLAG: u8 = 0xC0;

/// Decodes chunks, one after another, and keeps its memory in between: none before the first, then some 400 KiB.
#[derive(Default)]
pub(crate) struct Decoder(Option<Box<FrameDecoder>>);

impl Decoder {
    /// The `length` bytes that `frame` is made of; `None` if it is not one frame of exactly that many, in the
    /// form above.
    pub(crate) fn decode(&mut self, frame: &[u8], length: u32) -> Option<Vec<u8>> {
        let descriptor = frame.strip_prefix(&MAGIC)?.first()?;
        if descriptor & !CONTENT_SIZE_FLAG != DESCRIPTOR {
            return None;
        }
        let decoder = self.0.get_or_insert_with(|| Box::new(FrameDecoder::new()));
        let mut rest = frame;
        decoder.set_max_window_size(length.into());
        decoder.reset(&mut rest).ok()?;
        if decoder.content_size() != u64::from(length) {
            return None;
        }
        // One block at a time, each bounded by the window: what has come is at most twice the length when this
        // sees that it is too much. Before the last block, what exceeds the window could be collected.
        while !decoder.decode_blocks(&mut rest, BlockDecodingStrategy::UptoBlocks(1)).ok()? {
            if decoder.can_collect() > 0 {
                return None;
            }
        }
        if !rest.is_empty() || decoder.can_collect() != usize::try_from(length).ok()? {
            return None;
        }
        decoder.collect()
    }
}

impl fmt::Debug for Decoder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Decoder")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A frame's header with the length of its content in four bytes.
    fn header(descriptor: u8, content: u32) -> Vec<u8> {
        [&MAGIC[..], &[descriptor], &content.to_le_bytes()].concat()
    }

    /// A block (3.1.1.2): RLE, one byte that stands for `length`.
    fn run(last: bool, length: u32) -> Vec<u8> {
        let header = u32::from(last) | 1 << 1 | length << 3;
        [&header.to_le_bytes()[..3], &[0xA5]].concat()
    }

    fn raw(last: bool, content: &[u8]) -> Vec<u8> {
        let header = u32::from(last) | (content.len() as u32) << 3;
        [&header.to_le_bytes()[..3], content].concat()
    }

    #[test]
    fn frames_of_the_plainest_form_are_decoded() {
        let mut decoder = Decoder::default();
        for length in [1_u32, 255, 256, 1000, 131_072] {
            let frame = [header(0xA0, length), run(true, length)].concat();
            assert_eq!(decoder.decode(&frame, length), Some(alloc::vec![0xA5; length as usize]));
            let blocks = [header(0xA0, length), raw(false, &[0xA5]), run(true, length - 1)].concat();
            assert_eq!(decoder.decode(&blocks, length), Some(alloc::vec![0xA5; length as usize]));
        }
        // The length in one byte, and in two.
        let one = [&MAGIC[..], &[0x20, 5], &raw(true, b"hello")].concat();
        assert_eq!(decoder.decode(&one, 5).as_deref(), Some(&b"hello"[..]));
        let two = [&MAGIC[..], &[0x60, 44, 0], &run(true, 300)].concat();
        assert_eq!(decoder.decode(&two, 300), Some(alloc::vec![0xA5; 300]));
    }

    #[test]
    fn other_forms_are_refused_and_the_decoder_goes_on() {
        let mut decoder = Decoder::default();
        let good = [header(0xA0, 1000), run(true, 1000)].concat();
        let mut refused = |frame: &[u8], why: &str| {
            assert_eq!(decoder.decode(frame, 1000), None, "{why}");
            assert_eq!(decoder.decode(&good, 1000).map(|content| content.len()), Some(1000));
        };
        refused(&[], "nothing");
        refused(&MAGIC, "a magic alone");
        for length in 0..good.len() {
            refused(&good[..length], "cut");
        }
        refused(&[&good[..], &[0]].concat(), "a byte behind it");
        refused(&[&good[..], &good].concat(), "two frames");
        let skippable = [0x50, 0x2A, 0x4D, 0x18, 0, 0, 0, 0];
        refused(&[&skippable[..], &good].concat(), "a skippable frame before it");
        refused(&[&good[..], &skippable].concat(), "a skippable frame behind it");
        refused(&[header(0xA4, 1000), run(true, 1000), alloc::vec![0; 4]].concat(), "with a checksum");
        refused(&[header(0xA8, 1000), run(true, 1000)].concat(), "a reserved bit");
        refused(&[header(0xB0, 1000), run(true, 1000)].concat(), "an unused bit");
        let dictionary = [&MAGIC[..], &[0xA1, 1], &1000_u32.to_le_bytes(), &run(true, 1000)].concat();
        refused(&dictionary, "with a dictionary");
        for window in [0x00, 0x38, 0xA8] {
            // 1 KiB, 128 KiB, 2 GiB.
            let frame = [&MAGIC[..], &[0x80, window], &1000_u32.to_le_bytes(), &run(true, 1000)].concat();
            refused(&frame, "with a window");
        }
        for content in [0, 999, 1001, 131_072, u32::MAX] {
            refused(&[header(0xA0, content), run(true, 1000)].concat(), "another length announced");
        }
        refused(&[header(0xA0, 1000), run(true, 999)].concat(), "less than announced");
        refused(&[header(0xA0, 1000), run(true, 1001)].concat(), "more than announced");
        let bomb = run(false, 1000).repeat(10_000);
        refused(&[header(0xA0, 1000), bomb].concat(), "much more than announced");
        let bomb = run(false, 131_072).repeat(10_000);
        refused(&[header(0xA0, 1000), bomb].concat(), "blocks larger than the window");
        let reserved = [header(0xA0, 1000), alloc::vec![0x07, 0, 0]].concat();
        refused(&reserved, "a block of the reserved type");
    }
}
