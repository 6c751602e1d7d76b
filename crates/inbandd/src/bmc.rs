//! The answering half: USB events in, answers out, and never a wait.
//!
//! [`Bmc`] joins the DFU device, the session and the worker over any [`DeviceBackend`]. It is called after every wake-up; all
//! that it does with a request is to copy at most one block and to answer.

use std::{task::Poll, time::Duration};

use inband_dfu::{
    descriptors::Identity,
    device::{Answer, Cause, Device, Door as DfuDoor, Event, Intake, Manifestation},
    table::Mode,
    wire::{Request, State, Status, TRANSFER_SIZE},
};
use inband_session::{Door, DoorState, HostEnd, ResultCode, Session, SessionState, StoreView};
use inband_usb::{ControlError, DeviceBackend, DeviceEvent, RequestType, Setup};

use crate::{
    audit::AuditLog,
    command,
    config::WhileShut,
    programs::Runner,
    worker::{Command, Gone, Worker},
};

mod armed;
mod bulk;
mod held;
mod ipmi;
mod operator;
mod pages;
mod replies;
mod sets;
#[cfg(test)]
mod timers;
mod trial;
mod volume;

pub use armed::ArmedOptions;
use bulk::Endpoints;
pub(crate) use bulk::dfu_mode;
use ipmi::Handle;
pub use ipmi::IpmiOptions;
use operator::Asked;
pub use trial::Health;
use trial::{Restart, Verdict};
use volume::Volume;
pub use volume::{DiskKind, Lender, Look, Pages, Profile, VolumeOptions};
pub(crate) use volume::{inquiry, runtime};

/// Blocks handed to the worker that it has not taken, at most: 64 KiB with a wTransferSize of 4096.
const QUEUE: usize = 16;
/// Commands the worker may be behind when a session begins. A host that begins and aborts sessions faster than they can be
/// recorded is told to wait; one that means well never comes near.
const BACKLOG: usize = 4 * QUEUE;
/// Events dropped when the device leaves the bus, at most. Nothing comes any more then, so that this is never reached.
const STALE: usize = 4096;
/// From a confirmation that failed to the next try.
const CONFIRM_AGAIN: Duration = Duration::from_secs(60);
/// How often what uptime brings to the budgets is written down while they are not full.
const KEEP_BUDGET: Duration = Duration::from_secs(60 * 60);
/// bwPollTimeout while the queue is full or the head is being checked, ms.
const POLL_QUEUE_MS: u32 = 2;
/// bwPollTimeout while the slot is read back, ms. The host gains nothing by asking more often.
const POLL_VERIFYING_MS: u32 = 50;
/// Requests answered in one call of [`Bmc::step`], so that a flood of them cannot keep the caller from its other work.
const BURST: usize = 256;
/// How long one call of it goes on, as long as there is more to do: who asks by another way than the bus is to be heard in time.
const PASS: Duration = Duration::from_millis(10);

/// What is configured about the answering half.
pub struct Options {
    /// Reading of DFU 1.1.
    pub mode: Mode,
    /// There is a bulk door, which may be shut.
    pub bulk: bool,
    /// The disk; without it there is no volume door.
    pub volume: Option<VolumeOptions>,
    /// Doors that somebody has to arm.
    pub armed: ArmedOptions,
    /// What a host sees while every door is shut.
    pub while_shut: WhileShut,
    /// The door handle; without it the host opens no doors by IPMI, and is told nothing there.
    pub ipmi: Option<IpmiOptions>,
    /// Restart into staged firmware as soon as the host has left DFU mode, or ejected what the disk says of it.
    pub activate: bool,
    /// A restart that is asked for while a session is at work waits for its end.
    pub hold_restart: bool,
    /// Names and numbers for the descriptors, from what the store says.
    pub identity: Box<dyn Fn(&StoreView) -> Identity + Send>,
    /// How new firmware proves itself; without it, by having come this far.
    pub health: Option<Health>,
    /// Program and arguments that restart the BMC; without them the worker does it ([`Command::Boot`]).
    pub restart: Vec<String>,
    /// What runs programs.
    pub runner: Box<dyn Runner + Send>,
}

/// Why the daemon cannot go on.
#[derive(Debug, PartialEq, Eq)]
pub enum Fault<E> {
    /// The USB side is gone.
    Backend(E),
    /// The worker is gone.
    Worker,
}

impl<E> From<Gone> for Fault<E> {
    fn from(_: Gone) -> Self {
        Self::Worker
    }
}

