//! A BMC on a bus in memory, with both doors: what it has of a package stays through everything, and it does what a test tells it to.

use std::{
    cell::Cell,
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::Poll,
    time::Duration,
};

use inband_bulk::{
    ChunkSet, Device,
    device::{Action, Incoming},
    interface::{self, IN, OUT},
    wire::OK,
};
use inband_dfu::wire::{FunctionalDescriptor, Request, State, Status, StatusReply};
use inband_session::{
    Door, DoorState, ResultCode, SessionState,
    status::{self, FirmwarePage, MachinePage, StatusPage},
};
use inband_store::{Slot, SlotState, text::Text};
use inband_usb::{
    DescriptorSet, DeviceBackend, DeviceEvent, Direction, HostError, Setup, TransferError,
    descriptor::{Interface, parse_configuration, parse_device},
};
use inband_virtual::memory::{self, MemoryDevice};

use crate::{
    bulk::Source,
    error::DeviceError,
    update::Contents,
    usb::{Bus, InterfaceClass, Opened, Place, Sighting, Strings},
};

/// Board and serial number.
pub(crate) const MACHINE: &str = "board";
const SERIAL: &str = "SN";
/// Reads that it has under way, and the bytes of each, at most.
const READS: usize = 4;
const READ: u64 = 64 * 1024;
/// What a message of the BMC becomes on its way: the number of the message, and its bytes.
pub(crate) type Garble = Box<dyn FnMut(usize, Vec<u8>) -> Vec<u8> + Send>;
/// What a control request is answered with, where it is not what it should be: `None` leaves the answer alone.
pub(crate) type Answer = fn(&Setup) -> Option<Vec<u8>>;

/// The BMC.
pub(crate) struct Bmc {
    backend: MemoryDevice,
    device: Device,
    dfu_mode: bool,
    /// The bulk door.
    pub(crate) bulk: DoorState,
    /// Whether page 4 is answered.
    pub(crate) tells_of_bulk: bool,
    /// The package it takes: its first bytes, and its chunks.
    head: Vec<u8>,
    chunks: Vec<Vec<u8>>,
    digest: [u8; 16],
    /// Chunks that it has.
    pub(crate) has: ChunkSet,
    /// Chunks that came over the wire.
    pub(crate) came: Vec<u32>,
    offered: Vec<u8>,
    chunk: Vec<u8>,
    session: u32,
    state: SessionState,
    result: ResultCode,
    error: Option<Status>,
    pub(crate) refuses: Option<ResultCode>,
    pub(crate) garble: Option<Garble>,
    pub(crate) answer: Option<Answer>,
    messages: usize,
    reads: VecDeque<Option<usize>>,
    enabled: bool,
}

impl Bmc {
    /// Whether what it was sent is staged.
    pub(crate) fn is_staged(&self) -> bool {
        self.state == SessionState::Staged
    }

    /// Whether a session is under way.
    pub(crate) fn is_receiving(&self) -> bool {
        self.state == SessionState::Receiving
    }

    fn set(&self) -> DescriptorSet {
        let dfu = Interface {
            class: 0xfe,
            subclass: 1,
            protocol: if self.dfu_mode { 2 } else { 1 },
            name: "bmc".into(),
            extra: FunctionalDescriptor::OURS.to_bytes().to_vec(),
            endpoints: Vec::new(),
        };
        let bulk = (self.dfu_mode && self.bulk != DoorState::Shut).then(interface::interface);
        DescriptorSet {
            vendor_id: 0x1209,
            product_id: 0x0001,
            device_version: 0x0100,
            manufacturer: "Somebody".into(),
            product: "BMC".into(),
            serial: SERIAL.into(),
            interfaces: [dfu].into_iter().chain(bulk).collect(),
        }
    }

    fn attach(&mut self) {
        self.backend.detach().unwrap();
        self.device.reset();
        self.reads.clear();
        self.enabled = false;
        let set = self.set();
        self.backend.attach(&set).unwrap();
    }

