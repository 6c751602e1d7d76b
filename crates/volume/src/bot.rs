//! Bulk-Only Transport (BOT 1.0): a command, its data, its status, one after the other.
//!
//! * [`wire`]: the two wrappers, the class requests and the interface, byte by byte.
//! * [`Device`]: the device's side. It moves data in pieces between the endpoints and a [`Target`], which knows the commands.
//! * [`Function`]: that device on the endpoints of a backend.
//! * [`host`]: the host's side, for tests.

mod action;
mod device;
mod function;
pub mod host;
mod pool;
mod target;
pub mod wire;

pub use action::{Action, Control, Halts, Limits, Phase};
pub use device::{Device, HALT_AGAIN, MAX_LUN};
pub use function::Function;
pub use target::{Intent, Refused, Target};
