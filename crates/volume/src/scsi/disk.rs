//! The logical unit.

use alloc::vec::Vec;

use super::{
    answer,
    command::{Command, Entry, be, blocks},
    inquiry::{Identity, inquiry},
    medium::{BLOCK, Event, Fault, Medium, State},
    mode,
    sense::Sense,
};
use crate::bot::{Intent, Refused, Target};

/// Bytes that are compared at once.
const COMPARED: usize = 4096;
/// How often a host asks for the size of a medium, and reads nothing, until it is told again that the medium has changed.
const ASKED_IN_VAIN: u8 = 3;

/// A removable disk of blocks of 512 bytes: the only logical unit.
///
/// What the host may be told next, its sense data and unit attentions, is kept here; the medium may change at any time between two calls, and
/// within a command.
#[derive(Debug)]
pub struct Disk<M> {
    medium: M,
    identity: Identity,
    /// What was there when last looked.
    seen: Option<Inserted>,
    /// The insertion that the host has ejected.
    ejected: Option<u32>,
    /// A unit attention for a reset is due.
    was_reset: bool,
    /// A unit attention for another medium is due.
    was_changed: bool,
    /// Whether the last medium was write-protected.
    was_protected: Option<bool>,
    /// While the medium's protection is another than that of the one before, and the host was not told so twice: how often it has asked for the
    /// size since it read last.
    asked: Option<u8>,
    prevented: bool,
    /// SWP of the Control page.
    swp: bool,
    /// Of the last command.
    sense: Sense,
    job: Job,
}

/// The command under way.
#[derive(Debug)]
enum Job {
    None,
    /// These bytes, from there on.
    Answer {
        bytes: Vec<u8>,
        at: usize,
        takes_sense: bool,
    },
    /// Blocks, from this one on.
    Read {
        lba: u64,
        on: Inserted,
    },
    /// Blocks; read back if `compare`; `flush` at the end.
    Write {
        lba: u64,
        on: Inserted,
        compare: bool,
        flush: bool,
    },
    /// Blocks to be compared with.
    Compare {
        lba: u64,
        on: Inserted,
    },
    /// The parameter list of a MODE SELECT, of so many bytes.
    Select {
        long: bool,
        list: Vec<u8>,
        length: usize,
    },
    /// What has no data, at the end.
    Act(Act),
}

#[derive(Clone, Copy, Debug)]
enum Act {
    Nothing,
    Flush(Inserted),
    Prevent(bool),
    /// What was there when the command began.
    Eject(Option<Inserted>),
    Stop,
    Start,
}

/// Which medium it is, for the host: one that has become larger or smaller is another one, whatever its owner calls it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Inserted {
    insertion: u32,
    blocks: u64,
}

/// A medium that is there.
#[derive(Clone, Copy, Debug)]
struct Present {
    it: Inserted,
    /// By itself, whatever SWP says.
    write_protected: bool,
}

impl<M: Medium> Disk<M> {
    /// A disk that was just switched on.
    #[must_use]
    pub fn new(identity: Identity, medium: M) -> Self {
        let mut disk = Self {
            medium,
            identity,
            seen: None,
            ejected: None,
            was_reset: true,
            was_changed: false,
            was_protected: None,
            asked: None,
            prevented: false,
            swp: false,
            sense: Sense::NONE,
            job: Job::None,
        };
        disk.look();
        disk.was_changed = false;
        disk
    }

    /// The medium.
    #[must_use]
    pub const fn medium(&self) -> &M {
        &self.medium
    }

    /// The medium.
    pub const fn medium_mut(&mut self) -> &mut M {
        &mut self.medium
    }

    /// Whether the host forbids to take the medium out.
    #[must_use]
    pub const fn is_prevented(&self) -> bool {
        self.prevented
    }

    /// Allows the removal, whatever the host has said: the owner takes the medium out.
    pub fn allow(&mut self) {
        self.set_prevented(false);
    }

    /// Why the last command failed.
    #[must_use]
    pub const fn sense(&self) -> Sense {
        self.sense
    }