    fn step(&mut self) {
        while let Some(event) = self.backend.poll_event().unwrap() {
            match event {
                DeviceEvent::Enable | DeviceEvent::Disable => {
                    self.enabled = event == DeviceEvent::Enable;
                    self.device.reset();
                    self.ended(ResultCode::Disconnected);
                }
                DeviceEvent::Suspend | DeviceEvent::Resume => {}
                DeviceEvent::Setup(setup) => self.setup(&setup),
                DeviceEvent::Complete(completion) if completion.endpoint == OUT => {
                    let read = self.reads.pop_front();
                    self.enabled &= completion.result != Err(TransferError::Disabled);
                    if read.flatten().is_some() && completion.result.is_ok() {
                        self.take(&completion.buffer[..completion.length]);
                    }
                }
                DeviceEvent::Complete(_) => {}
            }
            self.act();
        }
        self.act();
    }

    fn act(&mut self) {
        while let Some(action) = self.device.poll_action() {
            match action {
                Action::TakeBack(Direction::Out) => {
                    self.reads.iter_mut().for_each(|read| *read = None);
                    self.backend.cancel(OUT);
                }
                Action::TakeBack(Direction::In) => self.backend.cancel(IN),
                Action::Send(message) => {
                    let number = self.messages;
                    self.messages += 1;
                    let message = match &mut self.garble {
                        Some(garble) => garble(number, message),
                        None => message,
                    };
                    // A host that has left hears of nothing.
                    drop(self.backend.submit(IN, message));
                }
            }
        }
        while self.enabled && self.dfu_mode && self.bulk != DoorState::Shut && self.reads.len() < READS {
            let under_way: usize = self.reads.iter().flatten().sum();
            let length = self.device.expected().saturating_sub(under_way as u64).min(READ);
            if length == 0 || self.backend.submit(OUT, vec![0; length as usize]).is_err() {
                break;
            }
            self.reads.push_back(Some(length as usize));
        }
    }

    /// A session that is under way ends so.
    fn ended(&mut self, result: ResultCode) {
        if self.state == SessionState::Receiving {
            self.result = result;
            self.state =
                if result == ResultCode::Aborted { SessionState::Aborted } else { SessionState::Failed };
        }
    }

    fn end(&mut self, result: ResultCode) {
        self.ended(result);
        self.device.end(result.code());
    }

    fn dfu_state(&self) -> State {
        match (self.dfu_mode, self.error) {
            (false, _) => State::AppIdle,
            (true, Some(_)) => State::DfuError,
            (true, None) if self.state == SessionState::Receiving => State::DfuDnbusy,
            (true, None) => State::DfuIdle,
        }
    }

    fn setup(&mut self, setup: &Setup) {
        if let Some(answer) = self.answer.and_then(|answer| answer(setup)) {
            self.reply(&answer[..answer.len().min(setup.length.into())]);
            return;
        }
        if (setup.request_type, setup.request) == (0xc1, status::REQUEST) {
            match self.page(setup.value) {
                Some(page) => self.reply(&page),
                None => self.stall(),
            }
            return;
        }
        let state = self.dfu_state();
        match Request::decode(setup) {
            Some(Request::GetStatus) => {
                let status = self.error.unwrap_or(Status::Ok);
                let reply = StatusReply { status, poll_timeout_ms: 1, state, string: 0 };
                self.reply(&reply.to_bytes());
            }
            Some(Request::ClrStatus) if state == State::DfuError && self.done() => self.error = None,
            Some(Request::Abort) if matches!(state, State::DfuIdle | State::DfuDnbusy) && self.done() => {
                if state == State::DfuDnbusy {
                    self.end(ResultCode::Aborted);
                }
            }
            Some(Request::Detach) if self.done() => {
                self.ended(ResultCode::Aborted);
                self.error = None;
                self.dfu_mode = !self.dfu_mode;
                self.attach();
            }
            _ => self.stall(),
        }
    }

    // A host that has given the request up hears of nothing.

    fn reply(&mut self, bytes: &[u8]) {
        let _ = self.backend.control_write(bytes);
    }

    fn stall(&mut self) {
        let _ = self.backend.control_stall();
    }

    /// Acknowledges a request without data, if it is still there.
    fn done(&mut self) -> bool {
        self.backend.control_read(&mut []) == Poll::Ready(Ok(0))
    }

