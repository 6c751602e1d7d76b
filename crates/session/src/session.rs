//! The session as the daemon's main loop owns it.

use alloc::collections::VecDeque;
use alloc::vec::Vec;
use core::time::Duration;

use inband_store::medium::Medium;
use inband_store::text::Text;
use inband_store::{Identity, Record, Slot, SlotState, Store};

use crate::audit::{Audit, By};
use crate::budget::{Budget, seconds};
use crate::door::{Door, DoorPolicy, DoorState};
use crate::lockout::Lockout;
use crate::pipeline::Progress;
use crate::result::ResultCode;
use crate::state::{Event, Refusal, SessionState};
use crate::status::{self, FirmwarePage, LogPage, MachinePage, StatusPage};

mod doors;
#[cfg(test)]
mod tests;

pub use doors::ENTERED;

/// Audit lines kept until they are fetched; more are dropped, oldest first.
const AUDIT_LIMIT: usize = 64;

/// What is configured about sessions.
#[derive(Clone, Debug)]
pub struct Config {
    /// Name of the board, as packages have it.
    pub machine: Text<48>,
    /// Policies of the doors, in the order of [`Door::ALL`].
    pub doors: [DoorPolicy; 4],
    /// What a host may ask of the BMC.
    pub limits: Limits,
    /// The host is told that it may send a DFU block ahead of the status of the one before.
    pub takes_ahead: bool,
}

/// How long a session may take (docs/spec/session.md, 4), and how many packages may be refused (7). [`Rates`](crate::Rates) are
/// the pipeline's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes that count as progress.
    pub progress: u64,
    /// The time in which that many bytes must come.
    pub progress_time: Duration,
    /// The time in which all must have come.
    pub total_time: Duration,
    /// At the door `volume` any byte counts as progress, and this is the time for it: whoever copies by hand ejects by hand.
    pub volume_progress_time: Duration,
    /// So many refused packages in a row lock the host's doors; 0: never.
    pub refusals: u32,
}

impl Limits {
    /// What counts as progress at a door, in bytes, and the time for it.
    const fn pace(&self, door: Option<Door>) -> (u64, Duration) {
        match door {
            Some(Door::Volume) => (1, self.volume_progress_time),
            Some(Door::Dfu | Door::Bulk | Door::Ipmi) | None => (self.progress, self.progress_time),
        }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            progress: 64 * 1024,
            progress_time: Duration::from_secs(60),
            total_time: Duration::from_secs(60 * 60),
            volume_progress_time: Duration::from_secs(5 * 60),
            refusals: 10,
        }
    }
}

/// What the store says, as of the last report of whoever owns it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoreView {
    /// The record.
    pub record: Record,
    /// The slot whose firmware runs.
    pub running: Slot,
    /// What the budgets have left.
    pub budget: Budget,
}

impl StoreView {
    /// Of a store, as it is now.
    #[must_use]
    pub fn of<M: Medium>(store: &Store<M>, budget: Budget) -> Self {
        Self { record: store.record().clone(), running: store.running(), budget }
    }
}

/// How a host ends a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HostEnd {
    /// It says so: DFU_ABORT, DFU_CLRSTATUS, DFU_DETACH.
    Aborted,
    /// Bus reset or unplug.
    Disconnected,
}

/// When the session runs out of time.
#[derive(Clone, Copy, Debug)]
struct Deadlines {
    total: Duration,
    /// `None` while the host can send nothing.
    progress: Option<Duration>,
    /// Bytes received at which the time for progress begins anew.
    next: u64,
}

