//! Gives an imported device to this machine's kernel: the socket goes to `vhci_hcd` through sysfs, and any program finds the
//! device on a bus. What `usbip attach` does, without the need for it; it takes root and the module loaded.

#[cfg(test)]
mod tests;

use std::{
    fs,
    io::{self, ErrorKind},
    net::ToSocketAddrs,
    os::fd::AsRawFd,
    path::{Path, PathBuf},
    thread,
    time::{Duration, Instant},
};

use super::{
    client::{self, ClientError},
    wire::{BusId, SPEED_HIGH},
};

/// Where the kernel shows the ports of all its controllers.
const CONTROLLER: &str = "/sys/devices/platform/vhci_hcd.0";
/// VDEV_ST_NULL of the kernel: a port with nothing on it.
const PORT_FREE: u32 = 4;
/// How long a device that comes back waits for the port it had.
const PORT_WAIT: Duration = Duration::from_secs(2);
/// Between two looks at it.
const PORT_POLL: Duration = Duration::from_millis(10);

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
///
/// A device that comes back belongs on the port it had, `last`: programs follow a device by its path. The kernel frees a port
/// a moment after the connection of its device has ended, so that one is waited for; not for ever, because another device
/// may have taken it.
pub fn attach(server: impl ToSocketAddrs, busid: &BusId, last: Option<u32>) -> Result<u32, AttachError> {
    attach_to(Path::new(CONTROLLER), server, busid, last)
}

fn attach_to(
    controller: &Path,
    server: impl ToSocketAddrs,
    busid: &BusId,
    last: Option<u32>,
) -> Result<u32, AttachError> {
    // The ports first: without a controller there is nothing to ask the server for.
    ports(controller)?;
    let (stream, device) = client::import_only(server, busid)?;
    if device.speed == 0 || device.speed > SPEED_HIGH {
        return Err(AttachError::Speed(device.speed));
    }
    let path = controller.join("attach");
    let start = Instant::now();
    loop {
        let late = start.elapsed() >= PORT_WAIT;
        match free_port(&ports(controller)?, last.filter(|_| !late)) {
            Some(port) => {
                let line = format!("{port} {} {} {}", stream.as_raw_fd(), device.devid(), device.speed);
                // The kernel takes its own hold of the socket, so ours may be closed after this. One write: each is one
                // command.
                let written = fs::OpenOptions::new()
                    .write(true)
                    .open(&path)
                    .and_then(|mut file| io::Write::write_all(&mut file, line.as_bytes()));
                match written {
                    Ok(()) => return Ok(port),
                    // Somebody else was faster with this port.
                    Err(error) if error.kind() == ErrorKind::ResourceBusy && !late => {}
                    Err(source) => return Err(AttachError::Refused { path, source }),
                }
            }
            None if late || last.is_none() => return Err(AttachError::NoPort),
            None => {}
        }
        thread::sleep(PORT_POLL);
    }
}

/// A port of the kernel's virtual controllers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct HubPort {
    number: u32,
    /// For high speed and slower devices, not for super speed.
    high_speed: bool,
    state: u32,
}

/// A free port for a high-speed device; only this one if it is named.
fn free_port(ports: &[HubPort], only: Option<u32>) -> Option<u32> {
    ports
        .iter()
        .filter(|port| only.is_none_or(|only| port.number == only))
        .find(|port| port.high_speed && port.state == PORT_FREE)
        .map(|port| port.number)
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
            Some(HubPort {
                number: number.parse().ok()?,
                high_speed: hub == "hs",
                state: state.parse().ok()?,
            })
        })
        .collect()
}
