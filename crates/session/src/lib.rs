//! One update session: its states and transitions, its results, the doors it comes through, the status it shows, and the
//! way of its bytes from the package reader to the store. The words and tables are those of `docs/spec/session.md`
//! and `docs/spec/results.md`.
//!
//! [`Session`] is what a daemon's main loop owns: it does no I/O and knows no clock. [`Pipeline`] is what the daemon's
//! worker thread owns: it blocks while it reads and writes the store. The two never call each other; the daemon carries
//! bytes, results and [`StoreView`]s between them.

#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;
#[cfg(test)]
extern crate std;

pub mod audit;
pub mod budget;
pub mod door;
pub mod first_block;
mod lockout;
pub mod pipeline;
pub mod result;
mod session;
pub mod start;
pub mod state;
pub mod status;
pub mod trial;

pub use audit::{Audit, By, HostAct};
pub use budget::{Budget, Rates};
pub use door::{Door, DoorPolicy, DoorState};
pub use lockout::{FORGET, LOCKED};
pub use pipeline::{Offered, Pipeline, Progress, Settled, Unindexed};
pub use result::ResultCode;
pub use session::{Config, ENTERED, HostEnd, Limits, Session, StoreView};
pub use state::{Event, Refusal, SessionState};
pub use trial::Trial;
