//! From the configuration to what it names: keys, layout, store.

use std::{
    fs::File,
    hash::{BuildHasher as _, RandomState},
    io::{self, Read as _},
    path::Path,
};

use inband_dfu::descriptors::Identity;
use inband_package::{KeyRing, Kind, Policy, key::SystemKeys, sha256};
use inband_session::{DoorPolicy, Pipeline, Rates, Unindexed};
use inband_store::{
    FingerprintKey, Firmware, Layout, Options, Region, SlotRecord, StartId, Store, file::FileMedium,
};
use inband_volume::fat::Geometry;

use crate::{
    bmc::Profile,
    config::{Config, ConfigError, KeyFormat, Limits, SignatureKind, Signatures, TARGET, Usb, VolumeProfile},
    error::Error,
    staging::Memfds,
};

/// Bytes of the file that names a start of the machine that are looked at.
const MAX_START_ID: u64 = 4096;

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

/// Looks whether a program of the configuration is there and can be run.
pub fn program(key: &str, program: &str) -> Result<(), Error> {
    let wrong = |what: &str| ConfigError::Value(format!("{key}: {program} {what}"));
    let there = std::fs::metadata(program).map_err(|error| wrong(&format!("cannot be had: {error}")))?;
    if there.is_file() && executable(&there) { Ok(()) } else { Err(wrong("is not executable").into()) }
}

#[cfg(unix)]
fn executable(there: &std::fs::Metadata) -> bool {
    std::os::unix::fs::PermissionsExt::mode(&there.permissions()) & 0o111 != 0
}

#[cfg(not(unix))]
const fn executable(_: &std::fs::Metadata) -> bool {
    true
}

/// The regions of a slot.
pub fn layout(config: &Config) -> Result<Layout, Error> {
    let regions = config.regions.iter().map(|named| {
        let region = Region::new(&named.target, &named.member, named.offset, named.size);
        Region { policy: named.policy.unwrap_or(region.policy), ..region }
    });
    Ok(Layout::new(config.store.slot_size, regions.collect())?)
}

/// Opens the store that [`init`] made. Nothing is booted yet.
pub fn store(config: &Config) -> Result<Store<FileMedium>, Error> {
    let path = &config.store.path;
    let layout = layout(config)?;
    let medium = FileMedium::open(path, config.store.slot_size).map_err(Error::Medium)?;
    let options =
        Options { boots: config.trial.boots, fingerprints: Some(fingerprint_key()), ..Options::default() };
    Store::open(medium, layout, options).map_err(|error| Error::store(path, error))
}

/// A new key. The standard library's random numbers are enough for one that need not be secret, and do not wait for the kernel's pool
/// to fill, which on a BMC that has just started takes a while.
fn fingerprint_key() -> FingerprintKey {
    FingerprintKey::new(RandomState::new().hash_one(0))
}

/// Has the loader decide which slot runs, where the daemon stands for it: a virtual BMC starts whenever its daemon does, a machine
/// with a controller once in each of its starts, however often the daemon does.
pub fn boot(config: &Config, store: &mut Store<FileMedium>) -> Result<(), Error> {
    let booted = match config.usb {
        Usb::Usbip(_) | Usb::Usbredir(_) | Usb::UsbredirListen(_) => store.boot(),
        Usb::Gadget => {
            let path = &config.gadget.boot_id;
            let start = start_id(path).map_err(|error| Error::BootId { path: path.clone(), error })?;
            store.boot_once(start)
        }
    };
    booted.map(drop).map_err(|error| Error::store(&config.store.path, error))
}

/// What tells this start of the machine from others.
fn start_id(path: &Path) -> io::Result<StartId> {
    let mut bytes = Vec::new();
    File::open(path)?.take(MAX_START_ID).read_to_end(&mut bytes)?;
    if bytes.trim_ascii().is_empty() {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "the file is empty"));
    }
    Ok(StartId::of(bytes.trim_ascii()))
}

/// Makes the store: slot a is good and runs, slot b is empty.
pub fn init(config: &Config, firmware: &Firmware) -> Result<(), Error> {
    layout(config)?;
    let path = &config.store.path;
    let mut medium = FileMedium::create(path, config.store.slot_size).map_err(Error::Medium)?;
    Store::create(&mut medium, firmware).map_err(|error| Error::store(path, error))
}

/// Joins store, keys, policy and limits.
///
/// Its clock begins with the daemon's.
pub fn pipeline(
    config: &Config,
    store: Store<FileMedium>,
    keys: KeyRing,
) -> Result<Pipeline<FileMedium, KeyRing>, Error> {
    let policy = Policy {
        compatible: config.policy.compatible.clone(),
        max_total_length: config.store.max_package,
        same_version: config.policy.same_version,
        downgrade: config.policy.downgrade,
        ..Policy::for_machine(config.machine.clone())
    };
    let Limits { sessions_per_day, slot_rewrites_per_day, .. } = config.limits;
    let rates = Rates { sessions: sessions_per_day, rewrites: slot_rewrites_per_day };
    let pipeline = Pipeline::new(store, keys.clone(), policy, rates);
    if !config.openbmc.accept_unindexed {
        return Ok(pipeline);
    }
    let profile = config.profile().map_err(|error| ConfigError::Value(error.to_string()))?;
    Ok(pipeline.with_unindexed(Unindexed { profile, keys, staging: Box::new(Memfds::default()) }))
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
        serial: serial(config),
        interface_name: TARGET.into(),
    }
}

/// How large the filesystem on the disk is; `None` where packages are too large for one.
pub(crate) fn geometry(config: &Config) -> Option<Geometry> {
    u32::try_from(config.store.max_package).ok().and_then(Geometry::new)
}

