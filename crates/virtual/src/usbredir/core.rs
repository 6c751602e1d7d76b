//! A slot without its socket: bytes in, bytes out, a device in between.

use std::{collections::VecDeque, io::Write, mem};

use inband_usb::{DescriptorSet, EndpointAddress, Setup, chapter9::request, descriptor::DescriptorError};

use super::wire::{
    self, BULK_HEAD, Capabilities, EpInfo, FromGuest, Header, InterfaceInfo, PARSER_LIMIT, SHORT_HEADER,
    Status, ToGuest, WireError, kind,
};
use crate::{
    device::{self, End, Ledger, MAX_HELD, Peer, Tap, Urb},
    pcap::Recorder,
};

/// The device of a slot.
pub type Device = device::Device<Link>;

/// Most bytes of one transfer; a longer one is refused.
pub(super) const MAX_TRANSFER: usize = 16 << 20;
/// Most transfers that wait on one endpoint; one more is refused. An xHCI controller of QEMU's has 16 on each, an EHCI controller one
/// for every 16 KiB of what its guest has queued.
pub(super) const MAX_URBS: usize = 1024;
/// Bytes of OUT data held at which a transfer that brings more is refused. The socket is read on, as cancels and control requests come
/// that way too.
pub(super) const MAX_OUT_HELD: usize = 32 << 20;
/// The one device's number in a recording. QEMU keeps addresses to itself.
const ADDRESS: u8 = 1;

/// Why a set of descriptors cannot be attached.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SetError {
    /// They cannot be shown to a host.
    #[error("the descriptors cannot be used: {0}")]
    Descriptors(#[from] DescriptorError),
    /// There is no room for them in a message.
    #[error("usbredir carries devices with {} interfaces at most", InterfaceInfo::MAX)]
    Interfaces,
}

/// A connection of which both sides have said hello, and what goes back over it.
pub struct Link {
    capabilities: Capabilities,
    output: VecDeque<u8>,
    ledger: Ledger,
}

impl Link {
    fn send(&mut self, id: u64, message: &ToGuest<'_>) {
        message.encode(id, self.capabilities, &mut self.output);
    }

    /// Interfaces and endpoints, which QEMU wants to know before a device, a configuration or a setting.
    fn describe(&mut self, set: &DescriptorSet) {
        // `attach` has refused a set with more interfaces.
        if let Some(info) = InterfaceInfo::new(set) {
            self.send(0, &ToGuest::InterfaceInfo(Box::new(info)));
        }
        self.send(0, &ToGuest::EpInfo(Box::new(EpInfo::new(set))));
    }

    fn answer(&mut self, urb: &Urb, status: Status, data: &[u8], length: usize) {
        let setup = Setup::from_bytes(urb.setup);
        // No OUT transfer is longer than MAX_TRANSFER, and its data never longer than what was said.
        let (id, endpoint) = (urb.id, urb.endpoint);
        let message = match (endpoint.number(), endpoint.direction()) {
            (0, inband_usb::Direction::In) => ToGuest::ControlIn { setup, status, data },
            (0, inband_usb::Direction::Out) => ToGuest::ControlOut { setup, status, length: length as u16 },
            (_, inband_usb::Direction::In) => ToGuest::BulkIn { endpoint, status, data },
            (_, inband_usb::Direction::Out) => ToGuest::BulkOut { endpoint, status, length: length as u32 },
        };
        self.send(id, &message);
    }
}

impl Peer for Link {
    const CONFIGURATION_RESETS: bool = false;

    fn takes_data(&self) -> bool {
        self.output.len() <= MAX_HELD
    }

    fn return_in(&mut self, urb: &Urb, end: End, data: &[u8]) {
        self.ledger.ended(urb, end, 0, data.len(), data);
        self.answer(urb, status(end), data, 0);
    }

    fn return_out(&mut self, urb: &Urb, end: End, held: usize, length: usize) {
        self.ledger.ended(urb, end, held, length, &[]);
        self.answer(urb, status(end), &[], length);
    }

    fn give_up(&mut self, urb: &Urb, held: usize) {
        // QEMU waits for the answer: without one it would take the next transfer of this id for the one given up.
        self.return_bare(urb, End::Cancelled, held);
    }
}

const fn status(end: End) -> Status {
    match end {
        End::Done | End::Short => Status::Success,
        End::Stall => Status::Stall,
        End::Protocol => Status::IoError,
        End::Overflow => Status::Babble,
        End::Disabled | End::Cancelled => Status::Cancelled,
    }
}

