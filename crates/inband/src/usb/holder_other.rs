//! Systems other than Linux: what can be said without asking the system.

use nusb::DeviceInfo;

/// How to be allowed to open devices.
pub(super) fn permission_advice(_vendor_id: u16) -> String {
    "run it as an administrator".to_owned()
}

/// Who holds an interface of the device, if that can be seen.
pub(super) fn holder(_info: &DeviceInfo) -> Option<String> {
    Some("end the program that uses it and try again".to_owned())
}
