//! What somebody on the BMC asks for: commands of the control socket.

use std::time::Duration;

use inband_dfu::{device::Intake, wire::Status};
use inband_session::{By, Door, DoorPolicy, ResultCode, SessionState};
use inband_usb::DeviceBackend;

use super::{Bmc, Fault};
use crate::{
    command::{Answer, Ask, AskedBy, DeviceState, Report},
    config::PowerOn,
    worker::{Command, Refused, Worker},
};

/// What is answered once the worker has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Asked {
    Confirm,
    Restart,
}

impl<B: DeviceBackend, W: Worker> Bmc<B, W> {
    /// Somebody on the BMC asks for something. `None`: the answer comes by [`poll_answer`](Self::poll_answer).
    ///
    /// # Errors
    /// The USB side or the worker is gone.
    pub fn ask(&mut self, now: Duration, ask: Ask) -> Result<Option<Answer>, Fault<B::Error>> {
        if ask == Ask::Status {
            let device = DeviceState {
                answers: self.answers,
                disk: self.volume.answers(),
                lent: self.volume_is_lent(),
                hidden: self.hidden,
                restart_held: self.is_held(),
            };
            return Ok(Some(Answer::Report(Box::new(Report::new(&self.session, device, now)))));
        }
        if self.asked.is_some() || self.goes_down() {
            return Ok(Some(Answer::Busy));
        }
        let state = self.session.state();
        Ok(match ask {
            Ask::Status => None,
            Ask::Arm(door) => Some(self.arm(now, door, None)?),
            Ask::ArmFor(door, seconds) => Some(self.arm(now, door, Some(seconds))?),
            Ask::HostPoweredOn => {
                Some(if self.host_powered_on(now, PowerOn::Command)? { Answer::Done } else { Answer::NotNow })
            }
            // Nobody leaves a disk but by ejecting it.
            Ask::Disarm(Door::Volume) if state.is_at_work() && self.is_by(Door::Volume) => Some(Answer::Busy),
            Ask::Disarm(door) => {
                // A disk that is always there may have another profile than it is to have.
                if door == Door::Volume || self.session.policy(door) == DoorPolicy::Armed {
                    self.end_door(now, door, By::Bmc)?;
                }
                Some(Answer::Done)
            }
            Ask::Commit => Some(if self.commit_volume(now)? {
                Answer::Done
            } else if state.is_at_work() && self.is_by(Door::Volume) {
                Answer::Busy
            } else {
                Answer::NotNow
            }),
            Ask::Abort => Some(if self.preempt(now)? {
                self.release_held(now)?;
                Answer::Done
            } else if state.is_at_work() {
                Answer::Busy
            } else {
                Answer::NotNow
            }),
            Ask::Confirm if state == SessionState::PendingConfirm => {
                self.end_trial();
                self.asked = Some(Asked::Confirm);
                self.send_confirm()?;
                None
            }
            Ask::Activate if state == SessionState::Staged => {
                self.restart(now)?;
                Some(Answer::Done)
            }
            Ask::Activate if state.is_at_work() => Some(Answer::Busy),
            Ask::Confirm | Ask::Activate => Some(Answer::NotNow),
            Ask::Restart(by) if self.has_to_hold() => {
                self.hold_restart(by);
                Some(Answer::Held)
            }
            Ask::Restart(by) => {
                if !self.preempt(now)? && state.is_at_work() {
                    return Ok(Some(Answer::Busy));
                }
                self.go_down(now, by)?;
                match by {
                    AskedBy::Host => {
                        self.asked = Some(Asked::Restart);
                        None
                    }
                    AskedBy::Bmc => Some(Answer::Done),
                }
            }
        })
    }

    fn arm(&mut self, now: Duration, door: Door, seconds: Option<u32>) -> Result<Answer, Fault<B::Error>> {
        if self.session.arm(door, self.armed_until(now, seconds)).is_err() {
            return Ok(Answer::DoorOff);
        }
        self.worker.send(Command::GrantOne { now })?;
        if door == Door::Volume {
            self.show_volume(now, None)?;
        }
        Ok(Answer::Done)
    }

    /// The answer that was waited for.
    pub const fn poll_answer(&mut self) -> Option<Answer> {
        self.answer.take()
    }

    /// The worker did what was asked for, or could not.
    pub(super) fn answer(&mut self, what: Asked, result: Result<(), Refused>) {
        if self.asked == Some(what) {
            self.asked = None;
            self.answer = Some(match result {
                Ok(()) => Answer::Done,
                Err(refused) => Answer::Failed(refused.text),
            });
        }
    }

    /// Ends a session that receives: the BMC's side always comes first. Returns whether there was one.
    pub(super) fn preempt(&mut self, now: Duration) -> Result<bool, Fault<B::Error>> {
        if self.session.abort().is_err() {
            return Ok(false);
        }
        if self.is_by(Door::Dfu) {
            // The first failure is the one that the host is told of.
            self.dfu.set_intake(Intake::Failed(Status::ErrVendor));
        }
        self.end_current(now, ResultCode::Aborted)?;
        Ok(true)
    }
}
