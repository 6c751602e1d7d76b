//! One bulk endpoint: the host's transfers on one side, the function's on the other, and packets between them.

use std::collections::VecDeque;

use inband_usb::{Completion, Direction, EndpointAddress, TransferError, descriptor::BULK_PACKET_SIZE};

use super::importer::{Importer, return_bare};
use crate::usbip::wire::{SHORT_NOT_OK, Submit, ZERO_PACKET, errno};

const PACKET: usize = BULK_PACKET_SIZE as usize;
/// Transfers the function may queue on one endpoint.
pub(super) const MAX_TRANSFERS: usize = 32;

/// A transfer of the host's.
struct Urb {
    submit: Submit,
    /// OUT: what the host sends. IN: what it has so far.
    data: Vec<u8>,
    /// OUT: bytes the function has.
    taken: usize,
}

impl Urb {
    /// OUT: bytes that came with it.
    fn held(&self) -> usize {
        match self.submit.direction {
            Direction::Out => self.data.len(),
            Direction::In => 0,
        }
    }

    /// OUT: whether its last packet is short, or none of its data is left but a zero-length packet is still to come.
    fn ends_short(&self) -> bool {
        !self.data.len().is_multiple_of(PACKET)
            || self.data.is_empty()
            || self.submit.flags & ZERO_PACKET != 0
    }

    fn finish(self, status: i32, importer: &mut Importer) {
        match self.submit.direction {
            Direction::Out => importer.return_out(&self.submit, status, self.data.len(), self.taken),
            Direction::In => importer.return_in(&self.submit, status, &self.data),
        }
    }
}

/// A transfer of the function's.
struct Transfer {
    buffer: Vec<u8>,
    moved: usize,
}

pub(super) struct Pipe {
    address: EndpointAddress,
    urbs: VecDeque<Urb>,
    transfers: VecDeque<Transfer>,
}

impl Pipe {
    pub(super) fn new(address: EndpointAddress) -> Self {
        Self { address, urbs: VecDeque::new(), transfers: VecDeque::new() }
    }

    pub(super) fn address(&self) -> EndpointAddress {
        self.address
    }

    /// Takes a transfer of the host's.
    pub(super) fn push_urb(&mut self, submit: Submit, data: Vec<u8>) {
        self.urbs.push_back(Urb { submit, data, taken: 0 });
    }

    /// Takes a transfer of the function's, or returns its buffer when the queue is full.
    pub(super) fn push_transfer(&mut self, buffer: Vec<u8>) -> Result<(), Vec<u8>> {
        if self.transfers.len() >= MAX_TRANSFERS {
            return Err(buffer);
        }
        self.transfers.push_back(Transfer { buffer, moved: 0 });
        Ok(())
    }

    /// Gives up one of the host's transfers. IN data it had already is lost with it, as on a real bus.
    pub(super) fn unlink(&mut self, seqnum: u32, importer: &mut Importer) -> bool {
        let Some(at) = self.urbs.iter().position(|urb| urb.submit.seqnum == seqnum) else { return false };
        if let Some(urb) = self.urbs.remove(at) {
            importer.unlinked(&urb.submit, urb.held());
        }
        true
    }

    /// Ends all the host's transfers with a status.
    pub(super) fn end_urbs(&mut self, status: i32, importer: &mut Importer) {
        for urb in self.urbs.drain(..) {
            return_bare(importer, &urb.submit, status, urb.held());
        }
    }

    /// Forgets the host's transfers: the host is gone.
    pub(super) fn forget_urbs(&mut self) {
        self.urbs.clear();
    }

    /// Ends all the function's transfers.
    pub(super) fn end_transfers(&mut self, error: TransferError, completions: &mut VecDeque<Completion>) {
        let endpoint = self.address;
        completions.extend(self.transfers.drain(..).map(|transfer| Completion {
            endpoint,
            buffer: transfer.buffer,
            length: transfer.moved,
            result: Err(error),
        }));
    }

