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
use inband_package::{KeyRing, Refusal, maker::Verified};
use inband_session::{ResultCode, SessionState, status::StatusPage};

use self::{
    enter::BACK_LIMIT,
    event::{Event, Listener, milliseconds},
};
use crate::{
    bmc::Bmc,
    cancel::Cancel,
    commands::facts::{mode_name, version_in},
    dfu::{self, Stop},
    error::{DeviceError, Error},
    follow::{Expected, follow},
    package::check::{Demands, check, refused},
    usb::Bus,
};

/// Bytes of the file read ahead of the BMC.
const READ_AHEAD: usize = 64 * 1024;
/// How long a BMC may take to read the slot back and put the result into its status.
const VERIFY_LIMIT: Duration = Duration::from_secs(600);
/// Between two looks at a status that is about to change.
const STATUS_POLL: Duration = Duration::from_millis(100);

/// What is to be done.
#[derive(Debug)]
pub struct Plan<'a> {
    /// The package.
    pub package: PathBuf,
    /// Keys to verify its signatures with; without them that is left to the BMC.
    pub keys: Option<&'a KeyRing>,
    /// Wait so long until the BMC runs the new firmware.
    pub wait: Option<Duration>,
}

/// A package that was checked, and the BMC it is for.
pub struct Prepared {
    /// What is in the package.
    pub contents: Verified,
    /// The BMC.
    pub bmc: Bmc,
}

/// Checks the package and whether this BMC would take it. Nothing is changed.
///
/// # Errors
/// [`Error::BadPackage`], [`Error::File`], [`Error::Refused`], those of asking the BMC, and those of `find`.
pub fn prepare(
    plan: &Plan<'_>,
    find: impl FnOnce() -> Result<Bmc, Error>,
    listener: &mut dyn Listener,
    cancel: &Cancel,
) -> Result<Prepared, Error> {
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
    allowed(&plan.package, &contents, &bmc, &status)?;
    Ok(Prepared { contents, bmc })
}

/// Refuses what the BMC would refuse anyway. It checks all of this again, and only its word counts: this spares the user the way
/// there and back.
fn allowed(path: &Path, contents: &Verified, bmc: &Bmc, status: &StatusPage) -> Result<(), Error> {
    if contents.head.machine != bmc.machine {
        let refusal =
            Refusal::WrongMachine { expected: bmc.machine.clone(), found: contents.head.machine.clone() };
        return Err(refused(path, &refusal));
    }
    if contents.index.security_version < status.floor {
        let found = contents.index.security_version;
        return Err(refused(path, &Refusal::OldSecurityVersion { floor: status.floor, found }));
    }
    if status.on_trial {
        return Err(Error::Refused { place: bmc.place.clone(), code: ResultCode::OnTrial });
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
    let start = Instant::now();
    let end = send(&mut bmc, &plan.package, contents.head.total_length, listener, cancel);
    let (mut bmc, status) = match end {
        Ok(End::Idle) => {
            let status = settled(&mut bmc, cancel)?;
            (bmc, status)
        }
        Ok(end @ (End::WantsReset | End::Left)) => {
            if end == End::WantsReset {
                let _ = bmc.device().reset();
            }
            let expected = Expected::from(&bmc, InterfaceMode::Runtime);
            drop(bmc);
            let mut bmc = follow(bus, &expected, BACK_LIMIT, cancel)?;
            let status = settled(&mut bmc, cancel)?;
            (bmc, status)
        }
        Err(stop) => return Err(stopped(&mut bmc, &plan.package, stop)),
    };
    if let Some(error) = verdict(&bmc, &status) {
        if bmc.mode() == InterfaceMode::Dfu {
            enter::leave(&mut bmc);
        }
        return Err(error);
    }
    if status.head != contents.head_digest[..status.head.len()] {
        // It says all is well, but with another package: nothing it says can be relied on.
        let source = DeviceError::Dfu(DfuError::Misuse("the BMC reports another package than it was sent"));
        return Err(bmc.failure("learn the result", source));
    }
    listener
        .event(&Event::Sent { total: contents.head.total_length, elapsed_ms: milliseconds(start.elapsed()) });
    listener
        .event(&Event::Staged { slot: status.boots_next.name(), version: contents.index.version.clone() });
    let expected = Expected::from(&bmc, InterfaceMode::Runtime);
    if bmc.mode() == InterfaceMode::Dfu {
        enter::leave(&mut bmc);
    }
    drop(bmc);
    match plan.wait {
        Some(limit) => wait_for_activation(bus, &expected, &status, limit, listener, cancel),
        None => {
            // So that whoever looks next finds it at run-time. That the firmware is staged is true in any case.
            let _ = follow(bus, &expected, BACK_LIMIT, cancel);
            Ok(())
        }
    }
}

/// Sends the archive, without what may follow it in the file.
fn send(
    bmc: &mut Bmc,
    path: &Path,
    total: u64,
    listener: &mut dyn Listener,
    cancel: &Cancel,
) -> Result<End, Stop> {
    let file = File::open(path).map_err(Stop::Read)?;
    let mut file = BufReader::with_capacity(READ_AHEAD, file);
    let interface = *bmc.interface();
    listener.event(&Event::Start { total });
    dfu::download(
        bmc.device(),
        &interface,
        total,
        cancel,
        |block| file.read_exact(block),
        |sent| listener.event(&Event::Progress { sent, total }),
    )
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
        Some(code) if code.is_ok() => Some(Error::Refused { place, code: ResultCode::Internal }),
        Some(code) => Some(Error::Refused { place, code }),
    }
}

/// Why the download ended early. A refusal's reason is in the status, which DFU's sixteen codes cannot tell as well.
fn stopped(bmc: &mut Bmc, path: &Path, stop: Stop) -> Error {
    let error = match stop {
        Stop::Read(source) => Error::File { path: path.to_owned(), action: "read", source },
        Stop::Cancelled => Error::Cancelled,
        Stop::Dfu(error) => match (&error, bmc.status()) {
            // Gone is gone: it cannot be asked.
            (DfuError::Gone, _) | (_, Err(_)) => return bmc.failure("send the package", error.into()),
            (_, Ok(status)) => match status.result() {
                Some(code) if !code.is_ok() && !status.state.is_at_work() => {
                    Error::Refused { place: bmc.place.clone(), code }
                }
                Some(_) | None => bmc.failure("send the package", error.into()),
            },
        },
    };
    enter::leave(bmc);
    error
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
                    return Err(Error::Refused { place: bmc.place.clone(), code: ResultCode::RolledBack });
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
