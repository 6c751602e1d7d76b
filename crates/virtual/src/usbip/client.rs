//! The client: a device of a USB/IP server as a host device, over a TCP connection and nothing else.

mod core;
mod list;
mod opening;
#[cfg(test)]
mod tests;

use std::{
    io::{self, ErrorKind, Read, Write},
    net::{SocketAddr, TcpStream, ToSocketAddrs},
    task::Poll,
    time::{Duration, Instant},
};

use inband_usb::{
    EndpointAddress, HostCompletion, HostDevice, HostError, HostTransfer, TransferId,
    descriptor::{ParseError, ParsedConfiguration, ParsedDevice},
};
use rustix::event::{PollFd, PollFlags};

pub use core::Core;
pub use list::{ListReader, RemoteDevice};
pub use opening::{Opened, OpeningCore};

use super::wire::{self, BusId, Request, Status, WireError};
use crate::wait::wait_for;

/// Time to connect, to list, and to import and configure.
const TIMEOUT: Duration = Duration::from_secs(5);
/// Bytes read from the socket at once.
const CHUNK: usize = 64 << 10;
/// Most chunks read in one go.
const CHUNKS: usize = 32;

/// Why a server's devices could not be listed or opened.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The server's name leads nowhere.
    #[error("the USB/IP server has no address: {0}")]
    Address(#[source] io::Error),
    /// The server cannot be reached.
    #[error("cannot connect to the USB/IP server {server}: {source}")]
    Connect {
        /// The last of its addresses.
        server: SocketAddr,
        /// Why.
        source: io::Error,
    },
    /// The connection broke.
    #[error("the connection to the USB/IP server failed: {0}")]
    Io(#[from] io::Error),
    /// The server closed the connection.
    #[error("the USB/IP server closed the connection")]
    Closed,
    /// No answer for 5 seconds.
    #[error("the USB/IP server does not answer")]
    Timeout,
    /// The server has no such device, or another client uses it.
    #[error("the USB/IP server refuses: {}", refusal(*.0))]
    Refused(Status),
    /// Bytes that are not USB/IP.
    #[error("the USB/IP server cannot be understood: {0}")]
    Wire(#[from] WireError),
    /// USB/IP, but not what was asked for.
    #[error("the USB/IP server misbehaves: it sent {0}")]
    Protocol(&'static str),
    /// The device's descriptors are wrong.
    #[error("the device's descriptors cannot be read: {0}")]
    Descriptors(#[from] ParseError),
    /// The device failed a request it has to answer.
    #[error("the device cannot be configured: {0}")]
    Device(HostError),
}

fn refusal(status: Status) -> String {
    match status {
        Status::Ok => "no reason given".to_owned(),
        Status::NotAvailable => "the device is not available".to_owned(),
        Status::Busy => "another client is using the device".to_owned(),
        Status::DeviceError => "the device is in an error state".to_owned(),
        Status::NoDevice => "there is no such device".to_owned(),
        Status::Other(code) => format!("error {code}"),
    }
}

/// Lists the devices of a server. Waits for it, 5 seconds at most.
pub fn list(server: impl ToSocketAddrs) -> Result<Vec<RemoteDevice>, ClientError> {
    let deadline = Instant::now() + TIMEOUT;
    let mut stream = connect(server, deadline)?;
    stream.write_all(&Request::DeviceList.to_bytes())?;
    let mut reader = ListReader::default();
    let mut chunk = vec![0; CHUNK];
    loop {
        let count = read_before(&mut stream, &mut chunk, deadline)?;
        if let Some(devices) = reader.received(&chunk[..count])? {
            return Ok(devices);
        }
    }
}

/// Imports a device and configures it. Waits for the server, 5 seconds at most.
pub fn open(server: impl ToSocketAddrs, busid: &BusId) -> Result<Client, ClientError> {
    let deadline = Instant::now() + TIMEOUT;
    let mut opening = Opening::over(connect(server, deadline)?, busid, deadline)?;
    loop {
        if let Poll::Ready(result) = opening.poll() {
            return result;
        }
        opening.wait(deadline.saturating_duration_since(Instant::now()));
    }
}

/// Imports a device for the kernel: the connection, with the device's record read from it and nothing more.
#[cfg(target_os = "linux")]
pub(super) fn import_only(
    server: impl ToSocketAddrs,
    busid: &BusId,
) -> Result<(TcpStream, wire::Device), ClientError> {
    let deadline = Instant::now() + TIMEOUT;
    let mut stream = connect(server, deadline)?;
    stream.write_all(&Request::Import(busid.clone()).to_bytes())?;
    let mut header = [0; wire::OP_HEADER_SIZE];
    read_exact_before(&mut stream, &mut header, deadline)?;
    match wire::parse_import_header(&header)? {
        Status::Ok => {}
        refused => return Err(ClientError::Refused(refused)),
    }
    let mut device = [0; wire::DEVICE_SIZE];
    read_exact_before(&mut stream, &mut device, deadline)?;
    let device = wire::Device::from_bytes(&device)?;
    if device.busid != *busid {
        return Err(ClientError::Protocol("another device than was asked for"));
    }
    stream.set_read_timeout(None)?;
    stream.set_write_timeout(None)?;
    Ok((stream, device))
}

/// A connection in blocking mode, to the first of a server's addresses that takes one.
fn connect(server: impl ToSocketAddrs, deadline: Instant) -> Result<TcpStream, ClientError> {
    let mut last = ClientError::Address(ErrorKind::AddrNotAvailable.into());
    for address in server.to_socket_addrs().map_err(ClientError::Address)? {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            break;
        }
        match TcpStream::connect_timeout(&address, left) {
            Ok(stream) => {
                stream.set_nodelay(true)?;
                stream.set_write_timeout(Some(TIMEOUT))?;
                return Ok(stream);
            }
            Err(source) => last = ClientError::Connect { server: address, source },
        }
    }
    Err(last)
}

fn read_before(stream: &mut TcpStream, buffer: &mut [u8], deadline: Instant) -> Result<usize, ClientError> {
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(ClientError::Timeout);
        }
        stream.set_read_timeout(Some(left))?;
        match stream.read(buffer) {
            Ok(0) => return Err(ClientError::Closed),
            Ok(count) => return Ok(count),
            Err(error) => match error.kind() {
                ErrorKind::WouldBlock | ErrorKind::TimedOut => return Err(ClientError::Timeout),
                ErrorKind::Interrupted => {}
                _ => return Err(error.into()),
            },
        }
    }
}

#[cfg(target_os = "linux")]
fn read_exact_before(
    stream: &mut TcpStream,
    mut buffer: &mut [u8],
    deadline: Instant,
) -> Result<(), ClientError> {
    while !buffer.is_empty() {
        let count = read_before(stream, buffer, deadline)?;
        buffer = &mut buffer[count..];
    }
    Ok(())
}

/// A socket in non-blocking mode.
#[derive(Debug)]
struct Link {
    stream: TcpStream,
    chunk: Vec<u8>,
}

impl Link {
    fn new(stream: TcpStream) -> Result<Self, ClientError> {
        stream.set_nonblocking(true)?;
        Ok(Self { stream, chunk: vec![0; CHUNK] })
    }

    /// Sends a part of the output: the bytes sent, none if the socket takes none now.
    fn send(&mut self, output: &[u8]) -> Result<usize, ClientError> {
        loop {
            return match self.stream.write(output) {
                Ok(0) => Err(ClientError::Closed),
                Ok(count) => Ok(count),
                Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(0),
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) => Err(error.into()),
            };
        }
    }

    /// Receives what is there, up to a chunk; nothing if nothing is there now.
    fn receive(&mut self) -> Result<&[u8], ClientError> {
        loop {
            return match self.stream.read(&mut self.chunk) {
                Ok(0) => Err(ClientError::Closed),
                Ok(count) => Ok(&self.chunk[..count]),
                Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(&[]),
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) => Err(error.into()),
            };
        }
    }

    /// Waits until something came or, if that is wanted, something can be sent.
    fn wait(&self, sending: bool, limit: Duration) {
        let mut flags = PollFlags::IN;
        flags.set(PollFlags::OUT, sending);
        wait_for(&mut [PollFd::new(&self.stream, flags)], limit);
    }
}

