//! The commands there are (spec, 7): one table, which says what a CDB may hold, which command it is, and what REPORT SUPPORTED OPERATION CODES
//! answers.

use super::sense::Sense;

/// A command of the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Command {
    /// TEST UNIT READY.
    TestUnitReady,
    /// REQUEST SENSE.
    RequestSense,
    /// INQUIRY.
    Inquiry,
    /// MODE SELECT(6) and (10).
    ModeSelect,
    /// MODE SENSE(6) and (10).
    ModeSense,
    /// START STOP UNIT.
    StartStopUnit,
    /// SEND DIAGNOSTIC.
    SendDiagnostic,
    /// PREVENT ALLOW MEDIUM REMOVAL.
    PreventAllow,
    /// READ FORMAT CAPACITIES.
    ReadFormatCapacities,
    /// READ CAPACITY(10).
    ReadCapacity10,
    /// READ CAPACITY(16).
    ReadCapacity16,
    /// READ(6), (10), (12), (16).
    Read,
    /// WRITE(6), (10), (12), (16).
    Write,
    /// WRITE AND VERIFY(10), (12), (16).
    WriteAndVerify,
    /// VERIFY(10), (12), (16).
    Verify,
    /// PRE-FETCH(10), (16).
    PreFetch,
    /// SYNCHRONIZE CACHE(10), (16).
    SynchronizeCache,
    /// REPORT LUNS.
    ReportLuns,
    /// REPORT SUPPORTED OPERATION CODES.
    ReportOpcodes,
}

/// A line of the table.
#[derive(Clone, Copy, Debug)]
pub struct Entry {
    /// Which command.
    pub command: Command,
    /// SERVICE ACTION, bits 4 to 0 of byte 1.
    pub service: Option<u8>,
    /// CDB USAGE DATA (SPC 6.23.3): the operation code, then the bits of each byte that may be set; the service action as it is. As long as
    /// the CDB.
    pub usage: &'static [u8],
}

const fn entry(command: Command, usage: &'static [u8]) -> Entry {
    Entry { command, service: None, usage }
}

/// DPO, FUA, FUA_NV.
const CACHE: u8 = 0x1a;
/// DPO, BYTCHK.
const CHECK: u8 = 0x16;
/// SYNC_NV, IMMED.
const LAZY: u8 = 0x06;
const ANY: u8 = 0xff;

