//! What happens to the doors (docs/spec/session.md, 2).

use core::time::Duration;

use super::Session;
use crate::audit::{Audit, By, HostAct};
use crate::door::{Door, DoorPolicy, DoorState};
use crate::lockout::Lockout;
use crate::result::ResultCode;
use crate::state::SessionState;

/// What a host has at least from when it has come, however soon the door's time is over: it may be in the middle of an update.
pub const ENTERED: Duration = Duration::from_secs(60);

impl Session {
    /// Lets a door open at the host's next knock, until that moment if there is one; somebody on the BMC wants it. Ends a lock-out.
    ///
    /// # Errors
    /// [`ResultCode::DoorShut`] if the door's policy is `off`.
    pub fn arm(&mut self, door: Door, until: Option<Duration>) -> Result<(), ResultCode> {
        if self.policy(door) == DoorPolicy::Off {
            return Err(ResultCode::DoorShut);
        }
        self.lockout = Lockout::default();
        self.set_armed(door, By::Bmc);
        self.keep_until(door, until);
        Ok(())
    }

    /// The BMC has powered the host on: doors that are for somebody to arm are armed, until that moment at least if there is one. Other than
    /// [`arm`](Self::arm) this ends no lock-out. Returns whether one of them was shut.
    pub fn power_on(&mut self, until: Option<Duration>) -> bool {
        let mut opens = false;
        for door in Door::ALL {
            match (self.policy(door), self.door(door)) {
                (DoorPolicy::Armed, DoorState::Shut) => {
                    self.set_armed(door, By::PowerOn);
                    self.keep_until(door, until);
                    opens = true;
                }
                (DoorPolicy::Armed, DoorState::Armed | DoorState::Open) => {
                    // Nobody's time becomes shorter by it.
                    if self.late(door).is_some() || self.shuts_at(door).is_some() {
                        let at = self.shuts_at(door).unwrap_or_default();
                        self.keep_until(door, until.map(|until| until.max(at)));
                    }
                }
                (DoorPolicy::Always | DoorPolicy::Off, _) => {}
            }
        }
        opens
    }

    /// The host wants a door to open at its next knock, by a channel that has no payload, which says when that is over. Other than
    /// [`arm`](Self::arm) this ends no lock-out.
    ///
    /// # Errors
    /// [`ResultCode::DoorShut`] if the door's policy is `off`, and those of [`may_begin`](Self::may_begin); nothing has changed then.
    pub fn start(&mut self, door: Door, now: Duration) -> Result<(), ResultCode> {
        let may =
            if self.policy(door) == DoorPolicy::Off { Err(ResultCode::DoorShut) } else { self.is_free(now) };
        may.map_err(|result| self.refused(door, result, now))?;
        if self.door(door) == DoorState::Shut {
            self.doors[door.index()] = DoorState::Armed;
        }
        self.keep_until(door, None);
        self.tell(Audit::DoorStarted { door });
        Ok(())
    }

    /// That start is over.
    pub fn stopped(&mut self, door: Door) {
        self.tell(Audit::DoorStopped { door });
    }

    /// The host has the BMC do something else by that channel.
    pub fn asked(&mut self, act: HostAct) {
        self.tell(Audit::ByHost { act, id: self.id });
    }

    /// Takes [`Session::arm`] back. An open door stays open until it is left.
    pub fn disarm(&mut self, door: Door, by: By) {
        if self.door(door) == DoorState::Armed {
            self.shut(door, by);
        }
    }

    /// Likewise, and an open door is shut as well: whoever calls this knows that nobody is in there. One that is never shut stays as it is.
    pub fn shut(&mut self, door: Door, by: By) {
        self.forget_time(door);
        if self.policy(door).at_rest() == DoorState::Shut && self.door(door) != DoorState::Shut {
            self.rest(door);
            self.tell(Audit::DoorShut { door, by });
        }
    }

    /// The door is to be shut, and somebody is in there: that waits until the session at work is over and its host knows. Nobody begins
    /// another one there.
    pub const fn shut_behind(&mut self, door: Door, by: By) {
        self.until[door.index()] = None;
        self.late[door.index()] = Some(by);
    }

    /// Who wants a door to be [shut behind](Self::shut_behind) what is at work there.
    #[must_use]
    pub const fn late(&self, door: Door) -> Option<By> {
        self.late[door.index()]
    }

    /// Whether nobody begins another session at a door.
    pub(super) const fn is_last(&self, door: Door) -> bool {
        // Both are left together.
        let with_dfu = matches!(door, Door::Bulk) && self.late(Door::Dfu).is_some();
        with_dfu || self.late(door).is_some()
    }

    /// When a door is to be shut, unless somebody is in there; `None` where nothing but the host's coming and going shuts it.
    #[must_use]
    pub const fn shuts_at(&self, door: Door) -> Option<Duration> {
        self.until[door.index()]
    }

    /// Somebody is in there still: the door is looked at again at that moment.
    pub const fn postpone(&mut self, door: Door, until: Duration) {
        self.until[door.index()] = Some(until);
    }

    /// The host wants a door opened: for `dfu`, may DETACH be honoured? If so, the door is open.
    ///
    /// # Errors
    /// [`ResultCode::DoorShut`] if it is shut; [`ResultCode::Busy`] while a session is at work or the BMC restarts;
    /// [`ResultCode::LockedOut`]. A trial is no reason to refuse here, and neither is a budget that is used up: the host
    /// learns of them from its first byte's result.
    pub fn knock(&mut self, door: Door, now: Duration) -> Result<(), ResultCode> {
        self.may_knock(door, now).map_err(|result| self.refused(door, result, now))?;
        if self.door(door) == DoorState::Armed {
            let until = &mut self.until[door.index()];
            *until = until.map(|at| at.max(now.saturating_add(ENTERED)));
        }
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
            DoorState::Armed if self.closed || self.state.is_at_work() => Err(ResultCode::Busy),
            DoorState::Armed if self.state == SessionState::Activating => Err(ResultCode::Busy),
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
            self.rest(door);
            self.tell(Audit::DoorLeft { door });
        }
    }

    /// What would be behind the door is not to be had: it is shut, whatever its policy, until somebody arms it or it is
    /// [reinstated](Self::reinstate). Whoever withdraws it tells why: a host can have it done again and again.
    pub const fn withdraw(&mut self, door: Door) {
        self.doors[door.index()] = DoorState::Shut;
        self.forget_time(door);
    }

    /// Takes [`withdraw`](Self::withdraw) back: a door that is shut stands as its policy has it at rest.
    pub fn reinstate(&mut self, door: Door) {
        if self.door(door) == DoorState::Shut {
            self.rest(door);
        }
    }

    fn set_armed(&mut self, door: Door, by: By) {
        if self.door(door) == DoorState::Shut {
            self.doors[door.index()] = DoorState::Armed;
            self.tell(Audit::DoorArmed { door, by });
        }
    }

    fn rest(&mut self, door: Door) {
        self.doors[door.index()] = self.policy(door).at_rest();
        self.forget_time(door);
    }

    /// Somebody arms the door: what was to shut it does so no more. A door that nobody has to arm has no time.
    fn keep_until(&mut self, door: Door, until: Option<Duration>) {
        self.forget_time(door);
        if self.policy(door) == DoorPolicy::Armed {
            self.until[door.index()] = until;
        }
    }

    const fn forget_time(&mut self, door: Door) {
        self.until[door.index()] = None;
        self.late[door.index()] = None;
    }
}
