//! The device's side (spec, 4 and 5).

use alloc::{collections::VecDeque, vec, vec::Vec};
use core::time::Duration;

use inband_usb::{Direction, Recipient, RequestType, Setup, TransferError, descriptor::BULK_PACKET_SIZE};

use super::{
    action::{Action, Control, Halts, Limits, Phase},
    pool::Pool,
    target::{Intent, Refused, Target},
    wire::{Cbw, Csw, GET_MAX_LUN, RESET, Status},
};

/// What Get Max LUN answers, and the only bCBWLUN: there is one unit.
pub const MAX_LUN: u8 = 0;
/// While the IN endpoint has to stay halted, it is halted again so often: nobody tells of a host that clears it.
pub const HALT_AGAIN: Duration = Duration::from_millis(100);

const PACKET: usize = BULK_PACKET_SIZE as usize;
/// Transfers in flight on one endpoint that every backend takes, those that were taken back and are not home yet among them.
const QUEUE: usize = 4;

/// What the CSW will say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    /// What the target says in the end.
    Open,
    /// The command has failed.
    Failed,
    /// The data of host and command do not go together.
    PhaseError,
}

#[derive(Clone, Debug)]
struct DataIn {
    tag: u32,
    expected: u32,
    /// Bytes that the target still has to give.
    left: u32,
    /// Bytes of the target's that were sent.
    sent: u32,
    /// Zeros that were sent behind them.
    filled: u32,
    verdict: Verdict,
}

#[derive(Clone, Debug)]
struct DataOut {
    tag: u32,
    expected: u32,
    /// Bytes that reads were asked to bring.
    asked: u32,
    /// Bytes that have come.
    come: u32,
    /// Bytes that the target still wants.
    wanted: u32,
    /// Bytes that the target took.
    taken: u32,
    verdict: Verdict,
}

#[derive(Clone, Debug)]
enum State {
    Off,
    Command,
    In(DataIn),
    Out(DataOut),
    /// The CSW, until it is queued; and what came on OUT before the CSW had gone.
    Status(Option<Csw>, Option<Vec<u8>>),
    /// IN is halted until Reset Recovery, and halted again then.
    Wedged(Duration),
}

/// What a transfer in flight is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// A CBW.
    Command,
    /// Data, in a buffer of the pool; for reads how many bytes are due.
    Data(u32),
    /// A CSW.
    Status,
}

#[derive(Clone, Copy, Debug)]
struct Flight {
    kind: Kind,
    /// It was taken back.
    stale: bool,
}

/// The device's side of the transport, without I/O. It owns the [`Target`].
///
/// **Inputs.** [`handle_enable`](Self::handle_enable) and [`handle_disable`](Self::handle_disable) are the backend's events of these names,
/// [`handle_setup`](Self::handle_setup) takes control requests, [`handle_read`](Self::handle_read) and [`handle_sent`](Self::handle_sent) each
/// transfer that comes home, [`handle_timeout`](Self::handle_timeout) the time.
///
/// **Outputs.** [`poll_action`](Self::poll_action), when the backend has no further event waiting, until there is none: an event that
/// waits may be a reset, and a transfer given to the endpoints then takes what belongs to the next command. Before a class request's answer it is
/// polled in any case. It works on one buffer in each call; where it is at
/// most 64 KiB to copy, a control request never waits for longer than that. [`timeout`](Self::timeout) says when the time is wanted.
///
/// Memory: [`Limits`], a packet and a CSW. Buffers travel: the target reads into and writes from those that the endpoints have.
#[derive(Debug)]
pub struct Device<T> {
    target: T,
    interface: u8,
    halts: Halts,
    state: State,
    reads: VecDeque<Flight>,
    sends: VecDeque<Flight>,
    pool: Pool,
    /// Halts and take-backs that are due before anything else.
    actions: VecDeque<Action>,
}

