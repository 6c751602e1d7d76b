//! The door handle, from the bytes of its commands to what it does with them.
// Clippy's leave for tests does not reach the functions that tests share.
#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used)]

mod device;
mod examples;
mod frozen;
mod handler;
mod keeper;
mod properties;
mod standalone;
mod vm;
