//! The bulk door (docs/spec/bulk.md): its endpoints, and what comes and goes by them.
//!
//! The answering half cuts nothing and copies nothing: a read's buffer goes to the worker as it came, with a list of what is in it, and
//! comes back when the worker is through. The buffers are all there is: with none left nothing is read, and the host waits.

use std::{collections::VecDeque, time::Duration};

use inband_bulk::{
    ChunkSet, Device,
    device::{Action, Incoming},
    interface::{self, IN, OUT},
    wire::{UNIT, pieces},
};
use inband_dfu::{descriptors::Identity, device::Elsewhere, wire::State};
use inband_session::{Door, DoorState, Offered, Progress, ResultCode, SessionState};
use inband_usb::{Completion, DescriptorSet, DeviceBackend, Direction, SubmitError, TransferError};

use super::{BACKLOG, Bmc, Fault, dfu_status};
use crate::worker::{Command, Part, Payload, Worker};

/// Bytes of a buffer, and of a read at most.
const READ: usize = 64 * 1024;
/// Buffers there are.
const BUFFERS: usize = 16;
/// Reads under way at most: enough for the controller to have one while the last is looked at.
const READS: usize = 4;
/// Bytes that are taken before they are worked on, at most: page 4 tells it.
const POOL: u32 = (BUFFERS * READ) as u32;

/// The page of the vendor request that tells of the interface.
pub(super) fn page() -> Vec<u8> {
    interface::Page::new(POOL).encode()
}

/// The DFU-mode descriptors, with the bulk interface or without.
pub(crate) fn dfu_mode(identity: &Identity, bulk: bool) -> DescriptorSet {
    let mut set = inband_dfu::descriptors::dfu_mode(identity);
    if bulk {
        set.interfaces.push(interface::interface());
    }
    set
}

/// Both endpoints, and the stream on them.
pub(super) struct Endpoints {
    device: Device,
    /// The interface is on the bus.
    shown: bool,
    /// The controller would not have it when it was tried last.
    refused: bool,
    /// The host has configured the device, and nothing has come home since that says otherwise.
    enabled: bool,
    /// Lengths of the reads under way, oldest first; `None` for those that were taken back.
    reads: VecDeque<Option<usize>>,
    /// Buffers that nobody has.
    free: Vec<Vec<u8>>,
    /// Buffers that the worker has.
    lent: usize,
    /// Portions since the last whose end is awaited.
    unawaited: usize,
    /// Messages that are not given to the controller yet.
    unsent: VecDeque<Vec<u8>>,
    /// What comes is a file, whole.
    file: bool,
}

impl Endpoints {
    pub(super) fn new() -> Self {
        Self {
            device: Device::new(),
            shown: false,
            refused: false,
            enabled: false,
            reads: VecDeque::new(),
            free: Vec::new(),
            lent: 0,
            unawaited: 0,
            unsent: VecDeque::new(),
            file: false,
        }
    }

    /// The interface is about to appear. All memory that it takes is taken now.
    fn open(&mut self) {
        self.shown = true;
        let missing = BUFFERS.saturating_sub(self.lent);
        self.free.resize_with(missing, || Vec::with_capacity(READ));
    }

    /// The device has left the bus.
    pub(super) fn close(&mut self) {
        // The worker may have buffers still.
        *self = Self { lent: self.lent, unawaited: self.unawaited, refused: self.refused, ..Self::new() };
    }

    /// Whether the controller would not have the interface when it was tried last.
    pub(super) const fn is_refused(&self) -> bool {
        self.refused
    }

    /// The machine has started anew: what its controller has is not known.
    pub(super) const fn forget_refusal(&mut self) {
        self.refused = false;
    }

    /// What comes next in a read.
    fn next<'a>(&mut self, input: &mut &'a [u8]) -> Option<Incoming<'a>> {
        self.device.handle_bytes(input).or_else(|| self.device.handle_end_of_read())
    }

    /// A buffer goes to the worker. Returns whether its return wakes us: one in [`READS`] does. When no buffer is left the worker has many
    /// more, so that a wake-up comes in time; one for each would cost as much as taking it.
    const fn lend(&mut self) -> bool {
        self.lent += 1;
        self.unawaited = (self.unawaited + 1) % READS;
        self.unawaited == 0
    }

    /// The worker is through with a buffer.
    fn take_home(&mut self, buffer: Vec<u8>) {
        self.lent = self.lent.saturating_sub(1);
        self.recycle(buffer);
    }

    fn recycle(&mut self, buffer: Vec<u8>) {
        if self.shown && self.free.len() + self.lent < BUFFERS {
            self.free.push(buffer);
        }
    }
}

