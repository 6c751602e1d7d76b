//! What the device and its owner tell each other.

use alloc::vec::Vec;

#[cfg(doc)]
use super::Device;
use inband_usb::Direction;

/// Whether the IN endpoint may be halted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Halts {
    /// Data that is shorter than the host expects ends with a halt, as BOT 6.7.2 asks. So does a CBW that is not valid.
    Use,
    /// For controllers whose driver cannot halt: data is filled up with zeros instead, which BOT 6.7.2 allows as well; behind a CBW that is
    /// not valid the device just says nothing more.
    Avoid,
}

/// What the data phase may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Transfers of data in flight, and buffers, at most; at least 1.
    pub buffers: usize,
    /// Bytes of a buffer; a multiple of 512.
    pub piece: usize,
}

impl Default for Limits {
    /// Four buffers of 64 KiB: one is worked on, one is on the wire, and the controller never waits for either.
    fn default() -> Self {
        Self { buffers: 4, piece: 64 * 1024 }
    }
}

/// What the owner has to do with the endpoints, at once and in this order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Queue this buffer on the OUT endpoint.
    Read(Vec<u8>),
    /// Queue this buffer on the IN endpoint.
    Send(Vec<u8>),
    /// Halt the IN endpoint. Nothing is in flight there.
    Halt,
    /// Take back all transfers of that direction. They come home by [`Device::handle_read`] or [`Device::handle_sent`] all the same.
    TakeBack(Direction),
}

/// What to do with a control request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Control {
    /// It is for another interface.
    NotOurs,
    /// Refuse it.
    Stall,
    /// Answer this byte (Get Max LUN).
    Reply(u8),
    /// Bulk-Only Mass Storage Reset: carry out all actions first, then acknowledge (BOT 3.1: the status stage waits until the device is
    /// ready).
    Reset,
}

/// What the device is at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Not configured.
    Off,
    /// Waits for a CBW.
    Command,
    /// Data goes to the host.
    DataIn,
    /// Data comes from the host.
    DataOut,
    /// The host has a CSW to read.
    Status,
    /// Waits for Reset Recovery.
    Wedged,
}
