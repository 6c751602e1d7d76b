//! The model's USB side: which set is on the bus, and DFU (dfu.md, 1.1), as far as a session sees them.

use std::time::Duration;

use inband_session::{Door, DoorState, ResultCode, SessionState};

use super::{
    disk::{Drive, GAP, Medium, Trigger},
    machine::{Machine, seconds},
};

/// The set on the bus.
#[derive(Clone, Copy, Debug)]
pub(super) enum OnBus {
    /// While every door is shut.
    Nothing,
    /// Run time, without the disk.
    Bare,
    /// Run time, with it.
    Disk(Drive),
    Dfu(Dfu),
}

/// DFU mode.
#[derive(Clone, Copy, Debug)]
pub(super) struct Dfu {
    pub(super) state: DfuState,
    /// When a host is taken for one that has left: nothing was accepted for a minute.
    quiet: Duration,
    /// Behind an accepted package.
    leaves: Option<Duration>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum DfuState {
    Idle,
    /// So many blocks of a package are in, and good so far.
    Loading {
        blocks: usize,
        spoilt: bool,
    },
    /// All of them; nobody has asked for the verdict.
    Judged,
    /// All of them; the package is staged.
    Whole,
    /// The session is over, and the host has not been told.
    Over,
    /// Bulk receives: what it asked for has not come.
    Bulk,
    /// It has all, and the package is judged.
    BulkJudged,
    Error,
}

/// A block that a host sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Block {
    /// The next one.
    Good,
    /// The next one, with a bit that is another.
    Spoilt,
    /// The next one, with a number that is not the next.
    Misnumbered,
    /// No data: the end.
    End,
}

/// What a control request comes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    Taken,
    Stalled,
}

impl OnBus {
    pub(super) fn deadline(&self, session: SessionState) -> Option<Duration> {
        match self {
            Self::Nothing | Self::Bare | Self::Disk(Drive::Refused | Drive::Judging(_)) => None,
            Self::Disk(Drive::Ready { command, .. } | Drive::Receiving { command, .. }) => {
                command.map(|(at, _)| at)
            }
            Self::Disk(Drive::Gap(at, _) | Drive::Told(at, _)) => Some(*at),
            // Bulk has deadlines of its own.
            Self::Dfu(Dfu { state: DfuState::Bulk | DfuState::BulkJudged, .. }) => None,
            // The BMC is at work on a block.
            Self::Dfu(Dfu { state: DfuState::Judged, .. }) if session == SessionState::Verifying => None,
            Self::Dfu(Dfu { quiet, leaves, .. }) => Some(leaves.map_or(*quiet, |at| at.min(*quiet))),
        }
    }
}

impl Machine {
    // The sets.

    pub(super) fn show_run_time(&mut self) {
        if self.door(Door::Volume) == DoorState::Armed {
            self.set(Door::Volume, DoorState::Open);
        }
        self.gone = None;
        self.spared = false;
        self.bus = match self.door(Door::Volume) {
            DoorState::Open => OnBus::Disk(Drive::READY),
            DoorState::Shut | DoorState::Armed if self.hides() => OnBus::Nothing,
            DoorState::Shut | DoorState::Armed => OnBus::Bare,
        };
        self.look_at_disk();
    }

    /// Nobody is in DFU mode, and no verdict is to come.
    fn end_dfu(&mut self) {
        if !self.release_held() && !self.restart_at_once() {
            self.show_run_time();
        }
    }

    pub(super) fn leave_dfu(&mut self) {
        self.leave(Door::Dfu);
        self.leave(Door::Bulk);
        self.end_dfu();
    }

