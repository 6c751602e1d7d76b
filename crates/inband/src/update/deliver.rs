//! Brings a file to a BMC by the door that is open, and goes on where the BMC leaves the bus in the middle.

use std::{
    fs::File,
    io::{BufReader, Seek},
    time::{Duration, Instant},
};

use inband_bulk::host::{Error as BulkError, Limits};
use inband_dfu::host::Error as DfuError;
use inband_session::{ResultCode, SessionState, status::StatusPage};
use inband_usb::HostError;

use super::{
    Contents, Payload, Plan,
    door::{self, Choice},
    download, end,
    event::{Event, Listener, milliseconds},
    into_dfu_mode, learned, settled,
};
use crate::{
    bmc::Bmc,
    bulk::{self, Interfaces, Load, News, Stop},
    cancel::Cancel,
    commands::facts::mode_name,
    error::{DeviceError, Error},
    follow::{Expected, follow},
    usb::Bus,
};

/// Bytes of the file read ahead of the BMC, where it goes from its beginning to its end.
const READ_AHEAD: usize = 64 * 1024;
/// How long to wait for a BMC that has left in the middle: for somebody who puts the cable back, and for a BMC that starts anew.
const RETURN_LIMIT: Duration = Duration::from_secs(120);
/// How often a BMC may leave in the middle of an update.
const MAX_RETURNS: u32 = 8;

/// A file on its way.
pub(super) struct Delivery<'a> {
    bus: &'a dyn Bus,
    plan: &'a Plan<'a>,
    contents: &'a Contents,
    load: Load,
    file: BufReader<File>,
    listener: &'a mut dyn Listener,
    cancel: &'a Cancel,
    limits: Limits,
    return_limit: Duration,
    start: Instant,
    /// An exchange has begun: who leaves now has something to go on with.
    begun: bool,
    /// The session that there was before the last one of ours.
    earlier: u32,
    /// The door that was told.
    told: Option<Event>,
    /// Bytes that went over the wire by bulk.
    sent: u64,
    returns: u32,
}

impl<'a> Delivery<'a> {
    /// Nothing is sent yet.
    ///
    /// # Errors
    /// [`Error::File`].
    pub(super) fn new(
        bus: &'a dyn Bus,
        plan: &'a Plan<'a>,
        contents: &'a Contents,
        listener: &'a mut dyn Listener,
        cancel: &'a Cancel,
    ) -> Result<Self, Error> {
        let failed = |source| Error::File { path: plan.package.clone(), action: "read", source };
        let file = File::open(&plan.package).map_err(failed)?;
        Ok(Self {
            bus,
            plan,
            contents,
            load: contents.load(),
            file: BufReader::with_capacity(READ_AHEAD, file),
            listener,
            cancel,
            limits: Limits::default(),
            return_limit: RETURN_LIMIT,
            start: Instant::now(),
            begun: false,
            earlier: 0,
            told: None,
            sent: 0,
            returns: 0,
        })
    }

    /// Sends the file and learns the verdict. A BMC that took it is returned, still in DFU mode if it stays there, with its status.
    ///
    /// # Errors
    /// [`Error::Refused`] with the BMC's result; [`Error::Cancelled`]; [`Error::NoDoor`]; those of reading and of devices. A BMC that is
    /// there is then asked to return to run-time.
    pub(super) fn make(mut self, mut bmc: Bmc) -> Result<(Bmc, StatusPage), Error> {
        loop {
            let expected = Expected::anyhow(&bmc);
            match self.attempt(bmc) {
                Err(error) if self.begun && is_loss(&error) => {}
                other => return other,
            }
            bmc = match self.wait_for_return(&expected)? {
                Returned::Staged(bmc, status) => return Ok((bmc, *status)),
                Returned::Anew(bmc) => bmc,
            };
        }
    }

