//! The media that the host finds in the disk (docs/spec/volume-raw.md), whoever shows them.

use std::{fmt::Write as _, time::Duration};

use inband_volume::{
    scsi::{BLOCK, Fault},
    sparse::{Base, PAGE},
};

use crate::memory::{self, Available};

/// Bytes that a host may write beyond the largest package.
pub(super) const SPARE: u64 = 8 << 20;

/// What stands in the first block while nobody has written there; behind it there are zeros.
#[derive(Debug)]
pub(super) struct Text(Box<[u8; BLOCK]>);

/// A key and its value.
pub(super) type Line = (&'static str, String);

impl Text {
    /// Lines of KEY=VALUE, filled up with spaces.
    pub(super) fn new(lines: &[Line]) -> Self {
        let mut text = String::new();
        for (key, value) in lines {
            // A String takes everything.
            let _ = write!(text, "{key}={value}\r\n");
        }
        let mut block = Box::new([b' '; BLOCK]);
        let length = text.len().min(BLOCK);
        block[..length].copy_from_slice(&text.as_bytes()[..length]);
        block[BLOCK - 2..].copy_from_slice(b"\r\n");
        Self(block)
    }
}

impl Base for Text {
    fn block(&self, lba: u64, block: &mut [u8]) {
        block.fill(0);
        if lba == 0 {
            block.copy_from_slice(&*self.0);
        }
    }
}

/// What stands on a medium from the first block on, up to the first that nobody wrote: whole blocks, 16 KiB at most at a time.
pub type Pages = Box<dyn Iterator<Item = Vec<u8>> + Send>;

/// What the host has ejected.
pub(super) enum Ejected {
    /// A medium that nothing was written to.
    Untouched,
    /// One with something on it. Nobody else has it any more.
    Written(Pages),
    /// What told of the end of a session.
    Verdict,
}

/// Bytes of a medium, and of the memory for it, that holds a package of so many bytes and more.
///
/// # Errors
/// There is not the memory for one: bytes that there are, and that there have to be.
pub(super) fn room(max_package: u64, available: &Available) -> Result<u64, (u64, u64)> {
    let room = max_package.saturating_add(SPARE).next_multiple_of(PAGE as u64);
    let there = memory::or_none(available());
    if there < room { Err((there, room)) } else { Ok(room) }
}

/// Where media are put in.
pub(super) trait Media {
    /// Puts a medium in that waits for a package, unless it is [shut](Self::set_shut); until somebody writes there it has this text. What was there
    /// is gone.
    ///
    /// # Errors
    /// [`Fault::NoSpace`]; there is no medium then.
    fn insert_fresh(&mut self, generation: u32, text: Text) -> Result<(), Fault>;

    /// Puts a medium in that cannot be written to.
    fn insert_verdict(&mut self, generation: u32, text: Text);

    /// Takes out what is there, with all that is on it.
    fn remove(&mut self);

    /// Whether a medium is there that nobody has written to, as far as is known.
    fn is_untouched(&self) -> bool;

    /// Whether what is there tells of the end of a session.
    fn has_verdict(&self) -> bool;

    /// Says whether no session may begin. Returns whether that is new.
    fn set_shut(&mut self, shut: bool) -> bool;

    /// Bytes written since this was asked last, and what the host has ejected.
    fn look(&mut self, now: Duration) -> (u64, Option<Ejected>);
}
