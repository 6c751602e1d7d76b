//! Which BMCs are in reach, and which one is meant.

use inband_dfu::host::InterfaceMode;
use inband_session::{Door, DoorState};
use inband_usb::HostError;

use crate::{
    bmc::{Bmc, Recognised},
    disk::{Disk, Drive, Profile},
    error::{DeviceError, Error},
    text::{shown, shown_path},
    update::door::Wish,
    usb::{Bus, Place, Selector, Sighting},
};

/// What was found.
#[derive(Default)]
pub struct Survey {
    /// BMCs, opened.
    pub bmcs: Vec<Bmc>,
    /// Devices with a DFU interface that are none, or could not be asked.
    pub others: Vec<Other>,
}

/// A device with a DFU interface that is no BMC, as far as we know.
pub struct Other {
    /// What is known of it.
    pub sighting: Sighting,
    /// Why it is not among the BMCs.
    pub reason: Reason,
}

/// Why a device is not among the BMCs.
pub enum Reason {
    /// It is something else.
    Foreign(String),
    /// It could not be asked.
    Unreadable {
        /// Why.
        error: DeviceError,
        /// What to do about it.
        advice: Option<String>,
    },
}

/// What an update goes to.
pub enum Target {
    /// A BMC that is spoken to.
    Bmc(Box<Bmc>),
    /// The disk of one.
    Disk(Box<OnDisk>),
}

/// The disk of a BMC.
pub struct OnDisk {
    /// The disk.
    pub disk: Disk,
    /// The BMC, if it has more on the bus than the disk.
    pub bmc: Option<Box<Bmc>>,
    /// Why it is the disk.
    pub reason: String,
}

/// Where a bus looks, for messages: "on USB", "at the USB/IP server ...".
pub struct Scope<'a> {
    /// The bus.
    pub bus: &'a dyn Bus,
    /// Its name.
    pub name: String,
    /// What to try if nothing is there.
    pub hint: String,
}

