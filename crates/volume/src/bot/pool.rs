//! The buffers of the data phase.

use alloc::vec::Vec;

use super::action::Limits;

/// Buffers that are at home, and how many there are.
#[derive(Debug)]
pub(super) struct Pool {
    limits: Limits,
    home: Vec<Vec<u8>>,
    made: usize,
}

impl Pool {
    pub(super) const fn new(limits: Limits) -> Self {
        Self { limits, home: Vec::new(), made: 0 }
    }

    /// Bytes of a buffer, at most.
    pub(super) const fn piece(&self) -> usize {
        self.limits.piece
    }

    /// A buffer of this length, at most a piece, if one is at home or may be made. What is in it does not matter.
    pub(super) fn take(&mut self, length: usize) -> Option<Vec<u8>> {
        let mut buffer = match self.home.pop() {
            Some(buffer) => buffer,
            None if self.made < self.limits.buffers => {
                self.made += 1;
                Vec::with_capacity(self.limits.piece)
            }
            None => return None,
        };
        buffer.resize(length, 0);
        Some(buffer)
    }

    /// One that [`take`](Self::take) gave comes home.
    pub(super) fn put(&mut self, buffer: Vec<u8>) {
        self.home.push(buffer);
    }
}
