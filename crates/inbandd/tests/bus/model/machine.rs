//! The model: a session, its doors and the door handle, written from docs/spec/session.md and docs/spec/ipmi.md. It knows no byte of a package and no
//! state of a protocol that those pages do not name; whole operations of a host are its events.
//!
//! Not in it: budgets, which have tests of their own.
//!
//! **Left open**, and taken from the BMC: the nonce of a start; whether a session that came to nothing had begun to write, and so taken back what
//! was staged ([`Next::Open`]); bytes and percent; and, in the last second before something is due, whether it has happened.

use std::time::Duration;

use inband_session::{Door, DoorPolicy, DoorState, ResultCode, SessionState};
use inbandd::command::AskedBy;

use super::{disk::Drive, handle::Said, held::Held, usb::OnBus};
use crate::bench::FACTORY;

/// Doors by their index.
pub(super) const DOORS: [Door; 3] = [Door::Dfu, Door::Bulk, Door::Volume];
pub(super) const fn seconds(count: u64) -> Duration {
    Duration::from_secs(count)
}
/// A lock-out (session.md, 7), and how long a refusal is remembered.
const LOCKED: Duration = seconds(600);
const REMEMBERED: Duration = seconds(3600);
/// The health command's time, as the bench has it, and the boots of a trial.
const HEALTH: Duration = seconds(300);
const BOOTS: u8 = 3;

/// What is configured.
#[derive(Clone, Copy, Debug)]
pub(super) struct Configured {
    /// Of `dfu`, `bulk` and `volume`.
    pub(super) policies: [DoorPolicy; 3],
    /// The disk has a filesystem.
    pub(super) fat: bool,
    /// A start opens doors that are shut.
    pub(super) opens: bool,
    /// New firmware has to pass a health command, which never ends here.
    pub(super) health: bool,
    /// Refused packages in a row that lock the host out; 0 never.
    pub(super) refusals: u32,
    /// For how long doors are armed.
    pub(super) armed_for: Option<Duration>,
    /// The host's power-on arms.
    pub(super) power_on: bool,
    /// While every door is shut nothing is on the bus.
    pub(super) hides: bool,
    /// A restart waits for the session at work.
    pub(super) holds: bool,
    /// The BMC restarts at once into what is staged.
    pub(super) at_once: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Firmware {
    Factory,
    /// What the hosts of these tests send,
    Sent,
    /// and what is older than the first one.
    Older,
}

impl Firmware {
    /// By which it is older or not: the security version is one and the same.
    pub(super) const fn bcd_device(self) -> u16 {
        match self {
            Self::Factory => FACTORY,
            Self::Sent => 0x0217,
            Self::Older => 0x0099,
        }
    }
}

/// A session, or what is left of it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Session {
    pub(super) id: u32,
    pub(super) state: SessionState,
    pub(super) result: ResultCode,
    pub(super) door: Option<Door>,
    pub(super) package: Firmware,
    /// Of the start that it came by.
    pub(super) said: Said,
    /// The BMC restarts into it by itself.
    pub(super) at_once: bool,
    /// When it has come to nothing, and when for want of progress.
    total: Duration,
    progress: Duration,
}

/// What boots next, if not what runs.
#[derive(Clone, Copy, Debug)]
pub(super) enum Next {
    Nothing,
    Staged(Session),
    /// The session that there is may have taken it back, if it has come to write.
    Open(Session),
}

/// New firmware that is not confirmed.
#[derive(Clone, Copy, Debug)]
pub(super) struct Trial {
    boots_left: u8,
    until: Duration,
    /// Of this boot.
    given_back: bool,
    unhealthy: bool,
    /// In any boot.
    pub(super) ever_unhealthy: bool,
    old: Firmware,
}

/// A start in force.
#[derive(Clone, Copy, Debug)]
pub(super) struct Start {
    pub(super) door: Door,
    pub(super) until: Duration,
    pub(super) said: Said,
    /// The session that came by it.
    pub(super) session: Option<u32>,
    /// Its time is over.
    pub(super) late: bool,
}

