//! Waiting for a gadget to have something to tell.

use std::{
    io,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    sync::Arc,
    time::Duration,
};

use rustix::{
    event::{EventfdFlags, Timespec, epoll, eventfd},
    io::Errno,
};

/// What epoll calls the waker, and everything else.
const WAKER: u64 = 1;
const OTHER: u64 = 0;
/// An hour stands for ever; it fits every platform's time.
const LONGEST: Duration = Duration::from_secs(3600);

/// Ends a [`Waiter::wait`], of this thread or of another.
#[derive(Clone, Debug)]
pub struct Waker {
    event: Arc<OwnedFd>,
}

impl Waker {
    /// Ends the wait that is under way, or the next one.
    pub fn wake(&self) {
        // Fails when as many wake-ups are waiting as can be counted.
        let _ = rustix::io::write(&self.event, &1_u64.to_ne_bytes());
    }
}

/// Waits for a gadget: one epoll over its control endpoint's events, its bulk transfers, and wake-ups. A cheap handle: clones wait
/// for the same. Readable, as a file descriptor, when there is something, and until [`wait`](Self::wait) has been called.
#[derive(Clone, Debug)]
pub struct Waiter {
    epoll: Arc<OwnedFd>,
    waker: Waker,
}

impl Waiter {
    pub(crate) fn new() -> io::Result<Self> {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        let event = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        let waiter = Self { epoll: Arc::new(epoll), waker: Waker { event: Arc::new(event) } };
        waiter.watch(waiter.waker.event.as_fd(), WAKER, epoll::EventFlags::IN)?;
        Ok(waiter)
    }

    /// Waits for a file to be readable as well.
    pub(crate) fn add(&self, file: BorrowedFd<'_>) -> io::Result<()> {
        self.watch(file, OTHER, epoll::EventFlags::IN)
    }

    /// Waits for an eventfd to be counted up as well: nobody needs to read it.
    pub(crate) fn add_counted(&self, file: BorrowedFd<'_>) -> io::Result<()> {
        self.watch(file, OTHER, epoll::EventFlags::IN | epoll::EventFlags::ET)
    }

    fn watch(&self, file: BorrowedFd<'_>, name: u64, how: epoll::EventFlags) -> io::Result<()> {
        Ok(epoll::add(&self.epoll, file, epoll::EventData::new_u64(name), how)?)
    }

    pub(crate) fn remove(&self, file: BorrowedFd<'_>) {
        // Fails when it was not added.
        let _ = epoll::delete(&self.epoll, file);
    }

    /// What ends [`wait`](Self::wait) from elsewhere.
    #[must_use]
    pub fn waker(&self) -> Waker {
        self.waker.clone()
    }

    /// Waits until [`poll_event`](inband_usb::DeviceBackend::poll_event) or a pending
    /// [`control_read`](inband_usb::DeviceBackend::control_read) may have something, a waker woke, or the time is over; whether
    /// it is not the time. A signal ends it too.
    pub fn wait(&self, limit: Duration) -> bool {
        let limit = limit.min(LONGEST);
        // Rounded up: a wait must not end before its time again and again.
        let milliseconds = limit.as_nanos().div_ceil(1_000_000);
        let timeout = Timespec {
            tv_sec: (milliseconds / 1000) as i64,
            tv_nsec: (milliseconds % 1000 * 1_000_000) as i64,
        };
        let mut events = Vec::with_capacity(4);
        let woken =
            match epoll::wait(&self.epoll, rustix::buffer::spare_capacity(&mut events), Some(&timeout)) {
                Ok(count) => count > 0,
                Err(Errno::INTR) => true,
                Err(error) => {
                    log::warn!("epoll: {error}");
                    true
                }
            };
        if events.iter().any(|event| event.data.u64() == WAKER) {
            let _ = rustix::io::read(&self.waker.event, &mut [0; 8]);
        }
        woken
    }
}

impl AsFd for Waiter {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.epoll.as_fd()
    }
}
