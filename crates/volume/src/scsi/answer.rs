//! What short commands answer: capacities, units, supported commands.

use alloc::{vec, vec::Vec};

use super::{
    command::{Entry, TABLE, be},
    medium::BLOCK,
    sense::Sense,
};

/// READ CAPACITY(10) (SBC 5.12): the last block, FFFFFFFFh if it has a larger number, and the length of a block.
pub(super) fn capacity10(blocks: u64) -> Vec<u8> {
    let last = u32::try_from(blocks - 1).unwrap_or(u32::MAX);
    [last.to_be_bytes(), (BLOCK as u32).to_be_bytes()].concat()
}

/// READ CAPACITY(16) (SBC 5.13): no protection, no provisioning, physical blocks as logical ones.
pub(super) fn capacity16(blocks: u64) -> Vec<u8> {
    let mut bytes = (blocks - 1).to_be_bytes().to_vec();
    bytes.extend((BLOCK as u32).to_be_bytes());
    bytes.resize(32, 0);
    bytes
}

/// READ FORMAT CAPACITIES (UFI 4.10): one descriptor, of a formatted medium or of none.
pub(super) fn format_capacities(blocks: Option<u64>) -> Vec<u8> {
    let (count, kind) = match blocks {
        Some(blocks) => (u32::try_from(blocks).unwrap_or(u32::MAX), 0x02),
        None => (u32::MAX, 0x03),
    };
    let length = (BLOCK as u32).to_be_bytes();
    let mut bytes = vec![0, 0, 0, 8];
    bytes.extend(count.to_be_bytes());
    bytes.extend([kind, length[1], length[2], length[3]]);
    bytes
}

/// REPORT LUNS (SPC 6.21): unit 0, and no well-known ones.
pub(super) fn luns(select: u8) -> Result<Vec<u8>, Sense> {
    let units = match select {
        0 | 2 => 1,
        1 => 0,
        _ => return Err(Sense::invalid_field(2)),
    };
    let mut bytes = vec![0, 0, 0, 8 * units, 0, 0, 0, 0];
    bytes.resize(8 + 8 * usize::from(units), 0);
    Ok(bytes)
}

/// REPORT SUPPORTED OPERATION CODES (SPC 6.23): all commands, or one.
pub(super) fn opcodes(cdb: &[u8; 16]) -> Result<Vec<u8>, Sense> {
    let (timeouts, options, opcode) = (cdb[2] & 0x80 != 0, cdb[2] & 0x07, cdb[3]);
    let service = be(&cdb[4..6]);
    let mut same = TABLE.iter().filter(|entry| entry.opcode() == opcode);
    let has_services = TABLE.iter().any(|entry| entry.opcode() == opcode && entry.service.is_some());
    let exists = TABLE.iter().any(|entry| entry.opcode() == opcode);
    match options {
        0 => Ok(all(timeouts)),
        1 if has_services => Err(Sense::invalid_field(2)),
        1 => Ok(one(same.next(), timeouts)),
        2 if exists && !has_services => Err(Sense::invalid_field(2)),
        2 => Ok(one(same.find(|entry| entry.service.map(u64::from) == Some(service)), timeouts)),
        _ => Err(Sense::invalid_field(2)),
    }
}

/// Command timeouts descriptor (SPC 6.23.4): no times are told.
const TIMEOUTS: [u8; 12] = [0, 0x0a, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];

fn all(timeouts: bool) -> Vec<u8> {
    let mut bytes = vec![0; 4];
    for entry in TABLE {
        let flags = if timeouts { 0x02 } else { 0 } | u8::from(entry.service.is_some());
        let service = entry.service.unwrap_or(0);
        bytes.extend([entry.opcode(), 0, 0, service, 0, flags, 0, entry.usage.len() as u8]);
        if timeouts {
            bytes.extend(TIMEOUTS);
        }
    }
    let length = (bytes.len() as u32 - 4).to_be_bytes();
    bytes[..4].copy_from_slice(&length);
    bytes
}

fn one(entry: Option<&Entry>, timeouts: bool) -> Vec<u8> {
    // SUPPORT: 011b as the standard has it, 001b not at all.
    let Some(entry) = entry else { return vec![0, 0x01, 0, 0] };
    let flags = if timeouts { 0x80 } else { 0 } | 0x03;
    let mut bytes = vec![0, flags, 0, entry.usage.len() as u8];
    bytes.extend_from_slice(entry.usage);
    if timeouts {
        bytes.extend(TIMEOUTS);
    }
    bytes
}
