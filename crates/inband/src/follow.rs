//! Follows a device that has left the bus until it is back at its place.

use std::{
    thread,
    time::{Duration, Instant},
};

use inband_dfu::host::InterfaceMode;

use crate::{
    bmc::{Bmc, Recognised},
    cancel::Cancel,
    error::Error,
    find::is_passing,
    text::shown,
    usb::{Bus, Place},
};

/// Between two looks. A hotplug event would come through udev, which a rescue system may not run, and looking is cheap.
const POLL: Duration = Duration::from_millis(20);

/// Which device is waited for.
#[derive(Clone, Debug)]
pub struct Expected {
    /// Where it was, and so where it will be.
    pub place: Place,
    /// Its serial number, the same in both modes.
    pub serial: Option<String>,
    /// Its board.
    pub machine: String,
    /// The descriptor set it is expected with.
    pub mode: InterfaceMode,
}

impl Expected {
    /// The same device in another mode.
    #[must_use]
    pub fn from(bmc: &Bmc, mode: InterfaceMode) -> Self {
        Self {
            place: bmc.place.clone(),
            serial: bmc.strings.serial.clone(),
            machine: bmc.machine.clone(),
            mode,
        }
    }
}

/// Looks at the place until the expected device is there and answers.
///
/// # Errors
/// [`Error::NotBack`], or what was wrong with what is there, after `limit`; [`Error::Swapped`] if another device is there;
/// [`Error::Cancelled`].
pub fn follow(bus: &dyn Bus, expected: &Expected, limit: Duration, cancel: &Cancel) -> Result<Bmc, Error> {
    let start = Instant::now();
    let mut obstacle = None;
    loop {
        cancel.check()?;
        match look(bus, expected)? {
            Look::Found(bmc) => return Ok(*bmc),
            Look::NotYet(Some(error)) => obstacle = Some(error),
            Look::NotYet(None) => {}
        }
        if start.elapsed() >= limit {
            let place = expected.place.clone();
            return Err(obstacle.unwrap_or(Error::NotBack { place, seconds: limit.as_secs() }));
        }
        thread::sleep(POLL);
    }
}

enum Look {
    Found(Box<Bmc>),
    NotYet(Option<Error>),
}

fn look(bus: &dyn Bus, expected: &Expected) -> Result<Look, Error> {
    // A server that is restarting has no list; that is no reason to give up.
    let Ok(sightings) = bus.list() else { return Ok(Look::NotYet(None)) };
    let protocol = match expected.mode {
        InterfaceMode::Runtime => inband_dfu::wire::PROTOCOL_RUN_TIME,
        InterfaceMode::Dfu => inband_dfu::wire::PROTOCOL_DFU_MODE,
    };
    let there = sightings.iter().find(|sighting| sighting.place == expected.place);
    // The old device may still be there for a moment. It must not be opened: that may hold it.
    if !there.is_some_and(|sighting| {
        sighting.is_dfu() && sighting.interfaces.iter().any(|interface| interface.protocol == protocol)
    }) {
        return Ok(Look::NotYet(None));
    }
    match Bmc::open(bus, &expected.place) {
        Ok(Recognised::Bmc(bmc)) if bmc.mode() != expected.mode => Ok(Look::NotYet(None)),
        Ok(Recognised::Bmc(bmc)) => {
            if bmc.strings.serial != expected.serial || bmc.machine != expected.machine {
                return Err(Error::Swapped { place: bmc.place.clone(), found: crate::find::describe(&bmc) });
            }
            Ok(Look::Found(bmc))
        }
        Ok(Recognised::Foreign(reason)) => {
            Err(Error::Swapped { place: expected.place.clone(), found: shown(&reason) })
        }
        Err(source) => {
            let passing = is_passing(&source);
            let advice = match &source {
                crate::error::DeviceError::Host(error) => bus.advice(&expected.place, error),
                _ => None,
            };
            let action = "open the device that came back";
            let error =
                Error::Device { place: expected.place.clone(), action, source: Box::new(source), advice };
            if passing { Ok(Look::NotYet(Some(error))) } else { Err(error) }
        }
    }
}