impl Scope<'_> {
    fn list(&self) -> Result<Vec<Sighting>, Error> {
        let sightings = self.bus.list().map_err(|source| Error::Bus {
            where_: self.name.clone(),
            source,
            advice: self.hint.clone(),
        })?;
        Ok(sightings.into_iter().filter(Sighting::is_dfu).collect())
    }

    /// Opens every DFU device in reach and asks whether it is a BMC.
    ///
    /// # Errors
    /// [`Error::Bus`]; what is wrong with a single device is told in its place.
    pub fn survey(&self) -> Result<Survey, Error> {
        Ok(self.ask(self.list()?))
    }

    fn ask(&self, sightings: Vec<Sighting>) -> Survey {
        let mut survey = Survey::default();
        for mut sighting in sightings {
            let reason = match Bmc::open(self.bus, &sighting.place) {
                Ok(Recognised::Bmc(bmc)) => {
                    survey.bmcs.push(*bmc);
                    continue;
                }
                Ok(Recognised::Foreign { reason, strings }) => {
                    sighting.strings = strings;
                    Reason::Foreign(reason)
                }
                Err(error) => {
                    let advice = self.advice(&sighting.place, &error);
                    Reason::Unreadable { error, advice }
                }
            };
            survey.others.push(Other { sighting, reason });
        }
        survey
    }

    fn advice(&self, place: &Place, error: &DeviceError) -> Option<String> {
        match error {
            DeviceError::Host(error) => self.bus.advice(place, error),
            DeviceError::Descriptor(_)
            | DeviceError::Page { .. }
            | DeviceError::Server(_)
            | DeviceError::Dfu(_)
            | DeviceError::Bulk(_)
            | DeviceError::Transfer(_)
            | DeviceError::Text(_)
            | DeviceError::Contradiction(_) => None,
        }
    }

    /// The one BMC that is meant.
    ///
    /// # Errors
    /// [`Error::NoDevice`], [`Error::ManyDevices`], [`Error::Bus`]; and [`Error::Device`] if there is only one that could not be
    /// asked.
    pub fn one(&self, selector: Option<&Selector>) -> Result<Bmc, Error> {
        let mut sightings = self.list()?;
        let all = sightings.len();
        if let Some(selector) = selector {
            if sightings.iter().any(|sighting| selector.names_place(&sighting.place)) {
                sightings.retain(|sighting| selector.names_place(&sighting.place));
            } else {
                // A serial number nobody has read yet may be the one.
                sightings.retain(|sighting| {
                    sighting.strings.serial.is_none()
                        || selector.names_serial(sighting.strings.serial.as_deref())
                });
            }
        }
        let Survey { mut bmcs, others } = self.ask(sightings);
        if let Some(selector) = selector {
            bmcs.retain(|bmc| selector.names(&bmc.place, bmc.strings.serial.as_deref()));
        }
        match (bmcs.pop(), bmcs.is_empty()) {
            (Some(bmc), true) => Ok(bmc),
            (Some(last), false) => {
                Err(Error::ManyDevices(bmcs.iter().chain([&last]).map(describe).collect()))
            }
            (None, _) => Err(self.none(selector, all, others)),
        }
    }

    /// What an update by the wished door goes to: a BMC that is spoken to, or the disk that it shows. Of a BMC that shows nothing else the disk
    /// is taken by itself.
    ///
    /// # Errors
    /// As [`one`](Self::one); [`Error::FatDisk`]; [`Error::NoDoor`] if the BMC has no disk; [`Error::Usage`] if none can be had this way.
    pub fn target(&self, selector: Option<&Selector>, wish: Wish) -> Result<Target, Error> {
        match wish {
            Wish::Dfu | Wish::Bulk => Ok(Target::Bmc(Box::new(self.one(selector)?))),
            Wish::Fastest => match self.one(selector) {
                Ok(bmc) => Ok(Target::Bmc(Box::new(bmc))),
                Err(none @ Error::NoDevice { .. }) => match self.disk(selector)? {
                    Some(disk) => {
                        let reason = "the BMC shows its disk alone".to_owned();
                        Ok(Target::Disk(Box::new(OnDisk { disk, bmc: None, reason })))
                    }
                    None => Err(none),
                },
                Err(other) => Err(other),
            },
            Wish::Volume => match self.disk(selector)? {
                Some(disk) => {
                    let bmc = self.beside(&disk)?;
                    let reason = "as --door says".to_owned();
                    Ok(Target::Disk(Box::new(OnDisk { disk, bmc, reason })))
                }
                None => Err(self.no_disk(selector)?),
            },
        }
    }

    /// The one disk that is meant, if there is one.
    fn disk(&self, selector: Option<&Selector>) -> Result<Option<Disk>, Error> {
        let mut disks = self.disks()?.unwrap_or_default();
        if let Some(selector) = selector {
            disks.retain(|disk| selector.names(&disk.place, disk.serial.as_deref()));
        }
        match (disks.pop(), disks.is_empty()) {
            (None, _) => Ok(None),
            (Some(Disk { place, profile: Profile::Fat, file, .. }), true) => {
                Err(Error::FatDisk { place, disk: file })
            }
            (Some(disk), true) => Ok(Some(disk)),
            (Some(last), false) => {
                Err(Error::ManyDevices(disks.iter().chain([&last]).map(describe_disk).collect()))
            }
        }
    }

    /// The disks that are meant, of BMCs that are not spoken to.
    ///
    /// # Errors
    /// [`Error::Bus`].
    pub fn disks_alone(&self, selector: Option<&Selector>) -> Result<Vec<Disk>, Error> {
        let mut disks = self.disks()?.unwrap_or_default();
        if !disks.is_empty() {
            let spoken_to = self.list()?;
            disks.retain(|disk| !spoken_to.iter().any(|sighting| sighting.place == disk.place));
        }
        disks.retain(|disk| {
            selector.is_none_or(|selector| selector.names(&disk.place, disk.serial.as_deref()))
        });
        Ok(disks)
    }

    /// Takes a disk.
    ///
    /// # Errors
    /// [`Error::Device`].
    pub fn take(&self, disk: &Disk) -> Result<Box<dyn Drive>, Error> {
        take_disk(self.bus, disk)
    }

    fn disks(&self) -> Result<Option<Vec<Disk>>, Error> {
        self.bus.disks().map_err(|source| Error::Bus {
            where_: "among the disks of this machine".to_owned(),
            source,
            advice: "is /sys mounted?".to_owned(),
        })
    }

    /// What else the BMC shows whose disk it is.
    fn beside(&self, disk: &Disk) -> Result<Option<Box<Bmc>>, Error> {
        if !self.list()?.iter().any(|sighting| sighting.place == disk.place) {
            return Ok(None);
        }
        match Bmc::open(self.bus, &disk.place) {
            Ok(Recognised::Bmc(bmc)) => Ok(Some(bmc)),
            Ok(Recognised::Foreign { .. }) => Ok(None),
            Err(error) => {
                let advice = self.advice(&disk.place, &error);
                let action = "ask the device what it is";
                Err(Error::Device { place: disk.place.clone(), action, source: Box::new(error), advice })
            }
        }
    }

    /// Why there is no disk.
    fn no_disk(&self, selector: Option<&Selector>) -> Result<Error, Error> {
        if self.disks()?.is_none() {
            let text = "the door volume is a disk of this machine, on Linux: there is none over USB/IP, nor can other systems eject it here";
            return Ok(Error::Usage(text.to_owned()));
        }
        let mut bmc = self.one(selector)?;
        let status = bmc.status().map_err(|source| bmc.failure("read the status", source))?;
        let reason = match (bmc.mode(), status.door_state(Door::Volume)) {
            (_, DoorState::Shut) => "the BMC shows no disk",
            (InterfaceMode::Dfu, _) => {
                "the BMC shows no disk in DFU mode, which it leaves by itself within a minute"
            }
            (InterfaceMode::Runtime, _) => {
                "this machine has not found the BMC's disk (is the driver usb-storage there?)"
            }
        };
        Ok(Error::NoDoor { place: bmc.place.clone(), door: Door::Volume.name(), reason: reason.to_owned() })
    }

    /// Why there is none: a device that could not be asked may have been the one.
    pub(crate) fn none(&self, selector: Option<&Selector>, all: usize, others: Vec<Other>) -> Error {
        for Other { sighting, reason } in others {
            match reason {
                Reason::Unreadable { error, advice } => {
                    return Error::Device {
                        place: sighting.place,
                        action: "ask the device what it is",
                        source: Box::new(error),
                        advice,
                    };
                }
                Reason::Foreign(_) => {}
            }
        }
        let where_ = match selector {
            Some(selector) => {
                format!("{} with the serial number or path {}", self.name, shown(&selector.to_string()))
            }
            None => self.name.clone(),
        };
        let advice = match (all, selector) {
            (0, _) => self.hint.clone(),
            (_, Some(_)) => "`inband list --all` shows what there is".to_owned(),
            (_, None) => "there are other DFU devices; `inband list --all` shows them".to_owned(),
        };
        Error::NoDevice { where_, advice }
    }
}

