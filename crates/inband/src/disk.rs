//! The disk of a BMC (docs/spec/volume-raw.md), as the operating system has it.

use std::{path::PathBuf, time::Duration};

use inband_session::first_block::{BLOCK, FirstBlock, TextError};
use inband_usb::HostError;

use crate::{
    error::{DeviceError, Error},
    usb::Place,
};

/// Vendor of INQUIRY.
pub const VENDOR: &str = "INBAND";
/// Bytes of a [`Drive::write`], at most, but for the last one a multiple of it: a host controller takes 120 KiB to 1 MiB at once.
pub const PIECE: usize = 512 * 1024;

/// What a host does with the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Profile {
    /// It writes a package from the first block on.
    Raw,
    /// It copies a file.
    Fat,
}

impl Profile {
    /// That of a product of INQUIRY.
    #[must_use]
    pub fn of(product: &str) -> Option<Self> {
        match product {
            "FIRMWARE RAW" => Some(Self::Raw),
            "FIRMWARE FAT" => Some(Self::Fat),
            _ => None,
        }
    }
}

/// A disk that says it is a BMC's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Disk {
    /// Where the device is whose disk it is.
    pub place: Place,
    /// Its serial number.
    pub serial: Option<String>,
    /// What it is for.
    pub profile: Profile,
    /// Its device file. It may be another one when the device is back after it left the bus.
    pub file: PathBuf,
}

/// A disk could not be taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Untaken {
    /// Why.
    pub error: HostError,
    /// What a person can do about it.
    pub advice: Option<String>,
}

/// What is in a drive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Medium {
    /// Nothing.
    None,
    /// A medium with this first block.
    Block(Box<[u8; BLOCK]>),
}

/// A disk that was taken: no other program may mount it, or take it.
pub trait Drive {
    /// What is in it at this moment. A device that left the bus and is back is taken anew.
    ///
    /// # Errors
    /// [`HostError::Gone`] if it is not on the bus, [`HostError::Busy`], [`HostError::Permission`], [`HostError::Other`].
    fn look(&mut self) -> Result<Medium, HostError>;

    /// Writes bytes from an offset on, a multiple of [`BLOCK`]; a last block that is not whole is filled up with zeros. They are the
    /// device's when this returns.
    ///
    /// # Errors
    /// As [`look`](Self::look).
    fn write(&mut self, offset: u64, bytes: &[u8]) -> Result<(), HostError>;

    /// Allows removal and ejects the medium. That of an empty drive does nothing.
    ///
    /// # Errors
    /// As [`look`](Self::look).
    fn eject(&mut self) -> Result<(), HostError>;

    /// What a person can do about a failure.
    fn advice(&self, error: &HostError) -> Option<String>;

    /// Time since an arbitrary start.
    fn now(&self) -> Duration;

    /// Lets time pass.
    fn pause(&mut self, time: Duration);
}

impl dyn Drive + '_ {
    /// The text of the medium that is in it; `None` while it is empty.
    ///
    /// # Errors
    /// Those of looking; inside, what is wrong with the text.
    pub fn read(&mut self) -> Result<Option<Result<FirstBlock, TextError>>, HostError> {
        Ok(match self.look()? {
            Medium::None => None,
            Medium::Block(block) => Some(FirstBlock::parse(&block)),
        })
    }
}

/// Says what failed with a disk, and what can be done about it.
pub fn failure(place: &Place, drive: &dyn Drive, action: &'static str, error: HostError) -> Error {
    let advice = drive.advice(&error);
    Error::Device { place: place.clone(), action, source: Box::new(DeviceError::Host(error)), advice }
}
