//! Both sides over a bus, with transfers in flight: what reads ask for is what comes, the wire does not rest, and whatever happens to a
//! transfer, the next exchange brings the rest.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex},
    task::Poll,
    time::Duration,
};

use inband_bulk::{
    Host,
    device::{Action, Violation},
    host::{Error, Limits, Next},
    interface::{self, IN, OUT},
    wire::{HEADER_LENGTH, Kind, OK, Outcome, message},
};
use inband_usb::{
    DeviceBackend, DeviceEvent, Direction, HostDevice, HostError, HostTransfer, Setup, TransferError,
};
use inband_virtual::memory::{self, Bus, Fault, FaultPlan, MemoryDevice, MemoryHost, Step};

use crate::frozen::set;
use crate::sides::{ABORTED, Bmc, Package, SESSION, TIMEOUT};

/// DFU_ABORT.
const ABORT: Setup = Setup { request_type: 0x21, request: 6, value: 0, index: 0, length: 0 };
/// Reads that the device has under way, and the bytes of each, at most.
const READS: usize = 4;
const READ: u64 = 64 * 1024;
/// How long a host puts up with a transfer to the device.
const PATIENCE: Duration = Duration::from_secs(120);
/// After so long without a byte the device ends an exchange in which bytes are due.
const PROGRESS: Duration = Duration::from_secs(60);
const STAGED: Outcome = Outcome { result: OK, session: SESSION };

/// What drives the device's side: its transfers, and ABORT.
struct Driver {
    backend: MemoryDevice,
    bmc: Bmc,
    /// Lengths of the reads under way, oldest first; `None` for those that were taken back.
    reads: VecDeque<Option<usize>>,
    /// The host has configured the device, and nothing has come home since that says otherwise.
    enabled: bool,
    active_at: Duration,
}

impl Driver {
    fn step(&mut self, now: Duration) -> Option<Duration> {
        while let Some(event) = self.backend.poll_event().unwrap() {
            match event {
                DeviceEvent::Enable | DeviceEvent::Disable => {
                    self.enabled = event == DeviceEvent::Enable;
                    self.bmc.device.reset();
                }
                DeviceEvent::Suspend | DeviceEvent::Resume => {}
                DeviceEvent::Setup(setup) if setup == ABORT => {
                    if self.backend.control_read(&mut []) == Poll::Ready(Ok(0)) {
                        self.bmc.device.end(ABORTED);
                    }
                }
                DeviceEvent::Setup(_) => self.backend.control_stall().unwrap(),
                DeviceEvent::Complete(completion) if completion.endpoint == OUT => {
                    let read = self.reads.pop_front().expect("a read that was under way");
                    self.enabled &= completion.result != Err(TransferError::Disabled);
                    if read.is_some() && completion.result.is_ok() {
                        self.active_at = now;
                        self.bmc.take_read(&completion.buffer[..completion.length]);
                    }
                }
                DeviceEvent::Complete(_) => {}
            }
            self.act();
        }
        let due = self.active_at + PROGRESS;
        let waits = !self.bmc.device.is_idle() && !self.bmc.device.is_owing();
        if waits && due <= now {
            self.bmc.device.end(TIMEOUT);
        }
        self.act();
        waits.then_some(due)
    }

    /// What the device wants of its endpoints.
    fn act(&mut self) {
        while let Some(action) = self.bmc.device.poll_action() {
            match action {
                Action::TakeBack(Direction::Out) => {
                    self.reads.iter_mut().for_each(|read| *read = None);
                    self.backend.cancel(OUT);
                }
                Action::TakeBack(Direction::In) => self.backend.cancel(IN),
                // A host that has left hears of nothing.
                Action::Send(message) => drop(self.backend.submit(IN, message)),
            }
        }
        while self.enabled && self.reads.len() < READS {
            let under_way: usize = self.reads.iter().flatten().sum();
            let length = self.bmc.device.expected().saturating_sub(under_way as u64).min(READ);
            if length == 0 || self.backend.submit(OUT, vec![0; length as usize]).is_err() {
                break;
            }
            self.reads.push_back(Some(length as usize));
        }
    }
}

