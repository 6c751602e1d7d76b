//! An imported device without its socket: transfers in, bytes out; bytes in, ended transfers out.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    mem,
};

use inband_usb::{
    Direction, EndpointAddress, HostCompletion, HostError, HostTransfer, Setup, TransferId,
    chapter9::{ENDPOINT_HALT, request},
    descriptor::{EndpointKind, ParsedConfiguration, ParsedEndpoint},
};

use super::ClientError;
use crate::errno;
use crate::usbip::wire::{self, Command, Return, Submit};

/// Transfers that may be in flight.
const MAX_IN_FLIGHT: usize = 1024;

/// The transfers of one imported device.
#[derive(Debug)]
pub struct Core {
    devid: u32,
    configuration: ParsedConfiguration,
    claimed: BTreeSet<u8>,
    next_id: u64,
    next_seqnum: u32,
    /// Sent and not returned.
    pending: BTreeMap<u32, Pending>,
    /// UNLINKs sent and not answered, and the transfers they are for.
    unlinks: BTreeMap<u32, u32>,
    /// A request of our own is in flight.
    own_in_flight: bool,
    /// What waits for the request of our own before it: the server orders by endpoint, a SET_INTERFACE is for all of them.
    held: VecDeque<Held>,
    completions: VecDeque<HostCompletion>,
    input: Vec<u8>,
    output: VecDeque<u8>,
    gone: bool,
}

#[derive(Debug)]
struct Pending {
    /// `None`: a request of our own.
    owner: Option<TransferId>,
    direction: Direction,
    /// IN: bytes asked for. OUT: bytes sent.
    length: u32,
    /// OUT: what was sent.
    data: Vec<u8>,
    unlinking: bool,
}

#[derive(Debug)]
enum Held {
    Caller(TransferId, HostTransfer),
    Own(Setup),
}

impl Core {
    /// A device that was just imported. Only control transfers are possible until it is
    /// [`configured`](Self::configured).
    #[must_use]
    pub fn new(devid: u32) -> Self {
        let configuration =
            ParsedConfiguration { value: 0, name: 0, attributes: 0, max_power: 0, interfaces: Vec::new() };
        Self {
            devid,
            configuration,
            claimed: BTreeSet::new(),
            next_id: 0,
            next_seqnum: 1,
            pending: BTreeMap::new(),
            unlinks: BTreeMap::new(),
            own_in_flight: false,
            held: VecDeque::new(),
            completions: VecDeque::new(),
            input: Vec::new(),
            output: VecDeque::new(),
            gone: false,
        }
    }

    /// The configuration in use.
    #[must_use]
    pub fn configuration(&self) -> &ParsedConfiguration {
        &self.configuration
    }

    /// The device was set to this configuration.
    pub fn configured(&mut self, configuration: ParsedConfiguration) {
        self.configuration = configuration;
    }

    /// Whether the device has left.
    #[must_use]
    pub fn is_gone(&self) -> bool {
        self.gone
    }

    /// Whether [`poll`](Self::poll) has something.
    #[must_use]
    pub fn has_completion(&self) -> bool {
        !self.completions.is_empty()
    }

    /// What is to be sent; in one piece or more.
    #[must_use]
    pub fn output(&self) -> &[u8] {
        self.output.as_slices().0
    }

    /// The first bytes of the output were sent.
    pub fn sent(&mut self, count: usize) {
        self.output.drain(..count.min(self.output.len()));
    }

    /// Bytes of the server's have come. After an error, and there is none before the first, the device is gone.
    pub fn received(&mut self, bytes: &[u8]) -> Result<(), ClientError> {
        if self.gone {
            return Ok(());
        }
        self.input.extend(bytes);
        let input = mem::take(&mut self.input);
        let mut used = 0;
        loop {
            match self.take(&input[used..]) {
                Ok(Some(count)) => used += count,
                Ok(None) => break,
                Err(error) => {
                    self.lost();
                    return Err(error);
                }
            }
        }
        self.input = input;
        self.input.drain(..used);
        Ok(())
    }