/// Doors and the one session, seen from the main loop. Sans-IO: times are since any fixed moment and never go back.
///
/// * Commands, on behalf of somebody on the BMC: [`arm`](Self::arm), [`disarm`](Self::disarm), [`abort`](Self::abort),
///   [`activate`](Self::activate); of its power control: [`power_on`](Self::power_on); of a host: [`start`](Self::start), [`stopped`](Self::stopped).
/// * Inputs from a door: [`knock`](Self::knock), [`open`](Self::open), [`leave`](Self::leave), [`first_byte`](Self::first_byte),
///   [`progress`](Self::progress), [`host_waits`](Self::host_waits), [`host_ended`](Self::host_ended).
/// * Inputs from the worker that owns the [`Pipeline`](crate::Pipeline): [`report`](Self::report),
///   [`handover`](Self::handover), [`read_back`](Self::read_back), [`verdict`](Self::verdict), [`update`](Self::update), [`confirmed`](Self::confirmed), [`unhealthy`](Self::unhealthy).
/// * Time: [`poll_timeout`](Self::poll_timeout) says when [`handle_timeout`](Self::handle_timeout) is due; [`shuts_at`](Self::shuts_at) when a door is to be
///   [`shut`](Self::shut), [behind](Self::shut_behind) what is at work there, or looked at [again](Self::postpone), by whoever knows whether somebody is in there.
/// * Outputs: [`poll_audit`](Self::poll_audit), to be called until it is `None`; [`page`](Self::page) at any time.
///
/// A session goes [`first_byte`](Self::first_byte), [`progress`](Self::progress) with each portion,
/// [`handover`](Self::handover) when the pipeline says that the package is complete, or when the door gives up bytes that the pipeline has yet to
/// see, [`verdict`](Self::verdict). The pipeline must not finish before `handover` has said `Ok`: until then the host can still end the session.
#[derive(Debug)]
pub struct Session {
    config: Config,
    store: StoreView,
    doors: [DoorState; 4],
    /// When doors that were armed are shut again.
    until: [Option<Duration>; 4],
    /// Doors that are shut behind the session at work there, and who wants that.
    late: [Option<By>; 4],
    /// The BMC is about to restart, and no session may begin.
    closed: bool,
    state: SessionState,
    id: u32,
    /// Whether the store has heard of the session, or cannot: a host is told an id that no other session can have.
    recorded: bool,
    /// The highest id given so far; the store may not have heard of it yet.
    last_id: u32,
    door: Option<Door>,
    result: ResultCode,
    head: [u8; 16],
    received: u64,
    announced: u64,
    /// Percent of the slot that were read back.
    read_back: u8,
    deadlines: Option<Deadlines>,
    lockout: Lockout,
    /// The session that the lock-out heard of last; each counts once.
    counted: u32,
    audit: VecDeque<Audit>,
    /// The refusal that was told last, and how often it was repeated since.
    repeats: Option<(Door, ResultCode, u32)>,
}

impl Session {
    /// As the store has it. Call [`start::recover`](crate::start::recover) on the store before, so that it tells the truth.
    #[must_use]
    pub fn new(config: Config, store: StoreView) -> Self {
        let doors = config.doors.map(DoorPolicy::at_rest);
        let mut session = Self {
            config,
            doors,
            until: [None; 4],
            late: [None; 4],
            closed: false,
            state: SessionState::Idle,
            id: 0,
            recorded: true,
            last_id: store.record.last_id,
            door: None,
            result: ResultCode::None,
            head: [0; 16],
            received: 0,
            announced: 0,
            read_back: 0,
            deadlines: None,
            lockout: Lockout::default(),
            counted: 0,
            audit: VecDeque::new(),
            repeats: None,
            store,
        };
        session.restore();
        session
    }

    /// The machine has started anew: what went on before is over.
    pub fn restarted(&mut self, store: StoreView) {
        self.last_id = self.last_id.max(store.record.last_id);
        self.store = store;
        self.doors = self.config.doors.map(DoorPolicy::at_rest);
        self.until = [None; 4];
        self.late = [None; 4];
        self.closed = false;
        self.restore();
    }

    /// Takes the last session of the record for the current one.
    fn restore(&mut self) {
        let last = &self.store.record.session;
        self.state = SessionState::from_number(last.state).unwrap_or_default();
        self.id = last.id;
        self.recorded = true;
        self.door = Door::from_number(last.door);
        self.result = ResultCode::from_code(last.result).unwrap_or(ResultCode::Internal);
        self.head = last.head;
        self.received = 0;
        self.announced = 0;
        self.deadlines = None;
        self.tell_change();
        if self.state == SessionState::PendingConfirm {
            let StoreView { record, running, .. } = &self.store;
            let (boot, left) = (record.boots_used(*running), record.boots_left);
            self.tell(Audit::OnTrial { id: self.id, boot, left });
        }
    }

