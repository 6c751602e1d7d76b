//! Linux.

mod attach;
mod disk;
mod holder;
mod ipmi;
mod sys;

pub(crate) use attach::attach;
pub(crate) use disk::{disks, take as take_disk};
pub(crate) use holder::{holder, permission_advice};
pub(crate) use ipmi::ipmi;

pub(crate) use super::unix::owner_only;

/// What to do about a device that cannot be opened for want of a driver: usbfs needs none.
pub(crate) const fn driver_advice() -> Option<String> {
    None
}
