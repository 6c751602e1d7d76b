//! The volume with a filesystem (docs/spec/volume.md).

mod frozen;
mod generated;
mod peers;
mod schedules;
mod support;
mod traces;
mod trigger;
mod walk;
mod watch;
