//! An update through the disk of a BMC, raw profile (docs/spec/volume-raw.md): the package is written from the first block on and ejected, and
//! another medium tells what came of it.

use std::{
    fs::File,
    io::{BufReader, Read as _},
    time::Duration,
};

use inband_dfu::host::InterfaceMode;
use inband_package::Rule;
use inband_session::{
    ResultCode, SessionState,
    first_block::{FirstBlock, Session, State, TextError, Told},
    status::{FirmwarePage, StatusPage},
};
use inband_usb::HostError;

use super::{
    Contents, Plan,
    enter::BACK_LIMIT,
    event::{Event, Listener, milliseconds},
    prepare::{for_this_bmc, worth_sending},
    wait_for_activation,
};
use crate::{
    bmc::Bmc,
    cancel::Cancel,
    commands::facts::version_in,
    disk::{Disk, Drive, PIECE, failure},
    error::{DeviceError, Error},
    find::{OnDisk, take_disk},
    follow::{Expected, follow},
    text::shown,
    usb::Bus,
};

/// How long a drive may be empty before a package can be written: between two media it is for 2.5 s, and longer while another package is judged.
const READY_LIMIT: Duration = Duration::from_secs(30);
/// How long a BMC may judge a package.
const VERDICT_LIMIT: Duration = Duration::from_secs(600);
/// So many media that tell of earlier sessions are taken out. A BMC has one.
const VERDICTS: usize = 3;
/// How long a medium may stay that was ejected: the kernel's disk is asked every 500 ms.
const EJECT_LIMIT: Duration = Duration::from_secs(10);
/// How long to look for the end of a session that was given up.
const GIVE_UP_LIMIT: Duration = Duration::from_secs(5);
/// Between two looks. Each is a few commands to the disk.
const POLL: Duration = Duration::from_millis(100);

/// What is known of a BMC beside what its disk says, because its DFU interface is on the bus as well.
#[derive(Clone, Debug)]
pub struct Beside {
    expected: Expected,
    /// How it stood before the update.
    status: StatusPage,
    firmware: [FirmwarePage; 2],
}

impl Beside {
    /// Asks a BMC how it stands.
    ///
    /// # Errors
    /// Those of asking it.
    fn ask(mut bmc: Bmc) -> Result<Self, Error> {
        let answer = bmc.status().and_then(|status| Ok((status, bmc.firmware()?)));
        let (status, firmware) = answer.map_err(|source| bmc.failure("read the status", source))?;
        Ok(Self { expected: Expected::from(&bmc, InterfaceMode::Runtime), status, firmware })
    }
}

/// A file that was checked, and the disk it goes to, as it stood then.
pub struct Prepared {
    /// What is in the file.
    pub contents: Contents,
    /// The disk.
    pub disk: Disk,
    /// The disk, taken.
    drive: Box<dyn Drive>,
    beside: Option<Beside>,
    /// Why it is this door.
    pub reason: String,
}

impl Prepared {
    /// The slot that the firmware goes to, if that is known.
    #[must_use]
    pub fn slot(&self) -> Option<&'static str> {
        self.beside.as_ref().map(|beside| beside.status.running.other().name())
    }
}