enum State {
    /// There is no connection.
    Closed,
    /// Our hello is on its way, and nothing else may be: how long later headers are depends on the other one.
    AwaitHello(VecDeque<u8>),
    /// No device is there.
    Detached(Link),
    /// The device has the link.
    Attached,
    /// The device has left, and what comes is still for it.
    AwaitDisconnectAck(Link),
}

/// A slot without its socket.
///
/// For a connection there is [`opened`](Self::opened), then [`received`](Self::received), [`output`](Self::output) and
/// [`sent`](Self::sent), and [`closed`](Self::closed) at the end or after an error.
pub struct Core {
    device: Device,
    state: State,
    /// Received, not yet understood: less than one message.
    input: Vec<u8>,
    /// Bytes still to come of a transfer that was refused.
    skip: usize,
    /// QEMU has said that it does not take the device, the log has it, and none was taken since.
    rejected: bool,
    tap: Tap,
}

impl Default for Core {
    fn default() -> Self {
        Self::new()
    }
}

impl Core {
    /// A slot with no connection and no device.
    #[must_use]
    pub fn new() -> Self {
        Self {
            device: Device::new(ADDRESS),
            state: State::Closed,
            input: Vec::new(),
            skip: 0,
            rejected: false,
            tap: Tap::default(),
        }
    }

    /// The device, for its function's side.
    pub fn device(&mut self) -> &mut Device {
        &mut self.device
    }

    /// Records all transfers from now on.
    pub fn set_tap(&mut self, recorder: Recorder<Box<dyn Write + Send>>) {
        self.tap.set(recorder);
    }

    /// Attaches a device, after the one that was there has left.
    ///
    /// # Errors
    /// The descriptors cannot be shown.
    pub fn attach(&mut self, set: &DescriptorSet) -> Result<(), SetError> {
        set.validate()?;
        if set.interfaces.len() > InterfaceInfo::MAX {
            return Err(SetError::Interfaces);
        }
        self.detach();
        self.device.attach(set);
        self.connect();
        Ok(())
    }

    /// The device leaves. What it has answered is still sent.
    pub fn detach(&mut self) {
        let Some(mut link) = self.device.detach() else { return };
        // What it had taken is gone with it.
        link.ledger = Ledger::new(1, ADDRESS, self.tap.clone());
        link.send(0, &ToGuest::DeviceDisconnect);
        self.state = if link.capabilities.has(Capabilities::DEVICE_DISCONNECT_ACK) {
            State::AwaitDisconnectAck(link)
        } else {
            State::Detached(link)
        };
    }

    /// Shows the device, if there is one and somebody to show it to.
    fn connect(&mut self) {
        let Some(set) = self.device.set() else { return };
        match mem::replace(&mut self.state, State::Attached) {
            State::Detached(mut link) => {
                link.describe(set);
                link.send(
                    0,
                    &ToGuest::DeviceConnect {
                        vendor_id: set.vendor_id,
                        product_id: set.product_id,
                        device_version: set.device_version,
                    },
                );
                self.device.plug(link);
            }
            other => self.state = other,
        }
    }

    // --- the connection ---

    /// The socket is connected.
    pub fn opened(&mut self) {
        self.closed();
        let mut output = VecDeque::new();
        ToGuest::Hello(Capabilities::OFFERED).encode(0, Capabilities::default(), &mut output);
        self.state = State::AwaitHello(output);
    }

    /// The connection is over: to the device, it was unplugged.
    pub fn closed(&mut self) {
        self.device.unplug();
        self.state = State::Closed;
        self.input = Vec::new();
        self.skip = 0;
    }

    /// What is to be sent; in one piece or more.
    #[must_use]
    pub fn output(&self) -> &[u8] {
        self.queue().map_or(&[], |output| output.as_slices().0)
    }

    /// The first bytes of the output were sent.
    pub fn sent(&mut self, count: usize) {
        let output = match &mut self.state {
            State::Closed => None,
            State::AwaitHello(output) => Some(output),
            State::Detached(link) | State::AwaitDisconnectAck(link) => Some(&mut link.output),
            State::Attached => self.device.peer_mut().map(|link| &mut link.output),
        };
        if let Some(output) = output {
            output.drain(..count.min(output.len()));
        }
        self.device.resume();
    }

    /// Whether the socket is to be read: until the peer has let so many answers pile up that it reads none itself.
    #[must_use]
    pub fn reads(&self) -> bool {
        self.queue().is_some_and(|output| output.len() <= MAX_HELD)
    }

