//! A virtual BMC, served over USB/IP.

use std::{
    fmt,
    fs::File,
    io::{self, BufWriter},
    net::SocketAddr,
    path::Path,
    sync::Arc,
    time::Duration,
};

use inband_virtual::usbip::{Port, Server, ServerError};

use super::{Side, Waker};
use crate::{
    config::{Config, Usb},
    error::Error,
};

/// A USB/IP server on a loopback address, with one port.
pub struct Usbip {
    server: Server,
    busid: String,
}

impl Usbip {
    /// Listens where the configuration says. `pcap` names a file that records all USB transfers.
    pub(crate) fn open(config: &Config, pcap: Option<&Path>) -> Result<(Self, Port), Error> {
        let address = match config.usb {
            Usb::Usbip(address) => address,
            Usb::Gadget | Usb::Usbredir(_) | Usb::UsbredirListen(_) => {
                let message = "that is not USB/IP; set usb = \"usbip:127.0.0.1:3240\"".into();
                return Err(Error::Usb { what: config.usb.to_string(), message });
            }
        };
        let server = Server::bind(address).map_err(|error| unavailable(config, &error))?;
        if let Some(path) = pcap {
            record(&server, path).map_err(|error| Error::Record { path: path.to_owned(), error })?;
        }
        let busid = config.identity.busid.clone();
        let port = server.port(&busid).map_err(|error| unavailable(config, &error))?;
        Ok((Self { server, busid }, port))
    }

    /// The address it listens on.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.server.address()
    }
}

impl Side for Usbip {
    type Backend = Port;

    fn has_bulk_endpoints(&self) -> bool {
        true
    }

    fn can_halt(&self) -> bool {
        true
    }

    fn wait(&mut self, limit: Duration) {
        self.server.wait(limit);
    }

    fn waker(&self) -> Waker {
        let waker = self.server.waker();
        Arc::new(move || waker.wake())
    }
}

impl fmt::Display for Usbip {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "usbip:{} busid={}", self.address(), self.busid)
    }
}

/// Records all transfers in a file.
fn record(server: &Server, path: &Path) -> io::Result<()> {
    match server.tap(BufWriter::new(File::create(path)?)) {
        Err(ServerError::Tap(error)) => Err(error),
        Err(other) => Err(io::Error::other(other)),
        Ok(()) => Ok(()),
    }
}

/// The USB side that the configuration asks for is not to be had.
fn unavailable(config: &Config, error: &ServerError) -> Error {
    let advice = match error {
        ServerError::Listen { source, .. } => match source.kind() {
            io::ErrorKind::AddrInUse => "stop the program that uses the port, or choose another one",
            io::ErrorKind::PermissionDenied => "choose a port above 1023",
            _ => "choose another address",
        },
        ServerError::NotLoopback(_) => "choose 127.0.0.1 or [::1]",
        ServerError::BusId(_)
        | ServerError::PortTaken(_)
        | ServerError::Descriptors(_)
        | ServerError::Tap(_) => "correct the configuration",
    };
    Error::Usb {
        what: config.usb.to_string(),
        message: format!("{error}; {advice} (usb in the configuration)"),
    }
}
