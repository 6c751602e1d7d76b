//! What happens to the doors (docs/spec/session.md, 2).

use core::time::Duration;

use super::Session;
use crate::audit::Audit;
use crate::door::{Door, DoorPolicy, DoorState};
use crate::lockout::Lockout;
use crate::result::ResultCode;
use crate::state::SessionState;

impl Session {
    /// Lets a door open at the host's next knock. Ends a lock-out: somebody on the BMC wants the host to come in.
    ///
    /// # Errors
    /// [`ResultCode::DoorShut`] if the door's policy is `off`.
    pub fn arm(&mut self, door: Door) -> Result<(), ResultCode> {
        match self.policy(door) {
            DoorPolicy::Off => return Err(ResultCode::DoorShut),
            DoorPolicy::Always | DoorPolicy::Armed => {}
        }
        self.lockout = Lockout::default();
        if self.door(door) == DoorState::Shut {
            self.doors[door.index()] = DoorState::Armed;
            self.tell(Audit::DoorArmed { door });
        }
        Ok(())
    }

    /// The host wants a door to open at its next knock, by a channel that has no payload. Other than [`arm`](Self::arm) this ends no lock-out.
    ///
    /// # Errors
    /// [`ResultCode::DoorShut`] if the door's policy is `off`, and those of [`may_begin`](Self::may_begin); nothing has changed then.
    pub fn start(&mut self, door: Door, now: Duration) -> Result<(), ResultCode> {
        let may =
            if self.policy(door) == DoorPolicy::Off { Err(ResultCode::DoorShut) } else { self.is_free(now) };
        may.map_err(|result| self.refused(door, result, now))?;
        if self.door(door) == DoorState::Shut {
            self.doors[door.index()] = DoorState::Armed;
            self.tell(Audit::DoorStarted { door });
        }
        Ok(())
    }

    /// Takes [`Session::arm`] back. An open door stays open until it is left.
    pub fn disarm(&mut self, door: Door) {
        let at_rest = self.policy(door).at_rest();
        if self.door(door) == DoorState::Armed && at_rest == DoorState::Shut {
            self.doors[door.index()] = DoorState::Shut;
            self.tell(Audit::DoorShut { door });
        }
    }

    /// The host wants a door opened: for `dfu`, may DETACH be honoured? If so, the door is open.
    ///
    /// # Errors
    /// [`ResultCode::DoorShut`] if it is shut; [`ResultCode::Busy`] while a session is at work or the BMC restarts;
    /// [`ResultCode::LockedOut`]. A trial is no reason to refuse here, and neither is a budget that is used up: the host
    /// learns of them from its first byte's result.
    pub fn knock(&mut self, door: Door, now: Duration) -> Result<(), ResultCode> {
        self.may_knock(door, now).map_err(|result| self.refused(door, result, now))?;
        self.open(door);
        Ok(())
    }

    /// What [`knock`](Self::knock) would answer now.
    ///
    /// # Errors
    /// Those of `knock`.
    pub fn may_knock(&self, door: Door, now: Duration) -> Result<(), ResultCode> {
        match self.door(door) {
            DoorState::Shut => Err(ResultCode::DoorShut),
            DoorState::Open => Ok(()),
            DoorState::Armed if !self.lockout.wait(now).is_zero() => Err(ResultCode::LockedOut),
            DoorState::Armed if self.state.is_at_work() || self.state == SessionState::Activating => {
                Err(ResultCode::Busy)
            }
            DoorState::Armed => Ok(()),
        }
    }

    /// The BMC opens an armed door by itself, where no knock comes before the first byte: what the host may do there is asked with that.
    /// Returns whether the door is open.
    pub fn open(&mut self, door: Door) -> bool {
        if self.door(door) == DoorState::Armed {
            self.doors[door.index()] = DoorState::Open;
            self.tell(Audit::DoorOpened { door });
        }
        self.door(door) == DoorState::Open
    }

    /// The door is not open to the host any more; it stands as its policy has it at rest.
    pub fn leave(&mut self, door: Door) {
        if self.door(door) == DoorState::Open {
            self.doors[door.index()] = self.policy(door).at_rest();
            self.tell(Audit::DoorLeft { door });
        }
    }

    /// What would be behind the door is not to be had: it is shut, whatever its policy, until somebody arms it or it is
    /// [reinstated](Self::reinstate). Whoever withdraws it tells why: a host can have it done again and again.
    pub const fn withdraw(&mut self, door: Door) {
        self.doors[door.index()] = DoorState::Shut;
    }

    /// Takes [`withdraw`](Self::withdraw) back: a door that is shut stands as its policy has it at rest.
    pub fn reinstate(&mut self, door: Door) {
        if self.door(door) == DoorState::Shut {
            self.doors[door.index()] = self.policy(door).at_rest();
        }
    }
}
