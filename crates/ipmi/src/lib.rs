//! The door handle (docs/spec/ipmi.md), both sides, without I/O: a host's raw IPMI commands open a door, shut it, and ask how things stand.
//!
//! * [`wire`]: network function, command, completion codes, limits.
//! * [`command`]: requests and replies, byte by byte, for both sides.
//! * [`Handler`]: the BMC's side, over a [`Doorkeeper`]. It knows who may ask, and answers a request that comes twice as it did the first time.
//! * [`standalone`]: the few commands that an operating system asks of any BMC, for where there is no other.
//! * [`device`]: the framings of Linux's devices for the BMC's end of KCS, BT and SSIF.
//! * [`vm`]: the framing of QEMU's external BMC.
//!
//! "IPMI" and a section number in a comment cite the Intelligent Platform Management Interface Specification 2.0, "spec" docs/spec/ipmi.md.
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

pub mod command;
pub mod device;
mod handler;
pub mod standalone;
pub mod vm;
pub mod wire;

pub use handler::{Doorkeeper, Handler, LOOK_AGAIN, Origin, REPEATED};
