//! The model of the door handle (ipmi.md), and of what somebody on the BMC asks for.

use std::time::Duration;

use inband_session::{Door, DoorPolicy, DoorState, ResultCode, SessionState};
use inbandd::command::{Answer, Ask, AskedBy};

use super::{
    machine::{DOORS, Firmware, Machine, Next, Start, seconds},
    usb::OnBus,
};

/// How long a start holds, as the bench has it.
const HOLDS: Duration = seconds(900);
/// How long a repeat is answered as what it repeats, and from one look to the next whether a session of a start that is over is at work.
const MINUTE: Duration = seconds(60);

/// What a start says of the package that comes by it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Said {
    pub(super) not_older: bool,
    pub(super) defer: bool,
    /// Its length: the right one?
    pub(super) length: Option<bool>,
    /// The digest of which head. The first firmware has no package, so nobody's head has that one.
    pub(super) head: Option<Firmware>,
}

impl Said {
    pub(super) const NOTHING: Self = Self { not_older: false, defer: false, length: None, head: None };
}

/// A request that does something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Act {
    /// Number of a door; the other profile than the configured one?
    Start(u8, bool, Said),
    Stop {
        mine: bool,
        commit: bool,
    },
    Activate,
    Confirm,
    Abort,
}

/// A request that was done.
#[derive(Clone, Debug)]
struct Done {
    data: Vec<u8>,
    reply: Vec<u8>,
    act: Act,
    at: Duration,
    session: u32,
}

/// The last request that was done, for its repeats.
#[derive(Clone, Debug, Default)]
pub(super) struct Memory(Option<Done>);

impl Memory {
    /// What is answered without doing anything: these bytes are a repeat.
    pub(super) fn repeat(&self, machine: &Machine, tag: u32, data: &[u8]) -> Option<&[u8]> {
        let done = self.0.as_ref().filter(|done| tag != 0 && done.data == data)?;
        let holds = match done.act {
            Act::Start(..) => machine.start.is_some(),
            Act::Abort => machine.start.is_none() && machine.session.id == done.session,
            Act::Stop { .. } | Act::Activate | Act::Confirm => true,
        };
        (holds && machine.now < done.at + MINUTE).then_some(&done.reply)
    }

    /// Whether the memory of a repeat ends within a second or has: then nobody should try.
    pub(super) fn is_near(&self, now: Duration) -> bool {
        self.0.as_ref().is_some_and(|done| (done.at + MINUTE).abs_diff(now) <= seconds(1))
    }

    pub(super) fn keep(&mut self, machine: &Machine, act: Act, data: Vec<u8>, reply: Option<Vec<u8>>) {
        let (at, session) = (machine.now, machine.session.id);
        self.0 = reply.map(|reply| Done { data, reply, act, at, session });
    }
}

impl Machine {
    /// The completion code of a request of the system interface.
    pub(super) fn act(&mut self, act: Act) -> u8 {
        match act {
            Act::Start(door, other, said) => self.ask_start(DOORS[usize::from(door) - 1], other, said),
            Act::Stop { mine, commit } => self.stop(mine, commit),
            Act::Activate => self.activate(),
            // Whatever boot of the trial that was.
            Act::Confirm if self.trial.is_some_and(|trial| trial.ever_unhealthy) => 0x81,
            Act::Confirm if self.session.state == SessionState::PendingConfirm => {
                self.confirm();
                0
            }
            Act::Confirm => 0x85,
            Act::Abort => {
                let start = self.start.take();
                let ended = self.preempt();
                if let Some(start) = start {
                    self.shut(start);
                }
                if ended || start.is_some() { 0 } else { 0x85 }
            }
        }
    }

    fn ask_start(&mut self, door: Door, other: bool, said: Said) -> u8 {
        let doors = if door == Door::Bulk { &DOORS[..2] } else { &[door][..] };
        if self.start.is_some() {
            return 0x81;
        }
        let shut = |door: &Door| match self.policy(*door) {
            DoorPolicy::Always => false,
            DoorPolicy::Armed => !self.configured.opens,
            DoorPolicy::Off => true,
        };
        if doors.iter().any(shut) {
            return 0x80;
        }
        if let OnBus::Dfu(_) = self.bus {
            return 0x81;
        }
        match self.refusal() {
            None => {}
            Some(ResultCode::OnTrial) => return 0x84,
            Some(ResultCode::LockedOut) => return 0x82,
            Some(_) => return 0x81,
        }
        for door in doors {
            // The start's own time counts.
            self.arm(*door, None);
        }
        if door == Door::Volume {
            self.show_disk(Some(self.configured.fat != other));
        }
        self.start = Some(Start { door, until: self.now + HOLDS, said, session: None, late: false });
        0
    }

