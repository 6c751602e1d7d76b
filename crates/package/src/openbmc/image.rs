//! The bytes of an image as they will lie in flash, piece by piece.

use alloc::boxed::Box;
use alloc::vec;

use ruzstd::decoding::{BlockDecodingStrategy, FrameDecoder};
use ruzstd::io::{Error as IoError, ErrorKind, Read};

use super::intake::{Error, Extent};
use super::profile::{Encoding, Place};
use super::stage::{Stage, StageError};
use crate::index::MAX_CHUNK_LENGTH;
use crate::refusal::Refusal;

/// Bytes of a piece, and of a chunk in the index; the last one may be shorter.
pub(super) const PIECE: usize = MAX_CHUNK_LENGTH as usize;

/// Largest window of a Zstandard frame, bytes: that of zstd(1) up to level 19.
pub const MAX_WINDOW: u64 = 8 << 20;

/// Offset of Frame_Header_Descriptor (RFC 8878, 3.1.1.1.1) in a frame.
const DESCRIPTOR: usize = 4;
/// Reserved_Bit.
const RESERVED: u8 = 0x08;
/// Frame_Content_Size_Flag and Single_Segment_Flag: either means that the content's length is there.
const HAS_LENGTH: u8 = 0xE0;

/// Bytes read from the stage at a time.
const READ: usize = 16 * 1024;

/// Calls `each` with offset and bytes of every piece of an image.
///
/// # Errors
/// Those of `each`; [`Refusal::BadEncoding`] and [`Refusal::TooLarge`]; those of the stage.
pub(super) fn pieces<E: From<Error>>(
    stage: &dyn Stage,
    extent: Extent,
    place: &Place,
    mut each: impl FnMut(u64, &[u8]) -> Result<(), E>,
) -> Result<(), E> {
    match place.encoding {
        Encoding::Raw => {
            let mut piece = vec![0; PIECE];
            let mut at = 0;
            while at < extent.length {
                let left = usize::try_from(extent.length - at).unwrap_or(PIECE);
                let piece = &mut piece[..left.min(PIECE)];
                stage.read_at(extent.offset + at, piece).map_err(Error::from).map_err(E::from)?;
                each(at, piece)?;
                at += piece.len() as u64;
            }
            Ok(())
        }
        Encoding::Zstd => Frame::new(stage, extent, place).pieces(each),
    }
}

/// An image that is one Zstandard frame.
struct Frame<'a> {
    place: &'a Place,
    source: Source<'a>,
    decoder: FrameDecoder,
}

impl<'a> Frame<'a> {
    fn new(stage: &'a dyn Stage, extent: Extent, place: &'a Place) -> Self {
        let mut decoder = FrameDecoder::new();
        decoder.set_max_window_size(MAX_WINDOW);
        let buffer = vec![0; READ].into_boxed_slice();
        let source = Source { stage, extent, buffer, start: 0, end: 0, failed: None };
        Self { place, source, decoder }
    }

    fn pieces<E: From<Error>>(mut self, mut each: impl FnMut(u64, &[u8]) -> Result<(), E>) -> Result<(), E> {
        let mut piece = vec![0; PIECE];
        let (mut at, mut filled) = (0_u64, 0);
        if self.decoder.reset(&mut self.source).is_err() {
            return Err(self.bad(at).into());
        }
        // The header has been read, and it is no longer than what is read at a time. The decoder looks over a bit that must not
        // be set, and calls a length that is not there 0.
        let descriptor = self.source.buffer[DESCRIPTOR];
        if descriptor & RESERVED != 0 {
            return Err(self.bad(at).into());
        }
        let announced = (descriptor & HAS_LENGTH != 0).then(|| self.decoder.content_size());
        loop {
            // One block at a time, so that the decoder never holds more than a window and a block.
            let last = match self.decoder.is_finished() {
                true => true,
                false => {
                    let strategy = BlockDecodingStrategy::UptoBlocks(1);
                    self.decoder.decode_blocks(&mut self.source, strategy).map_err(|_| self.bad(at))?
                }
            };
            while self.decoder.can_collect() > 0 {
                let taken = self.decoder.read(&mut piece[filled..]).map_err(|_| self.bad(at))?;
                if taken == 0 {
                    return Err(self.bad(at).into());
                }
                filled += taken;
                let length = at + filled as u64;
                if length > self.place.length {
                    let member = Some(self.place.file.name().into());
                    return Err(
                        Error::from(Refusal::TooLarge { member, length, limit: self.place.length }).into()
                    );
                }
                if filled == PIECE {
                    each(at, &piece)?;
                    at = length;
                    filled = 0;
                }
            }
            if last {
                break;
            }
        }
        let length = at + filled as u64;
        if self.source.left() > 0 || announced.is_some_and(|announced| announced != length) {
            return Err(self.bad(at).into());
        }
        if filled > 0 {
            each(at, &piece[..filled])?;
        }
        Ok(())
    }

