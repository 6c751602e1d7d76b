//! A USB device controller of this machine, by configfs and FunctionFS.

use std::{fmt, io, sync::Arc, time::Duration};

use inband_dfu::descriptors::{self, Identity};
use inband_gadget::{Gadget, GadgetError, Options, Probe, Waiter};

use super::{Side, Waker};
use crate::{
    config::{Config, Usb},
    error::Error,
};

/// A controller, with a gadget for each descriptor set.
pub struct Udc {
    waiter: Waiter,
    controller: String,
}

impl Udc {
    /// Looks what the kernel offers, and makes the gadgets ready.
    pub(crate) fn open(config: &Config, identity: &Identity) -> Result<(Self, Gadget), Error> {
        let failed = |error| unavailable(config, error);
        let mut gadget = Gadget::open(options(config)).map_err(failed)?;
        for set in [descriptors::runtime(identity), descriptors::dfu_mode(identity)] {
            gadget.prepare(&set).map_err(failed)?;
        }
        log::info!("event=gadget-ready {}", gadget.probe());
        let controller = gadget.probe().controller.name.clone();
        Ok((Self { waiter: gadget.waiter(), controller }, gadget))
    }
}

/// What kernel and controller offer; nothing is changed.
///
/// # Errors
/// They do not offer what it takes.
pub fn probe(config: &Config) -> Result<Probe, Error> {
    Probe::look(&options(config)).map_err(|error| unavailable(config, error))
}

fn options(config: &Config) -> Options {
    Options { name: config.gadget.name.clone(), udc: config.gadget.udc.clone() }
}

impl Side for Udc {
    type Backend = Gadget;

    fn wait(&mut self, limit: Duration) {
        self.waiter.wait(limit);
    }

    fn waker(&self) -> Waker {
        let waker = self.waiter.waker();
        Arc::new(move || waker.wake())
    }
}

impl fmt::Display for Udc {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} udc={}", Usb::Gadget, self.controller)
    }
}

/// The USB side that the configuration asks for is not to be had.
fn unavailable(config: &Config, error: GadgetError) -> Error {
    let advice = match &error {
        GadgetError::NoConfigfs | GadgetError::NoFunctionFs | GadgetError::NoAio => {
            "load it, or build a kernel that has it"
        }
        GadgetError::NoController => "load its driver, and look whether the device tree enables it",
        GadgetError::WhichController(_) | GadgetError::NoSuchController { .. } => {
            "set gadget.udc in the configuration"
        }
        GadgetError::Busy { .. } => "unbind that one, or choose another controller with gadget.udc",
        GadgetError::Held(_) => "stop that one, or choose another gadget.name",
        GadgetError::Name(_) => "correct gadget.name in the configuration",
        GadgetError::Nul | GadgetError::Descriptors(_) => "correct identity in the configuration",
        GadgetError::System { source, .. } if source.kind() == io::ErrorKind::PermissionDenied => {
            "start inbandd as root, or by its systemd unit, which makes the gadgets ready for it"
        }
        GadgetError::System { .. } => "the kernel's log may say more",
    };
    Error::Usb { what: config.usb.to_string(), message: format!("{error}; {advice}") }
}
