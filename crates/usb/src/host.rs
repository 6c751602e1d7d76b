//! The host's side of a USB connection: one opened device.

use alloc::{boxed::Box, vec::Vec};
use core::time::Duration;

use crate::{EndpointAddress, Setup};

#[cfg(test)]
mod tests;

/// Time that [`HostDevice::run`] waits at least for a transfer to come back that it has cancelled.
const CANCEL_TIME: Duration = Duration::from_secs(1);

/// Names a transfer between [`HostDevice::submit`] and its [`HostCompletion`]. Never used twice by one device.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TransferId(pub u64);

/// A transfer to be made.
#[derive(Debug, PartialEq, Eq)]
pub enum HostTransfer {
    /// A control transfer with a data stage to the device, or none; `data` is exactly wLength bytes long.
    ControlOut {
        /// The request; its direction is OUT, or its wLength is 0.
        setup: Setup,
        /// The data stage.
        data: Vec<u8>,
    },
    /// A control transfer with a data stage from the device of at most wLength bytes.
    ControlIn {
        /// The request; its direction is IN.
        setup: Setup,
    },
    /// Data to a bulk OUT endpoint; empty is a zero-length packet.
    BulkOut {
        /// An OUT endpoint of a claimed interface.
        endpoint: EndpointAddress,
        /// What to send.
        data: Vec<u8>,
    },
    /// Data from a bulk IN endpoint, until `length` bytes or a short packet.
    BulkIn {
        /// An IN endpoint of a claimed interface.
        endpoint: EndpointAddress,
        /// A multiple of wMaxPacketSize.
        length: usize,
    },
}

/// A transfer that has ended.
#[derive(Debug, PartialEq, Eq)]
pub struct HostCompletion {
    /// As returned by [`HostDevice::submit`].
    pub id: TransferId,
    /// For IN the bytes received; for OUT the buffer as submitted. Present also after an error.
    pub data: Vec<u8>,
    /// Bytes that moved in the data stage.
    pub length: usize,
    /// How it ended.
    pub result: Result<(), HostError>,
}

/// Why the host's side failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HostError {
    /// The device answered STALL.
    #[error("the device refused the request (STALL)")]
    Stall,
    /// [`HostDevice::cancel`], or a caller's timeout.
    #[error("the transfer was cancelled")]
    Cancelled,
    /// The device has left the bus; every further call answers this.
    #[error("the device is gone")]
    Gone,
    /// The device sent more than was asked for.
    #[error("the device sent more than was asked for")]
    Overflow,
    /// Another program has claimed the interface.
    #[error("another program or driver is using the device")]
    Busy,
    /// The operating system forbids it.
    #[error("no permission to open the device")]
    Permission,
    /// The transfer contradicts itself or the descriptors; the caller is wrong.
    #[error("the transfer does not fit the device: {0}")]
    Misuse(&'static str),
    /// Anything else the operating system or the connection reports.
    #[error("{0}")]
    Other(alloc::string::String),
}

/// One opened device as a host program sees it, poll-style.
///
/// Transfers are submitted and come back by [`poll`](Self::poll) in the order they end; on one endpoint in the order
/// submitted. Control transfers run one after the other. The backend does the status stage of every control
/// transfer and never repeats one by itself.
///
/// Cancelling is asked for, not waited for: the completion still comes, as [`HostError::Cancelled`] or as it ended. After
/// [`HostError::Gone`] every outstanding transfer completes with `Gone`; before it, one that was in flight when the device left may
/// end as [`HostError::Other`], for a host controller notices that nobody answers before its hub says why.
///
/// The only call that waits for the device is [`wait`](Self::wait), so that one thread can drive several devices and an in-memory
/// bus can run the other side there. [`claim`](Self::claim), [`clear_halt`](Self::clear_halt) and [`reset`](Self::reset) leave it
/// to the kernel to make their standard requests; a backend that has no kernel to do so sends the request and returns. Either
/// way transfers submitted later come after it.
pub trait HostDevice {
    /// Starts a transfer.
    fn submit(&mut self, transfer: HostTransfer) -> Result<TransferId, HostError>;

    /// A transfer that has ended, if there is one now.
    fn poll(&mut self) -> Option<HostCompletion>;

