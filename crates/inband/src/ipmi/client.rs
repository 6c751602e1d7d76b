//! Questions to a BMC.

use std::time::Duration;

use inband_ipmi::{
    command::{
        BadReply, Capabilities, Command, Door, Piece, Started, Status, Wishes, check_acknowledged, item,
    },
    wire::{Code, NETFN, Reply, Request},
};
use inband_session::{
    ResultCode,
    status::{
        FIRST_LOG_PAGE, FirmwarePage, LogPage, MACHINE_PAGE, MachinePage, PageError, STATUS_PAGE, StatusPage,
    },
};
use inband_store::Slot;

use super::{Link, LinkError};
use crate::{bmc::MAX_LOG_RECORDS, cancel::Cancel, error::Error, usb::Place};

/// How long an answer may take: the BMC has 3 s, and channels give up behind 4 or 5.
const ANSWER: Duration = Duration::from_secs(5);
/// How often a question is asked.
const ATTEMPTS: u8 = 4;
/// Behind the first time; then twice as long each time.
const PAUSE: Duration = Duration::from_millis(100);
/// Between two looks whether the user wants the end.
const LOOK: Duration = Duration::from_millis(50);
/// How often an item is read that changed in the middle.
const READS: u8 = 3;

/// IPMI 5.2: the node is busy.
const NODE_BUSY: Code = Code(0xc0);
/// IPMI 5.2: timeout; what QEMU and drivers say for a BMC that did not answer.
const TIMEOUT: Code = Code(0xc3);
/// IPMI 5.2: the BMC is starting; what QEMU says where there is none.
const STARTING: Code = Code(0xd2);
/// IPMI 5.2: the destination is unavailable; what ipmid's provider says where inbandd does not answer it, whether or not it has done what was asked.
const UNAVAILABLE: Code = Code(0xd3);