    // Getters.

    /// How the session stands.
    #[must_use]
    pub const fn state(&self) -> SessionState {
        self.state
    }

    /// Session id; 0 is none.
    #[must_use]
    pub const fn id(&self) -> u32 {
        self.id
    }

    /// The session's result; [`ResultCode::None`] until it has one.
    #[must_use]
    pub const fn result(&self) -> ResultCode {
        self.result
    }

    /// How far it is, where that is known: what of the package is received, then what of the slot is read back.
    #[must_use]
    pub fn percent(&self) -> Option<u8> {
        match self.state {
            SessionState::Receiving => {
                let percent = self.received.saturating_mul(100).checked_div(self.announced)?;
                Some(u8::try_from(percent).unwrap_or(u8::MAX).min(100))
            }
            SessionState::Handover | SessionState::Verifying => Some(self.read_back),
            SessionState::Idle
            | SessionState::Interrupted
            | SessionState::Staged
            | SessionState::Activating
            | SessionState::PendingConfirm
            | SessionState::Done
            | SessionState::Failed
            | SessionState::Aborted
            | SessionState::RolledBack => None,
        }
    }

    /// The door that owns the session.
    #[must_use]
    pub const fn owner(&self) -> Option<Door> {
        self.door
    }

    /// Name of the board.
    #[must_use]
    pub const fn machine(&self) -> Text<48> {
        self.config.machine
    }

    /// How a door stands.
    #[must_use]
    pub const fn door(&self, door: Door) -> DoorState {
        self.doors[door.index()]
    }

    /// Who decides whether a door opens.
    #[must_use]
    pub const fn policy(&self, door: Door) -> DoorPolicy {
        self.config.doors[door.index()]
    }

    /// What the store said last.
    #[must_use]
    pub const fn store(&self) -> &StoreView {
        &self.store
    }

    /// How long a host has to wait, whatever it brings, until a session may begin: locked out, or the budgets are used up.
    #[must_use]
    pub fn wait(&self, now: Duration) -> Duration {
        self.lockout.wait(now).max(self.store.budget.after(now).wait())
    }

    /// The status page.
    #[must_use]
    pub fn status(&self, now: Duration) -> StatusPage {
        let StoreView { record, running, .. } = &self.store;
        StatusPage {
            state: self.state,
            door: self.door,
            result_code: self.result.code(),
            doors: self.doors,
            on_trial: self.is_on_trial(),
            other_boots_next: record.choice != *running,
            locked_out: !self.lockout.wait(now).is_zero(),
            takes_ahead: self.config.takes_ahead,
            session: if self.recorded { self.id } else { 0 },
            received: u32::try_from(self.received).unwrap_or(u32::MAX),
            announced: u32::try_from(self.announced).unwrap_or(u32::MAX),
            running: *running,
            boots_next: record.choice,
            slots: Slot::ALL.map(|slot| record.slot(slot).state),
            bcd_device: Slot::ALL.map(|slot| record.slot(slot).bcd_device),
            security_version: record.slot(*running).security_version,
            floor: record.floor,
            log_records: u16::try_from(record.log.len()).unwrap_or(u16::MAX),
            boots_left: record.boots_left,
            boots_given: record.slot(record.choice).trial.given,
            head: self.head,
            wait_minutes: u16::try_from(seconds(self.wait(now)).div_ceil(60)).unwrap_or(u16::MAX),
        }
    }