    /// Moves what can be moved.
    pub(super) fn pump(
        &mut self,
        halted: bool,
        importer: &mut Importer,
        completions: &mut VecDeque<Completion>,
    ) {
        if halted {
            // Every try of the host's meets a STALL.
            for urb in self.urbs.drain(..) {
                urb.finish(errno::EPIPE, importer);
            }
            return;
        }
        match self.address.direction() {
            Direction::Out => while self.pump_out(importer, completions) {},
            Direction::In => while importer.takes_data() && self.pump_in(importer, completions) {},
        }
    }

    /// One step from the host's first transfer into the function's first. `false`: one of them is missing.
    fn pump_out(&mut self, importer: &mut Importer, completions: &mut VecDeque<Completion>) -> bool {
        let (Some(urb), Some(transfer)) = (self.urbs.front_mut(), self.transfers.front_mut()) else {
            return false;
        };
        let room = transfer.buffer.len() - transfer.moved;
        let count = room.min(urb.data.len() - urb.taken);
        transfer.buffer[transfer.moved..transfer.moved + count]
            .copy_from_slice(&urb.data[urb.taken..urb.taken + count]);
        transfer.moved += count;
        urb.taken += count;

        let full = transfer.moved == transfer.buffer.len();
        // A short packet needs a buffer with room: buffers are whole packets, so it never fills one; a zero-length
        // packet after a full buffer goes to the next.
        let all_taken = urb.taken == urb.data.len();
        let short = all_taken && urb.ends_short() && !full;
        let urb_done = all_taken && (short || !urb.ends_short());
        if urb_done && let Some(urb) = self.urbs.pop_front() {
            urb.finish(0, importer);
        }
        if (full || short)
            && let Some(transfer) = self.transfers.pop_front()
        {
            completions.push_back(self.complete(transfer));
        }
        true
    }

    /// One step from the function's first transfer into the host's first. `false`: one of them is missing.
    fn pump_in(&mut self, importer: &mut Importer, completions: &mut VecDeque<Completion>) -> bool {
        let (Some(urb), Some(transfer)) = (self.urbs.front_mut(), self.transfers.front_mut()) else {
            return false;
        };
        let wanted = urb.submit.length as usize;
        let room = wanted - urb.data.len();
        let left = &transfer.buffer[transfer.moved..];
        if left.len() > room {
            // The transfer's next packets are full ones, so many of them fit.
            let count = room - room % PACKET;
            urb.data.extend(&left[..count]);
            transfer.moved += count;
            // The packet after them finds no room: if the host's buffer does not end with a packet, it is babble.
            let status = if room.is_multiple_of(PACKET) && room > 0 { 0 } else { errno::EOVERFLOW };
            if let Some(urb) = self.urbs.pop_front() {
                urb.finish(status, importer);
            }
            return true;
        }
        let short = !transfer.buffer.len().is_multiple_of(PACKET) || transfer.buffer.is_empty();
        let total = urb.data.len() + left.len();
        let status =
            if urb.submit.flags & SHORT_NOT_OK != 0 && total < wanted { errno::EREMOTEIO } else { 0 };
        if urb.data.is_empty() && (short || total == wanted) {
            // The common case, one transfer for one: without a copy in between.
            let submit = urb.submit;
            importer.return_in(&submit, status, left);
            self.urbs.pop_front();
        } else {
            urb.data.extend(left);
            if (short || total == wanted)
                && let Some(urb) = self.urbs.pop_front()
            {
                urb.finish(status, importer);
            }
        }
        if let Some(mut transfer) = self.transfers.pop_front() {
            transfer.moved = transfer.buffer.len();
            completions.push_back(self.complete(transfer));
        }
        true
    }

    fn complete(&self, transfer: Transfer) -> Completion {
        Completion { endpoint: self.address, buffer: transfer.buffer, length: transfer.moved, result: Ok(()) }
    }
}
