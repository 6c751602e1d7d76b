//! The status pages of the vendor request (docs/spec/session.md, 5): what a host can always learn, and how it reads it.
//!
//! Encoding is the device's; decoding is the host's, and takes the bytes for hostile: lengths are checked, numbers must be
//! known, texts are bounded and of an alphabet that a terminal prints as it stands.

use alloc::vec::Vec;

use inband_store::text::Text;
use inband_store::{SessionRecord, Slot, SlotState};

use crate::door::{Door, DoorState};
use crate::result::ResultCode;
use crate::state::SessionState;

/// bRequest of the vendor request.
pub const REQUEST: u8 = 0x49;
/// Bytes of the longest page.
pub const MAX_LENGTH: usize = 60;
/// Number of the status page.
pub const STATUS_PAGE: u16 = 0;
/// Number of the page of the firmware in slot a.
pub const SLOT_A_PAGE: u16 = 1;
/// Number of the page of the firmware in slot b.
pub const SLOT_B_PAGE: u16 = 2;
/// Number of the machine page.
pub const MACHINE_PAGE: u16 = 3;
/// Number of the page of the newest log record; older ones follow.
pub const FIRST_LOG_PAGE: u16 = 16;

const FORMAT: u8 = 1;
const STATUS_LENGTH: usize = 58;
/// Bytes of the first version of the status page, which ends before the wait.
const STATUS_LENGTH_WITHOUT_WAIT: usize = 56;
const FLAG_ON_TRIAL: u8 = 1;
const FLAG_OTHER_BOOTS_NEXT: u8 = 2;
const FLAG_LOCKED_OUT: u8 = 4;
const FLAG_TAKES_AHEAD: u8 = 8;

/// Page 0: how the session, the doors and the slots stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StatusPage {
    /// How the session stands.
    pub state: SessionState,
    /// The door that owns the session.
    pub door: Option<Door>,
    /// Number of the session's result; [`StatusPage::result`] has its meaning.
    pub result_code: u16,
    /// How the doors stand, in the order of [`Door::ALL`].
    pub doors: [DoorState; 4],
    /// The running slot is not confirmed yet.
    pub on_trial: bool,
    /// Another slot than the running one boots next.
    pub other_boots_next: bool,
    /// The host is locked out because of refused packages.
    pub locked_out: bool,
    /// A DFU block may be sent ahead of the status of the one before (docs/spec/dfu.md, 1.4).
    pub takes_ahead: bool,
    /// Session id; 0 is none.
    pub session: u32,
    /// Bytes received in this session.
    pub received: u32,
    /// Bytes announced by the head; 0 while unknown.
    pub announced: u32,
    /// The running slot.
    pub running: Slot,
    /// The slot that boots next.
    pub boots_next: Slot,
    /// States of slots a and b.
    pub slots: [SlotState; 2],
    /// bcdDevice of slots a and b.
    pub bcd_device: [u16; 2],
    /// Security version of the running firmware.
    pub security_version: u32,
    /// Lowest security version that is still taken.
    pub floor: u32,
    /// Number of log records.
    pub log_records: u16,
    /// Boots left to the firmware on trial, or staged.
    pub boots_left: u8,
    /// Boots it was given in all; 0 where nothing is on trial or staged, or the BMC does not tell.
    pub boots_given: u8,
    /// First 16 bytes of the SHA-256 of the head of the session's package; 0 while unknown.
    pub head: [u8; 16],
    /// Minutes, rounded up, until a session may begin: the host is locked out, or the budgets are used up. 0 if it is neither,
    /// or the BMC does not tell.
    pub wait_minutes: u16,
}

/// Door states, in the order of [`Door::ALL`], as the page has them: two bits each, from bit 0.
#[must_use]
pub fn door_bits(doors: &[DoorState; 4]) -> u8 {
    doors.iter().rev().fold(0, |bits, door| bits << 2 | door.number())
}

impl StatusPage {
    /// The session's result; `None` for a number that this version does not know.
    #[must_use]
    pub fn result(&self) -> Option<ResultCode> {
        ResultCode::from_code(self.result_code)
    }

    /// How a door stands.
    #[must_use]
    pub const fn door_state(&self, door: Door) -> DoorState {
        self.doors[door.index()]
    }