pub(super) struct Machine {
    pub(super) configured: Configured,
    pub(super) now: Duration,
    /// When something was due last.
    happened: Duration,
    pub(super) doors: [DoorState; 3],
    /// When they are shut, if nobody is in there.
    pub(super) shuts: [Option<Duration>; 3],
    /// That is over, and the session at work is the last one.
    pub(super) late: [bool; 3],
    /// Somebody had written other files to the disk when its time was over.
    pub(super) spared: bool,
    pub(super) session: Session,
    last_id: u32,
    pub(super) bus: OnBus,
    pub(super) plugged: bool,
    /// When the host is taken for one that does not come back.
    pub(super) gone: Option<Duration>,
    /// The profile that the disk has now.
    pub(super) fat: bool,
    pub(super) start: Option<Start>,
    /// Of the last start.
    pub(super) nonce: u32,
    refusals: u32,
    refused_at: Duration,
    locked: Duration,
    pub(super) running: Firmware,
    pub(super) next: Next,
    pub(super) trial: Option<Trial>,
    pub(super) held: Option<Held>,
    /// When the BMC restarts, whether or not the host has read the verdict.
    pub(super) restart_at: Option<Duration>,
    /// What hosts have to send.
    pub(super) package: Firmware,
    /// The read-back waits for a word of the test's.
    pub(super) slow: bool,
}

impl Machine {
    pub(super) fn new(configured: Configured) -> Self {
        let session = Session {
            id: 0,
            state: SessionState::Idle,
            result: ResultCode::None,
            door: None,
            package: Firmware::Factory,
            said: Said::NOTHING,
            at_once: false,
            total: Duration::ZERO,
            progress: Duration::ZERO,
        };
        let mut machine = Self {
            configured,
            now: Duration::ZERO,
            happened: Duration::ZERO,
            doors: [DoorState::Shut; 3],
            shuts: [None; 3],
            late: [false; 3],
            spared: false,
            session,
            last_id: 0,
            bus: OnBus::Bare,
            plugged: true,
            gone: None,
            fat: configured.fat,
            start: None,
            nonce: 0,
            refusals: 0,
            refused_at: Duration::ZERO,
            locked: Duration::ZERO,
            running: Firmware::Factory,
            next: Next::Nothing,
            trial: None,
            held: None,
            restart_at: None,
            package: Firmware::Sent,
            slow: false,
        };
        machine.begin_anew();
        machine
    }

    /// The doors as they are at rest, the run-time set on the bus; who was locked out is not.
    fn begin_anew(&mut self) {
        for door in DOORS {
            self.rest(door);
        }
        (self.start, self.held, self.restart_at) = (None, None, None);
        self.fat = self.configured.fat;
        self.show_run_time();
    }

    /// Why no session may begin, whatever the doors say.
    pub(super) fn refusal(&self) -> Option<ResultCode> {
        if self.is_at_work() || self.held.is_some() {
            Some(ResultCode::Busy)
        } else if self.trial.is_some() {
            Some(ResultCode::OnTrial)
        } else if self.is_locked_out() {
            Some(ResultCode::LockedOut)
        } else {
            None
        }
    }

    pub(super) fn is_locked_out(&self) -> bool {
        self.locked > self.now
    }

    /// Seconds until it is over.
    pub(super) fn wait(&self) -> Duration {
        self.locked.saturating_sub(self.now)
    }

    // Sessions (session.md, 3 and 4).

    pub(super) fn is_at_work(&self) -> bool {
        self.session.state.is_at_work()
    }

    /// Whether the session is at work and came in by that door.
    pub(super) fn is_by(&self, door: Door) -> bool {
        self.is_at_work() && self.session.door == Some(door)
    }

    pub(super) fn receives(&self) -> bool {
        self.session.state == SessionState::Receiving
    }

    /// The first payload byte.
    pub(super) fn begin(&mut self, door: Door) {
        self.last_id += 1;
        self.restart_at = None;
        let mut said = Said::NOTHING;
        if let Some(start) = &mut self.start
            && (start.door == Door::Volume) == (door == Door::Volume)
        {
            start.session = Some(self.last_id);
            said = start.said;
        }
        let time = if door == Door::Volume { 300 } else { 60 };
        self.session = Session {
            id: self.last_id,
            state: SessionState::Receiving,
            result: ResultCode::None,
            door: Some(door),
            package: self.package,
            said,
            at_once: self.configured.at_once && !said.defer,
            total: self.now + seconds(3600),
            progress: self.now + seconds(time),
        };
    }

