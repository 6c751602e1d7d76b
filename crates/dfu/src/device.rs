//! The device's side: [`table::cell`] and the data it needs.

use alloc::collections::VecDeque;
use core::time::Duration;

use inband_usb::{Recipient, RequestType, Setup};

use crate::{
    table::{self, Cell, Conditions, Mode, Progress, Reaction, Stimulus, Upload},
    wire::{Attributes, DETACH_TIMEOUT_MS, Request, State, Status, StatusReply, TRANSFER_SIZE},
};

/// bInterfaceNumber of the DFU interface in both descriptor sets.
pub const INTERFACE: u8 = 0;
/// With no request accepted for so long, and nothing of the owner's under way, the device leaves DFU mode.
pub const IDLE_LIMIT: Duration = Duration::from_secs(60);
/// So long after a download was manifested the device leaves DFU mode, unless another download has begun.
pub const LEAVE_DELAY: Duration = Duration::from_secs(5);
/// bwPollTimeout when the device is ready, in milliseconds. Never 0: fwupd takes 0 as "keep what you had", which may be large.
pub const POLL_READY_MS: u32 = 1;
/// The largest bwPollTimeout ever sent, in milliseconds: a host sleeps that long even when the work was done at once.
pub const POLL_LIMIT_MS: u32 = 1000;

/// bwPollTimeout while another door has the session, in milliseconds.
pub const POLL_ELSEWHERE_MS: u32 = 50;

/// What to do with a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// Refuse it.
    Stall,
    /// Send the first `length` of these bytes. Nothing is to be reported back.
    Reply {
        /// The answer, at most six bytes.
        bytes: [u8; StatusReply::LEN],
        /// How many of them, at least 1 and at most wLength.
        length: usize,
    },
    /// Take the data stage, exactly `length` bytes, then [`Device::handle_data`] or [`Device::handle_cancelled`].
    Receive {
        /// 1 to 4096.
        length: usize,
    },
    /// Acknowledge a request without data, then [`Device::handle_data`] with length 0 or [`Device::handle_cancelled`].
    Acknowledge,
}

/// What the owner has to do or know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// The host wants DFU mode: leave the bus, [`Device::enter_dfu_mode`], come back with the DFU-mode descriptors.
    Detach,
    /// A download has begun; its first [`Event::BlockReceived`] follows. Intake, completeness and manifestation are as at the start
    /// ([`Intake::Ready`], not complete, running), whatever was set for the download before.
    Begin,
    /// A block: the bytes the caller has read in the data stage just reported. Until the owner sets another [`Intake`], it stands as
    /// taken.
    BlockReceived {
        /// wBlockNum; wraps after 65535.
        number: u16,
        /// Bytes, 1 to 4096.
        length: usize,
    },
    /// The host has ended the download, and the owner had said it is complete: the bytes are the device's now and no request
    /// takes that back. Manifestation runs until [`Device::set_manifestation`] says otherwise.
    EndOfData,
    /// The download, or the session of another door, was ended before its end. What it brought must not be used. Not reported for one
    /// that the owner itself failed.
    Aborted(Cause),
    /// Leave the bus, [`Device::enter_runtime`], come back with the run-time descriptors.
    Leave,
}

/// Who ended a download.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// ABORT; DETACH, where another door has the session.
    Abort,
    /// Bus reset, unplug, SET_CONFIGURATION(0).
    BusReset,
    /// SET_INTERFACE or a repeated SET_CONFIGURATION: another session of a host program begins.
    NewSession,
    /// No request for [`IDLE_LIMIT`].
    Idle,
    /// A request that has no place in a download, or the end of a download that is not complete; the status is what
    /// GETSTATUS reports.
    Misuse(Status),
}

/// How the owner fares with the block it was given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Intake {
    /// It is taken, and **there is room for one more**: a host that was told so may send the next.
    Ready,
    /// Not yet; the host should ask again in so many milliseconds (sent as 1 to 1000).
    Busy {
        /// Milliseconds.
        poll_ms: u32,
    },
    /// The download has failed. Not [`Status::Ok`].
    Failed(Status),
}

