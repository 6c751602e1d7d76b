//! Tests of the bulk protocol: frozen bytes, each side by itself, and both against each other with everything that can happen to
//! messages between them.
// Clippy's leave for tests does not reach the functions that tests share.
#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used)]

mod bus;
mod chunks;
mod device;
mod frozen;
mod host;
mod pair;
mod properties;
mod sides;