impl<B: DeviceBackend, W: Worker> Bmc<B, W> {
    /// The doors that DETACH opens are open; returns whether bulk is one of them.
    pub(super) fn open_bulk(&mut self, now: Duration) -> bool {
        // Tried each time: what has the endpoints may be gone, and asking costs a kernel less than the mode switch.
        if self.bulk.refused {
            self.session.reinstate(Door::Bulk);
        }
        let opens = self.options.bulk
            && self.session.door(Door::Bulk) != DoorState::Shut
            && self.session.knock(Door::Bulk, now).is_ok();
        if opens {
            self.bulk.open();
        }
        opens
    }

    /// The interface is on the bus.
    pub(super) fn bulk_is_there(&mut self) {
        if self.bulk.refused {
            self.bulk.refused = false;
            log::info!("event=bulk-available: the USB side takes the bulk interface again");
        }
    }

    /// The USB side would not have the interface. The door `dfu` needs no endpoints.
    pub(super) fn do_without_bulk(&mut self, error: &B::Error) {
        self.bulk.close();
        self.session.withdraw(Door::Bulk);
        // Once: a host could have it told again and again.
        if !self.bulk.refused {
            self.bulk.refused = true;
            log::warn!(
                "event=bulk-unavailable reason: {error}; DFU mode goes without the bulk interface, which is tried again with each entry. It takes \
                 two bulk endpoints: free them of other gadgets, or set doors.bulk.policy = \"off\", see docs/kernels.md"
            );
        }
    }

    /// The host configured the device, reset it or is gone: the stream begins anew.
    pub(super) fn reset_bulk(&mut self, enabled: bool) {
        self.bulk.enabled = enabled;
        self.bulk.unsent.clear();
        self.bulk.device.reset();
    }

    /// Takes back all that the controller has. A host that left behind any packet, which at full speed is in the middle of a unit, has left a part
    /// of one in a read, or of a message; no next host has sent or read anything before what it begins with is acknowledged.
    pub(super) fn straighten_bulk(&mut self) {
        if self.bulk.shown {
            self.bulk.unsent.clear();
            self.backend.cancel(IN);
            self.take_reads_back();
        }
    }

    fn take_reads_back(&mut self) {
        self.bulk.reads.iter_mut().for_each(|read| *read = None);
        self.backend.cancel(OUT);
    }

    /// A transfer has come home.
    pub(super) fn handle_completion(
        &mut self,
        now: Duration,
        completion: Completion,
    ) -> Result<(), Fault<B::Error>> {
        let Completion { endpoint, buffer, length, result } = completion;
        if endpoint != OUT {
            return Ok(());
        }
        // What is left of a set that is not on the bus any more has no read here.
        let Some(read) = self.bulk.reads.pop_front() else { return Ok(()) };
        // Of one that was taken back it may be the controller's word for that; where the endpoint is disabled indeed, an event tells.
        self.bulk.enabled &= read.is_none() || result != Err(TransferError::Disabled);
        match result {
            Ok(()) if read.is_some() => self.take(now, buffer, length),
            Err(TransferError::Overflow) if read.is_some() => {
                self.bulk.recycle(buffer);
                self.break_off(now, &"a packet that is too long")
            }
            Err(TransferError::Failed) if read.is_some() => {
                self.bulk.recycle(buffer);
                self.break_off(now, &"a controller that has failed")
            }
            Ok(()) | Err(_) => {
                self.bulk.recycle(buffer);
                Ok(())
            }
        }
    }