/// How the manifestation fares.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Manifestation {
    /// Not done; the host should ask again in so many milliseconds (sent as 1 to 1000).
    Running {
        /// Milliseconds.
        poll_ms: u32,
    },
    /// Done.
    Done,
    /// It has failed. Not [`Status::Ok`].
    Failed(Status),
}

/// How the session of another door ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Elsewhere {
    /// Its package is good, as behind a download and its manifestation: the device leaves DFU mode in [`LEAVE_DELAY`].
    Staged,
    /// It was ended, and nothing was wrong with it.
    Aborted,
    /// It has failed. Not [`Status::Ok`].
    Failed(Status),
}

/// May a host begin?
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Door {
    /// Yes.
    Open,
    /// No: DETACH is stalled, and so is the first block of a download, with this status. A download that has begun goes on.
    Refused(Status),
}

/// A DFU 1.1 device without I/O and without a clock.
///
/// Times are durations since a moment of the caller's choice and never go back.
///
/// **Inputs** are the `handle_*` methods. [`handle_setup`](Self::handle_setup) takes a request and says what to answer. `Receive` and
/// `Acknowledge` change nothing by themselves: they take effect at [`handle_data`](Self::handle_data), once the backend has
/// really moved the bytes, so that a request the host takes back leaves no trace. A new SETUP, a reset and
/// [`handle_cancelled`](Self::handle_cancelled) forget a request that waits.
///
/// **Outputs** are the `poll_*` methods: after every input and command, take events until there is none (so that at most a few ever
/// wait), act on them, and call [`handle_timeout`](Self::handle_timeout) no later than [`poll_timeout`](Self::poll_timeout) says.
///
/// **Commands** of the owner are `set_*` and `enter_*`.
///
/// The device keeps no data of a download and sets no bound on its length or its pace: both are the owner's, who ends it with
/// [`Intake::Failed`]. A host that falls silent in the middle is left after [`IDLE_LIMIT`], unless the owner is still busy.
///
/// # Another door
/// While another door has the session (docs/spec/bulk.md, 5) the device is in dfuDNBUSY, then in dfuMANIFEST, from
/// [`begin_elsewhere`](Self::begin_elsewhere) to [`end_elsewhere`](Self::end_elsewhere), or to an [`Event::Aborted`] of the host's. No
/// time runs then; the owner has its own for the other door.
///
/// # Block numbers
/// The first is free (DFU 1.1 prescribes none), each next is one more, 65535 is followed by 0; anything else is stalled with errADDRESS.
/// All hosts in use count so, and it keeps a download whole: a host that repeats a block because the end of its transfer got lost,
/// or a data stage that was cut and left out, would otherwise double or drop 4 KiB.
#[derive(Clone, Debug)]
pub struct Device {
    mode: Mode,
    state: State,
    status: Status,
    /// A request whose answer has begun.
    pending: Option<Pending>,
    door: Door,
    intake: Intake,
    complete: bool,
    manifestation: Manifestation,
    /// The last download was taken and its manifestation has not failed.
    accepted: bool,
    last_block: u16,
    /// Configured by the host.
    enabled: bool,
    /// End of appDETACH, dfuDNBUSY or dfuMANIFEST; meaningless in other states.
    state_until: Duration,
    /// The last request, or the entry to DFU mode.
    active_at: Duration,
    /// When to leave after an accepted download.
    leave_at: Option<Duration>,
    /// Another door has the session; only in dfuDNBUSY and dfuMANIFEST.
    elsewhere: bool,
    events: VecDeque<Event>,
}

/// A request to the DFU interface, decoded.
#[derive(Clone, Copy, Debug)]
struct Pending {
    stimulus: Stimulus,
    /// wBlockNum, or DETACH's time.
    value: u16,
    length: usize,
}

impl Device {
    /// A device in run-time mode, door open, not on the bus.
    #[must_use]
    pub fn new(mode: Mode) -> Self {
        Self {
            mode,
            state: State::AppIdle,
            status: Status::Ok,
            pending: None,
            door: Door::Open,
            intake: Intake::Ready,
            complete: false,
            manifestation: Manifestation::Running { poll_ms: POLL_READY_MS },
            accepted: false,
            last_block: 0,
            enabled: false,
            state_until: Duration::ZERO,
            active_at: Duration::ZERO,
            leave_at: None,
            elsewhere: false,
            events: VecDeque::new(),
        }
    }

