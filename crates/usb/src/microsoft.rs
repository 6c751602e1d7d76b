//! Microsoft OS descriptors: with them Windows gives our interfaces to its own driver WinUSB, and nobody has to install anything.
//!
//! Windows has no driver for the classes FEh and FFh. What makes WinUSB the one is a compatible ID; what makes the interface findable for a
//! program is a device interface GUID. There are two ways to say so. Version 1.0 begins with a string descriptor of index EEh: Linux's
//! composite gadgets speak it, so `crates/gadget` does. Version 2.0 begins with a platform capability in the BOS and is what is here, for
//! the backends that have no kernel. docs/decisions/0022 says why both.
//!
//! Sources: "Microsoft OS 2.0 Descriptors Specification", July 2018; USB 3.2, 9.6.2 (BOS).

#[cfg(test)]
mod tests;

use alloc::vec::Vec;

use crate::{
    DescriptorSet, Setup,
    descriptor::{BOS, DEVICE_CAPABILITY, Interface},
};

/// bMS_VendorCode: bRequest by which Windows asks for the descriptors, in both versions. Our own vendor request has another
/// (docs/spec/session.md, 5): a Linux gadget answers everything with this one by itself.
pub const VENDOR_CODE: u8 = 0x4d;
/// The compatible ID of WinUSB.
pub const COMPATIBLE_ID: [u8; 8] = *b"WINUSB\0\0";
/// The device interface class of all interfaces of ours, as the registry has it.
pub const INTERFACE_GUID: &str = "{C90A5FE7-CE57-4376-9C7A-E1DAA6EC9D43}";

/// bcdUSB of a device that has a BOS, which is where hosts begin to ask for one (USB 3.2, 9.6.1).
pub(crate) const USB_VERSION: u16 = 0x0210;
/// wIndex of the request for the descriptor set: MS_OS_20_DESCRIPTOR_INDEX.
const DESCRIPTOR_SET_INDEX: u16 = 7;
/// dwWindowsVersion: Windows 8.1, the first with version 2.0.
const WINDOWS_8_1: u32 = 0x0603_0000;
/// bDevCapabilityType of a platform capability (USB 3.2, table 9-14).
const PLATFORM: u8 = 5;
/// The platform's UUID, D8DD60DF-4589-4CC7-9CD2-659D9E648A9F, as it is on the wire ("Microsoft OS 2.0 platform capability descriptor").
const UUID: [u8; 16] =
    [0xdf, 0x60, 0xdd, 0xd8, 0x89, 0x45, 0xc7, 0x4c, 0x9c, 0xd2, 0x65, 0x9d, 0x9e, 0x64, 0x8a, 0x9f];
/// Name of the registry value that lists device interface classes.
const INTERFACE_GUIDS: &str = "DeviceInterfaceGUIDs";
/// wPropertyDataType REG_MULTI_SZ: strings, each with a NUL, and one more at the end.
const REG_MULTI_SZ: u16 = 7;

/// wDescriptorType in a descriptor set.
mod kind {
    pub(super) const SET_HEADER: u16 = 0;
    pub(super) const CONFIGURATION_SUBSET: u16 = 1;
    pub(super) const FUNCTION_SUBSET: u16 = 2;
    pub(super) const COMPATIBLE_ID: u16 = 3;
    pub(super) const REGISTRY_PROPERTY: u16 = 4;
}

impl Interface {
    /// Whether Windows has to be told which driver to take: it has none for application-specific and vendor-specific interfaces.
    #[must_use]
    pub const fn wants_winusb(&self) -> bool {
        matches!(self.class, 0xfe | 0xff)
    }
}

impl DescriptorSet {
    /// Whether there is anything to tell Windows.
    #[must_use]
    pub fn wants_winusb(&self) -> bool {
        self.interfaces.iter().any(Interface::wants_winusb)
    }