    /// The bytes of a page of the vendor request; `None` for a page that does not exist.
    #[must_use]
    pub fn page(&self, number: u16, now: Duration) -> Option<Vec<u8>> {
        match number {
            status::STATUS_PAGE => Some(self.status(now).encode()),
            status::SLOT_A_PAGE => Some(self.firmware(Slot::A).encode()),
            status::SLOT_B_PAGE => Some(self.firmware(Slot::B).encode()),
            status::MACHINE_PAGE => Some(MachinePage { machine: self.config.machine }.encode()),
            _ => {
                let age = usize::from(number.checked_sub(status::FIRST_LOG_PAGE)?);
                let record = self.store.record.log.iter().rev().nth(age)?;
                Some(LogPage::new(record).encode())
            }
        }
    }

    fn firmware(&self, slot: Slot) -> FirmwarePage {
        let firmware = self.store.record.slot(slot);
        FirmwarePage {
            state: firmware.state,
            slot,
            security_version: firmware.security_version,
            bcd_device: firmware.bcd_device,
            version: firmware.version,
        }
    }

    /// Whether the running firmware is not confirmed.
    #[must_use]
    pub fn is_on_trial(&self) -> bool {
        self.store.record.slot(self.store.running).state != SlotState::Good
    }

    // The session.

    /// The first payload byte came in at a door: begins a session and returns its id, for the pipeline.
    ///
    /// # Errors
    /// [`ResultCode::DoorShut`], [`ResultCode::Busy`], [`ResultCode::OnTrial`], [`ResultCode::LockedOut`],
    /// [`ResultCode::Worn`]; nothing has changed then.
    pub fn first_byte(&mut self, door: Door, now: Duration) -> Result<u32, ResultCode> {
        self.may_begin(door, now).map_err(|result| self.refused(door, result, now))?;
        // 0 stands for no session.
        self.last_id = self.last_id.wrapping_add(1).max(1);
        self.id = self.last_id;
        self.recorded = false;
        self.door = Some(door);
        self.head = [0; 16];
        self.received = 0;
        self.announced = 0;
        self.read_back = 0;
        let limits = &self.config.limits;
        let (bytes, time) = limits.pace(self.door);
        self.deadlines = Some(Deadlines {
            total: now.saturating_add(limits.total_time),
            progress: Some(now.saturating_add(time)),
            next: bytes,
        });
        self.tell(Audit::Began { id: self.id, door, target: self.store.running.other() });
        self.on(Event::FirstByte).map_err(Refusal::result)?;
        Ok(self.id)
    }

    /// What [`first_byte`](Self::first_byte) would answer now.
    ///
    /// # Errors
    /// Those of `first_byte`.
    pub fn may_begin(&self, door: Door, now: Duration) -> Result<(), ResultCode> {
        match self.door(door) {
            DoorState::Open if self.is_last(door) => Err(ResultCode::DoorShut),
            DoorState::Open => self.is_free(now),
            DoorState::Shut | DoorState::Armed => Err(ResultCode::DoorShut),
        }
    }

    /// Whether a session may begin, by whatever door.
    fn is_free(&self, now: Duration) -> Result<(), ResultCode> {
        self.state.on(Event::FirstByte).map_err(Refusal::result)?;
        if self.closed {
            return Err(ResultCode::Busy);
        }
        if self.is_on_trial() {
            return Err(ResultCode::OnTrial);
        }
        if !self.lockout.wait(now).is_zero() {
            return Err(ResultCode::LockedOut);
        }
        if self.store.budget.after(now).wait().is_zero() { Ok(()) } else { Err(ResultCode::Worn) }
    }

    /// Payload bytes came in, the first ones included.
    pub fn progress(&mut self, bytes: u64, now: Duration) {
        self.received = self.received.saturating_add(bytes);
        let (bytes, time) = self.config.limits.pace(self.door);
        if let Some(deadlines) = self.deadlines.as_mut().filter(|deadlines| self.received >= deadlines.next) {
            deadlines.progress = deadlines.progress.map(|_| now.saturating_add(time));
            deadlines.next = self.received.saturating_add(bytes);
        }
    }