    /// Why its package is refused before anything is written.
    pub(super) fn objection(&self, forged: bool) -> Option<ResultCode> {
        let Session { package, said, .. } = self.session;
        let is_another = said.head.is_some_and(|head| head != package) || said.length == Some(false);
        if is_another {
            Some(ResultCode::UnexpectedPackage)
        } else if forged {
            Some(ResultCode::BadSignature)
        } else if said.not_older && package.bcd_device() < self.running.bcd_device() {
            Some(ResultCode::Downgrade)
        } else {
            None
        }
    }

    /// The package on the way, or else the next.
    pub(super) fn sends(&self) -> Firmware {
        if self.is_at_work() { self.session.package } else { self.package }
    }

    /// Another WRITE.
    pub(super) fn progress(&mut self) {
        self.session.progress = self.now + seconds(300);
    }

    /// The last byte is in; what comes of it.
    pub(super) fn judge(&mut self, verdict: ResultCode) {
        self.session.state = SessionState::Verifying;
        match verdict {
            ResultCode::Ok | ResultCode::BadChunk => self.may_write(),
            ResultCode::Incomplete if !self.fat => self.may_write(),
            // The others touch nothing.
            _ => {}
        }
        if verdict != ResultCode::Ok || !self.slow {
            self.end(verdict);
        }
    }

    /// What has come in may be enough for a first write.
    pub(super) fn may_write(&mut self) {
        if let Next::Staged(staged) = self.next {
            self.next = Next::Open(staged);
        }
    }

    /// The session ends with this result.
    pub(super) fn end(&mut self, result: ResultCode) {
        self.session.result = result;
        self.session.state = match result {
            ResultCode::Ok => SessionState::Staged,
            ResultCode::Aborted => SessionState::Aborted,
            ResultCode::Interrupted => SessionState::Interrupted,
            _ => SessionState::Failed,
        };
        if result == ResultCode::Ok {
            self.next = Next::Staged(self.session);
            self.refusals = 0;
        } else if matches!(result.code(), 16..=31 | 40..=47) {
            self.count_refusal();
        }
        let told = self.tell_end(result);
        if let Some(start) = &mut self.start
            && start.session == Some(self.session.id)
            && start.door == Door::Volume
        {
            // A host that is gone is told nothing by its disk, so its start holds on.
            if told {
                self.start = None;
            } else {
                start.session = None;
            }
        }
        self.look_at_disk();
    }

    fn count_refusal(&mut self) {
        if self.now > self.refused_at + REMEMBERED {
            self.refusals = 0;
        }
        self.refused_at = self.now;
        self.refusals += 1;
        if self.refusals == self.configured.refusals {
            self.refusals = 0;
            self.locked = self.now + LOCKED;
        }
    }

    /// Somebody on the BMC, or the host by IPMI, ends what is being received.
    pub(super) fn preempt(&mut self) -> bool {
        let receives = self.receives();
        if receives {
            self.end(ResultCode::Aborted);
        }
        receives
    }

    /// Somebody on the BMC wants an update.
    pub(super) fn pardon(&mut self) {
        self.refusals = 0;
        self.locked = Duration::ZERO;
        self.look_at_disk();
    }

    // The machine (session.md, 6).

    /// The read-back takes its time, or no longer.
    pub(super) fn slow_down(&mut self, slow: bool) {
        self.slow = slow;
        if !slow && self.session.state == SessionState::Verifying {
            self.end(ResultCode::Ok);
        }
    }

    /// The loader's decision.
    fn boot(&mut self) {
        if let Some(trial) = &mut self.trial {
            match trial.boots_left.checked_sub(1) {
                Some(left) => {
                    let until = self.now + HEALTH;
                    *trial = Trial { boots_left: left, until, given_back: false, unhealthy: false, ..*trial };
                }
                None => {
                    self.running = trial.old;
                    self.session.state = SessionState::RolledBack;
                    self.session.result =
                        if trial.ever_unhealthy { ResultCode::Unhealthy } else { ResultCode::RolledBack };
                    self.trial = None;
                }
            }
        } else if let Next::Staged(staged) = self.next {
            let old = self.running;
            self.running = staged.package;
            self.session = Session { state: SessionState::PendingConfirm, result: ResultCode::Ok, ..staged };
            self.next = Next::Nothing;
            self.trial = Some(Trial {
                boots_left: BOOTS - 1,
                until: self.now + HEALTH,
                given_back: false,
                unhealthy: false,
                ever_unhealthy: false,
                old,
            });
            if !self.configured.health {
                self.confirm();
            }
        }
    }

