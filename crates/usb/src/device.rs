//! The device's side of a USB connection.

use alloc::vec::Vec;

use crate::{DescriptorSet, EndpointAddress, Setup};

/// What a backend tells the function it carries.
#[derive(Debug, PartialEq, Eq)]
pub enum DeviceEvent {
    /// The host configured the device, or chose an alternate setting (again). Endpoints may be used from here on.
    ///
    /// An `Enable` that follows no [`DeviceEvent::Disable`] is a SET_INTERFACE or a repeated SET_CONFIGURATION: all
    /// transfers of the function were completed with [`TransferError::Disabled`] and halts are gone.
    Enable,
    /// Bus reset, unplug or SET_CONFIGURATION(0). A bus reset is a `Disable` and, once the host has configured the
    /// device again, an `Enable`; nothing tells it apart from an unplug (FunctionFS cannot either).
    Disable,
    /// The bus went idle.
    Suspend,
    /// The bus is busy again.
    Resume,
    /// A class or vendor request. It has to be answered: see [`DeviceBackend`].
    Setup(Setup),
    /// A transfer given to [`DeviceBackend::submit`] has ended.
    Complete(Completion),
}

/// A transfer that has ended on a bulk endpoint; its buffer comes home.
#[derive(Debug, PartialEq, Eq)]
pub struct Completion {
    /// The endpoint it was submitted to.
    pub endpoint: EndpointAddress,
    /// The caller's buffer: for OUT its first `length` bytes are the host's data, for IN it is as submitted.
    pub buffer: Vec<u8>,
    /// Bytes moved, also when the transfer ended in an error.
    pub length: usize,
    /// How it ended.
    pub result: Result<(), TransferError>,
}

/// Why a transfer did not run to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TransferError {
    /// Reset, unplug, another configuration or setting.
    #[error("the host disabled the endpoint")]
    Disabled,
    /// [`DeviceBackend::cancel`].
    #[error("the transfer was cancelled")]
    Cancelled,
    /// The host sent more than the buffer holds.
    #[error("the host sent more than was asked for")]
    Overflow,
    /// The controller or its driver could not do it, for want of memory above all. The endpoint goes on, and no event tells more.
    #[error("the controller failed")]
    Failed,
}

/// Why [`DeviceBackend::submit`] did not take a transfer; the buffer is returned.
#[derive(PartialEq, Eq)]
pub enum SubmitError {
    /// The device is not configured, or no longer: the event that says so may be yet to come.
    Disabled(Vec<u8>),
    /// The descriptor set in use has no such endpoint, or it is not a bulk endpoint.
    NoEndpoint(Vec<u8>),
    /// An OUT buffer that is empty or no multiple of wMaxPacketSize.
    BadLength(Vec<u8>),
    /// As many transfers are queued on the endpoint as the backend takes; wait for a completion.
    Full(Vec<u8>),
}

/// Shows how long the buffer is, not what is in it.
impl core::fmt::Debug for SubmitError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        let (name, buffer) = match self {
            Self::Disabled(buffer) => ("Disabled", buffer),
            Self::NoEndpoint(buffer) => ("NoEndpoint", buffer),
            Self::BadLength(buffer) => ("BadLength", buffer),
            Self::Full(buffer) => ("Full", buffer),
        };
        write!(f, "{name}({} bytes)", buffer.len())
    }
}

/// Why an answer to a control request was not delivered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ControlError {
    /// The request is gone: a new SETUP took its place, the host gave up, reset the bus or went away. Not an error of
    /// the caller's: go on with the next event, and act on nothing the request carried.
    #[error("the host cancelled the request")]
    Cancelled,
    /// Nothing to answer, an answer in the wrong direction, or more data than fits: the caller is wrong. The request
    /// is stalled.
    #[error("the answer does not fit the request")]
    Misuse,
}

