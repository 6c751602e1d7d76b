//! The commands of a removable disk (spec, 6 to 10).
//!
//! * [`command`]: the table of all commands.
//! * [`Disk`]: the logical unit, a [`Target`](crate::bot::Target) over a [`Medium`].
//! * [`Sense`]: why a command failed.

mod answer;
pub mod command;
mod disk;
mod inquiry;
mod medium;
mod mode;
mod sense;

pub use disk::Disk;
pub use inquiry::Identity;
pub use medium::{BLOCK, Event, Fault, Medium, State};
pub use sense::{FIXED_LENGTH, Field, Sense};
