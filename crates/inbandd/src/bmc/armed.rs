//! Doors that are armed for a time, and the host's power-on (docs/spec/session.md, 2).

use std::time::Duration;

use inband_session::{By, Door, DoorPolicy, DoorState};
use inband_usb::DeviceBackend;

use super::{Bmc, Fault, held::TO_READ, volume::SPARED};
use crate::{config::PowerOn, worker::Worker};

/// What is configured about doors that somebody has to arm.
#[derive(Clone, Copy, Debug, Default)]
pub struct ArmedOptions {
    /// For how long they are; without it, until a host has come and gone.
    pub time: Option<Duration>,
    /// What is believed when it says that the BMC has powered the host on; without it nobody is.
    pub power_on: Option<PowerOn>,
}

impl<B: DeviceBackend, W: Worker> Bmc<B, W> {
    /// The BMC has powered the host on, or so this source says. Returns whether that arms doors here.
    ///
    /// # Errors
    /// The USB side or the worker is gone.
    pub fn host_powered_on(&mut self, now: Duration, source: PowerOn) -> Result<bool, Fault<B::Error>> {
        match source {
            // Whoever gave it is answered.
            PowerOn::Command => {}
            PowerOn::Dbus => self.audit.info(now, "event=host-powered-on"),
            PowerOn::Qemu => self.audit.info(now, "event=host-reset"),
        }
        let arms = Door::ALL.into_iter().any(|door| self.session.policy(door) == DoorPolicy::Armed);
        if !arms || self.options.armed.power_on != Some(source) || self.goes_down() {
            return Ok(false);
        }
        let has_disk = self.session.door(Door::Volume) != DoorState::Shut;
        if self.session.power_on(self.armed_until(now, None)) && !has_disk {
            self.show_volume(now, None)?;
        }
        Ok(true)
    }

    /// Until when a door is armed from now on: for so many seconds, 0 being without an end, or as it is configured.
    pub(super) fn armed_until(&self, now: Duration, seconds: Option<u32>) -> Option<Duration> {
        let time = match seconds {
            Some(0) => None,
            Some(seconds) => Some(Duration::from_secs(seconds.into())),
            None => self.options.armed.time,
        };
        time.map(|time| now.saturating_add(time))
    }

    pub(super) fn armed_timeout(&self) -> Option<Duration> {
        Door::ALL.into_iter().filter_map(|door| self.session.shuts_at(door)).min()
    }

    /// Shuts the doors whose time is over, and those that were to be shut behind a session that is.
    pub(super) fn handle_armed(&mut self, now: Duration) -> Result<(), Fault<B::Error>> {
        for door in Door::ALL {
            let is_due = self.session.shuts_at(door).is_some_and(|at| at <= now);
            if is_due && self.session.late(door).is_none() {
                self.time_is_over(now, door)?;
            }
            let Some(by) = self.session.late(door) else { continue };
            match self.session.shuts_at(door) {
                Some(at) if at <= now => self.shut_door(now, door, by)?,
                Some(_) => {}
                None if self.is_used(door) => {}
                // What came of it the host has read, or it was gone.
                None if door == Door::Volume => self.shut_door(now, door, by)?,
                None => self.session.postpone(door, now.saturating_add(TO_READ)),
            }
        }
        Ok(())
    }

    fn time_is_over(&mut self, now: Duration, door: Door) -> Result<(), Fault<B::Error>> {
        match (door, self.session.door(door)) {
            (Door::Volume, DoorState::Open) if !self.is_used(door) => {
                if self.spares_volume() {
                    self.session.postpone(door, now.saturating_add(SPARED));
                } else {
                    self.shut_door(now, door, By::Deadline)?;
                }
            }
            (_, DoorState::Open) => self.session.shut_behind(door, By::Deadline),
            (_, DoorState::Shut | DoorState::Armed) => self.shut_door(now, door, By::Deadline)?,
        }
        Ok(())
    }

    /// Whether a session of this door is at work, or its end being told by the disk.
    fn is_used(&mut self, door: Door) -> bool {
        self.is_at_work_in(door) || door == Door::Volume && self.volume_tells()
    }

    /// Nobody is to come in by this door any more: it is shut, behind the session that is at work there if there is one.
    pub(super) fn end_door(&mut self, now: Duration, door: Door, by: By) -> Result<(), Fault<B::Error>> {
        if !self.is_at_work_in(door) {
            return self.shut_door(now, door, by);
        }
        // The disk that was there for one update goes behind it anyway.
        if door != Door::Volume {
            self.session.shut_behind(door, by);
        }
        Ok(())
    }

    /// Whether the session at work came in by this door, and whoever brought it is in there still. Who is by `bulk` is so by `dfu`.
    fn is_at_work_in(&self, door: Door) -> bool {
        let came = self.is_by(door) || door == Door::Dfu && self.is_by(Door::Bulk);
        came && self.session.door(door) == DoorState::Open && self.session.state().is_at_work()
    }
}
