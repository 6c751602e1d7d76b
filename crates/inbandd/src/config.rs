//! The configuration file: TOML, every key known, every value checked before anything is opened.

use std::{
    fmt,
    net::{IpAddr, SocketAddr},
    path::{Path, PathBuf},
};

use inband_package::{Rule, head::MAX_MACHINE, index::MAX_TARGET_NAME, is_str_byte, openbmc, tar::MAX_NAME};
use inband_session::{DoorPolicy, Rates};
use inband_store::RegionPolicy;
use inband_volume::fat;
use serde::{Deserialize, Deserializer, de};

mod doors;
mod ipmi;

pub use doors::{ArmBy, Bulk, Conformance, Dfu, Doors, PowerOn, Volume, VolumeProfile, WhileShut};
pub use ipmi::{Ipmi, IpmiChannel};

/// The target that is this BMC itself.
pub(crate) const TARGET: &str = "bmc";
/// Smallest slot that is of any use, bytes.
const MIN_SLOT_SIZE: u64 = 64 * 1024;
/// Largest package a head can announce, bytes (docs/spec/package.md, 3).
const MAX_PACKAGE: u64 = 1 << 30;
/// Longest `gadget.name`, characters: it begins the name of a FunctionFS instance, which has 40 at most.
const MAX_GADGET_NAME: usize = 24;
/// Longest deadline of a trial, seconds: a day.
const MAX_DEADLINE_S: u32 = 24 * 60 * 60;

/// All of inbandd's configuration. docs/configuration.md describes every key.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// The board this BMC is; a package made for another one is refused.
    pub machine: String,
    /// Where the USB side is.
    pub usb: Usb,
    /// The USB device controller, and the machine that it is in.
    #[serde(default)]
    pub gadget: Gadget,
    /// What the USB side calls itself.
    pub identity: Identity,
    /// Whose signatures count.
    pub signatures: Signatures,
    /// What else a package has to be.
    #[serde(default)]
    pub policy: Policy,
    /// Where the slots are.
    pub store: Store,
    /// Which image goes where in a slot.
    #[serde(rename = "region")]
    pub regions: Vec<Region>,
    /// The ways in.
    #[serde(default)]
    pub doors: Doors,
    /// What happens once firmware is staged.
    #[serde(default)]
    pub activation: Activation,
    /// How new firmware proves itself.
    #[serde(default)]
    pub trial: Trial,
    /// Socket for commands of the BMC's own; none without it.
    #[serde(default)]
    pub control: Option<PathBuf>,
    /// What is taken besides packages.
    #[serde(default)]
    pub openbmc: Openbmc,
    /// How much a host may ask of the BMC.
    #[serde(default)]
    pub limits: Limits,
    /// The door handle.
    #[serde(default)]
    pub ipmi: Ipmi,
}

/// The USB side.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Usb {
    /// `gadget`: a USB device controller of the machine, by configfs and FunctionFS.
    Gadget,
    /// `usbip:ADDRESS:PORT`: a USB/IP server on a loopback address.
    Usbip(SocketAddr),
    /// `usbredir:SOCKET`: a device of a QEMU guest, by the socket at which QEMU listens.
    Usbredir(PathBuf),
    /// `usbredir-listen:SOCKET`: likewise, by a socket that QEMU connects to.
    UsbredirListen(PathBuf),
}

