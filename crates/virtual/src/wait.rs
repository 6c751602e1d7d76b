//! Waiting for sockets, and what ends it.

use std::{
    io,
    net::{Ipv4Addr, UdpSocket},
    sync::Arc,
    time::Duration,
};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

/// Ends a wait of another thread, such as [`Server::wait`](crate::usbip::Server::wait).
#[derive(Clone, Debug)]
pub struct Waker {
    socket: Arc<UdpSocket>,
}

impl Waker {
    pub(crate) fn new() -> io::Result<Self> {
        // A socket connected to itself is the one wake-up that std has on every platform.
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
        socket.connect(socket.local_addr()?)?;
        socket.set_nonblocking(true)?;
        Ok(Self { socket: Arc::new(socket) })
    }

    /// Ends the wait that is under way, or the next one.
    pub fn wake(&self) {
        // Fails when wake-ups enough are waiting already.
        let _ = self.socket.send(&[0]);
    }

    pub(crate) fn drain(&self) {
        while self.socket.recv(&mut [0; 1]).is_ok() {}
    }

    /// What a wait is to look at.
    pub(crate) fn poll_fd(&self) -> PollFd<'_> {
        PollFd::new(&*self.socket, PollFlags::IN)
    }
}

/// Waits until a descriptor is ready or the time is over. Errors, of which EINTR is the only one that comes, end it.
pub(crate) fn wait_for(descriptors: &mut [PollFd<'_>], limit: Duration) {
    // An hour stands for ever; it fits every platform's time.
    let limit = limit.min(Duration::from_secs(3600));
    // How wide the fields are depends on the system; less than 2^31 fits all.
    let timeout = Timespec { tv_sec: limit.as_secs() as _, tv_nsec: limit.subsec_nanos() as _ };
    if let Err(error) = poll(descriptors, Some(&timeout)) {
        log::debug!("poll: {error}");
    }
}
