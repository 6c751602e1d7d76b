//! The door handle (docs/spec/ipmi.md): what a host may ask for by IPMI, and what is done then.

use std::time::Duration;

use inband_dfu::wire::State;
use inband_ipmi::{
    Doorkeeper, Handler, Origin,
    command::{self, Capabilities, Profile as DiskProfile, Status, Wishes, item},
    wire::{Code, Reply, Request},
};
use inband_package::Expected;
use inband_session::{
    By, Door, DoorPolicy, DoorState, HostAct, ResultCode, Session, SessionState, status::door_bits,
};
use inband_usb::DeviceBackend;

use super::{
    Bmc, Fault, Profile,
    held::TO_READ,
    trial::{RESTART_AGAIN, Verdict},
};
use crate::worker::Worker;

/// What is configured about the door handle.
#[derive(Clone, Copy, Debug)]
pub struct IpmiOptions {
    /// The command of network function 2Eh.
    pub command: u8,
    /// How long a start holds.
    pub holds: Duration,
    /// A start opens doors that are shut.
    pub opens: bool,
    /// The host may have the BMC restart into staged firmware.
    pub activates: bool,
    /// The host may confirm the running firmware.
    pub confirms: bool,
    /// Bytes of the largest package.
    pub max_package: u64,
}

/// The door handle, and the door that the start in force has opened.
pub(super) struct Handle {
    options: IpmiOptions,
    handler: Handler,
    opened: Option<Opened>,
}

#[derive(Clone, Copy)]
struct Opened {
    door: Door,
    /// The session that there was then.
    session: u32,
    /// What was said of the one that comes.
    wishes: Wishes,
}

impl Opened {
    /// Whether a session by this door comes by this start: by `dfu` and `bulk` alike, which are left together.
    fn is_for(self, door: Door) -> bool {
        let is_disk = |door| door == Door::Volume;
        is_disk(door) == is_disk(self.door)
    }

    /// Whether somebody who has come by this start is where another session by it can begin: in DFU mode. The disk is open before anybody has
    /// come.
    fn is_entered(self, session: &Session) -> bool {
        self.door != Door::Volume && session.door(Door::Dfu) == DoorState::Open
    }

    /// The door that a host comes in by: DFU mode has the bulk interface, or not.
    fn way(self) -> Door {
        if self.door == Door::Volume { Door::Volume } else { Door::Dfu }
    }

    /// Whether nobody can come by it any more.
    fn is_shut(self, session: &Session) -> bool {
        session.door(self.way()) == DoorState::Shut
    }

    /// Whether the session that there is came by this start.
    fn has(self, session: &Session) -> bool {
        session.id() != self.session && session.owner().is_some_and(|owner| self.is_for(owner))
    }
}

impl Handle {
    pub(super) const fn new(options: IpmiOptions) -> Self {
        Self { options, handler: Handler::new(options.command, options.holds), opened: None }
    }
}

impl<B: DeviceBackend, W: Worker> Bmc<B, W> {
    /// Answers a request of the system interface or another channel; `None` if it is not for us. `random` tells the next start from all others.
    ///
    /// # Errors
    /// The USB side or the worker is gone.
    pub fn ipmi(
        &mut self,
        now: Duration,
        origin: Origin,
        request: &Request<'_>,
        random: u32,
    ) -> Result<Option<Reply>, Fault<B::Error>> {
        if !self.ipmi.as_ref().is_some_and(|handle| handle.handler.is_ours(request)) {
            return Ok(None);
        }
        self.with_handler(|handler, keeper| handler.handle(now, origin, request, random, keeper))
    }

    /// A session begins by this door. Returns its id, and what the start in force, if it came by that, has said of its package.
    ///
    /// # Errors
    /// Those of [`Session::first_byte`].
    pub(super) fn begin_by(&mut self, door: Door, now: Duration) -> Result<(u32, Expected), ResultCode> {
        let session = self.session.first_byte(door, now)?;
        let opened = self.ipmi.as_ref().and_then(|handle| handle.opened);
        let wishes =
            opened.filter(|opened| opened.is_for(door)).map(|opened| opened.wishes).unwrap_or_default();
        self.current = Some(session);
        // A restart that waited for the verdict before was into what this session takes the place of.
        self.volume.forget_activation();
        self.activates = self.options.activate && !wishes.defer_activation;
        let Wishes { no_downgrade, defer_activation: _, length, head } = wishes;
        Ok((session, Expected { not_older: no_downgrade, length: length.map(u64::from), head }))
    }

