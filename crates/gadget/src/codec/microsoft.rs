//! Microsoft OS descriptors 1.0 in the form FunctionFS takes them (linux/usb/functionfs.h, usb_os_desc_header and the structures after it).
//! The kernel makes of it what Windows asks for; it makes UTF-16 of the texts.
//!
//! Sources: "Extended Compat ID OS Feature Descriptor Specification" and "Extended Properties OS Feature Descriptor Specification",
//! Microsoft, 2007; drivers/usb/gadget/function/f_fs.c.

use inband_usb::{DescriptorSet, microsoft};

/// wIndex of the extended compat ID descriptor.
const COMPATIBLE_IDS: u16 = 4;
/// wIndex of the extended properties descriptor.
const PROPERTIES: u16 = 5;
/// Bytes of usb_os_desc_header.
const HEADER: u32 = 11;
/// dwPropertyDataType of one string, REG_SZ. The kernel knows the one of a list of strings too, and answers a host's request for
/// it with STALL; so the name is the one of the value that holds a single class.
const REG_SZ: u32 = 1;
const INTERFACE_GUID: &str = "DeviceInterfaceGUID";

/// The first release whose kernels all look whether there is the interface that a host asks for (CVE-2022-25258; stable series
/// have the fix as well, but which of their kernels do is more than a number can say).
const CHECKED_SINCE: (u32, u32) = (5, 17);

/// Whether descriptors for Windows are written, and with which bcdVersion. The host reads 1.00 in any case.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum MicrosoftDescriptors {
    /// 0100h, as the specification has it. Kernels before 6.4 refuse it.
    Written,
    /// 0001h, which later ones take with a warning in their log.
    WrittenForOlder,
    /// The set needs none, or the kernel is no good for it.
    LeftOut,
}

impl MicrosoftDescriptors {
    /// What to try, one after the other.
    pub(super) fn to_try(set: &DescriptorSet, kernel: &str) -> &'static [Self] {
        if !set.wants_winusb() {
            return &[Self::LeftOut];
        }
        if release(kernel).is_none_or(|release| release < CHECKED_SINCE) {
            log::warn!(
                "Linux {kernel} is older than 5.17 and may let a host harm it by asking for Windows's descriptors: they are left out, see \
                 docs/kernels.md"
            );
            return &[Self::LeftOut];
        }
        &[Self::Written, Self::WrittenForOlder, Self::LeftOut]
    }

    const fn version(self) -> Option<u16> {
        match self {
            Self::Written => Some(0x0100),
            Self::WrittenForOlder => Some(0x0001),
            Self::LeftOut => None,
        }
    }
}

/// The first two numbers of a kernel's release.
fn release(kernel: &str) -> Option<(u32, u32)> {
    let mut numbers = kernel.split(|char: char| !char.is_ascii_digit()).map(|number| number.parse().ok());
    Some((numbers.next()??, numbers.next()??))
}

/// The descriptors, and how many there are; `None` if there are none.
pub(super) fn descriptors(set: &DescriptorSet, form: MicrosoftDescriptors) -> Option<(u32, Vec<u8>)> {
    let version = form.version().filter(|_| set.wants_winusb())?;
    let interfaces = (0_u8..).zip(&set.interfaces).filter(|(_, interface)| interface.wants_winusb());
    let numbers: Vec<u8> = interfaces.map(|(number, _)| number).collect();
    let mut ids = Vec::new();
    for number in &numbers {
        // Behind the number a reserved byte that is 1.
        ids.extend([*number, 1]);
        ids.extend(microsoft::COMPATIBLE_ID);
        ids.extend([0; 8 + 6]);
    }
    let property = property();
    // For the identifiers the interface in the header says nothing.
    let mut bytes = feature(0, version, COMPATIBLE_IDS, numbers.len() as u16, &ids);
    for number in &numbers {
        bytes.extend(feature(*number, version, PROPERTIES, 1, &property));
    }
    Some((1 + numbers.len() as u32, bytes))
}

fn feature(interface: u8, version: u16, index: u16, count: u16, content: &[u8]) -> Vec<u8> {
    let mut bytes = vec![interface];
    bytes.extend((HEADER + content.len() as u32).to_le_bytes());
    bytes.extend([version, index, count].iter().flat_map(|word| word.to_le_bytes()));
    bytes.extend(content);
    bytes
}

/// The interface's class for programs, as a value of the registry. Lengths are those of the UTF-8 here.
fn property() -> Vec<u8> {
    let with_nul = |text: &str| [text.as_bytes(), &[0]].concat();
    let (name, data) = (with_nul(INTERFACE_GUID), with_nul(microsoft::INTERFACE_GUID));
    let mut bytes = (14 + name.len() as u32 + data.len() as u32).to_le_bytes().to_vec();
    bytes.extend(REG_SZ.to_le_bytes());
    bytes.extend((name.len() as u16).to_le_bytes());
    bytes.extend(name);
    bytes.extend((data.len() as u32).to_le_bytes());
    bytes.extend(data);
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_release_begins_with_two_numbers() {
        assert_eq!(release("6.12.117+deb12-amd64"), Some((6, 12)));
        assert_eq!(release("5.17.0-rc1"), Some((5, 17)));
        assert_eq!(release("6.1"), Some((6, 1)));
        for other in ["", "6", "6.", "x.1", "99999999999.1"] {
            assert_eq!(release(other), None, "{other}");
        }
    }
}
