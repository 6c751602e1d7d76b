//! What is looked at before anything is sent.

use std::{
    fs::File,
    io::{self, Read, Seek, SeekFrom},
    path::Path,
};

use inband_dfu::{host::InterfaceMode, suffix};
use inband_package::{Refusal, Rule, Running, maker::Verified, openbmc::Format, tar};
use inband_session::{
    Door, DoorState, ResultCode,
    status::{FirmwarePage, StatusPage},
};

use super::{
    Contents, Plan,
    door::{self, Choice},
    event::{Event, Listener},
    volume,
};
use crate::{
    bmc::Bmc,
    cancel::Cancel,
    commands::facts::{mode_name, version_in},
    error::{DeviceError, Error},
    find::Target,
    package::{
        check::{Demands, check, refused},
        suffix::find,
    },
    usb::{Bus, Place},
};

/// What was prepared.
pub enum Prepared {
    /// For the DFU interface of a BMC, or its bulk interface.
    Usb(ByUsb),
    /// For its disk.
    Disk(volume::Prepared),
}

/// A file that was checked, and the BMC it is for, as it stood then.
pub struct ByUsb {
    /// What is in the file.
    pub contents: Contents,
    /// The BMC.
    pub bmc: Bmc,
    /// Its status.
    pub status: StatusPage,
    /// The door that it lets one expect.
    pub choice: Choice,
}

/// Checks the file and whether this BMC would take it. Nothing is changed. `None` if there is nothing to do: the BMC runs
/// this version already.
///
/// # Errors
/// [`Error::BadPackage`], [`Error::File`], [`Error::Refused`], those of asking the BMC, and those of `find`.
pub fn prepare(
    bus: &dyn Bus,
    plan: &Plan<'_>,
    find: impl FnOnce() -> Result<Target, Error>,
    listener: &mut dyn Listener,
    cancel: &Cancel,
) -> Result<Option<Prepared>, Error> {
    let contents = look_into(plan, cancel)?;
    listener.event(&match &contents {
        Contents::Package(package) => Event::Package {
            machine: package.head.machine.clone(),
            version: package.index.version.clone(),
            security_version: package.index.security_version,
            length: package.head.total_length,
            verified: plan.keys.is_some(),
        },
        Contents::Tar(length) => Event::Tar { length: *length },
    });
    Ok(match find()? {
        Target::Bmc(bmc) => by_usb(plan, contents, *bmc, listener)?.map(Prepared::Usb),
        Target::Disk(disk) => {
            volume::prepare(bus, plan, contents, *disk, listener, cancel)?.map(Prepared::Disk)
        }
    })
}

fn by_usb(
    plan: &Plan<'_>,
    contents: Contents,
    mut bmc: Bmc,
    listener: &mut dyn Listener,
) -> Result<Option<ByUsb>, Error> {
    let read = |bmc: &mut Bmc| -> Result<_, DeviceError> { Ok((bmc.status()?, bmc.firmware()?)) };
    let (status, firmware) = read(&mut bmc).map_err(|source| bmc.failure("read the status", source))?;
    let choice = door::choose(&mut bmc, &status, plan.door, contents.length());
    listener.event(&Event::Device {
        path: bmc.place.to_string(),
        serial: bmc.strings.serial.clone(),
        machine: bmc.machine.clone(),
        mode: mode_name(bmc.mode()),
        version: version_in(&firmware, status.running),
        door: choice.as_ref().map_or(Door::Bulk, Choice::door).name(),
    });
    if let Contents::Package(package) = &contents {
        for_this_bmc(&plan.package, package, &bmc.machine, Some(status.floor))?;
        if !worth_sending(plan, package, &bmc.place, &status, &firmware)? {
            let version = package.index.version.clone();
            listener.event(&Event::UpToDate { slot: Some(status.running.name()), version });
            return Ok(None);
        }
    }
    takes_packages(&bmc, &status)?;
    Ok(Some(ByUsb { contents, bmc, status, choice: choice? }))
}

/// Checks a package. A firmware tar without a head is for the BMC to check, unless more is asked for than can be known of one.
fn look_into(plan: &Plan<'_>, cancel: &Cancel) -> Result<Contents, Error> {
    let is_of_our_making = plan.keys.is_some() || plan.downgrade == Rule::Refuse;
    if !is_of_our_making {
        return contents_of(&plan.package, cancel);
    }
    let package = check(&plan.package, Demands { keys: plan.keys, machine: None }, cancel)?;
    Ok(Contents::Package(Box::new(package)))
}

/// What is in a file: a package, which is checked but for its signatures, or a firmware tar without a head.
///
/// # Errors
/// [`Error::BadPackage`], [`Error::File`], [`Error::Cancelled`].
pub fn contents_of(path: &Path, cancel: &Cancel) -> Result<Contents, Error> {
    let failed = |source| Error::File { path: path.to_owned(), action: "read", source };
    if let Some(length) = tar_without_head(path).map_err(failed)? {
        return Ok(Contents::Tar(length));
    }
    let package = check(path, Demands { keys: None, machine: None }, cancel)?;
    Ok(Contents::Package(Box::new(package)))
}

/// Bytes of a firmware tar without a head that are sent: all but a DFU suffix. `None` if it is something else.
fn tar_without_head(path: &Path) -> io::Result<Option<u64>> {
    let mut file = File::open(path)?;
    let mut first = Vec::new();
    (&mut file).take(tar::BLOCK as u64).read_to_end(&mut first)?;
    match first.first_chunk() {
        Some(first) if Format::of(first) == Format::Unindexed => {}
        _ => return Ok(None),
    }
    let length = file.seek(SeekFrom::End(0))?;
    let without = length.saturating_sub(suffix::LEN as u64);
    Ok(Some(if find(&mut file, without)?.is_some() { without } else { length }))
}

// The BMC checks all of the following again, where it is a matter of refusing, and only its word counts: this spares the user
// the way there and back.

/// Refuses a package that a BMC of this board, and with this security floor if that is known, will never take.
pub(super) fn for_this_bmc(
    path: &Path,
    contents: &Verified,
    machine: &str,
    floor: Option<u32>,
) -> Result<(), Error> {
    if contents.head.machine != machine {
        let refusal =
            Refusal::WrongMachine { expected: machine.to_owned(), found: contents.head.machine.clone() };
        return Err(refused(path, &refusal));
    }
    let found = contents.index.security_version;
    match floor {
        Some(floor) if found < floor => Err(refused(path, &Refusal::OldSecurityVersion { floor, found })),
        Some(_) | None => Ok(()),
    }
}

/// Whether what runs leaves anything to do.
pub(super) fn worth_sending(
    plan: &Plan<'_>,
    contents: &Verified,
    place: &Place,
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
            return Err(Error::Refused { place: place.clone(), code: ResultCode::OnTrial });
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