    pub(super) fn confirm(&mut self) {
        self.trial = None;
        self.session.state = SessionState::Done;
        self.session.result = ResultCode::Ok;
        self.look_at_disk();
    }

    pub(super) fn restart(&mut self, by: AskedBy) {
        self.preempt();
        let by_host = by == AskedBy::Host;
        if let Some(trial) =
            self.trial.as_mut().filter(|trial| by_host && !trial.given_back && !trial.unhealthy)
        {
            trial.given_back = true;
            trial.boots_left += 1;
        }
        self.boot();
        self.begin_anew();
    }

    /// Its host is through: the BMC restarts into it, if it is to. Whether it did.
    pub(super) fn restart_at_once(&mut self) -> bool {
        let restarts = self.session.at_once && self.session.state == SessionState::Staged;
        if restarts {
            self.restart(AskedBy::Bmc);
        }
        restarts
    }

    /// `inbandd` dies and is started again, on a clock that begins anew; with the power, if that was cut.
    pub(super) fn die(&mut self, power_cut: bool) {
        if self.is_at_work() {
            self.end(ResultCode::Interrupted);
        }
        (self.now, self.happened, self.refused_at, self.locked) = Default::default();
        (self.refusals, self.nonce, self.slow, self.plugged) = (0, 0, false, true);
        // It has forgotten that it was to restart.
        self.session.at_once = false;
        if power_cut {
            self.boot();
        }
        if let Some(trial) = &mut self.trial {
            trial.until = HEALTH;
            trial.unhealthy = false;
        }
        self.begin_anew();
    }

    /// Whether the other slot boots next; the BMC says it where that is open.
    pub(super) fn resolve(&mut self, other_boots_next: bool) {
        if let Next::Open(staged) = self.next {
            self.next = if other_boots_next { Next::Staged(staged) } else { Next::Nothing };
        }
    }

    /// The BMC's name for a start.
    pub(super) fn name_start(&mut self, nonce: u32) {
        self.nonce = nonce;
    }

    // Time.

    fn deadlines(&self) -> [Option<Duration>; 9] {
        let receives = self.receives();
        [
            receives.then_some(self.session.total.min(self.session.progress)),
            self.restart_at,
            self.bus.deadline(self.session.state),
            self.gone,
            self.start.map(|start| start.until),
            self.trial.map(|trial| trial.until),
            self.is_locked_out().then_some(self.locked),
            self.shuts.into_iter().flatten().min(),
            self.held.and_then(|held| held.until),
        ]
    }

    /// Whether something is due within a second of now, before or behind.
    pub(super) fn is_near(&self) -> bool {
        let soon = self.now + seconds(1);
        self.now < self.happened + seconds(1) || self.deadlines().into_iter().flatten().any(|at| at <= soon)
    }

    /// Lets time pass.
    pub(super) fn pass(&mut self, to: Duration) {
        loop {
            self.check_held();
            self.check_start();
            self.check_late();
            self.check_hiding();
            let deadlines = self.deadlines();
            let due = deadlines.into_iter().enumerate().filter_map(|(which, at)| Some((at?, which))).min();
            let Some((at, which)) = due.filter(|(at, _)| *at <= to) else { break };
            self.now = self.now.max(at);
            self.happened = self.now;
            match which {
                0 => self.end(ResultCode::Timeout),
                1 => {
                    self.restart_at = None;
                    _ = self.restart_at_once();
                }
                2 => self.bus_is_due(),
                3 => self.host_is_gone(),
                4 => self.start_runs_out(),
                5 => self.is_unhealthy(),
                6 => self.look_at_disk(),
                7 => self.doors_are_due(),
                // A restart that waits is looked at anyway.
                _ => {}
            }
        }
        self.now = self.now.max(to);
    }

    fn is_unhealthy(&mut self) {
        if let Some(trial) = &mut self.trial {
            (trial.unhealthy, trial.ever_unhealthy) = (true, true);
            self.session.result = ResultCode::Unhealthy;
            self.restart(AskedBy::Bmc);
        }
    }

    /// The disk, as it was when nobody has written to it: whether anybody may depends on the session.
    pub(super) fn look_at_disk(&mut self) {
        let may = self.refusal().is_none();
        if let OnBus::Disk(drive @ (Drive::Ready { other: false, .. } | Drive::Refused)) = &mut self.bus {
            *drive = if may { Drive::READY } else { Drive::Refused };
        }
    }
}