    /// The connection is closed or broken: the device has left.
    pub fn lost(&mut self) {
        self.gone = true;
        self.input = Vec::new();
        self.output = VecDeque::new();
        self.unlinks.clear();
        for (_, pending) in mem::take(&mut self.pending) {
            self.complete(pending.owner, pending.data, 0, Err(HostError::Gone));
        }
        for held in mem::take(&mut self.held) {
            self.give_up(held, HostError::Gone);
        }
    }

    // --- HostDevice ---

    /// As [`HostDevice::submit`](inband_usb::HostDevice::submit).
    pub fn submit(&mut self, transfer: HostTransfer) -> Result<TransferId, HostError> {
        self.check_present()?;
        self.check(&transfer)?;
        if self.pending.len() + self.held.len() >= MAX_IN_FLIGHT {
            return Err(HostError::Misuse("more than 1024 transfers in flight"));
        }
        let id = TransferId(self.next_id);
        self.next_id += 1;
        self.enqueue(Held::Caller(id, transfer));
        Ok(id)
    }

    /// As [`HostDevice::poll`](inband_usb::HostDevice::poll).
    pub fn poll(&mut self) -> Option<HostCompletion> {
        self.completions.pop_front()
    }

    /// As [`HostDevice::cancel`](inband_usb::HostDevice::cancel).
    pub fn cancel(&mut self, id: TransferId) {
        let named = |held: &Held| matches!(held, Held::Caller(other, _) if *other == id);
        if let Some(at) = self.held.iter().position(named) {
            if let Some(held) = self.held.remove(at) {
                self.give_up(held, HostError::Cancelled);
            }
            return;
        }
        let owned =
            self.pending.iter_mut().find(|(_, pending)| pending.owner == Some(id) && !pending.unlinking);
        if let Some((&target, pending)) = owned {
            pending.unlinking = true;
            let seqnum = self.seqnum();
            self.unlinks.insert(seqnum, target);
            self.output.extend(Command::Unlink { seqnum, devid: self.devid, target }.to_bytes());
        }
    }

    /// As [`HostDevice::claim`](inband_usb::HostDevice::claim).
    pub fn claim(&mut self, interface: u8) -> Result<(), HostError> {
        self.check_present()?;
        if !self.configuration.interfaces.iter().any(|it| it.number == interface && it.alternate == 0) {
            return Err(HostError::Misuse("there is no such interface"));
        }
        if self.claimed.insert(interface) {
            self.own_request(0x01, request::SET_INTERFACE, 0, interface.into());
        }
        Ok(())
    }

    /// As [`HostDevice::clear_halt`](inband_usb::HostDevice::clear_halt).
    pub fn clear_halt(&mut self, endpoint: EndpointAddress) -> Result<(), HostError> {
        self.check_present()?;
        self.endpoint(endpoint)?;
        self.own_request(0x02, request::CLEAR_FEATURE, ENDPOINT_HALT, endpoint.0.into());
        Ok(())
    }

    /// As [`HostDevice::reset`](inband_usb::HostDevice::reset), with SET_CONFIGURATION in place of the reset that USB/IP
    /// does not carry.
    pub fn reset(&mut self) -> Result<(), HostError> {
        self.check_present()?;
        for held in mem::take(&mut self.held) {
            self.give_up(held, HostError::Cancelled);
        }
        let owners: Vec<_> = self.pending.values().filter_map(|pending| pending.owner).collect();
        for id in owners {
            self.cancel(id);
        }
        self.own_request(0x00, request::SET_CONFIGURATION, self.configuration.value.into(), 0);
        Ok(())
    }

    fn check_present(&self) -> Result<(), HostError> {
        if self.gone { Err(HostError::Gone) } else { Ok(()) }
    }

    fn own_request(&mut self, request_type: u8, request: u8, value: u16, index: u16) {
        self.enqueue(Held::Own(Setup { request_type, request, value, index, length: 0 }));
    }

