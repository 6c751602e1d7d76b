//! Follows a device that has left the bus until it is back at its place.

use std::time::{Duration, Instant};

use inband_dfu::host::InterfaceMode;

use crate::{
    bmc::{Bmc, Recognised},
    cancel::Cancel,
    error::Error,
    find::is_passing,
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
    /// The descriptor set it is expected with; `None` for either.
    pub mode: Option<InterfaceMode>,
}

impl Expected {
    /// The same device in another mode.
    #[must_use]
    pub fn from(bmc: &Bmc, mode: InterfaceMode) -> Self {
        Self { mode: Some(mode), ..Self::anyhow(bmc) }
    }

    /// The same device in whatever mode.
    #[must_use]
    pub fn anyhow(bmc: &Bmc) -> Self {
        Self {
            place: bmc.place.clone(),
            serial: bmc.strings.serial.clone(),
            machine: bmc.machine.clone(),
            mode: None,
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
        bus.pause(POLL);
    }
}

enum Look {
    Found(Box<Bmc>),
    NotYet(Option<Error>),
}

fn look(bus: &dyn Bus, expected: &Expected) -> Result<Look, Error> {
    // A server that is restarting has no list; that is no reason to give up.
    let Ok(sightings) = bus.list() else { return Ok(Look::NotYet(None)) };
    let protocol = expected.mode.map(|mode| match mode {
        InterfaceMode::Runtime => inband_dfu::wire::PROTOCOL_RUN_TIME,
        InterfaceMode::Dfu => inband_dfu::wire::PROTOCOL_DFU_MODE,
    });
    let there = sightings.iter().find(|sighting| sighting.place == expected.place);
    // The old device may still be there for a moment. It must not be opened: that may hold it.
    if !there.is_some_and(|sighting| {
        let shows = |protocol| sighting.interfaces.iter().any(|interface| interface.protocol == protocol);
        sighting.is_dfu() && protocol.is_none_or(shows)
    }) {
        return Ok(Look::NotYet(None));
    }
    match Bmc::open(bus, &expected.place) {
        Ok(Recognised::Bmc(bmc)) if expected.mode.is_some_and(|mode| mode != bmc.mode()) => {
            Ok(Look::NotYet(None))
        }
        Ok(Recognised::Bmc(bmc)) => {
            if bmc.strings.serial != expected.serial || bmc.machine != expected.machine {
                return Err(Error::Swapped { place: bmc.place.clone(), found: crate::find::describe(&bmc) });
            }
            Ok(Look::Found(bmc))
        }
        Ok(Recognised::Foreign { reason, .. }) => {
            Err(Error::Swapped { place: expected.place.clone(), found: reason })
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

#[cfg(test)]
mod tests {
    use inband_usb::HostError;

    use super::*;
    use crate::testing::{FakeBus, Plugged};

    const SHORT: Duration = Duration::from_millis(100);

    fn expected(mode: InterfaceMode) -> Expected {
        Expected {
            place: Place::Port { bus: "1".into(), ports: vec![1] },
            serial: Some("SN".into()),
            machine: "board".into(),
            mode: Some(mode),
        }
    }

    fn followed(bus: &FakeBus, mode: InterfaceMode) -> Result<InterfaceMode, Error> {
        follow(bus, &expected(mode), SHORT, &Cancel::default()).map(|bmc| bmc.mode())
    }

    #[test]
    fn it_waits_for_the_other_mode_and_never_opens_the_old_one() {
        let bus = FakeBus::with([Plugged::bmc(1, "SN")]);
        assert!(matches!(followed(&bus, InterfaceMode::Dfu), Err(Error::NotBack { .. })));
        assert!(bus.opened.borrow().is_empty());
        assert!(matches!(followed(&bus, InterfaceMode::Runtime), Ok(InterfaceMode::Runtime)));
    }

    #[test]
    fn it_finds_a_device_that_comes_back_late() {
        let bus = FakeBus::with([]);
        bus.appears_after(3, Plugged::bmc(1, "SN").in_dfu_mode());
        assert!(matches!(followed(&bus, InterfaceMode::Dfu), Ok(InterfaceMode::Dfu)));
    }

    #[test]
    fn a_device_that_is_still_being_set_up_gets_time_and_then_its_error_is_told() {
        let bus = FakeBus::with([Plugged::failing(1, HostError::Permission).in_dfu_mode()]);
        let error = followed(&bus, InterfaceMode::Dfu).unwrap_err();
        assert_eq!(error.exit_code(), 5);
        assert!(bus.opened.borrow().len() > 1);
    }

    #[test]
    fn another_device_at_the_place_is_not_taken_for_it() {
        for other in [Plugged::bmc(1, "OTHER"), Plugged::foreign(1), Plugged::bmc(1, "SN").of_board("other")]
        {
            let bus = FakeBus::with([other.in_dfu_mode()]);
            assert!(matches!(followed(&bus, InterfaceMode::Dfu), Err(Error::Swapped { .. })));
        }
    }

    #[test]
    fn the_user_can_stop_it() {
        let bus = FakeBus::with([]);
        let cancel = Cancel::default();
        cancel.request();
        let stopped = follow(&bus, &expected(InterfaceMode::Dfu), Duration::from_secs(3600), &cancel);
        assert!(matches!(stopped.map(|bmc| bmc.mode()), Err(Error::Cancelled)));
    }
}