    /// The BOS (USB 3.2, 9.6.2), whose only capability is where Windows finds the rest; `None` if there is no rest.
    #[must_use]
    pub fn bos_bytes(&self) -> Option<Vec<u8>> {
        let length = u16::try_from(self.microsoft_bytes()?.len()).ok()?;
        let mut bytes: Vec<u8> = [5, BOS, 33, 0, 1, 28, DEVICE_CAPABILITY, PLATFORM, 0].into();
        bytes.extend(UUID);
        bytes.extend(WINDOWS_8_1.to_le_bytes());
        bytes.extend(length.to_le_bytes());
        // bAltEnumCode: the device has no other descriptors for Windows.
        bytes.extend([VENDOR_CODE, 0]);
        Some(bytes)
    }

    /// The descriptor set 2.0; `None` if no interface wants anything.
    #[must_use]
    pub fn microsoft_bytes(&self) -> Option<Vec<u8>> {
        if !self.wants_winusb() {
            return None;
        }
        let features = match &self.interfaces[..] {
            // One function is the device as a whole: subsets are for devices that usbccgp.sys splits ("Function subset header").
            [_] => features(),
            interfaces => configuration_subset(interfaces),
        };
        let mut bytes = Vec::new();
        let length = 10 + features.len() as u16;
        put(&mut bytes, &[10, kind::SET_HEADER]);
        bytes.extend(WINDOWS_8_1.to_le_bytes());
        put(&mut bytes, &[length]);
        bytes.extend(features);
        Some(bytes)
    }
}

/// The answer to Windows's request for the descriptor set, if it is one.
pub(crate) fn answer(set: &DescriptorSet, setup: &Setup) -> Option<Vec<u8>> {
    let is_asked = setup.request_type == 0xc0
        && setup.request == VENDOR_CODE
        && setup.value == 0
        && setup.index == DESCRIPTOR_SET_INDEX;
    if is_asked { set.microsoft_bytes() } else { None }
}

/// All interfaces that want something. A function is one interface: nothing of ours has association descriptors. The specification has
/// bConfigurationValue in the header, but Windows compares it with the number of the configuration counted from 0.
fn configuration_subset(interfaces: &[Interface]) -> Vec<u8> {
    let mut functions = Vec::new();
    for (number, _) in (0_u8..=u8::MAX).zip(interfaces).filter(|(_, interface)| interface.wants_winusb()) {
        let features = features();
        put(&mut functions, &[8, kind::FUNCTION_SUBSET, number.into(), 8 + features.len() as u16]);
        functions.extend(features);
    }
    let mut bytes = Vec::new();
    put(&mut bytes, &[8, kind::CONFIGURATION_SUBSET, 0, 8 + functions.len() as u16]);
    bytes.extend(functions);
    bytes
}

/// What is said of one function: its driver, and its device interface class.
fn features() -> Vec<u8> {
    let mut bytes = Vec::new();
    put(&mut bytes, &[20, kind::COMPATIBLE_ID]);
    bytes.extend(COMPATIBLE_ID);
    bytes.extend([0; 8]);
    let name = utf16(INTERFACE_GUIDS, 1);
    let data = utf16(INTERFACE_GUID, 2);
    let (name_length, data_length) = (name.len() as u16, data.len() as u16);
    let head = [10 + name_length + data_length, kind::REGISTRY_PROPERTY, REG_MULTI_SZ, name_length];
    put(&mut bytes, &head);
    bytes.extend(name);
    put(&mut bytes, &[data_length]);
    bytes.extend(data);
    bytes
}

fn put(bytes: &mut Vec<u8>, words: &[u16]) {
    bytes.extend(words.iter().flat_map(|word| word.to_le_bytes()));
}

/// UTF-16, with so many NULs at the end.
fn utf16(text: &str, nuls: usize) -> Vec<u8> {
    let units = text.encode_utf16().chain(core::iter::repeat_n(0, nuls));
    units.flat_map(u16::to_le_bytes).collect()
}
