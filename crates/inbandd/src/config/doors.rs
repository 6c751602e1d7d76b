//! Who may come in, and how.

use inband_session::DoorPolicy;
use serde::{Deserialize, Deserializer, de};

/// Door policies.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Doors {
    /// The door `dfu`.
    pub dfu: Dfu,
    /// The door `bulk`.
    pub bulk: Bulk,
    /// The door `volume`.
    pub volume: Volume,
    /// Who, besides somebody on the BMC, may arm a door whose policy is `armed`.
    pub arm_by: Vec<ArmBy>,
    /// What says that the BMC has powered the host on.
    pub power_on: PowerOn,
    /// What a host sees while every door is shut.
    pub while_shut: WhileShut,
    /// Seconds after which a door that was armed is shut again; 0 is never.
    pub armed_for_s: u32,
}

impl Default for Doors {
    fn default() -> Self {
        Self {
            dfu: Dfu::default(),
            bulk: Bulk::default(),
            volume: Volume::default(),
            arm_by: vec![ArmBy::Ipmi],
            power_on: PowerOn::default(),
            while_shut: WhileShut::default(),
            armed_for_s: 900,
        }
    }
}

/// Who may arm a door, besides somebody on the BMC.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ArmBy {
    /// The host: a start by IPMI.
    Ipmi,
    /// The BMC, by powering the host on.
    PowerOn,
}

/// What says that the BMC has powered the host on. A host that starts anew by itself must not count: it could arm the doors whenever it likes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PowerOn {
    /// Whatever powers it on calls `inbandd host-powered-on`.
    #[default]
    Command,
    /// OpenBMC's service that has the host's power says so by D-Bus.
    Dbus,
    /// QEMU tells of a reset of its guest, whoever caused it: for trying out.
    Qemu,
}

/// What a host sees on its bus while every door is shut.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum WhileShut {
    /// The run-time DFU interface, which says how the BMC stands and refuses DETACH.
    #[default]
    Dfu,
    /// Nothing: the device is not on the bus.
    Nothing,
}

/// The door `volume`: a disk beside the run-time DFU interface.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Volume {
    /// Whether the disk is shown.
    #[serde(default, deserialize_with = "policy")]
    pub policy: DoorPolicy,
    /// How a package lies on it.
    #[serde(default)]
    pub profile: VolumeProfile,
}

/// How a package lies on the disk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum VolumeProfile {
    /// In the file `FIRMWARE.BIN` of a filesystem.
    #[default]
    Fat,
    /// From the first block on.
    Raw,
}

/// The door `bulk`, which opens and is left together with `dfu`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Bulk {
    /// Whether it opens; without a word, wherever it can: see [`Doors::bulk_policy`].
    #[serde(deserialize_with = "some_policy")]
    pub policy: Option<DoorPolicy>,
}

fn some_policy<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<DoorPolicy>, D::Error> {
    policy(deserializer).map(Some)
}

impl Doors {
    /// Whether `bulk` opens. Without a word it does, but where `dfu` never opens or keeps to the letter of DFU 1.1, or where there are no
    /// `endpoints` for it.
    #[must_use]
    pub fn bulk_policy(&self, endpoints: bool) -> DoorPolicy {
        let lenient = self.dfu.conformance == Conformance::Lenient;
        let can = endpoints && lenient && self.dfu.policy != DoorPolicy::Off;
        self.bulk.policy.unwrap_or(if can { DoorPolicy::Always } else { DoorPolicy::Off })
    }

    /// Whether the disk is shown: never where there are no `endpoints` for it.
    #[must_use]
    pub const fn volume_policy(&self, endpoints: bool) -> DoorPolicy {
        if endpoints { self.volume.policy } else { DoorPolicy::Off }
    }
}

/// The door `dfu`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Dfu {
    /// Whether the host may come in.
    #[serde(default = "default_policy", deserialize_with = "policy")]
    pub policy: DoorPolicy,
    /// Reading of DFU 1.1.
    #[serde(default)]
    pub conformance: Conformance,
}

impl Default for Dfu {
    fn default() -> Self {
        Self { policy: default_policy(), conformance: Conformance::default() }
    }
}

fn default_policy() -> DoorPolicy {
    DoorPolicy::Always
}

fn policy<'de, D: Deserializer<'de>>(deserializer: D) -> Result<DoorPolicy, D::Error> {
    match String::deserialize(deserializer)?.as_str() {
        "always" => Ok(DoorPolicy::Always),
        "armed" => Ok(DoorPolicy::Armed),
        "off" => Ok(DoorPolicy::Off),
        other => Err(de::Error::custom(format_args!(
            "policy \"{other}\" is not known; use \"always\", \"armed\" or \"off\""
        ))),
    }
}

/// How the letter of DFU 1.1 is read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Conformance {
    /// As host tools need it.
    #[default]
    Lenient,
    /// To the letter of DFU 1.1, A.2.
    Strict,
}