    /// The state as GETSTATE would tell it.
    #[must_use]
    pub const fn state(&self) -> State {
        self.state
    }

    /// The status as GETSTATUS would tell it.
    #[must_use]
    pub const fn status(&self) -> Status {
        self.status
    }

    // Inputs.

    /// A class request (any other setup packet is safe, and stalled).
    pub fn handle_setup(&mut self, now: Duration, setup: &Setup) -> Answer {
        self.pending = None;
        self.handle_timeout(now);
        if setup.kind() != RequestType::Class
            || setup.recipient() != Recipient::Interface
            || setup.index != u16::from(INTERFACE)
        {
            // Not for DFU, so not DFU's error.
            return Answer::Stall;
        }
        let request = Pending::decode(setup);
        let cell = self.cell(&request);
        match cell.reaction {
            Reaction::Stall => {
                self.apply(now, &request, cell);
                Answer::Stall
            }
            Reaction::Accept => match request.stimulus {
                Stimulus::GetStatus => {
                    self.apply(now, &request, cell);
                    let reply = StatusReply {
                        status: self.status,
                        poll_timeout_ms: self.poll_timeout_ms(),
                        state: self.state,
                        string: 0,
                    };
                    let bytes = reply.to_bytes();
                    Answer::Reply { bytes, length: bytes.len().min(request.length) }
                }
                Stimulus::GetState => {
                    self.apply(now, &request, cell);
                    Answer::Reply { bytes: [self.state as u8, 0, 0, 0, 0, 0], length: 1 }
                }
                Stimulus::Download => {
                    self.pending = Some(request);
                    Answer::Receive { length: request.length }
                }
                Stimulus::Detach | Stimulus::DownloadEnd | Stimulus::ClrStatus | Stimulus::Abort => {
                    self.pending = Some(request);
                    Answer::Acknowledge
                }
                // None of these is both a request and acceptable: there is no upload (bitCanUpload is clear).
                Stimulus::Upload(_)
                | Stimulus::Unknown
                | Stimulus::BusReset
                | Stimulus::SetInterface
                | Stimulus::PollTimeElapsed
                | Stimulus::DetachTimeElapsed => Answer::Stall,
            },
        }
    }

    /// The request answered by [`Answer::Receive`] or [`Answer::Acknowledge`] is complete; `length` bytes were read. Does nothing if
    /// none waits.
    pub fn handle_data(&mut self, now: Duration, length: usize) {
        let Some(request) = self.pending else { return };
        self.handle_timeout(now);
        self.pending = None;
        // Asked again, because the owner may have failed the download meanwhile, or a timer have ended DFU mode.
        let cell = match self.cell(&request) {
            Cell { reaction: Reaction::Accept, .. } if length != request.length => {
                Cell { reaction: Reaction::Stall, next: State::DfuError, status: Some(Status::ErrUnknown) }
            }
            cell => cell,
        };
        self.apply(now, &request, cell);
    }

    /// The request answered by [`Answer::Receive`] or [`Answer::Acknowledge`] was taken back by the host.
    pub fn handle_cancelled(&mut self) {
        self.pending = None;
    }

    /// The host configured the device. Without a [`handle_disable`](Self::handle_disable) before it this is SET_INTERFACE, with which
    /// dfu-util begins every session: in lenient mode a download in progress ends.
    pub fn handle_enable(&mut self, now: Duration) {
        if self.enabled {
            self.event(now, Stimulus::SetInterface);
        }
        self.enabled = true;
        self.active_at = now;
    }

    /// Bus reset, unplug or SET_CONFIGURATION(0).
    pub fn handle_disable(&mut self, now: Duration) {
        self.enabled = false;
        self.event(now, Stimulus::BusReset);
    }

    /// Acts on every deadline that has passed.
    pub fn handle_timeout(&mut self, now: Duration) {
        if self.state_deadline().is_some_and(|at| at <= now) {
            match self.state {
                State::AppDetach => self.event(now, Stimulus::DetachTimeElapsed),
                _ => self.event(now, Stimulus::PollTimeElapsed),
            }
        }
        if self.leave_deadline().is_some_and(|at| at <= now) {
            if downloads(self.state) {
                self.download_lost(Cause::Idle);
            }
            self.pending = None;
            self.state = State::AppIdle;
            self.status = Status::Ok;
            self.leave_at = None;
            self.events.push_back(Event::Leave);
        }
    }

