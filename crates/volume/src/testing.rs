//! What the tests of this crate and of others share: a medium that is an array, a wire without a bus, a host that writes a filesystem by hand, a reader of
//! what it wrote, and traces of hosts.

mod fat_host;
mod reader;
pub mod trace;

use alloc::{collections::VecDeque, vec, vec::Vec};
use core::time::Duration;

use inband_usb::{Direction, Setup, TransferError, descriptor::BULK_PACKET_SIZE};

use crate::{
    bot::{
        Action, Control, Device, Halts, Phase, Target,
        wire::{CSW_LENGTH, Cbw, RESET},
    },
    scsi::{BLOCK, Event, Fault, Medium, State},
};

pub use fat_host::FatHost;
pub use reader::package_on;

/// A medium that is an array.
#[derive(Clone, Debug)]
pub struct ArrayMedium {
    /// Whole blocks.
    pub bytes: Vec<u8>,
    /// What is shown.
    pub present: bool,
    /// Shown likewise.
    pub write_protected: bool,
    /// Shown likewise.
    pub insertion: u32,
    /// Reads and writes that reach this block fail so.
    pub fault: Option<(u64, Fault)>,
    /// What was noticed.
    pub events: Vec<Event>,
}

impl ArrayMedium {
    /// A medium of so many blocks, each with other contents.
    #[must_use]
    pub fn new(blocks: usize) -> Self {
        let bytes = (0..blocks * BLOCK).map(|n| (n / BLOCK * 31 + n * 7 + 1) as u8).collect();
        Self { bytes, present: true, write_protected: false, insertion: 1, fault: None, events: Vec::new() }
    }

    fn range(&self, lba: u64, length: usize) -> Result<core::ops::Range<usize>, Fault> {
        if !self.present {
            return Err(Fault::Absent);
        }
        let last = lba + (length / BLOCK) as u64;
        match self.fault {
            Some((block, fault)) if (lba..last).contains(&block) => return Err(fault),
            _ => {}
        }
        let start = usize::try_from(lba).unwrap_or(usize::MAX).saturating_mul(BLOCK);
        let range = start..start.saturating_add(length);
        // A disk that asks for what is not there is a fault of the disk's.
        assert!(length.is_multiple_of(BLOCK) && range.end <= self.bytes.len(), "blocks that are not there");
        Ok(range)
    }
}

impl Medium for ArrayMedium {
    fn state(&self) -> State {
        let Self { write_protected, insertion, .. } = *self;
        if self.present {
            State::Present { blocks: (self.bytes.len() / BLOCK) as u64, write_protected, insertion }
        } else {
            State::Absent
        }
    }

    fn read(&mut self, lba: u64, buffer: &mut [u8]) -> Result<(), Fault> {
        let range = self.range(lba, buffer.len())?;
        buffer.copy_from_slice(&self.bytes[range]);
        Ok(())
    }

    fn write(&mut self, lba: u64, data: &[u8]) -> Result<(), Fault> {
        assert!(!self.write_protected, "a write to what is write-protected");
        let range = self.range(lba, data.len())?;
        self.bytes[range].copy_from_slice(data);
        Ok(())
    }

    fn flush(&mut self) -> Result<(), Fault> {
        Ok(())
    }

    fn notice(&mut self, event: Event) {
        self.events.push(event);
    }
}

/// What the host reads on IN.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Read {
    /// So many bytes, or fewer: a short packet came.
    Bytes(Vec<u8>),
    /// As many bytes as stand here, and then STALL.
    Stall(Vec<u8>),
    /// As many bytes as stand here, and then nothing: the device has no more to say for now.
    Nothing(Vec<u8>),
}

/// A device with the endpoints that a host sees, without time and without a bus.
#[derive(Debug)]
pub struct Wire<T> {
    /// The device.
    pub device: Device<T>,
    /// The endpoint IN is halted.
    pub halted: bool,
    /// Transfers that are taken back come home as late as may be: before the next one on their endpoint does.
    pub late: bool,
    late_reads: VecDeque<(Vec<u8>, usize)>,
    late_sends: VecDeque<(Vec<u8>, usize)>,
    reads: VecDeque<(Vec<u8>, usize)>,
    sends: VecDeque<(Vec<u8>, usize)>,
    now: Duration,
    /// Transfers in flight at once, at most, that were seen.
    pub deepest: usize,
}

const PACKET: usize = BULK_PACKET_SIZE as usize;

impl<T: Target> Wire<T> {
    /// A device that was just configured.
    #[must_use]
    pub fn new(mut device: Device<T>) -> Self {
        device.handle_enable();
        let mut wire = Self {
            device,
            halted: false,
            late: false,
            late_reads: VecDeque::new(),
            late_sends: VecDeque::new(),
            reads: VecDeque::new(),
            sends: VecDeque::new(),
            now: Duration::ZERO,
            deepest: 0,
        };
        wire.act();
        wire
    }