    /// Why the frame cannot be decoded: it is none, or it cannot be read.
    fn bad(&mut self, offset: u64) -> Error {
        match self.source.failed.take() {
            Some(failed) => failed.into(),
            None => Refusal::BadEncoding { member: self.place.file.name().into(), offset }.into(),
        }
    }
}

/// Reads a member from the stage.
struct Source<'a> {
    stage: &'a dyn Stage,
    /// What is not in the buffer yet.
    extent: Extent,
    buffer: Box<[u8]>,
    /// Where in the buffer stands what was not read.
    start: usize,
    end: usize,
    failed: Option<StageError>,
}

impl Source<'_> {
    /// Bytes that were not read.
    const fn left(&self) -> u64 {
        self.extent.length + (self.end - self.start) as u64
    }
}

impl Read for Source<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> Result<usize, IoError> {
        if self.start == self.end {
            let length = usize::try_from(self.extent.length).unwrap_or(READ).min(READ);
            if let Err(error) = self.stage.read_at(self.extent.offset, &mut self.buffer[..length]) {
                self.failed = Some(error);
                return Err(IoError::from(ErrorKind::Other));
            }
            self.extent.offset += length as u64;
            self.extent.length -= length as u64;
            (self.start, self.end) = (0, length);
        }
        let length = buffer.len().min(self.end - self.start);
        buffer[..length].copy_from_slice(&self.buffer[self.start..self.start + length]);
        self.start += length;
        Ok(length)
    }
}

#[cfg(test)]
mod tests {
    use alloc::vec::Vec;

    use super::super::member::File;
    use super::super::stage::Buffer;
    use super::*;

    /// The length that a frame decodes to.
    fn decoded(frame: &[u8]) -> Result<usize, Error> {
        let mut stage = Buffer::new(1 << 20);
        stage.append(frame)?;
        stage.seal()?;
        let place = Place { file: File::Rofs, length: 1 << 20, encoding: Encoding::Zstd };
        let mut length = 0;
        let extent = Extent { offset: 0, length: frame.len() as u64 };
        pieces(&stage, extent, &place, |_, piece| {
            length += piece.len();
            Ok::<_, Error>(())
        })?;
        Ok(length)
    }

    /// A frame of a thousand bytes with this descriptor and what follows it.
    fn frame(header: &[u8]) -> Vec<u8> {
        let block = (1_u32 | 1 << 1 | 1000 << 3).to_le_bytes();
        [&[0x28, 0xB5, 0x2F, 0xFD], header, &block[..3], &[0xA5]].concat()
    }

    #[test]
    fn a_length_in_a_frame_is_right_or_not_there() {
        assert_eq!(decoded(&frame(&[0x00, 0x38])), Ok(1000));
        assert_eq!(decoded(&frame(&[0x80, 0x38, 0xE8, 3, 0, 0])), Ok(1000));
        for wrong in [
            &[0x80, 0x38, 0, 0, 0, 0][..],
            &[0x80, 0x38, 0xE7, 3, 0, 0],
            &[0xC0, 0x38, 0, 0, 0, 0, 0, 0, 0, 0],
            &[0x20, 0],
        ] {
            assert!(decoded(&frame(wrong)).is_err(), "{wrong:x?}");
        }
        assert!(decoded(&frame(&[0x08, 0x38])).is_err(), "the reserved bit");
    }
}
