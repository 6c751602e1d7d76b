//! USB without USB: backends for tests, for demonstrations and for machines whose controller is not the one to use.
//!
//! * [`usbip`]: a device that any USB/IP client can import, and such a client.
//! * [`device`]: what those that are reached over a connection have in common.
//! * [`usbredir`]: a device of a QEMU guest.
//! * [`memory`]: host and device in one process.
//! * `socket`: where those listen that only their owner may connect to; Linux only.
//! * [`pcap`]: a record of what went over a bus, for tshark and Wireshark.
#![forbid(unsafe_code)]

pub mod device;
pub mod errno;
pub mod memory;
pub mod pcap;
#[cfg(target_os = "linux")]
pub mod socket;
pub mod usbip;
pub mod usbredir;
mod wait;
