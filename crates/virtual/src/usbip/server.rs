//! The server: sockets around the [`Hub`].

mod hub;
mod importer;
#[cfg(test)]
mod tests;

use std::{
    collections::BTreeMap,
    fmt,
    io::{self, ErrorKind, Read, Write},
    net::{Shutdown, SocketAddr, TcpListener, TcpStream},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::Poll,
    time::{Duration, Instant},
};

use inband_usb::{
    ControlError, DescriptorSet, DeviceBackend, DeviceEvent, EndpointAddress, SubmitError,
    descriptor::DescriptorError,
};
use rustix::event::{PollFd, PollFlags};

pub use hub::{ConnectionId, Hub, Need};
pub use importer::Importer;

use super::wire::BusId;
use crate::{
    pcap::Recorder,
    wait::{Waker, wait_for},
};

/// A device on a port. [`Hub`] has them.
pub type Device = crate::device::Device<Importer>;

/// Bytes read from a socket at once.
const CHUNK: usize = 64 << 10;
/// Most chunks of one connection before the others have their turn.
const CHUNKS: usize = 16;
/// Most connections taken before those that are there have their turn: fewer than may wait with their request, so that one
/// is not closed for the next before it was read.
const ACCEPTS: usize = 4;
/// Time the listener rests after it failed, as it does when there are no file descriptors left.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Why a server or a port did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum ServerError {
    /// The address could be reached from other machines.
    #[error("{0} is not a loopback address: USB/IP has no authentication, use 127.0.0.1 or [::1]")]
    NotLoopback(SocketAddr),
    /// The operating system refuses the address.
    #[error("cannot listen on {address}: {source}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// Why.
        source: io::Error,
    },
    /// A busid has 1 to 31 printable characters.
    #[error("{0:?} is no busid: 1 to 31 printable ASCII characters without blanks")]
    BusId(String),
    /// The busid is taken, or there are 127 ports.
    #[error("there is a port {0} already, or there are 127 of them")]
    PortTaken(BusId),
    /// The descriptors cannot be shown to a host.
    #[error("the descriptors cannot be used: {0}")]
    Descriptors(#[from] DescriptorError),
    /// The recording cannot be written.
    #[error("cannot record: {0}")]
    Tap(io::Error),
}

/// A USB/IP server on a loopback address. A cheap handle: clones are the same server.
///
/// There is no thread behind it. Sockets are served in [`wait`](Self::wait), and without waiting in
/// [`DeviceBackend::poll_event`] of its ports; what a port answers is sent at once.
#[derive(Clone)]
pub struct Server {
    shared: Arc<Shared>,
}

/// A port of a [`Server`], on which one device can be attached. A cheap handle: clones are the same port.
#[derive(Clone)]
pub struct Port {
    server: Server,
    index: usize,
    busid: BusId,
}

struct Shared {
    inner: Mutex<Inner>,
    address: SocketAddr,
    waker: Waker,
}

struct Inner {
    hub: Hub,
    listener: Arc<TcpListener>,
    accept_after: Duration,
    sockets: BTreeMap<ConnectionId, Socket>,
    started: Instant,
    chunk: Vec<u8>,
}

struct Socket {
    stream: Arc<TcpStream>,
    /// The sending direction was ended.
    finished: bool,
    /// The connection failed.
    broken: bool,
}

impl Server {
    /// Listens on a loopback address; port 0 stands for any that is free.
    pub fn bind(address: SocketAddr) -> Result<Self, ServerError> {
        if !address.ip().is_loopback() {
            return Err(ServerError::NotLoopback(address));
        }
        let failed = |source| ServerError::Listen { address, source };
        let listener = TcpListener::bind(address).map_err(failed)?;
        listener.set_nonblocking(true).map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        let waker = Waker::new().map_err(failed)?;
        let inner = Inner {
            hub: Hub::new(),
            listener: Arc::new(listener),
            accept_after: Duration::ZERO,
            sockets: BTreeMap::new(),
            started: Instant::now(),
            chunk: vec![0; CHUNK],
        };
        Ok(Self { shared: Arc::new(Shared { inner: Mutex::new(inner), address, waker }) })
    }