impl<T: Target> Device<T> {
    /// A device that is not configured, with this bInterfaceNumber. Limits that cannot be are taken for the nearest that can.
    #[must_use]
    pub fn new(interface: u8, halts: Halts, limits: Limits, target: T) -> Self {
        let piece = (limits.piece / PACKET).max(1) * PACKET;
        Self {
            target,
            interface,
            halts,
            state: State::Off,
            reads: VecDeque::new(),
            sends: VecDeque::new(),
            pool: Pool::new(Limits { buffers: limits.buffers.max(1), piece }),
            actions: VecDeque::new(),
        }
    }

    // Getters.

    /// The target.
    #[must_use]
    pub const fn target(&self) -> &T {
        &self.target
    }

    /// The target, to change what it shows to the host.
    pub const fn target_mut(&mut self) -> &mut T {
        &mut self.target
    }

    /// What the device is at.
    #[must_use]
    pub const fn phase(&self) -> Phase {
        match &self.state {
            State::Off => Phase::Off,
            State::Command => Phase::Command,
            State::In(_) => Phase::DataIn,
            State::Out(_) => Phase::DataOut,
            State::Status(..) => Phase::Status,
            State::Wedged(_) => Phase::Wedged,
        }
    }

    /// When [`handle_timeout`](Self::handle_timeout) is due.
    #[must_use]
    pub const fn timeout(&self) -> Option<Duration> {
        match (&self.state, self.halts) {
            (State::Wedged(again), Halts::Use) => Some(*again),
            _ => None,
        }
    }

    // Inputs.

    /// The host has configured the device, or chosen the setting again. What was in flight then is home already, and halts are gone.
    pub fn handle_enable(&mut self) {
        self.begin_anew();
        self.state = State::Command;
    }

    /// Bus reset, unplug, SET_CONFIGURATION(0). What was in flight then is home already.
    pub fn handle_disable(&mut self) {
        self.begin_anew();
        self.state = State::Off;
    }

    /// A class or vendor request; those of ours that have a wrong field are stalled (spec, 2).
    pub fn handle_setup(&mut self, setup: &Setup) -> Control {
        let [number, high] = setup.index.to_le_bytes();
        let class = setup.kind() == RequestType::Class && setup.recipient() == Recipient::Interface;
        if !class || number != self.interface {
            return Control::NotOurs;
        }
        let fields = (setup.value, high, setup.length);
        match (setup.request_type, setup.request) {
            (0x21, RESET) if fields == (0, 0, 0) => {
                self.restart();
                self.actions.clear();
                self.actions.extend([Direction::Out, Direction::In].map(Action::TakeBack));
                self.state = State::Command;
                Control::Reset
            }
            (0xa1, GET_MAX_LUN) if fields == (0, 0, 1) => Control::Reply(MAX_LUN),
            _ => Control::Stall,
        }
    }

    /// A read has come home: `length` bytes are in the buffer.
    pub fn handle_read(
        &mut self,
        now: Duration,
        buffer: Vec<u8>,
        length: usize,
        result: Result<(), TransferError>,
    ) {
        let Some(flight) = self.reads.pop_front() else { return };
        if flight.stale {
            return self.recycle(flight, buffer);
        }
        match result {
            Ok(()) => self.read(now, flight, buffer, length),
            Err(error) => {
                self.recycle(flight, buffer);
                self.failed(now, error);
            }
        }
    }

    /// A buffer was sent, or will not be.
    pub fn handle_sent(&mut self, now: Duration, buffer: Vec<u8>, result: Result<(), TransferError>) {
        let Some(flight) = self.sends.pop_front() else { return };
        self.recycle(flight, buffer);
        match result {
            _ if flight.stale => {}
            Ok(()) => {
                if flight.kind == Kind::Status
                    && let State::Status(None, held) = &mut self.state
                {
                    let held = held.take();
                    self.state = State::Command;
                    if let Some(bytes) = held {
                        self.command(now, &bytes);
                    }
                }
            }
            Err(error) => self.failed(now, error),
        }
    }

