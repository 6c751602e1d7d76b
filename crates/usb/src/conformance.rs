//! The suite every pair of backends passes: what the contracts of [`DeviceBackend`] and [`HostDevice`] promise, tried
//! out over whatever joins the two.
//!
//! A backend's tests implement [`Rig`] and call [`run_all`]. One thread drives both sides, so neither side's calls may wait for the
//! other ([`HostDevice::wait`] passes time, no more). Limits are generous, by the host's clock, and only ever reached by a
//! failure. A failure panics: this is a test.
#![expect(clippy::panic, reason = "a test suite reports by panicking")]

mod bench;
pub mod bulk;
pub mod connection;
pub mod control;

use alloc::{vec, vec::Vec};

use crate::{
    DescriptorSet, DeviceBackend, EndpointAddress, HostDevice,
    descriptor::{BULK_PACKET_SIZE, Interface},
};

/// Two backends joined by what is to be tested.
pub trait Rig {
    /// The device's side.
    type Device: DeviceBackend;
    /// The host's side.
    type Host: HostDevice;

    /// Whether [`HostDevice::reset`] reaches the device as a bus reset. USB/IP has no message for it.
    const BUS_RESET: bool = true;

    /// The device's side, detached at first.
    fn device(&mut self) -> &mut Self::Device;

    /// Opens the device the host sees, if it already sees one with this vendor and product id. Called again and again, the
    /// device's events polled in between. At most one host is open at a time.
    fn open(&mut self, descriptors: &DescriptorSet) -> Option<Self::Host>;

    /// Lets about a millisecond pass.
    fn idle(&mut self);
}

/// Runs every scenario.
pub fn run_all<R: Rig>(rig: &mut R) {
    control::descriptors(rig);
    control::data_in(rig);
    control::data_out(rig);
    control::stalls(rig);
    control::wrong_answers(rig);
    control::setup_after_cancel(rig);
    control::setup_replaces_setup(rig);
    control::late_answer(rig);
    bulk::in_flight(rig);
    bulk::packets_out(rig);
    bulk::packets_in(rig);
    bulk::halts(rig);
    bulk::halt_with_transfers_queued(rig);
    bulk::host_cancels(rig);
    bulk::device_cancels(rig);
    bulk::submit_errors(rig);
    connection::other_descriptors(rig);
    connection::unplug_in_control(rig);
    connection::unplug_in_bulk(rig);
    connection::host_leaves(rig);
    if R::BUS_RESET {
        connection::bus_reset(rig);
    }
}

/// The endpoints of [`plain_set`], as the device names them. A controller may give others to the host.
const BULK_OUT: EndpointAddress = EndpointAddress(0x01);
const BULK_IN: EndpointAddress = EndpointAddress(0x81);
/// wMaxPacketSize of both.
const PACKET: usize = BULK_PACKET_SIZE as usize;

/// One vendor interface with a bulk endpoint each way.
fn plain_set() -> DescriptorSet {
    DescriptorSet {
        vendor_id: 0x1d6b,
        product_id: 0x0104,
        device_version: 0x0123,
        manufacturer: "Inband".into(),
        product: "Conformance".into(),
        serial: "0123456789".into(),
        interfaces: vec![Interface {
            class: 0xff,
            subclass: 0x01,
            protocol: 0x02,
            name: "Bulk".into(),
            extra: Vec::new(),
            endpoints: vec![BULK_OUT, BULK_IN],
        }],
    }
}

/// As the plain set under another product id, with a second interface: one with class-specific descriptors, a name outside ASCII
/// and no endpoints.
fn other_set() -> DescriptorSet {
    let mut set = plain_set();
    set.product_id = 0x0105;
    set.device_version = 0x9999;
    set.product = "Conformance, re-enumerated".into();
    set.interfaces.push(Interface {
        class: 0xfe,
        subclass: 0x01,
        protocol: 0x02,
        name: "Überprüfung \u{1f50c}".into(),
        extra: vec![9, 0x21, 0x0d, 0xff, 0x00, 0x00, 0x10, 0x10, 0x01],
        endpoints: Vec::new(),
    });
    set
}

/// Bytes that differ from place to place and, for different seeds, from each other.
fn pattern(seed: u8, length: usize) -> Vec<u8> {
    (0..length as u32).map(|place| (place.wrapping_mul(0x9e37_79b1) >> 24) as u8 ^ seed).collect()
}