    fn check(&self, transfer: &HostTransfer) -> Result<(), HostError> {
        let bounded = |length: usize| {
            if length > wire::MAX_TRANSFER as usize {
                return Err(HostError::Misuse("USB/IP transfers here have 1 MiB at most"));
            }
            Ok(())
        };
        match transfer {
            HostTransfer::ControlOut { setup, data } => {
                if data.len() != usize::from(setup.length) {
                    return Err(HostError::Misuse(
                        "the data of a control transfer is not wLength bytes long",
                    ));
                }
                if setup.direction() == Direction::In && setup.length > 0 {
                    return Err(HostError::Misuse("data to the device with an IN request"));
                }
                Ok(())
            }
            HostTransfer::ControlIn { setup } => match setup.direction() {
                Direction::In => Ok(()),
                Direction::Out => Err(HostError::Misuse("data from the device with an OUT request")),
            },
            HostTransfer::BulkOut { endpoint, data } => {
                bounded(data.len())?;
                match endpoint.direction() {
                    Direction::Out => self.endpoint(*endpoint).map(|_| ()),
                    Direction::In => Err(HostError::Misuse("data to an IN endpoint")),
                }
            }
            HostTransfer::BulkIn { endpoint, length } => {
                bounded(*length)?;
                if endpoint.direction() == Direction::Out {
                    return Err(HostError::Misuse("data from an OUT endpoint"));
                }
                let packet = usize::from(self.endpoint(*endpoint)?.max_packet_size);
                if packet == 0 || *length == 0 || !length.is_multiple_of(packet) {
                    return Err(HostError::Misuse(
                        "the length of an IN transfer is no multiple of wMaxPacketSize",
                    ));
                }
                Ok(())
            }
        }
    }

    /// A bulk endpoint of a claimed interface.
    fn endpoint(&self, address: EndpointAddress) -> Result<ParsedEndpoint, HostError> {
        let claimed = self
            .configuration
            .interfaces
            .iter()
            .filter(|it| it.alternate == 0 && self.claimed.contains(&it.number));
        claimed
            .flat_map(|it| &it.endpoints)
            .find(|endpoint| endpoint.address == address && endpoint.kind == EndpointKind::Bulk)
            .copied()
            .ok_or(HostError::Misuse("no such bulk endpoint in a claimed interface"))
    }

    // --- sending ---

    /// Sends it, or lets it wait behind what waits already and behind a request of our own.
    fn enqueue(&mut self, held: Held) {
        self.held.push_back(held);
        self.release();
    }

    fn release(&mut self) {
        while !self.own_in_flight {
            match self.held.pop_front() {
                Some(Held::Caller(id, transfer)) => self.send(Some(id), transfer),
                Some(Held::Own(setup)) => {
                    self.send(None, HostTransfer::ControlOut { setup, data: Vec::new() });
                    self.own_in_flight = true;
                }
                None => return,
            }
        }
    }

    fn send(&mut self, owner: Option<TransferId>, transfer: HostTransfer) {
        let (setup, endpoint, direction, length, data) = match transfer {
            HostTransfer::ControlOut { setup, data } => {
                (setup.to_bytes(), 0, Direction::Out, u32::from(setup.length), data)
            }
            HostTransfer::ControlIn { setup } => {
                // Without data the direction is OUT, whatever bmRequestType says (USB 2.0, 9.3.1).
                let direction = if setup.length == 0 { Direction::Out } else { Direction::In };
                (setup.to_bytes(), 0, direction, u32::from(setup.length), Vec::new())
            }
            HostTransfer::BulkOut { endpoint, data } => {
                ([0; 8], endpoint.number(), Direction::Out, data.len() as u32, data)
            }
            HostTransfer::BulkIn { endpoint, length } => {
                ([0; 8], endpoint.number(), Direction::In, length as u32, Vec::new())
            }
        };
        let (seqnum, devid) = (self.seqnum(), self.devid);
        let submit = Submit { seqnum, devid, direction, endpoint, flags: 0, length, setup };
        self.output.extend(Command::Submit(submit).to_bytes());
        self.output.extend(&data);
        self.pending.insert(seqnum, Pending { owner, direction, length, data, unlinking: false });
    }