    /// The backend did not take the transfer of the last action: the endpoints are disabled, which an event will say.
    pub fn handle_refused(&mut self, direction: Direction, buffer: Vec<u8>) {
        let flight = match direction {
            Direction::Out => self.reads.pop_back(),
            Direction::In => self.sends.pop_back(),
        };
        if let Some(flight) = flight {
            self.recycle(flight, buffer);
            self.restart();
            self.state = State::Off;
        }
    }

    /// Time has passed.
    pub fn handle_timeout(&mut self, now: Duration) {
        if self.timeout().is_some_and(|due| due <= now) {
            self.halt_again(now);
        }
    }

    // Outputs.

    /// What is to be done next.
    pub fn poll_action(&mut self) -> Option<Action> {
        loop {
            match self.actions.front() {
                // Nothing is halted with a transfer in flight, be it one that was taken back and is not home.
                Some(Action::Halt) if !self.sends.is_empty() => return None,
                Some(_) => return self.actions.pop_front(),
                None => {}
            }
            match &mut self.state {
                State::Off => return None,
                State::Command | State::Wedged(_) | State::Status(None, None) => return self.read_command(),
                State::Status(None, Some(_)) => return None,
                State::Status(..) if self.sends.len() >= QUEUE => return None,
                State::Status(csw, _) => {
                    let csw = csw.take()?;
                    self.sends.push_back(Flight { kind: Kind::Status, stale: false });
                    return Some(Action::Send(csw.to_bytes().to_vec()));
                }
                State::In(_) => {
                    if let Some(action) = self.poll_in() {
                        return Some(action);
                    }
                    if matches!(self.state, State::In(_)) {
                        return None;
                    }
                }
                State::Out(_) => return self.poll_out(),
            }
        }
    }

    /// The one read for a CBW that is in flight outside of the data phase.
    fn read_command(&mut self) -> Option<Action> {
        if self.reads.len() >= QUEUE || self.reads.iter().any(|flight| !flight.stale) {
            return None;
        }
        self.reads.push_back(Flight { kind: Kind::Command, stale: false });
        Some(Action::Read(vec![0; PACKET]))
    }

    /// The next buffer of data for the host, or another state, or neither: then there is no buffer.
    fn poll_in(&mut self) -> Option<Action> {
        let piece = self.pool.piece() as u32;
        let State::In(data) = &mut self.state else { return None };
        let missing = data.expected - data.sent - data.filled;
        if missing == 0 || data.left == 0 && self.halts == Halts::Use {
            let data = data.clone();
            self.finish_in(&data);
            return None;
        }
        if self.sends.len() >= QUEUE {
            return None;
        }
        let length = if data.left > 0 { data.left } else { missing }.min(piece);
        let mut buffer = self.pool.take(length as usize)?;
        if data.left == 0 {
            buffer.fill(0);
            data.filled += length;
        } else if self.target.read(&mut buffer) == Ok(()) {
            data.left -= length;
            data.sent += length;
        } else {
            data.left = 0;
            if data.verdict == Verdict::Open {
                data.verdict = Verdict::Failed;
            }
            self.pool.put(buffer);
            return self.poll_in();
        }
        // A short packet would end the host's transfer: what is filled up begins where the data ended.
        if self.halts == Halts::Avoid && data.left == 0 && !length.is_multiple_of(PACKET as u32) {
            let end = data.expected - data.sent - data.filled;
            let fill = end.min(length.next_multiple_of(PACKET as u32) - length);
            buffer.resize((length + fill) as usize, 0);
            data.filled += fill;
        }
        self.sends.push_back(Flight { kind: Kind::Data(length), stale: false });
        Some(Action::Send(buffer))
    }