    /// Whether the host has to wait for the BMC before it can send anything: then the time for progress stands, and begins anew
    /// behind it. The session's whole time runs on.
    pub fn host_waits(&mut self, waits: bool, now: Duration) {
        let (bytes, time) = self.config.limits.pace(self.door);
        if let Some(deadlines) =
            self.deadlines.as_mut().filter(|deadlines| deadlines.progress.is_none() != waits)
        {
            deadlines.progress = (!waits).then(|| now.saturating_add(time));
            deadlines.next = self.received.saturating_add(bytes);
        }
    }

    /// What the pipeline says after a push. A report on an earlier session is ignored.
    pub fn report(&mut self, progress: &Progress) {
        if progress.session != self.id || !self.state.is_at_work() {
            return;
        }
        self.announced = progress.announced.unwrap_or_default();
        if let Some(Identity { head, version }) = progress.accepted
            && self.head != head
        {
            self.head = head;
            self.tell(Audit::Accepted { id: self.id, head, version, announced: self.announced });
        }
    }

    /// So many percent of the slot were read back on behalf of session `id`.
    pub const fn read_back(&mut self, id: u32, percent: u8) {
        if id == self.id {
            self.read_back = percent;
        }
    }

    /// The host ended the session, or is gone. Returns whether that counts: then the pipeline is to be told. From the
    /// handover on it does not: the bytes are the BMC's.
    pub fn host_ended(&mut self, end: HostEnd) -> bool {
        let event = match end {
            HostEnd::Aborted => Event::HostEnded,
            HostEnd::Disconnected => Event::Disconnected,
        };
        self.on(event).is_ok()
    }

    /// The package of session `id` is complete and the door has given it up: the BMC alone decides from here on, and the
    /// pipeline may finish.
    ///
    /// # Errors
    /// [`Refusal::NotNow`] if that session is not the current one, or not receiving any more.
    pub fn handover(&mut self, id: u32) -> Result<(), Refusal> {
        self.check_current(id)?;
        self.on(Event::LastByte)?;
        self.on(Event::GivenUp)
    }

    /// The pipeline's verdict on session `id`: the package is staged, or a check or the store failed.
    ///
    /// # Errors
    /// [`Refusal::NotNow`] if that session is not the current one, or over already.
    pub fn verdict(
        &mut self,
        id: u32,
        verdict: Result<(), ResultCode>,
        now: Duration,
    ) -> Result<(), Refusal> {
        self.check_current(id)?;
        // What is staged is recorded. A store that failed may never have it, and the host is to learn that it was this session.
        self.recorded |= matches!(verdict, Ok(()) | Err(ResultCode::StoreFailed | ResultCode::NoSpace));
        // An authentic package that the store refused is known to the record before it is to `report`.
        let last = &self.store.record.session;
        if last.id == id && self.head == [0; 16] {
            self.head = last.head;
        }
        self.on(match verdict {
            Ok(()) => Event::Verified,
            Err(result) => Event::CheckFailed(result),
        })?;
        self.count(id, verdict, now);
        Ok(())
    }

    /// The pipeline refused the package of session `id`, which the host had ended before that was known here. Its end stands; the
    /// refusal counts all the same: else who aborts quickly enough could have one package after the other checked.
    pub fn late_refusal(&mut self, id: u32, result: ResultCode, now: Duration) {
        if id != self.counted {
            self.count(id, Err(result), now);
        }
    }

    fn count(&mut self, id: u32, verdict: Result<(), ResultCode>, now: Duration) {
        self.counted = id;
        if let Some(locked) = self.lockout.count(self.config.limits.refusals, verdict, now) {
            self.tell(Audit::LockedOut { seconds: seconds(locked) });
        }
    }

    /// Somebody on the BMC ends the session; the pipeline is to be told. From the handover on it runs to its verdict: of a
    /// package the slot is written by then, and a tar without a head takes no longer than writing the slot.
    ///
    /// # Errors
    /// [`Refusal::NotNow`] if nothing is being received.
    pub fn abort(&mut self) -> Result<(), Refusal> {
        self.on(Event::HostEnded)
    }