    /// A number that names nothing in flight.
    fn seqnum(&mut self) -> u32 {
        loop {
            let seqnum = self.next_seqnum;
            self.next_seqnum = self.next_seqnum.wrapping_add(1);
            if seqnum != 0 && !self.pending.contains_key(&seqnum) && !self.unlinks.contains_key(&seqnum) {
                return seqnum;
            }
        }
    }

    // --- receiving ---

    /// Takes one return: the bytes it had, or `None` if it is not whole.
    fn take(&mut self, input: &[u8]) -> Result<Option<usize>, ClientError> {
        let Some((header, rest)) = input.split_first_chunk::<{ wire::HEADER_SIZE }>() else {
            return Ok(None);
        };
        match Return::from_bytes(header)? {
            Return::Submit { seqnum, status, length } => {
                let pending = self
                    .pending
                    .get(&seqnum)
                    .ok_or(ClientError::Protocol("a transfer that is not in flight"))?;
                if length > pending.length {
                    return Err(ClientError::Protocol("more data than was asked for"));
                }
                let length = length as usize;
                let carried = match pending.direction {
                    Direction::In => length,
                    Direction::Out => 0,
                };
                let Some(data) = rest.get(..carried) else { return Ok(None) };
                if let Some(pending) = self.pending.remove(&seqnum) {
                    let data = match pending.direction {
                        Direction::In => data.to_vec(),
                        Direction::Out => pending.data,
                    };
                    self.complete(pending.owner, data, length, result(status));
                    self.release();
                }
                Ok(Some(wire::HEADER_SIZE + carried))
            }
            Return::Unlink { seqnum, .. } => {
                let target = self
                    .unlinks
                    .remove(&seqnum)
                    .ok_or(ClientError::Protocol("the answer to an UNLINK that was not sent"))?;
                // Gone from the table if it was returned before the UNLINK arrived; else it never will be.
                if let Some(pending) = self.pending.remove(&target) {
                    self.complete(pending.owner, pending.data, 0, Err(HostError::Cancelled));
                }
                Ok(Some(wire::HEADER_SIZE))
            }
        }
    }

    fn complete(
        &mut self,
        owner: Option<TransferId>,
        data: Vec<u8>,
        length: usize,
        result: Result<(), HostError>,
    ) {
        match owner {
            Some(id) => self.completions.push_back(HostCompletion { id, data, length, result }),
            None => {
                self.own_in_flight = false;
                if let Err(error) = result {
                    log::debug!("USB/IP: a request of the client's own failed: {error}");
                }
            }
        }
    }

    /// Ends a transfer that was never sent.
    fn give_up(&mut self, held: Held, error: HostError) {
        match held {
            Held::Caller(id, HostTransfer::ControlOut { data, .. } | HostTransfer::BulkOut { data, .. }) => {
                self.completions.push_back(HostCompletion { id, data, length: 0, result: Err(error) });
            }
            Held::Caller(id, HostTransfer::ControlIn { .. } | HostTransfer::BulkIn { .. }) => {
                self.completions.push_back(HostCompletion {
                    id,
                    data: Vec::new(),
                    length: 0,
                    result: Err(error),
                });
            }
            Held::Own(_) => {}
        }
    }
}

/// What a status says.
fn result(status: i32) -> Result<(), HostError> {
    match status {
        0 => Ok(()),
        errno::EPIPE => Err(HostError::Stall),
        errno::ENOENT | errno::ECONNRESET | errno::ESHUTDOWN => Err(HostError::Cancelled),
        errno::ENODEV => Err(HostError::Gone),
        errno::EOVERFLOW => Err(HostError::Overflow),
        errno::EPROTO => Err(HostError::Other("the device does not answer as it should".to_owned())),
        other => Err(HostError::Other(format!("the USB/IP server reports error {other}"))),
    }
}