    fn queue(&self) -> Option<&VecDeque<u8>> {
        match &self.state {
            State::Closed => None,
            State::AwaitHello(output) => Some(output),
            State::Detached(link) | State::AwaitDisconnectAck(link) => Some(&link.output),
            State::Attached => self.device.peer().map(|link| &link.output),
        }
    }

    /// Bytes have come.
    ///
    /// # Errors
    /// The peer does not keep to the protocol; the connection is to be closed.
    pub fn received(&mut self, bytes: &[u8]) -> Result<(), WireError> {
        let skipped = self.skip.min(bytes.len());
        self.skip -= skipped;
        self.input.extend(&bytes[skipped..]);
        let input = mem::take(&mut self.input);
        let mut used = 0;
        while let Some(count) = self.step(&input[used..])? {
            used += count;
            let skipped = self.skip.min(input.len() - used);
            self.skip -= skipped;
            used += skipped;
        }
        self.input = input;
        self.input.drain(..used);
        Ok(())
    }

    /// Takes one message: the bytes it had, or `None` if it is not whole.
    fn step(&mut self, input: &[u8]) -> Result<Option<usize>, WireError> {
        let (size, capabilities) = match &self.state {
            State::Closed => return Ok(None),
            State::AwaitHello(_) => (SHORT_HEADER, Capabilities::default()),
            State::Detached(link) | State::AwaitDisconnectAck(link) => link.framing(),
            State::Attached => match self.device.peer() {
                Some(link) => link.framing(),
                None => return Ok(None),
            },
        };
        let Some(header) = Header::parse(input, size) else { return Ok(None) };
        let wrong = WireError::Length { kind: header.kind, length: header.length };
        let (length, rest) = (header.length as usize, &input[size..]);
        if length > BULK_HEAD + MAX_TRANSFER {
            // Of the rest nothing is kept.
            if header.kind != kind::BULK_PACKET || length > BULK_HEAD + PARSER_LIMIT {
                return Err(wrong);
            }
            let Some(head) = rest.get(..BULK_HEAD) else { return Ok(None) };
            let endpoint = wire::bulk_head(header.length, head, capabilities)?;
            self.skip = length - BULK_HEAD;
            if let (State::Attached, Some(link)) = (&self.state, self.device.peer_mut()) {
                let message = ToGuest::BulkOut { endpoint, status: Status::Inval, length: 0 };
                link.send(header.id, &message);
            }
            return Ok(Some(size + BULK_HEAD));
        }
        let Some(body) = rest.get(..length) else { return Ok(None) };
        let message = FromGuest::parse(header.kind, body, capabilities)?;
        self.take(header, &message)?;
        Ok(Some(size + length))
    }

    fn take(&mut self, header: Header, message: &FromGuest<'_>) -> Result<(), WireError> {
        match (mem::replace(&mut self.state, State::Closed), message) {
            (State::Closed, _) => {}
            (State::AwaitHello(output), FromGuest::Hello(theirs)) => {
                let capabilities = Capabilities::OFFERED.both(*theirs);
                let ledger = Ledger::new(1, ADDRESS, self.tap.clone());
                self.state = State::Detached(Link { capabilities, output, ledger });
                self.connect();
            }
            (state @ State::AwaitHello(_), _) => {
                self.state = state;
                return Err(WireError::Order(header.kind));
            }
            (state, FromGuest::Hello(_)) => {
                self.state = state;
                return Err(WireError::Order(header.kind));
            }
            // What was meant for a device that has left.
            (State::AwaitDisconnectAck(link), FromGuest::DeviceDisconnectAck) => {
                self.state = State::Detached(link);
                self.connect();
            }
            (state @ (State::AwaitDisconnectAck(_) | State::Detached(_)), _) => self.state = state,
            (State::Attached, message) => {
                self.state = State::Attached;
                self.serve(header.id, message);
            }
        }
        Ok(())
    }

