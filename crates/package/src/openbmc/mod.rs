//! OpenBMC firmware tars that have no Inband head (docs/spec/openbmc.md).
//!
//! Such a tar cannot be checked as it streams in: what vouches for its first byte may be its last. So [`Intake`] brings its
//! members, uninterpreted, into a [`Stage`], which is sealed at the end; then the chain of signatures is checked over what
//! was sealed, and an [`Index`](crate::Index) is made of it. From there on it goes the way of every package.

mod header;
mod image;
mod intake;
pub mod manifest;
mod member;
mod profile;
pub mod stage;
mod tail;
mod trust;
mod verify;

pub use header::HeaderError;
pub use image::MAX_WINDOW;
pub use intake::{Error, Intake};
pub use manifest::Manifest;
pub use member::{File, Member};
pub use profile::{Encoding, Place, Profile, ProfileError};
pub use stage::{Stage, StageError, Staging};
pub use trust::{Signed, Trust};
pub use verify::Firmware;

use crate::tar::Block;

/// What a file is, by its first block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// An Inband package, or something that a [`Reader`](crate::Reader) refuses.
    Package,
    /// An OpenBMC firmware tar without a head.
    Unindexed,
}

impl Format {
    /// Of the file that begins with this block.
    #[must_use]
    pub fn of(first: &Block) -> Self {
        // No member of the closed list has the name of a head.
        if header::is_header(first) { Self::Unindexed } else { Self::Package }
    }
}