    // Outputs.

    /// When [`handle_timeout`](Self::handle_timeout) is due: a moment, not a distance.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Duration> {
        match (self.state_deadline(), self.leave_deadline()) {
            (Some(state), Some(leave)) => Some(state.min(leave)),
            (state, leave) => state.or(leave),
        }
    }

    /// The next event.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    // Commands.

    /// Opens or shuts the door.
    pub fn set_door(&mut self, door: Door) {
        self.door = door;
    }

    /// Says how the owner fares with the last block. After [`Intake::Failed`] nothing else counts until [`Event::Begin`].
    pub fn set_intake(&mut self, intake: Intake) {
        if !matches!(self.intake, Intake::Failed(_)) {
            self.intake = intake;
        }
    }

    /// Says whether the download is all there and good. Until it is, its end is stalled with errNOTDONE: that, and a failure at the last
    /// block, are the only ways to make dfu-util's exit code tell of a bad image.
    pub fn set_complete(&mut self, complete: bool) {
        self.complete = complete;
    }

    /// Says how the manifestation fares. From [`Manifestation::Done`] on, the device leaves DFU mode in [`LEAVE_DELAY`].
    pub fn set_manifestation(&mut self, now: Duration, manifestation: Manifestation) {
        self.manifestation = manifestation;
        match manifestation {
            Manifestation::Running { .. } => {}
            Manifestation::Done => {
                if self.accepted && self.in_dfu_mode() {
                    self.leave_at = Some(now.saturating_add(LEAVE_DELAY));
                }
            }
            Manifestation::Failed(_) => self.accepted = false,
        }
    }

    /// Another door's session begins, if the device is in dfuIDLE and a download could begin but for the door's own policy; returns whether
    /// it does. The strict mode knows no other door.
    pub fn begin_elsewhere(&mut self, now: Duration) -> bool {
        let manifests = self.accepted && matches!(self.manifestation, Manifestation::Running { .. });
        let can = self.mode == Mode::Lenient && self.state == State::DfuIdle && !manifests;
        if can {
            self.state = State::DfuDnbusy;
            self.elsewhere = true;
            self.status = Status::Ok;
            // What was said of a download that is over.
            self.intake = Intake::Ready;
            self.accepted = false;
            self.leave_at = None;
            self.active_at = now;
        }
        can
    }

    /// The bytes of another door's session are the device's now: no request takes that back.
    pub fn hand_over_elsewhere(&mut self) {
        if self.elsewhere {
            self.state = State::DfuManifest;
        }
    }

    /// Another door's session is over. Does nothing if the host has ended it already.
    pub fn end_elsewhere(&mut self, now: Duration, end: Elsewhere) {
        if !self.elsewhere {
            return;
        }
        self.elsewhere = false;
        self.active_at = now;
        self.state = State::DfuIdle;
        match end {
            Elsewhere::Staged => {
                self.accepted = true;
                self.manifestation = Manifestation::Done;
                self.leave_at = Some(now.saturating_add(LEAVE_DELAY));
            }
            Elsewhere::Aborted => {}
            Elsewhere::Failed(status) => {
                self.state = State::DfuError;
                self.status = status;
            }
        }
    }

    /// The device comes back with the DFU-mode descriptors. Whatever was in progress is forgotten, without an event.
    pub fn enter_dfu_mode(&mut self, now: Duration) {
        self.enter(now, State::DfuIdle);
    }

    /// The device comes back with the run-time descriptors. Whatever was in progress is forgotten, without an event; a manifestation
    /// is not the protocol's to stop.
    pub fn enter_runtime(&mut self, now: Duration) {
        self.enter(now, State::AppIdle);
    }

    fn enter(&mut self, now: Duration, state: State) {
        *self = Self { state, door: self.door, active_at: now, ..Self::new(self.mode) };
    }

    fn in_dfu_mode(&self) -> bool {
        !matches!(self.state, State::AppIdle | State::AppDetach)
    }

    fn cell(&self, request: &Pending) -> Cell {
        let conditions = Conditions {
            attributes: Attributes::OURS,
            refusal: self.refusal(),
            in_sequence: request.value == self.last_block.wrapping_add(1),
            block: match self.intake {
                Intake::Ready => Progress::Done,
                Intake::Busy { .. } => Progress::Busy,
                Intake::Failed(status) => Progress::Failed(status),
            },
            complete: self.complete,
            manifestation: match self.manifestation {
                Manifestation::Running { .. } => Progress::Busy,
                Manifestation::Done => Progress::Done,
                Manifestation::Failed(status) => Progress::Failed(status),
            },
            accepted: self.accepted,
            // The firmware that runs is never written to.
            firmware_valid: true,
            elsewhere: self.elsewhere,
        };
        table::cell(self.state, request.stimulus, self.mode, &conditions)
    }

    fn refusal(&self) -> Option<Status> {
        match (self.door, self.manifestation) {
            (Door::Refused(status), _) => Some(status),
            // A download must not begin while the one before is being put to work.
            (Door::Open, Manifestation::Running { .. }) if self.accepted => Some(Status::ErrVendor),
            (Door::Open, _) => None,
        }
    }

    fn event(&mut self, now: Duration, stimulus: Stimulus) {
        if matches!(stimulus, Stimulus::BusReset | Stimulus::SetInterface) {
            self.pending = None;
        }
        let event = Pending { stimulus, value: 0, length: 0 };
        let cell = self.cell(&event);
        self.apply(now, &event, cell);
    }

    /// Goes to the next state and tells the owner what that means. With `handle_timeout`'s leaving and the owner's commands, the only
    /// place where the state changes.
    fn apply(&mut self, now: Duration, request: &Pending, cell: Cell) {
        let from = self.state;
        self.state = cell.next;
        if let Some(status) = cell.status {
            self.status = status;
        }
        if cell.reaction == Reaction::Accept {
            self.active_at = now;
        }
        if downloads(from) && !downloads(self.state) && self.state != State::DfuManifestSync {
            self.download_lost(self.cause(request.stimulus));
            self.elsewhere = false;
        }
        match self.state {
            State::AppIdle if from == State::AppDetach => self.events.retain(|event| *event != Event::Detach),
            State::AppIdle if from != State::AppIdle => {
                self.leave_at = None;
                self.events.push_back(Event::Leave);
            }
            State::AppDetach if from == State::AppIdle => {
                // The device's time if the host gives none, the shorter of both otherwise (5.1, 4.1.3).
                let timeout = if request.value == 0 { DETACH_TIMEOUT_MS } else { request.value };
                let timeout = Duration::from_millis(u64::from(timeout.min(DETACH_TIMEOUT_MS)));
                self.state_until = now.saturating_add(timeout);
                self.events.push_back(Event::Detach);
            }
            // A block that is refused for coming early changes nothing, though the state is the same.
            State::DfuDnloadSync
                if request.stimulus == Stimulus::Download && cell.reaction == Reaction::Accept =>
            {
                if from == State::DfuIdle {
                    self.begin();
                }
                self.last_block = request.value;
                self.events.push_back(Event::BlockReceived { number: request.value, length: request.length });
            }
            State::DfuDnbusy | State::DfuManifest if request.stimulus == Stimulus::GetStatus => {
                let poll = Duration::from_millis(u64::from(self.poll_timeout_ms()));
                self.state_until = now.saturating_add(poll);
            }
            State::DfuManifestSync if from == State::DfuDnloadIdle => {
                self.accepted = true;
                self.events.push_back(Event::EndOfData);
            }
            State::AppIdle
            | State::AppDetach
            | State::DfuIdle
            | State::DfuDnloadSync
            | State::DfuDnbusy
            | State::DfuDnloadIdle
            | State::DfuManifestSync
            | State::DfuManifest
            | State::DfuManifestWaitReset
            | State::DfuUploadIdle
            | State::DfuError => {}
        }
    }

    fn begin(&mut self) {
        self.intake = Intake::Ready;
        self.complete = false;
        self.manifestation = Manifestation::Running { poll_ms: POLL_READY_MS };
        self.accepted = false;
        self.leave_at = None;
        self.events.push_back(Event::Begin);
    }

    fn download_lost(&mut self, cause: Cause) {
        if self.elsewhere || !matches!(self.intake, Intake::Failed(_)) {
            self.events.push_back(Event::Aborted(cause));
        }
    }

    /// Who ends a download with this.
    const fn cause(&self, stimulus: Stimulus) -> Cause {
        match stimulus {
            Stimulus::Abort => Cause::Abort,
            Stimulus::Detach if self.elsewhere => Cause::Abort,
            Stimulus::BusReset => Cause::BusReset,
            Stimulus::SetInterface => Cause::NewSession,
            Stimulus::Detach
            | Stimulus::Download
            | Stimulus::DownloadEnd
            | Stimulus::Upload(_)
            | Stimulus::GetStatus
            | Stimulus::ClrStatus
            | Stimulus::GetState
            | Stimulus::Unknown
            | Stimulus::PollTimeElapsed
            | Stimulus::DetachTimeElapsed => Cause::Misuse(self.status),
        }
    }

    /// bwPollTimeout for the state the device is in.
    fn poll_timeout_ms(&self) -> u32 {
        let wanted = match (self.state, self.intake, self.manifestation) {
            _ if self.elsewhere => POLL_ELSEWHERE_MS,
            (State::DfuDnbusy, Intake::Busy { poll_ms }, _) => poll_ms,
            (State::DfuManifest, _, Manifestation::Running { poll_ms }) => poll_ms,
            _ => POLL_READY_MS,
        };
        wanted.clamp(POLL_READY_MS, POLL_LIMIT_MS)
    }

    fn state_deadline(&self) -> Option<Duration> {
        let timed = matches!(self.state, State::AppDetach | State::DfuDnbusy | State::DfuManifest);
        (timed && !self.elsewhere).then_some(self.state_until)
    }

    fn leave_deadline(&self) -> Option<Duration> {
        let idle = match self.state {
            State::AppIdle | State::AppDetach => return None,
            State::DfuIdle | State::DfuError => true,
            // The other door has deadlines of its own.
            State::DfuDnbusy | State::DfuManifest if self.elsewhere => false,
            // The host is gone, before the end of its data or before it heard of the owner's verdict.
            State::DfuDnloadSync | State::DfuDnbusy | State::DfuDnloadIdle => match self.intake {
                Intake::Ready | Intake::Failed(_) => true,
                Intake::Busy { .. } => false,
            },
            // The owner says when these end; and if it says "failed", the host may never ask.
            State::DfuManifestSync | State::DfuManifest | State::DfuManifestWaitReset => {
                matches!(self.manifestation, Manifestation::Failed(_))
            }
            State::DfuUploadIdle => true,
        };
        self.leave_at.or_else(|| idle.then(|| self.active_at.saturating_add(IDLE_LIMIT)))
    }
}