/// All commands, by operation code and service action.
pub const TABLE: &[Entry] = &[
    entry(Command::TestUnitReady, &[0x00, 0, 0, 0, 0, 0]),
    entry(Command::RequestSense, &[0x03, 0x01, 0, 0, ANY, 0]),
    entry(Command::Read, &[0x08, 0x1f, ANY, ANY, ANY, 0]),
    entry(Command::Write, &[0x0a, 0x1f, ANY, ANY, ANY, 0]),
    entry(Command::Inquiry, &[0x12, 0x01, ANY, ANY, ANY, 0]),
    entry(Command::ModeSelect, &[0x15, 0x11, 0, 0, ANY, 0]),
    entry(Command::ModeSense, &[0x1a, 0x08, ANY, ANY, ANY, 0]),
    entry(Command::StartStopUnit, &[0x1b, 0x01, 0, 0x0f, 0xf7, 0]),
    entry(Command::SendDiagnostic, &[0x1d, 0x04, 0, 0, 0, 0]),
    entry(Command::PreventAllow, &[0x1e, 0, 0, 0, 0x03, 0]),
    entry(Command::ReadFormatCapacities, &[0x23, 0, 0, 0, 0, 0, 0, ANY, ANY, 0]),
    entry(Command::ReadCapacity10, &[0x25, 0, 0, 0, 0, 0, 0, 0, 0, 0]),
    entry(Command::Read, &[0x28, CACHE, ANY, ANY, ANY, ANY, 0, ANY, ANY, 0]),
    entry(Command::Write, &[0x2a, CACHE, ANY, ANY, ANY, ANY, 0, ANY, ANY, 0]),
    entry(Command::WriteAndVerify, &[0x2e, CHECK, ANY, ANY, ANY, ANY, 0, ANY, ANY, 0]),
    entry(Command::Verify, &[0x2f, CHECK, ANY, ANY, ANY, ANY, 0, ANY, ANY, 0]),
    entry(Command::PreFetch, &[0x34, 0x02, ANY, ANY, ANY, ANY, 0x1f, ANY, ANY, 0]),
    entry(Command::SynchronizeCache, &[0x35, LAZY, ANY, ANY, ANY, ANY, 0, ANY, ANY, 0]),
    entry(Command::ModeSelect, &[0x55, 0x11, 0, 0, 0, 0, 0, ANY, ANY, 0]),
    entry(Command::ModeSense, &[0x5a, 0x18, ANY, ANY, 0, 0, 0, ANY, ANY, 0]),
    entry(Command::Read, &[0x88, CACHE, ANY, ANY, ANY, ANY, ANY, ANY, ANY, ANY, ANY, ANY, ANY, ANY, 0, 0]),
    entry(Command::Write, &[0x8a, CACHE, ANY, ANY, ANY, ANY, ANY, ANY, ANY, ANY, ANY, ANY, ANY, ANY, 0, 0]),
    entry(
        Command::WriteAndVerify,
        &[0x8e, CHECK, ANY, ANY, ANY, ANY, ANY, ANY, ANY, ANY, ANY, ANY, ANY, ANY, 0, 0],
    ),
    entry(Command::Verify, &[0x8f, CHECK, ANY, ANY, ANY, ANY, ANY, ANY, ANY, ANY, ANY, ANY, ANY, ANY, 0, 0]),
    entry(
        Command::PreFetch,
        &[0x90, 0x02, ANY, ANY, ANY, ANY, ANY, ANY, ANY, ANY, ANY, ANY, ANY, ANY, 0x1f, 0],
    ),
    entry(
        Command::SynchronizeCache,
        &[0x91, LAZY, ANY, ANY, ANY, ANY, ANY, ANY, ANY, ANY, ANY, ANY, ANY, ANY, 0, 0],
    ),
    Entry {
        command: Command::ReadCapacity16,
        service: Some(0x10),
        usage: &[0x9e, 0x10, 0, 0, 0, 0, 0, 0, 0, 0, ANY, ANY, ANY, ANY, 0, 0],
    },
    entry(Command::ReportLuns, &[0xa0, 0, 0x03, 0, 0, 0, ANY, ANY, ANY, ANY, 0, 0]),
    Entry {
        command: Command::ReportOpcodes,
        service: Some(0x0c),
        usage: &[0xa3, 0x0c, 0x87, ANY, ANY, ANY, ANY, ANY, ANY, ANY, 0, 0],
    },
    entry(Command::Read, &[0xa8, CACHE, ANY, ANY, ANY, ANY, ANY, ANY, ANY, ANY, 0, 0]),
    entry(Command::Write, &[0xaa, CACHE, ANY, ANY, ANY, ANY, ANY, ANY, ANY, ANY, 0, 0]),
    entry(Command::WriteAndVerify, &[0xae, CHECK, ANY, ANY, ANY, ANY, ANY, ANY, ANY, ANY, 0, 0]),
    entry(Command::Verify, &[0xaf, CHECK, ANY, ANY, ANY, ANY, ANY, ANY, ANY, ANY, 0, 0]),
];

impl Entry {
    /// The operation code.
    #[must_use]
    pub const fn opcode(&self) -> u8 {
        self.usage[0]
    }

    /// The line of a CDB, all of whose bits are such as may be set.
    ///
    /// # Errors
    /// 05/20 for another operation code; 05/24 for a service action that is not there, a CDB that is too short, and a bit where there is none.
    pub fn of(cdb: &[u8; 16], length: usize) -> Result<&'static Self, Sense> {
        let mut lines = TABLE.iter().filter(|entry| entry.opcode() == cdb[0]).peekable();
        if lines.peek().is_none() {
            return Err(Sense::NO_SUCH_COMMAND);
        }
        let entry = lines
            .find(|entry| entry.service.is_none_or(|service| service == cdb[1] & 0x1f))
            .ok_or(Sense::invalid_field(1))?;
        if length < entry.usage.len() {
            return Err(Sense::invalid_field(length as u16));
        }
        let wrong =
            (1..).zip(&cdb[1..]).zip(&entry.usage[1..]).find(|((_, byte), mask)| *byte & !**mask != 0);
        match wrong {
            Some(((at, _), _)) => Err(Sense::invalid_field(at)),
            None => Ok(entry),
        }
    }
}

/// First block and number of blocks, of every command that has them.
#[must_use]
pub fn blocks(entry: &Entry, cdb: &[u8; 16]) -> (u64, u64) {
    match entry.usage.len() {
        6 => {
            let lba = u64::from(cdb[1] & 0x1f) << 16 | be(&cdb[2..4]);
            // SBC 5.8 and 5.29: 0 is 256.
            (lba, if cdb[4] == 0 { 256 } else { u64::from(cdb[4]) })
        }
        10 => (be(&cdb[2..6]), be(&cdb[7..9])),
        12 => (be(&cdb[2..6]), be(&cdb[6..10])),
        _ => (be(&cdb[2..10]), be(&cdb[10..14])),
    }
}

/// A big-endian integer of at most eight bytes.
#[must_use]
pub fn be(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0, |number, byte| number << 8 | u64::from(*byte))
}