impl<'de> Deserialize<'de> for Usb {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        if text == "gadget" {
            return Ok(Self::Gadget);
        }
        let socket = |path: &str| match path {
            "" => Err(de::Error::custom(format_args!("usb = \"{text}\" has to name a socket"))),
            path => Ok(PathBuf::from(path)),
        };
        if let Some(path) = text.strip_prefix("usbredir:") {
            return socket(path).map(Self::Usbredir);
        }
        if let Some(path) = text.strip_prefix("usbredir-listen:") {
            return socket(path).map(Self::UsbredirListen);
        }
        let Some(address) = text.strip_prefix("usbip:") else {
            return Err(de::Error::custom(format_args!(
                "usb = \"{text}\" is not known; use \"gadget\", \"usbip:127.0.0.1:3240\", \"usbredir:SOCKET\" or \"usbredir-listen:SOCKET\""
            )));
        };
        let address: SocketAddr = address.parse().map_err(|_| {
            de::Error::custom(format_args!("\"{address}\" is not ADDRESS:PORT, such as 127.0.0.1:3240"))
        })?;
        if !is_loopback(address.ip()) {
            return Err(de::Error::custom(format_args!(
                "USB/IP has no protection of its own: {address} has to be a loopback address, such as 127.0.0.1:3240"
            )));
        }
        Ok(Self::Usbip(address))
    }
}

fn is_loopback(address: IpAddr) -> bool {
    address.is_loopback()
}

/// With `usb = "gadget"`: the controller, and what tells one start of the machine from the next.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Gadget {
    /// Name of the controller, as in /sys/class/udc; without one, the only one there is.
    pub udc: Option<String>,
    /// Whether the controller can stall its control endpoint; without a word, as its driver is known.
    pub stalls: Option<bool>,
    /// What the names of our gadgets in configfs begin with.
    pub name: String,
    /// A file that holds something else after each start of the machine, and never while it runs.
    pub boot_id: PathBuf,
}

impl Default for Gadget {
    fn default() -> Self {
        Self {
            udc: None,
            stalls: None,
            name: "inband".into(),
            boot_id: "/proc/sys/kernel/random/boot_id".into(),
        }
    }
}

/// Identity on USB.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Identity {
    /// idVendor.
    pub vendor_id: u16,
    /// idProduct of the run-time set.
    pub product_id: u16,
    /// idProduct of the DFU-mode set; another one, so that hosts can tell the modes apart.
    pub dfu_product_id: u16,
    /// idProduct of the run-time set with the disk; another one still, so that no host takes one for the other.
    #[serde(default)]
    pub volume_product_id: Option<u16>,
    /// iSerialNumber, the same in all sets; where there is a disk, what it is made of: [`open::disk_serial`](crate::open::disk_serial).
    pub serial: String,
    /// iManufacturer.
    #[serde(default = "default_manufacturer")]
    pub manufacturer: String,
    /// iProduct.
    #[serde(default = "default_product")]
    pub product: String,
    /// USB/IP only: the bus id hosts ask for.
    #[serde(default = "default_busid")]
    pub busid: String,
}

fn default_manufacturer() -> String {
    "Inband".into()
}

fn default_product() -> String {
    "BMC".into()
}

fn default_busid() -> String {
    "1-1".into()
}

/// Signature policy: all of the required kinds, each by one of the system keys.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Signatures {
    /// Directory of the system keys.
    pub keys: PathBuf,
    /// How that directory is laid out.
    #[serde(default)]
    pub format: KeyFormat,
    /// Kinds that must all be there.
    #[serde(default = "default_required")]
    pub required: Vec<SignatureKind>,
}

fn default_required() -> Vec<SignatureKind> {
    vec![SignatureKind::Ed25519]
}

/// Layouts of a directory of system keys (docs/spec/package.md, 8).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum KeyFormat {
    /// A public key in every `*.pem`; ids of revoked keys in `revoked`.
    #[default]
    Inband,
    /// OpenBMC's `/etc/activationdata`: a folder for each key, with `publickey` and `hashfunc`.
    Openbmc,
}

/// Kinds of signature this version verifies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SignatureKind {
    /// RFC 8032.
    Ed25519,
    /// ECDSA over P-384 with SHA-384.
    P384,
    /// RSA of 3072 or 4096 bits.
    Rsa,
}

