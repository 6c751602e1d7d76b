//! The guest's side of usbredir, as QEMU is: what a guest's kernel does comes from the USB/IP client, whose commands are made messages,
//! and whose returns are made of the answers. Where a device would do what makes QEMU complain or abort, it panics.

use std::{
    cell::RefCell,
    collections::{BTreeMap, BTreeSet},
    io::{ErrorKind, Read as _, Write as _},
    os::unix::net::UnixStream,
    rc::Rc,
    time::{Duration, Instant},
};

use inband_usb::{
    Direction, EndpointAddress, HostCompletion, HostDevice, HostError, HostTransfer, Setup, TransferId,
    chapter9::request,
};
use inband_virtual::{
    errno,
    usbip::{
        BusId,
        client::{self, Core, OpeningCore},
        wire::{self, Command, Request, Return, Submit},
    },
    usbredir::wire::{Capabilities, FromGuest, Header, SHORT_HEADER, Status, ToGuest},
};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

/// A transfer that was passed on.
struct Pending {
    direction: Direction,
    /// The seqnum of the UNLINK that gives it up.
    unlink: Option<u32>,
}

/// QEMU's end of the connection.
pub(crate) struct Connection {
    stream: UnixStream,
    input: Vec<u8>,
    output: Vec<u8>,
    /// `None` until the device has said hello.
    capabilities: Option<Capabilities>,
    described: (bool, bool),
    /// idVendor and idProduct of the device that is there.
    device: Option<(u16, u16)>,
    /// Tells the transfers of one program from those of the next.
    generation: u64,
    pending: BTreeMap<u64, Pending>,
    /// Ids of which one answer is still to come, to nobody.
    forgotten: BTreeSet<u64>,
    /// Returns for the client.
    returns: Vec<u8>,
    /// The device has left, or the connection is over.
    gone: bool,
    over: bool,
}

impl Connection {
    pub(crate) fn new(stream: UnixStream) -> Self {
        stream.set_nonblocking(true).unwrap();
        let mut output = Vec::new();
        FromGuest::Hello(Capabilities(0xff)).encode(0, Capabilities::default(), &mut output);
        Self {
            stream,
            input: Vec::new(),
            output,
            capabilities: None,
            described: (false, false),
            device: None,
            generation: 0,
            pending: BTreeMap::new(),
            forgotten: BTreeSet::new(),
            returns: Vec::new(),
            gone: false,
            over: false,
        }
    }

    pub(crate) fn device(&self) -> Option<(u16, u16)> {
        self.device
    }

    pub(crate) fn is_over(&self) -> bool {
        self.over
    }

    /// Sends and receives what can be without waiting.
    pub(crate) fn serve(&mut self) {
        let mut chunk = [0; 65_536];
        loop {
            self.flush();
            match self.stream.read(&mut chunk) {
                Ok(0) => return self.end(),
                Ok(count) => self.input.extend(&chunk[..count]),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                Err(_) => return self.end(),
            }
            while let Some(used) = self.step() {
                self.input.drain(..used);
            }
        }
    }

    fn end(&mut self) {
        self.over = true;
        self.leave();
    }

    fn leave(&mut self) {
        self.device = None;
        self.gone = true;
        self.pending.clear();
        self.forgotten.clear();
    }

    fn flush(&mut self) {
        while !self.output.is_empty() {
            match self.stream.write(&self.output) {
                Ok(count) => drop(self.output.drain(..count)),
                Err(_) => return,
            }
        }
    }

    fn say(&mut self, id: u64, message: &FromGuest<'_>) {
        message.encode(id, self.capabilities.expect("after their hello"), &mut self.output);
        self.flush();
    }

    fn step(&mut self) -> Option<usize> {
        let size = self.capabilities.map_or(SHORT_HEADER, Header::size);
        let header = Header::parse(&self.input, size)?;
        let body = self.input.get(size..size + header.length as usize)?.to_vec();
        let capabilities = self.capabilities.unwrap_or_default();
        self.take(header.id, &ToGuest::parse(header.kind, &body, capabilities).expect("a message"));
        Some(size + body.len())
    }

    fn take(&mut self, id: u64, message: &ToGuest<'_>) {
        let known = self.capabilities.is_some();
        assert_eq!(known, !matches!(message, ToGuest::Hello(_)), "a hello first, and once: {message:?}");
        match *message {
            ToGuest::Hello(theirs) => self.capabilities = Some(Capabilities(0xff).both(theirs)),
            ToGuest::InterfaceInfo(_) => self.described.0 = true,
            ToGuest::EpInfo(_) => self.described.1 = true,
            ToGuest::DeviceConnect { vendor_id, product_id, .. } => {
                assert_eq!(self.described, (true, true), "No interface info for device");
                assert_eq!(self.device, None, "Received device connect while already connected");
                self.device = Some((vendor_id, product_id));
                self.gone = false;
            }
            ToGuest::DeviceDisconnect => {
                self.leave();
                self.described = (false, false);
                self.say(0, &FromGuest::DeviceDisconnectAck);
            }
            ToGuest::ConfigurationStatus { status, .. } | ToGuest::AltSettingStatus { status, .. } => {
                self.answer(id, Direction::Out, status, 0, &[]);
            }
            ToGuest::ControlIn { status, data, .. } | ToGuest::BulkIn { status, data, .. } => {
                self.answer(id, Direction::In, status, data.len(), data);
            }
            ToGuest::ControlOut { status, length, .. } => {
                self.answer(id, Direction::Out, status, length.into(), &[]);
            }
            ToGuest::BulkOut { status, length, .. } => {
                self.answer(id, Direction::Out, status, length as usize, &[]);
            }
            ToGuest::IsoStreamStatus { .. }
            | ToGuest::InterruptReceivingStatus { .. }
            | ToGuest::InterruptOut { .. } => panic!("nobody asked for {message:?}"),
        }
    }

