//! One update, from a package file to firmware that is staged, or running.

mod deliver;
pub mod door;
pub mod dry_run;
pub mod enter;
pub mod event;
pub mod handle;
mod prepare;
pub mod show;
pub mod volume;

use std::{
    io::Read,
    path::{Path, PathBuf},
    thread,
    time::{Duration, Instant},
};

use inband_dfu::host::{End, Error as DfuError, InterfaceMode};
use inband_ipmi::command::Wishes;
use inband_package::{Rule, maker::Verified};
use inband_session::{ResultCode, SessionState, status::StatusPage};

pub use self::prepare::{ByUsb, Hidden, Prepared, contents_of, prepare};
use self::{
    deliver::Delivery,
    door::Wish,
    enter::BACK_LIMIT,
    event::{Event, Listener, milliseconds},
    handle::Handle,
};
use crate::{
    bmc::Bmc,
    bulk::Load,
    cancel::Cancel,
    commands::facts::version_in,
    dfu::{self, Download, Stop},
    error::{DeviceError, Error, LOST},
    find::Target,
    follow::{Expected, follow},
    package::keys::PublicKeys,
    usb::Bus,
};

/// How long a BMC may take to read the slot back and put the result into its status.
const VERIFY_LIMIT: Duration = Duration::from_secs(600);
/// How long to look for a BMC that leaves DFU mode.
const LEAVE_LIMIT: Duration = Duration::from_secs(3);
/// Between two looks at a status that is about to change, at most.
const STATUS_POLL: Duration = Duration::from_millis(100);
/// Between the first two at one that may have changed already; then twice as long each time.
const FIRST_POLL: Duration = Duration::from_millis(1);

/// What is to be done.
#[derive(Debug)]
pub struct Plan<'a> {
    /// The package.
    pub package: PathBuf,
    /// Keys to verify its signatures with; without them that is left to the BMC.
    pub keys: Option<&'a PublicKeys>,
    /// Wait so long until the BMC runs the new firmware.
    pub wait: Option<Duration>,
    /// Refused, nothing is sent to a BMC that runs the package's version already, and that is no error.
    pub same_version: Rule,
    /// Refused, a package that is older than what the BMC runs is an error.
    pub downgrade: Rule,
    /// The door that it goes through.
    pub door: Wish,
    /// The user chose a BMC among those on USB.
    pub is_chosen: bool,
    /// Nothing is to change, on the BMC or here.
    pub dry_run: bool,
}

/// What is in the file.
#[derive(Clone, Debug)]
pub enum Contents {
    /// A package that was checked.
    Package(Box<Verified>),
    /// A firmware tar without a head, of so many bytes, which only the BMC can check.
    Tar(u64),
}

impl Contents {
    /// Bytes that are sent where all of it is.
    #[must_use]
    pub const fn length(&self) -> u64 {
        match self {
            Self::Package(package) => package.head.total_length,
            Self::Tar(length) => *length,
        }
    }

    /// What the door `bulk` takes of it.
    #[must_use]
    pub fn load(&self) -> Load {
        let package = match self {
            Self::Package(package) => Load::package(&package.head, &package.index),
            Self::Tar(_) => None,
        };
        package.unwrap_or_else(|| Load::whole(self.length()))
    }

    /// What a start asks for, so that the BMC takes this and nothing else; `None` of a tar, which cannot be announced.
    #[must_use]
    pub fn wishes(&self) -> Option<Wishes> {
        match self {
            Self::Package(package) => Some(Wishes {
                length: u32::try_from(package.head.total_length).ok(),
                head: Some(package.head_digest),
                ..Wishes::default()
            }),
            Self::Tar(_) => None,
        }
    }

    /// Whether a BMC that stands so has this package in its session; of a tar that cannot be told.
    #[must_use]
    pub fn is_session_of(&self, status: &StatusPage) -> bool {
        match self {
            Self::Package(package) => package.head_digest.starts_with(&status.head),
            Self::Tar(_) => true,
        }
    }
}

/// How an update ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Done {
    /// There was nothing to do.
    UpToDate,
    /// The firmware is staged.
    Staged,
    /// It runs, which was waited for.
    Running,
}