    /// The bytes of the page.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut page = [0; STATUS_LENGTH];
        page[2] = self.state.number();
        page[3] = self.door.map_or(0, Door::number);
        page[4..6].copy_from_slice(&self.result_code.to_le_bytes());
        page[6] = door_bits(&self.doors);
        page[7] = if self.on_trial { FLAG_ON_TRIAL } else { 0 }
            | if self.other_boots_next { FLAG_OTHER_BOOTS_NEXT } else { 0 }
            | if self.locked_out { FLAG_LOCKED_OUT } else { 0 }
            | if self.takes_ahead { FLAG_TAKES_AHEAD } else { 0 };
        page[8..12].copy_from_slice(&self.session.to_le_bytes());
        page[12..16].copy_from_slice(&self.received.to_le_bytes());
        page[16..20].copy_from_slice(&self.announced.to_le_bytes());
        page[20] = self.running.number();
        page[21] = self.boots_next.number();
        page[22] = self.slots[0].number();
        page[23] = self.slots[1].number();
        page[24..26].copy_from_slice(&self.bcd_device[0].to_le_bytes());
        page[26..28].copy_from_slice(&self.bcd_device[1].to_le_bytes());
        page[28..32].copy_from_slice(&self.security_version.to_le_bytes());
        page[32..36].copy_from_slice(&self.floor.to_le_bytes());
        page[36..38].copy_from_slice(&self.log_records.to_le_bytes());
        page[38] = self.boots_left;
        page[39] = self.boots_given;
        page[40..56].copy_from_slice(&self.head);
        page[56..58].copy_from_slice(&self.wait_minutes.to_le_bytes());
        finish(&mut page);
        page.to_vec()
    }

    /// Reads the page as a device answered it.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn decode(answer: &[u8]) -> Result<Self, PageError> {
        let page = Page::open(answer, STATUS_LENGTH_WITHOUT_WAIT)?;
        let door_state = |door: Door| {
            DoorState::from_number(page.u8(6) >> (2 * door.index()) & 3).ok_or(PageError::Field("door state"))
        };
        Ok(Self {
            state: page.state(2)?,
            door: page.door(3)?,
            result_code: page.u16(4),
            doors: [
                door_state(Door::Dfu)?,
                door_state(Door::Bulk)?,
                door_state(Door::Volume)?,
                door_state(Door::Ipmi)?,
            ],
            on_trial: page.u8(7) & FLAG_ON_TRIAL != 0,
            other_boots_next: page.u8(7) & FLAG_OTHER_BOOTS_NEXT != 0,
            locked_out: page.u8(7) & FLAG_LOCKED_OUT != 0,
            takes_ahead: page.u8(7) & FLAG_TAKES_AHEAD != 0,
            session: page.u32(8),
            received: page.u32(12),
            announced: page.u32(16),
            running: page.slot(20)?,
            boots_next: page.slot(21)?,
            slots: [page.slot_state(22)?, page.slot_state(23)?],
            bcd_device: [page.u16(24), page.u16(26)],
            security_version: page.u32(28),
            floor: page.u32(32),
            log_records: page.u16(36),
            boots_left: page.u8(38),
            boots_given: page.u8(39),
            head: page.array(40),
            wait_minutes: if page.0.len() < STATUS_LENGTH { 0 } else { page.u16(56) },
        })
    }
}

/// Pages 1 and 2: the firmware in a slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FirmwarePage {
    /// State of the slot.
    pub state: SlotState,
    /// The slot.
    pub slot: Slot,
    /// Security version of the firmware.
    pub security_version: u32,
    /// bcdDevice of the firmware.
    pub bcd_device: u16,
    /// Version of the firmware, for people.
    pub version: Text<48>,
}

impl FirmwarePage {
    const LENGTH: usize = 10;

    /// The number of the page that tells of a slot.
    #[must_use]
    pub const fn number(slot: Slot) -> u16 {
        match slot {
            Slot::A => SLOT_A_PAGE,
            Slot::B => SLOT_B_PAGE,
        }
    }

    /// The bytes of the page.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut page = [0; Self::LENGTH].to_vec();
        page[2] = self.state.number();
        page[3] = self.slot.number();
        page[4..8].copy_from_slice(&self.security_version.to_le_bytes());
        page[8..10].copy_from_slice(&self.bcd_device.to_le_bytes());
        page.extend_from_slice(self.version.as_bytes());
        finish(&mut page);
        page
    }

    /// Reads the page as a device answered it.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn decode(answer: &[u8]) -> Result<Self, PageError> {
        let page = Page::open(answer, Self::LENGTH)?;
        Ok(Self {
            state: page.slot_state(2)?,
            slot: page.slot(3)?,
            security_version: page.u32(4),
            bcd_device: page.u16(8),
            version: page.text(Self::LENGTH)?,
        })
    }
}

/// Page 3: the machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MachinePage {
    /// Name of the board, as packages have it.
    pub machine: Text<48>,
}

impl MachinePage {
    const LENGTH: usize = 2;

    /// The bytes of the page.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut page = [0; Self::LENGTH].to_vec();
        page.extend_from_slice(self.machine.as_bytes());
        finish(&mut page);
        page
    }

    /// Reads the page as a device answered it.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn decode(answer: &[u8]) -> Result<Self, PageError> {
        let page = Page::open(answer, Self::LENGTH)?;
        let machine: Text<48> = page.text(Self::LENGTH)?;
        if machine.is_empty() { Err(PageError::Field("text")) } else { Ok(Self { machine }) }
    }
}

/// Pages 16 to 31: a log record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogPage {
    /// The state that the record was made in.
    pub state: SessionState,
    /// The door that the session came through.
    pub door: Option<Door>,
    /// Session id.
    pub session: u32,
    /// Number of the result; [`LogPage::result`] has its meaning.
    pub result_code: u16,
    /// The slot that was the target.
    pub target: Slot,
    /// The boot of the trial, counted from 1, that the record tells of; 0 where it tells of none.
    pub boot: u8,
    /// First 8 bytes of the SHA-256 of the head; 0 where none came that far.
    pub head: [u8; 8],
    /// Version of the package.
    pub version: Text<40>,
}

