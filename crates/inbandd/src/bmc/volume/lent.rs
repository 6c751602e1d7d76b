//! A disk that is somebody else's, to whom media are lent (docs/spec/volume-raw.md, 5).

use std::{mem, sync::Arc, time::Duration};

use inband_volume::{
    fat::Marker,
    scsi::{BLOCK, Fault},
};

use super::{
    media::{Media, Out, Pages, waits},
    notice::Notice,
};
use crate::worker::Discarded;

/// How often is looked what the host has done: nobody tells.
const PERIOD: Duration = Duration::from_millis(500);

/// What a host has done to the medium that was inserted last.
#[derive(Default)]
pub struct Look {
    /// Bytes that it has written in all, as far as they can be seen. It is sure of a medium that was ejected whether there are any.
    pub written: u64,
    /// What was on it when the host ejected it, told once. Nobody can write to it any more.
    pub ejected: Option<Pages>,
}

/// Who has a disk on the bus, and takes media for it. It is on the bus when the USB side has attached a descriptor set with it. What goes
/// wrong is told by the USB side.
pub trait Lender: Send + Sync {
    /// Puts a medium of so many bytes in, of which `first` is the first block and all others are zeros. None is there.
    fn insert(&self, first: &[u8; BLOCK], bytes: u64, writable: bool);

    /// Takes the medium out and drops it, whatever the host does, and though it may have to leave the bus for it. Nothing happens without one.
    fn remove(&self);

    /// Takes the medium out as if the host had ejected it, likewise.
    fn take(&self);

    /// What the host has done.
    fn look(&self) -> Look;
}

/// What is in the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Inside {
    Nothing,
    /// A medium for a package.
    Fresh,
    /// What tells of the end of a session.
    Verdict,
}

/// The media that are lent.
pub(super) struct Lent {
    lender: Arc<dyn Lender>,
    /// Bytes of a medium.
    room: u64,
    inside: Inside,
    /// No session may begin: nothing may be written.
    shut: bool,
    /// Bytes written to what is inside, of which was told.
    written: u64,
    /// When is looked again.
    due: Duration,
}

impl Lent {
    pub(super) const fn new(lender: Arc<dyn Lender>, room: u64) -> Self {
        Self { lender, room, inside: Inside::Nothing, shut: false, written: 0, due: Duration::ZERO }
    }

    pub(super) const fn poll_timeout(&self) -> Duration {
        self.due
    }
}

impl Media for Lent {
    fn insert(&mut self, _: u32, notice: &Notice) -> Result<(), Fault> {
        self.remove();
        let writable = notice.marker == Marker::Ready;
        self.lender.insert(notice.first_block().bytes(), self.room, writable);
        self.inside = if waits(notice.marker) { Inside::Fresh } else { Inside::Verdict };
        Ok(())
    }

    fn remove(&mut self) -> Option<Discarded> {
        self.lender.remove();
        self.inside = Inside::Nothing;
        self.written = 0;
        None
    }

    fn take(&mut self) {
        if self.inside == Inside::Fresh {
            self.lender.take();
            self.due = Duration::ZERO;
        }
    }

    fn is_untouched(&self) -> bool {
        self.inside == Inside::Fresh && self.written == 0
    }

    fn has_verdict(&self) -> bool {
        self.inside == Inside::Verdict
    }

    fn guard(&mut self, _: Duration, shut: bool) -> bool {
        mem::replace(&mut self.shut, shut) != shut
    }

    fn look(&mut self, now: Duration) -> (u64, Option<Out>) {
        if now < self.due {
            return (0, None);
        }
        self.due = now.saturating_add(PERIOD);
        let Look { written, ejected } = self.lender.look();
        let new = written.saturating_sub(self.written);
        self.written = self.written.max(written);
        let ejected = ejected.map(|pages| match mem::replace(&mut self.inside, Inside::Nothing) {
            Inside::Verdict => Out::Verdict,
            Inside::Nothing | Inside::Fresh if written == 0 => Out::Untouched,
            Inside::Nothing | Inside::Fresh => Out::Raw(pages),
        });
        (new, ejected)
    }
}

impl Drop for Lent {
    /// The disk is off the bus, or about to be; the memory is not held on to.
    fn drop(&mut self) {
        self.lender.remove();
    }
}
