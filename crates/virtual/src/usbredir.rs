//! usbredir: a device of a QEMU guest, over a Unix socket.
//!
//! QEMU is the guest's side of the protocol, a [`Slot`] the device's: `-chardev socket,...` and `-device usb-redir` in QEMU's command
//! line, and whatever is attached to the slot is in the guest's USB controller. A device that leaves and comes back with other
//! descriptors does so in the guest as well, within the same connection. docs/spec/usbredir.md is what is spoken.
//!
//! # Trust
//! There is no authentication in the protocol: whoever reaches the socket has the device, so one that is made here is its owner's
//! alone. What comes from it is checked: lengths before anything is reserved for them, what a peer can make this side hold has a
//! limit, and what the protocol does not allow ends the connection.

mod core;
#[cfg(target_os = "linux")]
mod slot;
#[cfg(test)]
mod tests;
pub mod wire;

pub use self::core::{Core, Device, Link, SetError};
#[cfg(target_os = "linux")]
pub use slot::{Slot, SlotError};

pub use crate::wait::Waker;