/// Checks whether the BMC would take what is in the file. Nothing is changed. `None` if there is nothing to do.
///
/// # Errors
/// [`Error::FatDisk`], [`Error::Refused`], [`Error::BadPackage`]; those of the disk and of asking the BMC.
pub fn prepare(
    bus: &dyn Bus,
    plan: &Plan<'_>,
    contents: Contents,
    OnDisk { disk, bmc, reason }: OnDisk,
    listener: &mut dyn Listener,
    cancel: &Cancel,
) -> Result<Option<Prepared>, Error> {
    let beside = bmc.map(|bmc| Beside::ask(*bmc)).transpose()?;
    let mut drive = take_disk(bus, &disk)?;
    let text = there(&disk, &mut *drive, cancel)?;
    let machine = match (&beside, &text) {
        (Some(beside), _) => beside.expected.machine.clone(),
        (None, Some(text)) => text.machine.clone(),
        (None, None) => String::new(),
    };
    let running = match (&beside, &text) {
        (Some(beside), _) => Some(version_in(&beside.firmware, beside.status.running)),
        (None, Some(text)) => Some(text.running.clone()),
        (None, None) => None,
    };
    listener.event(&Event::Device {
        path: disk.place.to_string(),
        serial: disk.serial.clone(),
        machine: machine.clone(),
        mode: "run-time",
        version: running.clone().unwrap_or_default(),
        door: "volume",
    });
    if let Some(text) = &text {
        may_be_written(&disk, text)?;
        suits(plan, &contents, text)?;
    }
    if let Contents::Package(package) = &contents {
        if !machine.is_empty() {
            for_this_bmc(&plan.package, package, &machine, beside.as_ref().map(|it| it.status.floor))?;
        }
        let worth = match &beside {
            Some(Beside { status, firmware, .. }) => {
                worth_sending(plan, package, &disk.place, status, firmware)?
            }
            None if plan.downgrade == Rule::Refuse => {
                return Err(Error::Usage(
                    "--no-downgrade does not go with a BMC of which only the disk is on the bus: that does not tell the security version that runs"
                        .to_owned(),
                ));
            }
            None => plan.same_version == Rule::Accept || running.as_ref() != Some(&package.index.version),
        };
        if !worth {
            let slot = beside.as_ref().map(|it| it.status.running.name());
            listener.event(&Event::UpToDate { slot, version: package.index.version.clone() });
            return Ok(None);
        }
    }
    if let (Some(_), None, Some(running)) = (plan.wait, &beside, &running) {
        can_be_waited_for(&contents, running)?;
    }
    Ok(Some(Prepared { contents, disk, drive, beside, reason }))
}

/// The text of the medium that is there, or will be in a moment; `None` of one that somebody has written to.
fn there(disk: &Disk, drive: &mut dyn Drive, cancel: &Cancel) -> Result<Option<FirstBlock>, Error> {
    let start = drive.now();
    loop {
        cancel.check()?;
        match drive.read() {
            Ok(Some(Ok(text))) => return Ok(Some(text)),
            Ok(Some(Err(TextError::NoText))) => return Ok(None),
            Ok(Some(Err(error))) => return Err(unreadable(disk, error)),
            Ok(None) if drive.now().saturating_sub(start) >= READY_LIMIT => {
                return Err(Error::Refused { place: disk.place.clone(), code: ResultCode::Busy });
            }
            Err(HostError::Gone) if drive.now().saturating_sub(start) >= BACK_LIMIT => {
                return Err(not_back(disk));
            }
            Ok(None) | Err(HostError::Gone) => {}
            Err(error) => return Err(failure(&disk.place, drive, "read its disk", error)),
        }
        drive.pause(POLL);
    }
}

fn not_back(disk: &Disk) -> Error {
    Error::NotBack { place: disk.place.clone(), seconds: BACK_LIMIT.as_secs() }
}

fn unreadable(disk: &Disk, error: TextError) -> Error {
    Error::Device {
        place: disk.place.clone(),
        action: "read its disk",
        source: Box::new(error.into()),
        advice: None,
    }
}

fn told(disk: &Disk, told: Told) -> Error {
    let place = disk.place.clone();
    match told.result() {
        Some(code) => Error::Refused { place, code },
        None => Error::UnknownResult { place, number: told.0 },
    }
}

fn may_be_written(disk: &Disk, text: &FirstBlock) -> Result<(), Error> {
    match text.state {
        State::Refused(why) => Err(told(disk, why)),
        State::Ready | State::Pass(_) | State::Fail(..) => Ok(()),
    }
}

/// Refuses what the medium says it is not for.
fn suits(plan: &Plan<'_>, contents: &Contents, text: &FirstBlock) -> Result<(), Error> {
    let length = contents.length();
    if let Some(most) = text.max_size.filter(|most| length > *most) {
        return Err(Error::BadPackage {
            path: plan.package.clone(),
            code: ResultCode::TooLarge,
            reason: format!("it has {length} bytes, and the BMC takes {most} at most"),
        });
    }
    match contents {
        Contents::Package(package) => for_this_bmc(&plan.package, package, &text.machine, None),
        Contents::Tar(_) => Ok(()),
    }
}

/// A disk tells which version runs, and nothing else of what runs.
fn can_be_waited_for(contents: &Contents, running: &str) -> Result<(), Error> {
    match contents {
        Contents::Package(package) if package.index.version != running => Ok(()),
        Contents::Package(_) => Err(Error::Usage(format!(
            "--wait does not go with a BMC of which only the disk is on the bus and that runs version {} already: the disk would say the same before and after",
            shown(running)
        ))),
        Contents::Tar(_) => Err(Error::Usage(
            "--wait does not go with a firmware tar without a head and a BMC of which only the disk is on the bus: nobody knows what it would say"
                .to_owned(),
        )),
    }
}

