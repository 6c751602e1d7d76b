//! What both sides stand for in these tests: a package, a BMC that takes it, and the wire between them.

use std::{collections::VecDeque, time::Duration};

use inband_bulk::{
    ChunkSet, Device, Host,
    device::{Action, Incoming, Violation},
    host::{self, Limits, Next},
    wire::{HEADER_LENGTH, OK, Outcome},
};
use inband_usb::Direction;

pub(crate) const BAD_SIGNATURE: u16 = 19;
pub(crate) const BAD_CHUNK: u16 = 23;
pub(crate) const ABORTED: u16 = 48;
pub(crate) const TIMEOUT: u16 = 50;
pub(crate) const SESSION: u32 = 7;

/// A package, as far as the protocol knows of one.
#[derive(Clone, Debug)]
pub(crate) struct Package {
    pub(crate) head: Vec<u8>,
    pub(crate) chunks: Vec<Vec<u8>>,
}

impl Package {
    /// One with chunks of these lengths.
    pub(crate) fn new(lengths: &[usize]) -> Self {
        let chunks = lengths.iter().enumerate().map(|(number, length)| {
            (0..*length).map(|at| (at * 7 + number * 31 + 1) as u8).collect::<Vec<_>>()
        });
        Self { head: (0..3584).map(|at| at as u8 ^ 0x5a).collect(), chunks: chunks.collect() }
    }

    pub(crate) fn lengths(&self) -> Vec<u32> {
        self.chunks.iter().map(|chunk| chunk.len() as u32).collect()
    }

    pub(crate) fn set(&self, numbers: impl IntoIterator<Item = u32>) -> ChunkSet {
        let mut set = ChunkSet::new(self.chunks.len() as u32);
        numbers.into_iter().for_each(|chunk| set.insert(chunk));
        set
    }
}

/// The owner of a device: what the daemon is on a BMC. The package that it knows stands for what the hashes would tell.
#[derive(Clone, Debug)]
pub(crate) struct Bmc {
    pub(crate) device: Device,
    pub(crate) package: Package,
    /// Chunks that it believes to have.
    pub(crate) hints: ChunkSet,
    /// Chunks that it has.
    pub(crate) has: ChunkSet,
    pub(crate) staged: bool,
    pub(crate) broken: Vec<Violation>,
    /// Chunks that came over the wire.
    pub(crate) came: Vec<u32>,
    head: Vec<u8>,
    chunk: Vec<u8>,
}

impl Bmc {
    /// With these chunks of the package in place, and hints of those besides.
    pub(crate) fn new(package: &Package, has: ChunkSet, wrong: &ChunkSet) -> Self {
        let mut hints = has.clone();
        hints.extend(wrong);
        Self {
            device: Device::new(),
            package: package.clone(),
            hints,
            has,
            staged: false,
            broken: Vec::new(),
            came: Vec::new(),
            head: Vec::new(),
            chunk: Vec::new(),
        }
    }

    /// With nothing in place.
    pub(crate) fn empty(package: &Package) -> Self {
        Self::new(package, package.set([]), &package.set([]))
    }

    /// A read came home with these bytes.
    pub(crate) fn take_read(&mut self, bytes: &[u8]) {
        self.take(bytes);
        if let Some(incoming) = self.device.handle_end_of_read() {
            self.on(incoming);
        }
    }

    /// Bytes have come.
    pub(crate) fn take(&mut self, mut bytes: &[u8]) {
        while let Some(incoming) = self.device.handle_bytes(&mut bytes) {
            self.on(incoming);
        }
        assert!(bytes.is_empty(), "no more was read than was due");
    }

