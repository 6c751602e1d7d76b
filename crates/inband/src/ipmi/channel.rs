//! How a user names the way of IPMI commands.

use std::{fmt, path::PathBuf, str::FromStr};

use crate::text::shown_path;

/// The way that commands go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Channel {
    /// `none`: they are not used.
    None,
    /// A path: a device file of Linux's IPMI driver.
    Device(PathBuf),
    /// `qemu:SOCKET`: the socket of a virtual BMC, which takes us for QEMU.
    Qemu(PathBuf),
}

impl FromStr for Channel {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.split_once(':') {
            Some(("qemu", socket)) if !socket.is_empty() => Ok(Self::Qemu(socket.into())),
            None if text == "none" => Ok(Self::None),
            None if text.contains('/') => Ok(Self::Device(text.into())),
            _ => Err("has to be a device such as /dev/ipmi0, qemu:SOCKET, or none".to_owned()),
        }
    }
}

impl fmt::Display for Channel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::None => f.write_str("none"),
            Self::Device(path) => f.write_str(&shown_path(path)),
            Self::Qemu(path) => write!(f, "qemu:{}", shown_path(path)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn channels_are_written_as_they_are_read() {
        for (text, channel) in [
            ("none", Channel::None),
            ("/dev/ipmi1", Channel::Device("/dev/ipmi1".into())),
            ("qemu:bmc.sock", Channel::Qemu("bmc.sock".into())),
            ("qemu:/tmp/a:b", Channel::Qemu("/tmp/a:b".into())),
        ] {
            assert_eq!(text.parse(), Ok(channel.clone()), "{text}");
            assert_eq!(channel.to_string(), text);
        }
        for text in ["", "ipmi0", "qemu", "qemu:", "lan:10.0.0.1", "None"] {
            assert!(text.parse::<Channel>().is_err(), "{text}");
        }
    }
}
