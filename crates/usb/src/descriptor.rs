//! Descriptors (USB 2.0, 9.5 and 9.6): one typed description of a device, written as the bytes a host asks for, and a
//! bounded parser for what a device (which a host must not trust) answers.

mod parse;
#[cfg(test)]
mod tests;

use alloc::{string::String, vec::Vec};

pub use parse::{
    EndpointKind, MAX_CONFIGURATION_LENGTH, ParseError, ParsedConfiguration, ParsedDevice, ParsedEndpoint,
    ParsedInterface, parse_configuration, parse_device, parse_string,
};

use crate::{Direction, EndpointAddress, microsoft};

/// bDescriptorType of a device descriptor (USB 2.0, table 9-5).
pub const DEVICE: u8 = 1;
/// bDescriptorType of a configuration descriptor.
pub const CONFIGURATION: u8 = 2;
/// bDescriptorType of a string descriptor.
pub const STRING: u8 = 3;
/// bDescriptorType of an interface descriptor.
pub const INTERFACE: u8 = 4;
/// bDescriptorType of an endpoint descriptor.
pub const ENDPOINT: u8 = 5;
/// bDescriptorType of a device qualifier descriptor.
pub const DEVICE_QUALIFIER: u8 = 6;
/// bDescriptorType of an other-speed configuration descriptor.
pub const OTHER_SPEED_CONFIGURATION: u8 = 7;
/// bDescriptorType of a binary device object store (USB 3.2, table 9-5).
pub const BOS: u8 = 15;
/// bDescriptorType of a device capability, which stands in a BOS.
pub const DEVICE_CAPABILITY: u8 = 16;

/// The only language of all strings: English (United States).
pub const LANGUAGE: u16 = 0x0409;
/// bConfigurationValue of the only configuration.
pub const CONFIGURATION_VALUE: u8 = 1;
/// bMaxPacketSize0 of every set, in bytes; the only one high speed allows (USB 2.0, 5.5.3).
pub const MAX_PACKET_SIZE_0: u8 = 64;
/// wMaxPacketSize of bulk endpoints at high speed, in bytes (USB 2.0, 5.8.3).
pub const BULK_PACKET_SIZE: u16 = 512;

/// bcdUSB 2.00, of a device without a BOS.
const USB_VERSION: u16 = 0x0200;
/// wMaxPacketSize of bulk endpoints at full speed, in bytes: what an other-speed configuration shows.
const FULL_SPEED_BULK_PACKET_SIZE: u16 = 64;
/// bmAttributes of the configuration: bit 7 is always set, bit 6 says self-powered.
const SELF_POWERED: u8 = 0xc0;
/// bMaxPower, in units of 2 mA: a BMC draws nothing from its host.
const MAX_POWER: u8 = 1;
/// bmAttributes of a bulk endpoint.
const BULK: u8 = 2;
/// Most UTF-16 code units one string descriptor holds: bLength is one byte.
const MAX_STRING_UNITS: usize = 126;
/// String indexes: 0 is the language table, the device's three follow, then one for each interface.
const FIRST_INTERFACE_STRING: u8 = 4;
/// Most interfaces in a set: what our own parser takes; each has a string index.
const MAX_INTERFACES: usize = parse::MAX_SETTINGS;

/// All descriptors of one device with one configuration, at high speed (bMaxPacketSize0 64, bulk wMaxPacketSize 512).
///
/// A backend turns it into the form it needs: the bytes of GET_DESCRIPTOR here and over USB/IP, configfs attributes and a
/// FunctionFS blob on a real controller. A backend refuses a set that does not [`validate`](Self::validate); the bytes of such
/// a set are well-formed but cut short.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DescriptorSet {
    /// idVendor.
    pub vendor_id: u16,
    /// idProduct.
    pub product_id: u16,
    /// bcdDevice.
    pub device_version: u16,
    /// String iManufacturer.
    pub manufacturer: String,
    /// String iProduct.
    pub product: String,
    /// String iSerialNumber.
    pub serial: String,
    /// Interfaces in order of bInterfaceNumber, from 0.
    pub interfaces: Vec<Interface>,
}

