//! Tests of the DFU core: the table cell by cell, frozen bytes, attacks that hurt others, properties, and whole sessions of our host
//! sequence and of dfu-core against our device.
// Clippy's leave for tests does not reach the functions that tests share.
#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used)]

mod ahead;
mod bench;
mod cells;
mod dfu_core;
mod elsewhere;
mod frozen;
mod host;
mod owner;
mod properties;
mod replay;
mod suffix;