    pub(crate) fn on(&mut self, incoming: Incoming<'_>) {
        match incoming {
            Incoming::Package { .. } | Incoming::File { .. } => {
                self.staged = false;
                self.head.clear();
                self.chunk.clear();
                self.device.set_session(SESSION);
                if let Incoming::File { .. } = incoming {
                    let all = ChunkSet::all(self.package.chunks.len() as u32);
                    self.device.ask(&all).unwrap();
                }
            }
            Incoming::Head(bytes) => self.head.extend_from_slice(bytes),
            Incoming::HeadEnd => {
                if self.head != self.package.head {
                    self.device.end(BAD_SIGNATURE);
                    return;
                }
                self.device.describe(self.package.lengths()).unwrap();
                let all = 0..self.package.chunks.len() as u32;
                let wanted = self.package.set(all.filter(|chunk| !self.hints.contains(*chunk)));
                self.device.ask(&wanted).unwrap();
                if wanted.is_empty() {
                    self.settle();
                }
            }
            Incoming::Chunk { number, offset, bytes, complete } => {
                assert_eq!(offset as usize, self.chunk.len());
                self.chunk.extend_from_slice(bytes);
                if complete {
                    let chunk = std::mem::take(&mut self.chunk);
                    self.came.push(number);
                    if chunk == self.package.chunks[number as usize] {
                        self.has.insert(number);
                    } else {
                        self.device.end(BAD_CHUNK);
                    }
                }
            }
            Incoming::RoundEnd => self.settle(),
            Incoming::Broken(violation) => self.broken.push(violation),
        }
    }

    /// All that was asked for is there: the hints are looked at.
    fn settle(&mut self) {
        let all = 0..self.package.chunks.len() as u32;
        let missing = self.package.set(all.filter(|chunk| !self.has.contains(*chunk)));
        if missing.is_empty() {
            self.staged = true;
            self.device.end(OK);
        } else {
            self.device.ask(&missing).unwrap();
        }
        self.hints = self.has.clone();
    }
}

/// What happens to the messages of one direction: they are counted, and each may become any bytes.
pub(crate) type Fault = Box<dyn FnMut(usize, Vec<u8>) -> Vec<Vec<u8>>>;

/// Nothing happens to any message.
pub(crate) fn no_fault() -> Fault {
    Box::new(|_, message| vec![message])
}

/// How an exchange ended for the host.
pub(crate) type Ended = Result<Outcome, host::Error>;

/// Both sides and the wire, which fills a posted read and ends nothing before it is full.
pub(crate) struct Wire {
    pub(crate) bmc: Bmc,
    /// Given out by the host, not yet taken.
    out: VecDeque<u8>,
    /// Transfers of the host's that have not ended.
    transfers: VecDeque<usize>,
    /// Bytes taken of the first of these.
    taken: usize,
    /// The device's read, and what is in it.
    read: Option<(usize, Vec<u8>)>,
    /// Sent by the device, not yet taken.
    input: VecDeque<u8>,
    /// The host's read, likewise.
    host_read: Option<(usize, Vec<u8>)>,
    pub(crate) out_fault: Fault,
    pub(crate) in_fault: Fault,
    pub(crate) out_count: usize,
    in_count: usize,
    /// Bytes that a read of the device's asks for at most.
    pub(crate) most_read: usize,
    now: Duration,
}

impl Wire {
    pub(crate) fn new(bmc: Bmc) -> Self {
        Self {
            bmc,
            out: VecDeque::new(),
            transfers: VecDeque::new(),
            taken: 0,
            read: None,
            input: VecDeque::new(),
            host_read: None,
            out_fault: no_fault(),
            in_fault: no_fault(),
            out_count: 0,
            in_count: 0,
            most_read: 2048,
            now: Duration::ZERO,
        }
    }

    /// Drives an exchange to its end, or until the host has given out `most` messages. `data` is what the host's file has.
    pub(crate) fn run(&mut self, host: &mut Host, data: &Package, most: usize) -> Option<Ended> {
        loop {
            let mut busy = false;
            while self.out_count < most {
                let message = match host.poll_next() {
                    Ok(Next::Submit(message)) => message,
                    Ok(Next::Chunk { number, length, mut message }) => {
                        let chunk = &data.chunks[number as usize];
                        assert_eq!(chunk.len(), length as usize);
                        message[HEADER_LENGTH..HEADER_LENGTH + chunk.len()].copy_from_slice(chunk);
                        message
                    }
                    Ok(Next::Wait) => break,
                    Ok(Next::Over(outcome)) => return Some(Ok(outcome)),
                    Err(error) => return Some(Err(error)),
                };
                busy = true;
                assert_eq!(message.len() % 512, 0);
                self.give_out(host, message);
            }
            busy |= self.move_out(host);
            busy |= self.move_in(host);
            if busy {
                continue;
            }
            if self.out_count >= most {
                return None;
            }
            // Nothing moves: a deadline of the device's passes first, then one of the host's.
            if !self.bmc.device.is_idle() && !self.bmc.device.is_owing() {
                self.bmc.device.end(TIMEOUT);
                continue;
            }
            self.now = host.poll_timeout().expect("nothing moves, and nobody waits");
            let _ = host.handle_timeout(self.now);
        }
    }