    /// Whole units have come.
    fn take(&mut self, now: Duration, buffer: Vec<u8>, length: usize) -> Result<(), Fault<B::Error>> {
        let mut parts = Vec::new();
        let mut due = None;
        let mut broken = None;
        let mut input = &buffer[..length];
        while let Some(incoming) = self.bulk.next(&mut input) {
            let end = length - input.len();
            let (what, bytes) = match incoming {
                Incoming::Package { .. } => {
                    self.begin_exchange(now, None)?;
                    continue;
                }
                Incoming::File { length } => {
                    self.begin_exchange(now, Some(length))?;
                    continue;
                }
                Incoming::HeadEnd => {
                    due = self.current.map(|session| Command::Offered { session });
                    continue;
                }
                Incoming::RoundEnd => {
                    due = self.current.map(|session| {
                        if self.bulk.file {
                            Command::EndOfFile { session, lacking: ResultCode::Truncated }
                        } else {
                            Command::Settle { session }
                        }
                    });
                    continue;
                }
                Incoming::Broken(violation) => {
                    // What came before counts.
                    broken = Some(violation);
                    continue;
                }
                Incoming::Head(bytes) => (Payload::File, bytes),
                Incoming::Chunk { bytes, .. } if self.bulk.file => (Payload::File, bytes),
                Incoming::Chunk { number, bytes, .. } => (Payload::Chunk(number), bytes),
            };
            self.session.progress(bytes.len() as u64, now);
            parts.push(Part { what, range: end - bytes.len()..end });
        }
        match self.current {
            Some(session) if !parts.is_empty() => {
                let awaited = self.bulk.lend();
                self.worker.send(Command::Portion { session, bytes: buffer, parts, awaited })?;
            }
            Some(_) | None => self.bulk.recycle(buffer),
        }
        if let Some(violation) = broken {
            return self.break_off(now, &violation);
        }
        due.map_or(Ok(()), |command| Ok(self.worker.send(command)?))
    }

    /// The host begins an exchange: with a package, or with a file of so many bytes.
    fn begin_exchange(&mut self, now: Duration, file: Option<u64>) -> Result<(), Fault<B::Error>> {
        let begins = match self.dfu.state() {
            State::DfuIdle if self.dfu.begin_elsewhere(now) => Ok(()),
            State::DfuError => Err(ResultCode::Sequence),
            _ => Err(ResultCode::Busy),
        };
        if let Err(code) = begins {
            self.bulk.device.end(code.code());
            return Ok(());
        }
        self.forget_last();
        let door = Door::Bulk;
        let begun =
            if self.worker.backlog() >= BACKLOG { Err(ResultCode::Busy) } else { self.begin_by(door, now) };
        let (session, expected) = match begun {
            Ok(begun) => begun,
            Err(code) => {
                self.end_exchange(now, code);
                return Ok(());
            }
        };
        self.bulk.device.set_session(session);
        self.bulk.file = file.is_some();
        let Some(length) = file else {
            return Ok(self.worker.send(Command::BeginOffer { session, door, now, expected })?);
        };
        self.worker.send(Command::Begin { session, door, now, expected })?;
        let count = u32::try_from(pieces(length).len()).unwrap_or(u32::MAX);
        self.ask_for(now, &ChunkSet::all(count))
    }

    /// Asks the host for chunks.
    fn ask_for(&mut self, now: Duration, chunks: &ChunkSet) -> Result<(), Fault<B::Error>> {
        match self.bulk.device.ask(chunks) {
            Ok(()) => Ok(()),
            Err(misuse) => self.fail_exchange(now, ResultCode::Internal, &misuse),
        }
    }

    /// The host broke the protocol, which ends the exchange that is under way, if there is one.
    fn break_off(&mut self, now: Duration, why: &dyn std::fmt::Display) -> Result<(), Fault<B::Error>> {
        if self.is_by(Door::Bulk) && self.session.state() == SessionState::Receiving {
            self.fail_exchange(now, ResultCode::Protocol, why)
        } else {
            Ok(())
        }
    }

    /// The exchange that is under way failed on this side of the worker.
    fn fail_exchange(
        &mut self,
        now: Duration,
        code: ResultCode,
        why: &dyn std::fmt::Display,
    ) -> Result<(), Fault<B::Error>> {
        let id = self.session.id();
        self.audit.warn(now, format_args!("event=exchange-ended session={id} result={code} reason: {why}"));
        _ = self.session.verdict(id, Err(code), now);
        self.end_current(now, code)
    }

    /// The exchange is over; host and DFU are told.
    pub(super) fn end_exchange(&mut self, now: Duration, code: ResultCode) {
        self.bulk.device.end(code.code());
        let end = match code {
            ResultCode::Ok => Elsewhere::Staged,
            ResultCode::Aborted | ResultCode::Disconnected => Elsewhere::Aborted,
            code => Elsewhere::Failed(dfu_status(code)),
        };
        self.dfu.end_elsewhere(now, end);
    }