    fn answer(&mut self, id: u64, direction: Direction, status: Status, length: usize, data: &[u8]) {
        if self.forgotten.remove(&id) {
            return;
        }
        let pending =
            self.pending.remove(&id).unwrap_or_else(|| panic!("could not find packet with id {id}"));
        // With wLength 0 a client calls the direction of any request OUT.
        assert!(pending.direction == direction || length == 0);
        let mut unlinked = 0;
        if pending.unlink.is_some() && status == Status::Cancelled {
            unlinked = errno::ECONNRESET;
        } else {
            let status = match status {
                Status::Success => 0,
                Status::Stall => errno::EPIPE,
                Status::Babble => errno::EOVERFLOW,
                Status::Cancelled => errno::ECONNRESET,
                Status::Inval | Status::IoError | Status::Timeout => errno::EPROTO,
            };
            let answer = Return::Submit { seqnum: id as u32, status, length: length as u32 };
            self.returns.extend(answer.to_bytes());
            self.returns.extend(data);
        }
        if let Some(seqnum) = pending.unlink {
            self.returns.extend(Return::Unlink { seqnum, status: unlinked }.to_bytes());
        }
    }

    fn id(&self, seqnum: u32) -> u64 {
        self.generation << 32 | u64::from(seqnum)
    }

    /// A command of the client's, and its data.
    fn command(&mut self, command: &Command, data: &[u8]) {
        match *command {
            Command::Submit(submit) => {
                let id = self.id(submit.seqnum);
                self.pending.insert(id, Pending { direction: submit.direction, unlink: None });
                self.submit(id, &submit, data);
            }
            Command::Unlink { seqnum, target, .. } => {
                let id = self.id(target);
                match self.pending.get_mut(&id) {
                    Some(pending) => {
                        pending.unlink = Some(seqnum);
                        self.say(id, &FromGuest::CancelDataPacket);
                    }
                    None => self.returns.extend(Return::Unlink { seqnum, status: 0 }.to_bytes()),
                }
            }
        }
    }

    fn submit(&mut self, id: u64, submit: &Submit, data: &[u8]) {
        let setup = Setup::from_bytes(submit.setup);
        let endpoint = submit.address();
        let message = match (submit.endpoint, setup.request_type, setup.request) {
            (0, 0x00, request::SET_CONFIGURATION) => FromGuest::SetConfiguration { value: setup.value as u8 },
            (0, 0x01, request::SET_INTERFACE) => {
                FromGuest::SetAltSetting { interface: setup.index as u8, alternate: setup.value as u8 }
            }
            (0, ..) if setup.direction() == Direction::In => FromGuest::ControlIn { setup },
            (0, ..) => FromGuest::ControlOut { setup, data },
            _ if submit.direction == Direction::In => FromGuest::BulkIn { endpoint, length: submit.length },
            _ => FromGuest::BulkOut { endpoint, data },
        };
        self.say(id, &message);
    }

    /// Passes the client's commands on.
    fn commands(&mut self, mut bytes: &[u8]) {
        while let Some((header, rest)) = bytes.split_first_chunk() {
            let command = Command::from_bytes(header).unwrap();
            let length = match command {
                Command::Submit(submit) if submit.direction == Direction::Out => submit.length as usize,
                Command::Submit(_) | Command::Unlink { .. } => 0,
            };
            self.command(&command, &rest[..length]);
            bytes = &rest[length..];
        }
    }

    /// The program that had the device has ended: the kernel takes its transfers back.
    fn abandon(&mut self) {
        for (id, _) in std::mem::take(&mut self.pending) {
            self.forgotten.insert(id);
            if self.capabilities.is_some() {
                self.say(id, &FromGuest::CancelDataPacket);
            }
        }
        self.generation += 1;
        self.returns.clear();
    }
}

/// Where a connection is while nobody has the device open. Clones are the same place.
#[derive(Clone, Default)]
pub(crate) struct Home(Rc<RefCell<Option<Connection>>>);

impl Home {
    pub(crate) fn put(&self, connection: Connection) {
        *self.0.borrow_mut() = Some(connection);
    }

