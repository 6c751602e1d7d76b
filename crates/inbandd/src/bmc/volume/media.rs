//! The media that the host finds in the disk (docs/spec/volume.md), whoever shows them.

use std::time::Duration;

use inband_volume::{
    fat::{Geometry, Image, Marker},
    scsi::Fault,
    sparse::{PAGE, Sealed},
};

use super::notice::Notice;
use crate::{
    memory::{self, Available},
    worker::Discarded,
};

/// Bytes that a host may write beyond the largest package.
pub(super) const SPARE: u64 = 8 << 20;

/// How a package lies on a medium.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Profile {
    /// In a file of a filesystem that is so large.
    Fat(Geometry),
    /// From the first block on.
    Raw,
}

/// What stands on a medium from the first block on, up to the first that nobody wrote: whole blocks, 16 KiB at most at a time.
pub type Pages = Box<dyn Iterator<Item = Vec<u8>> + Send>;

/// How a medium came out of the drive. Nobody else has what is on it any more.
pub(super) enum Out {
    /// Ejected, and nothing was written to it.
    Untouched,
    /// Ejected with something on it: a package from the first block on.
    Raw(Pages),
    /// Ejected with something on it, or by `APPLY.CMD` if a package was asked for in so many words.
    Volume { store: Box<Sealed<Image>>, asked: bool },
    /// By `CANCEL.CMD`.
    Cancelled(Discarded),
    /// Ejected, and it told of the end of a session.
    Verdict,
}

/// Bytes of memory for what is written to a medium that holds a package of so many bytes and more.
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
    /// Puts a medium in with a notice: one that waits for a package if that is [`Marker::Ready`] or [`Marker::Busy`], else one that cannot be
    /// written to. None is there, or none that was written to.
    ///
    /// # Errors
    /// [`Fault::NoSpace`], for one that waits; there is no medium then.
    fn insert(&mut self, generation: u32, notice: &Notice) -> Result<(), Fault>;

    /// Takes out what is there, and returns all that is on it, if there is much.
    fn remove(&mut self) -> Option<Discarded>;

    /// Takes a medium that was written to out of the host's hands, as if it had ejected it.
    fn take(&mut self);

    /// Whether a medium is there that nobody has written to, as far as is known.
    fn is_untouched(&self) -> bool;

    /// Whether what is there tells of the end of a session.
    fn has_verdict(&self) -> bool;

    /// Says what time it is, and whether no session may begin: then nothing may be written to what is untouched. Returns whether that is new.
    fn guard(&mut self, now: Duration, shut: bool) -> bool;

    /// Bytes written since this was asked last, once it is known that they are for a session, and how the medium came out if it did.
    fn look(&mut self, now: Duration) -> (u64, Option<Out>);
}

/// Whether such a medium waits for a package.
pub(super) const fn waits(marker: Marker) -> bool {
    match marker {
        Marker::Ready | Marker::Busy => true,
        Marker::Pass | Marker::Fail => false,
    }
}