/// Makes an update from its beginning to its end. A door that is shut is opened for it, where the `handle` can, and shut behind it, however it
/// ended.
///
/// # Errors
/// Those of [`prepare()`] and [`run`].
pub fn make(
    bus: &dyn Bus,
    mut plan: Plan<'_>,
    find: impl Fn(Wish) -> Result<Target, Error>,
    handle: &mut Handle,
    listener: &mut dyn Listener,
    cancel: &Cancel,
) -> Result<Done, Error> {
    let waits = plan.wait.is_some();
    let sent = send(bus, &mut plan, &find, handle, listener, cancel);
    handle.close(listener);
    let Sent { done, wait } = sent?;
    if let Some(limit) = wait {
        handle.wait_for_activation(limit, listener, cancel)?;
    }
    Ok(if done == Done::Staged && waits { Done::Running } else { done })
}

/// How the sending ended, and how long to wait until the firmware runs, where USB will not show it.
struct Sent {
    done: Done,
    wait: Option<Duration>,
}

fn send(
    bus: &dyn Bus,
    plan: &mut Plan<'_>,
    find: &impl Fn(Wish) -> Result<Target, Error>,
    handle: &mut Handle,
    listener: &mut dyn Listener,
    cancel: &Cancel,
) -> Result<Sent, Error> {
    let prepared = prepare(bus, plan, find, handle, listener, cancel)?;
    let Some(prepared) = prepared else { return Ok(Sent { done: Done::UpToDate, wait: None }) };
    // What was hidden will be again.
    let wait = if handle.has_opened() { plan.wait.take() } else { None };
    let contents = handle.has_opened().then(|| prepared.contents().clone());
    match (run(bus, plan, prepared, listener, cancel), contents) {
        (Err(lost), Some(contents)) if lost.exit_code() == LOST => {
            handle.verdict(&contents, lost, listener, cancel)?;
        }
        (other, _) => other?,
    }
    Ok(Sent { done: Done::Staged, wait })
}

/// Does the update that was prepared.
///
/// # Errors
/// [`Error::Refused`] with the BMC's result; [`Error::Cancelled`]; those of doors, files and devices.
pub fn run(
    bus: &dyn Bus,
    plan: &Plan<'_>,
    prepared: Prepared,
    listener: &mut dyn Listener,
    cancel: &Cancel,
) -> Result<(), Error> {
    match prepared {
        Prepared::Usb(ByUsb { contents, bmc, .. }) => deliver(bus, plan, &contents, bmc, listener, cancel),
        Prepared::Disk(prepared) => volume::run(bus, plan, prepared, listener, cancel),
        Prepared::Hidden(Hidden { place, .. }) => Err(Error::Refused { place, code: ResultCode::DoorShut }),
    }
}

/// Does the update: brings a file that was checked to this BMC.
///
/// # Errors
/// [`Error::Refused`] with the BMC's result; [`Error::Cancelled`]; [`Error::NoDoor`]; those of files and devices.
pub fn deliver(
    bus: &dyn Bus,
    plan: &Plan<'_>,
    contents: &Contents,
    bmc: Bmc,
    listener: &mut dyn Listener,
    cancel: &Cancel,
) -> Result<(), Error> {
    let (mut bmc, status) = Delivery::new(bus, plan, contents, listener, cancel)?.make(bmc)?;
    if !contents.is_session_of(&status) {
        // It says all is well, but with another package: nothing it says can be relied on.
        let source = DeviceError::Contradiction("another package than it was sent");
        return Err(bmc.failure("learn the result", source));
    }
    let version = match contents {
        Contents::Package(package) => package.index.version.clone(),
        Contents::Tar(_) => {
            let firmware = bmc.firmware().map_err(|source| bmc.failure("read the status", source))?;
            version_in(&firmware, status.boots_next)
        }
    };
    listener.event(&Event::Staged { slot: Some(status.boots_next.name()), version });
    let expected = Expected::from(&bmc, InterfaceMode::Runtime);
    end(bus, bmc);
    match plan.wait {
        Some(limit) => wait_for_activation(bus, &expected, &status, limit, listener, cancel),
        None => Ok(()),
    }
}

/// What is sent.
pub struct Payload<'a> {
    /// Where its bytes come from.
    pub read: &'a mut dyn Read,
    /// How many of them are sent.
    pub total: u64,
    /// The file, to name it if it cannot be read.
    pub path: &'a Path,
}

