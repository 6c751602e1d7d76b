//! The disk on the bus, whoever serves it.

use std::{sync::Arc, time::Duration};

use inband_volume::{
    bot::{Function, Halts},
    scsi::{Disk, Identity},
};

use super::{
    drive::Drive,
    lent::{Lender, Lent},
    media::Media,
};

/// Who serves the disk.
pub enum DiskKind {
    /// The BMC, on endpoints beside the DFU interface; what the USB side can do.
    Own(Halts),
    /// Somebody else, in the place of all that is ours: there is no DFU interface.
    Lent(Arc<dyn Lender>),
}

/// What the disk says of itself in INQUIRY.
pub(crate) const fn inquiry(serial: u64) -> Identity {
    Identity { vendor: *b"INBAND  ", product: *b"FIRMWARE RAW    ", revision: *b"1   ", serial }
}

/// What shows the media to the host.
pub(super) enum Shown {
    Own(Box<Function<Disk<Drive>>>),
    Lent(Lent),
}

impl Shown {
    pub(super) fn media(&mut self) -> &mut dyn Media {
        match self {
            Self::Own(disk) => disk.target_mut().medium_mut(),
            Self::Lent(lent) => lent,
        }
    }

    pub(super) fn poll_timeout(&self) -> Option<Duration> {
        match self {
            Self::Own(disk) => disk.poll_timeout(),
            Self::Lent(lent) => Some(lent.poll_timeout()),
        }
    }

    /// The disk on our endpoints.
    pub(super) const fn own(&mut self) -> Option<&mut Function<Disk<Drive>>> {
        match self {
            Self::Own(disk) => Some(disk),
            Self::Lent(_) => None,
        }
    }
}
