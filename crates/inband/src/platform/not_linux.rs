//! What systems other than Linux have in common: less.

use inband_usb::HostError;
use nusb::DeviceInfo;

use crate::{
    cancel::Cancel,
    cli::args::Attach,
    disk::{Disk, Drive, Untaken},
    error::Error,
    ipmi::{Channel, Link},
    output::Output,
    usb::{Place, Server},
};

/// Only Linux has vhci_hcd.
///
/// # Errors
/// [`Error::Usage`], always.
pub(crate) fn attach(_: &Attach, _: Option<&Server>, _: &mut Output, _: &Cancel) -> Result<(), Error> {
    Err(Error::Usage("attach works on Linux only: other systems have no vhci_hcd".to_owned()))
}

/// What to do about a device that somebody else has open. Who that is the system does not say.
pub(crate) fn holder(_: &DeviceInfo) -> Option<String> {
    Some("end the program that uses it and try again".to_owned())
}

/// Nobody has written here how disks are found and ejected.
///
/// # Errors
/// None.
pub(crate) const fn disks() -> Result<Option<Vec<Disk>>, HostError> {
    Ok(None)
}

/// There is none to take.
///
/// # Errors
/// [`HostError::Gone`], always.
pub(crate) fn take_disk(_: &Disk) -> Result<Box<dyn Drive>, Untaken> {
    Err(Untaken { error: HostError::Gone, advice: None })
}

/// Nobody has written here how IPMI commands are sent.
///
/// # Errors
/// [`Error::NoIpmi`], always.
pub(crate) fn ipmi(_: Option<&Channel>) -> Result<(Place, Box<dyn Link>), Error> {
    Err(Error::NoIpmi {
        reason: "this program speaks it on Linux only".to_owned(),
        advice: "any tool that sends raw IPMI commands will do: see docs/spec/ipmi.md".to_owned(),
        permission: false,
    })
}
