//! The model's doors (session.md, 2): who arms them, for how long, and what a host sees while they are shut.

use std::time::Duration;

use inband_session::{Door, DoorPolicy, DoorState};

use super::{
    disk::Drive,
    machine::{DOORS, Machine, seconds},
    usb::OnBus,
};

/// What a host has at least that has come to DFU mode, and what it has to read the end of the last session there.
const MINUTE: Duration = seconds(60);
/// What a host gets once that has written something else than a package by then.
const SPARED: Duration = seconds(300);

impl Machine {
    pub(super) fn policy(&self, door: Door) -> DoorPolicy {
        self.configured.policies[door.index()]
    }

    pub(super) fn door(&self, door: Door) -> DoorState {
        self.doors[door.index()]
    }

    pub(super) fn set(&mut self, door: Door, state: DoorState) {
        self.doors[door.index()] = state;
    }

    /// As it stands when nobody has armed it and nobody is in.
    pub(super) fn rest(&mut self, door: Door) {
        self.shut_at(door, None);
        self.set(
            door,
            match self.policy(door) {
                DoorPolicy::Always => DoorState::Armed,
                DoorPolicy::Armed | DoorPolicy::Off => DoorState::Shut,
            },
        );
    }

    /// The host leaves it.
    pub(super) fn leave(&mut self, door: Door) {
        if self.door(door) == DoorState::Open {
            self.rest(door);
        }
    }

    pub(super) fn disarm(&mut self, door: Door) {
        if self.door(door) == DoorState::Armed {
            self.rest(door);
        }
    }

    /// A host comes to DFU mode.
    pub(super) fn enter(&mut self, door: Door) {
        self.set(door, DoorState::Open);
        let least = self.now + MINUTE;
        let shuts = &mut self.shuts[door.index()];
        *shuts = shuts.map(|at| at.max(least));
    }

    /// It is armed, for that time or without an end.
    pub(super) fn arm(&mut self, door: Door, time: Option<Duration>) {
        if self.door(door) == DoorState::Shut {
            self.set(door, DoorState::Armed);
        }
        self.shut_at(door, time.map(|time| self.now + time));
    }

    /// A door that is not for arming has no time.
    fn shut_at(&mut self, door: Door, until: Option<Duration>) {
        self.late[door.index()] = false;
        self.shuts[door.index()] = until.filter(|_| self.policy(door) == DoorPolicy::Armed);
    }

    /// The BMC has powered the host on. Whether that arms anything here.
    pub(super) fn power_on(&mut self) -> bool {
        let to_arm = DOORS.into_iter().filter(|door| self.policy(*door) == DoorPolicy::Armed);
        let to_arm: Vec<_> = to_arm.filter(|_| self.configured.power_on).collect();
        let time = self.configured.armed_for;
        let until = time.map(|time| self.now + time);
        for door in &to_arm {
            match (self.door(*door), self.shuts[door.index()]) {
                (DoorState::Shut, _) => {
                    self.arm(*door, time);
                    if *door == Door::Volume {
                        self.show_disk(None);
                    }
                }
                // None gets shorter.
                (_, Some(at)) => self.shut_at(*door, until.map(|until| until.max(at))),
                (_, None) if self.late[door.index()] => self.shut_at(*door, until),
                (_, None) => {}
            }
        }
        !to_arm.is_empty()
    }

    /// Doors whose time is over are shut, but where somebody is in there.
    pub(super) fn doors_are_due(&mut self) {
        for door in DOORS {
            if self.shuts[door.index()].is_none_or(|at| at > self.now) {
                continue;
            }
            match (door, self.bus) {
                (Door::Volume, OnBus::Disk(_)) if self.is_used() => self.be_late(door),
                (Door::Volume, OnBus::Disk(drive)) => {
                    let written = matches!(drive, Drive::Ready { other: true, .. });
                    let spared = std::mem::replace(&mut self.spared, written);
                    if written && !spared {
                        self.shuts[door.index()] = Some(self.now + SPARED);
                    } else {
                        self.hide_disk();
                    }
                }
                (Door::Dfu | Door::Bulk, OnBus::Dfu(_))
                    if self.door(door) == DoorState::Open && !self.late[door.index()] =>
                {
                    self.be_late(door);
                }
                _ => self.end_door(door),
            }
        }
    }

    /// Whether the disk has a session at work, or is to tell of its end.
    fn is_used(&self) -> bool {
        self.is_by(Door::Volume) || matches!(self.bus, OnBus::Disk(drive) if drive.tells())
    }

    /// The session at work there, if there is one, is the last one.
    pub(super) fn be_late(&mut self, door: Door) {
        self.shuts[door.index()] = None;
        self.late[door.index()] = true;
    }

    /// Whether no session begins there any more.
    pub(super) fn is_last(&self, door: Door) -> bool {
        self.late[door.index()] || door == Door::Bulk && self.late[Door::Dfu.index()]
    }

    /// Behind the last session, a host in DFU mode has a minute; the disk goes when it has told what came of it.
    pub(super) fn check_late(&mut self) {
        if self.late[Door::Volume.index()] && !self.is_used() {
            self.hide_disk();
        }
        for door in [Door::Dfu, Door::Bulk] {
            if self.late[door.index()] && !self.is_in(door) {
                self.shuts[door.index()].get_or_insert(self.now + MINUTE);
            }
        }
    }

    /// Whether whoever brought the session at work by that door, and so by `dfu`, is in there.
    fn is_in(&self, door: Door) -> bool {
        let by = self.is_by(door) || door == Door::Dfu && self.is_by(Door::Bulk);
        by && self.door(door) == DoorState::Open
    }

    /// Nobody is to come in by `dfu` or `bulk` any more.
    fn end_door(&mut self, door: Door) {
        match (door, self.bus) {
            (Door::Dfu, OnBus::Dfu(_)) => self.leave_dfu(),
            _ => {
                self.leave(door);
                self.disarm(door);
            }
        }
    }

    /// Somebody on the BMC wants nobody to come in there.
    pub(super) fn ask_disarm(&mut self, door: Door) {
        if self.policy(door) != DoorPolicy::Armed {
            return;
        }
        if self.is_in(door) {
            self.be_late(door);
        } else {
            self.end_door(door);
        }
    }

    /// Whether no host is to see the device at run time.
    pub(super) fn hides(&self) -> bool {
        let is_shut = |door| self.door(door) == DoorState::Shut;
        self.configured.hides && is_shut(Door::Dfu) && is_shut(Door::Volume)
    }

    /// The device comes for a door that was armed, and goes behind the last one that was shut.
    pub(super) fn check_hiding(&mut self) {
        match self.bus {
            OnBus::Bare if self.hides() => self.show_run_time(),
            OnBus::Nothing if !self.hides() => self.show_run_time(),
            OnBus::Bare | OnBus::Nothing | OnBus::Disk(_) | OnBus::Dfu(_) => {}
        }
    }
}
