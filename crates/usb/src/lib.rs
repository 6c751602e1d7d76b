//! USB as Inband needs it: setup packets, descriptors, standard requests, and the two traits that join the
//! protocol cores to whatever carries the bytes.
//!
//! * [`DeviceBackend`] is the device's side: FunctionFS, a USB/IP server, a QEMU guest's usbredir slot, an in-memory bus.
//! * [`HostDevice`] is the host's side of one opened device: the kernel's USB, a USB/IP client, an in-memory bus.
//!
//! Both are poll-style: no call blocks, no call waits for the other side. Time comes in from outside as a
//! [`core::time::Duration`] since an arbitrary start. Every backend passes the one suite in
//! `conformance` (cargo feature `conformance`).
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

pub mod chapter9;
#[cfg(feature = "conformance")]
pub mod conformance;
pub mod descriptor;
mod device;
mod host;
pub mod microsoft;
mod setup;

pub use descriptor::DescriptorSet;
pub use device::{Completion, ControlError, DeviceBackend, DeviceEvent, SubmitError, TransferError};
pub use host::{HostCompletion, HostDevice, HostError, HostTransfer, TransferId};
pub use setup::{Direction, Recipient, RequestType, Setup};

/// An endpoint address as in bEndpointAddress: bit 7 is the direction (set = IN), bits 3..0 the number
/// (USB 2.0, 9.6.6).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct EndpointAddress(pub u8);

impl EndpointAddress {
    /// The direction of data on this endpoint, seen from the host.
    #[must_use]
    pub const fn direction(self) -> Direction {
        if self.0 & 0x80 != 0 { Direction::In } else { Direction::Out }
    }

    /// The endpoint number, 0 to 15.
    #[must_use]
    pub const fn number(self) -> u8 {
        self.0 & 0x0f
    }
}