    fn finish_in(&mut self, data: &DataIn) {
        let moved = match data.verdict {
            Verdict::Open | Verdict::Failed => data.sent,
            Verdict::PhaseError => data.sent + data.filled,
        };
        let csw = self.csw(data.tag, data.expected - moved, data.verdict);
        if data.sent + data.filled < data.expected {
            // When the data has gone, and before the CSW.
            self.actions.push_back(Action::Halt);
        }
        self.state = State::Status(Some(csw), None);
    }

    /// The next buffer for data of the host's.
    fn poll_out(&mut self) -> Option<Action> {
        let State::Out(data) = &mut self.state else { return None };
        let due = (data.expected - data.asked).min(self.pool.piece() as u32);
        if due == 0 || self.reads.len() >= QUEUE {
            return None;
        }
        // The piece is a multiple of a packet, so this fits.
        let buffer = self.pool.take((due as usize).next_multiple_of(PACKET))?;
        data.asked += due;
        self.reads.push_back(Flight { kind: Kind::Data(due), stale: false });
        Some(Action::Read(buffer))
    }

    fn read(&mut self, now: Duration, flight: Flight, mut buffer: Vec<u8>, length: usize) {
        match &mut self.state {
            State::Command => self.command(now, buffer.get(..length).unwrap_or_default()),
            // The CSW is in flight, or has gone without our knowing yet.
            State::Status(None, held @ None) => {
                buffer.truncate(length);
                *held = Some(buffer);
            }
            State::Wedged(_) => self.halt_again(now),
            State::Out(_) => {
                self.take_data(flight, buffer.get(..length).unwrap_or_default());
                self.recycle(flight, buffer);
            }
            // There is no read in these.
            State::Off | State::In(_) | State::Status(..) => self.recycle(flight, buffer),
        }
    }

    fn take_data(&mut self, flight: Flight, bytes: &[u8]) {
        let (State::Out(data), Kind::Data(due)) = (&mut self.state, flight.kind) else { return };
        let come = bytes.len().min(due as usize);
        data.come += come as u32;
        let bytes = &bytes[..come.min(data.wanted as usize)];
        if !bytes.is_empty() {
            if self.target.write(bytes) == Ok(()) {
                data.wanted -= bytes.len() as u32;
                data.taken += bytes.len() as u32;
            } else {
                data.wanted = 0;
                data.verdict = Verdict::Failed;
            }
        }
        let early = come < due as usize;
        if !early && data.come < data.expected {
            return;
        }
        if data.verdict == Verdict::Open && data.wanted > 0 {
            self.target.cut();
            data.verdict = Verdict::Failed;
        }
        let moved = match data.verdict {
            Verdict::Open | Verdict::Failed => data.taken,
            Verdict::PhaseError => data.come,
        };
        let (tag, residue, verdict) = (data.tag, data.expected - moved, data.verdict);
        if early {
            // Else the next CBW would be taken for data.
            self.take_back_reads();
        }
        self.state = State::Status(Some(self.csw(tag, residue, verdict)), None);
    }

    /// A CBW, or what came in its place: BOT 6.2 and 6.7.
    fn command(&mut self, now: Duration, bytes: &[u8]) {
        let Some(cbw) = Cbw::parse(bytes).filter(|cbw| cbw.lun == MAX_LUN) else { return self.wedge(now) };
        let Cbw { tag, length: expected, direction, .. } = cbw;
        let intent = self.target.begin(&cbw.cdb, cbw.cdb_length);
        let (wants, verdict) = match (intent, direction) {
            (Err(Refused), _) => (0, Verdict::Failed),
            (Ok(Intent::Nothing), _) => (0, Verdict::Open),
            // Cases 5, 6; 11, 12.
            (Ok(Intent::In(wants)), Direction::In) | (Ok(Intent::Out(wants)), Direction::Out)
                if wants <= u64::from(expected) =>
            {
                (wants as u32, Verdict::Open)
            }
            // Case 7: what the host has room for.
            (Ok(Intent::In(_)), Direction::In) if expected > 0 => (expected, Verdict::PhaseError),
            // Cases 2, 3; 8, 10; 13: of the data none is used.
            (Ok(Intent::In(_) | Intent::Out(_)), _) => (0, Verdict::PhaseError),
        };
        self.state = match direction {
            _ if expected == 0 => State::Status(Some(self.csw(tag, 0, verdict)), None),
            Direction::In => State::In(DataIn { tag, expected, left: wants, sent: 0, filled: 0, verdict }),
            Direction::Out => {
                State::Out(DataOut { tag, expected, asked: 0, come: 0, wanted: wants, taken: 0, verdict })
            }
        };
    }

