//! The server without sockets: bytes of each connection in, bytes out, devices in between.
//!
//! A connection asks for the list and is answered and closed, or it imports a device and carries its transfers until
//! either side ends it. What a client can make the server hold is bounded by the constants here, in
//! [`Importer`] and in [`wire`].

use std::{
    collections::{BTreeMap, VecDeque},
    io::Write,
    mem,
    time::Duration,
};

use inband_usb::{
    DescriptorSet,
    descriptor::{CONFIGURATION_VALUE, DescriptorError},
};

use super::{
    Device,
    importer::{Importer, urb},
};
use crate::{
    device::{Ledger, Tap},
    errno,
    pcap::Recorder,
    usbip::wire::{self, BusId, Command, Request, Status},
};

/// Time a connection has for its request.
const REQUEST_TIME: Duration = Duration::from_secs(5);
/// Time a connection that is being ended has to take what is still to be sent and to close.
const DRAIN_TIME: Duration = Duration::from_secs(1);
/// Most connections that have no device imported. When one more comes, the oldest of them is closed, so that idle ones
/// cannot keep others out.
const MAX_VISITORS: usize = 8;
/// Most devices of a server: their numbers are device addresses.
const MAX_DEVICES: usize = 127;
/// Number of the one bus all devices are on.
const BUS: u16 = 1;

/// Names a connection; never used twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ConnectionId(u64);

struct Connection {
    /// Received, not yet understood: less than one message while the hub keeps up.
    input: Vec<u8>,
    phase: Phase,
}

enum Phase {
    /// Nothing asked yet.
    Request { deadline: Duration },
    /// Has imported the device of this index.
    Imported(usize),
    /// Everything is said: the rest is sent, then the connection is closed.
    Draining { output: VecDeque<u8>, deadline: Duration },
    /// To be closed at once.
    Broken,
}

/// What the socket of a connection needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Need {
    /// Reads, if the flag says so, and sends what there is.
    Io {
        /// Whether to read.
        read: bool,
    },
    /// Everything was sent: end the sending direction and wait for the client to close.
    Finish,
    /// Close.
    Close,
}

/// Where a device is attached, or not.
struct Port {
    busid: BusId,
    /// Number on the bus, which is also the device address, 1 to 127.
    number: u8,
    device: Device,
}

impl Port {
    /// What commands call the device.
    fn devid(&self) -> u32 {
        u32::from(BUS) << 16 | u32::from(self.number)
    }

    /// The device as clients are told of it, and the class, subclass and protocol of its interfaces; `None` while it is
    /// detached.
    fn record(&self) -> Option<(wire::Device, Vec<[u8; 3]>)> {
        let set = self.device.set()?;
        // Refused by `attach` if there were more than 250.
        let interfaces: Vec<_> =
            set.interfaces.iter().map(|it| [it.class, it.subclass, it.protocol]).collect();
        let device = wire::Device {
            path: format!("/sys/devices/virtual/inband/usb{BUS}/{}", self.busid),
            busid: self.busid.clone(),
            bus: BUS.into(),
            number: self.number.into(),
            speed: wire::SPEED_HIGH,
            vendor_id: set.vendor_id,
            product_id: set.product_id,
            device_version: set.device_version,
            class: [0; 3],
            configuration: CONFIGURATION_VALUE,
            configurations: 1,
            interfaces: interfaces.len() as u8,
        };
        Some((device, interfaces))
    }
}

/// A USB/IP server without sockets.
///
/// For each connection there is [`open`](Self::open), then [`received`](Self::received), [`output`](Self::output) and
/// [`sent`](Self::sent) as [`need`](Self::need) says, and [`closed`](Self::closed) at the end. Time is counted from any fixed moment.
#[derive(Default)]
pub struct Hub {
    ports: Vec<Port>,
    connections: BTreeMap<ConnectionId, Connection>,
    next_connection: u64,
    tap: Tap,
}