/// The answering half of a BMC.
pub struct Bmc<B, W> {
    backend: B,
    worker: W,
    options: Options,
    dfu: Device,
    session: Session,
    audit: AuditLog,
    /// When the running firmware, which is on trial, is to be confirmed.
    confirm_at: Option<Duration>,
    /// The worker has been told to confirm it, and has not answered.
    confirms: bool,
    /// How its trial by the health command goes.
    verdict: Verdict,
    /// When the machine started, from where the deadline of a trial counts.
    started: Duration,
    /// Whether the BMC is about to restart.
    restart: Restart,
    /// Until when the host asks for none, since one has failed.
    restart_rests: Duration,
    /// What somebody on the BMC waits for the answer to.
    asked: Option<Asked>,
    answer: Option<command::Answer>,
    /// The device is not on the bus, since every door is shut.
    hidden: bool,
    /// When what is left of the budgets is to be written down.
    keep_budget_at: Option<Duration>,
    /// The endpoints of the bulk door.
    bulk: Endpoints,
    /// The disk.
    volume: Volume,
    /// The door handle.
    ipmi: Option<Handle>,
    /// The session whose payload comes in, or waits for its verdict.
    current: Option<u32>,
    /// The BMC restarts into what that one stages, as soon as its host is through.
    activates: bool,
    /// Bytes of it handed to the worker.
    sent: u64,
    /// Bytes of it in all, once the worker has seen the head.
    announced: Option<u64>,
    /// It may end here: behind it there is nothing, or a whole DFU suffix.
    whole: bool,
    /// Blocks handed to the worker and not yet taken.
    queued: usize,
    /// Buffers that came home.
    buffers: Vec<Vec<u8>>,
    /// A data stage that has not come in whole: its buffer.
    receiving: Option<Vec<u8>>,
    /// The last block read, until the DFU device says what it is.
    block: Option<Vec<u8>>,
    /// How fast control requests were answered.
    answers: command::Answers,
}

impl<B: DeviceBackend, W: Worker> Bmc<B, W> {
    /// A BMC that has just booted; [`attach`](Self::attach) shows it.
    #[must_use]
    pub fn new(backend: B, worker: W, session: Session, options: Options) -> Self {
        Self {
            backend,
            worker,
            dfu: Device::new(options.mode),
            ipmi: options.ipmi.map(Handle::new),
            options,
            session,
            audit: AuditLog::default(),
            confirm_at: None,
            confirms: false,
            verdict: Verdict::None,
            started: Duration::ZERO,
            restart: Restart::No,
            restart_rests: Duration::ZERO,
            asked: None,
            answer: None,
            hidden: false,
            keep_budget_at: None,
            bulk: Endpoints::new(),
            volume: Volume::default(),
            current: None,
            activates: false,
            sent: 0,
            announced: None,
            whole: false,
            queued: 0,
            buffers: Vec::new(),
            receiving: None,
            block: None,
            answers: command::Answers::default(),
        }
    }

    /// Appears on the bus with the run-time set, if a host is to see it. The trial of firmware that is on trial begins.
    ///
    /// # Errors
    /// The USB side or the worker is gone.
    pub fn attach(&mut self, now: Duration) -> Result<(), Fault<B::Error>> {
        // Without leaving the bus before: a backend that took the device over from another process has it there, where it may stay.
        self.appear(now)?;
        self.restart = Restart::No;
        self.plan_keeping(now);
        self.started = now;
        self.begin_trial();
        Ok(())
    }

    /// The session, to look at.
    #[must_use]
    pub const fn session(&self) -> &Session {
        &self.session
    }

    /// The USB side.
    pub const fn backend(&mut self) -> &mut B {
        &mut self.backend
    }

    /// The worker.
    pub const fn worker(&mut self) -> &mut W {
        &mut self.worker
    }

    /// Gives the USB side back, as it is.
    #[must_use]
    pub fn into_backend(self) -> B {
        self.backend
    }

    /// Gives the worker back, as a power cut leaves it.
    #[must_use]
    pub fn into_worker(self) -> W {
        self.worker
    }

