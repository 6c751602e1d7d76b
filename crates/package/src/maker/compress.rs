//! Compressing chunks.

use std::io;
use std::vec::Vec;

use super::MakeError;
use crate::zstd::Decoder;

/// Compresses chunks at one level, or none at all.
pub(super) struct Compressor(Option<(zstd::bulk::Compressor<'static>, Decoder)>);

impl Compressor {
    pub(super) fn new(level: Option<i32>) -> Result<Self, MakeError> {
        let make = |level| {
            let valid = zstd::compression_level_range().contains(&level);
            let level =
                valid.then_some(level).ok_or(MakeError::Compression(io::ErrorKind::InvalidInput.into()))?;
            zstd::bulk::Compressor::new(level).map_err(MakeError::Compression)
        };
        Ok(Self(level.map(make).transpose()?.map(|compressor| (compressor, Decoder::default()))))
    }

    /// The chunk as a frame that the reader decodes to it, if that saves at least a tenth.
    pub(super) fn compress(&mut self, chunk: &[u8]) -> Result<Option<Vec<u8>>, MakeError> {
        let Some((compressor, decoder)) = &mut self.0 else { return Ok(None) };
        let frame = compressor.compress(chunk).map_err(MakeError::Compression)?;
        if frame.len() > chunk.len() / 10 * 9 {
            return Ok(None);
        }
        // A chunk has at most 128 KiB.
        let read = decoder.decode(&frame, chunk.len() as u32);
        Ok((read.as_deref() == Some(chunk)).then_some(frame))
    }
}