/// Why a question has no good answer.
#[derive(Debug, thiserror::Error)]
pub enum IpmiError {
    /// The way there.
    #[error("{0}")]
    Link(#[from] LinkError),
    /// Asked several times, and nothing came, or that somebody else might come later.
    #[error("no answer{}", .0.map_or_else(String::new, |code| format!(" (last: {:02X}h)", code.0)))]
    NoAnswer(Option<Code>),
    /// The BMC says no.
    #[error("{0}")]
    Refused(Code),
    /// Asked once more, because no answer came, the BMC knows nothing to do that to: it may be done, and the tag forgotten.
    #[error("no answer came, and then: {0}; it may be done")]
    Unknown(Code),
    /// The answer makes no sense.
    #[error("{0}")]
    Reply(#[from] BadReply),
    /// A page in it makes none.
    #[error("its status page {page} is broken: {source}")]
    Page {
        /// The page.
        page: u16,
        /// What is wrong with it.
        source: PageError,
    },
    /// An item was another one each time a piece of it was read.
    #[error("item {0:02X}h changes whenever it is read")]
    Changing(u8),
    /// There is no randomness for a tag.
    #[error("there is no randomness: {0}")]
    Random(getrandom::Error),
    /// The user asked for the end.
    #[error("cancelled")]
    Cancelled,
}

impl IpmiError {
    /// The result that a completion code stands for.
    #[must_use]
    pub const fn result(&self) -> Option<ResultCode> {
        match self {
            Self::Refused(Code::DOOR_SHUT) => Some(ResultCode::DoorShut),
            Self::Refused(Code::BUSY) => Some(ResultCode::Busy),
            Self::Refused(Code::LOCKED_OUT) => Some(ResultCode::LockedOut),
            Self::Refused(Code::WORN) => Some(ResultCode::Worn),
            Self::Refused(Code::ON_TRIAL) => Some(ResultCode::OnTrial),
            Self::Refused(Code::NO_RESOURCES) => Some(ResultCode::NoSpace),
            _ => None,
        }
    }
}

/// All that a BMC tells of how it stands.
pub struct Report {
    /// Its board.
    pub machine: String,
    /// Page 0.
    pub page: StatusPage,
    /// Pages 1 and 2.
    pub firmware: [FirmwarePage; 2],
    /// What only IPMI tells.
    pub status: Status,
}

/// Asks a BMC, one question at a time.
///
/// What is lost is asked again, with the same tag, so that it is done once. What does something is not given up in the middle because the user
/// wants the end: it would not be known whether it was done.
pub struct Client {
    link: Box<dyn Link>,
    place: Place,
    command: u8,
    cancel: Cancel,
    /// Of the last request.
    number: u8,
    attempts: u8,
}

impl Client {
    /// Nothing is asked yet. `place` is the way there, for messages; `command` the one that the BMC listens to.
    #[must_use]
    pub fn new(link: Box<dyn Link>, place: Place, command: u8, cancel: Cancel) -> Self {
        Self { link, place, command, cancel, number: 0, attempts: ATTEMPTS }
    }

    /// One that asks once: for what may be done without.
    #[must_use]
    pub fn once(self) -> Self {
        Self { attempts: 1, ..self }
    }

    /// The way there.
    #[must_use]
    pub const fn place(&self) -> &Place {
        &self.place
    }

    /// Says what failed.
    pub fn failure(&self, action: &'static str, source: IpmiError) -> Error {
        match source {
            IpmiError::Cancelled => Error::Cancelled,
            source => Error::Ipmi { place: self.place.clone(), action, source },
        }
    }

    /// What the BMC can do.
    ///
    /// # Errors
    /// [`IpmiError`], as of every question.
    pub fn capabilities(&mut self) -> Result<Capabilities, IpmiError> {
        Ok(Capabilities::decode(&self.ask(&Command::Capabilities)?)?)
    }

    /// How things stand.
    ///
    /// # Errors
    /// [`IpmiError`].
    pub fn status(&mut self) -> Result<Status, IpmiError> {
        Ok(Status::decode(&self.ask(&Command::Status)?)?)
    }

    /// How things stand behind an act: to be told also to a user who wants the end.
    ///
    /// # Errors
    /// [`IpmiError`].
    pub fn outcome(&mut self) -> Result<Status, IpmiError> {
        Ok(Status::decode(&self.ask_to_the_end(&Command::Status, true)?)?)
    }

    /// Opens a door.
    ///
    /// # Errors
    /// [`IpmiError`].
    pub fn start(&mut self, door: Door, wishes: Wishes) -> Result<Started, IpmiError> {
        let tag = tag()?;
        let started = Started::decode(&self.ask(&Command::Start { tag, door, wishes })?, tag)?;
        // It names none.
        if started.nonce == 0 { Err(BadReply::Tag.into()) } else { Ok(started) }
    }

    /// Shuts the door that the start of this nonce opened. With `commit` what has come in is judged, else it is dropped.
    ///
    /// # Errors
    /// [`IpmiError`].
    pub fn stop(&mut self, nonce: u32, commit: bool) -> Result<(), IpmiError> {
        self.act(|tag| Command::Stop { tag, nonce, commit })
    }

    /// Waits, between two looks at the status.
    pub fn pause(&mut self, time: Duration) {
        self.link.pause(time);
    }

    /// Restarts the BMC into staged firmware.
    ///
    /// # Errors
    /// [`IpmiError`].
    pub fn activate(&mut self) -> Result<(), IpmiError> {
        self.act(|tag| Command::Activate { tag })
    }

    /// Says that the running firmware is good.
    ///
    /// # Errors
    /// [`IpmiError`].
    pub fn confirm(&mut self) -> Result<(), IpmiError> {
        self.act(|tag| Command::Confirm { tag })
    }

    /// Drops the session and the start that there are.
    ///
    /// # Errors
    /// [`IpmiError`].
    pub fn abort(&mut self) -> Result<(), IpmiError> {
        self.act(|tag| Command::Abort { tag })
    }

    /// The board that the BMC says it is.
    ///
    /// # Errors
    /// [`IpmiError`].
    pub fn machine(&mut self) -> Result<String, IpmiError> {
        Ok(self.page(MACHINE_PAGE, MachinePage::decode)?.machine.as_str().to_owned())
    }

    /// All that it tells of how it stands.
    ///
    /// # Errors
    /// [`IpmiError`].
    pub fn report(&mut self) -> Result<Report, IpmiError> {
        let machine = self.machine()?;
        let slot = |this: &mut Self, slot| {
            let page = FirmwarePage::number(slot);
            let told = this.page(page, FirmwarePage::decode)?;
            if told.slot == slot {
                Ok(told)
            } else {
                Err(IpmiError::Page { page, source: PageError::Field("slot") })
            }
        };
        let firmware = [slot(self, Slot::A)?, slot(self, Slot::B)?];
        let page = self.page(STATUS_PAGE, StatusPage::decode)?;
        Ok(Report { machine, page, firmware, status: self.status()? })
    }

    /// The records of its log, the newest first.
    ///
    /// # Errors
    /// [`IpmiError`].
    pub fn log(&mut self) -> Result<Vec<LogPage>, IpmiError> {
        let count = self.page(STATUS_PAGE, StatusPage::decode)?.log_records.min(MAX_LOG_RECORDS);
        (0..count).map(|number| self.page(FIRST_LOG_PAGE + number, LogPage::decode)).collect()
    }

    fn page<T>(
        &mut self,
        page: u16,
        decode: impl FnOnce(&[u8]) -> Result<T, PageError>,
    ) -> Result<T, IpmiError> {
        // All pages that are asked for here have a number below 20h.
        let bytes = self.item(item::FIRST_PAGE.saturating_add(page as u8))?;
        decode(&bytes).map_err(|source| IpmiError::Page { page, source })
    }

    /// A text or a page, piece by piece.
    fn item(&mut self, item: u8) -> Result<Vec<u8>, IpmiError> {
        for _ in 0..READS {
            if let Some(whole) = self.read(item)? {
                return Ok(whole);
            }
        }
        Err(IpmiError::Changing(item))
    }

    /// `None` if it became another one on the way.
    fn read(&mut self, item: u8) -> Result<Option<Vec<u8>>, IpmiError> {
        let (mut whole, mut total) = (Vec::new(), None);
        loop {
            // Never above the total, which is one byte.
            let offset = u8::try_from(whole.len()).unwrap_or(u8::MAX);
            let data = self.ask(&Command::Info { item, offset })?;
            let piece = Piece::decode(&data, item, offset)?;
            if *total.get_or_insert(piece.total) != piece.total {
                return Ok(None);
            }
            whole.extend(piece.bytes);
            if whole.len() >= usize::from(piece.total) {
                return Ok(Some(whole));
            }
        }
    }

    fn act(&mut self, command: impl FnOnce(u32) -> Command) -> Result<(), IpmiError> {
        let tag = tag()?;
        Ok(check_acknowledged(&self.ask(&command(tag))?, tag)?)
    }

    /// What is behind the completion code.
    fn ask(&mut self, command: &Command) -> Result<Vec<u8>, IpmiError> {
        self.ask_to_the_end(command, command.tag().is_some())
    }

    fn ask_to_the_end(&mut self, command: &Command, to_the_end: bool) -> Result<Vec<u8>, IpmiError> {
        let data = command.encode();
        let first = self.number.wrapping_add(1);
        let (mut pause, mut last) = (PAUSE, Ok(None));
        for attempt in 0..self.attempts {
            if attempt > 0 {
                self.link.pause(pause);
                pause *= 2;
            }
            self.number = first.wrapping_add(attempt);
            last = match self.exchange(first, &data, to_the_end) {
                Ok(Some(Reply { code: Code::OK, data })) => return Ok(data),
                Ok(Some(Reply { code: code @ (NODE_BUSY | TIMEOUT | STARTING | UNAVAILABLE), .. })) => {
                    Ok(Some(code))
                }
                // A daemon that began anew knows no tag.
                Ok(Some(Reply { code: code @ (Code::NOTHING | Code::WRONG_NONCE), .. })) if attempt > 0 => {
                    return Err(IpmiError::Unknown(code));
                }
                Ok(Some(Reply { code, .. })) => return Err(IpmiError::Refused(code)),
                Ok(None) => Ok(None),
                Err(IpmiError::Link(error @ LinkError::Lost(_))) => Err(error),
                Err(error) => return Err(error),
            };
        }
        Err(last.map_or_else(IpmiError::Link, IpmiError::NoAnswer))
    }

    /// Sends a request once and waits for its answer, or a late one to the same request; unless `to_the_end`, until the user wants the end.
    fn exchange(&mut self, first: u8, data: &[u8], to_the_end: bool) -> Result<Option<Reply>, IpmiError> {
        let request = Request { netfn: NETFN, lun: 0, command: self.command, data };
        self.link.send(self.number, &request)?;
        let deadline = self.link.now().saturating_add(ANSWER);
        loop {
            if !to_the_end && self.cancel.is_requested() {
                return Err(IpmiError::Cancelled);
            }
            let left = deadline.saturating_sub(self.link.now());
            if left.is_zero() {
                return Ok(None);
            }
            let Some(answer) = self.link.receive(left.min(LOOK))? else { continue };
            let is_ours = answer.number.wrapping_sub(first) <= self.number.wrapping_sub(first);
            if is_ours && (answer.netfn, answer.command) == (NETFN + 1, self.command) {
                return Ok(Some(answer.reply));
            }
        }
    }
}

/// Another one for each act; not 0, which stands for none.
fn tag() -> Result<u32, IpmiError> {
    Ok(getrandom::u32().map_err(IpmiError::Random)?.max(1))
}

#[cfg(test)]
mod tests;