    /// Carries out what the device wants.
    pub fn act(&mut self) {
        while let Some(action) = self.device.poll_action() {
            match action {
                Action::Read(buffer) => {
                    assert!(!buffer.is_empty() && buffer.len().is_multiple_of(PACKET), "no whole packets");
                    self.reads.push_back((buffer, 0));
                }
                Action::Send(buffer) => self.sends.push_back((buffer, 0)),
                Action::Halt => {
                    let idle = self.sends.is_empty() && self.late_sends.is_empty();
                    assert!(idle, "halted with a transfer in flight");
                    self.halted = true;
                }
                Action::TakeBack(Direction::Out) => {
                    self.late_reads.append(&mut self.reads);
                    if !self.late {
                        self.bring_reads_home(TransferError::Cancelled);
                    }
                }
                Action::TakeBack(Direction::In) => {
                    self.late_sends.append(&mut self.sends);
                    if !self.late {
                        self.bring_sends_home(TransferError::Cancelled);
                    }
                }
            }
            let reads = self.reads.len() + self.late_reads.len();
            self.deepest = self.deepest.max(reads).max(self.sends.len() + self.late_sends.len());
        }
    }

    fn bring_reads_home(&mut self, error: TransferError) {
        for (buffer, length) in core::mem::take(&mut self.late_reads) {
            self.device.handle_read(self.now, buffer, length, Err(error));
        }
    }

    fn bring_sends_home(&mut self, error: TransferError) {
        for (buffer, _) in core::mem::take(&mut self.late_sends) {
            self.device.handle_sent(self.now, buffer, Err(error));
        }
    }

    /// All that was taken back comes home.
    fn bring_home(&mut self) {
        self.bring_reads_home(TransferError::Cancelled);
        self.bring_sends_home(TransferError::Cancelled);
        self.act();
    }

    /// The host sends a transfer. Returns how many bytes the device took; it takes no more until it wants them.
    pub fn send(&mut self, bytes: &[u8]) -> usize {
        let mut sent = 0;
        loop {
            if self.reads.is_empty() {
                self.bring_home();
            }
            let Some((buffer, at)) = self.reads.front_mut() else { return sent };
            let count = (bytes.len() - sent).min(buffer.len() - *at);
            buffer[*at..*at + count].copy_from_slice(&bytes[sent..sent + count]);
            *at += count;
            sent += count;
            // A read ends when it is full, or with a short packet.
            let short = sent == bytes.len() && (!bytes.len().is_multiple_of(PACKET) || bytes.is_empty());
            if (*at == buffer.len() || short)
                && let Some((buffer, length)) = self.reads.pop_front()
            {
                self.bring_reads_home(TransferError::Cancelled);
                self.device.handle_read(self.now, buffer, length, Ok(()));
                self.act();
            }
            if sent == bytes.len() {
                return sent;
            }
        }
    }

    /// The host reads so many bytes.
    pub fn read(&mut self, length: usize) -> Read {
        let mut bytes = Vec::new();
        loop {
            if self.sends.is_empty() {
                self.bring_home();
            }
            if self.halted {
                return Read::Stall(bytes);
            }
            let Some((buffer, at)) = self.sends.front_mut() else { return Read::Nothing(bytes) };
            let count = (length - bytes.len()).min(buffer.len() - *at);
            bytes.extend_from_slice(&buffer[*at..*at + count]);
            *at += count;
            if *at == buffer.len() {
                let short = !buffer.len().is_multiple_of(PACKET);
                if let Some((buffer, _)) = self.sends.pop_front() {
                    self.bring_sends_home(TransferError::Cancelled);
                    self.device.handle_sent(self.now, buffer, Ok(()));
                }
                self.act();
                if short {
                    return Read::Bytes(bytes);
                }
            }
            if bytes.len() == length {
                return Read::Bytes(bytes);
            }
        }
    }

    /// CLEAR_FEATURE(ENDPOINT_HALT) of IN.
    pub fn clear_halt(&mut self) {
        self.halted = false;
    }

    /// Bulk-Only Mass Storage Reset, to interface 0; with `recover` all of Reset Recovery.
    pub fn reset(&mut self, recover: bool) {
        let setup = Setup { request_type: 0x21, request: RESET, value: 0, index: 0, length: 0 };
        assert_eq!(self.device.handle_setup(&setup), Control::Reset, "a reset is refused");
        self.act();
        if recover {
            self.clear_halt();
        }
    }