/// A device that is being imported and configured, poll-style.
#[derive(Debug)]
pub struct Opening {
    link: Option<Link>,
    core: OpeningCore,
    deadline: Instant,
}

impl Opening {
    /// Connects and asks for the device. Connecting waits; all in all there are 5 seconds.
    pub fn new(server: SocketAddr, busid: &BusId) -> Result<Self, ClientError> {
        let deadline = Instant::now() + TIMEOUT;
        Self::over(connect(server, deadline)?, busid, deadline)
    }

    fn over(stream: TcpStream, busid: &BusId, deadline: Instant) -> Result<Self, ClientError> {
        Ok(Self { link: Some(Link::new(stream)?), core: OpeningCore::new(busid), deadline })
    }

    /// Goes on; the device once it is open, or why it cannot be. Not to be called after that.
    pub fn poll(&mut self) -> Poll<Result<Client, ClientError>> {
        match self.advance() {
            Ok(Some(client)) => Poll::Ready(Ok(client)),
            Ok(None) if Instant::now() >= self.deadline => Poll::Ready(Err(ClientError::Timeout)),
            Ok(None) => Poll::Pending,
            Err(error) => Poll::Ready(Err(error)),
        }
    }

    /// Waits until [`poll`](Self::poll) may have something new, at most this long.
    pub fn wait(&self, limit: Duration) {
        if let Some(link) = &self.link {
            link.wait(!self.core.output().is_empty(), limit);
        }
    }

