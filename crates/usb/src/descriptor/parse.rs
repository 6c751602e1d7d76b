//! Reads what a device answered to GET_DESCRIPTOR. The device may be hostile: every length and count is checked against
//! what is there, and what comes out is no larger than what went in.

use alloc::{string::String, vec::Vec};

use super::{CONFIGURATION, DEVICE, ENDPOINT, INTERFACE, STRING};
use crate::{Direction, EndpointAddress};

/// Most bytes of a configuration that are read: what one control transfer of a composite gadget can carry.
pub const MAX_CONFIGURATION_LENGTH: usize = 4096;
/// Most interfaces, each alternate setting counted.
pub(super) const MAX_SETTINGS: usize = 64;
/// Most endpoints of one setting: 15 numbers in both directions.
const MAX_ENDPOINTS: usize = 30;
/// bDescriptorType of an interface association (USB 2.0 ECN), which stands before an interface, not after one.
const INTERFACE_ASSOCIATION: u8 = 0x0b;

/// Why descriptors were refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ParseError {
    /// Fewer bytes than the descriptor says, or than its type needs.
    #[error("the descriptor is cut short")]
    Truncated,
    /// bLength 0 or 1, or less than the type needs, or an odd one for a string.
    #[error("a descriptor's bLength is impossible")]
    BadLength,
    /// Another bDescriptorType than the one asked for.
    #[error("the descriptor is of another type than was asked for")]
    WrongType,
    /// An endpoint before the first interface, or a second configuration inside the first.
    #[error("a descriptor stands where it cannot")]
    Misplaced,
    /// An endpoint number 0 or reserved bits in an endpoint address.
    #[error("{0:#04x} is no endpoint address")]
    EndpointAddress(u8),
    /// An interface's setting or a setting's endpoint is there twice.
    #[error("an interface or endpoint is there twice")]
    Twice,
    /// More than 4096 bytes, 64 settings, or 30 endpoints in a setting.
    #[error("more descriptors than any device needs")]
    TooMany,
}

/// A device descriptor (USB 2.0, table 9-8).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ParsedDevice {
    /// bcdUSB.
    pub usb_version: u16,
    /// bDeviceClass.
    pub class: u8,
    /// bDeviceSubClass.
    pub subclass: u8,
    /// bDeviceProtocol.
    pub protocol: u8,
    /// bMaxPacketSize0 as it stands there (an exponent of 2 from USB 3.0 on).
    pub max_packet_size_0: u8,
    /// idVendor.
    pub vendor_id: u16,
    /// idProduct.
    pub product_id: u16,
    /// bcdDevice.
    pub device_version: u16,
    /// String index iManufacturer; 0 if there is none.
    pub manufacturer: u8,
    /// String index iProduct; 0 if there is none.
    pub product: u8,
    /// String index iSerialNumber; 0 if there is none.
    pub serial: u8,
    /// bNumConfigurations.
    pub configurations: u8,
}

/// A configuration descriptor with what belongs to it (USB 2.0, table 9-10).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParsedConfiguration {
    /// bConfigurationValue.
    pub value: u8,
    /// String index iConfiguration; 0 if there is none.
    pub name: u8,
    /// bmAttributes.
    pub attributes: u8,
    /// bMaxPower, in units of 2 mA.
    pub max_power: u8,
    /// Each alternate setting of each interface, in the order they stand. bNumInterfaces is not believed, so not kept.
    pub interfaces: Vec<ParsedInterface>,
}

/// One alternate setting of an interface (USB 2.0, table 9-12).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParsedInterface {
    /// bInterfaceNumber.
    pub number: u8,
    /// bAlternateSetting.
    pub alternate: u8,
    /// bInterfaceClass.
    pub class: u8,
    /// bInterfaceSubClass.
    pub subclass: u8,
    /// bInterfaceProtocol.
    pub protocol: u8,
    /// String index iInterface; 0 if there is none.
    pub name: u8,
    /// All descriptors of other types up to the next interface: whole, their bLength checked, otherwise as received.
    pub extra: Vec<u8>,
    /// The endpoints. bNumEndpoints is not believed, so not kept.
    pub endpoints: Vec<ParsedEndpoint>,
}

