//! What a configuration asks for, and this build may have been made without.

use crate::Error;
use crate::config::{Config, IpmiChannel, PowerOn, Usb};

const LINUX: bool = cfg!(target_os = "linux");
const VIRTUAL: bool = cfg!(feature = "virtual");
const DBUS: bool = LINUX && cfg!(feature = "dbus");

/// All that the configuration asks for is there.
///
/// # Errors
/// Something is not; the error names its key.
pub fn with_all_of(config: &Config) -> Result<(), Error> {
    let lacking = lacking(&config.usb, config.ipmi.channel.as_ref(), config.doors.power_on);
    lacking.map_or(Ok(()), |key| Err(Error::NotBuilt(key)))
}

/// The key of the first that is not there.
fn lacking(usb: &Usb, channel: Option<&IpmiChannel>, power_on: PowerOn) -> Option<&'static str> {
    let usb = match usb {
        Usb::Gadget => LINUX,
        Usb::Usbip(_) => VIRTUAL,
        Usb::Usbredir(_) | Usb::UsbredirListen(_) => LINUX && VIRTUAL,
    };
    let channel = match channel {
        None => true,
        Some(IpmiChannel::Device(..)) => LINUX,
        Some(IpmiChannel::Qemu(_) | IpmiChannel::QemuListen(_)) => LINUX && VIRTUAL,
        Some(IpmiChannel::Dbus) => DBUS,
    };
    let power_on = match power_on {
        PowerOn::Command | PowerOn::Qemu => true,
        PowerOn::Dbus => DBUS,
    };
    let all = [("usb", usb), ("ipmi.channel", channel), ("doors.power_on", power_on)];
    all.into_iter().find(|&(_, there)| !there).map(|(key, _)| key)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_build_lacks_is_told_by_its_key() {
        let unless = |there: bool, key| (!there).then_some(key);
        let usb = |usb: Usb| lacking(&usb, None, PowerOn::Command);
        assert_eq!(usb(Usb::Gadget), unless(LINUX, "usb"));
        assert_eq!(usb(Usb::Usbip("127.0.0.1:3240".parse().unwrap())), unless(VIRTUAL, "usb"));
        assert_eq!(usb(Usb::Usbredir("/s".into())), unless(LINUX && VIRTUAL, "usb"));
        if LINUX {
            let channel = |channel| lacking(&Usb::Gadget, Some(&channel), PowerOn::Command);
            assert_eq!(channel(IpmiChannel::Dbus), unless(DBUS, "ipmi.channel"));
            assert_eq!(channel(IpmiChannel::Qemu("/s".into())), unless(VIRTUAL, "ipmi.channel"));
            assert_eq!(lacking(&Usb::Gadget, None, PowerOn::Dbus), unless(DBUS, "doors.power_on"));
        }
    }
}
