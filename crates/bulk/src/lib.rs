//! The bulk protocol (docs/spec/bulk.md), both sides, without I/O: a package's data by two bulk endpoints, and of the data only
//! what the device does not have.
//!
//! * [`wire`]: the messages, byte by byte.
//! * [`chunks`]: sets of chunks, and the NEED that names them.
//! * [`interface`]: the interface that carries the stream, and the page of the vendor request that tells of it.
//! * [`device`]: bytes in, chunks and messages out. It knows of no store and no package.
//! * [`host`]: an OFFER, what is asked for, a RESULT, against a device that is not trusted.
//!
//! "Spec" and a section number in a comment cite docs/spec/bulk.md.
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

pub mod chunks;
pub mod device;
pub mod host;
pub mod interface;
mod stream;
pub mod wire;

pub use chunks::ChunkSet;
pub use device::Device;
pub use host::Host;
