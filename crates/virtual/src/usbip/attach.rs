//! Gives an imported device to this machine's kernel: the socket goes to `vhci_hcd` through sysfs, and any program finds the
//! device on a bus. What `usbip attach` does, without the need for it; it takes root and the module loaded.

use std::{
    fmt, fs, io,
    net::ToSocketAddrs,
    os::fd::AsRawFd,
    path::{Path, PathBuf},
};

use super::{
    client::{self, ClientError},
    wire::{BusId, SPEED_HIGH},
};

/// Where the kernel shows the ports of all its controllers.
const CONTROLLER: &str = "/sys/devices/platform/vhci_hcd.0";
/// VDEV_ST_NULL of the kernel: a port with nothing on it.
const PORT_FREE: u32 = 4;

/// Why a device was not attached.
#[derive(Debug, thiserror::Error)]
pub enum AttachError {
    /// There is no `vhci_hcd`.
    #[error("the kernel has no virtual USB controller here: run `modprobe vhci_hcd` ({}: {source})", path.display())]
    NoController {
        /// The file that is not there.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The file that shows the ports is not as expected.
    #[error("{} cannot be understood", _0.display())]
    Status(PathBuf),
    /// All ports of the device's speed are in use.
    #[error("all ports of the kernel's virtual USB controller are in use")]
    NoPort,
    /// The device is not a high-speed or slower one.
    #[error("a device of speed {0} cannot be attached")]
    Speed(u32),
    /// The server does not give the device.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// The kernel does not take it.
    #[error("the kernel does not take the device ({}: {source}); attaching needs root", path.display())]
    Refused {
        /// The file written to.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

/// Imports a device and gives it to the kernel, which has it until either side closes the connection. The port it is on, for
/// `usbip detach`.
pub fn attach(server: impl ToSocketAddrs + fmt::Debug, busid: &BusId) -> Result<u32, AttachError> {
    attach_to(Path::new(CONTROLLER), server, busid)
}

fn attach_to(
    controller: &Path,
    server: impl ToSocketAddrs + fmt::Debug,
    busid: &BusId,
) -> Result<u32, AttachError> {
    // The ports first: without a controller there is nothing to ask the server for.
    let port = free_port(&ports(controller)?).ok_or(AttachError::NoPort)?;
    let (stream, device) = client::import_only(server, busid)?;
    if device.speed == 0 || device.speed > SPEED_HIGH {
        return Err(AttachError::Speed(device.speed));
    }
    let line = format!("{port} {} {} {}", stream.as_raw_fd(), device.devid(), device.speed);
    let path = controller.join("attach");
    // The kernel takes its own hold of the socket, so ours may be closed after this. One write: each is one command.
    let written = fs::OpenOptions::new()
        .write(true)
        .open(&path)
        .and_then(|mut file| io::Write::write_all(&mut file, line.as_bytes()));
    written.map_err(|source| AttachError::Refused { path, source })?;
    Ok(port)
}

/// A port of the kernel's virtual controllers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct HubPort {
    number: u32,
    /// For high speed and slower devices, not for super speed.
    high_speed: bool,
    state: u32,
}

fn free_port(ports: &[HubPort]) -> Option<u32> {
    ports.iter().find(|port| port.high_speed && port.state == PORT_FREE).map(|port| port.number)
}

/// The ports of all controllers: files `status`, `status.1` and so on, all with the first controller.
fn ports(controller: &Path) -> Result<Vec<HubPort>, AttachError> {
    let mut ports = Vec::new();
    for number in 0.. {
        let path = match number {
            0 => controller.join("status"),
            _ => controller.join(format!("status.{number}")),
        };
        match fs::read_to_string(&path) {
            Ok(text) => ports.extend(parse_status(&text).ok_or(AttachError::Status(path))?),
            Err(source) if number == 0 => return Err(AttachError::NoController { path, source }),
            Err(_) => break,
        }
    }
    Ok(ports)
}

/// Reads lines such as `hs  0000 004 000 00000000 000000 0-0` after the line that names the columns.
fn parse_status(text: &str) -> Option<Vec<HubPort>> {
    let mut lines = text.lines();
    if !lines.next()?.starts_with("hub port sta") {
        return None;
    }
    lines
        .map(|line| {
            let mut columns = line.split_whitespace();
            let (hub, number, state) = (columns.next()?, columns.next()?, columns.next()?);
            Some(HubPort { number: number.parse().ok()?, high_speed: hub == "hs", state: state.parse().ok()? })
        })
        .collect()
}