/// A bus with a BMC on it, in DFU mode.
struct Rig {
    bus: Bus,
    driver: Arc<Mutex<Driver>>,
}

impl Rig {
    fn new(bmc: Bmc) -> Self {
        let (bus, mut backend) = Bus::new();
        backend.attach(&set(&[interface::interface()])).unwrap();
        let driver =
            Driver { backend, bmc, reads: VecDeque::new(), enabled: false, active_at: Duration::ZERO };
        let driver = Arc::new(Mutex::new(driver));
        let pumped = Arc::clone(&driver);
        bus.set_pump(move |now| pumped.lock().unwrap().step(now));
        let rig = Self { bus, driver };
        assert!(rig.bus.run_until(Duration::from_secs(1), || rig.bus.attached()));
        rig
    }

    /// What a host program does from its start to its end, or to what it cannot go on from.
    fn session(&self, package: &Package, exchange: u32) -> Result<Outcome, String> {
        let mut usb = self.open()?;
        let now = usb.now();
        let lengths = package.lengths();
        let host = Host::offer(now, Limits::default(), exchange, &package.head, lengths).unwrap();
        exchange_over(&mut usb, host, package)
    }

    /// What a host does before an exchange.
    fn open(&self) -> Result<MemoryHost, String> {
        let mut usb = self.bus.open().map_err(|error| error.to_string())?;
        let (bulk, dfu) = (interface::INTERFACE, 0);
        usb.claim(dfu).map_err(|error| error.to_string())?;
        usb.claim(bulk).map_err(|error| error.to_string())?;
        let setup = HostTransfer::ControlOut { setup: ABORT, data: Vec::new() };
        usb.run(setup, Duration::from_secs(5)).map_err(|error| error.to_string())?;
        Ok(usb)
    }

    fn bmc<T>(&self, look: impl FnOnce(&mut Bmc) -> T) -> T {
        look(&mut self.driver.lock().unwrap().bmc)
    }
}

/// Runs an exchange over an opened device.
fn exchange_over(usb: &mut MemoryHost, mut host: Host, package: &Package) -> Result<Outcome, String> {
    let (mut outs, mut ins) = (Vec::new(), Vec::new());
    let mut moved_at = usb.now();
    loop {
        loop {
            let data = match host.poll_next().map_err(|error| error.to_string())? {
                Next::Submit(data) => data,
                Next::Chunk { number, length, mut message } => {
                    let chunk = &package.chunks[number as usize];
                    message[HEADER_LENGTH..HEADER_LENGTH + length as usize].copy_from_slice(chunk);
                    message
                }
                Next::Wait => break,
                Next::Over(outcome) => return Ok(outcome),
            };
            let transfer = HostTransfer::BulkOut { endpoint: OUT, data };
            outs.push(usb.submit(transfer).map_err(|error| error.to_string())?);
        }
        let posted: usize = ins.iter().map(|(_, length)| length).sum();
        let length = host.expected().saturating_sub(posted);
        if length > 0 {
            let transfer = HostTransfer::BulkIn { endpoint: IN, length };
            ins.push((usb.submit(transfer).map_err(|error| error.to_string())?, length));
        }
        let mut news = false;
        while let Some(completion) = usb.poll() {
            news = true;
            moved_at = usb.now();
            completion.result.map_err(|error: HostError| error.to_string())?;
            if outs.contains(&completion.id) {
                outs.retain(|id| *id != completion.id);
                host.handle_sent(moved_at, completion.length);
            } else {
                ins.retain(|(id, _)| *id != completion.id);
                host.handle_received(moved_at, &completion.data).map_err(|error| error.to_string())?;
            }
        }
        let now = usb.now();
        host.handle_timeout(now).map_err(|error: Error| error.to_string())?;
        if !outs.is_empty() && now >= moved_at + PATIENCE {
            return Err("the device takes nothing".into());
        }
        if !news {
            usb.wait(Duration::from_secs(10));
        }
    }
}

/// Chunks as a packer cuts them.
fn package() -> Package {
    Package::new(&[40_000, 131_072, 16_384, 65_516, 30_000, 1])
}