    // The worker.

    pub(super) fn take_portion_home(&mut self, buffer: Vec<u8>) {
        self.bulk.take_home(buffer);
    }

    /// The package that is offered is good.
    pub(super) fn handle_offered(&mut self, now: Duration, offered: Offered) -> Result<(), Fault<B::Error>> {
        let Offered { lengths, missing } = offered;
        let count = u32::try_from(lengths.len()).unwrap_or(u32::MAX);
        if let Err(misuse) = self.bulk.device.describe(lengths) {
            return self.fail_exchange(now, ResultCode::Internal, &misuse);
        }
        if missing.is_empty() {
            self.ask_for(now, &ChunkSet::new(count))?;
            return match self.current {
                Some(session) => Ok(self.worker.send(Command::Settle { session })?),
                None => Ok(()),
            };
        }
        self.ask_for(now, &set(count, &missing))
    }

    /// Some of what the slot was said to hold is not there.
    pub(super) fn handle_missing(&mut self, now: Duration, chunks: &[u32]) -> Result<(), Fault<B::Error>> {
        let count = self.bulk.device.chunks();
        self.ask_for(now, &set(count, chunks))
    }

    /// All is there: the host can end nothing any more.
    pub(super) fn hand_over_exchange(&mut self, progress: &Progress) -> Result<(), Fault<B::Error>> {
        self.session.report(progress);
        if self.session.handover(progress.session).is_ok() {
            self.dfu.hand_over_elsewhere();
            self.worker.send(Command::Finish { session: progress.session })?;
        }
        Ok(())
    }

    // The endpoints.

    /// Does with the endpoints what the stream wants. Returns whether there was anything.
    pub(super) fn drive_bulk(&mut self, now: Duration) -> bool {
        if !self.bulk.shown {
            return false;
        }
        let mut busy = false;
        while let Some(action) = self.bulk.device.poll_action() {
            busy = true;
            match action {
                // A read of one unit is as good for the next exchange. It may have been given to the controller behind what the backend has yet
                // to tell of, and have that exchange's first unit in it.
                Action::TakeBack(Direction::Out) if self.bulk.reads == [Some(UNIT)] => {}
                Action::TakeBack(Direction::Out) => self.take_reads_back(),
                Action::TakeBack(Direction::In) => {
                    self.bulk.unsent.clear();
                    self.backend.cancel(IN);
                }
                Action::Send(message) => self.bulk.unsent.push_back(message),
            }
        }
        self.send();
        self.read();
        if self.is_by(Door::Bulk) {
            let takes = self.bulk.reads.iter().any(Option::is_some);
            self.session.host_waits(self.bulk.device.is_owing() || !takes, now);
        }
        busy
    }

    /// Gives the controller what is to be sent. Not before all reads that were taken back are home: one of them could take the answer
    /// to it.
    fn send(&mut self) {
        while self.bulk.enabled && self.bulk.reads.iter().all(Option::is_some) {
            let Some(message) = self.bulk.unsent.pop_front() else { return };
            // A host that has left hears of nothing.
            if let Err(SubmitError::Full(message)) = self.backend.submit(IN, message) {
                self.bulk.unsent.push_front(message);
                return;
            }
        }
    }

    /// Gives the controller buffers for what comes for certain.
    fn read(&mut self) {
        while self.bulk.enabled && self.bulk.reads.len() < READS {
            let under_way: usize = self.bulk.reads.iter().flatten().sum();
            let due = self.bulk.device.expected().saturating_sub(under_way as u64);
            let length = usize::try_from(due).unwrap_or(READ).min(READ);
            if length == 0 {
                return;
            }
            let Some(mut buffer) = self.bulk.free.pop() else { return };
            buffer.resize(length, 0);
            match self.backend.submit(OUT, buffer) {
                Ok(()) => self.bulk.reads.push_back(Some(length)),
                Err(
                    SubmitError::Disabled(buffer)
                    | SubmitError::NoEndpoint(buffer)
                    | SubmitError::BadLength(buffer)
                    | SubmitError::Full(buffer),
                ) => {
                    self.bulk.recycle(buffer);
                    return;
                }
            }
        }
    }
}

/// The set of these chunks.
fn set(count: u32, chunks: &[u32]) -> ChunkSet {
    let mut set = ChunkSet::new(count);
    chunks.iter().for_each(|chunk| set.insert(*chunk));
    set
}
