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

    /// Whether [`HostDevice::cancel`] ends one bulk transfer and leaves the others on its endpoint alone. nusb can only end all
    /// that are queued.
    const CANCELS_ONE: bool = true;

    /// Whether the host gets to see the class-specific descriptors of a set that was attached. FunctionFS takes those of DFU since
    /// Linux 6.12.
    fn shows_class_descriptors(&mut self) -> bool {
        true
    }

    /// The device's side, detached at first.
    fn device(&mut self) -> &mut Self::Device;

    /// Opens the device the host sees, if it already sees one with this vendor and product id. Called again and again, the
    /// device's events polled in between. At most one host is open at a time.
    fn open(&mut self, descriptors: &DescriptorSet) -> Option<Self::Host>;

    /// Lets about a millisecond pass.
    fn idle(&mut self);
}

/// A scenario by itself. It leaves the rig as it found it, unless it fails.
pub type Scenario<R> = fn(&mut R);

/// Every scenario the rig's backends are to pass, with its name.
#[must_use]
pub fn scenarios<R: Rig>() -> Vec<(&'static str, Scenario<R>)> {
    let mut all: Vec<(&'static str, Scenario<R>)> = vec![
        ("descriptors", control::descriptors),
        ("data-in", control::data_in),
        ("data-out", control::data_out),
        ("stalls", control::stalls),
        ("wrong-answers", control::wrong_answers),
        ("setup-after-cancel", control::setup_after_cancel),
        ("setup-replaces-setup", control::setup_replaces_setup),
        ("late-answer", control::late_answer),
        ("in-flight", bulk::in_flight),
        ("packets-out", bulk::packets_out),
        ("packets-in", bulk::packets_in),
        ("halts", bulk::halts),
        ("halt-with-transfers-queued", bulk::halt_with_transfers_queued),
        ("halt-between-two-transfers", bulk::halt_between_two_transfers),
        ("host-cancels", bulk::host_cancels),
        ("device-cancels", bulk::device_cancels),
        ("submit-errors", bulk::submit_errors),
        ("other-descriptors", connection::other_descriptors),
        ("unplug-in-control", connection::unplug_in_control),
        ("unplug-in-bulk", connection::unplug_in_bulk),
        ("host-leaves", connection::host_leaves),
    ];
    if R::BUS_RESET {
        all.push(("bus-reset", connection::bus_reset));
    }
    all
}

/// Runs every scenario.
pub fn run_all<R: Rig>(rig: &mut R) {
    for (_, scenario) in scenarios() {
        scenario(rig);
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