    fn set_prevented(&mut self, prevented: bool) {
        if core::mem::replace(&mut self.prevented, prevented) != prevented {
            self.medium.notice(if prevented { Event::Prevented } else { Event::Allowed });
        }
    }

    /// What is in the drive, for the host.
    fn present(&self) -> Option<Present> {
        match self.medium.state() {
            State::Present { blocks, write_protected, insertion }
                if blocks > 0 && self.ejected != Some(insertion) =>
            {
                Some(Present { it: Inserted { insertion, blocks }, write_protected })
            }
            State::Present { .. } | State::Absent => None,
        }
    }

    /// Notices that the medium has changed.
    fn look(&mut self) -> Option<Present> {
        let present = self.present();
        let seen = present.map(|present| present.it);
        if seen != self.seen {
            // One that has gone again is nothing to tell of.
            self.was_changed = seen.is_some();
            self.seen = seen;
            // What the host has set was for the medium before.
            self.swp = false;
        }
        if let Some(present) = present {
            let before = self.was_protected.replace(present.write_protected);
            if before.is_some_and(|before| before != present.write_protected) {
                self.asked = Some(0);
            }
        }
        present
    }

    /// The host asks for the size of the medium, as EDK2 does before it reads. Where the protection has changed with the medium EDK2 has its filesystem
    /// look at the new one, and numbers that only then: none of its accesses comes to a READ any more, until there is another change.
    const fn asked_for_size(&mut self) {
        match self.asked {
            None => {}
            Some(asked) if asked + 1 < ASKED_IN_VAIN => self.asked = Some(asked + 1),
            Some(_) => (self.asked, self.was_changed) = (None, true),
        }
    }

    /// What is due to be told before anything else.
    fn attention(&self) -> Option<Sense> {
        if self.was_reset {
            Some(Sense::RESET)
        } else if self.was_changed {
            Some(Sense::CHANGED)
        } else {
            None
        }
    }

    /// It was told.
    fn attention_told(&mut self) {
        if !core::mem::take(&mut self.was_reset) {
            self.was_changed = false;
        }
    }

    fn refuse<T>(&mut self, sense: Sense) -> Result<T, Refused> {
        self.sense = sense;
        self.job = Job::None;
        Err(Refused)
    }

    fn start(&mut self, cdb: &[u8; 16], length: usize) -> Result<Intent, Sense> {
        let present = self.look();
        if !matches!(cdb[0], 0x03 | 0x12 | 0xa0)
            && let Some(sense) = self.attention()
        {
            self.attention_told();
            return Err(sense);
        }
        let entry = Entry::of(cdb, length)?;
        let medium = present.ok_or(Sense::NO_MEDIUM);
        match entry.command {
            Command::TestUnitReady => {
                medium?;
                Ok(self.act(Act::Nothing))
            }
            Command::SendDiagnostic if cdb[1] & 0x04 == 0 => Err(Sense::invalid_field(1)),
            // The self-test: whoever can answer is well.
            Command::SendDiagnostic => Ok(self.act(Act::Nothing)),
            Command::RequestSense => Ok(self.request_sense(cdb)),
            Command::Inquiry => Ok(self.answer(inquiry(&self.identity, cdb)?, be(&cdb[3..5]))),
            Command::ModeSense => {
                let allocation = if cdb[0] == 0x1a { u64::from(cdb[4]) } else { be(&cdb[7..9]) };
                let protected = self.swp || present.is_some_and(|present| present.write_protected);
                Ok(self.answer(mode::sense(cdb, protected, self.swp)?, allocation))
            }
            Command::ModeSelect => self.mode_select(cdb),
            Command::StartStopUnit => self.start_stop(cdb, present),
            Command::PreventAllow => Ok(self.act(Act::Prevent(cdb[4] & 1 != 0))),
            Command::ReadFormatCapacities => {
                let bytes = answer::format_capacities(present.map(|present| present.it.blocks));
                Ok(self.answer(bytes, be(&cdb[7..9])))
            }
            Command::ReadCapacity10 => {
                let blocks = medium?.it.blocks;
                self.asked_for_size();
                Ok(self.answer(answer::capacity10(blocks), 8))
            }
            Command::ReadCapacity16 => {
                Ok(self.answer(answer::capacity16(medium?.it.blocks), be(&cdb[10..14])))
            }
            Command::ReportLuns => Ok(self.answer(answer::luns(cdb[2])?, be(&cdb[6..10]))),
            Command::ReportOpcodes => Ok(self.answer(answer::opcodes(cdb)?, be(&cdb[6..10]))),
            Command::Read
            | Command::Write
            | Command::WriteAndVerify
            | Command::Verify
            | Command::PreFetch
            | Command::SynchronizeCache => self.on_blocks(entry, cdb, medium?),
        }
    }

