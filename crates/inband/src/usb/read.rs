//! What a device says about itself. All of it is the device's claim: lengths were checked by the parsers, strings are at
//! most 126 UTF-16 units, and nobody prints them but through [`crate::text::shown`].

use std::time::Duration;

use inband_usb::{
    HostDevice, HostError, Setup,
    chapter9::request,
    descriptor::{self, ParsedConfiguration, ParsedDevice, parse_string},
};

/// How long a device may take to answer a control request before it counts as broken.
pub const CONTROL_TIMEOUT: Duration = Duration::from_secs(5);

/// bmRequestType of a standard request to the device with data from it (USB 2.0, table 9-2).
const STANDARD_IN: u8 = 0x80;
/// wLength for a string descriptor: the longest there can be.
const STRING_LENGTH: u16 = 255;

/// The strings of a device.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Strings {
    /// iManufacturer.
    pub manufacturer: Option<String>,
    /// iProduct.
    pub product: Option<String>,
    /// iSerialNumber.
    pub serial: Option<String>,
}

/// An opened device with its descriptors.
pub struct Opened {
    /// The device.
    pub device: Box<dyn HostDevice>,
    /// Its device descriptor.
    pub descriptor: ParsedDevice,
    /// Its configuration.
    pub configuration: ParsedConfiguration,
    /// Its strings.
    pub strings: Strings,
}

impl Strings {
    /// Asks a device for its strings, where no operating system keeps them. A string it refuses, or answers with
    /// something else, is not there.
    ///
    /// # Errors
    /// If the device is gone or does not answer.
    pub fn read(device: &mut dyn HostDevice, descriptor: &ParsedDevice) -> Result<Self, HostError> {
        Ok(Self {
            manufacturer: string(device, descriptor.manufacturer)?,
            product: string(device, descriptor.product)?,
            serial: string(device, descriptor.serial)?,
        })
    }
}

fn string(device: &mut dyn HostDevice, index: u8) -> Result<Option<String>, HostError> {
    if index == 0 {
        return Ok(None);
    }
    let setup = Setup {
        request_type: STANDARD_IN,
        request: request::GET_DESCRIPTOR,
        value: u16::from_be_bytes([descriptor::STRING, index]),
        index: descriptor::LANGUAGE,
        length: STRING_LENGTH,
    };
    match device.control_in(setup, CONTROL_TIMEOUT) {
        Ok(bytes) => Ok(parse_string(&bytes).ok()),
        Err(HostError::Stall | HostError::Overflow) => Ok(None),
        Err(error) => Err(error),
    }
}