    /// Does all that can be done now. Returns when it wants to be called again even if nothing happens.
    ///
    /// `clock` is read again behind each event of the bus: a host counts bwPollTimeout from the answer, and what it sends in time must
    /// not be measured by a clock that was read before it came.
    ///
    /// # Errors
    /// The USB side or the worker is gone.
    pub fn step(&mut self, clock: impl Fn() -> Duration) -> Result<Option<Duration>, Fault<B::Error>> {
        let mut now = clock();
        self.dfu.handle_timeout(now);
        if self.session.handle_timeout(now) {
            self.end_current(now, ResultCode::Timeout)?;
        }
        if self.confirm_at.is_some_and(|at| at <= now) {
            self.confirm_at = None;
            self.send_confirm()?;
        }
        if self.keep_budget_at.is_some_and(|at| at <= now) {
            self.keep_budget_at = None;
            self.worker.send(Command::KeepBudget { now })?;
        }
        // Counted from the first look at the clock behind something that was done.
        let mut enough = None;
        for _ in 0..BURST {
            let mut busy = self.handle_trial(now)?;
            busy |= self.handle_restart(now)?;
            while let Some(reply) = self.worker.poll()? {
                busy = true;
                self.handle_reply(now, reply)?;
            }
            busy |= self.handle_dfu(now)?;
            busy |= self.drive_bulk(now);
            busy |= self.handle_volume(now)?;
            self.handle_armed(now)?;
            self.handle_ipmi(now)?;
            busy |= self.handle_hiding(now)?;
            if self.handle_usb(now, &clock)? {
                busy = true;
            } else {
                busy |= self.drive_volume(&clock)?;
            }
            now = clock();
            while let Some(line) = self.session.poll_audit() {
                self.audit.tell(now, &line);
            }
            if !busy {
                let due = [
                    self.dfu.poll_timeout(),
                    self.session.poll_timeout(),
                    self.confirm_at,
                    self.verdict.poll_timeout(),
                    self.restart.poll_timeout(),
                    self.keep_budget_at,
                    self.volume.poll_timeout(),
                    self.armed_timeout(),
                    self.ipmi_timeout(),
                ];
                return Ok(due.into_iter().flatten().min());
            }
            if now >= *enough.get_or_insert(now.saturating_add(PASS)) {
                break;
            }
        }
        Ok(Some(now))
    }

    // USB.

    /// One event of the bus. Returns whether there was one. `since` is when the loop was last free for it: what it did in between
    /// counts as part of the answer.
    fn handle_usb(&mut self, since: Duration, clock: impl Fn() -> Duration) -> Result<bool, Fault<B::Error>> {
        if let Some(buffer) = self.receiving.take() {
            return Ok(self.receive(clock(), buffer));
        }
        let Some(event) = self.backend.poll_event().map_err(Fault::Backend)? else { return Ok(false) };
        let now = clock();
        match event {
            DeviceEvent::Enable => {
                self.dfu.handle_enable(now);
                self.reset_bulk(true);
                self.volume.handle_enable();
            }
            DeviceEvent::Disable => {
                self.dfu.handle_disable(now);
                self.reset_bulk(false);
                self.volume.handle_disable(now);
            }
            // Neither DFU nor a session knows of a bus that rests.
            DeviceEvent::Suspend | DeviceEvent::Resume => {}
            DeviceEvent::Complete(completion) if volume::owns(completion.endpoint) => {
                self.handle_disk_completion(now, since, completion)?;
            }
            DeviceEvent::Complete(completion) => self.handle_completion(now, completion)?,
            DeviceEvent::Setup(setup) => {
                self.handle_setup(now, &setup);
                self.answers.add(clock().saturating_sub(since));
            }
        }
        Ok(true)
    }

    fn handle_setup(&mut self, now: Duration, setup: &Setup) {
        // `Cancelled` needs no care here: a reply leaves nothing behind, and the next event says what came instead.
        if setup.kind() == RequestType::Vendor {
            let _ = match self.page(now, setup) {
                Some(page) => self.backend.control_write(&page[..page.len().min(usize::from(setup.length))]),
                None => self.backend.control_stall(),
            };
            return;
        }
        if self.volume.handle_setup(&mut self.backend, setup) {
            return;
        }
        let refusal = self.refusal(now);
        self.dfu.set_door(refusal.map_or(DfuDoor::Open, |code| DfuDoor::Refused(dfu_status(code))));
        let before = self.dfu.state();
        match self.dfu.handle_setup(now, setup) {
            Answer::Stall => {
                if refusal.is_some() {
                    self.tell_refusal(now, before, setup);
                }
                let _ = self.backend.control_stall();
            }
            Answer::Reply { bytes, length } => {
                let _ = self.backend.control_write(&bytes[..length]);
            }
            Answer::Receive { length } => {
                let mut buffer =
                    self.buffers.pop().unwrap_or_else(|| Vec::with_capacity(usize::from(TRANSFER_SIZE)));
                buffer.clear();
                buffer.resize(length, 0);
                self.receive(now, buffer);
            }
            Answer::Acknowledge => {
                if matches!(Request::decode(setup), Some(Request::Abort | Request::ClrStatus)) {
                    self.straighten_bulk();
                }
                self.receive(now, Vec::new());
            }
        }
    }