    fn stop(&mut self, mine: bool, commit: bool) -> u8 {
        // Without a start in force no nonce is right.
        let Some(start) = self.start.take_if(|_| mine) else { return 0x86 };
        if commit && start.door == Door::Volume && self.commit() {
            return 0;
        }
        self.shut(start);
        if commit { 0x85 } else { 0 }
    }

    /// What a start has opened is shut; of its session, what the BMC does not have yet is dropped.
    fn shut(&mut self, start: Start) {
        let its_own = start.session == Some(self.session.id);
        if its_own {
            self.preempt();
        }
        if its_own && self.is_at_work() {
            // Behind the verdict; the disk goes anyway when it has told it.
            if let OnBus::Dfu(_) = self.bus {
                self.be_late(Door::Dfu);
            }
            return;
        }
        if start.door == Door::Volume {
            return self.hide_disk();
        }
        self.disarm(Door::Dfu);
        self.disarm(Door::Bulk);
        if let OnBus::Dfu(_) = self.bus {
            self.leave_dfu();
        }
    }

    pub(super) fn start_runs_out(&mut self) {
        let Some(start) = self.start else { return };
        if start.session == Some(self.session.id) && self.is_at_work() {
            self.start = Some(Start { until: self.now + MINUTE, late: true, ..start });
            return;
        }
        self.start = None;
        match self.bus {
            // Who is in there has a minute to read what came of it.
            OnBus::Dfu(_) if start.door != Door::Volume => self.be_late(Door::Dfu),
            _ => self.shut(start),
        }
    }

    /// A start is over when its door was shut, when DFU mode was left behind a session that came by it, and with the session that was at work when
    /// its time was over.
    pub(super) fn check_start(&mut self) {
        let Some(start) = self.start else { return };
        let way = if start.door == Door::Volume { Door::Volume } else { Door::Dfu };
        let at_work = start.session == Some(self.session.id) && self.is_at_work();
        let left = start.session.is_some() && !at_work && self.door(way) != DoorState::Open;
        if self.door(way) == DoorState::Shut || left {
            self.start = None;
            if self.door(Door::Volume) == DoorState::Shut {
                self.fat = self.configured.fat;
            }
        } else if start.late && !at_work {
            self.start_runs_out();
        }
    }

    fn activate(&mut self) -> u8 {
        if self.is_at_work() {
            return 0x81;
        }
        if self.session.state != SessionState::Staged {
            return 0x85;
        }
        self.restart(AskedBy::Bmc);
        0
    }

    /// Whether the other slot boots next.
    pub(super) fn other_boots_next(&self) -> bool {
        matches!(self.next, Next::Staged(_))
    }

    /// Somebody on the BMC asks for something.
    pub(super) fn ask(&mut self, ask: Ask) -> Answer {
        let at_work = self.is_at_work();
        match ask {
            Ask::Arm(door) | Ask::ArmFor(door, _) if self.policy(door) == DoorPolicy::Off => {
                return Answer::DoorOff;
            }
            Ask::Arm(door) => self.ask_arm(door, self.configured.armed_for),
            Ask::ArmFor(door, time) => {
                self.ask_arm(door, (time != 0).then_some(seconds(time.into())));
            }
            Ask::Disarm(Door::Volume) if self.is_by(Door::Volume) => return Answer::Busy,
            Ask::Disarm(Door::Volume) => self.hide_disk(),
            Ask::Disarm(door) => self.ask_disarm(door),
            Ask::Commit if self.commit() => {}
            Ask::Commit if self.is_by(Door::Volume) => return Answer::Busy,
            Ask::Abort if self.preempt() => _ = self.release_held(),
            Ask::Abort if at_work => return Answer::Busy,
            Ask::Confirm if self.session.state == SessionState::PendingConfirm => self.confirm(),
            Ask::Activate if self.session.state == SessionState::Staged => self.restart(AskedBy::Bmc),
            Ask::Activate if at_work => return Answer::Busy,
            Ask::HostPoweredOn if self.power_on() => {}
            Ask::Commit | Ask::Abort | Ask::Confirm | Ask::Activate | Ask::HostPoweredOn => {
                return Answer::NotNow;
            }
            Ask::Restart(by) => return self.ask_restart(by),
            Ask::Status => {}
        }
        Answer::Done
    }

    fn ask_arm(&mut self, door: Door, time: Option<Duration>) {
        self.pardon();
        self.arm(door, time);
        if door == Door::Volume {
            self.show_disk(None);
        }
    }
}