/// Does the update.
///
/// # Errors
/// [`Error::Refused`] with the BMC's result; [`Error::NoVerdict`]; [`Error::Cancelled`], [`Error::Aborted`], [`Error::LeftWritten`]; those of
/// files, of the disk and of asking the BMC.
pub fn run(
    bus: &dyn Bus,
    plan: &Plan<'_>,
    prepared: Prepared,
    listener: &mut dyn Listener,
    cancel: &Cancel,
) -> Result<(), Error> {
    let Prepared { contents, disk, mut drive, beside, reason } = prepared;
    listener.event(&Event::Door { door: "volume", reason });
    let mut copy =
        Copy { plan, contents: &contents, disk: &disk, drive: &mut *drive, listener, cancel, written: None };
    copy.make_ready()?;
    let start = copy.drive.now();
    let verdict = match copy.write() {
        Ok(None) => copy.verdict().and_then(|text| copy.judge(text)),
        Ok(Some(verdict)) => Ok(verdict),
        Err(error) => Err(error),
    };
    let status = match (verdict, &beside) {
        (Ok(verdict), None) => {
            copy.sent(start);
            return staged_by_disk(copy, &verdict);
        }
        // It may know what a medium that is not there any more would have said.
        (Ok(_) | Err(Error::NoVerdict { .. }), Some(beside)) => by_status(bus, &contents, beside, cancel)?,
        (Err(error), _) => return Err(error),
    };
    copy.sent(start);
    let (status, version) = status;
    copy.listener.event(&Event::Staged { slot: Some(status.boots_next.name()), version });
    copy.take_out();
    let Some((limit, beside)) = plan.wait.zip(beside) else { return Ok(()) };
    drop(drive);
    wait_for_activation(bus, &beside.expected, &status, limit, listener, cancel)
}

/// What a BMC says itself of what it was given: its status, and the version that boots next.
fn by_status(
    bus: &dyn Bus,
    contents: &Contents,
    beside: &Beside,
    cancel: &Cancel,
) -> Result<(StatusPage, String), Error> {
    let mut bmc = follow(bus, &beside.expected, BACK_LIMIT, cancel)?;
    let answer = bmc.status().and_then(|status| Ok((status, bmc.firmware()?)));
    let (status, firmware) = answer.map_err(|source| bmc.failure("learn the result", source))?;
    let place = bmc.place.clone();
    match status.result() {
        None => Err(Error::UnknownResult { place, number: status.result_code }),
        // One that was under way goes on with what we write.
        Some(_) if status.session == beside.status.session && !beside.status.state.is_at_work() => {
            Err(Error::NoVerdict { place })
        }
        Some(ResultCode::Ok) if status.state == SessionState::Staged && contents.is_session_of(&status) => {
            Ok((status, version_in(&firmware, status.boots_next)))
        }
        Some(ResultCode::Ok | ResultCode::None) => {
            let source = DeviceError::Contradiction("another package than it was sent");
            Err(bmc.failure("learn the result", source))
        }
        Some(code) => Err(Error::Refused { place, code }),
    }
}

/// The end where nothing but the disk tells of it.
fn staged_by_disk(mut copy: Copy<'_, '_>, verdict: &FirstBlock) -> Result<(), Error> {
    copy.listener.event(&Event::Staged { slot: None, version: verdict.version.clone() });
    copy.take_out();
    let Some(limit) = copy.plan.wait else { return Ok(()) };
    can_be_waited_for(copy.contents, &verdict.running)?;
    copy.listener.event(&Event::WaitActivation);
    let start = copy.drive.now();
    loop {
        copy.cancel.check()?;
        match copy.drive.read() {
            Ok(Some(Ok(text))) if text.running == verdict.version => {
                let on_trial = text.state == State::Refused(Told(ResultCode::OnTrial.code()));
                copy.listener.event(&Event::Activated { slot: None, version: text.running, on_trial });
                return Ok(());
            }
            Ok(_) | Err(HostError::Gone) => {}
            Err(error) => return Err(failure(&copy.disk.place, copy.drive, "read its disk", error)),
        }
        if copy.drive.now().saturating_sub(start) >= limit {
            return Err(Error::NotActivated { place: copy.disk.place.clone(), seconds: limit.as_secs() });
        }
        copy.drive.pause(POLL);
    }
}