    /// What the passing of time, and what has come of a session, mean for the start in force.
    pub(super) fn handle_ipmi(&mut self, now: Duration) -> Result<(), Fault<B::Error>> {
        self.carry_start_over();
        if self.start_is_over() {
            self.with_handler(|handler, keeper| {
                handler.handle_shut();
                keeper.opened = None;
            })?;
            // Whoever opens the disk next has not asked for it.
            if self.session.door(Door::Volume) == DoorState::Shut {
                self.forget_profile();
            }
        }
        self.with_handler(|handler, keeper| handler.handle_timeout(now, keeper))?;
        Ok(())
    }

    pub(super) fn ipmi_timeout(&self) -> Option<Duration> {
        self.ipmi.as_ref().and_then(|handle| handle.handler.poll_timeout())
    }

    /// A session that ended without a word to its host, who was gone, leaves the disk open: so does it the start.
    fn carry_start_over(&mut self) {
        let tells = self.volume_tells();
        if let Some(opened) = self.ipmi.as_mut().and_then(|handle| handle.opened.as_mut())
            && opened.door == Door::Volume
            && !tells
            && opened.has(&self.session)
            && !self.session.state().is_at_work()
        {
            opened.session = self.session.id();
        }
    }

    /// The session that came of the start in force has ended, and DFU mode was left if it was there; or the door was shut.
    fn start_is_over(&self) -> bool {
        self.ipmi.as_ref().and_then(|handle| handle.opened).is_some_and(|opened| {
            let ended = opened.has(&self.session) && !self.session.state().is_at_work();
            ended && !opened.is_entered(&self.session) || opened.is_shut(&self.session)
        })
    }

    /// The machine starts anew: what a start has opened is shut, and the disk is the one of the configuration.
    pub(super) fn forget_start(&mut self) {
        self.forget_profile();
        if let Some(handle) = &mut self.ipmi {
            handle.handler.handle_shut();
            handle.opened = None;
        }
    }

    /// A restart has failed: the host is not to have it tried again and again, and what it was told is not so.
    pub(super) fn rest(&mut self, now: Duration) {
        self.restart_rests = now.saturating_add(RESTART_AGAIN);
        self.activates = false;
        if let Some(handle) = &mut self.ipmi {
            handle.handler.handle_restart_failed();
        }
    }

    fn with_handler<T>(
        &mut self,
        act: impl FnOnce(&mut Handler, &mut Keeper<'_, B, W>) -> T,
    ) -> Result<Option<T>, Fault<B::Error>> {
        let Some(Handle { options, mut handler, opened }) = self.ipmi.take() else { return Ok(None) };
        let mut keeper = Keeper { bmc: self, options, opened, fault: None };
        let done = act(&mut handler, &mut keeper);
        let (opened, fault) = (keeper.opened, keeper.fault);
        self.ipmi = Some(Handle { options, handler, opened });
        fault.map_or(Ok(Some(done)), Err)
    }

    /// Whether the disk can have that profile.
    fn disk_profile(&self, profile: DiskProfile) -> Option<Profile> {
        let options = self.options.volume.as_ref()?;
        match profile {
            DiskProfile::Raw => Some(Profile::Raw),
            DiskProfile::Fat => options.fat.filter(|_| !self.volume_is_lent()).map(Profile::Fat),
        }
    }
}

/// The BMC, to the handler.
struct Keeper<'a, B: DeviceBackend, W> {
    bmc: &'a mut Bmc<B, W>,
    options: IpmiOptions,
    opened: Option<Opened>,
    fault: Option<Fault<B::Error>>,
}

impl<B: DeviceBackend, W: Worker> Keeper<'_, B, W> {
    /// What went wrong, or has: the daemon is about to end.
    fn keep<T>(&mut self, result: Result<T, impl Into<Fault<B::Error>>>) -> Result<T, Code> {
        result.map_err(|fault| {
            self.fault.get_or_insert(fault.into());
            Code::NO_RESOURCES
        })
    }

    /// The doors of a start, the one that is meant last.
    const fn doors(door: command::Door) -> &'static [Door] {
        match door {
            command::Door::Dfu => &[Door::Dfu],
            command::Door::Bulk => &[Door::Dfu, Door::Bulk],
            command::Door::Volume(_) => &[Door::Volume],
        }
    }

    fn policy(&self, door: Door) -> DoorPolicy {
        self.bmc.session.policy(door)
    }
}