    /// The host is told of the end of a session, where there is a way. Whether there is.
    pub(super) fn tell_end(&mut self, result: ResultCode) -> bool {
        let by_disk = self.session.door == Some(Door::Volume);
        match &mut self.bus {
            OnBus::Disk(drive) if by_disk => {
                self.restart_at = None;
                if result == ResultCode::Disconnected {
                    *drive = Drive::READY;
                    return false;
                }
                let since = if let Drive::Judging(since) = drive { *since } else { self.now };
                let at = self.now.max(since + GAP);
                *drive = Drive::Gap(at, Medium::Verdict(result == ResultCode::Ok));
                let restarts = self.session.at_once && result == ResultCode::Ok;
                self.restart_at = restarts.then_some(at + seconds(60));
            }
            // The device comes anew, for the firmware that boots next is another.
            OnBus::Nothing | OnBus::Bare | OnBus::Disk(_) if result == ResultCode::Ok => self.end_dfu(),
            OnBus::Dfu(dfu) if !by_disk => match (dfu.state, result) {
                (DfuState::Loading { .. }, _) => dfu.state = DfuState::Over,
                (DfuState::Bulk | DfuState::BulkJudged, _) => {
                    let is_error =
                        !matches!(result, ResultCode::Ok | ResultCode::Aborted | ResultCode::Disconnected);
                    dfu.state = if is_error { DfuState::Error } else { DfuState::Idle };
                    dfu.quiet = self.now + seconds(60);
                    dfu.leaves = (result == ResultCode::Ok).then_some(self.now + seconds(5));
                }
                _ => {}
            },
            OnBus::Nothing | OnBus::Bare | OnBus::Disk(_) | OnBus::Dfu(_) => {}
        }
        true
    }

    pub(super) fn bus_is_due(&mut self) {
        match self.bus {
            OnBus::Nothing | OnBus::Bare => {}
            OnBus::Dfu(Dfu { state, .. }) => {
                if self.is_by(Door::Dfu) && self.receives() && state != DfuState::Idle {
                    self.end(ResultCode::Timeout);
                }
                self.leave_dfu();
            }
            OnBus::Disk(drive) => match drive {
                Drive::Refused | Drive::Judging(_) => {}
                Drive::Ready { command: Some((_, Trigger::Take)), .. } => {
                    self.begin(Door::Volume);
                    self.bus = OnBus::Disk(Drive::Judging(self.now));
                    self.judge(ResultCode::NoFile);
                }
                Drive::Ready { .. } => self.bus = OnBus::Disk(Drive::Gap(self.now + GAP, Medium::Fresh)),
                Drive::Receiving { command: Some((_, Trigger::Forget)), .. } => _ = self.preempt(),
                Drive::Receiving { .. } => self.take_disk(),
                Drive::Gap(_, Medium::Verdict(good)) => {
                    self.bus = OnBus::Disk(Drive::Told(self.now + seconds(600), good));
                }
                Drive::Gap(_, Medium::Fresh) => {
                    self.bus = OnBus::Disk(Drive::READY);
                    self.look_at_disk();
                }
                Drive::Gap(_, Medium::AfterUpdate) => self.end_update(),
                // Nobody has read it: nothing has to see the drive empty.
                Drive::Told(..) => self.end_update(),
            },
        }
    }

    // The cable.

    pub(super) fn reset(&mut self) {
        if let OnBus::Dfu(mut dfu) = self.bus {
            match dfu.state {
                DfuState::Bulk => return self.end(ResultCode::Disconnected),
                DfuState::BulkJudged => return,
                _ if self.receives() && self.is_by(Door::Dfu) => self.end(ResultCode::Disconnected),
                _ => {}
            }
            if dfu.leaves.is_some() {
                return self.leave_dfu();
            }
            if dfu.state != DfuState::Error {
                dfu.state = DfuState::Idle;
            }
            // A reset is a sign of life, too.
            dfu.quiet = self.now + seconds(60);
            self.bus = OnBus::Dfu(dfu);
        }
    }

    pub(super) fn unplug(&mut self) {
        self.plugged = false;
        self.reset();
        if matches!(self.bus, OnBus::Disk(_)) {
            self.gone = Some(self.now + seconds(60));
        }
    }