    /// Reads the data stage, which may be empty. Returns whether it was there.
    fn receive(&mut self, now: Duration, mut buffer: Vec<u8>) -> bool {
        match self.backend.control_read(&mut buffer) {
            Poll::Pending => {
                self.receiving = Some(buffer);
                false
            }
            Poll::Ready(Ok(length)) => {
                buffer.truncate(length);
                self.block = Some(buffer);
                self.dfu.handle_data(now, length);
                true
            }
            Poll::Ready(Err(ControlError::Cancelled | ControlError::Misuse)) => {
                self.recycle(buffer);
                self.dfu.handle_cancelled();
                true
            }
        }
    }

    /// Why the host may not begin now, if it may not.
    fn refusal(&self, now: Duration) -> Option<ResultCode> {
        match self.session.door(Door::Dfu) {
            DoorState::Open => {
                let behind = (self.worker.backlog() >= BACKLOG).then_some(ResultCode::Busy);
                self.session.may_begin(Door::Dfu, now).err().or(behind)
            }
            DoorState::Shut | DoorState::Armed => self.session.may_knock(Door::Dfu, now).err(),
        }
    }

    /// Has the session tell of a beginning that it refuses: DETACH at run time, or the first block of a download. `before` is
    /// the state in which the request came.
    fn tell_refusal(&mut self, now: Duration, before: State, setup: &Setup) {
        // Asked for again only to be told in the audit log, which folds repeats.
        match (before, Request::decode(setup)) {
            (State::AppIdle, Some(Request::Detach)) if self.session.may_knock(Door::Dfu, now).is_err() => {
                _ = self.session.knock(Door::Dfu, now);
            }
            (State::DfuIdle, Some(Request::Dnload)) if self.session.may_begin(Door::Dfu, now).is_err() => {
                _ = self.session.first_byte(Door::Dfu, now);
            }
            _ => {}
        }
    }

    // DFU.

    /// What the DFU device wants done. Returns whether there was anything.
    fn handle_dfu(&mut self, now: Duration) -> Result<bool, Fault<B::Error>> {
        let mut busy = false;
        while let Some(event) = self.dfu.poll_event() {
            busy = true;
            match event {
                Event::Detach => {
                    // The door said yes when the request came in.
                    if self.session.knock(Door::Dfu, now).is_ok() {
                        self.show_dfu_mode(now)?;
                    }
                }
                Event::Begin => self.begin(now)?,
                Event::BlockReceived { .. } => self.hand_over_block(now)?,
                Event::EndOfData => self.dfu.set_manifestation(now, Manifestation::Done),
                Event::Aborted(cause) => self.aborted(now, cause)?,
                Event::Leave => self.leave(now)?,
            }
        }
        if let Some(buffer) = self.block.take() {
            self.recycle(buffer);
        }
        Ok(busy)
    }

    fn begin(&mut self, now: Duration) -> Result<(), Fault<B::Error>> {
        self.forget_last();
        let door = Door::Dfu;
        match self.begin_by(door, now) {
            Ok((session, expected)) => {
                self.sent = 0;
                self.announced = None;
                self.whole = false;
                self.worker.send(Command::Begin { session, door, now, expected })?;
            }
            Err(code) => self.dfu.set_intake(Intake::Failed(dfu_status(code))),
        }
        Ok(())
    }

    fn hand_over_block(&mut self, now: Duration) -> Result<(), Fault<B::Error>> {
        let (Some(session), Some(bytes)) = (self.current, self.block.take()) else { return Ok(()) };
        let length = bytes.len() as u64;
        self.session.progress(length, now);
        self.sent = self.sent.saturating_add(length);
        self.queued += 1;
        let intake = self.intake();
        self.worker.send(Command::Data { session, bytes, awaited: intake != Intake::Ready })?;
        self.dfu.set_intake(intake);
        Ok(())
    }

    /// Says whether the host may send the next block.
    fn update_intake(&mut self) {
        if self.is_by(Door::Dfu) {
            self.dfu.set_intake(self.intake());
        }
    }

