//! USB Device Firmware Upgrade 1.1 (5 August 2004), both sides, without I/O.
//!
//! * [`wire`]: requests, states, status codes, the GETSTATUS reply, the functional descriptor.
//! * [`table`]: the one transition table, a pure function; what it says is what the device does.
//! * [`device`]: the table and the data it needs: requests and time in, answers and events out.
//! * [`descriptors`]: the run-time and the DFU-mode descriptor sets.
//! * [`host`]: detach, clean-up and download as a sequence of states, against a device that is not trusted.
//! * [`suffix`]: the 16 bytes at the end of a DFU file.
//!
//! "DFU 1.1" and a section number in a comment cite the specification.
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

pub mod descriptors;
pub mod device;
pub mod host;
pub mod suffix;
pub mod table;
pub mod wire;

pub use device::Device;
