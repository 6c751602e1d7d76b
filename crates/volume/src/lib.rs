//! A USB disk (docs/spec/disk.md) without I/O: what is between two bulk endpoints and a medium; and a medium to copy files to.
//!
//! * [`bot`]: Bulk-Only Transport, the device's side and a small host's side.
//! * [`scsi`]: the commands of a removable disk with blocks of 512 bytes, over a [`scsi::Medium`].
//! * [`fat`]: a filesystem that is shown, and the walk that finds a file in it (docs/spec/volume.md).
//! * [`sparse`]: what a host has written, in memory: what such a medium is made of.
//!
//! "BOT" and a section number in a comment cite the USB Mass Storage Class Bulk-Only Transport, revision 1.0; "SPC" and "SBC" the
//! SCSI Primary Commands and SCSI Block Commands, versions 3; "spec" docs/spec/disk.md.
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

pub mod bot;
#[cfg(feature = "testing")]
pub mod conformance;
pub mod fat;
pub mod scsi;
pub mod sparse;
#[cfg(feature = "testing")]
pub mod testing;