    /// Bus reset or unplug, and configured again.
    pub fn reconnect(&mut self) {
        self.late_reads.append(&mut self.reads);
        self.late_sends.append(&mut self.sends);
        self.bring_reads_home(TransferError::Disabled);
        self.bring_sends_home(TransferError::Disabled);
        self.device.handle_disable();
        self.act();
        assert!(self.reads.is_empty() && self.sends.is_empty(), "transfers on a device that is not there");
        self.halted = false;
        self.device.handle_enable();
        self.act();
    }

    /// Time passes.
    pub fn advance(&mut self, time: Duration) {
        self.now = self.now.saturating_add(time);
        self.device.handle_timeout(self.now);
        self.act();
    }
}

/// How a command looked to a host that does all that it announced.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    /// Data to the host.
    pub data: Vec<u8>,
    /// IN was halted behind it.
    pub halted: bool,
    /// dCSWDataResidue.
    pub residue: u32,
    /// bCSWStatus.
    pub status: u8,
}

/// Runs a CBW that is valid and meaningful, as a host that keeps to the standard does, and checks on the way whatever BOT says of the device, for
/// any command. `data` is what is sent if the CBW says OUT; as long as it says.
///
/// # Panics
/// If the device breaks a rule.
pub fn run<T: Target>(wire: &mut Wire<T>, halts: Halts, cbw: &Cbw, data: &[u8]) -> Seen {
    assert_eq!(wire.device.phase(), Phase::Command, "not ready for a command");
    assert!(!wire.halted, "halted before a command");
    assert_eq!(wire.send(&cbw.to_bytes()), 31, "the CBW was not taken");
    let expected = cbw.length as usize;
    let (mut came, mut halted) = (Vec::new(), false);
    match cbw.direction {
        _ if expected == 0 => {}
        Direction::Out => assert_eq!(wire.send(&data[..expected]), expected, "data was not taken"),
        Direction::In => {
            (came, halted) = match wire.read(expected.next_multiple_of(PACKET)) {
                Read::Bytes(bytes) => (bytes, false),
                Read::Stall(bytes) => (bytes, true),
                Read::Nothing(bytes) => (bytes, false),
            };
            assert!(came.len() <= expected, "more data than the CBW allows");
        }
    }
    if halted {
        wire.clear_halt();
    }
    let csw = match wire.read(PACKET) {
        Read::Bytes(bytes) => bytes,
        Read::Stall(bytes) => {
            assert!(!halted && bytes.is_empty() && cbw.direction == Direction::In, "a second halt");
            halted = true;
            wire.clear_halt();
            match wire.read(PACKET) {
                Read::Bytes(bytes) => bytes,
                other => vec_of(&other),
            }
        }
        other => vec_of(&other),
    };
    assert_eq!(csw.len(), CSW_LENGTH, "no CSW");
    let seen = Seen {
        data: came,
        halted,
        residue: u32::from_le_bytes([csw[8], csw[9], csw[10], csw[11]]),
        status: csw[12],
    };
    assert_eq!(csw[..4], *b"USBS", "no CSW");
    assert_eq!(csw[4..8], cbw.tag.to_le_bytes(), "the tag of another CBW");
    assert!(seen.status <= 2 && seen.residue <= cbw.length, "a CSW that means nothing: {seen:?}");
    if cbw.direction == Direction::In && expected > 0 {
        let short = seen.data.len() < expected;
        assert_eq!(seen.halted, short, "what is short, and only that, ends with a halt");
        assert!(halts == Halts::Use || !short, "a halt where there is to be none");
        if halts == Halts::Use {
            assert_eq!(seen.residue as usize, expected - seen.data.len(), "a residue that is wrong");
        }
    } else {
        assert!(!seen.halted, "a halt without data to the host");
    }
    assert!(wire.sends.is_empty(), "something behind the CSW");
    assert_eq!(wire.device.phase(), Phase::Command, "not ready behind the CSW");
    seen
}

fn vec_of(read: &Read) -> Vec<u8> {
    match read {
        Read::Bytes(bytes) | Read::Stall(bytes) | Read::Nothing(bytes) => bytes.clone(),
    }
}

/// A CBW of a host that counts tags.
#[must_use]
pub fn cbw(tag: u32, direction: Direction, length: u32, command: &[u8]) -> Cbw {
    let cdb_length = command.len().clamp(1, 16);
    let mut cdb = [0; 16];
    let given = command.len().min(16);
    cdb[..given].copy_from_slice(&command[..given]);
    Cbw { tag, length, direction, lun: 0, cdb_length, cdb }
}

/// Data that differs from byte to byte.
#[must_use]
pub fn pattern(seed: usize, length: usize) -> Vec<u8> {
    let mut bytes = vec![0; length];
    for (n, byte) in bytes.iter_mut().enumerate() {
        *byte = (n * 11 + n / 256 * 3 + seed) as u8;
    }
    bytes
}