/// One endpoint (USB 2.0, table 9-13).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ParsedEndpoint {
    /// bEndpointAddress.
    pub address: EndpointAddress,
    /// bmAttributes bits 1..0.
    pub kind: EndpointKind,
    /// wMaxPacketSize bits 10..0, in bytes. May be 0.
    pub max_packet_size: u16,
}

/// Transfer type of an endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EndpointKind {
    /// A control endpoint other than 0.
    Control,
    /// Isochronous.
    Isochronous,
    /// Bulk.
    Bulk,
    /// Interrupt.
    Interrupt,
}

impl ParsedConfiguration {
    /// The first setting of an interface that has this class, subclass and protocol.
    #[must_use]
    pub fn find(&self, class: u8, subclass: u8, protocol: u8) -> Option<&ParsedInterface> {
        self.interfaces.iter().find(|it| (it.class, it.subclass, it.protocol) == (class, subclass, protocol))
    }
}

impl ParsedInterface {
    /// The first descriptor of this type in [`extra`](Self::extra), bLength and bDescriptorType included.
    #[must_use]
    pub fn extra_of_type(&self, descriptor_type: u8) -> Option<&[u8]> {
        Descriptors(&self.extra).map_while(Result::ok).find(|descriptor| descriptor[1] == descriptor_type)
    }

    /// The first bulk endpoint of this direction.
    #[must_use]
    pub fn bulk(&self, direction: Direction) -> Option<ParsedEndpoint> {
        self.endpoints
            .iter()
            .copied()
            .find(|it| it.kind == EndpointKind::Bulk && it.address.direction() == direction)
    }
}

/// Reads a device descriptor. Bytes after the first 18 are ignored.
pub fn parse_device(bytes: &[u8]) -> Result<ParsedDevice, ParseError> {
    let device: &[u8; 18] = bytes.first_chunk().ok_or(ParseError::Truncated)?;
    if device[1] != DEVICE {
        return Err(ParseError::WrongType);
    }
    if device[0] < 18 {
        return Err(ParseError::BadLength);
    }
    Ok(ParsedDevice {
        usb_version: u16::from_le_bytes([device[2], device[3]]),
        class: device[4],
        subclass: device[5],
        protocol: device[6],
        max_packet_size_0: device[7],
        vendor_id: u16::from_le_bytes([device[8], device[9]]),
        product_id: u16::from_le_bytes([device[10], device[11]]),
        device_version: u16::from_le_bytes([device[12], device[13]]),
        manufacturer: device[14],
        product: device[15],
        serial: device[16],
        configurations: device[17],
    })
}

/// Reads a whole configuration, wTotalLength bytes of it; what follows them is ignored.
///
/// To learn wTotalLength, a host first asks for 9 bytes: they are bytes 2 and 3 of the answer, little-endian.
pub fn parse_configuration(bytes: &[u8]) -> Result<ParsedConfiguration, ParseError> {
    let head: &[u8; 9] = bytes.first_chunk().ok_or(ParseError::Truncated)?;
    if head[1] != CONFIGURATION {
        return Err(ParseError::WrongType);
    }
    let total = usize::from(u16::from_le_bytes([head[2], head[3]]));
    if total > MAX_CONFIGURATION_LENGTH {
        return Err(ParseError::TooMany);
    }
    let bytes = bytes.get(..total).ok_or(ParseError::Truncated)?;
    let after_head = &bytes[first(bytes, 9)?.len()..];
    let mut interfaces: Vec<ParsedInterface> = Vec::new();
    // An interface association and what it brings belong to the interfaces after it, which do not name it.
    let mut between = true;
    for descriptor in Descriptors(after_head) {
        let descriptor = descriptor?;
        match descriptor[1] {
            DEVICE | CONFIGURATION => return Err(ParseError::Misplaced),
            INTERFACE => {
                let interface = interface(descriptor)?;
                if interfaces.len() == MAX_SETTINGS {
                    return Err(ParseError::TooMany);
                }
                let key = (interface.number, interface.alternate);
                if interfaces.iter().any(|other| (other.number, other.alternate) == key) {
                    return Err(ParseError::Twice);
                }
                interfaces.push(interface);
                between = false;
            }
            ENDPOINT => {
                let endpoint = endpoint(descriptor)?;
                let Some(interface) = interfaces.last_mut().filter(|_| !between) else {
                    return Err(ParseError::Misplaced);
                };
                if interface.endpoints.len() == MAX_ENDPOINTS {
                    return Err(ParseError::TooMany);
                }
                if interface.endpoints.iter().any(|other| other.address == endpoint.address) {
                    return Err(ParseError::Twice);
                }
                interface.endpoints.push(endpoint);
            }
            INTERFACE_ASSOCIATION => between = true,
            _ => {
                if let Some(interface) = interfaces.last_mut().filter(|_| !between) {
                    interface.extra.extend_from_slice(descriptor);
                }
            }
        }
    }
    Ok(ParsedConfiguration {
        value: head[5],
        name: head[6],
        attributes: head[7],
        max_power: head[8],
        interfaces,
    })
}