/// What a package has to be, besides signed and for this board.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Policy {
    /// What becomes of a package with the version that runs.
    #[serde(default, deserialize_with = "rule")]
    pub same_version: Rule,
    /// What becomes of a package that is older than what runs, though not below the security floor.
    #[serde(default, deserialize_with = "rule")]
    pub downgrade: Rule,
    /// Names of which a package must carry at least one; empty asks for none.
    #[serde(default)]
    pub compatible: Vec<String>,
}

fn rule<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Rule, D::Error> {
    match String::deserialize(deserializer)?.as_str() {
        "accept" => Ok(Rule::Accept),
        "refuse" => Ok(Rule::Refuse),
        other => {
            Err(de::Error::custom(format_args!("\"{other}\" is not known; use \"accept\" or \"refuse\"")))
        }
    }
}

/// The store: two slots in files.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Store {
    /// Directory of the store.
    pub path: PathBuf,
    /// Bytes of one slot.
    pub slot_size: u64,
    /// Largest package that is taken, bytes.
    #[serde(default = "default_max_package")]
    pub max_package: u64,
}

fn default_max_package() -> u64 {
    256 << 20
}

/// A member of the package and its place in a slot.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Region {
    /// The target that the member is for.
    #[serde(default = "default_target")]
    pub target: String,
    /// Name of the image member.
    pub member: String,
    /// First byte in the slot.
    pub offset: u64,
    /// Bytes.
    pub size: u64,
    /// What an update does with it; without one, what the member's name stands for.
    #[serde(default, deserialize_with = "region_policy")]
    pub policy: Option<RegionPolicy>,
    /// How a firmware tar without a head holds the image.
    #[serde(default)]
    pub encoding: Encoding,
}

impl Region {
    /// The image of this name, of the BMC itself, at `offset` bytes in the slot, with `size` bytes.
    #[must_use]
    pub fn new(member: &str, offset: u64, size: u64) -> Self {
        Self {
            target: default_target(),
            member: member.into(),
            offset,
            size,
            policy: None,
            encoding: Encoding::Raw,
        }
    }
}

fn default_target() -> String {
    TARGET.into()
}

fn region_policy<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<RegionPolicy>, D::Error> {
    match String::deserialize(deserializer)?.as_str() {
        "replace" => Ok(Some(RegionPolicy::Replace)),
        "preserve" => Ok(Some(RegionPolicy::Preserve)),
        "refuse" => Ok(Some(RegionPolicy::Refuse)),
        other => Err(de::Error::custom(format_args!(
            "policy \"{other}\" is not known; use \"replace\", \"preserve\" or \"refuse\""
        ))),
    }
}

/// How a firmware tar without a head holds an image.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Encoding {
    /// As it lies in flash.
    #[default]
    Raw,
    /// As a Zstandard frame.
    Zstd,
}

/// OpenBMC's own firmware tars.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Openbmc {
    /// Whether tars without an Inband head are taken, as long as no security version stands against it.
    #[serde(default)]
    pub accept_unindexed: bool,
}

/// What happens once firmware is staged.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Activation {
    /// When the BMC restarts into it.
    #[serde(default)]
    pub when: When,
    /// What a restart does that is asked for while an update comes in.
    #[serde(default)]
    pub while_receiving: WhileReceiving,
    /// Program and arguments that restart the BMC; without them a virtual BMC restarts itself.
    #[serde(default)]
    pub restart_command: Vec<String>,
}

/// How new firmware proves itself (docs/spec/session.md, 6).
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Trial {
    /// Boots a slot on trial gets before the old one returns.
    pub boots: u8,
    /// Program and arguments whose exit code 0 confirms it; empty: it is confirmed once the daemon is up.
    pub health: Vec<String>,
    /// Seconds from the daemon's start in which the command must have passed.
    pub deadline_s: u32,
    /// Seconds from one try to the next.
    pub retry_s: u32,
}

impl Default for Trial {
    fn default() -> Self {
        Self { boots: 3, health: Vec::new(), deadline_s: 300, retry_s: 10 }
    }
}

