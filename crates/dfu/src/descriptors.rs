//! The two descriptor sets of a device that can be updated (DFU 1.1, 4.1 and 4.2).

use alloc::{string::String, vec, vec::Vec};

use inband_usb::{DescriptorSet, descriptor::Interface};

use crate::wire::{
    FunctionalDescriptor, INTERFACE_CLASS, INTERFACE_SUBCLASS, PROTOCOL_DFU_MODE, PROTOCOL_RUN_TIME,
};

/// Who the device says it is. The serial number is the same in both sets, so that a host can follow the device; the product
/// differs, so that a host's driver for one never binds to the other (DFU 1.1, section 2).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// idVendor.
    pub vendor_id: u16,
    /// idProduct in run-time mode; the one DFU file suffixes name.
    pub runtime_product_id: u16,
    /// idProduct in DFU mode.
    pub dfu_product_id: u16,
    /// bcdDevice in run-time mode: the firmware's version (fwupd reads it there and expects the new one after an update).
    pub runtime_version: u16,
    /// bcdDevice in DFU mode: the version of what does the updating.
    pub dfu_version: u16,
    /// iManufacturer.
    pub manufacturer: String,
    /// iProduct.
    pub product: String,
    /// iSerialNumber.
    pub serial: String,
    /// iInterface: what a download replaces, the name dfu-util's `-a` takes.
    pub interface_name: String,
}

/// The run-time set: the DFU interface, and nothing else of ours.
#[must_use]
pub fn runtime(identity: &Identity) -> DescriptorSet {
    set(identity, identity.runtime_product_id, identity.runtime_version, PROTOCOL_RUN_TIME)
}

/// The DFU-mode set: one interface, one alternate setting.
#[must_use]
pub fn dfu_mode(identity: &Identity) -> DescriptorSet {
    set(identity, identity.dfu_product_id, identity.dfu_version, PROTOCOL_DFU_MODE)
}

fn set(identity: &Identity, product_id: u16, device_version: u16, protocol: u8) -> DescriptorSet {
    DescriptorSet {
        vendor_id: identity.vendor_id,
        product_id,
        device_version,
        manufacturer: identity.manufacturer.clone(),
        product: identity.product.clone(),
        serial: identity.serial.clone(),
        interfaces: vec![Interface {
            class: INTERFACE_CLASS,
            subclass: INTERFACE_SUBCLASS,
            protocol,
            name: identity.interface_name.clone(),
            extra: FunctionalDescriptor::OURS.to_bytes().to_vec(),
            endpoints: Vec::new(),
        }],
    }
}
