//! One update, from a package file to firmware that is staged, or running.

pub mod enter;
pub mod event;
pub mod show;

use std::{
    fs::File,
    io::{BufReader, Read},
    path::{Path, PathBuf},
    thread,
    time::{Duration, Instant},
};

use inband_dfu::host::{End, Error as DfuError, InterfaceMode};
use inband_package::{Refusal, Rule, Running, maker::Verified};
use inband_session::{
    Door, DoorState, ResultCode, SessionState,
    status::{FirmwarePage, StatusPage},
};

use self::{
    enter::BACK_LIMIT,
    event::{Event, Listener, milliseconds},
};
use crate::{
    bmc::Bmc,
    cancel::Cancel,
    commands::facts::{mode_name, version_in},
    dfu::{self, Download, Stop},
    error::{DeviceError, Error},
    follow::{Expected, follow},
    package::{
        check::{Demands, check, refused},
        keys::PublicKeys,
    },
    usb::Bus,
};

/// Bytes of the file read ahead of the BMC.
const READ_AHEAD: usize = 64 * 1024;
/// How long a BMC may take to read the slot back and put the result into its status.
const VERIFY_LIMIT: Duration = Duration::from_secs(600);
/// How long to look for a BMC that leaves DFU mode.
const LEAVE_LIMIT: Duration = Duration::from_secs(3);
/// Between two looks at a status that is about to change.
const STATUS_POLL: Duration = Duration::from_millis(100);

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
}

/// A package that was checked, and the BMC it is for.
pub struct Prepared {
    /// What is in the package.
    pub contents: Verified,
    /// The BMC.
    pub bmc: Bmc,
}

/// Checks the package and whether this BMC would take it. Nothing is changed. `None` if there is nothing to do: the BMC runs
/// this version already.
///
/// # Errors
/// [`Error::BadPackage`], [`Error::File`], [`Error::Refused`], those of asking the BMC, and those of `find`.
pub fn prepare(
    plan: &Plan<'_>,
    find: impl FnOnce() -> Result<Bmc, Error>,
    listener: &mut dyn Listener,
    cancel: &Cancel,
) -> Result<Option<Prepared>, Error> {
    let contents = check(&plan.package, Demands { keys: plan.keys, machine: None }, cancel)?;
    listener.event(&Event::Package {
        machine: contents.head.machine.clone(),
        version: contents.index.version.clone(),
        security_version: contents.index.security_version,
        length: contents.head.total_length,
        verified: plan.keys.is_some(),
    });
    let mut bmc = find()?;
    let read = |bmc: &mut Bmc| -> Result<_, DeviceError> { Ok((bmc.status()?, bmc.firmware()?)) };
    let (status, firmware) = read(&mut bmc).map_err(|source| bmc.failure("read the status", source))?;
    listener.event(&Event::Device {
        path: bmc.place.to_string(),
        serial: bmc.strings.serial.clone(),
        machine: bmc.machine.clone(),
        mode: mode_name(bmc.mode()),
        version: version_in(&firmware, status.running),
        door: "dfu",
    });
    for_this_bmc(&plan.package, &contents, &bmc, &status)?;
    if !worth_sending(plan, &contents, &bmc, &status, &firmware)? {
        let version = contents.index.version;
        listener.event(&Event::UpToDate { slot: status.running.name(), version });
        return Ok(None);
    }
    takes_packages(&bmc, &status)?;
    Ok(Some(Prepared { contents, bmc }))
}

// The BMC checks all of the following again, where it is a matter of refusing, and only its word counts: this spares the user
// the way there and back.

/// Refuses a package that this BMC will never take.
fn for_this_bmc(path: &Path, contents: &Verified, bmc: &Bmc, status: &StatusPage) -> Result<(), Error> {
    if contents.head.machine != bmc.machine {
        let refusal =
            Refusal::WrongMachine { expected: bmc.machine.clone(), found: contents.head.machine.clone() };
        return Err(refused(path, &refusal));
    }
    if contents.index.security_version < status.floor {
        let found = contents.index.security_version;
        return Err(refused(path, &Refusal::OldSecurityVersion { floor: status.floor, found }));
    }
    Ok(())
}

