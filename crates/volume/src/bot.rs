//! Bulk-Only Transport (BOT 1.0): a command, its data, its status, one after the other.
//!
//! * [`wire`]: the two wrappers, the class requests and the interface, byte by byte.
//! * [`Device`]: the device's side. It moves data in pieces between the endpoints and a [`Target`], which knows the commands.
//! * [`host`]: the host's side, for tests.

mod device;
pub mod host;
mod target;
pub mod wire;

pub use device::{Action, Control, Device, HALT_AGAIN, Halts, Limits, MAX_LUN, Phase};
pub use target::{Intent, Refused, Target};
