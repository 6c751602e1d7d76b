//! The disk on the bus, whoever serves it.

use std::{sync::Arc, time::Duration};

use inband_volume::{
    bot::{Function, Halts},
    scsi::{Disk, Identity},
};

use super::{
    drive::Drive,
    lent::{Lender, Lent},
    media::{Media, Profile},
};

/// Who serves the disk.
pub enum DiskKind {
    /// The BMC, on endpoints beside the DFU interface; what the USB side can do.
    Own(Halts),
    /// Somebody else, in the place of all that is ours: there is no DFU interface, and no profile but [`Profile::Raw`].
    Lent(Arc<dyn Lender>),
}

/// What the disk says of itself in INQUIRY.
pub(crate) const fn inquiry(profile: Profile, serial: u64) -> Identity {
    let product = match profile {
        Profile::Fat(_) => *b"FIRMWARE FAT    ",
        Profile::Raw => *b"FIRMWARE RAW    ",
    };
    Identity { vendor: *b"INBAND  ", product, revision: *b"1   ", serial }
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
            Self::Own(disk) => {
                let drive = disk.device().target().medium().poll_timeout();
                [disk.poll_timeout(), drive].into_iter().flatten().min()
            }
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
