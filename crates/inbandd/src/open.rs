//! From the configuration to what it names: keys, layout, store.

use std::{fs, io::Read as _, path::Path};

use inband_dfu::descriptors::Identity;
use inband_package::{KeyRing, Kind, PublicKey};
use inband_session::Pipeline;
use inband_store::{Firmware, Layout, Options, Region, SlotRecord, Store, file::FileMedium};

use crate::{
    config::{Config, SignatureKind},
    error::Error,
};

/// The name of the only target there is so far.
const TARGET: &str = "bmc";
/// Larger than any key file that makes sense, bytes.
const MAX_KEY_FILE: u64 = 64 * 1024;

/// Reads the system keys: every `*.pem` of the directory, in the order of their names.
pub fn keys(config: &Config) -> Result<KeyRing, Error> {
    let directory = &config.signatures.keys;
    let unreadable = |path: &Path| {
        let path = path.to_owned();
        move |error| Error::Keys { path, error }
    };
    let mut paths = Vec::new();
    for entry in fs::read_dir(directory).map_err(unreadable(directory))? {
        let path = entry.map_err(unreadable(directory))?.path();
        if path.extension().is_some_and(|extension| extension == "pem") {
            paths.push(path);
        }
    }
    paths.sort();
    let mut keys = Vec::new();
    for path in paths {
        let mut pem = Vec::new();
        let file = fs::File::open(&path).map_err(unreadable(&path))?;
        file.take(MAX_KEY_FILE + 1).read_to_end(&mut pem).map_err(unreadable(&path))?;
        if pem.len() as u64 > MAX_KEY_FILE {
            let error =
                std::io::Error::other(format!("more than {MAX_KEY_FILE} bytes are too many for a key"));
            return Err(Error::Keys { path, error });
        }
        // What is no text is no key, and is told so.
        let pem = String::from_utf8_lossy(&pem);
        keys.push(PublicKey::from_pem(&pem).map_err(|error| Error::Key { path, error })?);
    }
    let required = config.signatures.required.iter().map(|kind| match kind {
        SignatureKind::Ed25519 => Kind::Ed25519,
    });
    KeyRing::new(required.collect(), keys).map_err(|error| Error::KeyRing { path: directory.clone(), error })
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