    /// Commands with a first block and a number of blocks.
    fn on_blocks(&mut self, entry: &Entry, cdb: &[u8; 16], medium: Present) -> Result<Intent, Sense> {
        let on = medium.it;
        self.asked = self.asked.map(|_| 0);
        let (lba, count) = blocks(entry, cdb);
        // BYTCHK (SBC 5.20): 00b, and 01b, which brings the blocks to compare with.
        let check = (cdb[1] >> 1) & 0x03;
        let checked = matches!(entry.command, Command::Verify | Command::WriteAndVerify);
        if checked && check > 1 {
            return Err(Sense::invalid_field(1));
        }
        if lba.checked_add(count).is_none_or(|end| end > on.blocks) {
            return Err(Sense::OUT_OF_RANGE);
        }
        // A WRITE of no blocks changes nothing and is refused all the same where nothing may be written.
        if matches!(entry.command, Command::Write | Command::WriteAndVerify) {
            self.writable(medium)?;
        }
        if entry.command == Command::SynchronizeCache {
            return Ok(self.act(Act::Flush(on)));
        }
        if count == 0 {
            return Ok(self.act(Act::Nothing));
        }
        // At most 2^32 blocks.
        let bytes = count * BLOCK as u64;
        let (job, intent) = match entry.command {
            Command::Read => (Job::Read { lba, on }, Intent::In(bytes)),
            Command::Write => {
                let flush = entry.usage.len() > 6 && cdb[1] & 0x08 != 0;
                (Job::Write { lba, on, compare: false, flush }, Intent::Out(bytes))
            }
            Command::WriteAndVerify => {
                (Job::Write { lba, on, compare: check == 1, flush: true }, Intent::Out(bytes))
            }
            Command::Verify if check == 1 => (Job::Compare { lba, on }, Intent::Out(bytes)),
            // What is not compared is not read: there is no surface that could have gone bad.
            _ => (Job::Act(Act::Nothing), Intent::Nothing),
        };
        self.job = job;
        Ok(intent)
    }

    /// Whether the medium may be written. Its own protection comes before the host's: to clear SWP is of no use then.
    const fn writable(&self, medium: Present) -> Result<(), Sense> {
        match (medium.write_protected, self.swp) {
            (true, _) => Err(Sense::WRITE_PROTECTED),
            (false, true) => Err(Sense::SOFTWARE_PROTECTED),
            (false, false) => Ok(()),
        }
    }

    fn act(&mut self, act: Act) -> Intent {
        self.job = Job::Act(act);
        Intent::Nothing
    }

    /// As much of an answer as was asked for.
    fn answer(&mut self, mut bytes: Vec<u8>, allocation: u64) -> Intent {
        bytes.truncate(usize::try_from(allocation).unwrap_or(usize::MAX));
        let length = bytes.len() as u64;
        self.job = Job::Answer { bytes, at: 0, takes_sense: false };
        if length == 0 { Intent::Nothing } else { Intent::In(length) }
    }

    /// The sense data of the last command; if that did not fail, what is due to be told (SPC 6.27).
    fn request_sense(&mut self, cdb: &[u8; 16]) -> Intent {
        let sense = match self.attention() {
            Some(attention) if self.sense == Sense::NONE => {
                self.attention_told();
                self.sense = attention;
                attention
            }
            _ => self.sense,
        };
        let bytes = if cdb[1] & 0x01 == 0 {
            sense.fixed().to_vec()
        } else {
            let (bytes, length) = sense.descriptor();
            bytes[..length].to_vec()
        };
        let intent = self.answer(bytes, u64::from(cdb[4]));
        if let Job::Answer { takes_sense, .. } = &mut self.job {
            *takes_sense = true;
        }
        intent
    }