/// When staged firmware is started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum When {
    /// At the BMC's next restart, whoever causes it.
    #[default]
    Reboot,
    /// As soon as the host has left DFU mode.
    Immediate,
}

/// What becomes of an update that is under way when somebody on the BMC wants it to restart.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum WhileReceiving {
    /// It ends, and the BMC restarts.
    #[default]
    End,
    /// The restart is held until it is over.
    Hold,
}

/// How much a host may ask of the BMC (docs/spec/session.md, 7). 0 is no bound.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    /// Slots prepared to be written in a day.
    pub slot_rewrites_per_day: u32,
    /// Sessions begun in a day.
    pub sessions_per_day: u32,
    /// Refused packages in a row that lock the host out.
    pub refusals: u32,
}

impl Default for Limits {
    fn default() -> Self {
        let Rates { sessions, rewrites } = Rates::default();
        let refusals = inband_session::Limits::default().refusals;
        Self { slot_rewrites_per_day: rewrites, sessions_per_day: sessions, refusals }
    }
}

/// What is wrong with a configuration.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("cannot read the configuration {}: {error}; name another one with --config FILE", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        error: std::io::Error,
    },
    /// The file is no TOML, or has a key or a value it must not have.
    #[error("the configuration {} is not valid, line {line}: {message}", path.display())]
    Parse {
        /// The file.
        path: PathBuf,
        /// Where in it, from 1; the first line for something that is missing in the file as a whole.
        line: usize,
        /// What is wrong, and what was expected.
        message: String,
    },
    /// The values contradict each other.
    #[error("the configuration is not valid: {0}")]
    Value(String),
}

impl Config {
    /// Reads and checks a file. Relative paths in it are relative to its directory.
    pub fn load(path: &Path) -> Result<Self, ConfigError> {
        let text = std::fs::read_to_string(path)
            .map_err(|error| ConfigError::Read { path: path.to_owned(), error })?;
        let mut config: Self = toml::from_str(&text).map_err(|error| {
            let before = error.span().and_then(|span| text.get(..span.start)).unwrap_or_default();
            let line = before.matches('\n').count() + 1;
            ConfigError::Parse { path: path.to_owned(), line, message: error.message().to_owned() }
        })?;
        let base = path.parent().unwrap_or(Path::new("."));
        config.store.path = base.join(&config.store.path);
        config.signatures.keys = base.join(&config.signatures.keys);
        config.control = config.control.map(|path| base.join(path));
        if let Some(IpmiChannel::Qemu(path) | IpmiChannel::QemuListen(path) | IpmiChannel::Device(_, path)) =
            &mut config.ipmi.channel
        {
            *path = base.join(&path);
        }
        config.gadget.boot_id = base.join(&config.gadget.boot_id);
        if let Usb::Usbredir(path) | Usb::UsbredirListen(path) = &mut config.usb {
            *path = base.join(&*path);
        }
        config.check()?;
        Ok(config)
    }