/// A package on its way to a disk.
struct Copy<'a, 'l> {
    plan: &'a Plan<'a>,
    contents: &'a Contents,
    disk: &'a Disk,
    drive: &'a mut dyn Drive,
    listener: &'l mut dyn Listener,
    cancel: &'a Cancel,
    /// The generation of the medium that is written to; `None` where somebody has written before, and nobody can say.
    written: Option<u32>,
}

impl Copy<'_, '_> {
    /// Sees to it that a medium is in the drive that may be written.
    fn make_ready(&mut self) -> Result<(), Error> {
        let mut cleared = None;
        let mut verdicts = 0;
        loop {
            let text = match there(self.disk, self.drive, self.cancel) {
                Ok(Some(text)) => text,
                // All that counts of it is written over.
                Ok(None) => return Ok(()),
                // Its door was open for one update.
                Err(Error::NotBack { place, .. }) if cleared.is_some() => {
                    return Err(Error::Refused { place, code: ResultCode::DoorShut });
                }
                Err(error) => return Err(error),
            };
            may_be_written(self.disk, &text)?;
            let result_code = match text.state {
                State::Pass(_) => ResultCode::Ok.code(),
                State::Fail(_, Told(code)) => code,
                State::Ready | State::Refused(_) => {
                    suits(self.plan, self.contents, &text)?;
                    self.written = Some(text.generation);
                    return Ok(());
                }
            };
            let now = self.drive.now();
            match cleared {
                Some((generation, since)) if generation == text.generation => {
                    if now.saturating_sub(since) >= EJECT_LIMIT {
                        return Err(self.stays());
                    }
                }
                _ if verdicts == VERDICTS => return Err(self.stays()),
                _ => {
                    verdicts += 1;
                    cleared = Some((text.generation, now));
                    self.eject()?;
                    self.listener.event(&Event::Cleared { result_code });
                }
            }
            self.drive.pause(POLL);
        }
    }

    fn eject(&mut self) -> Result<(), Error> {
        self.drive.eject().map_err(|error| failure(&self.disk.place, self.drive, "eject its disk", error))
    }

    fn stays(&self) -> Error {
        Error::Device {
            place: self.disk.place.clone(),
            action: "eject its disk",
            source: Box::new(DeviceError::Contradiction("that what was ejected is there still, or again")),
            advice: None,
        }
    }

    /// Ejects what tells of our end. Whether that works changes nothing any more.
    fn take_out(&mut self) {
        let _ = self.drive.eject();
    }

    /// Writes all of it and ejects it. The verdict, if the BMC did not wait for that.
    fn write(&mut self) -> Result<Option<FirstBlock>, Error> {
        let total = self.contents.length();
        let unreadable = |source| Error::File { path: self.plan.package.clone(), action: "read", source };
        let mut file = BufReader::with_capacity(PIECE, File::open(&self.plan.package).map_err(unreadable)?);
        let mut piece = vec![0; PIECE];
        let mut sent = 0;
        self.listener.event(&Event::Start { total });
        while sent < total {
            let length = usize::try_from(total - sent).map_or(PIECE, |left| left.min(PIECE));
            let piece = &mut piece[..length];
            if let Err(error) = self.cancel.check() {
                return Err(self.give_up(sent, error));
            }
            if let Err(source) = file.read_exact(piece) {
                let error = unreadable(source);
                return Err(self.give_up(sent, error));
            }
            if let Err(error) = self.drive.write(sent, piece) {
                return self.lost("write to its disk", error).map(Some);
            }
            sent += length as u64;
            self.listener.event(&Event::Progress { sent, total });
        }
        if let Err(error) = self.drive.eject() {
            return self.lost("eject its disk", error).map(Some);
        }
        self.listener.event(&Event::Ejected);
        Ok(None)
    }

    /// Ends a session in the middle. An eject does that, as something is missing then; but not where somebody has written before.
    fn give_up(&mut self, sent: u64, error: Error) -> Error {
        let place = self.disk.place.clone();
        match (sent, self.written) {
            (0, _) => return error,
            (_, None) if matches!(error, Error::Cancelled) => return Error::LeftWritten { place },
            (_, None) => return error,
            (_, Some(_)) => {}
        }
        if self.drive.eject().is_ok() {
            // The next update need not do it.
            if self.another(GIVE_UP_LIMIT, &Cancel::default()).is_ok() {
                self.take_out();
            }
        }
        match error {
            Error::Cancelled => Error::Aborted { place, handed_over: false },
            other => other,
        }
    }

