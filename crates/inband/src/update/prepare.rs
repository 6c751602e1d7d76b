//! What is looked at before anything is sent.

use std::{
    fs::File,
    io::{self, Read, Seek, SeekFrom},
    path::Path,
    time::Duration,
};

use inband_dfu::{host::InterfaceMode, suffix};
use inband_package::{Refusal, Rule, Running, maker::Verified, openbmc::Format, tar};
use inband_session::{
    Door, DoorState, ResultCode,
    status::{FirmwarePage, StatusPage},
};

use super::{
    Contents, Plan,
    door::{self, Choice, Wish},
    event::{Event, Listener},
    handle::{Handle, Offer},
    volume,
};
use crate::{
    bmc::Bmc,
    cancel::Cancel,
    commands::facts::{mode_name, version_in},
    error::{DeviceError, Error},
    find::{Target, is_passing},
    ipmi::Report,
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
    /// For what a BMC does not show before a start by IPMI, in a dry run.
    Hidden(Hidden),
}

impl Prepared {
    /// What is in the file.
    #[must_use]
    pub const fn contents(&self) -> &Contents {
        match self {
            Self::Usb(prepared) => &prepared.contents,
            Self::Disk(prepared) => &prepared.contents,
            Self::Hidden(prepared) => &prepared.contents,
        }
    }
}

/// A file that was checked, and a BMC that does not show the door for it yet.
pub struct Hidden {
    /// What is in the file.
    pub contents: Contents,
    /// Where the BMC is: on USB, or behind IPMI alone.
    pub place: Place,
    /// Its status.
    pub status: StatusPage,
    /// The door that a start would open.
    pub offer: Offer,
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
    /// What a start by IPMI would open, in a dry run.
    pub offer: Option<Offer>,
}

/// How long a BMC may take to be on the bus behind a start: its disk is looked at by the kernel behind a second.
const SHOW_LIMIT: Duration = Duration::from_secs(30);
/// Between two looks.
const POLL: Duration = Duration::from_millis(100);

/// Checks the file and whether this BMC would take it. Nothing is changed, but that a door which is shut is opened by the `handle`. `None` if there
/// is nothing to do: the BMC runs this version already.
///
/// # Errors
/// [`Error::BadPackage`], [`Error::File`], [`Error::Refused`], those of asking the BMC, and those of `find`.
pub fn prepare(
    bus: &dyn Bus,
    plan: &Plan<'_>,
    find: impl Fn(Wish) -> Result<Target, Error>,
    handle: &mut Handle,
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
    Preparation { bus, plan, find: &find, handle, listener, cancel }.make(contents)
}

struct Preparation<'a> {
    bus: &'a dyn Bus,
    plan: &'a Plan<'a>,
    find: &'a dyn Fn(Wish) -> Result<Target, Error>,
    handle: &'a mut Handle,
    listener: &'a mut dyn Listener,
    cancel: &'a Cancel,
}