    /// A page of the vendor request.
    pub(crate) fn page(&self, number: u16) -> Option<Vec<u8>> {
        let staged = self.is_staged();
        let firmware = |slot, version| FirmwarePage {
            state: SlotState::Good,
            slot,
            security_version: 1,
            bcd_device: 0x0100,
            version: Text::cut(version),
        };
        match number {
            status::STATUS_PAGE => Some(self.status(staged).encode()),
            status::SLOT_A_PAGE => Some(firmware(Slot::A, "1.0.0").encode()),
            status::SLOT_B_PAGE => Some(firmware(Slot::B, if staged { "2.0.0" } else { "0.9.0" }).encode()),
            status::MACHINE_PAGE => Some(MachinePage { machine: Text::cut(MACHINE) }.encode()),
            interface::PAGE if self.tells_of_bulk => Some(interface::Page::new(1 << 20).encode()),
            _ => None,
        }
    }

    fn status(&self, staged: bool) -> StatusPage {
        let dfu = if self.dfu_mode { DoorState::Open } else { DoorState::Armed };
        StatusPage {
            state: self.state,
            door: (self.session > 0).then_some(Door::Bulk),
            result_code: self.result.code(),
            doors: [dfu, self.bulk, DoorState::Shut, DoorState::Shut],
            on_trial: false,
            other_boots_next: staged,
            locked_out: false,
            takes_ahead: true,
            session: self.session,
            received: 0,
            announced: 0,
            running: Slot::A,
            boots_next: if staged { Slot::B } else { Slot::A },
            slots: [SlotState::Good; 2],
            bcd_device: [0x0100; 2],
            security_version: 1,
            floor: 0,
            log_records: 0,
            boots_left: 0,
            boots_given: 0,
            head: if self.session > 0 { self.digest } else { [0; 16] },
            wait_minutes: 0,
        }
    }

    fn take(&mut self, mut bytes: &[u8]) {
        let mut device = std::mem::take(&mut self.device);
        while let Some(incoming) = device.handle_bytes(&mut bytes) {
            self.on(&mut device, incoming);
        }
        self.device = device;
    }

    fn on(&mut self, device: &mut Device, incoming: Incoming<'_>) {
        let all = self.chunks.len() as u32;
        let mut end = |this: &mut Self, result: ResultCode| {
            this.ended(result);
            if result != ResultCode::Aborted {
                this.error = Some(Status::ErrFile);
            }
            device.end(result.code());
        };
        match incoming {
            Incoming::Package { .. } | Incoming::File { .. } => {
                self.session += 1;
                (self.state, self.result) = (SessionState::Receiving, ResultCode::None);
                self.offered.clear();
                self.chunk.clear();
                device.set_session(self.session);
                if let Incoming::File { .. } = incoming {
                    self.has = ChunkSet::new(all);
                    device.ask(&ChunkSet::all(all)).unwrap();
                }
            }
            Incoming::Head(bytes) => self.offered.extend_from_slice(bytes),
            Incoming::HeadEnd => {
                if let Some(result) = self.refuses {
                    end(self, result);
                } else if self.offered != self.head {
                    end(self, ResultCode::BadSignature);
                } else {
                    device.describe(self.chunks.iter().map(|chunk| chunk.len() as u32).collect()).unwrap();
                    let mut wanted = ChunkSet::new(all);
                    (0..all)
                        .filter(|chunk| !self.has.contains(*chunk))
                        .for_each(|chunk| wanted.insert(chunk));
                    device.ask(&wanted).unwrap();
                    if wanted.is_empty() {
                        self.stage(device);
                    }
                }
            }
            Incoming::Chunk { number, bytes, complete, .. } => {
                self.chunk.extend_from_slice(bytes);
                if complete {
                    let chunk = std::mem::take(&mut self.chunk);
                    self.came.push(number);
                    if chunk == self.chunks[number as usize] {
                        self.has.insert(number);
                    } else {
                        end(self, ResultCode::BadChunk);
                    }
                }
            }
            Incoming::RoundEnd => self.stage(device),
            Incoming::Broken(violation) => panic!("the host broke the protocol: {violation}"),
        }
    }

    fn stage(&mut self, device: &mut Device) {
        (self.state, self.result) = (SessionState::Staged, ResultCode::Ok);
        device.end(OK);
    }
}