    /// The address it listens on.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.shared.address
    }

    /// A new port with a busid such as `1-1`, with nothing attached.
    pub fn port(&self, busid: &str) -> Result<Port, ServerError> {
        let busid = BusId::new(busid).ok_or_else(|| ServerError::BusId(busid.to_owned()))?;
        match self.lock().hub.add_device(busid.clone()) {
            Some(index) => Ok(Port { server: self.clone(), index, busid }),
            None => Err(ServerError::PortTaken(busid)),
        }
    }

    /// Records all transfers of all ports as a pcap file, in place of a recording that was there. When the sink fails the
    /// recording ends, with a warning in the log.
    pub fn tap(&self, sink: impl Write + Send + 'static) -> Result<(), ServerError> {
        let sink: Box<dyn Write + Send> = Box::new(sink);
        self.lock().hub.set_tap(Recorder::new(sink).map_err(ServerError::Tap)?);
        Ok(())
    }

    /// What ends [`wait`](Self::wait) from another thread.
    #[must_use]
    pub fn waker(&self) -> Waker {
        self.shared.waker.clone()
    }

    /// Serves the sockets until a port has an event, a waker woke, something came or went, or the time is over. Does not
    /// wait if there is an event already.
    pub fn wait(&self, limit: Duration) {
        let mut inner = self.lock();
        inner.serve();
        if inner.hub.has_event() {
            return;
        }
        let now = inner.now();
        let accepting = now >= inner.accept_after;
        let deadline = [inner.hub.deadline(), (!accepting).then_some(inner.accept_after)];
        let limit =
            deadline.into_iter().flatten().map(|at| at.saturating_sub(now)).fold(limit, Duration::min);
        let sockets: Vec<_> =
            inner.sockets.iter().map(|(id, socket)| (*id, Arc::clone(&socket.stream))).collect();
        let flags: Vec<_> = sockets.iter().map(|(id, _)| inner.interest(*id)).collect();
        let listener = accepting.then(|| Arc::clone(&inner.listener));
        // Other threads may use the server meanwhile.
        drop(inner);

        let mut descriptors = vec![self.shared.waker.poll_fd()];
        descriptors.extend(listener.as_ref().map(|listener| PollFd::new(&**listener, PollFlags::IN)));
        for ((_, stream), flags) in sockets.iter().zip(flags) {
            descriptors.push(PollFd::new(&**stream, flags));
        }
        wait_for(&mut descriptors, limit);
        let failed = PollFlags::HUP | PollFlags::ERR | PollFlags::NVAL;
        let results = descriptors.iter().skip(descriptors.len() - sockets.len());
        let failed: Vec<_> = results.map(|descriptor| descriptor.revents().intersects(failed)).collect();

        self.shared.waker.drain();
        let mut inner = self.lock();
        // Told whatever was asked for, also of a socket that is not to be read now.
        for ((id, _), _) in sockets.iter().zip(failed).filter(|(_, failed)| *failed) {
            if let Some(socket) = inner.sockets.get_mut(id) {
                socket.broken = true;
            }
        }
        inner.serve();
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        // A panic elsewhere leaves nothing half done that could not be gone on with.
        self.shared.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    fn now(&self) -> Duration {
        self.started.elapsed()
    }

    /// Does all that can be done without waiting.
    fn serve(&mut self) {
        self.accept();
        self.hub.tick(self.now());
        let ids: Vec<_> = self.sockets.keys().copied().collect();
        for id in ids {
            self.serve_one(id);
        }
    }

    fn accept(&mut self) {
        if self.now() < self.accept_after {
            return;
        }
        for _ in 0..ACCEPTS {
            match self.listener.accept() {
                Ok((stream, _)) => {
                    // Answers are small and waited for.
                    if stream.set_nonblocking(true).and_then(|()| stream.set_nodelay(true)).is_ok() {
                        let id = self.hub.open(self.now());
                        let socket = Socket { stream: Arc::new(stream), finished: false, broken: false };
                        self.sockets.insert(id, socket);
                    }
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                Err(error)
                    if matches!(error.kind(), ErrorKind::Interrupted | ErrorKind::ConnectionAborted) => {}
                Err(error) => {
                    log::warn!("cannot accept a USB/IP connection: {error}");
                    self.accept_after = self.now() + ACCEPT_PAUSE;
                    return;
                }
            }
        }
    }

    /// What a connection's socket is waited for.
    fn interest(&self, id: ConnectionId) -> PollFlags {
        let mut flags = PollFlags::empty();
        match self.hub.need(id) {
            Need::Io { read } => {
                flags.set(PollFlags::IN, read);
                flags.set(PollFlags::OUT, !self.hub.output(id).is_empty());
            }
            Need::Finish => flags |= PollFlags::IN,
            Need::Close => {}
        }
        flags
    }

    fn serve_one(&mut self, id: ConnectionId) {
        self.send(id);
        for _ in 0..CHUNKS {
            let Some(socket) = self.sockets.get_mut(&id).filter(|socket| !socket.broken) else { break };
            let keep = match self.hub.need(id) {
                Need::Io { read: true } => true,
                Need::Io { read: false } => break,
                // What still comes is thrown away: were it left unread, closing would be a reset, which could overtake
                // the last answers.
                Need::Finish => false,
                Need::Close => break,
            };
            match (&*socket.stream).read(&mut self.chunk) {
                Ok(0) => socket.broken = true,
                Ok(count) if keep => {
                    let now = self.started.elapsed();
                    self.hub.received(id, &self.chunk[..count], now);
                    if count < CHUNK {
                        break;
                    }
                }
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(_) => socket.broken = true,
            }
        }
        self.send(id);
        let Some(socket) = self.sockets.get_mut(&id) else { return };
        if socket.broken || self.hub.need(id) == Need::Close {
            self.hub.closed(id);
            self.sockets.remove(&id);
        }
    }

    /// Sends what there is and the socket takes.
    fn send(&mut self, id: ConnectionId) {
        let Some(socket) = self.sockets.get_mut(&id) else { return };
        while !socket.broken {
            let output = self.hub.output(id);
            if output.is_empty() {
                break;
            }
            match (&*socket.stream).write(output) {
                Ok(0) => socket.broken = true,
                Ok(count) => self.hub.sent(id, count, self.started.elapsed()),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(_) => socket.broken = true,
            }
        }
        if self.hub.need(id) == Need::Finish && !socket.finished {
            socket.finished = true;
            socket.broken |= socket.stream.shutdown(Shutdown::Write).is_err();
        }
    }
}

impl Port {
    /// Its name for clients.
    #[must_use]
    pub fn busid(&self) -> &BusId {
        &self.busid
    }

    /// The server it belongs to.
    #[must_use]
    pub fn server(&self) -> &Server {
        &self.server
    }

    /// [`Server::wait`].
    pub fn wait(&self, limit: Duration) {
        self.server.wait(limit);
    }

    /// Does something with the device, then sends what came of it.
    fn with<T>(&self, act: impl FnOnce(&mut Device) -> T) -> T {
        let mut inner = self.server.lock();
        let result = act(inner.hub.device(self.index));
        if let Some(id) = inner.hub.importer(self.index) {
            let now = inner.now();
            inner.hub.resume(id, now);
            inner.send(id);
        }
        result
    }
}

impl DeviceBackend for Port {
    type Error = ServerError;

    fn attach(&mut self, descriptors: &DescriptorSet) -> Result<(), ServerError> {
        let mut inner = self.server.lock();
        let now = inner.now();
        if let Some(id) = inner.hub.attach(self.index, descriptors, now)? {
            inner.send(id);
        }
        Ok(())
    }

    fn detach(&mut self) -> Result<(), ServerError> {
        let mut inner = self.server.lock();
        let now = inner.now();
        if let Some(id) = inner.hub.detach(self.index, now) {
            inner.send(id);
        }
        Ok(())
    }

    fn poll_event(&mut self) -> Result<Option<DeviceEvent>, ServerError> {
        let mut inner = self.server.lock();
        if !inner.hub.device(self.index).has_event() {
            inner.serve();
        }
        Ok(inner.hub.device(self.index).next_event())
    }

    fn control_read(&mut self, buffer: &mut [u8]) -> Poll<Result<usize, ControlError>> {
        // The data came with the request.
        Poll::Ready(self.with(|device| device.control_read(buffer)))
    }

    fn control_write(&mut self, data: &[u8]) -> Result<(), ControlError> {
        self.with(|device| device.control_write(data))
    }

    fn control_stall(&mut self) -> Result<(), ControlError> {
        self.with(Device::control_stall)
    }

    fn submit(&mut self, endpoint: EndpointAddress, buffer: Vec<u8>) -> Result<(), SubmitError> {
        self.with(|device| device.submit(endpoint, buffer))
    }

    fn cancel(&mut self, endpoint: EndpointAddress) {
        self.with(|device| device.cancel(endpoint));
    }

    fn set_halt(&mut self, endpoint: EndpointAddress) {
        self.with(|device| device.set_halt(endpoint));
    }
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Server").field("address", &self.shared.address).finish_non_exhaustive()
    }
}

impl fmt::Debug for Port {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Port").field("busid", &self.busid).finish_non_exhaustive()
    }
}