    fn attempt(&mut self, bmc: Bmc) -> Result<(Bmc, StatusPage), Error> {
        let mut bmc = into_dfu_mode(self.bus, bmc, self.listener, self.cancel)?;
        let before = bmc.status().map_err(|source| bmc.failure("read the status", source))?;
        let length = self.contents.length();
        let choice = match door::take(&mut bmc, &before, self.plan.door, length) {
            Ok(choice) => choice,
            Err(error) => return Err(self.given_up(bmc, error)),
        };
        let door = Event::Door { door: choice.door().name(), reason: choice.reason(self.plan.door) };
        if self.told.as_ref() != Some(&door) {
            self.listener.event(&door);
            self.told = Some(door);
        }
        match choice {
            Choice::Bulk(Some(interfaces)) => self.by_bulk(bmc, &before, interfaces),
            Choice::Bulk(None) | Choice::Dfu(_) => {
                self.file.rewind().map_err(|source| self.unreadable(source))?;
                let payload = Payload { read: &mut self.file, total: length, path: &self.plan.package };
                download(self.bus, bmc, &before, payload, self.listener, self.cancel)
            }
        }
    }

    fn by_bulk(
        &mut self,
        mut bmc: Bmc,
        before: &StatusPage,
        interfaces: Interfaces,
    ) -> Result<(Bmc, StatusPage), Error> {
        self.begun = true;
        // A session of ours has another number: what the BMC reports of this one is about somebody else.
        self.earlier = before.session;
        let result = self.exchange(&mut bmc, interfaces);
        let place = bmc.place.clone();
        let error = match result {
            Ok(outcome) => match ResultCode::from_code(outcome.result) {
                Some(ResultCode::Ok) => return self.staged(bmc),
                Some(code) => Error::Refused { place, code },
                None => {
                    let source = DeviceError::Transfer("it sent a result that is none");
                    bmc.failure("send the package", source)
                }
            },
            Err(Stop::Device(DeviceError::Bulk(BulkError::TooSlow))) => {
                // It has lost its tongue, but may have done its work.
                match bmc.status() {
                    Ok(status) if self.is_staged(&status) => return self.staged(bmc),
                    Ok(_) | Err(_) => bmc.failure("send the package", BulkError::TooSlow.into()),
                }
            }
            Err(Stop::Device(source)) => bmc.failure("send the package", source),
            Err(Stop::Read(source)) => self.unreadable(source),
            Err(Stop::System(source)) => Error::System { action: "send the package", source },
            Err(Stop::Cancelled { handed_over }) => Error::Aborted { place, handed_over },
        };
        Err(self.given_up(bmc, error))
    }

    fn exchange(
        &mut self,
        bmc: &mut Bmc,
        interfaces: Interfaces,
    ) -> Result<inband_bulk::wire::Outcome, Stop> {
        bulk::make_ready(bmc.device(), interfaces, self.cancel)?;
        let Self { load, file, listener, limits, sent: before, .. } = self;
        let (mut started, mut in_all) = (false, *before);
        let mut tell = |news| match news {
            News::Need { round, chunks, bytes, total } => {
                listener.event(&Event::Need {
                    round,
                    chunks: load.chunks(),
                    needed_chunks: chunks,
                    bytes: load.bytes(),
                    needed: bytes,
                });
                if !started {
                    started = true;
                    listener.event(&Event::Start { total });
                }
            }
            News::Sent { sent, total } => {
                in_all = before.saturating_add(sent);
                listener.event(&Event::Progress { sent, total });
            }
        };
        let result = bulk::exchange(bmc.device(), interfaces, load, file, *limits, self.cancel, &mut tell);
        self.sent = in_all;
        result
    }

    /// The BMC says that it has staged what it was sent.
    fn staged(&mut self, bmc: Bmc) -> Result<(Bmc, StatusPage), Error> {
        let (bmc, status) = learned(self.bus, bmc, self.cancel)?;
        self.tell_sent();
        Ok((bmc, status))
    }

    fn tell_sent(&mut self) {
        let saved = self.contents.length().saturating_sub(self.sent);
        let elapsed_ms = milliseconds(self.start.elapsed());
        self.listener.event(&Event::Sent { total: self.sent, saved, elapsed_ms });
    }