/// A bus with such a BMC on it, at the only port.
pub(crate) struct Rig {
    pub(crate) bus: memory::Bus,
    bmc: Arc<Mutex<Bmc>>,
    /// Looks at the bus until a cable that was pulled is put back; `None` leaves it out.
    pub(crate) replug: Cell<Option<u32>>,
    looks: Cell<u32>,
}

impl Rig {
    /// At run time, with nothing of what is in this file.
    pub(crate) fn new(contents: &Contents, file: &mut dyn Source) -> Self {
        let (bus, backend) = memory::Bus::new();
        let load = contents.load();
        let (head, chunks) = load.parts(file);
        let digest = match contents {
            Contents::Package(package) => *package.head_digest.first_chunk().unwrap(),
            Contents::Tar(_) => [0; 16],
        };
        let mut bmc = Bmc {
            backend,
            device: Device::new(),
            dfu_mode: false,
            bulk: DoorState::Armed,
            tells_of_bulk: true,
            has: ChunkSet::new(chunks.len() as u32),
            head,
            chunks,
            digest,
            came: Vec::new(),
            offered: Vec::new(),
            chunk: Vec::new(),
            session: 0,
            state: SessionState::Idle,
            result: ResultCode::None,
            error: None,
            refuses: None,
            garble: None,
            answer: None,
            messages: 0,
            reads: VecDeque::new(),
            enabled: false,
        };
        bmc.attach();
        let bmc = Arc::new(Mutex::new(bmc));
        let rig = Self { bus, bmc, replug: Cell::new(Some(2)), looks: Cell::new(0) };
        rig.watch(|_| {});
        assert!(rig.bus.run_until(Duration::from_secs(1), || rig.bus.attached()));
        rig
    }

    /// Has this called whenever time passes, with the number of transfers that were made by then.
    pub(crate) fn watch(&self, mut look: impl FnMut(u64) + Send + 'static) {
        let (bmc, bus) = (Arc::clone(&self.bmc), self.bus.clone());
        self.bus.set_pump(move |_| {
            look(bus.transfers());
            bmc.lock().unwrap_or_else(PoisonError::into_inner).step();
            None
        });
    }

    /// The BMC, for whoever speaks with it another way.
    pub(crate) fn share(&self) -> Arc<Mutex<Bmc>> {
        Arc::clone(&self.bmc)
    }

    pub(crate) fn bmc(&self) -> MutexGuard<'_, Bmc> {
        self.bmc.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn set(&self) -> Option<DescriptorSet> {
        if !self.bus.attached() {
            self.looks.set(self.looks.get() + 1);
            if self.replug.get().is_some_and(|looks| self.looks.get() >= looks) {
                self.looks.set(0);
                self.bus.plug();
            }
        }
        self.bus.attached().then(|| self.bus.descriptors()).flatten()
    }
}

impl Bus for Rig {
    fn list(&self) -> Result<Vec<Sighting>, HostError> {
        let sighting = |set: DescriptorSet| Sighting {
            place: place(),
            vendor_id: set.vendor_id,
            product_id: set.product_id,
            device_version: set.device_version,
            interfaces: (0..)
                .zip(&set.interfaces)
                .map(|(number, it)| InterfaceClass {
                    number,
                    class: it.class,
                    subclass: it.subclass,
                    protocol: it.protocol,
                })
                .collect(),
            strings: Strings { serial: Some(set.serial), ..Strings::default() },
        };
        Ok(self.set().map(sighting).into_iter().collect())
    }

    fn open(&self, _: &Place) -> Result<Opened, DeviceError> {
        let set = self.bus.descriptors().ok_or(HostError::Gone)?;
        Ok(Opened {
            device: Box::new(self.bus.open()?),
            descriptor: parse_device(&set.device_bytes())?,
            configuration: parse_configuration(&set.configuration_bytes())?,
            strings: Strings { serial: Some(set.serial), ..Strings::default() },
        })
    }

    fn advice(&self, _: &Place, _: &HostError) -> Option<String> {
        None
    }

    fn pause(&self, time: Duration) {
        self.bus.advance(time);
    }
}

fn place() -> Place {
    Place::Port { bus: "1".into(), ports: vec![1] }
}