impl Preparation<'_> {
    fn make(&mut self, contents: Contents) -> Result<Option<Prepared>, Error> {
        match (self.find)(self.plan.door) {
            // What was chosen is not there; IPMI may lead to another one.
            Err(absent @ Error::NoDevice { .. }) if self.plan.is_chosen => Err(absent),
            // A BMC whose doors are shut may not be on the bus.
            Err(absent @ (Error::NoDevice { .. } | Error::NoDoor { .. })) => self.hidden(contents, absent),
            found => self.found(contents, found?),
        }
    }

    fn found(&mut self, contents: Contents, target: Target) -> Result<Option<Prepared>, Error> {
        match target {
            Target::Bmc(bmc) => self.by_usb(contents, *bmc),
            Target::Disk(disk) => {
                let disk = volume::prepare(self.bus, self.plan, contents, *disk, self.listener, self.cancel);
                Ok(disk?.map(Prepared::Disk))
            }
        }
    }

    fn by_usb(&mut self, contents: Contents, mut bmc: Bmc) -> Result<Option<Prepared>, Error> {
        let plan = self.plan;
        let read = |bmc: &mut Bmc| -> Result<_, DeviceError> { Ok((bmc.status()?, bmc.firmware()?)) };
        let (mut status, firmware) =
            read(&mut bmc).map_err(|source| bmc.failure("read the status", source))?;
        let mut choice = door::choose(&mut bmc, &status, plan.door, contents.length());
        self.listener.event(&Event::Device {
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
                self.listener.event(&Event::UpToDate { slot: Some(status.running.name()), version });
                return Ok(None);
            }
        }
        let mut offered = None;
        if is_shut(&bmc, &status, plan.door) && !self.handle.has_opened() {
            offered = self.handle.offer(plan.door, Some(&bmc.machine), self.listener)?;
        }
        if let Some(offer) = offered {
            let is_disk = offer.wish(plan.door) == Wish::Volume;
            if plan.dry_run && is_disk {
                return Ok(Some(Prepared::Hidden(Hidden {
                    contents,
                    place: bmc.place.clone(),
                    status,
                    offer,
                })));
            }
            if plan.dry_run {
                // As it will be then.
                Door::ALL.into_iter().filter(|door| offer.opens(*door)).for_each(|door| {
                    status.doors[door.index()] = DoorState::Armed;
                });
            } else {
                self.handle.open(offer, plan, &contents, self.listener)?;
                if is_disk {
                    drop(bmc);
                    return self.shown(contents, offer, None);
                }
                status = bmc.status().map_err(|source| bmc.failure("read the status", source))?;
            }
            choice = door::choose(&mut bmc, &status, plan.door, contents.length());
        }
        takes_packages(&bmc, &status)?;
        let offer = offered.filter(|_| plan.dry_run);
        Ok(Some(Prepared::Usb(ByUsb { contents, bmc, status, choice: choice?, offer })))
    }

    /// Nothing is on the bus, but IPMI may lead to a BMC that hides.
    fn hidden(&mut self, contents: Contents, absent: Error) -> Result<Option<Prepared>, Error> {
        let plan = self.plan;
        let Some(offer) = self.handle.offer(plan.door, None, self.listener)? else { return Err(absent) };
        let (place, Report { machine, page: status, firmware, .. }) = self.handle.report()?;
        if let Contents::Package(package) = &contents {
            for_this_bmc(&plan.package, package, &machine, Some(status.floor))?;
            if !worth_sending(plan, package, &place, &status, &firmware)? {
                let version = package.index.version.clone();
                self.listener.event(&Event::UpToDate { slot: Some(status.running.name()), version });
                return Ok(None);
            }
        }
        if plan.dry_run {
            return Ok(Some(Prepared::Hidden(Hidden { contents, place, status, offer })));
        }
        self.handle.open(offer, plan, &contents, self.listener)?;
        self.shown(contents, offer, Some(absent))
    }

    /// Goes on with what the door that was opened shows; `absent` if that does not come.
    fn shown(
        &mut self,
        contents: Contents,
        offer: Offer,
        mut absent: Option<Error>,
    ) -> Result<Option<Prepared>, Error> {
        let mut waited = Duration::ZERO;
        loop {
            self.cancel.check()?;
            match (self.find)(offer.wish(self.plan.door)) {
                Err(error @ (Error::NoDevice { .. } | Error::NoDoor { .. })) => {
                    if waited >= SHOW_LIMIT {
                        return Err(absent.take().unwrap_or(error));
                    }
                }
                // It may be on its way.
                Err(Error::Device { source, .. }) if is_passing(&source) && waited < SHOW_LIMIT => {}
                found => return self.found(contents, found?),
            }
            self.bus.pause(POLL);
            waited += POLL;
        }
    }
}

/// Whether the door that is wished for does not open at the host's knock.
fn is_shut(bmc: &Bmc, status: &StatusPage, wish: Wish) -> bool {
    let shut = |door| status.door_state(door) == DoorState::Shut;
    bmc.mode() == InterfaceMode::Runtime && (shut(Door::Dfu) || wish == Wish::Bulk && shut(Door::Bulk))
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
