//! The package format as a whole: made, read, changed, and compared with tools that we did not write.

// A test fails by panicking, in its helpers too.
#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used)]

mod chunks;
mod common;
mod compressed;
mod diff;
mod directory;
mod frozen;
mod head;
mod index;
mod maker;
mod openbmc;
mod order;
mod peers;
mod policy;
mod programs;
mod ring;
mod signers;
mod whole;