    /// Checks what the types cannot.
    pub fn check(&self) -> Result<(), ConfigError> {
        let value = |message: String| Err(ConfigError::Value(message));
        let name_ok =
            |text: &str, most: usize| (1..=most).contains(&text.len()) && text.bytes().all(is_str_byte);
        if !name_ok(&self.machine, MAX_MACHINE) {
            return value(format!(
                "machine = {:?} has to be 1 to {MAX_MACHINE} of A-Z a-z 0-9 . _ - + : ~ @ /",
                self.machine
            ));
        }
        if let Some(name) = self.policy.compatible.iter().find(|name| !name_ok(name, MAX_MACHINE)) {
            return value(format!(
                "policy.compatible: {name:?} has to be 1 to {MAX_MACHINE} of A-Z a-z 0-9 . _ - + : ~ @ /"
            ));
        }
        if self.identity.product_id == self.identity.dfu_product_id {
            return value("identity.product_id and identity.dfu_product_id have to differ".into());
        }
        match self.identity.volume_product_id {
            Some(id) if id == self.identity.product_id || id == self.identity.dfu_product_id => {
                return value(
                    "identity.volume_product_id has to differ from identity.product_id and identity.dfu_product_id".into(),
                );
            }
            None if self.doors.volume.policy != DoorPolicy::Off => {
                return value(format!(
                    "doors.volume.policy = \"{}\" needs identity.volume_product_id: a device with the disk has a product id of its own",
                    self.doors.volume.policy.name()
                ));
            }
            Some(_) | None => {}
        }
        if self.ipmi.start_holds_s == 0 {
            return value(
                "ipmi.start_holds_s = 0: no start would hold; 900 is what it is without a word".into(),
            );
        }
        let by_qemu = self.ipmi.channel.as_ref().is_some_and(IpmiChannel::is_qemu);
        if self.doors.power_on == PowerOn::Qemu && !by_qemu {
            return value(
                "doors.power_on = \"qemu\" needs ipmi.channel = \"qemu:SOCKET\": who is there tells of it"
                    .into(),
            );
        }
        let volume = &self.doors.volume;
        if volume.policy != DoorPolicy::Off
            && volume.profile == VolumeProfile::Fat
            && self.store.max_package > fat::MAX_PACKAGE.into()
        {
            return value(format!(
                "store.max_package = {}: doors.volume.profile = \"fat\" takes {} at most; lower it, or set the profile to \"raw\"",
                self.store.max_package,
                fat::MAX_PACKAGE
            ));
        }
        for (key, text) in [
            ("serial", &self.identity.serial),
            ("manufacturer", &self.identity.manufacturer),
            ("product", &self.identity.product),
        ] {
            if text.is_empty() || text.len() > 64 || !text.bytes().all(|b| (0x20..0x7f).contains(&b)) {
                return value(format!(
                    "identity.{key} = {text:?} has to be 1 to 64 printable ASCII characters"
                ));
            }
        }
        if !name_ok(&self.identity.busid, 31) {
            return value(format!("identity.busid = {:?} has to be like 1-1", self.identity.busid));
        }
        let letter = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
        let name = &self.gadget.name;
        if !(1..=MAX_GADGET_NAME).contains(&name.len()) || !name.bytes().all(letter) {
            return value(format!(
                "gadget.name = {name:?} has to be 1 to {MAX_GADGET_NAME} of A-Z a-z 0-9 -"
            ));
        }
        if let Some(udc) = &self.gadget.udc
            && (!name_ok(udc, 128) || udc.contains('/'))
        {
            return value(format!("gadget.udc = {udc:?} has to be a name in /sys/class/udc"));
        }
        if self.usb == Usb::Gadget && self.activation.restart_command.is_empty() {
            return value(
                "usb = \"gadget\" needs activation.restart_command: what restarts this machine, such as [\"/sbin/reboot\"]"
                    .into(),
            );
        }
        if self.signatures.required.is_empty() {
            return value("signatures.required must not be empty: unsigned firmware is never taken".into());
        }
        if self.store.slot_size < MIN_SLOT_SIZE {
            return value(format!("store.slot_size = {} is less than {MIN_SLOT_SIZE}", self.store.slot_size));
        }
        if !(1..=MAX_PACKAGE).contains(&self.store.max_package) {
            return value(format!(
                "store.max_package = {} has to be 1 to {MAX_PACKAGE}",
                self.store.max_package
            ));
        }
        if self.doors.bulk_policy(true) != DoorPolicy::Off {
            let policy = self.doors.bulk_policy(true).name();
            if self.doors.dfu.policy == DoorPolicy::Off {
                return value(format!(
                    "doors.bulk.policy = \"{policy}\" needs the door dfu, by which a host gets there; doors.dfu.policy is \"off\""
                ));
            }
            if self.doors.dfu.conformance == Conformance::Strict {
                return value(format!(
                    "doors.bulk.policy = \"{policy}\" needs doors.dfu.conformance = \"lenient\": DFU 1.1 has no second interface"
                ));
            }
        }
        let Trial { boots, deadline_s, retry_s, .. } = self.trial;
        if boots == 0 {
            return value("trial.boots = 0 would never boot new firmware".into());
        }
        if !(1..=MAX_DEADLINE_S).contains(&deadline_s) {
            return value(format!("trial.deadline_s = {deadline_s} has to be 1 to {MAX_DEADLINE_S}"));
        }
        if !(1..=deadline_s).contains(&retry_s) {
            return value(format!("trial.retry_s = {retry_s} has to be 1 to trial.deadline_s, {deadline_s}"));
        }
        for (key, command) in self.commands() {
            if command.first().is_some_and(|program| !Path::new(program).is_absolute()) {
                return value(format!(
                    "{key} has to begin with a program's whole path, such as /usr/bin/true"
                ));
            }
        }
        if self.regions.is_empty() {
            return value("there is no [[region]]: no image could go anywhere".into());
        }
        for region in &self.regions {
            // Others stand in no package, so nothing would ever be for them.
            for (key, name, most) in
                [("target", &region.target, MAX_TARGET_NAME), ("member", &region.member, MAX_NAME)]
            {
                if !name_ok(name, most) {
                    return value(format!(
                        "region.{key} = {name:?} has to be 1 to {most} of A-Z a-z 0-9 . _ - + : ~ @ /"
                    ));
                }
            }
        }
        if self.openbmc.accept_unindexed {
            if self.signatures.required != [SignatureKind::Rsa] {
                return value(
                    "openbmc.accept_unindexed needs signatures.required = [\"rsa\"]: OpenBMC's tars have no other signatures"
                        .into(),
                );
            }
            for region in &self.regions {
                let policy = region.policy.unwrap_or_else(|| RegionPolicy::of_member(&region.member));
                // A tar has all images of the BMC, and none of anything else.
                let refused = match policy {
                    RegionPolicy::Replace => region.target != TARGET,
                    RegionPolicy::Preserve => false,
                    RegionPolicy::Refuse => region.target == TARGET,
                };
                if refused {
                    return value(format!(
                        "openbmc.accept_unindexed: with policy = \"{}\" for {} of {} every tar would be refused",
                        if policy == RegionPolicy::Refuse { "refuse" } else { "replace" },
                        region.member,
                        region.target
                    ));
                }
            }
            self.profile()
                .map_err(|error| ConfigError::Value(format!("openbmc.accept_unindexed: {error}")))?;
        }
        Ok(())
    }