impl Hub {
    /// A server without ports.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// A new port; its index, unless the name is taken or all 127 are.
    pub fn add_device(&mut self, busid: BusId) -> Option<usize> {
        let index = self.ports.len();
        if index == MAX_DEVICES || self.ports.iter().any(|port| port.busid == busid) {
            return None;
        }
        let number = index as u8 + 1;
        self.ports.push(Port { busid, number, device: Device::new(number) });
        Some(index)
    }

    /// Records all transfers from now on.
    pub fn set_tap(&mut self, recorder: Recorder<Box<dyn Write + Send>>) {
        self.tap.set(recorder);
    }

    /// The device of an index that [`add_device`](Self::add_device) gave.
    pub fn device(&mut self, index: usize) -> &mut Device {
        &mut self.ports[index].device
    }

    /// Whether a device has an event for its function.
    #[must_use]
    pub fn has_event(&self) -> bool {
        self.ports.iter().any(|port| port.device.has_event())
    }

    /// The connection that has a device imported.
    #[must_use]
    pub fn importer(&self, index: usize) -> Option<ConnectionId> {
        self.ports[index].device.peer().map(|importer| importer.connection)
    }

    /// Attaches a device, after it was detached; the connection that had it, if there was one, has now to be served.
    pub fn attach(
        &mut self,
        index: usize,
        descriptors: &DescriptorSet,
        now: Duration,
    ) -> Result<Option<ConnectionId>, DescriptorError> {
        descriptors.validate()?;
        let connection = self.detach(index, now);
        self.ports[index].device.attach(descriptors);
        Ok(connection)
    }

    /// Detaches a device; the connection that had it, if there was one, has now to be served.
    ///
    /// What is ready for the client is still sent before the connection ends, so that the answer to the request that made
    /// the device leave arrives.
    pub fn detach(&mut self, index: usize, now: Duration) -> Option<ConnectionId> {
        let importer = self.ports[index].device.detach()?;
        let connection = self.connections.get_mut(&importer.connection)?;
        connection.input = Vec::new();
        connection.phase = Phase::draining(importer.output, now);
        Some(importer.connection)
    }

    // --- connections ---

    /// A client has connected.
    pub fn open(&mut self, now: Duration) -> ConnectionId {
        let id = ConnectionId(self.next_connection);
        self.next_connection += 1;
        let mut visitors = self.connections.iter_mut().filter(|(_, connection)| match connection.phase {
            Phase::Request { .. } | Phase::Draining { .. } => true,
            Phase::Imported(_) | Phase::Broken => false,
        });
        if let Some((oldest, connection)) = visitors.next()
            && visitors.count() + 1 >= MAX_VISITORS
        {
            log::debug!("USB/IP: connection {} makes room for {}", oldest.0, id.0);
            connection.phase = Phase::Broken;
        }
        let phase = Phase::Request { deadline: now + REQUEST_TIME };
        self.connections.insert(id, Connection { input: Vec::new(), phase });
        id
    }

    /// Bytes of the client's have come. Not to be called without [`Need::Io`] with `read`; what comes during
    /// [`Need::Finish`] is to be thrown away.
    pub fn received(&mut self, id: ConnectionId, bytes: &[u8], now: Duration) {
        if let Some(connection) = self.connections.get_mut(&id) {
            connection.input.extend(bytes);
        }
        self.process(id, now);
    }

    /// The client has closed the connection, or it broke.
    pub fn closed(&mut self, id: ConnectionId) {
        if let Some(connection) = self.connections.remove(&id)
            && let Phase::Imported(device) = connection.phase
        {
            self.ports[device].device.unplug();
        }
    }

    /// What is to be sent; in one piece or more.
    #[must_use]
    pub fn output(&self, id: ConnectionId) -> &[u8] {
        self.output_queue(id).map_or(&[], |output| output.as_slices().0)
    }