impl LogPage {
    const LENGTH: usize = 20;

    /// The result; `None` for a number that this version does not know.
    #[must_use]
    pub fn result(&self) -> Option<ResultCode> {
        ResultCode::from_code(self.result_code)
    }

    /// The page of a record of the store. A state or door that this version does not know reads as none.
    #[must_use]
    pub fn new(record: &SessionRecord) -> Self {
        let mut head = [0; 8];
        head.copy_from_slice(&record.head[..8]);
        Self {
            state: SessionState::from_number(record.state).unwrap_or_default(),
            door: Door::from_number(record.door),
            session: record.id,
            result_code: record.result,
            target: record.target,
            boot: record.boot,
            head,
            version: record.version,
        }
    }

    /// The bytes of the page.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut page = [0; Self::LENGTH].to_vec();
        page[2] = self.state.number();
        page[3] = self.door.map_or(0, Door::number);
        page[4..8].copy_from_slice(&self.session.to_le_bytes());
        page[8..10].copy_from_slice(&self.result_code.to_le_bytes());
        page[10] = self.target.number();
        page[11] = self.boot;
        page[12..20].copy_from_slice(&self.head);
        page.extend_from_slice(self.version.as_bytes());
        finish(&mut page);
        page
    }

    /// Reads the page as a device answered it.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn decode(answer: &[u8]) -> Result<Self, PageError> {
        let page = Page::open(answer, Self::LENGTH)?;
        Ok(Self {
            state: page.state(2)?,
            door: page.door(3)?,
            session: page.u32(4),
            result_code: page.u16(8),
            target: page.slot(10)?,
            boot: page.u8(11),
            head: page.array(12),
            version: page.text(Self::LENGTH)?,
        })
    }
}

/// Why an answer is no page: the device does not keep to the protocol, or to a version of it that this one knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PageError {
    /// It has fewer bytes than it must have, or than it says.
    #[error("status page is cut short at {0} bytes")]
    Short(usize),
    /// A format version that this one does not know.
    #[error("status page has format version {0}, which is not known")]
    Format(u8),
    /// A field has a value that is not allowed.
    #[error("status page has a {0} that is not allowed")]
    Field(&'static str),
}

/// Puts format version and length at the beginning of a page that is complete otherwise.
fn finish(page: &mut [u8]) {
    page[0] = FORMAT;
    // Every page is at most MAX_LENGTH bytes: texts are bounded by their type.
    page[1] = u8::try_from(page.len()).unwrap_or(u8::MAX);
}

/// An answer whose version and length were checked.
struct Page<'a>(&'a [u8]);

impl<'a> Page<'a> {
    /// Checks version and length; `known` bytes at least must be there. The page may be longer than that.
    fn open(answer: &'a [u8], known: usize) -> Result<Self, PageError> {
        let [format, length, ..] = *answer else { return Err(PageError::Short(answer.len())) };
        if format != FORMAT {
            return Err(PageError::Format(format));
        }
        let length = usize::from(length);
        let page = answer.get(..length).ok_or(PageError::Short(answer.len()))?;
        if length < known { Err(PageError::Short(length)) } else { Ok(Self(page)) }
    }

    // The accessors below are called with offsets below the length that `open` made sure of.

    fn array<const N: usize>(&self, at: usize) -> [u8; N] {
        let mut bytes = [0; N];
        bytes.copy_from_slice(&self.0[at..at + N]);
        bytes
    }

    fn u8(&self, at: usize) -> u8 {
        self.0[at]
    }

    fn u16(&self, at: usize) -> u16 {
        u16::from_le_bytes(self.array(at))
    }

    fn u32(&self, at: usize) -> u32 {
        u32::from_le_bytes(self.array(at))
    }

    fn state(&self, at: usize) -> Result<SessionState, PageError> {
        SessionState::from_number(self.u8(at)).ok_or(PageError::Field("session state"))
    }

    fn door(&self, at: usize) -> Result<Option<Door>, PageError> {
        match self.u8(at) {
            0 => Ok(None),
            number => Door::from_number(number).map(Some).ok_or(PageError::Field("door")),
        }
    }

    fn slot(&self, at: usize) -> Result<Slot, PageError> {
        Slot::from_number(self.u8(at)).ok_or(PageError::Field("slot"))
    }

    fn slot_state(&self, at: usize) -> Result<SlotState, PageError> {
        SlotState::from_number(self.u8(at)).ok_or(PageError::Field("slot state"))
    }

    /// The text that fills the rest of the page.
    fn text<const MAX: usize>(&self, at: usize) -> Result<Text<MAX>, PageError> {
        Text::from_bytes(&self.0[at..]).ok_or(PageError::Field("text"))
    }
}

#[cfg(test)]
mod tests;
