//! The Inband daemon as a library: the program `inbandd` is a thin shell around it, and tests and `inband demo` run it in a
//! thread.
//!
//! The daemon has two halves. [`bmc::Bmc`] answers the host and never waits; [`worker`] hashes and writes. [`daemon::Daemon`]
//! joins them to the USB side that the configuration names and runs them until it is stopped.

pub mod audit;
pub mod bmc;
pub mod built;
pub mod command;
pub mod config;
#[cfg(target_os = "linux")]
pub mod control;
pub mod daemon;
#[cfg(all(target_os = "linux", feature = "dbus"))]
pub mod dbus;
pub mod error;
#[cfg(target_os = "linux")]
pub mod handed;
#[cfg(target_os = "linux")]
pub mod ipmi;
pub mod logger;
pub mod memory;
#[cfg(target_os = "linux")]
pub mod notify;
pub mod open;
pub mod programs;
#[cfg(target_os = "linux")]
pub mod serving;
pub mod side;
pub mod staging;
pub mod worker;

pub use config::Config;
pub use daemon::{Daemon, Stopper};
pub use error::Error;