    /// The first bytes of the output were sent.
    pub fn sent(&mut self, id: ConnectionId, count: usize, now: Duration) {
        let output = match self.connections.get_mut(&id).map(|connection| &mut connection.phase) {
            Some(Phase::Imported(device)) => {
                self.ports[*device].device.peer_mut().map(|importer| &mut importer.output)
            }
            Some(Phase::Draining { output, .. }) => Some(output),
            Some(Phase::Request { .. } | Phase::Broken) | None => None,
        };
        if let Some(output) = output {
            output.drain(..count.min(output.len()));
        }
        self.resume(id, now);
    }

    /// Goes on with what waited for room.
    pub fn resume(&mut self, id: ConnectionId, now: Duration) {
        if let Some(Connection { phase: Phase::Imported(device), .. }) = self.connections.get(&id) {
            self.ports[*device].device.resume();
        }
        self.process(id, now);
    }

    /// What a connection's socket needs now.
    #[must_use]
    pub fn need(&self, id: ConnectionId) -> Need {
        match self.connections.get(&id).map(|connection| &connection.phase) {
            Some(Phase::Request { .. }) => Need::Io { read: true },
            Some(Phase::Imported(device)) => {
                Need::Io { read: self.ports[*device].device.peer().is_some_and(Importer::takes_commands) }
            }
            Some(Phase::Draining { output, .. }) if output.is_empty() => Need::Finish,
            Some(Phase::Draining { .. }) => Need::Io { read: false },
            Some(Phase::Broken) | None => Need::Close,
        }
    }

    /// Ends connections whose time is over.
    pub fn tick(&mut self, now: Duration) {
        for (id, connection) in &mut self.connections {
            if let Some(deadline) = connection.phase.deadline()
                && now >= deadline
            {
                log::debug!("USB/IP: connection {} took too long", id.0);
                connection.phase = Phase::Broken;
            }
        }
    }

    /// When [`tick`](Self::tick) has something to do.
    #[must_use]
    pub fn deadline(&self) -> Option<Duration> {
        self.connections.values().filter_map(|connection| connection.phase.deadline()).min()
    }

    fn output_queue(&self, id: ConnectionId) -> Option<&VecDeque<u8>> {
        match &self.connections.get(&id)?.phase {
            Phase::Imported(device) => self.ports[*device].device.peer().map(|importer| &importer.output),
            Phase::Draining { output, .. } => Some(output),
            Phase::Request { .. } | Phase::Broken => None,
        }
    }

    /// Takes the whole messages from a connection's input.
    fn process(&mut self, id: ConnectionId, now: Duration) {
        let Some(connection) = self.connections.get_mut(&id) else { return };
        let input = mem::take(&mut connection.input);
        let mut used = 0;
        while let Some(count) = self.step(id, &input[used..], now) {
            used += count;
        }
        let Some(connection) = self.connections.get_mut(&id) else { return };
        match connection.phase {
            Phase::Request { .. } | Phase::Imported(_) => {
                connection.input = input;
                connection.input.drain(..used);
            }
            Phase::Draining { .. } | Phase::Broken => {}
        }
    }

    /// Takes one message: the bytes it had, or `None` if it is not whole, not to be taken now, or the last.
    fn step(&mut self, id: ConnectionId, input: &[u8], now: Duration) -> Option<usize> {
        let connection = self.connections.get_mut(&id)?;
        let outcome = match connection.phase {
            Phase::Request { .. } => match Request::parse(input) {
                Ok(None) => return None,
                Ok(Some((request, used))) => {
                    self.answer(id, request, now);
                    Ok(used)
                }
                Err(error) => {
                    // Anything on the machine may knock here.
                    log::debug!("USB/IP: connection {} is closed: {error}", id.0);
                    connection.phase = Phase::Broken;
                    return None;
                }
            },
            Phase::Imported(device) => {
                if !self.ports[device].device.peer().is_some_and(Importer::takes_commands) {
                    return None;
                }
                command(&mut self.ports[device], input).transpose()?
            }
            Phase::Draining { .. } | Phase::Broken => return None,
        };
        match outcome {
            Ok(used) => Some(used),
            Err(error) => {
                // Not worth more: whoever can reach the port could fill the log.
                log::debug!("USB/IP: connection {} is closed: {error}", id.0);
                self.break_off(id);
                None
            }
        }
    }

