//! What the bus is: connection, clock, queues. All under one lock; nothing here calls out.

use std::{
    collections::{BTreeMap, VecDeque},
    time::Duration,
};

use inband_usb::{
    Completion, DescriptorSet, DeviceEvent, EndpointAddress, HostCompletion, HostError, Setup, TransferError,
    TransferId,
    chapter9::{Chapter9, Effect, State as UsbState, request},
    descriptor::CONFIGURATION_VALUE,
};

use super::{bulk::Pipe, control::Control, fault::FaultPlan};

/// Reset and recovery (USB 2.0, 7.1.7.5): 10 ms each.
const RESET_TIME: Duration = Duration::from_millis(20);
/// From attaching to the reset that begins the enumeration (USB 2.0, 7.1.7.3).
const ENUMERATION_TIME: Duration = Duration::from_millis(100);
/// The address every device gets.
const ADDRESS: u16 = 1;
/// A microframe, and the most bulk data that fits it at high speed: 13 packets (USB 2.0, table 5-10).
const MICROFRAME: Duration = Duration::from_micros(125);
const BYTES_PER_MICROFRAME: usize = 13 * 512;

/// An event on its way to the function.
#[derive(Debug)]
pub(super) enum Event {
    /// The request of this transfer.
    Setup(TransferId, Setup),
    /// Anything else.
    Other(DeviceEvent),
}

/// A program on the host that has the device open.
#[derive(Debug, Default)]
pub(super) struct Program {
    /// Transfers that have ended and were not polled yet.
    pub(super) completions: VecDeque<HostCompletion>,
}

/// Names a [`Program`].
pub(super) type ProgramId = u64;

#[derive(Debug)]
pub(super) struct State {
    pub(super) now: Duration,
    /// Counts everything either side does, so that the loop that waits knows whether there is more to do at this moment.
    pub(super) changes: u64,

    /// What the device is attached with.
    pub(super) set: Option<DescriptorSet>,
    pub(super) plugged: bool,
    /// How many endpoints the device's controller has besides endpoint 0.
    pub(super) endpoints: usize,
    /// How transfers that it takes back come home.
    pub(super) cancelled: TransferError,
    pub(super) enumeration_time: Duration,
    /// When the host will have found the device.
    enumerated_at: Option<Duration>,
    /// The host has found the device.
    pub(super) present: bool,
    pub(super) generation: u64,
    pub(super) chapter9: Chapter9,

    pub(super) events: VecDeque<Event>,
    /// The request the function has polled and not answered. Its transfer may be long gone.
    pub(super) polled: Option<(TransferId, Setup)>,
    /// Control transfers, the first of them running.
    pub(super) control: VecDeque<Control>,
    pub(super) pipes: BTreeMap<EndpointAddress, Pipe>,

    pub(super) programs: BTreeMap<ProgramId, Program>,
    /// Which program has claimed which interface.
    pub(super) claims: BTreeMap<u8, ProgramId>,
    ids: u64,

    pub(super) faults: FaultPlan,
    /// Transfers submitted since the faults were planned.
    pub(super) transfers: u64,
}

impl State {
    pub(super) fn new() -> Self {
        Self {
            now: Duration::ZERO,
            changes: 0,
            set: None,
            plugged: true,
            endpoints: usize::MAX,
            cancelled: TransferError::Cancelled,
            enumeration_time: ENUMERATION_TIME,
            enumerated_at: None,
            present: false,
            generation: 0,
            chapter9: Chapter9::new(),
            events: VecDeque::new(),
            polled: None,
            control: VecDeque::new(),
            pipes: BTreeMap::new(),
            programs: BTreeMap::new(),
            claims: BTreeMap::new(),
            ids: 0,
            faults: FaultPlan::default(),
            transfers: 0,
        }
    }

    /// A number never used before, for transfers and programs.
    pub(super) fn next_id(&mut self) -> u64 {
        self.ids += 1;
        self.ids
    }

    pub(super) fn configured(&self) -> bool {
        self.present && self.chapter9.state() == UsbState::Configured
    }

    // ---- connection

    /// The device attaches itself with these descriptors, leaving first if it is there.
    pub(super) fn attach(&mut self, set: DescriptorSet) {
        self.leave();
        self.set = Some(set);
        self.arrive();
    }

    /// The device detaches itself.
    pub(super) fn detach(&mut self) {
        self.leave();
        self.set = None;
    }

    pub(super) fn unplug(&mut self) {
        self.leave();
        self.plugged = false;
    }

    pub(super) fn plug(&mut self) {
        if !self.plugged {
            self.plugged = true;
            self.arrive();
        }
    }

    fn arrive(&mut self) {
        if self.plugged && self.set.is_some() {
            self.enumerated_at = Some(self.now.saturating_add(self.enumeration_time));
        }
        self.changes += 1;
    }

    fn leave(&mut self) {
        self.enumerated_at = None;
        self.changes += 1;
        if !self.present {
            return;
        }
        let configured = self.configured();
        self.end_transfers(&HostError::Gone);
        self.present = false;
        self.claims.clear();
        if configured {
            self.push_event(DeviceEvent::Disable);
        }
    }

    /// A bus reset after which the host configures the same device again.
    pub(super) fn bus_reset(&mut self) {
        if !self.present {
            return;
        }
        self.end_transfers(&HostError::Cancelled);
        if self.chapter9.reset() == Effect::Disable {
            self.push_event(DeviceEvent::Disable);
        }
        self.now = self.now.saturating_add(RESET_TIME);
        self.configure();
    }