/// Sends bytes to a BMC by DFU and learns its verdict, without looking at the bytes first. A BMC that took them is returned, still in DFU
/// mode if it stays there, with its status.
///
/// # Errors
/// [`Error::Refused`] with the BMC's result; [`Error::Cancelled`]; those of reading and of devices. The BMC is then asked to
/// return to run-time.
pub fn transfer(
    bus: &dyn Bus,
    bmc: Bmc,
    payload: Payload<'_>,
    listener: &mut dyn Listener,
    cancel: &Cancel,
) -> Result<(Bmc, StatusPage), Error> {
    let mut bmc = into_dfu_mode(bus, bmc, listener, cancel)?;
    let before = bmc.status().map_err(|source| bmc.failure("read the status", source))?;
    download(bus, bmc, &before, payload, listener, cancel)
}

/// Sees to it that a BMC is in DFU mode.
fn into_dfu_mode(
    bus: &dyn Bus,
    bmc: Bmc,
    listener: &mut dyn Listener,
    cancel: &Cancel,
) -> Result<Bmc, Error> {
    match bmc.mode() {
        // Somebody left it there; the host sequence clears up what there is.
        InterfaceMode::Dfu => Ok(bmc),
        InterfaceMode::Runtime => {
            listener.event(&Event::Detach);
            let (bmc, after) = enter::dfu_mode(bus, bmc, cancel)?;
            listener.event(&Event::DfuMode { after_ms: milliseconds(after) });
            Ok(bmc)
        }
    }
}

/// The same for a BMC in DFU mode that stands so.
fn download(
    bus: &dyn Bus,
    mut bmc: Bmc,
    before: &StatusPage,
    Payload { read, total, path }: Payload<'_>,
    listener: &mut dyn Listener,
    cancel: &Cancel,
) -> Result<(Bmc, StatusPage), Error> {
    let start = Instant::now();
    let interface = *bmc.interface();
    listener.event(&Event::Start { total });
    let sent = dfu::download(
        bmc.device(),
        &interface,
        Download { total, ahead: before.takes_ahead },
        cancel,
        |block| read.read_exact(block),
        |sent| listener.event(&Event::Progress { sent, total }),
    );
    let bmc = match sent {
        Ok(End::Idle) => bmc,
        Ok(end @ (End::WantsReset | End::Left)) => {
            if end == End::WantsReset {
                let _ = bmc.device().reset();
            }
            let expected = Expected::from(&bmc, InterfaceMode::Runtime);
            drop(bmc);
            follow(bus, &expected, BACK_LIMIT, cancel)?
        }
        // A session of ours has another number: what the BMC reports of this one is about somebody else.
        Err(stop) => return Err(stopped(bus, bmc, path, before.session, stop)),
    };
    let (bmc, status) = learned(bus, bmc, cancel)?;
    listener.event(&Event::Sent { total, saved: 0, elapsed_ms: milliseconds(start.elapsed()) });
    Ok((bmc, status))
}

/// The verdict of a BMC that has all it wants: its status, if it is a good one.
fn learned(bus: &dyn Bus, mut bmc: Bmc, cancel: &Cancel) -> Result<(Bmc, StatusPage), Error> {
    let status = settled(&mut bmc, cancel)?;
    match verdict(&bmc, &status) {
        None => Ok((bmc, status)),
        Some(error) => {
            end(bus, bmc);
            Err(error)
        }
    }
}

/// Lets go of a BMC. One in DFU mode is asked to leave it, and followed, so that whoever looks next finds it at run-time;
/// if it does not come back soon, that is its own affair.
pub fn end(bus: &dyn Bus, mut bmc: Bmc) {
    if bmc.mode() == InterfaceMode::Dfu {
        let expected = Expected::from(&bmc, InterfaceMode::Runtime);
        enter::leave(&mut bmc);
        drop(bmc);
        // A user who wants to stop waits for this too: it is short, and the end of what was asked for.
        let _ = follow(bus, &expected, LEAVE_LIMIT, &Cancel::default());
    }
}