    /// The command is over.
    fn csw(&mut self, tag: u32, residue: u32, verdict: Verdict) -> Csw {
        let status = match verdict {
            Verdict::Open => match self.target.end() {
                Ok(()) => Status::Passed,
                Err(Refused) => Status::Failed,
            },
            Verdict::Failed => Status::Failed,
            Verdict::PhaseError => {
                self.target.abandon();
                Status::PhaseError
            }
        };
        Csw { tag, residue, status }
    }

    /// A CBW that is not valid or not meaningful: nothing but Reset Recovery helps (BOT 6.6.1).
    fn wedge(&mut self, now: Duration) {
        self.drop_halts();
        self.take_back_reads();
        self.take_back_sends();
        self.state = State::Wedged(now);
        self.halt_again(now);
    }

    fn halt_again(&mut self, now: Duration) {
        if let State::Wedged(again) = &mut self.state {
            *again = now.saturating_add(HALT_AGAIN);
            if self.halts == Halts::Use && !self.actions.contains(&Action::Halt) {
                self.actions.push_back(Action::Halt);
            }
        }
    }

    /// A transfer that was not taken back has failed.
    fn failed(&mut self, now: Duration, error: TransferError) {
        match error {
            // More than a packet can hold, or than was announced: there is no telling what it was. Nor what is lost of one that has failed.
            TransferError::Overflow | TransferError::Failed => {
                self.target.abandon();
                self.wedge(now);
            }
            // An event says what became of the endpoints.
            TransferError::Disabled | TransferError::Cancelled => {
                self.restart();
                self.state = State::Off;
            }
        }
    }

    /// Nothing of what was is under way any more, whatever is in flight.
    fn restart(&mut self) {
        self.reads.iter_mut().chain(&mut self.sends).for_each(|flight| flight.stale = true);
        self.drop_halts();
        self.target.reset();
    }

    /// The endpoints have begun anew. Of several events in a row, such as those of a bus reset, one may have been acted on while the others were
    /// waiting: then something is in flight that was given to the endpoints after all of them had happened. A read for a CBW may have the next
    /// one. Data and a CSW are of a command that is over.
    fn begin_anew(&mut self) {
        self.drop_halts();
        self.take_back_sends();
        if self.reads.iter().any(|flight| !flight.stale && flight.kind != Kind::Command) {
            self.take_back_reads();
        }
        self.target.reset();
    }

    /// What is to be taken back has to be, whatever has happened since.
    fn drop_halts(&mut self) {
        self.actions.retain(|action| matches!(action, Action::TakeBack(_)));
    }

    fn take_back_sends(&mut self) {
        take_back(Direction::In, &mut self.sends, &mut self.actions);
    }

    fn take_back_reads(&mut self) {
        take_back(Direction::Out, &mut self.reads, &mut self.actions);
    }

    fn recycle(&mut self, flight: Flight, buffer: Vec<u8>) {
        match flight.kind {
            Kind::Data(_) => self.pool.put(buffer),
            Kind::Command | Kind::Status => {}
        }
    }
}

fn take_back(direction: Direction, flights: &mut VecDeque<Flight>, actions: &mut VecDeque<Action>) {
    if flights.iter().any(|flight| !flight.stale) {
        flights.iter_mut().for_each(|flight| flight.stale = true);
        actions.push_back(Action::TakeBack(direction));
    }
}
