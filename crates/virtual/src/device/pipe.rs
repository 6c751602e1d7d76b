//! One bulk endpoint: the host's transfers on one side, the function's on the other, and packets between them.

use std::collections::VecDeque;

use inband_usb::{Completion, Direction, EndpointAddress, TransferError, descriptor::BULK_PACKET_SIZE};

use super::peer::{End, Peer, Urb};

const PACKET: usize = BULK_PACKET_SIZE as usize;
/// Transfers the function may queue on one endpoint.
pub(super) const MAX_TRANSFERS: usize = 32;

/// A transfer of the host's, in flight.
struct Flight {
    urb: Urb,
    /// OUT: what the host sends. IN: what it has so far.
    data: Vec<u8>,
    /// OUT: bytes the function has.
    taken: usize,
}

impl Flight {
    /// OUT: bytes that came with it.
    fn held(&self) -> usize {
        match self.urb.endpoint.direction() {
            Direction::Out => self.data.len(),
            Direction::In => 0,
        }
    }

    /// OUT: whether its last packet is short, or none of its data is left but a zero-length packet is still to come.
    fn ends_short(&self) -> bool {
        !self.data.len().is_multiple_of(PACKET) || self.data.is_empty() || self.urb.zero_packet
    }

    fn finish(self, end: End, peer: &mut impl Peer) {
        match self.urb.endpoint.direction() {
            Direction::Out => peer.return_out(&self.urb, end, self.data.len(), self.taken),
            Direction::In => peer.return_in(&self.urb, end, &self.data),
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
    flights: VecDeque<Flight>,
    transfers: VecDeque<Transfer>,
}

impl Pipe {
    pub(super) fn new(address: EndpointAddress) -> Self {
        Self { address, flights: VecDeque::new(), transfers: VecDeque::new() }
    }

    pub(super) fn address(&self) -> EndpointAddress {
        self.address
    }

    /// Takes a transfer of the host's.
    pub(super) fn push_urb(&mut self, urb: Urb, data: Vec<u8>) {
        self.flights.push_back(Flight { urb, data, taken: 0 });
    }

    /// Transfers of the host's that wait.
    pub(super) fn waiting(&self) -> usize {
        self.flights.len()
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
    pub(super) fn unlink(&mut self, id: u64, peer: &mut impl Peer) -> bool {
        let Some(at) = self.flights.iter().position(|flight| flight.urb.id == id) else { return false };
        if let Some(flight) = self.flights.remove(at) {
            peer.give_up(&flight.urb, flight.held());
        }
        true
    }

    /// Ends all the host's transfers.
    pub(super) fn end_urbs(&mut self, end: End, peer: &mut impl Peer) {
        for flight in self.flights.drain(..) {
            peer.return_bare(&flight.urb, end, flight.held());
        }
    }

    /// Forgets the host's transfers: the host is gone.
    pub(super) fn forget_urbs(&mut self) {
        self.flights.clear();
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
        peer: &mut impl Peer,
        completions: &mut VecDeque<Completion>,
    ) {
        if halted {
            // Every try of the host's meets a STALL.
            for flight in self.flights.drain(..) {
                flight.finish(End::Stall, peer);
            }
            return;
        }
        match self.address.direction() {
            Direction::Out => while self.pump_out(peer, completions) {},
            Direction::In => while peer.takes_data() && self.pump_in(peer, completions) {},
        }
    }

    /// One step from the host's first transfer into the function's first. `false`: one of them is missing.
    fn pump_out(&mut self, peer: &mut impl Peer, completions: &mut VecDeque<Completion>) -> bool {
        let (Some(flight), Some(transfer)) = (self.flights.front_mut(), self.transfers.front_mut()) else {
            return false;
        };
        let room = transfer.buffer.len() - transfer.moved;
        let count = room.min(flight.data.len() - flight.taken);
        transfer.buffer[transfer.moved..transfer.moved + count]
            .copy_from_slice(&flight.data[flight.taken..flight.taken + count]);
        transfer.moved += count;
        flight.taken += count;

        let full = transfer.moved == transfer.buffer.len();
        // A short packet needs a buffer with room: buffers are whole packets, so it never fills one; a zero-length
        // packet after a full buffer goes to the next.
        let all_taken = flight.taken == flight.data.len();
        let short = all_taken && flight.ends_short() && !full;
        let flight_done = all_taken && (short || !flight.ends_short());
        if flight_done && let Some(flight) = self.flights.pop_front() {
            flight.finish(End::Done, peer);
        }
        if (full || short)
            && let Some(transfer) = self.transfers.pop_front()
        {
            completions.push_back(self.complete(transfer));
        }
        true
    }

    /// One step from the function's first transfer into the host's first. `false`: one of them is missing.
    fn pump_in(&mut self, peer: &mut impl Peer, completions: &mut VecDeque<Completion>) -> bool {
        let (Some(flight), Some(transfer)) = (self.flights.front_mut(), self.transfers.front_mut()) else {
            return false;
        };
        let wanted = flight.urb.length as usize;
        let room = wanted - flight.data.len();
        let left = &transfer.buffer[transfer.moved..];
        if left.len() > room {
            // The transfer's next packets are full ones, so many of them fit.
            let count = room - room % PACKET;
            flight.data.extend(&left[..count]);
            transfer.moved += count;
            // The packet after them finds no room: if the host's buffer does not end with a packet, it is babble.
            let end = if room.is_multiple_of(PACKET) && room > 0 { End::Done } else { End::Overflow };
            if let Some(flight) = self.flights.pop_front() {
                flight.finish(end, peer);
            }
            return true;
        }
        let short = !transfer.buffer.len().is_multiple_of(PACKET) || transfer.buffer.is_empty();
        let total = flight.data.len() + left.len();
        let end = if flight.urb.short_not_ok && total < wanted { End::Short } else { End::Done };
        if flight.data.is_empty() && (short || total == wanted) {
            // The common case, one transfer for one: without a copy in between.
            peer.return_in(&flight.urb, end, left);
            self.flights.pop_front();
        } else {
            flight.data.extend(left);
            if (short || total == wanted)
                && let Some(flight) = self.flights.pop_front()
            {
                flight.finish(end, peer);
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
