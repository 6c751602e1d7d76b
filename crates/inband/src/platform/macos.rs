//! macOS. Nobody has run it there; `cargo xtask arm check` has it compiled, but for what is C.

pub(crate) use super::{
    not_linux::{attach, disks, holder, ipmi, take_disk},
    unix::owner_only,
};

/// How to be allowed to open devices. Nothing has to be installed: no driver of Apple's takes interfaces of the classes FEh/01h and FFh.
pub(crate) fn permission_advice(_vendor_id: u16) -> String {
    "run it with sudo".to_owned()
}

/// What to do about a device that cannot be opened for want of a driver: there is none that is wanted.
pub(crate) const fn driver_advice() -> Option<String> {
    None
}
