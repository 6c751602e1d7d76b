//! The device's side on a backend.

use core::{task::Poll, time::Duration};

use inband_usb::{Completion, DeviceBackend, Direction, EndpointAddress, Setup, SubmitError};

use super::{
    action::{Action, Control},
    device::Device,
    target::Target,
};

/// A [`Device`] with its two endpoints of some [`DeviceBackend`], alone or beside other functions.
///
/// The owner polls the backend and passes on what it says: [`handle_enable`](Self::handle_enable), [`handle_disable`](Self::handle_disable), every
/// class request by [`handle_setup`](Self::handle_setup), the completions of these endpoints by [`handle_complete`](Self::handle_complete). When the backend has
/// no more to say it calls [`drive`](Self::drive), and by [`poll_timeout`](Self::poll_timeout) at the latest.
#[derive(Debug)]
pub struct Function<T> {
    device: Device<T>,
    out: EndpointAddress,
    r#in: EndpointAddress,
    /// The class request that resets is to be acknowledged, and its host is not done with it.
    acknowledging: bool,
}

impl<T: Target> Function<T> {
    /// A device that is not configured, on these endpoints.
    #[must_use]
    pub const fn new(device: Device<T>, out: EndpointAddress, r#in: EndpointAddress) -> Self {
        Self { device, out, r#in, acknowledging: false }
    }

    /// The device.
    #[must_use]
    pub const fn device(&self) -> &Device<T> {
        &self.device
    }

    /// What carries out the commands, to change what it shows to the host.
    pub const fn target_mut(&mut self) -> &mut T {
        self.device.target_mut()
    }

    /// When [`drive`](Self::drive) is due even if nothing happens.
    #[must_use]
    pub const fn poll_timeout(&self) -> Option<Duration> {
        self.device.timeout()
    }

    /// [`DeviceEvent::Enable`](inband_usb::DeviceEvent::Enable).
    pub fn handle_enable(&mut self) {
        self.acknowledging = false;
        self.device.handle_enable();
    }

    /// [`DeviceEvent::Disable`](inband_usb::DeviceEvent::Disable).
    pub fn handle_disable(&mut self) {
        self.acknowledging = false;
        self.device.handle_disable();
    }

    /// Answers a request that is the function's; returns false for one that is not, which is then the owner's to answer.
    pub fn handle_setup(&mut self, backend: &mut impl DeviceBackend, setup: &Setup) -> bool {
        self.acknowledging = false;
        // An answer that is not delivered leaves nothing behind: the host has given up, and an event will say what came instead.
        match self.device.handle_setup(setup) {
            Control::NotOurs => return false,
            Control::Stall => _ = backend.control_stall(),
            Control::Reply(byte) => _ = backend.control_write(&[byte]),
            Control::Reset => {
                self.act(backend);
                self.acknowledging = true;
                self.acknowledge(backend);
            }
        }
        true
    }

    /// A transfer on an endpoint of the function has come home.
    pub fn handle_complete(&mut self, now: Duration, done: Completion) {
        match done.endpoint.direction() {
            Direction::Out => self.device.handle_read(now, done.buffer, done.length, done.result),
            Direction::In => self.device.handle_sent(now, done.buffer, done.result),
        }
    }

    /// Does what is due. To be called only when no event of the backend waits: one may be a reset, and what is given to the endpoints before it is
    /// seen takes what belongs to the next command.
    pub fn drive(&mut self, now: Duration, backend: &mut impl DeviceBackend) {
        self.acknowledge(backend);
        self.device.handle_timeout(now);
        self.act(backend);
    }

    /// Time has passed. [`drive`](Self::drive) says so as well; this is for an owner that cannot call it, because it is in the middle of another
    /// function's control request.
    pub fn handle_timeout(&mut self, now: Duration) {
        self.device.handle_timeout(now);
    }

    fn acknowledge(&mut self, backend: &mut impl DeviceBackend) {
        if self.acknowledging && backend.control_read(&mut []) != Poll::Pending {
            self.acknowledging = false;
        }
    }

    fn act(&mut self, backend: &mut impl DeviceBackend) {
        while let Some(action) = self.device.poll_action() {
            let (direction, submitted) = match action {
                Action::Read(buffer) => (Direction::Out, backend.submit(self.out, buffer)),
                Action::Send(buffer) => (Direction::In, backend.submit(self.r#in, buffer)),
                Action::Halt => {
                    backend.set_halt(self.r#in);
                    continue;
                }
                Action::TakeBack(Direction::Out) => {
                    backend.cancel(self.out);
                    continue;
                }
                Action::TakeBack(Direction::In) => {
                    backend.cancel(self.r#in);
                    continue;
                }
            };
            if let Err(
                SubmitError::Disabled(buffer)
                | SubmitError::NoEndpoint(buffer)
                | SubmitError::BadLength(buffer)
                | SubmitError::Full(buffer),
            ) = submitted
            {
                self.device.handle_refused(direction, buffer);
            }
        }
    }
}