    fn unreadable(&self, source: std::io::Error) -> Error {
        Error::File { path: self.plan.package.clone(), action: "read", source }
    }

    /// Nothing more comes of this attempt. A BMC that is still there is led back.
    fn given_up(&self, bmc: Bmc, error: Error) -> Error {
        if !is_loss(&error) {
            end(self.bus, bmc);
        }
        error
    }

    /// Whether a BMC that stands so has staged what it was sent.
    fn is_staged(&self, status: &StatusPage) -> bool {
        status.session != self.earlier
            && !status.state.is_at_work()
            && status.result() == Some(ResultCode::Ok)
            && self.contents.is_session_of(status)
    }

    /// The BMC has left. Waits until it is back, and looks what has become of what it was sent.
    fn wait_for_return(&mut self, expected: &Expected) -> Result<Returned, Error> {
        loop {
            self.returns += 1;
            if self.returns > MAX_RETURNS {
                return Err(Error::KeepsLeaving { place: expected.place.clone(), times: self.returns });
            }
            self.listener.event(&Event::Lost { wait_s: self.return_limit.as_secs() });
            let start = Instant::now();
            let bmc = follow(self.bus, expected, self.return_limit, self.cancel)?;
            let after_ms = milliseconds(start.elapsed());
            self.listener.event(&Event::Back { mode: mode_name(bmc.mode()), after_ms });
            match self.judge(bmc) {
                Err(error) if is_loss(&error) => {}
                other => return other,
            }
        }
    }

    fn judge(&mut self, mut bmc: Bmc) -> Result<Returned, Error> {
        let mut status = bmc.status().map_err(|source| bmc.failure("read the status", source))?;
        if status.session == self.earlier {
            return Ok(Returned::Anew(bmc));
        }
        // All of it was there: the BMC goes on by itself.
        if matches!(status.state, SessionState::Handover | SessionState::Verifying) {
            status = settled(&mut bmc, self.cancel)?;
        }
        if self.is_staged(&status) {
            self.tell_sent();
            return Ok(Returned::Staged(bmc, Box::new(status)));
        }
        match status.result() {
            // It ended because the BMC left, or with what it ran on.
            Some(
                ResultCode::None
                | ResultCode::Ok
                | ResultCode::Aborted
                | ResultCode::Disconnected
                | ResultCode::Timeout
                | ResultCode::Interrupted,
            ) => Ok(Returned::Anew(bmc)),
            Some(code) => {
                let error = Error::Refused { place: bmc.place.clone(), code };
                Err(self.given_up(bmc, error))
            }
            None => {
                let (place, number) = (bmc.place.clone(), status.result_code);
                Err(self.given_up(bmc, Error::UnknownResult { place, number }))
            }
        }
    }
}

/// How a BMC that was away is back.
enum Returned {
    /// With what it was sent, all of it.
    Staged(Bmc, Box<StatusPage>),
    /// To be offered the file again.
    Anew(Bmc),
}

/// Whether a device that failed so may come back.
fn is_loss(error: &Error) -> bool {
    match error {
        Error::NotBack { .. } => true,
        Error::Device { source, .. } => match &**source {
            DeviceError::Host(error) | DeviceError::Dfu(DfuError::Usb(error)) => match error {
                HostError::Gone | HostError::Cancelled | HostError::Other(_) => true,
                HostError::Stall
                | HostError::Overflow
                | HostError::Busy
                | HostError::Permission
                | HostError::Misuse(_) => false,
            },
            DeviceError::Dfu(error) => matches!(error, DfuError::Gone | DfuError::NoAnswer(_)),
            DeviceError::Descriptor(_)
            | DeviceError::Page { .. }
            | DeviceError::Server(_)
            | DeviceError::Bulk(_)
            | DeviceError::Transfer(_)
            | DeviceError::Text(_)
            | DeviceError::Contradiction(_) => false,
        },
        _ => false,
    }
}

#[cfg(test)]
mod tests;
