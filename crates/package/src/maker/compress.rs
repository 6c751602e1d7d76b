//! Compressing chunks.

use std::io;
use std::panic;
use std::thread;
use std::vec::Vec;

use super::MakeError;
use crate::zstd::Decoder;

/// Most threads that compress. Each portion of chunks is in memory, so their number is bounded.
const MAX_THREADS: usize = 8;
/// Chunks of a portion for each thread: enough that starting the thread is nothing beside the work.
const CHUNKS_PER_THREAD: usize = 8;

/// Compresses chunks at one level, or none at all; on all processors, since at high levels this takes nearly all
/// the time of packing. What comes out does not depend on their number.
pub(super) struct Compressor(Vec<Worker>);

/// What one thread compresses with.
struct Worker {
    compressor: zstd::bulk::Compressor<'static>,
    decoder: Decoder,
}

impl Compressor {
    pub(super) fn new(level: Option<i32>) -> Result<Self, MakeError> {
        let Some(level) = level else { return Ok(Self(Vec::new())) };
        if !zstd::compression_level_range().contains(&level) {
            return Err(MakeError::Compression(io::ErrorKind::InvalidInput.into()));
        }
        let threads = thread::available_parallelism().map_or(1, usize::from).min(MAX_THREADS);
        let workers = (0..threads).map(|_| {
            let compressor = zstd::bulk::Compressor::new(level).map_err(MakeError::Compression)?;
            Ok(Worker { compressor, decoder: Decoder::default() })
        });
        workers.collect::<Result<_, _>>().map(Self)
    }

    /// How many chunks are best given at a time; one if nothing is compressed.
    pub(super) fn portion(&self) -> usize {
        (self.0.len() * CHUNKS_PER_THREAD).max(1)
    }

    /// Each chunk as a frame that the reader decodes to it, if that saves at least a tenth.
    pub(super) fn compress(&mut self, chunks: &[Vec<u8>]) -> Result<Vec<Option<Vec<u8>>>, MakeError> {
        self.on_all(chunks, |worker, chunk| {
            let frame = worker.compressor.compress(chunk)?;
            if frame.len() > chunk.len() / 10 * 9 {
                return Ok(None);
            }
            // A chunk has at most 128 KiB.
            let read = worker.decoder.decode(&frame, chunk.len() as u32);
            Ok((read.as_deref() == Some(&chunk[..])).then_some(frame))
        })
    }

    /// The frames once more of those chunks that were compressed: the same bytes give the same frame.
    pub(super) fn repeat(&mut self, chunks: &[(bool, Vec<u8>)]) -> Result<Vec<Option<Vec<u8>>>, MakeError> {
        self.on_all(chunks, |worker, (compressed, chunk)| {
            compressed.then(|| worker.compressor.compress(chunk)).transpose()
        })
    }

    /// Does `work` for every chunk; gives the results in the order of the chunks, each `None` if there is nothing to
    /// compress with.
    fn on_all<T: Sync>(
        &mut self,
        chunks: &[T],
        work: impl Fn(&mut Worker, &T) -> io::Result<Option<Vec<u8>>> + Sync,
    ) -> Result<Vec<Option<Vec<u8>>>, MakeError> {
        if self.0.is_empty() {
            return Ok(chunks.iter().map(|_| None).collect());
        }
        let share = chunks.len().div_ceil(self.0.len()).max(1);
        let work = &work;
        thread::scope(|scope| {
            let parts = self.0.iter_mut().zip(chunks.chunks(share));
            let threads: Vec<_> = parts
                .map(|(worker, part)| {
                    scope.spawn(move || part.iter().map(|chunk| work(worker, chunk)).collect::<Vec<_>>())
                })
                .collect();
            threads
                .into_iter()
                .flat_map(|thread| thread.join().unwrap_or_else(|why| panic::resume_unwind(why)))
                .collect::<io::Result<_>>()
        })
        .map_err(MakeError::Compression)
    }
}
