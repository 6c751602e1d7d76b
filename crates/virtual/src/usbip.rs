//! USB/IP, both ways: a [`Server`] whose [`Port`]s are device backends, and a [`Client`] that is a host device.
//!
//! The server lets a function be reached by unmodified programs, through the kernel's `vhci_hcd` (`usbip attach`, or
//! [`attach`](mod@attach) here); the client needs neither root nor a driver, only a TCP connection.
//!
//! # What USB/IP does not carry
//! * **Re-enumeration.** A device that leaves is a connection that is closed. The device is then out of the list, and the next
//!   import shows the new descriptors. `vhci_hcd` does not import again by itself.
//! * **Bus reset.** The client's side keeps it to itself; only the SET_CONFIGURATION that ends it comes over. A server takes a
//!   SET_CONFIGURATION of a configured device for a reset, so the function hears Disable and Enable, and
//!   [`Client::reset`](inband_usb::HostDevice::reset) sends one.
//! * **Addresses.** `vhci_hcd` answers SET_ADDRESS itself.
//!
//! # Trust
//! Neither side trusts the other: lengths are checked before anything is reserved for them, what a peer can make this side
//! hold has a limit, and what the protocol does not allow ends the connection. There is no authentication in the
//! protocol, so the server listens on loopback addresses only.

#[cfg(target_os = "linux")]
pub mod attach;
pub mod client;
pub mod server;
pub mod wire;

pub use client::{Client, ClientError, Opening, RemoteDevice, list, open};
pub use server::{Port, Server, ServerError};
pub use wire::BusId;

pub use crate::wait::Waker;

/// The registered TCP port.
pub const PORT: u16 = 3240;
