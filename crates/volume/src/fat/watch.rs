//! The look for the names of trigger files (spec, 4).

use core::time::Duration;

use super::{
    entry::{Name, Named},
    geometry::{Geometry, ROOT_BLOCKS},
};
use crate::{
    scsi::BLOCK,
    sparse::{Base, Sparse},
};

/// So long nothing is written before a trigger file counts.
pub const QUIET: Duration = Duration::from_secs(2);

/// So long after it appeared it counts, whatever is written.
pub const LONGEST: Duration = Duration::from_secs(60);

/// What a trigger file asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trigger {
    /// `APPLY.CMD`: take the package.
    Apply,
    /// `CANCEL.CMD`: forget it.
    Cancel,
}

/// Sees to which of three names are in the root directory, as it is written, and since when.
///
/// Time is since an arbitrary start.
#[derive(Debug)]
pub struct Watch {
    root: u64,
    firmware: Blocks,
    apply: Blocks,
    cancel: Blocks,
    last_write: Duration,
    /// When each of them appeared.
    applied: Option<Duration>,
    cancelled: Option<Duration>,
}

/// Bit n: the name is in block n of the root directory.
type Blocks = u32;

impl Watch {
    /// Over a volume that nobody has written to.
    #[must_use]
    pub const fn new(geometry: &Geometry) -> Self {
        Self {
            root: geometry.root() as u64,
            firmware: 0,
            apply: 0,
            cancel: 0,
            last_write: Duration::ZERO,
            applied: None,
            cancelled: None,
        }
    }

    /// Hears of a WRITE that has been done: so many blocks from that one on.
    pub fn handle_write<B: Base>(&mut self, store: &Sparse<B>, lba: u64, blocks: u64, now: Duration) {
        self.last_write = now;
        let end = lba.saturating_add(blocks).min(self.root + u64::from(ROOT_BLOCKS));
        for lba in lba.max(self.root)..end {
            let mut block = [0; BLOCK];
            if store.read(lba, &mut block).is_ok() {
                self.look((lba - self.root) as u32, &block);
            }
        }
        self.applied = self.applied.or(Some(now)).filter(|_| self.apply != 0);
        self.cancelled = self.cancelled.or(Some(now)).filter(|_| self.cancel != 0);
    }

    fn look(&mut self, number: u32, block: &[u8]) {
        let bit = 1 << number;
        for names in [&mut self.firmware, &mut self.apply, &mut self.cancel] {
            *names &= !bit;
        }
        for found in Named::all(block) {
            let names = match found.name {
                Name::Firmware => &mut self.firmware,
                Name::Apply => &mut self.apply,
                Name::Cancel => &mut self.cancel,
            };
            *names |= bit;
        }
    }

    /// Whether `FIRMWARE.BIN` is there.
    #[must_use]
    pub const fn has_firmware(&self) -> bool {
        self.firmware != 0
    }

    /// When the last WRITE was.
    #[must_use]
    pub const fn last_write(&self) -> Duration {
        self.last_write
    }

    /// The trigger whose time has come. While there is a `CANCEL.CMD` there is no other.
    #[must_use]
    pub fn poll(&self, now: Duration) -> Option<Trigger> {
        let (trigger, appeared) = self.pending()?;
        (now >= self.due(appeared)).then_some(trigger)
    }

    /// When [`poll`](Self::poll) will have one, if nothing is written until then.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Duration> {
        self.pending().map(|(_, appeared)| self.due(appeared))
    }

    fn pending(&self) -> Option<(Trigger, Duration)> {
        let cancelled = self.cancelled.map(|at| (Trigger::Cancel, at));
        cancelled.or(self.applied.map(|at| (Trigger::Apply, at)))
    }

    /// When a name counts that appeared then.
    fn due(&self, appeared: Duration) -> Duration {
        self.last_write.saturating_add(QUIET).min(appeared.saturating_add(LONGEST))
    }
}
