//! A virtual BMC as a USB device of a QEMU guest, by usbredir.

use std::{
    fmt,
    fs::File,
    io::{self, BufWriter},
    path::Path,
    sync::Arc,
    time::Duration,
};

use inband_virtual::usbredir::{Slot, SlotError};

use super::{Side, Waker};
use crate::{
    config::{Config, Usb},
    error::Error,
};

/// A slot of a QEMU guest's USB controller.
pub struct Usbredir {
    slot: Slot,
    usb: Usb,
}

impl Usbredir {
    /// Connects or listens where the configuration says. `pcap` names a file that records all USB transfers.
    pub(crate) fn open(config: &Config, pcap: Option<&Path>) -> Result<(Self, Slot), Error> {
        let slot = match &config.usb {
            Usb::Usbredir(path) => Slot::connect(path),
            Usb::UsbredirListen(path) => Slot::listen(path),
            Usb::Gadget | Usb::Usbip(_) => {
                let message = "that is not usbredir; set usb = \"usbredir:SOCKET\"".into();
                return Err(Error::Usb { what: config.usb.to_string(), message });
            }
        };
        let slot = slot.map_err(|error| unavailable(config, &error))?;
        if let Some(path) = pcap {
            let record = || match slot.tap(BufWriter::new(File::create(path)?)) {
                Err(SlotError::Tap(error)) => Err(error),
                Err(other) => Err(io::Error::other(other)),
                Ok(()) => Ok(()),
            };
            record().map_err(|error| Error::Record { path: path.to_owned(), error })?;
        }
        Ok((Self { slot: slot.clone(), usb: config.usb.clone() }, slot))
    }
}

impl Side for Usbredir {
    type Backend = Slot;

    fn has_bulk_endpoints(&self) -> bool {
        true
    }

    fn can_halt(&self) -> bool {
        true
    }

    fn wait(&mut self, limit: Duration) {
        self.slot.wait(limit);
    }

    fn waker(&self) -> Waker {
        let waker = self.slot.waker();
        Arc::new(move || waker.wake())
    }
}

impl fmt::Display for Usbredir {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.usb.fmt(f)
    }
}

/// The USB side that the configuration asks for is not to be had.
fn unavailable(config: &Config, error: &SlotError) -> Error {
    let advice = match error {
        SlotError::Path(_) => "choose a shorter path",
        SlotError::Listen(source) => match source.kind() {
            io::ErrorKind::AddrInUse => {
                "stop the program that listens there or take away what has that name, or choose another path"
            }
            io::ErrorKind::PermissionDenied => "choose a path in a directory that is writable",
            io::ErrorKind::NotFound => "make its directory",
            _ => "choose another path",
        },
        SlotError::Waker(_) => {
            let message =
                format!("{error}; is this machine's loopback up, and may this process open more files?");
            return Error::Usb { what: config.usb.to_string(), message };
        }
        SlotError::Set(_) | SlotError::Tap(_) => "correct the configuration",
    };
    Error::Usb {
        what: config.usb.to_string(),
        message: format!("{error}; {advice} (usb in the configuration)"),
    }
}
