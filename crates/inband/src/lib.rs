//! The host's side of Inband: finds BMCs, updates them, makes and checks packages. The program `inband` is
//! [`cli::main`].
//!
//! * [`usb`]: ways to devices (the kernel's USB, USB/IP) behind one trait, and places that stay when a device
//!   comes back with other descriptors.
//! * [`find`], [`bmc`], [`follow`]: which devices are BMCs, what they say, and how to keep sight of one.
//! * [`dfu`], [`bulk`]: one download, one exchange with an opened BMC. [`disk`]: the disk that it shows.
//! * [`update`]: one update as a sequence of events; a bar, lines and JSON are sinks of them.
//! * [`ipmi`]: the door handle, where this machine speaks IPMI with its BMC.
//! * [`package`]: keys, packing, signing, checking.
//! * [`demo`]: all of it against a virtual BMC.
//! * `platform`: what differs between Linux, macOS and Windows.
//! * [`error`], [`output`], [`text`]: how things are told. What comes from a device is hostile until it is shown.

pub mod bmc;
pub mod bulk;
pub mod cancel;
pub mod cli;
pub mod commands;
#[cfg(target_os = "linux")]
pub mod demo;
#[cfg(not(target_os = "linux"))]
#[path = "demo/elsewhere.rs"]
pub mod demo;
pub mod dfu;
pub mod disk;
pub mod error;
pub mod find;
pub mod follow;
pub mod ipmi;
pub mod logger;
pub mod output;
pub mod package;
mod platform;
#[cfg(test)]
mod testing;
pub mod text;
pub mod update;
pub mod usb;

pub use error::Error;