/// One interface with its only alternate setting, 0.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Interface {
    /// bInterfaceClass.
    pub class: u8,
    /// bInterfaceSubClass.
    pub subclass: u8,
    /// bInterfaceProtocol.
    pub protocol: u8,
    /// String iInterface.
    pub name: String,
    /// Class-specific descriptors that follow the interface descriptor, such as the DFU functional descriptor.
    pub extra: Vec<u8>,
    /// Bulk endpoints, wMaxPacketSize 512.
    pub endpoints: Vec<EndpointAddress>,
}

/// Why a [`DescriptorSet`] cannot be shown to a host.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DescriptorError {
    /// No interface, or more than 64.
    #[error("a device has 1 to {MAX_INTERFACES} interfaces")]
    InterfaceCount,
    /// Endpoint number 0, or reserved bits set.
    #[error("{0:#04x} is no address of a bulk endpoint")]
    EndpointAddress(u8),
    /// The same endpoint address twice.
    #[error("endpoint {0:#04x} is there twice")]
    EndpointTwice(u8),
    /// A string of more than 126 UTF-16 code units.
    #[error("a string is longer than 126 UTF-16 code units")]
    StringTooLong,
    /// [`Interface::extra`] is no sequence of whole descriptors, or holds one of a standard type.
    #[error("the class-specific descriptors of interface {0} are malformed")]
    Extra(u8),
    /// The configuration is longer than the 4096 bytes a host reads of it.
    #[error("the configuration is longer than {MAX_CONFIGURATION_LENGTH} bytes")]
    TooLong,
}

impl DescriptorSet {
    /// Checks everything a host or a controller would refuse.
    pub fn validate(&self) -> Result<(), DescriptorError> {
        if self.interfaces.is_empty() || self.interfaces.len() > MAX_INTERFACES {
            return Err(DescriptorError::InterfaceCount);
        }
        let names = self.interfaces.iter().map(|interface| &interface.name);
        for string in [&self.manufacturer, &self.product, &self.serial].into_iter().chain(names) {
            if string.encode_utf16().count() > MAX_STRING_UNITS {
                return Err(DescriptorError::StringTooLong);
            }
        }
        let mut seen = [false; 256];
        for endpoint in self.endpoints() {
            if endpoint.number() == 0 || endpoint.0 & 0x70 != 0 {
                return Err(DescriptorError::EndpointAddress(endpoint.0));
            }
            if core::mem::replace(&mut seen[usize::from(endpoint.0)], true) {
                return Err(DescriptorError::EndpointTwice(endpoint.0));
            }
        }
        for (number, interface) in (0..).zip(&self.interfaces) {
            if !class_descriptors(&interface.extra) {
                return Err(DescriptorError::Extra(number));
            }
        }
        if self.configuration(CONFIGURATION, BULK_PACKET_SIZE).len() > MAX_CONFIGURATION_LENGTH {
            return Err(DescriptorError::TooLong);
        }
        Ok(())
    }

    /// The device descriptor (USB 2.0, table 9-8).
    #[must_use]
    pub fn device_bytes(&self) -> [u8; 18] {
        let usb = self.usb_version().to_le_bytes();
        let vendor = self.vendor_id.to_le_bytes();
        let product = self.product_id.to_le_bytes();
        let version = self.device_version.to_le_bytes();
        let [manufacturer_index, product_index, serial_index] =
            [(1, &self.manufacturer), (2, &self.product), (3, &self.serial)]
                .map(|(index, text)| index_of(index, text));
        [
            18,
            DEVICE,
            usb[0],
            usb[1],
            0,
            0,
            0,
            MAX_PACKET_SIZE_0,
            vendor[0],
            vendor[1],
            product[0],
            product[1],
            version[0],
            version[1],
            manufacturer_index,
            product_index,
            serial_index,
            1,
        ]
    }

    /// The device qualifier descriptor: the device as it would be at full speed (USB 2.0, table 9-9).
    #[must_use]
    pub fn device_qualifier_bytes(&self) -> [u8; 10] {
        let usb = self.usb_version().to_le_bytes();
        [10, DEVICE_QUALIFIER, usb[0], usb[1], 0, 0, 0, MAX_PACKET_SIZE_0, 1, 0]
    }

    /// The configuration descriptor with all that belongs to it (USB 2.0, tables 9-10, 9-12 and 9-13).
    #[must_use]
    pub fn configuration_bytes(&self) -> Vec<u8> {
        self.configuration(CONFIGURATION, BULK_PACKET_SIZE)
    }

