//! Who holds a device, and how to be allowed to open it.

use std::{fs, path::Path};

use nusb::DeviceInfo;

/// How to be allowed to open BMCs of a vendor. The rule is for its devices with a DFU interface, in either mode: the vendor's
/// others, such as all root hubs if it is 1d6b, are none of ours. On a server there is nobody at a seat, hence the group.
pub(crate) fn permission_advice(vendor_id: u16) -> String {
    format!(
        "run it as root, or, as a member of the group plugdev, put the line\n  \
         SUBSYSTEM==\"usb\", ATTR{{idVendor}}==\"{vendor_id:04x}\", ENV{{ID_USB_INTERFACES}}==\"*:fe010?:*\", \
         MODE=\"0660\", GROUP=\"plugdev\", TAG+=\"uaccess\"\n\
         into /etc/udev/rules.d/70-inband.rules, then `udevadm control --reload` and \
         `udevadm trigger --subsystem-match=usb`"
    )
}

/// Who holds an interface of the device, if that can be seen.
pub(crate) fn holder(info: &DeviceInfo) -> Option<String> {
    let node = format!("/dev/bus/usb/{:03}/{:03}", info.busnum(), info.device_address());
    let programs = programs(Path::new("/proc"), Path::new(&node));
    if !programs.is_empty() {
        return Some(format!("it is held by {}; end that and try again", programs.join(", ")));
    }
    let drivers = drivers(info.sysfs_path());
    if drivers.is_empty() {
        return Some(
            "find out who holds it with `fuser -v /dev/bus/usb/*/*` as root, end that and try again"
                .to_owned(),
        );
    }
    Some(format!("it is held by the driver {}; unbind that and try again", drivers.join(", ")))
}

/// Names and process ids of the other programs that have a file open, as far as /proc lets us see them.
pub(super) fn programs(proc: &Path, node: &Path) -> Vec<String> {
    let Ok(entries) = fs::read_dir(proc) else { return Vec::new() };
    let mut found = Vec::new();
    for entry in entries.flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse::<u32>().ok()) else {
            continue;
        };
        if pid == std::process::id() {
            continue;
        }
        let Ok(open) = fs::read_dir(entry.path().join("fd")) else { continue };
        if open.flatten().any(|file| fs::read_link(file.path()).is_ok_and(|target| target == node)) {
            let name = fs::read_to_string(entry.path().join("comm")).unwrap_or_default();
            found.push(format!("`{}` (process {pid})", crate::text::shown(name.trim_end())));
        }
    }
    found
}

/// Kernel drivers bound to interfaces of the device, but for usbfs, which stands for programs.
fn drivers(device: &Path) -> Vec<String> {
    let Ok(entries) = fs::read_dir(device) else { return Vec::new() };
    let mut found: Vec<String> = entries
        .flatten()
        .filter(|entry| entry.file_name().to_string_lossy().contains(':'))
        .filter_map(|interface| fs::read_link(interface.path().join("driver")).ok())
        .filter_map(|driver| driver.file_name().map(|name| crate::text::shown(&name.to_string_lossy())))
        .filter(|name| name != "usbfs")
        .collect();
    found.dedup();
    found
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn programs_and_drivers_are_named() {
        let root = tempfile::tempdir().unwrap();
        let process = root.path().join("4242");
        fs::create_dir_all(process.join("fd")).unwrap();
        fs::write(process.join("comm"), "dfu\u{1b}util\n").unwrap();
        symlink("/dev/bus/usb/001/002", process.join("fd/3")).unwrap();
        fs::create_dir_all(root.path().join("not-a-process/fd")).unwrap();
        let found = programs(root.path(), Path::new("/dev/bus/usb/001/002"));
        assert_eq!(found, ["`dfu\\u{1b}util` (process 4242)"]);
        assert!(programs(root.path(), Path::new("/dev/bus/usb/001/003")).is_empty());

        let device = root.path().join("1-1");
        for (interface, driver) in [("1-1:1.0", "usb-storage"), ("1-1:1.1", "usbfs")] {
            fs::create_dir_all(device.join(interface)).unwrap();
            symlink(format!("/sys/bus/usb/drivers/{driver}"), device.join(interface).join("driver")).unwrap();
        }
        assert_eq!(drivers(&device), ["usb-storage"]);
    }

    #[test]
    fn the_advice_holds_a_rule_that_udev_understands() {
        let advice = permission_advice(0x1d6b);
        let rule =
            r#"SUBSYSTEM=="usb", ATTR{idVendor}=="1d6b", ENV{ID_USB_INTERFACES}=="*:fe010?:*", MODE="0660","#;
        assert!(advice.lines().any(|line| line.trim_start().starts_with(rule)), "{advice}");
    }
}
