//! The disk, from the bytes of its answers to a bus with faults.
// Clippy's leave for tests does not reach the functions that tests share.
#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used)]

mod bot;
mod bus;
mod cases;
mod commands;
mod conformance;
mod fat;
mod faults;
mod frozen;
mod properties;
mod sparse;
mod support;
