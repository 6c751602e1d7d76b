//! The Inband daemon as a library: the program `inbandd` is a thin shell around it, and tests and `inband demo` run it in a
//! thread.
//!
//! The daemon has two halves. [`bmc::Bmc`] answers the host and never waits; [`worker`] hashes and writes. [`daemon::Daemon`]
//! joins them to the USB side that the configuration names and runs them until it is stopped.

pub mod audit;
pub mod bmc;
pub mod config;
#[cfg(feature = "virtual")]
pub mod daemon;
pub mod error;
pub mod logger;
pub mod open;
pub mod worker;

pub use config::Config;
#[cfg(feature = "virtual")]
pub use daemon::{Daemon, Stopper};
pub use error::Error;