    pub(super) fn plug(&mut self) {
        self.plugged = true;
        self.gone = None;
        if let OnBus::Dfu(dfu) = &mut self.bus {
            dfu.quiet = self.now + seconds(60);
        }
    }

    pub(super) fn host_is_gone(&mut self) {
        self.gone = None;
        if self.receives() && self.is_by(Door::Volume) {
            self.end(ResultCode::Disconnected);
        } else if let OnBus::Disk(Drive::Told(..)) = self.bus {
            self.end_update();
        }
    }

    // DFU.

    pub(super) fn detach(&mut self) -> Answer {
        match self.bus {
            OnBus::Dfu(Dfu { state: DfuState::Idle, .. }) => {
                self.leave_dfu();
                Answer::Taken
            }
            OnBus::Dfu(Dfu { state: DfuState::BulkJudged, .. }) => Answer::Stalled,
            OnBus::Dfu(Dfu { state: DfuState::Bulk, .. }) => {
                self.end(ResultCode::Aborted);
                self.leave_dfu();
                Answer::Taken
            }
            OnBus::Dfu(_) => self.misuse(ResultCode::Aborted),
            OnBus::Nothing | OnBus::Bare | OnBus::Disk(_) => {
                let is_busy = self.is_at_work() || self.held.is_some() || self.is_locked_out();
                if self.door(Door::Dfu) != DoorState::Armed || is_busy {
                    return Answer::Stalled;
                }
                self.enter(Door::Dfu);
                if self.door(Door::Bulk) == DoorState::Armed {
                    self.enter(Door::Bulk);
                }
                self.leave(Door::Volume);
                self.gone = None;
                let quiet = self.now + seconds(60);
                self.bus = OnBus::Dfu(Dfu { state: DfuState::Idle, quiet, leaves: None });
                Answer::Taken
            }
        }
    }

    /// What DFU does not know there: what is being received ends so.
    fn misuse(&mut self, result: ResultCode) -> Answer {
        if self.receives() && self.is_by(Door::Dfu) {
            self.end(result);
        }
        if let OnBus::Dfu(dfu) = &mut self.bus {
            dfu.state = DfuState::Error;
        }
        Answer::Stalled
    }

    /// A block of a package that has so many, and GETSTATUS, if it is taken.
    pub(super) fn block(&mut self, block: Block, of: usize) -> Answer {
        let OnBus::Dfu(Dfu { state, .. }) = self.bus else { return Answer::Stalled };
        match (state, block) {
            (DfuState::Error | DfuState::Bulk | DfuState::BulkJudged, _) => return Answer::Stalled,
            // Too early: nothing changes.
            (DfuState::Judged, Block::Good | Block::Spoilt | Block::Misnumbered) => return Answer::Stalled,
            (DfuState::Idle | DfuState::Judged | DfuState::Over, Block::End) => {
                return self.misuse(ResultCode::Aborted);
            }
            (DfuState::Over, _) => return self.misuse(ResultCode::Aborted),
            (DfuState::Loading { .. }, Block::End) => return self.misuse(ResultCode::Truncated),
            (DfuState::Loading { .. } | DfuState::Whole, Block::Misnumbered) => {
                return self.misuse(ResultCode::Sequence);
            }
            (DfuState::Idle, _) if self.is_last(Door::Dfu) || self.refusal().is_some() => {
                return self.misuse(ResultCode::Busy);
            }
            (DfuState::Idle, Block::Good | Block::Misnumbered | Block::Spoilt) => {
                self.begin(Door::Dfu);
                if let Some(objection) = self.objection(block == Block::Spoilt) {
                    self.end(objection);
                    self.be(DfuState::Error);
                } else {
                    self.may_write();
                    self.be(DfuState::Loading { blocks: 1, spoilt: false });
                }
            }
            (DfuState::Loading { blocks, spoilt }, Block::Good | Block::Spoilt) => {
                let (blocks, spoilt) = (blocks + 1, spoilt || block == Block::Spoilt);
                if blocks < of {
                    self.be(DfuState::Loading { blocks, spoilt });
                } else {
                    self.be(DfuState::Judged);
                    self.judge(if spoilt { ResultCode::BadChunk } else { ResultCode::Ok });
                    self.get_status();
                }
            }
            // Behind the end of it.
            (DfuState::Whole, Block::Good | Block::Spoilt) => self.be(DfuState::Error),
            (DfuState::Whole, Block::End) => self.be(DfuState::Idle),
        }
        if let OnBus::Dfu(dfu) = &mut self.bus {
            let accepted = (state, block) == (DfuState::Whole, Block::End);
            dfu.leaves = accepted.then_some(self.now + seconds(5));
        }
        Answer::Taken
    }