    /// Whether the host may send the next block of the session that there is.
    fn intake(&self) -> Intake {
        match (self.session.state(), self.announced) {
            (SessionState::Handover | SessionState::Verifying, _) => {
                Intake::Busy { poll_ms: POLL_VERIFYING_MS }
            }
            // Until the head has been seen, each block could be the last; the verdict belongs on the last.
            (_, None) if self.queued > 0 => Intake::Busy { poll_ms: POLL_QUEUE_MS },
            (_, Some(total)) if self.queued > 0 && self.sent >= total => {
                Intake::Busy { poll_ms: POLL_QUEUE_MS }
            }
            (_, _) if self.queued >= QUEUE => Intake::Busy { poll_ms: POLL_QUEUE_MS },
            (_, _) => Intake::Ready,
        }
    }

    /// Says whether the host may end the download: behind a staged package there is nothing, or all of what may
    /// stand there.
    fn update_complete(&mut self) {
        self.dfu.set_complete(self.whole && self.session.state() == SessionState::Staged);
    }

    fn aborted(&mut self, now: Duration, cause: Cause) -> Result<(), Fault<B::Error>> {
        let reason = match cause {
            Cause::Abort | Cause::NewSession => ResultCode::Aborted,
            Cause::BusReset => ResultCode::Disconnected,
            Cause::Idle => ResultCode::Timeout,
            Cause::Misuse(Status::ErrNotDone) => ResultCode::Truncated,
            Cause::Misuse(Status::ErrAddress) => ResultCode::Sequence,
            // CLRSTATUS and DETACH look the same as garbage from here.
            Cause::Misuse(_) => ResultCode::Aborted,
        };
        let ended = match reason {
            ResultCode::Aborted => self.session.host_ended(HostEnd::Aborted),
            ResultCode::Disconnected => self.session.host_ended(HostEnd::Disconnected),
            code => {
                self.session.state() == SessionState::Receiving
                    && self.session.verdict(self.session.id(), Err(code), now).is_ok()
            }
        };
        if ended {
            self.end_current(now, reason)?;
        }
        Ok(())
    }

    /// The current session is over before its end; the worker is told.
    fn end_current(&mut self, now: Duration, reason: ResultCode) -> Result<(), Fault<B::Error>> {
        let door = self.carrier();
        if let Some(session) = self.current.take() {
            self.tell_end(now, door, reason)?;
            self.worker.send(Command::Abort { session, reason })?;
        }
        Ok(())
    }

    /// Another session may begin. What came of the last one is told; one that is at work stays, whoever would begin another: its verdict is
    /// yet to come.
    fn forget_last(&mut self) {
        if !self.session.state().is_at_work() {
            self.current = None;
        }
    }

    /// The door that the current session came in by.
    fn carrier(&self) -> Option<Door> {
        self.current.and(self.session.owner())
    }

    /// Whether there is a current session, and it came in by this door.
    fn is_by(&self, door: Door) -> bool {
        self.carrier() == Some(door)
    }

    /// The session of this door is over; the host is told there.
    fn tell_end(
        &mut self,
        now: Duration,
        door: Option<Door>,
        code: ResultCode,
    ) -> Result<(), Fault<B::Error>> {
        match door {
            Some(Door::Dfu) => self.dfu.set_intake(Intake::Failed(dfu_status(code))),
            Some(Door::Bulk) => self.end_exchange(now, code),
            Some(Door::Volume) => return self.conclude_volume(now, code),
            Some(Door::Ipmi) | None => {}
        }
        Ok(())
    }

    fn leave(&mut self, now: Duration) -> Result<(), Fault<B::Error>> {
        self.leave_doors();
        if !self.session.state().is_at_work() && self.is_held() {
            return self.release_held(now);
        }
        if self.activates && self.session.state() == SessionState::Staged {
            return self.restart(now);
        }
        self.show_runtime(now)
    }

    /// What DETACH has opened is left.
    fn leave_doors(&mut self) {
        self.session.leave(Door::Dfu);
        self.session.leave(Door::Bulk);
    }

    fn recycle(&mut self, buffer: Vec<u8>) {
        // Not what the disk's pages were in.
        let fits = (1..=usize::from(TRANSFER_SIZE)).contains(&buffer.capacity());
        if fits && self.buffers.len() <= QUEUE {
            self.buffers.push(buffer);
        }
    }
}

/// What a DFU host is told of a result.
fn dfu_status(code: ResultCode) -> Status {
    match Status::from_number(code.b_status()) {
        Some(Status::Ok) | None => Status::ErrUnknown,
        Some(status) => status,
    }
}
