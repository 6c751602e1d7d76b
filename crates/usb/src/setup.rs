//! Setup packets (USB 2.0, 9.3).

/// Direction of the data stage, seen from the host (bmRequestType bit 7).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Direction {
    /// Host to device.
    Out,
    /// Device to host.
    In,
}

/// Who defined the request (bmRequestType bits 6..5).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RequestType {
    /// USB 2.0, 9.4.
    Standard,
    /// A class specification, such as DFU 1.1.
    Class,
    /// The vendor of the device.
    Vendor,
    /// The reserved value 3.
    Reserved,
}

/// What the request is addressed to (bmRequestType bits 4..0).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Recipient {
    /// The device as a whole.
    Device,
    /// The interface whose number is the low byte of wIndex.
    Interface,
    /// The endpoint whose address is the low byte of wIndex.
    Endpoint,
    /// Value 3: other.
    Other,
    /// Values 4 to 31.
    Reserved(u8),
}

/// The eight bytes that begin every control transfer (USB 2.0, table 9-2). Multi-byte fields are little-endian on
/// the wire; every combination of bytes is a value of this type, so parsing cannot fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Setup {
    /// bmRequestType: direction, type, recipient.
    pub request_type: u8,
    /// bRequest.
    pub request: u8,
    /// wValue.
    pub value: u16,
    /// wIndex.
    pub index: u16,
    /// wLength: bytes of the data stage, at most.
    pub length: u16,
}

impl Setup {
    /// Reads the eight bytes as they are on the wire.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 8]) -> Self {
        Self {
            request_type: bytes[0],
            request: bytes[1],
            value: u16::from_le_bytes([bytes[2], bytes[3]]),
            index: u16::from_le_bytes([bytes[4], bytes[5]]),
            length: u16::from_le_bytes([bytes[6], bytes[7]]),
        }
    }

    /// The eight bytes as they are on the wire.
    #[must_use]
    pub const fn to_bytes(self) -> [u8; 8] {
        let value = self.value.to_le_bytes();
        let index = self.index.to_le_bytes();
        let length = self.length.to_le_bytes();
        [self.request_type, self.request, value[0], value[1], index[0], index[1], length[0], length[1]]
    }

    /// Direction of the data stage. With wLength 0 the bit has no meaning on the wire (USB 2.0, 9.3.1).
    #[must_use]
    pub const fn direction(self) -> Direction {
        if self.request_type & 0x80 != 0 { Direction::In } else { Direction::Out }
    }

    /// Who defined the request.
    #[must_use]
    pub const fn kind(self) -> RequestType {
        match (self.request_type >> 5) & 3 {
            0 => RequestType::Standard,
            1 => RequestType::Class,
            2 => RequestType::Vendor,
            _ => RequestType::Reserved,
        }
    }

    /// What the request is addressed to.
    #[must_use]
    pub const fn recipient(self) -> Recipient {
        match self.request_type & 0x1f {
            0 => Recipient::Device,
            1 => Recipient::Interface,
            2 => Recipient::Endpoint,
            3 => Recipient::Other,
            other => Recipient::Reserved(other),
        }
    }
}