    /// A request was accepted.
    pub(super) fn be(&mut self, state: DfuState) {
        let quiet = self.now + seconds(60);
        if let OnBus::Dfu(dfu) = &mut self.bus {
            *dfu = Dfu { state, quiet, ..*dfu };
        }
    }

    pub(super) fn get_status(&mut self) {
        if let OnBus::Dfu(Dfu { state, .. }) = self.bus {
            self.be(match (state, self.session.state) {
                (DfuState::Judged, SessionState::Verifying) => DfuState::Judged,
                (DfuState::Judged, SessionState::Staged) => DfuState::Whole,
                (DfuState::Judged | DfuState::Over, _) => DfuState::Error,
                (state, _) => state,
            });
        }
    }

    pub(super) fn clear_status(&mut self) -> Answer {
        match self.bus {
            OnBus::Nothing | OnBus::Bare | OnBus::Disk(_) => Answer::Stalled,
            OnBus::Dfu(Dfu { state: DfuState::Bulk | DfuState::BulkJudged, .. }) => Answer::Stalled,
            OnBus::Dfu(Dfu { state: DfuState::Error, .. }) => {
                self.be(DfuState::Idle);
                Answer::Taken
            }
            OnBus::Dfu(_) => self.misuse(ResultCode::Aborted),
        }
    }

    pub(super) fn abort_download(&mut self) -> Answer {
        match self.bus {
            OnBus::Nothing
            | OnBus::Bare
            | OnBus::Disk(_)
            | OnBus::Dfu(Dfu { state: DfuState::Error | DfuState::BulkJudged, .. }) => Answer::Stalled,
            // What is being judged goes on; DFU mode has done with it.
            OnBus::Dfu(_) => {
                if !self.is_by(Door::Volume) {
                    self.preempt();
                }
                self.be(DfuState::Idle);
                Answer::Taken
            }
        }
    }

    // Bulk.

    /// Whether a host that is not in the middle of something can offer a package.
    pub(super) fn can_offer(&self) -> bool {
        let is_there = self.plugged && self.door(Door::Bulk) == DoorState::Open;
        is_there && matches!(self.bus, OnBus::Dfu(Dfu { state: DfuState::Idle | DfuState::Error, .. }))
    }

    /// A package is offered: why it is refused.
    pub(super) fn offer(&mut self) -> Option<ResultCode> {
        let OnBus::Dfu(dfu) = &mut self.bus else { return None };
        // The host chooses the interface's setting.
        dfu.quiet = self.now + seconds(60);
        if dfu.state == DfuState::Error {
            return Some(ResultCode::Sequence);
        }
        let last = self.is_last(Door::Bulk).then_some(ResultCode::DoorShut);
        let refusal = last.or(self.refusal());
        if refusal.is_some() {
            self.be(DfuState::Error);
            return refusal;
        }
        self.begin(Door::Bulk);
        self.be(DfuState::Bulk);
        if let OnBus::Dfu(dfu) = &mut self.bus {
            dfu.leaves = None;
        }
        let objection = self.objection(false);
        match objection {
            Some(objection) => self.end(objection),
            None => self.may_write(),
        }
        objection
    }

    /// All that was asked for has come.
    pub(super) fn chunks(&mut self) {
        self.be(DfuState::BulkJudged);
        self.judge(ResultCode::Ok);
    }
}