#[test]
fn an_update_over_a_bus() {
    let package = package();
    let rig = Rig::new(Bmc::empty(&package));
    assert_eq!(rig.session(&package, 1), Ok(STAGED));
    assert_eq!(rig.bmc(|bmc| (bmc.staged, bmc.has.len())), (true, 6));
    // Once more: it is all there.
    rig.bmc(|bmc| bmc.came.clear());
    assert_eq!(rig.session(&package, 2), Ok(STAGED));
    assert_eq!(rig.bmc(|bmc| bmc.came.len()), 0);
}

/// 13 packets in a microframe are what high speed has (USB 2.0, 5.8.4). A wire that rested between chunks would take longer.
#[test]
fn the_wire_does_not_rest() {
    let package = Package::new(&vec![42_000; 200]);
    let rig = Rig::new(Bmc::empty(&package));
    let before = rig.bus.now();
    assert_eq!(rig.session(&package, 1), Ok(STAGED));
    let time = rig.bus.now() - before;
    let bytes = 200 * 42_000_u32;
    let least = Duration::from_micros(125) * bytes.div_ceil(13 * 512);
    assert!(time < least * 115 / 100, "{time:?} for what takes {least:?} at least");
}

/// The cable is pulled, the bus is reset, or a transfer gets lost, at the beginning, in the middle and at the end of each
/// transfer: the next session sends what is missing, and no more than was under way a second time.
#[test]
fn every_fault_of_every_transfer() {
    let package = package();
    let rig = Rig::new(Bmc::empty(&package));
    rig.bus.set_faults(FaultPlan::default());
    assert_eq!(rig.session(&package, 1), Ok(STAGED));
    let transfers = rig.bus.transfers();
    assert_eq!(transfers, 10, "ABORT, the OFFER, six chunks, two reads");

    let mut failures = 0;
    for action in [memory::Action::Unplug, memory::Action::Reset, memory::Action::Drop] {
        for transfer in 0..transfers {
            for step in [Step::Setup, Step::Data(1024), Step::Status] {
                let rig = Rig::new(Bmc::empty(&package));
                rig.bus.set_faults(FaultPlan::new([Fault { transfer, step, action: action.clone() }]));
                let first = rig.session(&package, 1);
                let staged = rig.bmc(|bmc| bmc.staged);
                if first != Ok(STAGED) {
                    failures += 1;
                }
                assert!(staged || first != Ok(STAGED), "{action:?} at {step:?} of {transfer}: a lie");
                rig.bus.plug();
                assert!(rig.bus.run_until(Duration::from_secs(1), || rig.bus.attached()));
                // What had come is worked on.
                rig.bus.advance(Duration::from_millis(1));
                let has = rig.bmc(|bmc| {
                    bmc.came.clear();
                    bmc.hints = bmc.has.clone();
                    bmc.has.len()
                });
                let second = rig.session(&package, 2);
                assert_eq!(second, Ok(STAGED), "behind {action:?} at {step:?} of {transfer}, {first:?}");
                let came = rig.bmc(|bmc| bmc.came.len());
                assert_eq!(came as u32 + has, 6, "behind {action:?} at {step:?} of {transfer}");
            }
        }
    }
    assert!(failures > 50, "{failures} sessions failed");
}

/// A host that leaves a part of a packet behind, in the middle of an exchange or before one: the next one finds the stream as it has to be.
#[test]
fn short_packets() {
    let package = package();
    for units in 0..=8 {
        let rig = Rig::new(Bmc::empty(&package));
        let mut usb = rig.open().unwrap();
        let mut data = message(Kind::Offer, 1, 0, &package.head);
        data.truncate(units * 512);
        data.extend([0; 10]);
        usb.run(HostTransfer::BulkOut { endpoint: OUT, data }, Duration::from_secs(5)).unwrap();
        drop(usb);
        rig.bus.advance(Duration::from_millis(1));
        let broken = rig.bmc(|bmc| bmc.broken.clone());
        assert_eq!(broken, vec![Violation::ShortTransfer; units.min(1)], "{units}");
        assert_eq!(rig.session(&package, 2), Ok(STAGED), "{units}");
    }
}