/// A USB device controller as a function sees it, poll-style.
///
/// # What the backend does by itself
/// It answers the standard requests of USB 2.0 chapter 9 from the [`DescriptorSet`]: descriptors, address, configuration,
/// interface, status, halts. The function sees class and vendor requests only, whatever their recipient, so it has
/// to check wIndex.
///
/// # Legal call sequences for a control request
/// After [`DeviceEvent::Setup`] exactly one of these answers it; until then `poll_event` delivers nothing but the end of
/// the request or of the connection and the completion of transfers:
///
/// | request | answer | who does the status stage |
/// |---|---|---|
/// | IN, wLength > 0 | [`control_write`](Self::control_write) of 0 to wLength bytes | the backend, after the data |
/// | OUT, wLength > 0 | [`control_read`](Self::control_read) with a buffer of at least wLength | the backend, once the data is there: **what was read can no longer be stalled** |
/// | wLength = 0, either direction | `control_read` with an empty buffer | the backend, at that call |
/// | any | [`control_stall`](Self::control_stall) | none: the host sees STALL |
///
/// `control_read` may answer [`Poll::Pending`](core::task::Poll::Pending): the data has not come yet; call it again after
/// the next wake-up. Data of an aborted data stage never reaches the caller, whole or in part.
///
/// # Who may cancel
/// A new SETUP cancels the request before it, at any moment; so do a reset and an unplug. A host that gives a request up and
/// says no more does so too, but no event tells of it. An answer to a cancelled request gets [`ControlError::Cancelled`] as soon
/// as the backend knows, until it has delivered the event that took the request's place; an answer that crosses the
/// cancellation on its way is `Ok` and goes nowhere. The function forgets a request as soon as it polls another
/// [`DeviceEvent::Setup`] or a [`DeviceEvent::Disable`].
///
/// # Bulk
/// Buffers are the caller's and travel: in by [`submit`](Self::submit), home by [`DeviceEvent::Complete`], in order for each
/// endpoint. OUT buffers are a multiple of wMaxPacketSize; a short packet ends the transfer. For an OUT
/// transfer that is an exact multiple nothing else marks the end, so protocols carry their lengths. At least four transfers
/// can be in flight on each endpoint. A halted endpoint keeps its queue. The backend clears halts at the host's CLEAR_FEATURE without telling anyone (FunctionFS cannot).
pub trait DeviceBackend {
    /// What can go wrong for good: the controller is gone, the socket is dead.
    type Error: core::fmt::Display + core::fmt::Debug;

    /// Appears on the bus with these descriptors. Called while attached, it first does what
    /// [`detach`](Self::detach) does: the host sees the device leave and another come.
    fn attach(&mut self, descriptors: &DescriptorSet) -> Result<(), Self::Error>;

    /// Leaves the bus: the host sees an unplug. Pending requests are gone, transfers come home as
    /// [`TransferError::Disabled`]. Detaching twice is no error.
    fn detach(&mut self) -> Result<(), Self::Error>;

    /// The next event, if there is one now.
    fn poll_event(&mut self) -> Result<Option<DeviceEvent>, Self::Error>;

    /// Takes the data stage of an OUT request (or, with an empty buffer, acknowledges one without data) and completes it.
    /// Returns the number of bytes, always wLength.
    fn control_read(&mut self, buffer: &mut [u8]) -> core::task::Poll<Result<usize, ControlError>>;

    /// Answers an IN request with at most wLength bytes and completes it. Fewer bytes than wLength end the data stage early.
    fn control_write(&mut self, data: &[u8]) -> Result<(), ControlError>;

    /// Refuses the current request.
    fn control_stall(&mut self) -> Result<(), ControlError>;

    /// Queues a transfer: an OUT buffer to be filled, or an IN buffer to be sent whole (a short last packet ends it; an
    /// empty buffer is a zero-length packet).
    fn submit(&mut self, endpoint: EndpointAddress, buffer: Vec<u8>) -> Result<(), SubmitError>;

    /// Takes back all transfers of an endpoint; they come home as [`TransferError::Cancelled`], or as done if they
    /// were. A halt that has waited for them is not done any more.
    fn cancel(&mut self, endpoint: EndpointAddress);

    /// Halts an endpoint: the host sees STALL until it clears the halt. What has left for the function, the host gets before, and what is submitted
    /// from here on comes behind it, even where the controller still has a packet.
    fn set_halt(&mut self, endpoint: EndpointAddress);
}