    /// What the host does with every device it finds.
    fn configure(&mut self) {
        let configuration = u16::from(CONFIGURATION_VALUE);
        for (request, value) in [(request::SET_ADDRESS, ADDRESS), (request::SET_CONFIGURATION, configuration)]
        {
            self.standard(&Setup { request_type: 0, request, value, index: 0, length: 0 });
        }
    }

    /// A standard request without data that the host's kernel makes, which comes before all transfers.
    pub(super) fn standard(&mut self, setup: &Setup) {
        let Some(set) = &self.set else { return };
        if let inband_usb::chapter9::Outcome::Ack(effect) = self.chapter9.handle(set, setup) {
            self.apply(effect);
        }
    }

    /// Does what an acknowledged standard request asks for.
    pub(super) fn apply(&mut self, effect: Effect) {
        match effect {
            Effect::None | Effect::Address(_) => {}
            Effect::Enable => {
                self.end_bulk(&HostError::Cancelled);
                self.push_event(DeviceEvent::Enable);
            }
            Effect::Disable => {
                self.end_bulk(&HostError::Cancelled);
                self.push_event(DeviceEvent::Disable);
            }
            Effect::Halt(endpoint) | Effect::ClearHalt(endpoint) => self.run_pipe(endpoint),
        }
    }

    // ---- the device's events

    pub(super) fn push_event(&mut self, event: DeviceEvent) {
        self.events.push_back(Event::Other(event));
        self.changes += 1;
    }

    /// An event that means something to a configured device only.
    pub(super) fn notify(&mut self, event: DeviceEvent) {
        if self.configured() {
            self.push_event(event);
        }
    }

    /// The next event. Whatever ends a request makes the function forget it.
    pub(super) fn poll_event(&mut self) -> Option<DeviceEvent> {
        let event = self.events.pop_front()?;
        self.changes += 1;
        match event {
            Event::Setup(id, setup) => {
                self.polled = Some((id, setup));
                Some(DeviceEvent::Setup(setup))
            }
            Event::Other(event) => {
                if event == DeviceEvent::Disable {
                    self.polled = None;
                }
                Some(event)
            }
        }
    }

    // ---- transfers

    /// Gives an ended transfer back to its program, after the time it took. `None` and programs that have ended do not ask.
    pub(super) fn complete(&mut self, program: Option<ProgramId>, completion: HostCompletion) {
        let microframes = 1 + u32::try_from(completion.length / BYTES_PER_MICROFRAME).unwrap_or(u32::MAX - 1);
        match completion.result {
            Ok(()) | Err(HostError::Stall) => self.now = self.now.saturating_add(MICROFRAME * microframes),
            Err(_) => {}
        }
        self.changes += 1;
        if let Some(program) = program.and_then(|program| self.programs.get_mut(&program)) {
            program.completions.push_back(completion);
        }
    }

    /// Gives a device's transfer back to it.
    pub(super) fn come_home(
        &mut self,
        endpoint: EndpointAddress,
        buffer: Vec<u8>,
        length: usize,
        result: Result<(), TransferError>,
    ) {
        self.push_event(DeviceEvent::Complete(Completion { endpoint, buffer, length, result }));
    }

    /// Ends everything in flight on both sides.
    fn end_transfers(&mut self, error: &HostError) {
        self.forget_setups();
        for control in std::mem::take(&mut self.control) {
            let program = control.program;
            self.complete(program, control.ended(Err(error.clone())));
        }
        self.end_bulk(error);
    }

    /// Takes back the request the function has not polled.
    pub(super) fn forget_setups(&mut self) {
        self.events.retain(|event| !matches!(event, Event::Setup(..)));
    }

    /// Takes back one transfer of a program's.
    pub(super) fn cancel(&mut self, program: ProgramId, id: TransferId) {
        self.cancel_where(|its_program, its_id| its_program == Some(program) && its_id == id);
    }

    /// A program ends: its transfers and claims do, too.
    pub(super) fn close(&mut self, program: ProgramId) {
        self.cancel_where(|its_program, _| its_program == Some(program));
        self.claims.retain(|_, its_program| *its_program != program);
        self.programs.remove(&program);
        self.changes += 1;
    }

    fn cancel_where(&mut self, chosen: impl Fn(Option<ProgramId>, TransferId) -> bool) {
        self.cancel_control(&chosen);
        self.cancel_bulk(&chosen);
    }

    // ---- time

    /// Does what is due.
    pub(super) fn tick(&mut self) {
        loop {
            let before = self.now;
            if self.enumerated_at.is_some_and(|time| time <= self.now) {
                self.enumerated_at = None;
                self.present = true;
                self.generation += 1;
                self.chapter9 = Chapter9::new();
                self.configure();
            }
            self.run_control();
            self.run_pipes();
            if self.now == before {
                return;
            }
        }
    }

    /// When something is due next.
    pub(super) fn next_timer(&self) -> Option<Duration> {
        let control = self.control.front().map(|control| control.not_before);
        let bulk = self.pipes.values().filter_map(Pipe::not_before);
        bulk.chain(control).chain(self.enumerated_at).filter(|time| *time > self.now).min()
    }
}