    fn advance(&mut self) -> Result<Option<Client>, ClientError> {
        let Some(link) = &mut self.link else { return Err(ClientError::Closed) };
        loop {
            while !self.core.output().is_empty() {
                match link.send(self.core.output())? {
                    0 => break,
                    count => self.core.sent(count),
                }
            }
            let bytes = link.receive()?;
            if bytes.is_empty() {
                return Ok(None);
            }
            if let Some(opened) = self.core.received(bytes)? {
                let Opened { core, record, descriptor } = opened;
                let started = Instant::now();
                return Ok(self.link.take().map(|link| Client { link, core, record, descriptor, started }));
            }
        }
    }
}

/// A device of a USB/IP server, configured.
///
/// USB/IP has no bus reset: [`reset`](HostDevice::reset) cancels all transfers and sets the configuration again, which
/// [`Server`](crate::usbip::Server) takes for one, and other servers do not.
#[derive(Debug)]
pub struct Client {
    link: Link,
    core: Core,
    record: wire::Device,
    descriptor: ParsedDevice,
    started: Instant,
}

impl Client {
    /// What the server says of the device.
    #[must_use]
    pub fn record(&self) -> &wire::Device {
        &self.record
    }

    /// The device descriptor.
    #[must_use]
    pub fn device_descriptor(&self) -> &ParsedDevice {
        &self.descriptor
    }

    /// The configuration in use.
    #[must_use]
    pub fn configuration(&self) -> &ParsedConfiguration {
        self.core.configuration()
    }

    /// Sends and receives what can be without waiting.
    fn serve(&mut self) {
        if let Err(error) = self.try_serve() {
            log::debug!("USB/IP: the device is gone: {error}");
            self.core.lost();
        }
    }

    fn try_serve(&mut self) -> Result<(), ClientError> {
        if self.core.is_gone() {
            return Ok(());
        }
        self.try_send()?;
        for _ in 0..CHUNKS {
            let bytes = self.link.receive()?;
            if bytes.is_empty() {
                break;
            }
            self.core.received(bytes)?;
        }
        self.try_send()
    }

    fn try_send(&mut self) -> Result<(), ClientError> {
        while !self.core.output().is_empty() {
            match self.link.send(self.core.output())? {
                0 => break,
                count => self.core.sent(count),
            }
        }
        Ok(())
    }

    /// Sends what a call has added.
    fn after<T>(&mut self, result: T) -> T {
        // An error shows when the answer is received, with all that came before it.
        if let Err(error) = self.try_send() {
            log::debug!("USB/IP: sending failed: {error}");
        }
        result
    }
}

impl HostDevice for Client {
    fn submit(&mut self, transfer: HostTransfer) -> Result<TransferId, HostError> {
        let result = self.core.submit(transfer);
        self.after(result)
    }

    fn poll(&mut self) -> Option<HostCompletion> {
        if !self.core.has_completion() {
            self.serve();
        }
        self.core.poll()
    }

    fn cancel(&mut self, id: TransferId) {
        self.core.cancel(id);
        self.after(());
    }

    fn claim(&mut self, interface: u8) -> Result<(), HostError> {
        let result = self.core.claim(interface);
        self.after(result)
    }

    fn clear_halt(&mut self, endpoint: EndpointAddress) -> Result<(), HostError> {
        let result = self.core.clear_halt(endpoint);
        self.after(result)
    }

    fn reset(&mut self) -> Result<(), HostError> {
        let result = self.core.reset();
        self.after(result)
    }

    fn wait(&mut self, limit: Duration) {
        self.serve();
        if self.core.has_completion() || self.core.is_gone() {
            return;
        }
        self.link.wait(!self.core.output().is_empty(), limit);
        self.serve();
    }

    fn now(&self) -> Duration {
        self.started.elapsed()
    }
}