    fn mode_select(&mut self, cdb: &[u8; 16]) -> Result<Intent, Sense> {
        let long = cdb[0] == 0x55;
        let length = if long { be(&cdb[7..9]) } else { u64::from(cdb[4]) } as usize;
        if cdb[1] & 0x01 != 0 || cdb[1] & 0x10 == 0 {
            // SP, or pages in a format of SCSI-1.
            return Err(Sense::invalid_field(1));
        }
        if length > mode::LONGEST_LIST {
            return Err(Sense::PARAMETER_LENGTH);
        }
        self.job = Job::Select { long, list: Vec::new(), length };
        Ok(if length == 0 { Intent::Nothing } else { Intent::Out(length as u64) })
    }

    fn start_stop(&mut self, cdb: &[u8; 16], present: Option<Present>) -> Result<Intent, Sense> {
        let (power, eject, start) = (cdb[4] >> 4, cdb[4] & 0x02 != 0, cdb[4] & 0x01 != 0);
        // SBC 5.17: with a power condition Start and LoEj mean nothing. There is no power to save.
        let act = match (eject, start) {
            _ if power != 0 => Act::Nothing,
            (true, false) if self.prevented && present.is_some() => return Err(Sense::PREVENTED),
            (true, false) => Act::Eject(present.map(|present| present.it)),
            (false, false) => Act::Stop,
            // Nothing that the host has ejected can be loaded by it.
            (_, true) if present.is_none() => return Err(Sense::NO_MEDIUM),
            (_, true) => Act::Start,
        };
        Ok(self.act(act))
    }

    /// The medium that the command began with.
    fn still(&mut self, on: Inserted) -> Result<Present, Sense> {
        match self.look() {
            Some(present) if present.it == on => Ok(present),
            Some(_) => {
                self.was_changed = false;
                Err(Sense::CHANGED)
            }
            None => Err(Sense::NO_MEDIUM),
        }
    }

    fn give(&mut self, buffer: &mut [u8]) -> Result<(), Sense> {
        match &mut self.job {
            Job::Answer { bytes, at, .. } => {
                let end = at.saturating_add(buffer.len());
                let part = bytes.get(*at..end).ok_or(Sense::DATA_PHASE)?;
                buffer.copy_from_slice(part);
                *at = end;
                Ok(())
            }
            Job::Read { lba, on } => {
                let (first, on) = (*lba, *on);
                // The last piece of a host that has too little room may end inside a block.
                let whole = buffer.len() / BLOCK * BLOCK;
                *lba += buffer.len().div_ceil(BLOCK) as u64;
                self.still(on)?;
                let (blocks, part) = buffer.split_at_mut(whole);
                if !blocks.is_empty() {
                    self.medium.read(first, blocks).map_err(Fault::sense)?;
                }
                if !part.is_empty() {
                    let mut block = [0; BLOCK];
                    self.medium.read(first + (whole / BLOCK) as u64, &mut block).map_err(Fault::sense)?;
                    part.copy_from_slice(&block[..part.len()]);
                }
                Ok(())
            }
            Job::None | Job::Write { .. } | Job::Compare { .. } | Job::Select { .. } | Job::Act(_) => {
                Err(Sense::DATA_PHASE)
            }
        }
    }

    fn take(&mut self, data: &[u8]) -> Result<(), Sense> {
        // A block that is not whole is the last thing of a host that ended its data too early.
        let whole = data.len() / BLOCK;
        let blocks = &data[..whole * BLOCK];
        match &mut self.job {
            Job::Select { list, length, .. } => {
                if list.len() + data.len() > *length {
                    return Err(Sense::PARAMETER_LENGTH);
                }
                list.extend_from_slice(data);
                Ok(())
            }
            _ if whole == 0 => Ok(()),
            Job::Write { lba, on, compare, .. } => {
                let (first, on, compare) = (*lba, *on, *compare);
                *lba += whole as u64;
                let medium = self.still(on)?;
                self.writable(medium)?;
                self.medium.write(first, blocks).map_err(Fault::sense)?;
                self.medium.notice(Event::Written { lba: first, blocks: whole as u64 });
                if compare { self.compare(first, blocks) } else { Ok(()) }
            }
            Job::Compare { lba, on } => {
                let (first, on) = (*lba, *on);
                *lba += whole as u64;
                self.still(on)?;
                self.compare(first, blocks)
            }
            Job::None | Job::Answer { .. } | Job::Read { .. } | Job::Act(_) => Err(Sense::DATA_PHASE),
        }
    }

