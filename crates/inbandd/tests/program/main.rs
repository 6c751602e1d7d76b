//! The program `inbandd`: its command line, its messages and exit codes, its end.
// Clippy's leave for tests does not reach the functions that tests share.
#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used)]

#[allow(dead_code, reason = "the tests on the bus use more of it")]
#[path = "../support/bulk.rs"]
mod bulk_host;
#[allow(dead_code, reason = "the tests on the bus use more of it")]
#[path = "../support/disk.rs"]
mod disk_host;
#[path = "../support/home.rs"]
mod home;
#[path = "../support/host.rs"]
mod host;
#[path = "../support/package.rs"]
mod package;
#[path = "../support/remote.rs"]
mod remote;

#[cfg(all(target_os = "linux", feature = "dbus"))]
mod dbus;
mod full;
#[cfg(target_os = "linux")]
mod hidden;
#[cfg(target_os = "linux")]
mod ipmi;
#[cfg(target_os = "linux")]
mod ipmi_device;
mod kill;
mod kill_bulk;
#[cfg(all(target_os = "linux", target_env = "gnu"))]
mod memory;
mod openbmc;
mod peer;
mod policy;
mod refusals;
mod running;
mod trial;
mod usage;
#[cfg(target_os = "linux")]
mod usbredir;
mod volume;
