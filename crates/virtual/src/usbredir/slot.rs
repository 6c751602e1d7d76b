//! A slot and its socket, Linux only.

use std::{
    fmt, fs,
    io::{self, ErrorKind, Read, Write},
    os::unix::net::{UnixListener, UnixStream},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::Poll,
    time::{Duration, Instant},
};

use inband_usb::{ControlError, DescriptorSet, DeviceBackend, DeviceEvent, EndpointAddress, SubmitError};
use rustix::{
    event::{PollFd, PollFlags},
    net::SocketAddrUnix,
};

use super::{Core, SetError, core::Device};
use crate::{
    pcap::Recorder,
    socket,
    wait::{Waker, wait_for},
};

/// Bytes read from the socket at once.
const CHUNK: usize = 64 << 10;
/// Most chunks before the function has its turn.
const CHUNKS: usize = 64;
/// From a connection that ended or could not be made to the next try.
const AGAIN: Duration = Duration::from_millis(250);

/// Why a slot did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum SlotError {
    /// The path cannot be that of a socket.
    #[error("no socket can have that path: {0}")]
    Path(io::Error),
    /// The socket cannot be made.
    #[error("cannot listen there: {0}")]
    Listen(io::Error),
    /// What wakes it cannot be made.
    #[error("cannot make a socket: {0}")]
    Waker(io::Error),
    /// The descriptors cannot be shown.
    #[error(transparent)]
    Set(#[from] SetError),
    /// The recording cannot be written.
    #[error("cannot record: {0}")]
    Tap(io::Error),
}

/// A place in a QEMU guest's USB controller, on which one device can be attached. A cheap handle: clones are the same slot.
///
/// There is no thread behind it. The socket is served in [`wait`](Self::wait), and without waiting in
/// [`DeviceBackend::poll_event`]; what the device answers is sent at once. A connection that ends is an unplug, and the next one, which
/// is tried for or waited for without end, a plug.
#[derive(Clone)]
pub struct Slot {
    shared: Arc<Shared>,
}

struct Shared {
    inner: Mutex<Inner>,
    waker: Waker,
}

struct Inner {
    core: Core,
    door: Door,
    stream: Option<Arc<UnixStream>>,
    started: Instant,
    chunk: Vec<u8>,
}

/// Where connections come from.
enum Door {
    /// QEMU listens.
    Connect {
        path: PathBuf,
        address: SocketAddrUnix,
        /// Not before this time.
        again: Duration,
        /// The last try failed, and the log has it.
        told: bool,
    },
    /// QEMU connects.
    Listen { path: PathBuf, listener: Arc<UnixListener> },
}

impl Drop for Door {
    fn drop(&mut self) {
        if let Self::Listen { path, .. } = self {
            let _ = fs::remove_file(path);
        }
    }
}

impl Slot {
    /// Connects to the socket at which QEMU listens (`server=on`), as soon as there is one, and again whenever the connection ends.
    ///
    /// # Errors
    /// The path is too long for a socket's.
    pub fn connect(path: &Path) -> Result<Self, SlotError> {
        let address = socket::address(path).map_err(SlotError::Path)?;
        Self::new(Door::Connect { path: path.to_owned(), address, again: Duration::ZERO, told: false })
    }

    /// Listens for QEMU (`server=off`) at this path, with a socket that is its owner's alone. One that is there already and that nobody
    /// listens at is replaced.
    ///
    /// # Errors
    /// The socket cannot be made.
    pub fn listen(path: &Path) -> Result<Self, SlotError> {
        let address = socket::address(path).map_err(SlotError::Path)?;
        let listener = socket::listen_at(path, &address).map_err(SlotError::Listen)?;
        Self::new(Door::Listen { path: path.to_owned(), listener: Arc::new(listener) })
    }

    fn new(door: Door) -> Result<Self, SlotError> {
        let waker = Waker::new().map_err(SlotError::Waker)?;
        let inner =
            Inner { core: Core::new(), door, stream: None, started: Instant::now(), chunk: vec![0; CHUNK] };
        Ok(Self { shared: Arc::new(Shared { inner: Mutex::new(inner), waker }) })
    }

    /// Records all transfers as a pcap file, in place of a recording that was there. When the sink fails the recording ends, with
    /// a warning in the log.
    ///
    /// # Errors
    /// The sink fails at once.
    pub fn tap(&self, sink: impl Write + Send + 'static) -> Result<(), SlotError> {
        let sink: Box<dyn Write + Send> = Box::new(sink);
        self.lock().core.set_tap(Recorder::new(sink).map_err(SlotError::Tap)?);
        Ok(())
    }

    /// What ends [`wait`](Self::wait) from another thread.
    #[must_use]
    pub fn waker(&self) -> Waker {
        self.shared.waker.clone()
    }