/// What the host is told of a door that does not open.
const fn code(result: ResultCode) -> Code {
    match result {
        ResultCode::DoorShut => Code::DOOR_SHUT,
        ResultCode::LockedOut => Code::LOCKED_OUT,
        ResultCode::Worn => Code::WORN,
        ResultCode::OnTrial => Code::ON_TRIAL,
        _ => Code::BUSY,
    }
}

fn first_eight(head: &[u8; 16]) -> [u8; 8] {
    std::array::from_fn(|at| head[at])
}

impl<B: DeviceBackend, W: Worker> Doorkeeper for Keeper<'_, B, W> {
    fn capabilities(&self) -> Capabilities {
        let bmc = &self.bmc;
        let has = |door: Door| u8::from(self.policy(door) != DoorPolicy::Off) << door.index();
        let shows = |profile| bmc.disk_profile(profile).is_some();
        let largest = self.options.max_package >> 20;
        Capabilities {
            doors: has(Door::Dfu) | has(Door::Bulk) | has(Door::Volume),
            door_states: door_bits(&Door::ALL.map(|door| bmc.session.door(door))),
            profiles: u8::from(shows(DiskProfile::Fat)) | u8::from(shows(DiskProfile::Raw)) << 1,
            options: Wishes::BITS,
            allowed: [
                (self.options.opens, Capabilities::OPENS),
                (self.options.activates, Capabilities::ACTIVATES),
                (self.options.confirms, Capabilities::CONFIRMS),
            ]
            .into_iter()
            .filter(|(is_allowed, _)| *is_allowed)
            .fold(0, |bits, (_, bit)| bits | bit),
            holds_s: u16::try_from(self.options.holds.as_secs()).unwrap_or(u16::MAX),
            largest_mib: u16::try_from(largest).unwrap_or(u16::MAX),
        }
    }

    fn status(&self, now: Duration) -> Status {
        let page = self.bmc.session.status(now);
        let bytes = page.encode();
        let store = self.bmc.session.store();
        let (running, other) = (store.record.slot(store.running), store.record.slot(store.running.other()));
        Status {
            state: page.state.number(),
            door: page.door.map_or(0, Door::number),
            percent: self.bmc.session.percent().unwrap_or(0xff),
            result: page.result_code,
            door_states: bytes[6],
            flags: bytes[7],
            session: page.session,
            received: page.received,
            announced: page.announced,
            running: first_eight(&running.head),
            running_security: running.security_version,
            other: first_eight(&other.head),
            other_security: other.security_version,
            wait_min: page.wait_minutes,
            // The handler's.
            nonce: 0,
            holds_s: 0,
        }
    }

    fn session(&self) -> u32 {
        self.bmc.session.id()
    }

    fn item(&self, number: u8, now: Duration) -> Option<Vec<u8>> {
        let session = &self.bmc.session;
        let store = session.store();
        let version = |slot| store.record.slot(slot).version.as_str().into();
        Some(match number {
            item::MACHINE => session.machine().as_str().into(),
            item::RUNNING => version(store.running),
            item::OTHER => version(store.running.other()),
            item::RESULT => session.status(now).result()?.to_string().into_bytes(),
            item::DAEMON => env!("CARGO_PKG_VERSION").into(),
            item::FIRST_PAGE..=0x9f => self.bmc.numbered_page(now, u16::from(number - item::FIRST_PAGE))?,
            _ => return None,
        })
    }

    fn open(&mut self, now: Duration, door: command::Door, wishes: &Wishes) -> Result<(), Code> {
        let doors = Self::doors(door);
        let is_shut = |door: &Door| match self.policy(*door) {
            DoorPolicy::Always => false,
            DoorPolicy::Armed => !self.options.opens,
            DoorPolicy::Off => true,
        };
        if doors.iter().any(is_shut) {
            return Err(Code::DOOR_SHUT);
        }
        let profile = match door {
            command::Door::Volume(profile) => Some(self.bmc.disk_profile(profile).ok_or(Code::FIELD)?),
            command::Door::Dfu | command::Door::Bulk => None,
        };
        // Somebody has opened DFU mode, and may be about to begin.
        if self.bmc.dfu.state() != State::AppIdle || self.bmc.goes_down() {
            return Err(Code::BUSY);
        }
        for door in doors {
            self.bmc.session.start(*door, now).map_err(code)?;
        }
        if let Some(profile) = profile {
            let shown = self.bmc.show_volume(now, Some(profile));
            self.keep(shown)?;
            if self.bmc.session.door(Door::Volume) != DoorState::Open {
                self.bmc.forget_profile();
                return Err(Code::NO_RESOURCES);
            }
        }
        let session = self.bmc.session.id();
        self.opened = doors.last().map(|door| Opened { door: *door, session, wishes: *wishes });
        Ok(())
    }

    fn is_at_work(&self) -> bool {
        let session = &self.bmc.session;
        self.opened.is_some_and(|opened| opened.has(session)) && session.state().is_at_work()
    }

    fn shut(&mut self, now: Duration, commit: bool) -> Result<(), Code> {
        let Some(opened) = self.opened.take() else { return Err(Code::NOTHING) };
        let door = opened.door;
        self.bmc.session.stopped(door);
        if commit && door == Door::Volume {
            let taken = self.bmc.commit_volume(now);
            if self.keep(taken)? {
                // The disk stays until its host has read what came of it.
                return Ok(());
            }
        }
        if opened.has(&self.bmc.session) {
            let ended = self.bmc.preempt(now);
            self.keep(ended)?;
        }
        let way = opened.way();
        if way == Door::Dfu {
            self.bmc.session.disarm(Door::Bulk, By::Ipmi);
        }
        let shut = self.bmc.end_door(now, way, By::Ipmi);
        self.keep(shut)?;
        if commit { Err(Code::NOTHING) } else { Ok(()) }
    }

    fn run_out(&mut self, now: Duration) {
        match self.opened {
            // Whoever is there is to hear what came of it.
            Some(opened) if opened.is_entered(&self.bmc.session) => {
                self.opened = None;
                self.bmc.session.stopped(opened.door);
                self.bmc.session.shut_behind(Door::Dfu, By::Ipmi);
                self.bmc.session.postpone(Door::Dfu, now.saturating_add(TO_READ));
            }
            // Where nothing has come in there is nothing to drop.
            Some(_) | None => drop(self.shut(now, false)),
        }
    }

    fn abort(&mut self, now: Duration) -> Result<(), Code> {
        if self.bmc.session.state() == SessionState::Receiving {
            self.bmc.session.asked(HostAct::Abort);
        }
        let ended = self.bmc.preempt(now);
        if self.keep(ended)? { Ok(()) } else { Err(Code::NOTHING) }
    }

    fn activate(&mut self, now: Duration) -> Result<(), Code> {
        if !self.options.activates {
            return Err(Code::NOT_ALLOWED);
        }
        if self.bmc.goes_down() {
            return Err(Code::BUSY);
        }
        match self.bmc.session.state() {
            SessionState::Staged if now < self.bmc.restart_rests => Err(Code::BUSY),
            SessionState::Staged => {
                self.bmc.session.asked(HostAct::Activate);
                let restarted = self.bmc.restart(now);
                self.keep(restarted)
            }
            state if state.is_at_work() => Err(Code::BUSY),
            _ => Err(Code::NOTHING),
        }
    }

    fn confirm(&mut self, _: Duration) -> Result<(), Code> {
        if !self.options.confirms {
            return Err(Code::NOT_ALLOWED);
        }
        // The verdict on firmware that did not prove itself stands, whether the restart out of it comes to anything or not.
        if self.bmc.goes_down() || matches!(self.bmc.verdict, Verdict::Unhealthy) {
            return Err(Code::BUSY);
        }
        if self.bmc.session.state() != SessionState::PendingConfirm {
            return Err(Code::NOTHING);
        }
        // It stands behind the restart out of it as well: somebody on the BMC may think better of it, or the health command.
        let store = self.bmc.session.store();
        if store.record.slot(store.running).trial.unhealthy {
            return Err(Code::BUSY);
        }
        if !self.bmc.confirms {
            self.bmc.session.asked(HostAct::Confirm);
        }
        self.bmc.end_trial();
        let sent = self.bmc.send_confirm();
        self.keep(sent)
    }
}
