//! A USB device controller of this machine, by configfs and FunctionFS.

use std::{fmt, fs, io, os::unix::fs::MetadataExt as _, sync::Arc, time::Duration};

use inband_dfu::descriptors::Identity;
use inband_gadget::{Gadget, GadgetError, Options, Probe, Waiter};
use inband_session::DoorPolicy;
use inband_store::SlotRecord;
use inband_usb::{DescriptorSet, DeviceBackend as _};

use super::{Side, Waker};
use crate::{
    bmc,
    config::{Config, Usb},
    error::Error,
    handed::Named,
    notify::Notify,
    open,
};

/// A controller, with a gadget for each descriptor set.
pub struct Udc {
    waiter: Waiter,
    controller: String,
    /// The kernel has what bulk endpoints take.
    aio: bool,
    /// The controller can halt endpoints.
    stalls: bool,
    /// Somebody has the gadgets' files, and so the device on the bus, when this process ends.
    kept: bool,
}

impl Udc {
    /// Looks what the kernel offers, and makes the gadgets ready, or takes over those whose files were handed to this process.
    pub(crate) fn open(
        config: &Config,
        identity: &Identity,
        handed: Vec<Named>,
    ) -> Result<(Self, Gadget), Error> {
        let failed = |error| unavailable(config, error);
        let kept = !handed.is_empty();
        let mut gadget = Gadget::adopt(options(config), handed).map_err(failed)?;
        for set in sets(config, identity, gadget.probe()) {
            gadget.prepare(&set).map_err(failed)?;
        }
        log::info!("event=gadget-ready handed-over={kept} {}", gadget.probe());
        let Probe { aio, stalls, .. } = *gadget.probe();
        let controller = gadget.probe().controller.name.clone();
        Ok((Self { waiter: gadget.waiter(), controller, aio, stalls, kept }, gadget))
    }
}

/// Makes the gadgets ready for a daemon that may not: they become those of the store's owner, and the service manager gets their files, to
/// hand them to the daemon whenever it starts one. Returns what was made; nothing if it has them already.
///
/// # Errors
/// They cannot be made, or given away.
pub fn prepare(config: &Config, notify: &Notify) -> Result<Option<Probe>, Error> {
    let failed = |error| unavailable(config, error);
    let mut gadget = match Gadget::open(options(config)) {
        // Somebody has their files: the service manager, from an earlier start.
        Err(GadgetError::Held(_)) => return Ok(None),
        opened => opened.map_err(failed)?,
    };
    let path = &config.store.path;
    let owner = fs::metadata(path)
        .map_err(|error| Error::System { what: "cannot look whose the store is", error })?;
    // What depends on the firmware is written whenever the device appears.
    let identity = open::identity(config, &SlotRecord::EMPTY, &SlotRecord::EMPTY);
    for set in sets(config, &identity, gadget.probe()) {
        gadget.give_to(owner.uid(), owner.gid(), &set).map_err(failed)?;
    }
    let unheard =
        |error| Error::System { what: "the service manager does not take the gadget's files", error };
    for (name, file) in gadget.files() {
        notify.keep(&name, file).map_err(unheard)?;
    }
    notify.barrier().map_err(unheard)?;
    let probe = gadget.probe().clone();
    gadget.hand_over();
    Ok(Some(probe))
}

/// All descriptor sets there are. With a bulk door there are two of DFU mode, with a volume door two of run time: the door may be shut, or the
/// controller may not have the endpoints.
fn sets(config: &Config, identity: &Identity, probe: &Probe) -> Vec<DescriptorSet> {
    let volume = config
        .identity
        .volume_product_id
        .filter(|_| config.doors.volume_policy(probe.aio) != DoorPolicy::Off);
    let bulk = config.doors.bulk_policy(probe.aio) != DoorPolicy::Off;
    let runtime = [None].into_iter().chain(volume.map(Some)).map(|disk| bmc::runtime(identity, disk));
    let dfu_mode = [false].into_iter().chain(bulk.then_some(true)).map(|bulk| bmc::dfu_mode(identity, bulk));
    runtime.chain(dfu_mode).collect()
}

/// What kernel and controller offer; nothing is changed.
///
/// # Errors
/// They do not offer what it takes.
pub fn probe(config: &Config) -> Result<Probe, Error> {
    Probe::look(&options(config)).map_err(|error| unavailable(config, error))
}

pub(super) fn options(config: &Config) -> Options {
    let gadget = &config.gadget;
    Options { name: gadget.name.clone(), udc: gadget.udc.clone(), stalls: gadget.stalls }
}

impl Side for Udc {
    type Backend = Gadget;

    fn has_bulk_endpoints(&self) -> bool {
        self.aio
    }

    fn can_halt(&self) -> bool {
        self.stalls
    }

    fn wait(&mut self, limit: Duration) {
        self.waiter.wait(limit);
    }

    fn waker(&self) -> Waker {
        let waker = self.waiter.waker();
        Arc::new(move || waker.wake())
    }

    fn end(self, mut backend: Gadget) -> Result<(), GadgetError> {
        if self.kept {
            backend.hand_over();
            return Ok(());
        }
        backend.detach()
    }
}

impl fmt::Display for Udc {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} udc={}", Usb::Gadget, self.controller)
    }
}

/// The USB side that the configuration asks for is not to be had.
pub(super) fn unavailable(config: &Config, error: GadgetError) -> Error {
    let advice = match &error {
        GadgetError::NoFunctionFs => {
            "load it, or build a kernel that has it; where it has f_mass_storage there can be a door volume (doors.volume.policy), for an inbandd that \
             is root, without inbandd prepare"
        }
        GadgetError::NoConfigfs | GadgetError::NoAio => "load it, or build a kernel that has it",
        GadgetError::NoController => "load its driver, and look whether the device tree enables it",
        GadgetError::WhichController(_) | GadgetError::NoSuchController { .. } => {
            "set gadget.udc in the configuration"
        }
        GadgetError::Refused { .. } => "the kernel's log may say more",
        GadgetError::Busy { .. } => "unbind that one, or choose another controller with gadget.udc",
        GadgetError::Held(_) => "stop that one, or choose another gadget.name",
        GadgetError::Name(_) => "correct gadget.name in the configuration",
        GadgetError::Nul | GadgetError::Descriptors(_) => "correct identity in the configuration",
        GadgetError::System { source, .. } if source.kind() == io::ErrorKind::PermissionDenied => {
            "start inbandd as root, or by its systemd unit, which makes the gadgets ready for it"
        }
        GadgetError::System { .. } => "the kernel's log may say more",
    };
    let (what, message) = (config.usb.to_string(), format!("{error}; {advice}"));
    match error {
        GadgetError::NoFunctionFs => Error::NoFunctionFs { what, message },
        _ => Error::Usb { what, message },
    }
}