    /// Asks for a transfer to end. Unknown and ended ids are ignored.
    ///
    /// Not every operating system lets a program take back just one transfer, or a control transfer at all. A backend may
    /// then end the other transfers queued on the endpoint too, all as [`HostError::Cancelled`], and leave a control
    /// transfer to a limit of its own; it says so in its documentation.
    fn cancel(&mut self, id: TransferId);

    /// Claims an interface and chooses its alternate setting 0. Claiming twice is no error.
    fn claim(&mut self, interface: u8) -> Result<(), HostError>;

    /// CLEAR_FEATURE(ENDPOINT_HALT), and the host's own data toggle with it. Only with nothing in flight on the endpoint.
    fn clear_halt(&mut self, endpoint: EndpointAddress) -> Result<(), HostError>;

    /// Resets the device on its port. Transfers in flight end as cancelled or gone. `Err(Gone)` if the device came back with
    /// other descriptors or not at all; where that shows only later, the calls after it answer so.
    fn reset(&mut self) -> Result<(), HostError>;

    /// Waits until [`poll`](Self::poll) may have something new, at most this long. May return early.
    fn wait(&mut self, limit: Duration);

    /// Time since some fixed moment on this side's clock, which a virtual bus moves by hand.
    fn now(&self) -> Duration;

    /// Makes one transfer and waits for its end; after `timeout` it is cancelled and the error is
    /// [`HostError::Cancelled`]. No other transfers may be in flight.
    ///
    /// A kernel gives a cancelled transfer back at once. The other side of a network connection may never do so: then it is
    /// given up, after `timeout` once more and a second at least, with the same error. Should it come back later, the next
    /// `run` drops it.
    fn run(&mut self, transfer: HostTransfer, timeout: Duration) -> Result<HostCompletion, HostError> {
        let id = self.submit(transfer)?;
        self.finish(id, timeout)
    }

    /// The second half of [`run`](Self::run), for a transfer that has been submitted.
    fn finish(&mut self, id: TransferId, timeout: Duration) -> Result<HostCompletion, HostError> {
        let mut deadline = self.now().saturating_add(timeout);
        let mut cancelled = false;
        loop {
            while let Some(completion) = self.poll() {
                if completion.id == id {
                    return match completion.result {
                        Ok(()) => Ok(completion),
                        Err(error) => Err(error),
                    };
                }
            }
            let left = deadline.saturating_sub(self.now());
            if !left.is_zero() {
                self.wait(left);
            } else if cancelled {
                return Err(HostError::Cancelled);
            } else {
                self.cancel(id);
                cancelled = true;
                deadline = self.now().saturating_add(timeout.max(CANCEL_TIME));
            }
        }
    }

    /// [`run`](Self::run) for an IN control request: the bytes the device answered.
    fn control_in(&mut self, setup: Setup, timeout: Duration) -> Result<Vec<u8>, HostError> {
        Ok(self.run(HostTransfer::ControlIn { setup }, timeout)?.data)
    }

    /// [`run`](Self::run) for an OUT control request.
    fn control_out(&mut self, setup: Setup, data: Vec<u8>, timeout: Duration) -> Result<(), HostError> {
        self.run(HostTransfer::ControlOut { setup, data }, timeout).map(|_| ())
    }
}

impl<D: HostDevice + ?Sized> HostDevice for Box<D> {
    fn submit(&mut self, transfer: HostTransfer) -> Result<TransferId, HostError> {
        (**self).submit(transfer)
    }

    fn poll(&mut self) -> Option<HostCompletion> {
        (**self).poll()
    }

    fn cancel(&mut self, id: TransferId) {
        (**self).cancel(id);
    }

    fn claim(&mut self, interface: u8) -> Result<(), HostError> {
        (**self).claim(interface)
    }

    fn clear_halt(&mut self, endpoint: EndpointAddress) -> Result<(), HostError> {
        (**self).clear_halt(endpoint)
    }

    fn reset(&mut self) -> Result<(), HostError> {
        (**self).reset()
    }

    fn wait(&mut self, limit: Duration) {
        (**self).wait(limit);
    }

    fn now(&self) -> Duration {
        (**self).now()
    }

    fn run(&mut self, transfer: HostTransfer, timeout: Duration) -> Result<HostCompletion, HostError> {
        (**self).run(transfer, timeout)
    }
}