/// Reads a string descriptor (not the one with index 0). Broken surrogate pairs become U+FFFD; anything else, control
/// characters too, stays: whoever shows the text escapes it.
pub fn parse_string(bytes: &[u8]) -> Result<String, ParseError> {
    let descriptor = first(bytes, 2)?;
    if descriptor[1] != STRING {
        return Err(ParseError::WrongType);
    }
    if descriptor.len() % 2 != 0 {
        return Err(ParseError::BadLength);
    }
    let units = descriptor[2..].chunks_exact(2).map(|pair| u16::from_le_bytes([pair[0], pair[1]]));
    Ok(char::decode_utf16(units).map(|unit| unit.unwrap_or(char::REPLACEMENT_CHARACTER)).collect())
}

/// Whole descriptors one after the other; after an error nothing more.
pub(super) struct Descriptors<'a>(pub(super) &'a [u8]);

impl<'a> Iterator for Descriptors<'a> {
    type Item = Result<&'a [u8], ParseError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.0.is_empty() {
            return None;
        }
        let next = first(self.0, 2);
        self.0 = next.map_or(&[], |descriptor| &self.0[descriptor.len()..]);
        Some(next)
    }
}

/// The first descriptor, which is at least `least` (2 or more) bytes long.
fn first(bytes: &[u8], least: usize) -> Result<&[u8], ParseError> {
    let length = usize::from(*bytes.first().ok_or(ParseError::Truncated)?);
    if length < least {
        return Err(ParseError::BadLength);
    }
    bytes.get(..length).ok_or(ParseError::Truncated)
}

fn interface(descriptor: &[u8]) -> Result<ParsedInterface, ParseError> {
    let fields: &[u8; 9] = descriptor.first_chunk().ok_or(ParseError::BadLength)?;
    Ok(ParsedInterface {
        number: fields[2],
        alternate: fields[3],
        class: fields[5],
        subclass: fields[6],
        protocol: fields[7],
        name: fields[8],
        extra: Vec::new(),
        endpoints: Vec::new(),
    })
}

fn endpoint(descriptor: &[u8]) -> Result<ParsedEndpoint, ParseError> {
    let fields: &[u8; 7] = descriptor.first_chunk().ok_or(ParseError::BadLength)?;
    let address = EndpointAddress(fields[2]);
    if address.number() == 0 || address.0 & 0x70 != 0 {
        return Err(ParseError::EndpointAddress(address.0));
    }
    Ok(ParsedEndpoint {
        address,
        kind: match fields[3] & 3 {
            0 => EndpointKind::Control,
            1 => EndpointKind::Isochronous,
            2 => EndpointKind::Bulk,
            _ => EndpointKind::Interrupt,
        },
        max_packet_size: u16::from_le_bytes([fields[4], fields[5]]) & 0x07ff,
    })
}
