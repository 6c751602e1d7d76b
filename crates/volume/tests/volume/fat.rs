//! The volume with a filesystem (docs/spec/volume.md).

mod frozen;
mod peers;
mod schedules;
mod support;
mod traces;
mod walk;
mod watch;