    /// The commands that the configuration names, each with its key; empty ones are none.
    #[must_use]
    pub const fn commands(&self) -> [(&'static str, &Vec<String>); 2] {
        [
            ("trial.health", &self.trial.health),
            ("activation.restart_command", &self.activation.restart_command),
        ]
    }

    /// What the regions make of a firmware tar without a head.
    ///
    /// # Errors
    /// They are those of none.
    pub fn profile(&self) -> Result<openbmc::Profile, openbmc::ProfileError> {
        let regions = self.regions.iter().filter(|region| region.target == TARGET).map(|region| {
            let encoding = match region.encoding {
                Encoding::Raw => openbmc::Encoding::Raw,
                Encoding::Zstd => openbmc::Encoding::Zstd,
            };
            (region.member.as_str(), region.size, encoding)
        });
        openbmc::Profile::new(self.machine.clone(), TARGET.into(), regions, self.store.max_package)
    }
}

impl fmt::Display for Usb {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Gadget => f.write_str("gadget"),
            Self::Usbip(address) => write!(f, "usbip:{address}"),
            Self::Usbredir(path) => write!(f, "usbredir:{}", path.display()),
            Self::UsbredirListen(path) => write!(f, "usbredir-listen:{}", path.display()),
        }
    }
}

#[cfg(test)]
mod tests;