/// Whether a download is in progress in this state.
const fn downloads(state: State) -> bool {
    matches!(state, State::DfuDnloadSync | State::DfuDnbusy | State::DfuDnloadIdle)
}

impl Pending {
    /// What a class request to the DFU interface is. Lengths a request cannot have make it unknown.
    fn decode(setup: &Setup) -> Self {
        let stimulus = match (Request::decode(setup), setup.length) {
            (Some(Request::Detach), 0) => Stimulus::Detach,
            (Some(Request::Dnload), 0) => Stimulus::DownloadEnd,
            (Some(Request::Dnload), 1..=TRANSFER_SIZE) => Stimulus::Download,
            (Some(Request::Upload), 0) => Stimulus::Upload(Upload::Empty),
            (Some(Request::Upload), 1..) => Stimulus::Upload(Upload::Full),
            (Some(Request::GetStatus), 1..) => Stimulus::GetStatus,
            (Some(Request::ClrStatus), 0) => Stimulus::ClrStatus,
            (Some(Request::GetState), 1..) => Stimulus::GetState,
            (Some(Request::Abort), 0) => Stimulus::Abort,
            (
                Some(
                    Request::Detach
                    | Request::Dnload
                    | Request::GetStatus
                    | Request::ClrStatus
                    | Request::GetState
                    | Request::Abort,
                )
                | None,
                _,
            ) => Stimulus::Unknown,
        };
        Self { stimulus, value: setup.value, length: usize::from(setup.length) }
    }
}
