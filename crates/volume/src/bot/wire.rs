//! The bytes of the transport (spec, 1 to 3).

use alloc::{string::String, vec, vec::Vec};

use inband_usb::{Direction, EndpointAddress, descriptor::Interface};

/// bInterfaceClass: mass storage.
pub const INTERFACE_CLASS: u8 = 0x08;
/// bInterfaceSubClass: SCSI transparent command set.
pub const INTERFACE_SUBCLASS: u8 = 0x06;
/// bInterfaceProtocol: Bulk-Only Transport.
pub const INTERFACE_PROTOCOL: u8 = 0x50;
/// iInterface.
pub const NAME: &str = "disk";

/// bRequest of the Bulk-Only Mass Storage Reset (BOT 3.1).
pub const RESET: u8 = 0xff;
/// bRequest of Get Max LUN (BOT 3.2).
pub const GET_MAX_LUN: u8 = 0xfe;

/// Bytes of a Command Block Wrapper.
pub const CBW_LENGTH: usize = 31;
/// Bytes of a Command Status Wrapper.
pub const CSW_LENGTH: usize = 13;
/// dCBWSignature.
pub const CBW_SIGNATURE: u32 = 0x4342_5355;
/// dCSWSignature.
pub const CSW_SIGNATURE: u32 = 0x5342_5355;

/// The interface with its endpoints.
#[must_use]
pub fn interface(output: EndpointAddress, input: EndpointAddress) -> Interface {
    Interface {
        class: INTERFACE_CLASS,
        subclass: INTERFACE_SUBCLASS,
        protocol: INTERFACE_PROTOCOL,
        name: String::from(NAME),
        extra: Vec::new(),
        endpoints: vec![input, output],
    }
}

/// A Command Block Wrapper (BOT 5.1). Integers are little-endian.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cbw {
    /// dCBWTag, which the CSW echoes.
    pub tag: u32,
    /// dCBWDataTransferLength, in bytes.
    pub length: u32,
    /// Bit 7 of bmCBWFlags. Without meaning where the length is 0.
    pub direction: Direction,
    /// Bits 3 to 0 of bCBWLUN.
    pub lun: u8,
    /// bCBWCBLength, 1 to 16.
    pub cdb_length: usize,
    /// CBWCB, with zeros behind the first `cdb_length` bytes, whatever the host had there.
    pub cdb: [u8; 16],
}

impl Cbw {
    /// Reads a CBW that has to be valid (BOT 6.2.1: its length and signature) and meaningful (6.2.2: reserved bits are 0, the length of
    /// the CDB is 1 to 16). Whether there is such a unit is for the caller.
    #[must_use]
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        let bytes: &[u8; CBW_LENGTH] = bytes.try_into().ok()?;
        let (flags, lun, cdb_length) = (bytes[12], bytes[13], usize::from(bytes[14]));
        let reserved = flags & 0x7f != 0 || lun & 0xf0 != 0 || !(1..=16).contains(&cdb_length);
        if u32_at(bytes, 0) != CBW_SIGNATURE || reserved {
            return None;
        }
        let mut cdb = [0; 16];
        cdb[..cdb_length].copy_from_slice(&bytes[15..15 + cdb_length]);
        let direction = if flags & 0x80 != 0 { Direction::In } else { Direction::Out };
        Some(Self { tag: u32_at(bytes, 4), length: u32_at(bytes, 8), direction, lun, cdb_length, cdb })
    }

    /// The bytes.
    #[must_use]
    pub fn to_bytes(&self) -> [u8; CBW_LENGTH] {
        let mut bytes = [0; CBW_LENGTH];
        bytes[..4].copy_from_slice(&CBW_SIGNATURE.to_le_bytes());
        bytes[4..8].copy_from_slice(&self.tag.to_le_bytes());
        bytes[8..12].copy_from_slice(&self.length.to_le_bytes());
        bytes[12] = if self.direction == Direction::In { 0x80 } else { 0 };
        bytes[13] = self.lun;
        bytes[14] = self.cdb_length.min(16) as u8;
        bytes[15..].copy_from_slice(&self.cdb);
        bytes
    }
}

/// bCSWStatus (BOT, table 5.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// 00h: the command passed.
    Passed,
    /// 01h: the command failed.
    Failed,
    /// 02h: host and device disagree about the data.
    PhaseError,
}

impl Status {
    /// The byte.
    #[must_use]
    pub const fn number(self) -> u8 {
        match self {
            Self::Passed => 0,
            Self::Failed => 1,
            Self::PhaseError => 2,
        }
    }

    /// The status of a byte.
    #[must_use]
    pub const fn from_number(number: u8) -> Option<Self> {
        match number {
            0 => Some(Self::Passed),
            1 => Some(Self::Failed),
            2 => Some(Self::PhaseError),
            _ => None,
        }
    }
}

/// A Command Status Wrapper (BOT 5.2). Integers are little-endian.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Csw {
    /// dCSWTag, the CBW's.
    pub tag: u32,
    /// dCSWDataResidue, in bytes.
    pub residue: u32,
    /// bCSWStatus.
    pub status: Status,
}

impl Csw {
    /// The bytes.
    #[must_use]
    pub fn to_bytes(self) -> [u8; CSW_LENGTH] {
        let mut bytes = [0; CSW_LENGTH];
        bytes[..4].copy_from_slice(&CSW_SIGNATURE.to_le_bytes());
        bytes[4..8].copy_from_slice(&self.tag.to_le_bytes());
        bytes[8..12].copy_from_slice(&self.residue.to_le_bytes());
        bytes[12] = self.status.number();
        bytes
    }

    /// Reads a CSW as a host has to: valid (BOT 6.3.1) and meaningful (6.3.2) for that CBW.
    #[must_use]
    pub fn parse(bytes: &[u8], cbw: &Cbw) -> Option<Self> {
        let bytes: &[u8; CSW_LENGTH] = bytes.try_into().ok()?;
        let status = Status::from_number(bytes[12])?;
        let (tag, residue) = (u32_at(bytes, 4), u32_at(bytes, 8));
        let valid = u32_at(bytes, 0) == CSW_SIGNATURE && tag == cbw.tag;
        let meaningful = status == Status::PhaseError || residue <= cbw.length;
        (valid && meaningful).then_some(Self { tag, residue, status })
    }
}

/// The little-endian integer at an offset that is there.
fn u32_at(bytes: &[u8], offset: usize) -> u32 {
    let mut field = [0; 4];
    field.copy_from_slice(&bytes[offset..offset + 4]);
    u32::from_le_bytes(field)
}
