//! The ways of IPMI commands on Linux.

mod device;
mod qemu;
mod sys;

use std::{
    fs::{File, OpenOptions},
    io,
    path::Path,
};

use self::{device::Device, qemu::Socket};
use crate::{
    error::Error,
    ipmi::{Channel, Link},
    text::shown_path,
    usb::Place,
};

/// Where the driver's device file is: by devtmpfs, and by what older systems made of it.
const DEVICES: [&str; 3] = ["/dev/ipmi0", "/dev/ipmi/0", "/dev/ipmidev/0"];

/// Opens a channel; without a word the first device file that there is.
///
/// # Errors
/// [`Error::NoIpmi`].
pub(crate) fn ipmi(channel: Option<&Channel>) -> Result<(Place, Box<dyn Link>), Error> {
    let place = |name: String| Place::Ipmi { channel: name };
    match channel {
        Some(channel @ Channel::Qemu(path)) => {
            Ok((place(channel.to_string()), Box::new(Socket::at(path.clone()))))
        }
        Some(channel @ Channel::Device(path)) => {
            let device = open(path)?;
            Ok((place(channel.to_string()), Box::new(Device::new(device))))
        }
        Some(Channel::None) | None => {
            let there = DEVICES.iter().map(Path::new).find(|path| path.exists());
            let path = there.ok_or_else(|| Error::NoIpmi {
                reason: "this machine shows no IPMI device".to_owned(),
                advice: "load its drivers (modprobe ipmi_si ipmi_devintf; ipmi_ssif where it is SMBus), or name another channel with --ipmi"
                    .to_owned(),
                permission: false,
            })?;
            let device = open(path)?;
            Ok((place(shown_path(path)), Box::new(Device::new(device))))
        }
    }
}

fn open(path: &Path) -> Result<File, Error> {
    OpenOptions::new().read(true).write(true).open(path).map_err(|error| {
        let permission = error.kind() == io::ErrorKind::PermissionDenied;
        let advice = if permission {
            "run it as root: whoever may open that device is the BMC's administrator"
        } else {
            "is the driver ipmi_devintf there, and has it found a BMC (`dmesg | grep -i ipmi`)?"
        };
        let reason = format!("cannot open {}: {error}", shown_path(path));
        Error::NoIpmi { reason, advice: advice.to_owned(), permission }
    })
}
