//! Ways to devices: the kernel's USB and USB/IP, behind one trait.

mod ended;
mod kernel;
mod place;
mod read;
mod usbip;

use std::{thread, time::Duration};

use inband_usb::HostError;

pub use kernel::KernelBus;
pub use place::{Place, Selector, Server};
pub use read::{CONTROL_TIMEOUT, Opened, Strings};
pub use usbip::{UsbipBus, list_error};

use crate::{
    disk::{Disk, Drive, Untaken},
    error::DeviceError,
};

/// Class and subclass of a DFU interface (DFU 1.1, tables 4.1 and 4.4).
pub const DFU_CLASS: (u8, u8) = (0xfe, 0x01);

/// What is known about a device without opening it. Everything but the place is the device's own claim.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sighting {
    /// Where it is.
    pub place: Place,
    /// idVendor.
    pub vendor_id: u16,
    /// idProduct.
    pub product_id: u16,
    /// bcdDevice.
    pub device_version: u16,
    /// Its interfaces, as far as the operating system or the server tells them.
    pub interfaces: Vec<InterfaceClass>,
    /// Its strings, as far as they are known without asking it.
    pub strings: Strings,
}

/// Class, subclass and protocol of an interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InterfaceClass {
    /// bInterfaceNumber; over USB/IP the position in the list, which does not tell numbers.
    pub number: u8,
    /// bInterfaceClass.
    pub class: u8,
    /// bInterfaceSubClass.
    pub subclass: u8,
    /// bInterfaceProtocol.
    pub protocol: u8,
}

impl Sighting {
    /// Whether it has a DFU interface.
    #[must_use]
    pub fn is_dfu(&self) -> bool {
        self.interfaces.iter().any(|interface| (interface.class, interface.subclass) == DFU_CLASS)
    }
}

/// A way to devices.
pub trait Bus {
    /// Every device in reach. Opens none.
    ///
    /// # Errors
    /// [`HostError::Permission`] or [`HostError::Other`] if the bus itself cannot be had.
    fn list(&self) -> Result<Vec<Sighting>, HostError>;

    /// Opens the device that is at a place now, and reads its descriptors.
    ///
    /// # Errors
    /// [`HostError::Gone`] if nothing is there.
    fn open(&self, place: &Place) -> Result<Opened, DeviceError>;

    /// What a person can do about a failure to open or to use the device at a place: one or two sentences.
    fn advice(&self, place: &Place, error: &HostError) -> Option<String>;

    /// The disks of BMCs that this machine has; `None` if there are none to be had this way.
    ///
    /// # Errors
    /// If it cannot be known.
    fn disks(&self) -> Result<Option<Vec<Disk>>, HostError> {
        Ok(None)
    }

    /// Takes one of them.
    ///
    /// # Errors
    /// [`HostError::Busy`] if it is mounted, or another program has it open; [`HostError::Permission`]; [`HostError::Gone`].
    fn take_disk(&self, _disk: &Disk) -> Result<Box<dyn Drive>, Untaken> {
        Err(Untaken { error: HostError::Gone, advice: None })
    }

    /// Lets time pass between two looks; a bus with a clock of its own moves that.
    fn pause(&self, time: Duration) {
        thread::sleep(time);
    }
}