/// A BMC in one line.
#[must_use]
pub fn describe(bmc: &Bmc) -> String {
    let serial = bmc.strings.serial.as_deref().map_or_else(|| "-".to_owned(), shown);
    format!("{}  serial {serial}  machine {}", bmc.place, shown(&bmc.machine))
}

/// Takes a disk of a bus.
///
/// # Errors
/// [`Error::Device`].
pub fn take_disk(bus: &dyn Bus, disk: &Disk) -> Result<Box<dyn Drive>, Error> {
    bus.take_disk(disk).map_err(|untaken| Error::Device {
        place: disk.place.clone(),
        action: "take its disk",
        source: Box::new(untaken.error.into()),
        advice: untaken.advice,
    })
}

/// A disk in one line.
fn describe_disk(disk: &Disk) -> String {
    let serial = disk.serial.as_deref().map_or_else(|| "-".to_owned(), shown);
    format!("{}  serial {serial}  disk {}", disk.place, shown_path(&disk.file))
}

/// Whether a device may still be on its way: nobody has set it up yet, or it is being set up right now.
#[must_use]
pub const fn is_passing(error: &DeviceError) -> bool {
    match error {
        DeviceError::Host(error) => match error {
            HostError::Gone
            | HostError::Busy
            | HostError::Permission
            | HostError::Cancelled
            | HostError::Stall
            | HostError::Other(_) => true,
            HostError::Overflow | HostError::Misuse(_) => false,
        },
        // Read while it was being replaced by the other descriptor set.
        DeviceError::Descriptor(_) => true,
        DeviceError::Page { .. }
        | DeviceError::Server(_)
        | DeviceError::Dfu(_)
        | DeviceError::Bulk(_)
        | DeviceError::Transfer(_)
        | DeviceError::Text(_)
        | DeviceError::Contradiction(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use super::*;
    use crate::testing::{FakeBus, Plugged};

    fn one(bus: &FakeBus, selector: Option<&str>) -> Result<Bmc, Error> {
        let selector = selector.map(|text| text.parse().unwrap());
        Scope { bus, name: "here".into(), hint: "look closer".into() }.one(selector.as_ref())
    }

    fn exit_code(bus: &FakeBus, selector: Option<&str>) -> u8 {
        one(bus, selector).map(|bmc| describe(&bmc)).expect_err("this must not be found").exit_code()
    }

    #[test]
    fn one_bmc_is_found_among_others() {
        let bus = FakeBus::with([Plugged::foreign(1), Plugged::bmc(2, "SN"), Plugged::keyboard(3)]);
        assert_eq!(one(&bus, None).unwrap().place.to_string(), "usb:1-2");
        assert_eq!(one(&bus, Some("SN")).unwrap().place.to_string(), "usb:1-2");
        assert_eq!(exit_code(&bus, Some("usb:1-1")), 3);
        assert_eq!(exit_code(&bus, Some("usb:1-3")), 3);
    }

    #[test]
    fn what_cannot_be_asked_may_have_been_the_one() {
        for (error, code) in [(HostError::Permission, 5), (HostError::Busy, 12), (HostError::Gone, 10)] {
            let bus = FakeBus::with([Plugged::failing(1, error.clone()), Plugged::foreign(2)]);
            let failure = one(&bus, None).map(|bmc| describe(&bmc)).expect_err("it cannot be opened");
            assert_eq!(failure.exit_code(), code, "{error}");
            assert_eq!(failure.advice().as_deref(), Some("advice of the bus"));
            // But not if another one is there.
            let bus = FakeBus::with([Plugged::failing(1, error), Plugged::bmc(2, "SN")]);
            assert!(one(&bus, None).is_ok());
        }
    }

    #[test]
    fn a_bmc_whose_kernel_takes_no_functional_descriptor_is_one_all_the_same() {
        let bus = FakeBus::with([
            Plugged::foreign(1).without_functional_descriptor(),
            Plugged::bmc(2, "SN").without_functional_descriptor(),
        ]);
        let bmc = one(&bus, None).unwrap();
        assert_eq!(bmc.place.to_string(), "usb:1-2");
        assert_eq!((bmc.interface().block_size(), bmc.interface().functional.attributes.0), (4096, 0x0d));
    }

    #[test]
    fn a_device_named_by_its_place_is_the_only_one_opened() {
        let bus = FakeBus::with([Plugged::bmc(1, "ONE"), Plugged::bmc(2, "TWO")]);
        assert_eq!(exit_code(&bus, None), 4);
        bus.opened.replace(Vec::new());
        one(&bus, Some("usb:1-2")).unwrap();
        assert_eq!(RefCell::borrow(&bus.opened).len(), 1);
    }

    #[test]
    fn a_bus_that_is_not_there_is_told() {
        let mut bus = FakeBus::with([]);
        assert_eq!(exit_code(&bus, None), 3);
        bus.broken = Some(HostError::Permission);
        assert_eq!(exit_code(&bus, None), 5);
    }

    #[test]
    fn a_bus_without_disks_has_no_door_volume_and_loses_nothing_by_that() {
        let target = |bus: &FakeBus, wish| {
            let target = Scope { bus, name: "here".into(), hint: String::new() }.target(None, wish);
            target.map(|_| ()).map_err(|error| error.exit_code())
        };
        let bus = FakeBus::with([Plugged::bmc(1, "SN")]);
        for wish in [Wish::Fastest, Wish::Dfu, Wish::Bulk] {
            assert_eq!(target(&bus, wish), Ok(()));
            assert_eq!(target(&FakeBus::with([]), wish), Err(3));
        }
        assert_eq!(target(&bus, Wish::Volume), Err(2));
    }
}
