//! The program `inbandd`: its command line, its messages and exit codes, its end.

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
mod refusals;
mod running;
mod usage;