/// The status once the BMC has made up its mind.
fn settled(bmc: &mut Bmc, cancel: &Cancel) -> Result<StatusPage, Error> {
    let start = Instant::now();
    let mut pause = FIRST_POLL;
    loop {
        let status = bmc.status().map_err(|source| bmc.failure("learn the result", source))?;
        if !status.state.is_at_work() {
            return Ok(status);
        }
        if start.elapsed() >= VERIFY_LIMIT {
            return Err(Error::Refused { place: bmc.place.clone(), code: ResultCode::Timeout });
        }
        cancel.check()?;
        thread::sleep(pause);
        pause = STATUS_POLL.min(pause * 2);
    }
}

/// What is wrong with a result that should be `ok`.
fn verdict(bmc: &Bmc, status: &StatusPage) -> Option<Error> {
    let place = bmc.place.clone();
    match status.result() {
        None => Some(Error::UnknownResult { place, number: status.result_code }),
        Some(ResultCode::Ok) => None,
        Some(ResultCode::None) => Some(bmc.failure(
            "learn the result",
            DeviceError::Contradiction("that there was no session, after it took a package"),
        )),
        Some(code) => Some(Error::Refused { place, code }),
    }
}

/// Why the download ended early. A refusal's reason is in the status, which DFU's sixteen codes cannot tell as well.
/// `earlier` is the session there was before.
fn stopped(bus: &dyn Bus, mut bmc: Bmc, path: &Path, earlier: u32, stop: Stop) -> Error {
    let error = match stop {
        Stop::Read(source) => Error::File { path: path.to_owned(), action: "read", source },
        Stop::Cancelled { handed_over } => Error::Aborted { place: bmc.place.clone(), handed_over },
        // Gone is gone: it cannot be asked, nor led back.
        Stop::Dfu(error @ DfuError::Gone) => return bmc.failure("send the package", error.into()),
        Stop::Dfu(error) => match bmc.status().ok().and_then(|status| refusal(&status, earlier)) {
            Some(code) => Error::Refused { place: bmc.place.clone(), code },
            None => bmc.failure("send the package", error.into()),
        },
    };
    end(bus, bmc);
    error
}

/// What a BMC that refused a block says of it.
fn refusal(status: &StatusPage, earlier: u32) -> Option<ResultCode> {
    if status.session != earlier {
        return status.result().filter(|code| !code.is_ok() && !status.state.is_at_work());
    }
    // It did not even begin a session.
    enter::not_now(status)
}

/// Waits until the BMC runs what was staged.
fn wait_for_activation(
    bus: &dyn Bus,
    expected: &Expected,
    staged: &StatusPage,
    limit: Duration,
    listener: &mut dyn Listener,
    cancel: &Cancel,
) -> Result<(), Error> {
    listener.event(&Event::WaitActivation);
    let start = Instant::now();
    let not_activated = || Error::NotActivated { place: expected.place.clone(), seconds: limit.as_secs() };
    loop {
        let left = limit.saturating_sub(start.elapsed());
        if left.is_zero() {
            return Err(not_activated());
        }
        let mut bmc = match follow(bus, expected, left, cancel) {
            Ok(bmc) => bmc,
            Err(Error::NotBack { .. }) => return Err(not_activated()),
            Err(other) => return Err(other),
        };
        // It may leave for its restart at any moment, also between two questions.
        let answer = bmc.status().and_then(|status| Ok((status, bmc.firmware()?)));
        match answer {
            Ok((status, firmware)) => match status.state {
                SessionState::PendingConfirm | SessionState::Done if status.running == staged.boots_next => {
                    listener.event(&Event::Activated {
                        slot: Some(status.running.name()),
                        version: version_in(&firmware, status.running),
                        on_trial: status.on_trial,
                    });
                    return Ok(());
                }
                SessionState::RolledBack => {
                    let code = status.result().unwrap_or(ResultCode::RolledBack);
                    return Err(Error::Refused { place: bmc.place.clone(), code });
                }
                SessionState::Idle
                | SessionState::Receiving
                | SessionState::Interrupted
                | SessionState::Handover
                | SessionState::Verifying
                | SessionState::Staged
                | SessionState::Activating
                | SessionState::PendingConfirm
                | SessionState::Done
                | SessionState::Failed
                | SessionState::Aborted => {}
            },
            Err(error) if crate::find::is_passing(&error) => {}
            Err(error) => return Err(bmc.failure("read the status", error)),
        }
        drop(bmc);
        thread::sleep(STATUS_POLL);
    }
}