/// How packages lie on the disk; `None` where there has to be a filesystem and cannot be one, which no configuration says that was checked.
pub(crate) fn disk_profile(config: &Config) -> Option<Profile> {
    match config.doors.volume.profile {
        VolumeProfile::Raw => Some(Profile::Raw),
        VolumeProfile::Fat => geometry(config).map(Profile::Fat),
    }
}

/// iSerialNumber. Where there is a volume door that is [`disk_serial`] in 16 digits, as BOT wants it; else it is as configured.
fn serial(config: &Config) -> String {
    match config.doors.volume.policy {
        DoorPolicy::Always | DoorPolicy::Armed => format!("{:016X}", disk_serial(config)),
        DoorPolicy::Off => config.identity.serial.clone(),
    }
}

/// Serial number of the disk: the configured one if that has 16 digits of 0-9 and A-F, else one that is made of it and of the machine's
/// name, and so stays the same (docs/spec/descriptors.md, 1).
#[must_use]
pub fn disk_serial(config: &Config) -> u64 {
    let configured = &config.identity.serial;
    let is_digits =
        configured.len() == 16 && configured.bytes().all(|b| matches!(b, b'0'..=b'9' | b'A'..=b'F'));
    let number = u64::from_str_radix(configured, 16).ok().filter(|_| is_digits);
    number.unwrap_or_else(|| {
        let [a, b, c, d, e, f, g, h, ..] = sha256(format!("{}\0{configured}", config.machine).as_bytes());
        u64::from_be_bytes([a, b, c, d, e, f, g, h])
    })
}

#[cfg(test)]
mod tests {
    use std::fs;

    use inband_store::text::Text;

    use super::*;

    const CONFIG: &str = r#"
        machine = "board"
        usb = "gadget"
        gadget.boot_id = "boot_id"
        activation.restart_command = ["/sbin/reboot"]
        signatures.keys = "keys"
        store.path = "store"
        store.slot_size = 65536
        [identity]
        vendor_id = 1
        product_id = 1
        dfu_product_id = 2
        serial = "1"
        [[region]]
        member = "image"
        offset = 0
        size = 65536
    "#;

    #[test]
    fn with_a_disk_the_serial_number_is_one_that_mass_storage_takes() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("inbandd.toml");
        let shown = |machine: &str, serial: &str, policy: &str| {
            let text = CONFIG
                .replace("\"board\"", &format!("\"{machine}\""))
                .replace("serial = \"1\"", &format!("serial = \"{serial}\"\nvolume_product_id = 3"));
            fs::write(&path, format!("{text}\n[doors]\nvolume.policy = \"{policy}\"\n")).unwrap();
            identity(&Config::load(&path).unwrap(), &SlotRecord::EMPTY, &SlotRecord::EMPTY).serial
        };
        assert_eq!(shown("my-board", "bmc-1", "off"), "bmc-1");
        // As docs/spec/descriptors.md has it.
        assert_eq!(shown("my-board", "bmc-1", "always"), "A64189C13D4827DE");
        assert_eq!(shown("my-board", "bmc-1", "armed"), "A64189C13D4827DE");
        assert_ne!(shown("my-board", "bmc-2", "always"), "A64189C13D4827DE");
        assert_ne!(shown("my-other-board", "bmc-1", "always"), "A64189C13D4827DE");
        for own in ["0123456789ABCDEF", "0000000000000000"] {
            assert_eq!(shown("my-board", own, "always"), own);
        }
        for other in ["0123456789abcdef", "+123456789ABCDEF", "0123456789ABCDE", "0123456789ABCDEF0"] {
            let made = shown("my-board", other, "always");
            assert!(
                made.len() == 16 && made != other && made.bytes().all(|b| b.is_ascii_hexdigit()),
                "{made}"
            );
        }
    }

    #[test]
    fn a_machine_has_started_when_the_file_that_names_its_starts_is_another() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("inbandd.toml");
        fs::write(&path, CONFIG).unwrap();
        let mut config = Config::load(&path).unwrap();
        let factory = Firmware { version: Text::cut("1"), bcd_device: 0x0100, security_version: 0 };
        init(&config, &factory).unwrap();
        // Each time as a daemon that has just started finds it.
        let start = |config: &Config, id: &str| {
            fs::write(folder.path().join("boot_id"), id).unwrap();
            let mut store = store(config).unwrap();
            boot(config, &mut store).map(|()| (store.record().start, store.record().sequence))
        };
        let first = start(&config, "one\n").unwrap();
        assert_eq!(first.0, Some(StartId::of(b"one")));
        assert_eq!(start(&config, "one").unwrap(), first, "nothing is written");
        let second = start(&config, "two").unwrap();
        assert_eq!(second, (Some(StartId::of(b"two")), first.1 + 1));
        for unknown in ["", " \n"] {
            let error = start(&config, unknown).unwrap_err();
            assert!(matches!(error, Error::BootId { .. }) && error.exit_code() == 3, "{error}");
        }
        fs::remove_file(folder.path().join("boot_id")).unwrap();
        let error = boot(&config, &mut store(&config).unwrap()).unwrap_err();
        assert!(error.to_string().contains("gadget.boot_id"), "{error}");
        assert_eq!(store(&config).unwrap().record().start, second.0, "a start that fails is none");
        // A virtual BMC starts with its daemon.
        config.usb = Usb::Usbip(([127, 0, 0, 1], 0).into());
        assert_eq!(start(&config, "two").unwrap(), (None, second.1 + 1));
    }
}
