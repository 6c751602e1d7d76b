//! The client that has imported a device: what goes back to it, and how much is held for it.

use std::collections::VecDeque;

use super::hub::ConnectionId;
use crate::{
    device::{End, Ledger, MAX_HELD, Peer, Urb},
    usbip::wire::{Return, SHORT_NOT_OK, Submit, ZERO_PACKET},
};

/// Transfers a client may have in flight. Drivers have a few; one that has more is not waited for but refused,
/// because with the socket full of transfers its UNLINKs would not be read either.
const MAX_URBS: usize = 4096;

/// The client of a device.
pub struct Importer {
    pub(super) connection: ConnectionId,
    pub(super) output: VecDeque<u8>,
    ledger: Ledger,
}

impl Importer {
    pub(super) fn new(connection: ConnectionId, output: VecDeque<u8>, ledger: Ledger) -> Self {
        Self { connection, output, ledger }
    }

    /// Whether more may be read from the client.
    pub(super) fn takes_commands(&self) -> bool {
        self.ledger.held() + self.output.len() <= MAX_HELD
    }

    /// Counts and records a transfer that came with this OUT data. `false`: there are too many.
    pub(super) fn submitted(&mut self, urb: &Urb, data: &[u8]) -> bool {
        self.ledger.submitted(urb, data);
        self.ledger.urbs() <= MAX_URBS
    }

    /// Answers an UNLINK.
    pub(super) fn return_unlink(&mut self, seqnum: u32, status: i32) {
        self.output.extend(Return::Unlink { seqnum, status }.to_bytes());
    }

    fn return_header(&mut self, urb: &Urb, end: End, length: usize) {
        // The id is a seqnum, and no transfer is longer than MAX_TRANSFER.
        let (seqnum, length) = (urb.id as u32, length as u32);
        self.output.extend(Return::Submit { seqnum, status: end.errno(), length }.to_bytes());
    }
}

impl Peer for Importer {
    const CONFIGURATION_RESETS: bool = true;

    fn takes_data(&self) -> bool {
        self.output.len() <= MAX_HELD
    }

    fn return_in(&mut self, urb: &Urb, end: End, data: &[u8]) {
        self.ledger.ended(urb, end, 0, data.len(), data);
        self.return_header(urb, end, data.len());
        self.output.extend(data);
    }

    fn return_out(&mut self, urb: &Urb, end: End, held: usize, length: usize) {
        self.ledger.ended(urb, end, held, length, &[]);
        self.return_header(urb, end, length);
    }

    fn give_up(&mut self, urb: &Urb, held: usize) {
        // What was unlinked is not returned.
        self.ledger.ended(urb, End::Cancelled, held, 0, &[]);
    }
}

/// A command's transfer.
pub(super) fn urb(submit: &Submit) -> Urb {
    Urb {
        id: submit.seqnum.into(),
        endpoint: submit.address(),
        length: submit.length,
        setup: submit.setup,
        short_not_ok: submit.flags & SHORT_NOT_OK != 0,
        zero_packet: submit.flags & ZERO_PACKET != 0,
    }
}
