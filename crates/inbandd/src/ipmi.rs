//! The channels that bring a host's IPMI commands (docs/spec/ipmi.md): a thread reads requests, the loop answers them.
//!
//! The thread hands over one request at a time and waits for its answer, so that a host has never more than one with us, however slow the loop is.
//!
//! A further kind of channel is a variant of [`IpmiChannel`], an arm in [`Channel::start`], and a file beside `qemu`: what its thread does with a `Line`.

use std::{
    fs, io,
    os::{fd::AsFd, unix::net::UnixStream},
    path::PathBuf,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        mpsc::{SyncSender, sync_channel},
    },
    thread,
    time::{Duration, Instant},
};

use inband_ipmi::{
    Origin,
    wire::{Message, Reply, Request},
};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

#[cfg(feature = "dbus")]
use crate::dbus::Link;
use crate::{command::Answers, config::IpmiChannel, side::Waker};

#[cfg(feature = "dbus")]
mod dbus;
mod device;
#[cfg(feature = "virtual")]
mod qemu;

/// From a try that failed to the next one.
const AGAIN: Duration = Duration::from_secs(1);
/// How long a request may be with the loop: hosts give up behind 4 s.
const ANSWER: Duration = Duration::from_secs(3);

/// What a channel tells.
#[derive(Debug)]
pub enum Event {
    /// A host asks for something.
    Asked(Asked),
    /// The host was reset.
    HostReset,
}

/// A request that waits for its answer.
#[derive(Debug)]
pub struct Asked {
    origin: Origin,
    message: Message,
    reply: SyncSender<Reply>,
}

impl Asked {
    /// What is asked for.
    #[must_use]
    pub fn request(&self) -> Request<'_> {
        self.message.request()
    }

    /// Where it comes from.
    #[must_use]
    pub const fn origin(&self) -> Origin {
        self.origin
    }

    /// Answers it.
    pub fn answer(self, reply: Reply) {
        // Whoever asked may be gone.
        let _ = self.reply.try_send(reply);
    }
}

/// What the loop has not seen yet. Nothing a host does makes more of it.
#[derive(Debug, Default)]
struct Unseen {
    /// The host was reset, before it asked.
    reset: bool,
    asked: Option<Asked>,
    /// How fast the channel had its answers.
    answers: Answers,
}

fn lock(unseen: &Mutex<Unseen>) -> MutexGuard<'_, Unseen> {
    unseen.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A channel. Dropping it ends its thread, and takes its socket away.
#[derive(Debug)]
pub struct Channel {
    unseen: Arc<Mutex<Unseen>>,
    #[cfg(feature = "dbus")]
    _link: Option<Link>,
    /// The thread sees that this is closed.
    _open: UnixStream,
    listens_at: Option<PathBuf>,
}

impl Channel {
    /// Serves the channel of the configuration. `wake` is called when there is an event.
    ///
    /// # Errors
    /// The socket cannot be made, or this inbandd was built without such channels.
    pub fn start(channel: &IpmiChannel, wake: Waker) -> io::Result<Self> {
        let (mut this, mut line) = Self::with_line(wake)?;
        let thread = thread::Builder::new().name("ipmi".into());
        this.listens_at = match channel.clone() {
            IpmiChannel::Device(framing, path) => {
                thread.spawn(move || device::serve(&mut line, framing, &path))?;
                None
            }
            #[cfg(feature = "virtual")]
            IpmiChannel::Qemu(path) => {
                thread.spawn(move || qemu::connect(&mut line, &path))?;
                None
            }
            #[cfg(feature = "virtual")]
            IpmiChannel::QemuListen(path) => {
                let listener = inband_virtual::socket::listen(&path)?;
                thread.spawn(move || qemu::accept(&mut line, &listener))?;
                Some(path)
            }
            #[cfg(not(feature = "virtual"))]
            IpmiChannel::Qemu(_) | IpmiChannel::QemuListen(_) => {
                return Err(io::ErrorKind::Unsupported.into());
            }
            #[cfg(feature = "dbus")]
            IpmiChannel::Dbus => {
                this._link = Some(Link::start(dbus::Provider::new(line))?);
                None
            }
            #[cfg(not(feature = "dbus"))]
            IpmiChannel::Dbus => {
                return Err(io::ErrorKind::Unsupported.into());
            }
        };
        Ok(this)
    }

