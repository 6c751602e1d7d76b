//! The client that has imported a device: what goes back to it, and how much is held for it.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, PoisonError},
    time::SystemTime,
};

use inband_usb::Direction;

use super::hub::ConnectionId;
use crate::{
    pcap::{Recorder, Urb},
    usbip::wire::{Return, Submit, errno},
};

/// Bytes held for one client, in either direction, from which on nothing more is read from it and no IN transfer of
/// its is filled. What is begun is finished, so one transfer more may come on top.
pub(super) const MAX_HELD: usize = 4 << 20;
/// Transfers a client may have in flight. Drivers have a few; one that has more is not waited for but refused,
/// because with the socket full of transfers its UNLINKs would not be read either.
pub(super) const MAX_URBS: usize = 4096;

/// Where all importers of a server are recorded.
pub(super) type Tap = Arc<Mutex<Option<Recorder<Box<dyn std::io::Write + Send>>>>>;

pub(super) struct Importer {
    pub(super) connection: ConnectionId,
    pub(super) output: VecDeque<u8>,
    bus: u16,
    device: u8,
    urbs: usize,
    held: usize,
    tap: Tap,
}

impl Importer {
    pub(super) fn new(
        connection: ConnectionId,
        output: VecDeque<u8>,
        bus: u16,
        device: u8,
        tap: Tap,
    ) -> Self {
        Self { connection, output, bus, device, urbs: 0, held: 0, tap }
    }

    /// Whether more may be read from the client.
    pub(super) fn takes_commands(&self) -> bool {
        self.held + self.output.len() <= MAX_HELD
    }

    /// Whether more IN data may be made ready for the client.
    pub(super) fn takes_data(&self) -> bool {
        self.output.len() <= MAX_HELD
    }

    /// Counts and records a transfer that came with this OUT data. `false`: there are too many.
    pub(super) fn submitted(&mut self, submit: &Submit, data: &[u8]) -> bool {
        self.urbs += 1;
        self.held += data.len();
        let urb = self.urb(submit);
        self.record(|recorder, at| recorder.submitted(at, urb, submit.setup, submit.length, data));
        self.urbs <= MAX_URBS
    }

    /// Returns an IN transfer.
    pub(super) fn return_in(&mut self, submit: &Submit, status: i32, data: &[u8]) {
        self.return_header(submit, status, data.len(), data);
        self.output.extend(data);
    }

    /// Returns an OUT transfer that came with `held` bytes, of which `length` moved.
    pub(super) fn return_out(&mut self, submit: &Submit, status: i32, held: usize, length: usize) {
        self.held = self.held.saturating_sub(held);
        self.return_header(submit, status, length, &[]);
    }

    /// Gives up a transfer that came with `held` bytes of OUT data: it is not returned.
    pub(super) fn unlinked(&mut self, submit: &Submit, held: usize) {
        self.held = self.held.saturating_sub(held);
        self.urbs = self.urbs.saturating_sub(1);
        let urb = self.urb(submit);
        self.record(|recorder, at| recorder.completed(at, urb, errno::ECONNRESET, 0, &[]));
    }

    /// Answers an UNLINK.
    pub(super) fn return_unlink(&mut self, seqnum: u32, status: i32) {
        self.output.extend(Return::Unlink { seqnum, status }.to_bytes());
    }

    fn return_header(&mut self, submit: &Submit, status: i32, length: usize, data: &[u8]) {
        self.urbs = self.urbs.saturating_sub(1);
        // No transfer is longer than MAX_TRANSFER.
        let length = length as u32;
        self.output.extend(Return::Submit { seqnum: submit.seqnum, status, length }.to_bytes());
        let urb = self.urb(submit);
        self.record(|recorder, at| recorder.completed(at, urb, status, length, data));
    }

    fn urb(&self, submit: &Submit) -> Urb {
        let mut endpoint = submit.address();
        if endpoint.number() == 0 && submit.length == 0 {
            // Without data the header's direction is the client's whim.
            endpoint.0 = submit.setup[0] & 0x80;
        }
        Urb { id: submit.seqnum.into(), bus: self.bus, device: self.device, endpoint }
    }

    fn record(
        &self,
        write: impl FnOnce(
            &mut Recorder<Box<dyn std::io::Write + Send>>,
            std::time::Duration,
        ) -> std::io::Result<()>,
    ) {
        let mut tap = self.tap.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(recorder) = tap.as_mut() else { return };
        let at = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        if let Err(error) = write(recorder, at) {
            log::warn!("the USB recording ends here: {error}");
            *tap = None;
        }
    }
}

/// Returns a transfer without data, whatever its direction.
pub(super) fn return_bare(importer: &mut Importer, submit: &Submit, status: i32, held: usize) {
    match submit.direction {
        Direction::In => importer.return_in(submit, status, &[]),
        Direction::Out => importer.return_out(submit, status, held, 0),
    }
}
