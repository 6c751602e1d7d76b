//! The answering half on the in-memory bus, driven as hosts drive it, on a virtual clock.
// Clippy's leave for tests does not reach the functions that tests share.
#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used)]

mod bench;
#[path = "../support/bulk.rs"]
mod bulk_host;
#[path = "../support/disk.rs"]
mod disk_host;
#[path = "../support/host.rs"]
mod host;
#[path = "../support/package.rs"]
mod package;

mod armed;
mod bulk;
mod bulk_faults;
mod cells;
mod commands;
mod dfu_core;
mod doors;
mod drive;
mod ends;
mod fat;
mod good;
mod held;
mod hidden;
mod hostile;
mod ipmi;
mod lent;
mod limits;
mod model;
mod openbmc;
mod refused;
mod start;
mod sweep;
mod trial;
mod unplug;
mod vendor;
mod volume;
mod wishes;
