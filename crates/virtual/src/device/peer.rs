//! Whoever has the device: what goes back to it, and how much is held for it.

use std::{
    io::{self, Write},
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, SystemTime},
};

use inband_usb::{Direction, EndpointAddress};

use crate::{
    errno,
    pcap::{self, Recorder},
};

/// Bytes held for one peer, in either direction, from which on nothing more is read from it and no IN transfer of
/// its is filled. What is begun is finished, so one transfer more may come on top.
pub(crate) const MAX_HELD: usize = 4 << 20;

/// A transfer as the peer describes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Urb {
    /// What the peer calls it.
    pub(crate) id: u64,
    /// The endpoint; its direction is that of the data.
    pub(crate) endpoint: EndpointAddress,
    /// Bytes of the data stage, at most.
    pub(crate) length: u32,
    /// The setup packet of a control transfer.
    pub(crate) setup: [u8; 8],
    /// An IN transfer that ends early is an error.
    pub(crate) short_not_ok: bool,
    /// A bulk OUT transfer of whole packets ends with a packet of no bytes.
    pub(crate) zero_packet: bool,
}

/// How a transfer ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// Well.
    Done,
    /// STALL.
    Stall,
    /// Nothing is there that could answer, or the transfer contradicts itself.
    Protocol,
    /// More came than was asked for.
    Overflow,
    /// A short packet where there must be none.
    Short,
    /// The endpoint was disabled.
    Disabled,
    /// The peer gave it up.
    Cancelled,
}

impl End {
    /// As a negative errno number of Linux.
    pub(crate) const fn errno(self) -> i32 {
        match self {
            Self::Done => 0,
            Self::Stall => errno::EPIPE,
            Self::Protocol => errno::EPROTO,
            Self::Overflow => errno::EOVERFLOW,
            Self::Short => errno::EREMOTEIO,
            Self::Disabled => errno::ESHUTDOWN,
            Self::Cancelled => errno::ECONNRESET,
        }
    }
}

/// The other end of a connection that has the device.
pub trait Peer {
    /// Whether a SET_CONFIGURATION of a configured device stands for a bus reset, because the protocol has no message for one.
    const CONFIGURATION_RESETS: bool;

    /// Whether more IN data may be made ready.
    fn takes_data(&self) -> bool;

    /// Returns an IN transfer with its data.
    fn return_in(&mut self, urb: &Urb, end: End, data: &[u8]);

    /// Returns an OUT transfer that came with `held` bytes, of which `length` moved.
    fn return_out(&mut self, urb: &Urb, end: End, held: usize, length: usize);

    /// Gives up a transfer that came with `held` bytes of OUT data, because the peer asked for it.
    fn give_up(&mut self, urb: &Urb, held: usize);

    /// Returns a transfer without data, whatever its direction.
    fn return_bare(&mut self, urb: &Urb, end: End, held: usize) {
        match urb.endpoint.direction() {
            Direction::In => self.return_in(urb, end, &[]),
            Direction::Out => self.return_out(urb, end, held, 0),
        }
    }
}

/// A file, or whatever takes the record.
type Sink = Recorder<Box<dyn Write + Send>>;

/// Where all connections are recorded.
#[derive(Clone, Default)]
pub(crate) struct Tap(Arc<Mutex<Option<Sink>>>);

impl Tap {
    /// Records from now on, in place of a recording that was there.
    pub(crate) fn set(&self, recorder: Sink) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(recorder);
    }

    fn record(&self, write: impl FnOnce(&mut Sink, Duration) -> io::Result<()>) {
        let mut tap = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(recorder) = tap.as_mut() else { return };
        let at = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        if let Err(error) = write(recorder, at) {
            log::warn!("the USB recording ends here: {error}");
            *tap = None;
        }
    }
}

/// The transfers of one peer: how many there are, how much is held for them, and their record.
pub(crate) struct Ledger {
    bus: u16,
    device: u8,
    urbs: usize,
    held: usize,
    tap: Tap,
}

impl Ledger {
    pub(crate) fn new(bus: u16, device: u8, tap: Tap) -> Self {
        Self { bus, device, urbs: 0, held: 0, tap }
    }

    /// Transfers that have not ended.
    pub(crate) fn urbs(&self) -> usize {
        self.urbs
    }

    /// Bytes of OUT data that came with them.
    pub(crate) fn held(&self) -> usize {
        self.held
    }

    /// A transfer has come, with this OUT data.
    pub(crate) fn submitted(&mut self, urb: &Urb, data: &[u8]) {
        self.urbs += 1;
        self.held += data.len();
        let name = self.name(urb);
        self.tap.record(|recorder, at| recorder.submitted(at, name, urb.setup, urb.length, data));
    }

    /// A transfer that came with `held` bytes has ended; `length` bytes moved, these of them to the host.
    pub(crate) fn ended(&mut self, urb: &Urb, end: End, held: usize, length: usize, data: &[u8]) {
        self.urbs = self.urbs.saturating_sub(1);
        self.held = self.held.saturating_sub(held);
        let name = self.name(urb);
        // No transfer is as long as 4 GiB.
        let length = length as u32;
        self.tap.record(|recorder, at| recorder.completed(at, name, end.errno(), length, data));
    }

    fn name(&self, urb: &Urb) -> pcap::Urb {
        let mut endpoint = urb.endpoint;
        if endpoint.number() == 0 && urb.length == 0 {
            // Without data the header's direction is the peer's whim.
            endpoint.0 = urb.setup[0] & 0x80;
        }
        pcap::Urb { id: urb.id, bus: self.bus, device: self.device, endpoint }
    }
}
