//! Bulk pipes: what the host wants moved meets what the device offers.

use std::{collections::VecDeque, time::Duration};

use inband_usb::{
    Direction, EndpointAddress, HostCompletion, HostError, SubmitError, TransferError, TransferId,
    descriptor::BULK_PACKET_SIZE,
};

use super::{
    fault::{Action, Fault, Step},
    state::{ProgramId, State},
};

pub(super) const PACKET: usize = BULK_PACKET_SIZE as usize;
/// Transfers the device can queue on one endpoint.
const QUEUE: usize = 16;

/// Both sides' queues of one endpoint.
#[derive(Debug, Default)]
pub(super) struct Pipe {
    host: VecDeque<HostBulk>,
    device: VecDeque<DeviceBulk>,
}

/// A transfer of the host's.
#[derive(Debug)]
pub(super) struct HostBulk {
    id: TransferId,
    program: ProgramId,
    /// OUT: what is sent. IN: what has come.
    data: Vec<u8>,
    /// Bytes to move, at most.
    length: usize,
    moved: usize,
    /// Nothing is left to move.
    done: bool,
    /// Nothing more comes of it.
    lost: bool,
    /// Nothing goes on before.
    not_before: Duration,
    fault: Option<Fault>,
}

/// A transfer of the device's.
#[derive(Debug)]
struct DeviceBulk {
    buffer: Vec<u8>,
    moved: usize,
}

impl Pipe {
    /// When the pipe goes on by itself.
    pub(super) fn not_before(&self) -> Option<Duration> {
        self.host.front().map(|transfer| transfer.not_before)
    }

    /// Moves what can be moved for the first transfers of both sides, `limit` bytes of the host's transfer at most. Returns
    /// whether the device's transfer is done; `None` if there is nothing to move to or from.
    fn exchange(&mut self, direction: Direction, limit: usize) -> Option<bool> {
        let (host, device) = (self.host.front_mut()?, self.device.front_mut()?);
        let left = limit.min(host.length) - host.moved;
        let count = left.min(device.buffer.len() - device.moved);
        let (host_end, device_end) = (host.moved + count, device.moved + count);
        match direction {
            Direction::Out => {
                device.buffer[device.moved..device_end].copy_from_slice(&host.data[host.moved..host_end]);
            }
            Direction::In => host.data.extend_from_slice(&device.buffer[device.moved..device_end]),
        }
        (host.moved, device.moved) = (host_end, device_end);
        // The sender's last packet ends the receiver's transfer if it is short.
        Some(match direction {
            Direction::Out => {
                host.done = host.moved == host.length;
                let short = host.done && host.length % PACKET != 0 || host.length == 0;
                short || device.moved == device.buffer.len()
            }
            Direction::In => {
                let sent = device.moved == device.buffer.len();
                let short = sent && (device.moved % PACKET != 0 || device.buffer.is_empty());
                host.done = short || host.moved == host.length;
                sent
            }
        })
    }
}

impl HostBulk {
    /// `data` is what is sent; for IN it is empty and `length` is how much is asked for.
    pub(super) fn new(
        program: ProgramId,
        id: TransferId,
        data: Vec<u8>,
        length: usize,
        fault: Option<Fault>,
    ) -> Self {
        Self {
            id,
            program,
            data,
            length,
            moved: 0,
            done: false,
            lost: false,
            not_before: Duration::ZERO,
            fault,
        }
    }

    fn ended(self, result: Result<(), HostError>) -> HostCompletion {
        HostCompletion { id: self.id, data: self.data, length: self.moved, result }
    }

    /// How far the transfer goes before its fault.
    fn limit(&self) -> usize {
        match &self.fault {
            Some(Fault { step: Step::Data(at), .. }) => at - at % PACKET,
            Some(Fault { step: Step::Setup | Step::Status, .. }) | None => self.length,
        }
        .min(self.length)
    }

    /// Takes the fault if this is its moment.
    fn due(&mut self) -> Option<Action> {
        let limit = self.limit();
        let due = match self.fault.as_ref()?.step {
            Step::Setup => true,
            Step::Data(_) => self.done || self.moved == limit && limit < self.length,
            Step::Status => self.done,
        };
        self.fault.take_if(|_| due).map(|fault| fault.action)
    }
}

impl State {
    pub(super) fn host_submit(&mut self, endpoint: EndpointAddress, transfer: HostBulk) {
        self.pipes.entry(endpoint).or_default().host.push_back(transfer);
        self.changes += 1;
        self.run_pipe(endpoint);
    }

    /// Whether the host has transfers in flight.
    pub(super) fn host_busy(&self, endpoint: EndpointAddress) -> bool {
        self.pipes.get(&endpoint).is_some_and(|pipe| !pipe.host.is_empty())
    }