    /// A message for the device.
    fn serve(&mut self, id: u64, message: &FromGuest<'_>) {
        match *message {
            // Taken before.
            FromGuest::Hello(_) => {}
            FromGuest::Reset => self.device.reset(),
            FromGuest::SetConfiguration { value } => {
                self.rejected = false;
                let done = self.device.standard(&write(0x00, request::SET_CONFIGURATION, value, 0));
                self.describe();
                let value = self.configuration();
                self.send(id, &ToGuest::ConfigurationStatus { status: done_or_stall(&done), value });
            }
            FromGuest::GetConfiguration => {
                let value = self.configuration();
                self.send(id, &ToGuest::ConfigurationStatus { status: Status::Success, value });
            }
            FromGuest::SetAltSetting { interface, alternate } => {
                let done = self.device.standard(&write(0x01, request::SET_INTERFACE, alternate, interface));
                self.describe();
                let status = done_or_stall(&done);
                // There is no setting but 0.
                self.send(id, &ToGuest::AltSettingStatus { status, interface, alternate: 0 });
            }
            FromGuest::GetAltSetting { interface } => {
                let found = self.device.standard(&read(0x81, request::GET_INTERFACE, interface));
                let status = done_or_stall(&found);
                self.send(id, &ToGuest::AltSettingStatus { status, interface, alternate: 0 });
            }
            // There are no such endpoints.
            FromGuest::StartIsoStream { endpoint } | FromGuest::StopIsoStream { endpoint } => {
                self.send(id, &ToGuest::IsoStreamStatus { status: Status::Inval, endpoint });
            }
            FromGuest::StartInterruptReceiving { endpoint }
            | FromGuest::StopInterruptReceiving { endpoint } => {
                self.send(id, &ToGuest::InterruptReceivingStatus { status: Status::Inval, endpoint });
            }
            FromGuest::InterruptOut { endpoint, .. } => {
                self.send(id, &ToGuest::InterruptOut { endpoint, status: Status::Inval });
            }
            FromGuest::Iso | FromGuest::FilterFilter | FromGuest::DeviceDisconnectAck => {}
            // For each try, and there may be one a second.
            FromGuest::FilterReject => {
                if !mem::replace(&mut self.rejected, true) {
                    log::warn!(
                        "QEMU does not take the device: look at its own messages, and at the filter of its usb-redir device"
                    );
                }
            }
            // What was answered already crosses its cancel.
            FromGuest::CancelDataPacket => self.device.unlink_urb(id, |_, _| {}),
            FromGuest::ControlOut { setup, data } => {
                self.submit(urb(id, 0x00, setup.length.into(), Some(setup)), data);
            }
            FromGuest::ControlIn { setup } => {
                self.submit(urb(id, 0x80, setup.length.into(), Some(setup)), &[]);
            }
            FromGuest::BulkOut { endpoint, data } => {
                self.submit(urb(id, endpoint.0, data.len() as u32, None), data);
            }
            FromGuest::BulkIn { endpoint, length } => {
                self.submit(urb(id, endpoint.0, length, None), &[]);
            }
        }
    }

    /// A transfer, if it is not one too many or too long.
    fn submit(&mut self, urb: Urb, data: &[u8]) {
        let waiting = self.device.waiting(urb.endpoint);
        let Some(link) = self.device.peer_mut() else { return };
        let held = link.ledger.held() + data.len();
        if waiting >= MAX_URBS || held > MAX_OUT_HELD || urb.length as usize > MAX_TRANSFER {
            link.answer(&urb, Status::Inval, &[], 0);
            return;
        }
        link.ledger.submitted(&urb, data);
        self.device.submit_urb(urb, data.to_vec());
    }

    /// The configuration in use.
    fn configuration(&mut self) -> u8 {
        let value = self.device.standard(&read(0x80, request::GET_CONFIGURATION, 0));
        value.and_then(|value| value.first().copied()).unwrap_or_default()
    }

    fn describe(&mut self) {
        let Some(set) = self.device.set().cloned() else { return };
        if let Some(link) = self.device.peer_mut() {
            link.describe(&set);
        }
    }

    fn send(&mut self, id: u64, message: &ToGuest<'_>) {
        if let Some(link) = self.device.peer_mut() {
            link.send(id, message);
        }
    }
}

impl Link {
    /// How long a header is, and what it may announce.
    fn framing(&self) -> (usize, Capabilities) {
        (Header::size(self.capabilities), self.capabilities)
    }
}

fn urb(id: u64, endpoint: u8, length: u32, setup: Option<Setup>) -> Urb {
    Urb {
        id,
        endpoint: EndpointAddress(endpoint),
        length,
        setup: setup.map_or([0; 8], Setup::to_bytes),
        short_not_ok: false,
        zero_packet: false,
    }
}

fn write(request_type: u8, request: u8, value: u8, index: u8) -> Setup {
    Setup { request_type, request, value: value.into(), index: index.into(), length: 0 }
}

fn read(request_type: u8, request: u8, index: u8) -> Setup {
    Setup { request_type, request, value: 0, index: index.into(), length: 1 }
}

fn done_or_stall(done: &Option<Vec<u8>>) -> Status {
    if done.is_some() { Status::Success } else { Status::Stall }
}
