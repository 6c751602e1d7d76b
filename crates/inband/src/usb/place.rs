//! Where a device is, and how a user names one.

use std::{fmt, str::FromStr};

/// A place a device can be plugged into. It stays the same when the device leaves and comes back with other
/// descriptors, which is how a device is followed through DETACH.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Place {
    /// A port of this machine: `usb:1-2.3`.
    Port {
        /// The bus (on Linux its number).
        bus: String,
        /// The port of the root hub, then of each hub behind it.
        ports: Vec<u8>,
    },
    /// A device of a USB/IP server: `usbip:127.0.0.1:3240/1-1`.
    Export {
        /// The server.
        server: Server,
        /// The server's name for it.
        busid: String,
    },
    /// What only IPMI reaches: `ipmi:/dev/ipmi0`.
    Ipmi {
        /// The way there.
        channel: String,
    },
}

impl Place {
    /// The short name: what stands behind `usb:` or the server's address.
    fn short(&self) -> String {
        match self {
            Self::Port { bus, ports } => {
                let ports: Vec<String> = ports.iter().map(u8::to_string).collect();
                // A root hub has no port; Linux calls it 1-0.
                format!("{bus}-{}", if ports.is_empty() { "0".to_owned() } else { ports.join(".") })
            }
            Self::Export { busid, .. } => busid.clone(),
            Self::Ipmi { channel } => channel.clone(),
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Port { .. } => write!(f, "usb:{}", self.short()),
            Self::Export { server, busid } => write!(f, "usbip:{server}/{busid}"),
            Self::Ipmi { channel } => write!(f, "ipmi:{channel}"),
        }
    }
}

/// The address of a USB/IP server: `HOST`, `HOST:PORT`, `[IPV6]` or `[IPV6]:PORT`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Server {
    /// A name or an address, without brackets.
    pub host: String,
    /// The TCP port.
    pub port: u16,
}

impl Server {
    /// The port IANA assigned to USB/IP.
    pub const DEFAULT_PORT: u16 = 3240;
}

impl FromStr for Server {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong =
            || format!("`{text}` is no HOST[:PORT]; examples: 127.0.0.1, bmc.example:3240, [::1]:3240");
        let (host, port) = if let Some(rest) = text.strip_prefix('[') {
            let (host, rest) = rest.split_once(']').ok_or_else(wrong)?;
            match rest.strip_prefix(':') {
                Some(port) => (host, Some(port)),
                None if rest.is_empty() => (host, None),
                None => return Err(wrong()),
            }
        } else {
            match text.split_once(':') {
                // Two colons outside brackets: an IPv6 address on its own.
                Some((_, rest)) if rest.contains(':') => (text, None),
                Some((host, port)) => (host, Some(port)),
                None => (text, None),
            }
        };
        let port = match port {
            None => Self::DEFAULT_PORT,
            Some(port) => port.parse().map_err(|_| wrong())?,
        };
        let is_plain = |c: char| c.is_ascii_alphanumeric() || "-._:%".contains(c);
        if host.is_empty() || port == 0 || !host.chars().all(is_plain) {
            return Err(wrong());
        }
        Ok(Self { host: host.to_owned(), port })
    }
}

impl fmt::Display for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

/// What a user wrote after `--device`: a serial number or a place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Selector(String);

impl FromStr for Selector {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text.is_empty() {
            return Err("a serial number or a path as `inband list` shows them, such as usb:1-2.3".to_owned());
        }
        Ok(Self(text.to_owned()))
    }
}

impl fmt::Display for Selector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Selector {
    /// Whether the selector means the device at this place with this serial number.
    #[must_use]
    pub fn names(&self, place: &Place, serial: Option<&str>) -> bool {
        self.names_place(place) || self.names_serial(serial)
    }

    /// Whether the selector means the device at this place.
    #[must_use]
    pub fn names_place(&self, place: &Place) -> bool {
        self.0 == place.to_string() || self.0 == place.short()
    }

    /// Whether the selector means the device with this serial number.
    #[must_use]
    pub fn names_serial(&self, serial: Option<&str>) -> bool {
        serial == Some(self.0.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn server(host: &str, port: u16) -> Server {
        Server { host: host.to_owned(), port }
    }

    #[test]
    fn servers_are_read_as_people_write_them() {
        for (text, host, port) in [
            ("127.0.0.1", "127.0.0.1", 3240),
            ("bmc.example:1234", "bmc.example", 1234),
            ("[::1]", "::1", 3240),
            ("[fe80::1%eth0]:99", "fe80::1%eth0", 99),
            ("::1", "::1", 3240),
        ] {
            assert_eq!(text.parse::<Server>(), Ok(server(host, port)), "{text}");
        }
        for text in
            ["", ":1", "host:", "host:0", "host:70000", "host:x", "[::1", "[::1]x", "[]:1", "a b", "a\u{1b}"]
        {
            assert!(text.parse::<Server>().is_err(), "{text:?}");
        }
    }

    #[test]
    fn places_are_written_and_selected() {
        let port = Place::Port { bus: "1".into(), ports: vec![2, 3] };
        assert_eq!(port.to_string(), "usb:1-2.3");
        let export = Place::Export { server: server("::1", 3240), busid: "1-1".into() };
        assert_eq!(export.to_string(), "usbip:[::1]:3240/1-1");

        let select = |text: &str| text.parse::<Selector>().unwrap();
        assert!(select("usb:1-2.3").names_place(&port));
        assert!(select("1-2.3").names_place(&port));
        assert!(!select("1-2").names_place(&port));
        assert!(select("1-1").names_place(&export));
        assert!(select("SN1").names_serial(Some("SN1")));
        assert!(!select("SN1").names_serial(Some("sn1")));
        assert!(!select("SN1").names_serial(None));
        assert!("".parse::<Selector>().is_err());
    }
}