    /// Somebody wants the staged firmware to run. The daemon then restarts the BMC.
    ///
    /// # Errors
    /// [`Refusal::NotNow`] if nothing is staged.
    pub fn activate(&mut self) -> Result<(), Refusal> {
        self.on(Event::ActivationAsked)
    }

    /// The running firmware was confirmed, and the store has it.
    ///
    /// # Errors
    /// [`Refusal::NotNow`] if it was not on trial.
    pub fn confirmed(&mut self) -> Result<(), Refusal> {
        self.on(Event::Confirmed)
    }

    /// The health command of the running firmware, which is on trial, did not pass in time, and the store has it.
    ///
    /// # Errors
    /// [`Refusal::NotNow`] if it was not on trial.
    pub fn unhealthy(&mut self) -> Result<(), Refusal> {
        self.on(Event::FoundUnhealthy)
    }

    /// The store changed.
    pub fn update(&mut self, store: StoreView) {
        self.recorded |= store.record.session.id == self.id;
        self.store = store;
    }

    /// The BMC is about to restart: until it [has](Self::restarted), the next session is refused as one that is in the way.
    pub const fn close(&mut self) {
        self.closed = true;
    }

    // Time.

    /// When [`Session::handle_timeout`] is due next; `None` if no time is running.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Duration> {
        let deadlines = self.deadlines?;
        Some(deadlines.progress.map_or(deadlines.total, |progress| progress.min(deadlines.total)))
    }

    /// Ends the session if it is out of time; returns whether it did: then the pipeline is to be told.
    pub fn handle_timeout(&mut self, now: Duration) -> bool {
        match self.poll_timeout() {
            Some(due) if due <= now => self.on(Event::TimedOut).is_ok(),
            Some(_) | None => false,
        }
    }

    // Audit.

    /// The next line for the log.
    pub fn poll_audit(&mut self) -> Option<Audit> {
        self.audit.pop_front()
    }

    /// A worker is behind the main loop: what it says may be on a session that the host has ended since.
    const fn check_current(&self, id: u32) -> Result<(), Refusal> {
        if id == self.id { Ok(()) } else { Err(Refusal::NotNow) }
    }

    /// Lets an event have its effect by the table of transitions: the one place where the state changes.
    fn on(&mut self, event: Event) -> Result<(), Refusal> {
        self.state = self.state.on(event)?;
        if let Some(result) = event.result() {
            self.result = result;
        }
        if self.state != SessionState::Receiving {
            // From the handover on no time runs: the host cannot delay anything any more.
            self.deadlines = None;
        }
        self.tell_change();
        Ok(())
    }

    fn tell_change(&mut self) {
        let Self { id, state, result, received, .. } = *self;
        self.tell(Audit::Changed { id, state, result, received });
    }

    fn tell(&mut self, line: Audit) {
        if let Some((door, result, times)) = self.repeats.take().filter(|(.., times)| *times > 0) {
            self.queue(Audit::Refused { door, result, times, wait: 0 });
        }
        self.queue(line);
    }

    /// Tells of a refusal, once for all repeats in a row, and returns it.
    fn refused(&mut self, door: Door, result: ResultCode, now: Duration) -> ResultCode {
        match &mut self.repeats {
            Some((last_door, last_result, times)) if *last_door == door && *last_result == result => {
                *times = times.saturating_add(1);
            }
            Some(_) | None => {
                let wait = match result {
                    ResultCode::LockedOut | ResultCode::Worn => seconds(self.wait(now)),
                    _ => 0,
                };
                self.tell(Audit::Refused { door, result, times: 1, wait });
                self.repeats = Some((door, result, 0));
            }
        }
        result
    }

    fn queue(&mut self, line: Audit) {
        if self.audit.len() == AUDIT_LIMIT {
            self.audit.pop_front();
        }
        self.audit.push_back(line);
    }
}

impl Refusal {
    /// The result that tells a host of it.
    #[must_use]
    pub const fn result(self) -> ResultCode {
        match self {
            Self::Busy => ResultCode::Busy,
            Self::OnTrial => ResultCode::OnTrial,
            Self::NotNow => ResultCode::Sequence,
        }
    }
}