    pub(super) fn device_submit(
        &mut self,
        endpoint: EndpointAddress,
        buffer: Vec<u8>,
    ) -> Result<(), SubmitError> {
        if !self.configured() {
            return Err(SubmitError::Disabled(buffer));
        }
        if self.set.as_ref().is_none_or(|set| set.interface_of(endpoint).is_none()) {
            return Err(SubmitError::NoEndpoint(buffer));
        }
        if endpoint.direction() == Direction::Out
            && (buffer.is_empty() || !buffer.len().is_multiple_of(PACKET))
        {
            return Err(SubmitError::BadLength(buffer));
        }
        let pipe = self.pipes.entry(endpoint).or_default();
        if pipe.device.len() >= QUEUE {
            return Err(SubmitError::Full(buffer));
        }
        pipe.device.push_back(DeviceBulk { buffer, moved: 0 });
        self.changes += 1;
        self.run_pipe(endpoint);
        Ok(())
    }

    pub(super) fn device_cancel(&mut self, endpoint: EndpointAddress) {
        self.take_home(endpoint, self.cancelled);
    }

    pub(super) fn set_halt(&mut self, endpoint: EndpointAddress) {
        let known = self.set.as_ref().is_some_and(|set| set.interface_of(endpoint).is_some());
        if known && self.configured() {
            self.chapter9.set_halt(endpoint);
            self.run_pipe(endpoint);
        }
    }

    /// Gives all the device's transfers of an endpoint back.
    fn take_home(&mut self, endpoint: EndpointAddress, error: TransferError) {
        let Some(pipe) = self.pipes.get_mut(&endpoint) else { return };
        for transfer in std::mem::take(&mut pipe.device) {
            self.come_home(endpoint, transfer.buffer, transfer.moved, Err(error));
        }
    }

    /// Ends all bulk transfers on both sides.
    pub(super) fn end_bulk(&mut self, error: &HostError) {
        let endpoints: Vec<_> = self.pipes.keys().copied().collect();
        for endpoint in endpoints {
            self.take_home(endpoint, TransferError::Disabled);
            self.end_host(endpoint, error);
        }
    }

    fn end_host(&mut self, endpoint: EndpointAddress, error: &HostError) {
        let Some(pipe) = self.pipes.get_mut(&endpoint) else { return };
        for transfer in std::mem::take(&mut pipe.host) {
            let program = Some(transfer.program);
            self.complete(program, transfer.ended(Err(error.clone())));
        }
    }

    /// Takes back bulk transfers of the host's.
    pub(super) fn cancel_bulk(&mut self, chosen: impl Fn(Option<ProgramId>, TransferId) -> bool) {
        let mut cancelled = Vec::new();
        for pipe in self.pipes.values_mut() {
            let (chosen, kept): (VecDeque<_>, _) =
                std::mem::take(&mut pipe.host).into_iter().partition(|it| chosen(Some(it.program), it.id));
            pipe.host = kept;
            cancelled.extend(chosen);
        }
        for transfer in cancelled {
            let program = Some(transfer.program);
            self.complete(program, transfer.ended(Err(HostError::Cancelled)));
        }
        self.run_pipes();
    }

    pub(super) fn run_pipes(&mut self) {
        let endpoints: Vec<_> = self.pipes.keys().copied().collect();
        for endpoint in endpoints {
            self.run_pipe(endpoint);
        }
    }

    /// Moves what can be moved on an endpoint.
    pub(super) fn run_pipe(&mut self, endpoint: EndpointAddress) {
        let direction = endpoint.direction();
        loop {
            let halted = self.chapter9.is_halted(endpoint);
            let Some(pipe) = self.pipes.get_mut(&endpoint) else { return };
            let Some(front) = pipe.host.front_mut() else { return };
            if front.lost || self.now < front.not_before {
                return;
            }
            if let Some(action) = front.due() {
                self.strike_bulk(endpoint, action);
                continue;
            }
            if front.done {
                let Some(transfer) = pipe.host.pop_front() else { return };
                let program = Some(transfer.program);
                self.complete(program, transfer.ended(Ok(())));
                continue;
            }
            if halted {
                self.end_host(endpoint, &HostError::Stall);
                return;
            }
            let limit = front.limit();
            let Some(device_done) = pipe.exchange(direction, limit) else { return };
            self.changes += 1;
            if device_done && let Some(transfer) = pipe.device.pop_front() {
                self.come_home(endpoint, transfer.buffer, transfer.moved, Ok(()));
            }
        }
    }

    /// Something happens to the first transfer of the host's.
    fn strike_bulk(&mut self, endpoint: EndpointAddress, action: Action) {
        let now = self.now;
        let front = self.pipes.get_mut(&endpoint).and_then(|pipe| pipe.host.front_mut());
        match action {
            Action::Delay(time) => {
                if let Some(front) = front {
                    front.not_before = now.saturating_add(time);
                }
            }
            Action::Drop => {
                if let Some(front) = front {
                    front.lost = true;
                }
            }
            Action::NewSetup(setup, data) => {
                self.inject(setup, data);
                self.run_control();
            }
            Action::Unplug => self.unplug(),
            Action::Reset => self.bus_reset(),
        }
    }
}