    fn give_out(&mut self, host: &mut Host, message: Vec<u8>) {
        let length = message.len();
        let becomes = (self.out_fault)(self.out_count, message);
        self.out_count += 1;
        let [becomes] = becomes.as_slice() else {
            // What is lost or doubled on the way was sent, for the host.
            host.handle_sent(self.now, length);
            self.out.extend(becomes.concat());
            return;
        };
        self.out.extend(becomes);
        if becomes.len() == length {
            self.transfers.push_back(length);
        } else {
            host.handle_sent(self.now, length);
        }
    }

    fn move_out(&mut self, host: &mut Host) -> bool {
        let expected = self.bmc.device.expected();
        if self.read.is_none() && expected > 0 {
            let length = usize::try_from(expected).unwrap().min(self.most_read);
            assert_eq!(length % 512, 0, "a read that is no multiple of wMaxPacketSize");
            self.read = Some((length, Vec::new()));
        }
        let mut busy = false;
        if let Some((length, bytes)) = &mut self.read {
            let moved = (*length - bytes.len()).min(self.out.len());
            bytes.extend(self.out.drain(..moved));
            busy = moved > 0;
            self.taken += moved;
            while self.transfers.front().is_some_and(|transfer| *transfer <= self.taken) {
                let transfer = self.transfers.pop_front().unwrap();
                self.taken -= transfer;
                host.handle_sent(self.now, transfer);
            }
            if bytes.len() == *length {
                let bytes = std::mem::take(bytes);
                self.read = None;
                busy = true;
                self.bmc.take_read(&bytes);
            }
        }
        while let Some(action) = self.bmc.device.poll_action() {
            busy = true;
            match action {
                // What was in it goes with it.
                Action::TakeBack(Direction::Out) => self.read = None,
                Action::TakeBack(Direction::In) => self.input.clear(),
                Action::Send(message) => {
                    assert_eq!(message.len() % 512, 0);
                    let becomes = (self.in_fault)(self.in_count, message);
                    self.in_count += 1;
                    self.input.extend(becomes.concat());
                }
            }
        }
        busy
    }

    fn move_in(&mut self, host: &mut Host) -> bool {
        if self.host_read.is_none() && host.expected() > 0 {
            assert_eq!(host.expected() % 512, 0);
            self.host_read = Some((host.expected(), Vec::new()));
        }
        let Some((length, bytes)) = &mut self.host_read else { return false };
        let moved = (*length - bytes.len()).min(self.input.len());
        bytes.extend(self.input.drain(..moved));
        if bytes.len() == *length {
            let bytes = std::mem::take(bytes);
            self.host_read = None;
            // The next step says what it failed with.
            let _ = host.handle_received(self.now, &bytes);
        }
        moved > 0
    }

    /// The host takes its transfers back, and ends whatever is under way by ABORT. `keep` units of what it had given out are on their way all
    /// the same.
    pub(crate) fn abort(&mut self, keep: usize) {
        self.out.truncate((keep * 512).min(self.out.len()));
        self.transfers.clear();
        self.taken = 0;
        self.host_read = None;
        self.out_fault = no_fault();
        self.in_fault = no_fault();
        self.out_count = 0;
        self.bmc.device.end(ABORTED);
    }

    /// The cable is pulled and put back.
    pub(crate) fn replug(&mut self) {
        self.abort(0);
        self.bmc.device.reset();
        self.read = None;
        self.input.clear();
    }
}

/// A host that offers a package.
pub(crate) fn offer(package: &Package, exchange: u32) -> Host {
    let limits = Limits { under_way: 4096, ..Limits::default() };
    Host::offer(Duration::ZERO, limits, exchange, &package.head, package.lengths()).unwrap()
}