    fn break_off(&mut self, id: ConnectionId) {
        let Some(connection) = self.connections.get_mut(&id) else { return };
        if let Phase::Imported(device) = mem::replace(&mut connection.phase, Phase::Broken) {
            self.ports[device].device.unplug();
        }
    }

    fn answer(&mut self, id: ConnectionId, request: Request, now: Duration) {
        let phase = match request {
            Request::DeviceList => Phase::draining(self.device_list(), now),
            Request::Import(busid) => self.import(id, &busid, now),
        };
        if let Some(connection) = self.connections.get_mut(&id) {
            connection.phase = phase;
        }
    }

    fn device_list(&self) -> VecDeque<u8> {
        let records: Vec<_> = self.ports.iter().filter_map(Port::record).collect();
        let mut output = VecDeque::new();
        output.extend(wire::device_list_header(Status::Ok));
        output.extend((records.len() as u32).to_be_bytes());
        for (device, interfaces) in records {
            output.extend(device.to_bytes());
            for [class, subclass, protocol] in interfaces {
                output.extend([class, subclass, protocol, 0]);
            }
        }
        output
    }

    fn import(&mut self, id: ConnectionId, busid: &BusId, now: Duration) -> Phase {
        let index = self.ports.iter().position(|port| port.busid == *busid);
        let found = index.and_then(|index| Some((index, self.ports[index].record()?.0)));
        let refused = |status| Phase::draining(wire::import_header(status).into(), now);
        let Some((index, record)) = found else { return refused(Status::NoDevice) };
        let port = &mut self.ports[index];
        if port.device.peer().is_some() {
            return refused(Status::Busy);
        }
        let mut output: VecDeque<u8> = wire::import_header(Status::Ok).into();
        output.extend(record.to_bytes());
        port.device.plug(Importer::new(id, output, Ledger::new(BUS, port.number, self.tap.clone())));
        log::debug!("USB/IP: connection {} has imported {busid}", id.0);
        Phase::Imported(index)
    }
}

impl Phase {
    fn draining(output: VecDeque<u8>, now: Duration) -> Self {
        Self::Draining { output, deadline: now + DRAIN_TIME }
    }

    fn deadline(&self) -> Option<Duration> {
        match self {
            Self::Request { deadline } | Self::Draining { deadline, .. } => Some(*deadline),
            Self::Imported(_) | Self::Broken => None,
        }
    }
}

/// Takes one command for a device: the bytes it had, or `None` if it is not whole.
fn command(port: &mut Port, input: &[u8]) -> Result<Option<usize>, String> {
    let Some((header, rest)) = input.split_first_chunk::<{ wire::HEADER_SIZE }>() else { return Ok(None) };
    let command = Command::from_bytes(header).map_err(|error| error.to_string())?;
    let devid = match &command {
        Command::Submit(submit) => submit.devid,
        Command::Unlink { devid, .. } => *devid,
    };
    if devid != port.devid() {
        return Err(format!("a command for device {devid:#010x}, which is not the one imported"));
    }
    match command {
        Command::Submit(submit) => {
            let length = match submit.direction {
                inband_usb::Direction::Out => submit.length as usize,
                inband_usb::Direction::In => 0,
            };
            let Some(data) = rest.get(..length) else { return Ok(None) };
            let urb = urb(&submit);
            if !port.device.peer_mut().is_some_and(|importer| importer.submitted(&urb, data)) {
                return Err("more transfers than any driver has in flight".to_owned());
            }
            port.device.submit_urb(urb, data.to_vec());
            Ok(Some(wire::HEADER_SIZE + length))
        }
        Command::Unlink { seqnum, target, .. } => {
            port.device.unlink_urb(target.into(), |importer, found| {
                importer.return_unlink(seqnum, if found { errno::ECONNRESET } else { 0 });
            });
            Ok(Some(wire::HEADER_SIZE))
        }
    }
}