    /// Serves the socket until the device has an event, a waker woke, something came or went, or the time is over. Does not wait if
    /// there is an event already.
    pub fn wait(&self, limit: Duration) {
        let mut inner = self.lock();
        inner.serve();
        if inner.core.device().has_event() {
            return;
        }
        let (stream, listener, limit) = (inner.stream.clone(), inner.listener(), inner.limit(limit));
        let mut flags = PollFlags::empty();
        flags.set(PollFlags::IN, inner.core.reads());
        flags.set(PollFlags::OUT, !inner.core.output().is_empty());
        // Other threads may use the slot meanwhile.
        drop(inner);

        let mut descriptors = vec![self.shared.waker.poll_fd()];
        descriptors.extend(stream.as_ref().map(|stream| PollFd::new(&**stream, flags)));
        descriptors.extend(listener.as_ref().map(|listener| PollFd::new(&**listener, PollFlags::IN)));
        wait_for(&mut descriptors, limit);
        let over = PollFlags::HUP | PollFlags::ERR | PollFlags::NVAL;
        let failed = stream.is_some() && descriptors.get(1).is_some_and(|it| it.revents().intersects(over));

        self.shared.waker.drain();
        let mut inner = self.lock();
        // Told whatever was asked for, also of a socket that is not to be read now.
        if failed && !inner.core.reads() {
            inner.end("it was closed");
        }
        inner.serve();
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        // A panic elsewhere leaves nothing half done that could not be gone on with.
        self.shared.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Does something with the device, then sends what came of it.
    fn with<T>(&self, act: impl FnOnce(&mut Device) -> T) -> T {
        let mut inner = self.lock();
        let result = act(inner.core.device());
        inner.send();
        result
    }
}

impl Inner {
    fn now(&self) -> Duration {
        self.started.elapsed()
    }

    /// What is listened at: nothing while there is a connection, so that the next one waits for its end.
    fn listener(&self) -> Option<Arc<UnixListener>> {
        match &self.door {
            Door::Listen { listener, .. } if self.stream.is_none() => Some(Arc::clone(listener)),
            Door::Listen { .. } | Door::Connect { .. } => None,
        }
    }

    /// How long may be waited.
    fn limit(&self, limit: Duration) -> Duration {
        match &self.door {
            Door::Connect { again, .. } if self.stream.is_none() => {
                limit.min(again.saturating_sub(self.now()))
            }
            Door::Connect { .. } | Door::Listen { .. } => limit,
        }
    }

    /// Does all that can be done without waiting.
    fn serve(&mut self) {
        self.open();
        self.send();
        for _ in 0..CHUNKS {
            let Some(stream) = self.stream.clone().filter(|_| self.core.reads()) else { break };
            match (&*stream).read(&mut self.chunk) {
                Ok(0) => self.end("QEMU has closed it"),
                Ok(count) => {
                    if let Err(error) = self.core.received(&self.chunk[..count]) {
                        log::warn!("usbredir: QEMU does not keep to the protocol: {error}");
                        self.end("of that");
                    } else if count < CHUNK {
                        break;
                    }
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => self.end(&error.to_string()),
            }
        }
        self.send();
    }

    /// Makes or takes a connection if there is none.
    fn open(&mut self) {
        if self.stream.is_some() {
            return;
        }
        let now = self.now();
        let opened = match &mut self.door {
            Door::Connect { again, .. } if now < *again => return,
            Door::Connect { path, address, again, told } => match socket::connect(address) {
                Ok(stream) => {
                    *told = false;
                    log::info!("usbredir: connected to {}", path.display());
                    stream
                }
                Err(error) => {
                    if !*told {
                        log::warn!(
                            "usbredir: cannot connect to {} yet: {error}; is QEMU up, with -chardev socket,path=...,server=on? It is tried again",
                            path.display()
                        );
                    }
                    *told = true;
                    *again = now + AGAIN;
                    return;
                }
            },
            Door::Listen { path, listener } => match listener.accept() {
                Ok((stream, _)) if stream.set_nonblocking(true).is_ok() => {
                    log::info!("usbredir: a connection at {}", path.display());
                    stream
                }
                Ok(_) => return,
                Err(error) => {
                    if !matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) {
                        log::warn!("usbredir: cannot take a connection: {error}");
                    }
                    return;
                }
            },
        };
        self.stream = Some(Arc::new(opened));
        self.core.opened();
    }

    /// The connection is over.
    fn end(&mut self, why: &str) {
        log::info!("usbredir: the connection ended: {why}");
        self.stream = None;
        self.core.closed();
        let now = self.now();
        if let Door::Connect { again, .. } = &mut self.door {
            *again = now + AGAIN;
        }
    }

    /// Sends what there is and the socket takes.
    fn send(&mut self) {
        while let Some(stream) = self.stream.clone() {
            let output = self.core.output();
            if output.is_empty() {
                break;
            }
            match (&*stream).write(output) {
                Ok(0) => self.end("it takes nothing"),
                Ok(count) => self.core.sent(count),
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => self.end(&error.to_string()),
            }
        }
    }
}

impl DeviceBackend for Slot {
    type Error = SlotError;

    fn attach(&mut self, descriptors: &DescriptorSet) -> Result<(), SlotError> {
        let mut inner = self.lock();
        inner.core.attach(descriptors)?;
        inner.send();
        Ok(())
    }

    fn detach(&mut self) -> Result<(), SlotError> {
        let mut inner = self.lock();
        inner.core.detach();
        inner.send();
        Ok(())
    }

    fn poll_event(&mut self) -> Result<Option<DeviceEvent>, SlotError> {
        let mut inner = self.lock();
        if !inner.core.device().has_event() {
            inner.serve();
        }
        Ok(inner.core.device().next_event())
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

impl fmt::Debug for Slot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Slot").finish_non_exhaustive()
    }
}
