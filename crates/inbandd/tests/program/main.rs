//! The program `inbandd`: its command line, its messages and exit codes, its end.
// Clippy's leave for tests does not reach the functions that tests share.
#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used)]

#[path = "../support/home.rs"]
mod home;
#[path = "../support/host.rs"]
mod host;
#[path = "../support/package.rs"]
mod package;
#[path = "../support/remote.rs"]
mod remote;

mod full;
mod kill;
mod openbmc;
mod peer;
mod policy;
mod refusals;
mod running;
mod trial;
mod usage;