    fn compare(&mut self, first: u64, data: &[u8]) -> Result<(), Sense> {
        let mut there = [0; COMPARED];
        let mut lba = first;
        for part in data.chunks(COMPARED) {
            let there = &mut there[..part.len()];
            self.medium.read(lba, there).map_err(Fault::sense)?;
            if there != part {
                return Err(Sense::MISCOMPARE);
            }
            lba += (part.len() / BLOCK) as u64;
        }
        Ok(())
    }

    fn finish(&mut self) -> Result<(), Sense> {
        match core::mem::replace(&mut self.job, Job::None) {
            Job::None | Job::Read { .. } | Job::Compare { .. } => Ok(()),
            Job::Answer { takes_sense, .. } => {
                if takes_sense {
                    self.sense = Sense::NONE;
                }
                Ok(())
            }
            Job::Write { on, flush, .. } => {
                if flush {
                    self.flush(on)
                } else {
                    Ok(())
                }
            }
            Job::Select { long, list, .. } => {
                self.swp = mode::select(long, &list, self.swp)?;
                Ok(())
            }
            Job::Act(Act::Nothing) => Ok(()),
            Job::Act(Act::Flush(on)) => {
                self.flush(on)?;
                self.medium.notice(Event::Synchronized);
                Ok(())
            }
            Job::Act(Act::Prevent(prevented)) => {
                self.set_prevented(prevented);
                Ok(())
            }
            // There was none, or it has gone by itself meanwhile.
            Job::Act(Act::Eject(None)) => Ok(()),
            Job::Act(Act::Eject(Some(_))) if self.present().is_none() => Ok(()),
            Job::Act(Act::Eject(Some(on))) => {
                // Data that the host has announced may come between the command and its end, and with it another medium, of which the host
                // knows nothing: that one stays.
                self.still(on)?;
                self.ejected = Some(on.insertion);
                // Not by the host's own doing does it change.
                (self.seen, self.was_changed) = (None, false);
                self.medium.notice(Event::Ejected);
                Ok(())
            }
            Job::Act(Act::Stop) => {
                self.medium.notice(Event::Stopped);
                Ok(())
            }
            Job::Act(Act::Start) => {
                self.medium.notice(Event::Started);
                Ok(())
            }
        }
    }

    fn flush(&mut self, on: Inserted) -> Result<(), Sense> {
        self.still(on)?;
        self.medium.flush().map_err(Fault::sense)
    }
}

impl<M: Medium> Target for Disk<M> {
    fn begin(&mut self, cdb: &[u8; 16], length: usize) -> Result<Intent, Refused> {
        self.job = Job::None;
        // REQUEST SENSE is about the command before it.
        if cdb[0] != 0x03 {
            self.sense = Sense::NONE;
        }
        self.start(cdb, length).or_else(|sense| self.refuse(sense))
    }

    fn read(&mut self, buffer: &mut [u8]) -> Result<(), Refused> {
        self.give(buffer).or_else(|sense| self.refuse(sense))
    }

    fn write(&mut self, data: &[u8]) -> Result<(), Refused> {
        self.take(data).or_else(|sense| self.refuse(sense))
    }

    fn end(&mut self) -> Result<(), Refused> {
        self.finish().or_else(|sense| self.refuse(sense))
    }

    fn cut(&mut self) {
        self.sense = Sense::DATA_PHASE;
        self.job = Job::None;
    }

    fn abandon(&mut self) {
        self.job = Job::None;
    }

    fn reset(&mut self) {
        self.job = Job::None;
        self.sense = Sense::NONE;
        self.was_reset = true;
        self.swp = false;
        self.set_prevented(false);
    }
}
