//! What a host may ask for by IPMI.

use std::{fmt, path::PathBuf};

use inband_ipmi::device::Framing;
use serde::{Deserialize, Deserializer, de};

/// The door handle: what a host may ask for by IPMI.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Ipmi {
    /// What brings the commands; nothing does without.
    pub channel: Option<IpmiChannel>,
    /// Number of the command, of network function 2Eh.
    pub command: u8,
    /// How long a start holds while nothing comes of it, seconds.
    pub start_holds_s: u16,
    /// The host may have the BMC restart into staged firmware.
    pub activate: bool,
    /// The host may confirm the running firmware.
    pub confirm: bool,
}

impl Default for Ipmi {
    fn default() -> Self {
        Self {
            channel: None,
            command: inband_ipmi::wire::COMMAND,
            start_holds_s: 900,
            activate: false,
            confirm: false,
        }
    }
}

/// What brings IPMI commands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum IpmiChannel {
    /// `qemu:SOCKET`: the only BMC of a QEMU guest (`ipmi-bmc-extern`), by the socket at which QEMU listens.
    Qemu(PathBuf),
    /// `qemu-listen:SOCKET`: likewise, by a socket that QEMU connects to.
    QemuListen(PathBuf),
    /// `kcs:DEVICE`, `bt:DEVICE`, `ssif:DEVICE`: the BMC's end of a system interface, a device of inbandd's own.
    Device(Framing, PathBuf),
    /// `dbus`: OpenBMC's ipmid, whose provider of ours hands over what hosts ask for.
    Dbus,
}

impl IpmiChannel {
    /// Whether it is QEMU's, which also tells of resets.
    #[must_use]
    pub const fn is_qemu(&self) -> bool {
        matches!(self, Self::Qemu(_) | Self::QemuListen(_))
    }
}

impl fmt::Display for IpmiChannel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Qemu(path) => write!(f, "qemu:{}", path.display()),
            Self::QemuListen(path) => write!(f, "qemu-listen:{}", path.display()),
            Self::Device(Framing::Kcs, path) => write!(f, "kcs:{}", path.display()),
            Self::Device(Framing::Bt, path) => write!(f, "bt:{}", path.display()),
            Self::Device(Framing::Ssif, path) => write!(f, "ssif:{}", path.display()),
            Self::Dbus => f.write_str("dbus"),
        }
    }
}

impl<'de> Deserialize<'de> for IpmiChannel {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        if text == "dbus" {
            return Ok(Self::Dbus);
        }
        let (kind, path) = text.split_once(':').unwrap_or((&text, ""));
        match (kind, path) {
            ("qemu" | "qemu-listen" | "kcs" | "bt" | "ssif", "") => Err(de::Error::custom(format_args!(
                "ipmi.channel = \"{text}\" has to name a socket or a device"
            ))),
            ("qemu", path) => Ok(Self::Qemu(path.into())),
            ("qemu-listen", path) => Ok(Self::QemuListen(path.into())),
            ("kcs", path) => Ok(Self::Device(Framing::Kcs, path.into())),
            ("bt", path) => Ok(Self::Device(Framing::Bt, path.into())),
            ("ssif", path) => Ok(Self::Device(Framing::Ssif, path.into())),
            _ => Err(de::Error::custom(format_args!(
                "ipmi.channel = \"{text}\" is not known; use \"dbus\", \"kcs:DEVICE\", \"bt:DEVICE\", \"ssif:DEVICE\", \"qemu:SOCKET\" or \"qemu-listen:SOCKET\""
            ))),
        }
    }
}
