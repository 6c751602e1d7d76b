//! From the configuration to what it names: keys, layout, store.

use inband_dfu::descriptors::Identity;
use inband_package::{KeyRing, Kind, key::SystemKeys};
use inband_session::Pipeline;
use inband_store::{Firmware, Layout, Options, Region, SlotRecord, Store, file::FileMedium};

use crate::{
    config::{Config, KeyFormat, SignatureKind, Signatures},
    error::Error,
};

/// The name of the only target there is so far.
const TARGET: &str = "bmc";

/// Reads the system keys and those that are revoked.
pub fn keys(config: &Config) -> Result<KeyRing, Error> {
    let Signatures { keys: directory, format, required } = &config.signatures;
    let keys = match format {
        KeyFormat::Inband => SystemKeys::read(directory)?,
        KeyFormat::Openbmc => SystemKeys::read_openbmc(directory)?,
    };
    let required = required.iter().map(|kind| match kind {
        SignatureKind::Ed25519 => Kind::Ed25519,
        SignatureKind::P384 => Kind::P384,
        SignatureKind::Rsa => Kind::Rsa,
    });
    keys.ring(required.collect()).map_err(|error| Error::KeyRing { path: directory.clone(), error })
}

/// The regions of a slot.
pub fn layout(config: &Config) -> Result<Layout, Error> {
    let regions = config.regions.iter().map(|region| Region {
        target: TARGET.into(),
        member: region.member.clone(),
        offset: region.offset,
        length: region.size,
    });
    Ok(Layout::new(config.store.slot_size, regions.collect())?)
}

/// Opens the store that [`init`] made. Nothing is booted yet.
pub fn store(config: &Config) -> Result<Store<FileMedium>, Error> {
    let path = &config.store.path;
    let layout = layout(config)?;
    let medium = FileMedium::open(path, config.store.slot_size).map_err(Error::Medium)?;
    Store::open(medium, layout, Options { boots: config.store.trial_boots })
        .map_err(|error| Error::store(path, error))
}

/// Makes the store: slot a is good and runs, slot b is empty.
pub fn init(config: &Config, firmware: &Firmware) -> Result<(), Error> {
    layout(config)?;
    let path = &config.store.path;
    let mut medium = FileMedium::create(path, config.store.slot_size).map_err(Error::Medium)?;
    Store::create(&mut medium, firmware).map_err(|error| Error::store(path, error))
}

/// Joins store, keys and limits.
#[must_use]
pub fn pipeline(config: &Config, store: Store<FileMedium>, keys: KeyRing) -> Pipeline<FileMedium, KeyRing> {
    Pipeline::new(store, keys, config.machine.clone(), config.store.max_package)
}

/// What the USB side calls itself while `running` runs and `shown` is what run-time bcdDevice tells.
#[must_use]
pub fn identity(config: &Config, running: &SlotRecord, shown: &SlotRecord) -> Identity {
    let name = &config.identity;
    Identity {
        vendor_id: name.vendor_id,
        runtime_product_id: name.product_id,
        dfu_product_id: name.dfu_product_id,
        runtime_version: shown.bcd_device,
        dfu_version: running.bcd_device,
        manufacturer: name.manufacturer.clone(),
        product: name.product.clone(),
        serial: name.serial.clone(),
        interface_name: TARGET.into(),
    }
}