    /// The configuration as it would be at full speed (USB 2.0, table 9-11).
    #[must_use]
    pub fn other_speed_configuration_bytes(&self) -> Vec<u8> {
        self.configuration(OTHER_SPEED_CONFIGURATION, FULL_SPEED_BULK_PACKET_SIZE)
    }

    /// The string descriptor with this index in this language, if there is one; index 0 is the table of
    /// languages, whatever language is asked for (USB 2.0, 9.6.7).
    #[must_use]
    pub fn string_bytes(&self, index: u8, language: u16) -> Option<Vec<u8>> {
        if index == 0 {
            let language = LANGUAGE.to_le_bytes();
            return Some([4, STRING, language[0], language[1]].into());
        }
        let text = match index {
            _ if language != LANGUAGE => return None,
            1 => &self.manufacturer,
            2 => &self.product,
            3 => &self.serial,
            _ => &self.interface(index - FIRST_INTERFACE_STRING)?.name,
        };
        if text.is_empty() {
            return None;
        }
        let mut bytes: Vec<u8> = [0, STRING].into();
        bytes.extend(text.encode_utf16().take(MAX_STRING_UNITS).flat_map(u16::to_le_bytes));
        bytes[0] = bytes.len() as u8;
        Some(bytes)
    }

    /// The interface with this bInterfaceNumber.
    #[must_use]
    pub fn interface(&self, number: u8) -> Option<&Interface> {
        self.interfaces.get(usize::from(number))
    }

    /// The addresses of all endpoints but 0, in the order of the configuration.
    pub fn endpoints(&self) -> impl Iterator<Item = EndpointAddress> + '_ {
        self.interfaces.iter().flat_map(|interface| interface.endpoints.iter().copied())
    }

    /// bInterfaceNumber of the interface an endpoint belongs to.
    #[must_use]
    pub fn interface_of(&self, endpoint: EndpointAddress) -> Option<u8> {
        (0..)
            .zip(&self.interfaces)
            .find_map(|(number, interface)| interface.endpoints.contains(&endpoint).then_some(number))
    }

    /// bcdUSB.
    fn usb_version(&self) -> u16 {
        if self.wants_winusb() { microsoft::USB_VERSION } else { USB_VERSION }
    }

    /// String index of an interface's name; 0 if it has none.
    fn name_index(&self, number: u8) -> u8 {
        self.interface(number)
            .map_or(0, |interface| index_of(number.saturating_add(FIRST_INTERFACE_STRING), &interface.name))
    }

    fn configuration(&self, descriptor_type: u8, packet_size: u16) -> Vec<u8> {
        let count = self.interfaces.len().min(MAX_INTERFACES) as u8;
        let mut bytes: Vec<u8> =
            [9, descriptor_type, 0, 0, count, CONFIGURATION_VALUE, 0, SELF_POWERED, MAX_POWER].into();
        for (number, interface) in (0..count).zip(&self.interfaces) {
            let endpoints = interface.endpoints.len().min(usize::from(u8::MAX)) as u8;
            let name = self.name_index(number);
            let Interface { class, subclass, protocol, .. } = *interface;
            bytes.extend([9, INTERFACE, number, 0, endpoints, class, subclass, protocol, name]);
            bytes.extend(&interface.extra);
            for endpoint in interface.endpoints.iter().take(usize::from(endpoints)) {
                let size = packet_size.to_le_bytes();
                bytes.extend([7, ENDPOINT, endpoint.0, BULK, size[0], size[1], 0]);
            }
        }
        let total = u16::try_from(bytes.len()).unwrap_or(u16::MAX);
        bytes.truncate(usize::from(total));
        bytes[2..4].copy_from_slice(&total.to_le_bytes());
        bytes
    }
}

impl Interface {
    /// The first endpoint of this direction.
    #[must_use]
    pub fn endpoint(&self, direction: Direction) -> Option<EndpointAddress> {
        self.endpoints.iter().copied().find(|endpoint| endpoint.direction() == direction)
    }
}

/// String index of a text: 0, "no string", if it is empty.
fn index_of(index: u8, text: &str) -> u8 {
    if text.is_empty() { 0 } else { index }
}

/// Whether the bytes are whole descriptors, none of a type the configuration itself is made of.
fn class_descriptors(bytes: &[u8]) -> bool {
    parse::Descriptors(bytes).all(|descriptor| {
        descriptor.is_ok_and(|descriptor| !matches!(descriptor[1], DEVICE..=OTHER_SPEED_CONFIGURATION))
    })
}
