//! Where the members of a tar wait until all of it is there.

use alloc::boxed::Box;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;

/// Memory that only we can read and write, for one tar: filled, then sealed, then read.
///
/// The calls come in this order: [`append`](Self::append) any number of times, [`seal`](Self::seal) once,
/// [`read_at`](Self::read_at) any number of times. It may be dropped at any point.
pub trait Stage: Send + fmt::Debug {
    /// Puts bytes behind those that are there.
    ///
    /// # Errors
    /// There is no room for them, or the memory fails.
    fn append(&mut self, bytes: &[u8]) -> Result<(), StageError>;

    /// From here on nothing changes what is there, whatever happens in this process.
    ///
    /// # Errors
    /// That cannot be guaranteed.
    fn seal(&mut self) -> Result<(), StageError>;

    /// Reads all of `buffer`, from `offset` bytes on.
    ///
    /// # Errors
    /// There are fewer bytes, or the memory fails.
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> Result<(), StageError>;
}

/// What gives a new [`Stage`] to every tar.
pub trait Staging: Send + fmt::Debug {
    /// A stage for at most `most` bytes, taken only if there is memory for that many and for `margin` bytes more.
    ///
    /// # Errors
    /// [`StageError::NoSpace`] before any memory is taken, or the memory fails.
    fn open(&self, most: u64, margin: u64) -> Result<Box<dyn Stage>, StageError>;
}

/// Why a stage cannot be had or used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StageError {
    /// There is too little memory.
    #[error("no memory to hold the tar: {needed} bytes are needed, {available} are available")]
    NoSpace {
        /// Bytes needed.
        needed: u64,
        /// Bytes available.
        available: u64,
    },
    /// The system's error, as a text.
    #[error("the memory that holds the tar: {0}")]
    Failed(String),
}

/// A stage in plain memory, for tests: sealing is a promise of its own code only.
#[derive(Debug)]
pub struct Buffer {
    bytes: Vec<u8>,
    most: u64,
    sealed: bool,
}

impl Buffer {
    /// A stage for `most` bytes.
    #[must_use]
    pub const fn new(most: u64) -> Self {
        Self { bytes: Vec::new(), most, sealed: false }
    }
}

impl Stage for Buffer {
    fn append(&mut self, bytes: &[u8]) -> Result<(), StageError> {
        if self.sealed {
            return Err(StageError::Failed(String::from("sealed")));
        }
        let needed = self.bytes.len() as u64 + bytes.len() as u64;
        if needed > self.most {
            return Err(StageError::NoSpace { needed, available: self.most });
        }
        self.bytes.extend_from_slice(bytes);
        Ok(())
    }

    fn seal(&mut self) -> Result<(), StageError> {
        self.sealed = true;
        Ok(())
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> Result<(), StageError> {
        let from = usize::try_from(offset).ok().and_then(|from| self.bytes.get(from..));
        let there = from.and_then(|from| from.get(..buffer.len())).filter(|_| self.sealed);
        let Some(there) = there else { return Err(StageError::Failed(String::from("out of bounds"))) };
        buffer.copy_from_slice(there);
        Ok(())
    }
}

/// Gives stages in plain memory, for tests.
#[derive(Clone, Copy, Debug)]
pub struct Buffers {
    /// Bytes that are available, whatever is in use.
    pub available: u64,
}

impl Staging for Buffers {
    fn open(&self, most: u64, margin: u64) -> Result<Box<dyn Stage>, StageError> {
        let needed = most.saturating_add(margin);
        if needed > self.available {
            return Err(StageError::NoSpace { needed, available: self.available });
        }
        Ok(Box::new(Buffer::new(most)))
    }
}