/// Whether what runs leaves anything to do.
fn worth_sending(
    plan: &Plan<'_>,
    contents: &Verified,
    bmc: &Bmc,
    status: &StatusPage,
    firmware: &[FirmwarePage; 2],
) -> Result<bool, Error> {
    let [page, next] = [status.running, status.boots_next].map(|slot| &firmware[usize::from(slot.number())]);
    let running = Running {
        version: page.version.to_string(),
        security_version: page.security_version,
        bcd_device: page.bcd_device,
    };
    if plan.same_version == Rule::Refuse && running.is_same(&contents.index) {
        // It runs, and is about to be replaced: by a restart it would be gone.
        if next.version != page.version {
            return Ok(true);
        }
        // On trial it may still be given up, so it is too early to say that all is done.
        if status.on_trial {
            return Err(Error::Refused { place: bmc.place.clone(), code: ResultCode::OnTrial });
        }
        return Ok(false);
    }
    if plan.downgrade == Rule::Refuse && running.is_newer_than(&contents.index) {
        return Err(refused(&plan.package, &running.downgrade(&contents.index)));
    }
    Ok(true)
}

/// Whether the BMC takes packages as it stands.
fn takes_packages(bmc: &Bmc, status: &StatusPage) -> Result<(), Error> {
    let refused = |code| Err(Error::Refused { place: bmc.place.clone(), code });
    if bmc.mode() == InterfaceMode::Runtime && status.door_state(Door::Dfu) == DoorState::Shut {
        return refused(ResultCode::DoorShut);
    }
    if status.on_trial {
        return refused(ResultCode::OnTrial);
    }
    if status.wait_minutes > 0 {
        return refused(if status.locked_out { ResultCode::LockedOut } else { ResultCode::Worn });
    }
    Ok(())
}

/// Does the update.
///
/// # Errors
/// [`Error::Refused`] with the BMC's result; [`Error::Cancelled`]; those of files and devices.
pub fn run(
    bus: &dyn Bus,
    plan: &Plan<'_>,
    prepared: Prepared,
    listener: &mut dyn Listener,
    cancel: &Cancel,
) -> Result<(), Error> {
    let Prepared { contents, bmc } = prepared;
    let total = contents.head.total_length;
    let failed = |source| Error::File { path: plan.package.clone(), action: "read", source };
    let file = File::open(&plan.package).map_err(failed)?;
    let mut payload = BufReader::with_capacity(READ_AHEAD, file);
    let (bmc, status) =
        transfer(bus, bmc, Payload { read: &mut payload, total, path: &plan.package }, listener, cancel)?;
    if status.head != contents.head_digest[..status.head.len()] {
        // It says all is well, but with another package: nothing it says can be relied on.
        let source = DeviceError::Contradiction("another package than it was sent");
        return Err(bmc.failure("learn the result", source));
    }
    listener
        .event(&Event::Staged { slot: status.boots_next.name(), version: contents.index.version.clone() });
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

/// Sends bytes to a BMC and learns its verdict, without looking at the bytes first. A BMC that took them is returned, still in DFU
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
    let mut bmc = match bmc.mode() {
        // Somebody left it there; the host sequence clears up what there is.
        InterfaceMode::Dfu => bmc,
        InterfaceMode::Runtime => {
            listener.event(&Event::Detach);
            let (bmc, after) = enter::dfu_mode(bus, bmc, cancel)?;
            listener.event(&Event::DfuMode { after_ms: milliseconds(after) });
            bmc
        }
    };
    let Payload { read, total, path } = payload;
    let start = Instant::now();
    let interface = *bmc.interface();
    // A session of ours will have another number: what the BMC reports of this one is about somebody else.
    let before = bmc.status().map_err(|source| bmc.failure("read the status", source))?;
    let earlier = before.session;
    listener.event(&Event::Start { total });
    let sent = dfu::download(
        bmc.device(),
        &interface,
        Download { total, ahead: before.takes_ahead },
        cancel,
        |block| read.read_exact(block),
        |sent| listener.event(&Event::Progress { sent, total }),
    );
    let mut bmc = match sent {
        Ok(End::Idle) => bmc,
        Ok(end @ (End::WantsReset | End::Left)) => {
            if end == End::WantsReset {
                let _ = bmc.device().reset();
            }
            let expected = Expected::from(&bmc, InterfaceMode::Runtime);
            drop(bmc);
            follow(bus, &expected, BACK_LIMIT, cancel)?
        }
        Err(stop) => return Err(stopped(bus, bmc, path, earlier, stop)),
    };
    let status = settled(&mut bmc, cancel)?;
    if let Some(error) = verdict(&bmc, &status) {
        end(bus, bmc);
        return Err(error);
    }
    listener.event(&Event::Sent { total, elapsed_ms: milliseconds(start.elapsed()) });
    Ok((bmc, status))
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
    loop {
        let status = bmc.status().map_err(|source| bmc.failure("learn the result", source))?;
        if !status.state.is_at_work() {
            return Ok(status);
        }
        if start.elapsed() >= VERIFY_LIMIT {
            return Err(Error::Refused { place: bmc.place.clone(), code: ResultCode::Timeout });
        }
        cancel.check()?;
        thread::sleep(STATUS_POLL);
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
                        slot: status.running.name(),
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
