//! `inband attach`: gives a BMC served over USB/IP to this machine's kernel.

use crate::{cancel::Cancel, cli::args::Attach, error::Error, output::Output, platform, usb::Server};

/// Attaches a device, and with `keep` again whenever it comes back.
///
/// # Errors
/// [`Error::Usage`], [`Error::Attach`], [`Error::Bus`], [`Error::NoDevice`], [`Error::ManyDevices`]. With `keep` it ends when the user asks for it.
/// [`Error::Usage`] always, where the kernel takes no devices over USB/IP.
pub fn run(
    args: &Attach,
    server: Option<&Server>,
    output: &mut Output,
    cancel: &Cancel,
) -> Result<(), Error> {
    platform::attach(args, server, output, cancel)
}
