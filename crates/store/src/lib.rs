//! The store: two firmware slots, one durable record that says what they hold and which of them boots, a journal of what helps
//! and may be lost, and the rules that keep one slot bootable at every moment. The formats and rules are those of `docs/spec/store.md`.
//!
//! The core is `no_std`, does no I/O of its own and is generic over a [`Medium`]. The `std` feature adds the file
//! backend ([`file::FileMedium`]), `testing` a medium in memory that loses power and bytes on request, and a disk of that kind for the
//! file backend.

#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;
#[cfg(feature = "std")]
extern crate std;

pub mod boot;
#[cfg(all(feature = "std", any(test, feature = "testing")))]
pub mod disk;
#[cfg(feature = "std")]
pub mod file;
pub mod journal;
pub mod layout;
pub mod medium;
#[cfg(any(test, feature = "testing"))]
pub mod memory;
pub mod record;
mod store;
pub mod text;

pub use journal::Levels;
pub use layout::{Layout, Region, RegionPolicy};
pub use medium::{Medium, MediumError};
pub use record::{Record, SessionRecord, Slot, SlotRecord, SlotState, StartId, TrialRecord};
pub use store::{
    ChunkHint, Ending, FingerprintKey, Firmware, Found, GIVEN_BACK_LIMIT, Identity, Options, ReadBack, Store,
    StoreError,
};