    pub(crate) fn take(&self) -> Option<Connection> {
        self.0.borrow_mut().take()
    }
}

/// What came of opening a device.
pub(crate) enum Opened {
    Device(Box<Guest>),
    NotYet(Box<Opening>),
    /// It has left; the connection is back home.
    Gone,
}

/// A device that is being opened, by a program or a kernel that resets it first.
pub(crate) struct Opening {
    connection: Connection,
    core: OpeningCore,
    imported: bool,
}

impl Opening {
    /// Opens the device that is there.
    pub(crate) fn new(mut connection: Connection) -> Self {
        connection.say(0, &FromGuest::Reset);
        Self { connection, core: OpeningCore::new(&BusId::new("1-1").unwrap()), imported: false }
    }

    /// Goes on.
    pub(crate) fn poll(mut self, home: &Home) -> Opened {
        self.connection.serve();
        loop {
            if self.connection.gone {
                self.connection.abandon();
                home.put(self.connection);
                return Opened::Gone;
            }
            let mut output = Vec::new();
            while !self.core.output().is_empty() {
                let part = self.core.output().to_vec();
                self.core.sent(part.len());
                output.extend(part);
            }
            if self.imported {
                self.connection.commands(&output);
            } else {
                let (request, used) = Request::parse(&output).unwrap().unwrap();
                assert!(matches!(request, Request::Import(_)) && used == output.len());
                self.imported = true;
                self.connection.returns.extend(wire::import_header(wire::Status::Ok));
                self.connection.returns.extend(record().to_bytes());
            }
            let returns = std::mem::take(&mut self.connection.returns);
            if returns.is_empty() {
                return Opened::NotYet(Box::new(self));
            }
            if let Some(client::Opened { core, .. }) = self.core.received(&returns).unwrap() {
                let connection = Some(self.connection);
                return Opened::Device(Box::new(Guest {
                    connection,
                    core,
                    started: Instant::now(),
                    home: home.clone(),
                }));
            }
        }
    }
}

/// What a USB/IP server would say of the device; the client asks the device itself.
fn record() -> wire::Device {
    wire::Device {
        path: "/guest".into(),
        busid: BusId::new("1-1").unwrap(),
        bus: 1,
        number: 1,
        speed: wire::SPEED_HIGH,
        vendor_id: 0,
        product_id: 0,
        device_version: 0,
        class: [0; 3],
        configuration: 1,
        configurations: 1,
        interfaces: 0,
    }
}

/// The device as a program in the guest has it open.
pub(crate) struct Guest {
    connection: Option<Connection>,
    core: Core,
    started: Instant,
    home: Home,
}

impl Guest {
    fn serve(&mut self) {
        let Some(connection) = &mut self.connection else { return };
        connection.serve();
        let returns = std::mem::take(&mut connection.returns);
        self.core.received(&returns).unwrap();
        if connection.gone {
            self.core.lost();
        }
        self.pass_on();
    }

    fn pass_on(&mut self) {
        let Some(connection) = &mut self.connection else { return };
        let mut output = Vec::new();
        while !self.core.output().is_empty() {
            let part = self.core.output().to_vec();
            self.core.sent(part.len());
            output.extend(part);
        }
        if !connection.gone {
            connection.commands(&output);
        }
    }

    fn after<T>(&mut self, result: T) -> T {
        self.pass_on();
        result
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        if let Some(mut connection) = self.connection.take() {
            connection.abandon();
            self.home.put(connection);
        }
    }
}

impl HostDevice for Guest {
    fn submit(&mut self, transfer: HostTransfer) -> Result<TransferId, HostError> {
        let result = self.core.submit(transfer);
        self.after(result)
    }

    fn poll(&mut self) -> Option<HostCompletion> {
        self.serve();
        self.core.poll()
    }

    fn cancel(&mut self, id: TransferId) {
        self.core.cancel(id);
        self.after(());
    }

    fn claim(&mut self, interface: u8) -> Result<(), HostError> {
        let result = self.core.claim(interface);
        self.after(result)
    }

    fn clear_halt(&mut self, endpoint: EndpointAddress) -> Result<(), HostError> {
        let result = self.core.clear_halt(endpoint);
        self.after(result)
    }

    fn reset(&mut self) -> Result<(), HostError> {
        if let Some(connection) = self.connection.as_mut().filter(|connection| !connection.gone) {
            connection.say(0, &FromGuest::Reset);
        }
        // The configuration, which the client sets after what it takes for a reset.
        let result = self.core.reset();
        self.after(result)
    }

    fn wait(&mut self, limit: Duration) {
        self.serve();
        if self.core.has_completion() || self.core.is_gone() {
            return;
        }
        if let Some(connection) = &self.connection {
            let limit = Timespec { tv_sec: limit.as_secs() as _, tv_nsec: limit.subsec_nanos() as _ };
            poll(&mut [PollFd::new(&connection.stream, PollFlags::IN)], Some(&limit)).unwrap();
        }
        self.serve();
    }

    fn now(&self) -> Duration {
        self.started.elapsed()
    }
}
