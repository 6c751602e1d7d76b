//! INQUIRY (SPC 6.4, 7.6; SBC 6.5).

use alloc::{format, vec, vec::Vec};

use super::sense::Sense;

/// Who the disk says it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Identity {
    /// T10 VENDOR IDENTIFICATION, ASCII, filled up with spaces.
    pub vendor: [u8; 8],
    /// PRODUCT IDENTIFICATION, likewise.
    pub product: [u8; 16],
    /// PRODUCT REVISION LEVEL, likewise.
    pub revision: [u8; 4],
    /// The serial number: shown as 16 hexadecimal digits in upper case.
    pub serial: u64,
}

/// Bytes of standard INQUIRY data.
const STANDARD_LENGTH: usize = 74;
/// RMB.
const REMOVABLE: u8 = 0x80;
/// VERSION: SPC-3.
const VERSION: u8 = 0x05;
/// RESPONSE DATA FORMAT.
const FORMAT: u8 = 0x02;
/// VERSION DESCRIPTORs: SAM-3, USB Mass Storage Bulk-Only Transport 1.0, SPC-3, SBC-3.
const STANDARDS: [u16; 4] = [0x0060, 0x1730, 0x0300, 0x04c0];

/// VPD pages that are there.
const PAGES: [u8; 5] = [0x00, 0x80, 0x83, 0xb0, 0xb1];

/// What INQUIRY answers, before it is cut to the allocation length.
pub(super) fn inquiry(identity: &Identity, cdb: &[u8; 16]) -> Result<Vec<u8>, Sense> {
    let evpd = cdb[1] & 0x01 != 0;
    match (evpd, cdb[2]) {
        (false, 0) => Ok(standard(identity)),
        (false, _) => Err(Sense::invalid_field(2)),
        (true, 0x00) => Ok(page(0x00, &PAGES)),
        (true, 0x80) => Ok(page(0x80, serial(identity).as_bytes())),
        (true, 0x83) => Ok(page(0x83, &identification(identity))),
        // Block limits: none.
        (true, 0xb0) => Ok(page(0xb0, &[0; 60])),
        (true, 0xb1) => Ok(page(0xb1, &characteristics())),
        (true, _) => Err(Sense::invalid_field(2)),
    }
}

fn standard(identity: &Identity) -> Vec<u8> {
    let mut bytes = vec![0, REMOVABLE, VERSION, FORMAT, (STANDARD_LENGTH - 5) as u8, 0, 0, 0];
    bytes.extend(identity.vendor);
    bytes.extend(identity.product);
    bytes.extend(identity.revision);
    bytes.resize(58, 0);
    bytes.extend(STANDARDS.into_iter().flat_map(u16::to_be_bytes));
    bytes.resize(STANDARD_LENGTH, 0);
    bytes
}

fn page(code: u8, body: &[u8]) -> Vec<u8> {
    let length = (body.len() as u16).to_be_bytes();
    let mut bytes = vec![0, code, length[0], length[1]];
    bytes.extend_from_slice(body);
    bytes
}

fn serial(identity: &Identity) -> alloc::string::String {
    format!("{:016X}", identity.serial)
}

/// Two designators of the logical unit.
fn identification(identity: &Identity) -> Vec<u8> {
    // T10 vendor ID based, ASCII: vendor, product, serial number (SPC 7.6.3.4).
    let mut bytes = vec![0x02, 0x01, 0, 40];
    bytes.extend(identity.vendor);
    bytes.extend(identity.product);
    bytes.extend(serial(identity).bytes());
    // NAA 3h, locally assigned, binary: the low 60 bits of the serial number (SPC 7.6.3.6.4).
    bytes.extend([0x01, 0x03, 0, 8]);
    bytes.extend((3 << 60 | identity.serial & !(0xf << 60)).to_be_bytes());
    bytes
}

/// Block Device Characteristics: no rotation.
fn characteristics() -> [u8; 60] {
    let mut body = [0; 60];
    body[1] = 0x01;
    body
}
