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
        let announced = self.decoder.content_size();
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
        // A length in the frame's header is optional; 0 stands for none.
        if self.source.left() > 0 || (announced != 0 && announced != length) {
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