    /// Why the disk took no more: the BMC may have ended the session, and then tells. It may have taken the package, too, all that counts of it
    /// being there (`inbandd commit`).
    fn lost(&mut self, action: &'static str, error: HostError) -> Result<FirstBlock, Error> {
        match self.another(BACK_LIMIT, self.cancel) {
            Ok(FirstBlock { state: State::Refused(why), .. }) => Err(told(self.disk, why)),
            Ok(text) => self.judge(text),
            Err(error @ (Error::NotBack { .. } | Error::Cancelled)) => Err(error),
            Err(_) => Err(failure(&self.disk.place, self.drive, action, error)),
        }
    }

    /// The medium behind the eject.
    fn verdict(&mut self) -> Result<FirstBlock, Error> {
        match self.another(VERDICT_LIMIT, self.cancel) {
            Err(Error::Cancelled) => {
                Err(Error::Aborted { place: self.disk.place.clone(), handed_over: true })
            }
            other => other,
        }
    }

    /// Waits for another medium than the one that was written to.
    fn another(&mut self, limit: Duration, cancel: &Cancel) -> Result<FirstBlock, Error> {
        let start = self.drive.now();
        let (mut gone, mut emptied) = (None, false);
        loop {
            cancel.check()?;
            let now = self.drive.now();
            let elapsed = now.saturating_sub(start);
            match self.drive.read() {
                Ok(Some(Ok(text))) if self.written != Some(text.generation) => return Ok(text),
                // Another daemon may have come to the same number.
                Ok(Some(Ok(text))) if emptied => return Ok(text),
                Ok(Some(Ok(_) | Err(TextError::NoText))) => {
                    if elapsed >= EJECT_LIMIT.min(limit) {
                        return Err(self.stays());
                    }
                }
                Ok(Some(Err(error))) => return Err(unreadable(self.disk, error)),
                Ok(None) => (gone, emptied) = (None, true),
                Err(HostError::Gone) => {
                    emptied = true;
                    if now.saturating_sub(*gone.get_or_insert(now)) >= BACK_LIMIT {
                        return Err(not_back(self.disk));
                    }
                }
                Err(error) => return Err(failure(&self.disk.place, self.drive, "learn the result", error)),
            }
            if elapsed >= limit {
                return Err(Error::Refused { place: self.disk.place.clone(), code: ResultCode::Timeout });
            }
            self.drive.pause(POLL);
        }
    }

    /// What a medium tells of our package: itself, if it is staged.
    fn judge(&mut self, text: FirstBlock) -> Result<FirstBlock, Error> {
        let is_ours = |head: Option<&[u8; 16]>| match (self.contents, head) {
            (Contents::Package(package), Some(head)) => package.head_digest.starts_with(head.as_slice()),
            (Contents::Package(_), None) | (Contents::Tar(_), _) => true,
        };
        match &text.state {
            State::Ready | State::Refused(_) => Err(Error::NoVerdict { place: self.disk.place.clone() }),
            // Of a daemon that began to count anew.
            _ if self.written.is_some_and(|written| !is_newer(text.generation, written)) => {
                Err(Error::NoVerdict { place: self.disk.place.clone() })
            }
            State::Pass(Session { head, .. }) | State::Fail(Session { head, .. }, _)
                if !is_ours(head.as_ref()) =>
            {
                Err(Error::NoVerdict { place: self.disk.place.clone() })
            }
            // What verified has a head.
            State::Pass(Session { head: None, .. }) if matches!(self.contents, Contents::Package(_)) => {
                Err(unreadable(self.disk, TextError::Value("HEAD")))
            }
            State::Pass(_) => Ok(text),
            State::Fail(_, why) => {
                let error = told(self.disk, *why);
                self.take_out();
                Err(error)
            }
        }
    }

    fn sent(&mut self, start: Duration) {
        let total = self.contents.length();
        let elapsed_ms = milliseconds(self.drive.now().saturating_sub(start));
        self.listener.event(&Event::Sent { total, saved: 0, elapsed_ms });
    }
}

/// Whether a medium was made behind another one. The number is one of 32 bits.
const fn is_newer(generation: u32, than: u32) -> bool {
    matches!(generation.wrapping_sub(than), 1..=0x7fff_ffff)
}

#[cfg(test)]
mod tests;
