//! The profile `fat` of the volume (docs/spec/volume.md, 2 to 6): a filesystem that is shown, not mounted.
//!
//! * [`Geometry`]: how large everything is, from the largest package alone.
//! * [`Image`]: the volume before anybody writes, a [`Base`](crate::sparse::Base).
//! * [`Watch`]: the look for the names of trigger files.
//! * [`open`]: the walk, and [`Contents`], what it found.
//!
//! "FAT" in a comment is Microsoft's *FAT: General Overview of On-Disk Format*, version 1.03; "spec" docs/spec/volume.md.

mod contents;
mod entry;
mod geometry;
mod image;
mod walk;
mod watch;

pub use contents::{Contents, Pieces};
pub use geometry::{Geometry, MAX_PACKAGE, ROOT_BLOCKS};
pub use image::{Image, Marker, TEXT, Texts};
pub use walk::{Corrupt, Missing, Refused, Unopened, open};
pub use watch::{LONGEST, QUIET, Trigger, Watch};