    fn with_line(wake: Waker) -> io::Result<(Self, Line)> {
        let unseen = Arc::default();
        let (open, closed) = UnixStream::pair()?;
        let line = Line { unseen: Arc::clone(&unseen), closed, wake, patience: ANSWER };
        let this = Self {
            unseen,
            _open: open,
            listens_at: None,
            #[cfg(feature = "dbus")]
            _link: None,
        };
        Ok((this, line))
    }

    /// The next event.
    pub fn poll(&self) -> Option<Event> {
        let mut unseen = lock(&self.unseen);
        if std::mem::take(&mut unseen.reset) {
            return Some(Event::HostReset);
        }
        unseen.asked.take().map(Event::Asked)
    }

    /// How fast requests were answered: from their last byte until the thread had the answer, to write it.
    #[must_use]
    pub fn answers(&self) -> Answers {
        lock(&self.unseen).answers
    }
}

impl Drop for Channel {
    fn drop(&mut self) {
        // Ends the wait for its answer.
        lock(&self.unseen).asked = None;
        if let Some(path) = &self.listens_at {
            let _ = fs::remove_file(path);
        }
    }
}

/// What a [`Line::wait`] ended with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Waited {
    /// The descriptor is ready for this.
    Ready(PollFlags),
    /// The time is over.
    InVain,
    /// The daemon ends, and the thread with it.
    Closed,
}

/// The way of a channel's thread to the loop.
struct Line {
    unseen: Arc<Mutex<Unseen>>,
    closed: UnixStream,
    wake: Waker,
    /// How long the loop has for an answer.
    patience: Duration,
}

impl Line {
    /// The loop's answer. There is none where it does not come in time: then the host is left to ask again, and what it asked for is not done behind its back.
    fn ask(&mut self, origin: Origin, message: Message) -> Option<Reply> {
        let (since, (reply, answered)) = (Instant::now(), sync_channel(1));
        lock(&self.unseen).asked = Some(Asked { origin, message, reply });
        (self.wake)();
        let answer = answered.recv_timeout(self.patience).ok();
        let mut unseen = lock(&self.unseen);
        unseen.asked = None;
        unseen.answers.add(since.elapsed());
        answer
    }

    /// Tells that the host was reset.
    #[cfg(feature = "virtual")]
    fn host_was_reset(&mut self) {
        lock(&self.unseen).reset = true;
        (self.wake)();
    }

    /// Waits until something can be read or written, as `events` says.
    fn wait(&self, fd: impl AsFd, events: PollFlags, limit: Option<Duration>) -> Waited {
        let mut both =
            [PollFd::new(&self.closed, PollFlags::IN), PollFd::from_borrowed_fd(fd.as_fd(), events)];
        poll_for(&mut both, limit);
        let [closed, ready] = both.map(|fd| fd.revents());
        if !closed.is_empty() {
            Waited::Closed
        } else if ready.is_empty() {
            Waited::InVain
        } else {
            Waited::Ready(ready)
        }
    }

    /// Waits before the next try; `false` if there is to be none.
    fn rest(&self) -> bool {
        let mut closed = [PollFd::new(&self.closed, PollFlags::IN)];
        poll_for(&mut closed, Some(AGAIN));
        closed.iter().all(|fd| fd.revents().is_empty())
    }
}

fn poll_for(fds: &mut [PollFd<'_>], limit: Option<Duration>) {
    // How wide the fields are depends on the system; seconds fit all.
    let limit =
        limit.map(|limit| Timespec { tv_sec: limit.as_secs() as _, tv_nsec: limit.subsec_nanos() as _ });
    // EINTR is the only error that comes.
    if let Err(error) = poll(fds, limit.as_ref()) {
        log::debug!("poll: {error}");
    }
}
