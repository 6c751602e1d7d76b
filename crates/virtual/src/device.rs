//! A device that is reached over a connection, without the connection and without its protocol.
//!
//! One side are the calls of [`DeviceBackend`](inband_usb::DeviceBackend), the other the transfers of the [`Peer`] that has
//! the device, such as the client that has imported it over USB/IP.

mod peer;
mod pipe;

use std::{collections::VecDeque, mem};

use inband_usb::{
    Completion, ControlError, DescriptorSet, DeviceEvent, Direction, EndpointAddress, Setup, SubmitError,
    TransferError,
    chapter9::{Chapter9, Effect, Outcome, State, request},
    descriptor::BULK_PACKET_SIZE,
};

use pipe::Pipe;

pub use peer::{End, Peer, Urb};
pub(crate) use peer::{Ledger, MAX_HELD, Tap};

/// A device.
pub struct Device<P> {
    /// Its address, 1 to 127: the peer's side has given it one.
    address: u8,
    attached: Option<Attached>,
    peer: Option<P>,
    /// Transfers come home here until the function asks.
    completions: VecDeque<Completion>,
    /// Whether [`DeviceEvent::Enable`] was the last the function heard.
    enabled: bool,
    /// The function has to hear that it was disabled; before the Enable, if that is due too.
    disable_due: bool,
    enable_due: bool,
    /// The request the function has was cancelled, and it does not know yet.
    stale: bool,
}

struct Attached {
    set: DescriptorSet,
    chapter9: Chapter9,
    pipes: Vec<Pipe>,
    /// Control transfers that wait for the one before them.
    control: VecDeque<Control>,
    /// The class or vendor request that is the function's to answer.
    current: Option<Control>,
    /// Whether the function has got it.
    delivered: bool,
}

struct Control {
    urb: Urb,
    data: Vec<u8>,
}

impl Control {
    fn setup(&self) -> Setup {
        Setup::from_bytes(self.urb.setup)
    }

    /// Whether the transfer is what its setup packet says. Linux refuses others before they reach the wire.
    fn is_consistent(&self) -> bool {
        let setup = self.setup();
        self.urb.length == u32::from(setup.length)
            && (setup.length == 0 || setup.direction() == self.urb.endpoint.direction())
    }

    fn reply(self, data: &[u8], peer: &mut impl Peer) {
        let short = self.urb.short_not_ok && data.len() < self.urb.length as usize;
        peer.return_in(&self.urb, if short { End::Short } else { End::Done }, data);
    }

    fn ack(self, peer: &mut impl Peer) {
        let length = self.data.len();
        match self.urb.endpoint.direction() {
            Direction::Out => peer.return_out(&self.urb, End::Done, length, length),
            Direction::In => peer.return_in(&self.urb, End::Done, &[]),
        }
    }

    fn fail(self, end: End, peer: &mut impl Peer) {
        peer.return_bare(&self.urb, end, self.data.len());
    }
}

impl<P: Peer> Device<P> {
    pub(crate) fn new(address: u8) -> Self {
        Self {
            address,
            attached: None,
            peer: None,
            completions: VecDeque::new(),
            enabled: false,
            disable_due: false,
            enable_due: false,
            stale: false,
        }
    }

    /// The descriptors while it is attached.
    pub(crate) fn set(&self) -> Option<&DescriptorSet> {
        self.attached.as_ref().map(|attached| &attached.set)
    }

    pub(crate) fn peer(&self) -> Option<&P> {
        self.peer.as_ref()
    }

    pub(crate) fn peer_mut(&mut self) -> Option<&mut P> {
        self.peer.as_mut()
    }

    // --- the peer's side ---

    /// A peer gets the attached device: to the device, it was plugged in.
    pub(crate) fn plug(&mut self, peer: P) {
        self.peer = Some(peer);
    }

    /// The peer is gone: to the device, it was unplugged.
    pub(crate) fn unplug(&mut self) -> Option<P> {
        let peer = self.peer.take();
        self.start_anew();
        peer
    }

    /// A bus reset. The peer's transfers end.
    pub(crate) fn reset(&mut self) {
        if let (Some(attached), Some(peer)) = (&mut self.attached, &mut self.peer) {
            for pipe in &mut attached.pipes {
                pipe.end_urbs(End::Disabled, peer);
            }
            // It is forgotten below, where the function learns of it.
            if let Some(current) = &attached.current {
                peer.return_bare(&current.urb, End::Disabled, current.data.len());
            }
            for control in attached.control.drain(..) {
                control.fail(End::Disabled, peer);
            }
        }
        self.start_anew();
    }

    /// Unconfigured, and with nothing of the peer's.
    fn start_anew(&mut self) {
        self.disable();
        if let Some(attached) = &mut self.attached {
            attached.chapter9 = Chapter9::with_address(self.address);
            attached.control.clear();
            self.stale |= attached.current.take().is_some() && mem::take(&mut attached.delivered);
            for pipe in &mut attached.pipes {
                pipe.forget_urbs();
            }
        }
    }

    /// A transfer, with its data if it is OUT.
    pub(crate) fn submit_urb(&mut self, urb: Urb, data: Vec<u8>) {
        let (Some(attached), Some(peer)) = (&mut self.attached, &mut self.peer) else { return };
        if urb.endpoint.number() == 0 {
            attached.control.push_back(Control { urb, data });
            self.advance();
            return;
        }
        let configured = attached.chapter9.state() == State::Configured;
        match attached.pipes.iter_mut().find(|pipe| pipe.address() == urb.endpoint) {
            Some(pipe) if configured => {
                pipe.push_urb(urb, data);
                let halted = attached.chapter9.is_halted(pipe.address());
                pipe.pump(halted, peer, &mut self.completions);
            }
            // Nothing listens there.
            Some(_) | None => peer.return_bare(&urb, End::Protocol, data.len()),
        }
    }

    /// The peer gives a transfer up; `then` is told whether it was in flight, before other transfers go on.
    pub(crate) fn unlink_urb(&mut self, id: u64, then: impl FnOnce(&mut P, bool)) {
        let (Some(attached), Some(peer)) = (&mut self.attached, &mut self.peer) else { return };
        let names = |control: &Control| control.urb.id == id;
        let mut found = false;
        if let Some(current) = attached.current.take_if(|current| names(current)) {
            self.stale |= mem::take(&mut attached.delivered);
            peer.give_up(&current.urb, current.data.len());
            found = true;
        } else if let Some(at) = attached.control.iter().position(names) {
            if let Some(control) = attached.control.remove(at) {
                peer.give_up(&control.urb, control.data.len());
            }
            found = true;
        }
        found = found || attached.pipes.iter_mut().any(|pipe| pipe.unlink(id, peer));
        then(peer, found);
        self.advance();
    }

    /// Transfers of the peer's that wait on an endpoint; on both directions of endpoint 0 together.
    pub(crate) fn waiting(&self, endpoint: EndpointAddress) -> usize {
        let Some(attached) = &self.attached else { return 0 };
        if endpoint.number() == 0 {
            return attached.control.len() + usize::from(attached.current.is_some());
        }
        attached.pipes.iter().find(|pipe| pipe.address() == endpoint).map_or(0, Pipe::waiting)
    }

    /// A standard request that the protocol has a message of its own for, out of the order of control transfers: the data of
    /// the answer; `None` is a STALL.
    pub(crate) fn standard(&mut self, setup: &Setup) -> Option<Vec<u8>> {
        let attached = self.attached.as_mut()?;
        match attached.chapter9.handle(&attached.set, setup) {
            Outcome::Reply(data) => Some(data),
            Outcome::Ack(effect) => {
                self.apply(effect, false);
                Some(Vec::new())
            }
            Outcome::Stall | Outcome::ToFunction => None,
        }
    }

    /// Goes on where the peer's slow reading stopped it.
    pub(crate) fn resume(&mut self) {
        let Some(attached) = &self.attached else { return };
        for at in 0..attached.pipes.len() {
            self.pump(at);
        }
    }

    fn pump(&mut self, at: usize) {
        if let (Some(attached), Some(peer)) = (&mut self.attached, &mut self.peer)
            && let Some(pipe) = attached.pipes.get_mut(at)
        {
            pipe.pump(attached.chapter9.is_halted(pipe.address()), peer, &mut self.completions);
        }
    }

    fn pump_endpoint(&mut self, endpoint: EndpointAddress) {
        let Some(attached) = &self.attached else { return };
        if let Some(at) = attached.pipes.iter().position(|pipe| pipe.address() == endpoint) {
            self.pump(at);
        }
    }

    /// Answers control transfers up to the first that is the function's to answer.
    fn advance(&mut self) {
        loop {
            let (Some(attached), Some(peer)) = (&mut self.attached, &mut self.peer) else { return };
            if attached.current.is_some() {
                return;
            }
            let Some(control) = attached.control.pop_front() else { return };
            if !control.is_consistent() {
                control.fail(End::Protocol, peer);
                continue;
            }
            let setup = control.setup();
            let was_configured = attached.chapter9.state() == State::Configured;
            match attached.chapter9.handle(&attached.set, &setup) {
                Outcome::Reply(data) => control.reply(&data, peer),
                Outcome::Stall => control.fail(End::Stall, peer),
                Outcome::ToFunction => {
                    attached.current = Some(control);
                    attached.delivered = false;
                }
                Outcome::Ack(effect) => {
                    control.ack(peer);
                    let reset = P::CONFIGURATION_RESETS
                        && was_configured
                        && setup.request == request::SET_CONFIGURATION;
                    self.apply(effect, reset);
                }
            }
        }
    }

    fn apply(&mut self, effect: Effect, reset: bool) {
        match effect {
            // The peer's side has its own idea of addresses.
            Effect::None | Effect::Address(_) => {}
            Effect::Enable => {
                self.end_all();
                // Where a bus reset does not come over, only the configuration that follows it, a second
                // SET_CONFIGURATION is taken for both.
                self.disable_due |= reset && self.enabled;
                self.enable_due = true;
            }
            Effect::Disable => {
                self.end_all();
                self.disable();
            }
            Effect::Halt(endpoint) | Effect::ClearHalt(endpoint) => self.pump_endpoint(endpoint),
        }
    }

    /// Ends the transfers of both sides.
    fn end_all(&mut self) {
        if let (Some(attached), Some(peer)) = (&mut self.attached, &mut self.peer) {
            for pipe in &mut attached.pipes {
                pipe.end_urbs(End::Disabled, peer);
                pipe.end_transfers(TransferError::Disabled, &mut self.completions);
            }
        }
    }

    /// The function's transfers come home, and it will hear of it.
    fn disable(&mut self) {
        if let Some(attached) = &mut self.attached {
            for pipe in &mut attached.pipes {
                pipe.end_transfers(TransferError::Disabled, &mut self.completions);
            }
        }
        self.enable_due = false;
        self.disable_due = self.enabled;
    }

    // --- the function's side, as `DeviceBackend` says ---

    /// Attaches while detached. The descriptors are valid.
    pub(crate) fn attach(&mut self, set: &DescriptorSet) {
        self.attached = Some(Attached {
            pipes: set.endpoints().map(Pipe::new).collect(),
            set: set.clone(),
            chapter9: Chapter9::with_address(self.address),
            control: VecDeque::new(),
            current: None,
            delivered: false,
        });
    }

    /// Detaches; the peer that had the device is returned, to be told.
    pub(crate) fn detach(&mut self) -> Option<P> {
        let peer = self.unplug();
        self.attached = None;
        peer
    }

    /// Whether [`next_event`](Self::next_event) has something.
    pub fn has_event(&self) -> bool {
        let setup = self.attached.as_ref().is_some_and(|it| it.current.is_some() && !it.delivered);
        !self.completions.is_empty() || self.disable_due || self.enable_due || setup
    }

    /// As [`DeviceBackend::poll_event`](inband_usb::DeviceBackend::poll_event).
    pub fn next_event(&mut self) -> Option<DeviceEvent> {
        if let Some(completion) = self.completions.pop_front() {
            return Some(DeviceEvent::Complete(completion));
        }
        if mem::take(&mut self.disable_due) {
            self.enabled = false;
            self.stale = false;
            return Some(DeviceEvent::Disable);
        }
        if mem::take(&mut self.enable_due) {
            self.enabled = true;
            return Some(DeviceEvent::Enable);
        }
        let attached = self.attached.as_mut()?;
        let current = attached.current.as_ref().filter(|_| !attached.delivered)?;
        attached.delivered = true;
        self.stale = false;
        Some(DeviceEvent::Setup(current.setup()))
    }

    /// Takes the request that is to be answered.
    fn answer(&mut self) -> Result<Control, ControlError> {
        if mem::take(&mut self.stale) {
            return Err(ControlError::Cancelled);
        }
        let attached = self.attached.as_mut().ok_or(ControlError::Misuse)?;
        if !mem::take(&mut attached.delivered) {
            return Err(ControlError::Misuse);
        }
        attached.current.take().ok_or(ControlError::Misuse)
    }

    /// Ends the request taken by [`answer`](Self::answer) and goes on to the next.
    fn answered(&mut self, control: Control, how: impl FnOnce(Control, &mut P)) {
        if let Some(peer) = &mut self.peer {
            how(control, peer);
        }
        self.advance();
    }

    fn misuse(&mut self, control: Control) -> ControlError {
        self.answered(control, |control, peer| control.fail(End::Stall, peer));
        ControlError::Misuse
    }

    /// As [`DeviceBackend::control_read`](inband_usb::DeviceBackend::control_read); the data is always there.
    pub fn control_read(&mut self, buffer: &mut [u8]) -> Result<usize, ControlError> {
        let control = self.answer()?;
        let setup = control.setup();
        let length = usize::from(setup.length);
        if length > 0 && setup.direction() == Direction::In || buffer.len() < length {
            return Err(self.misuse(control));
        }
        if length > 0 {
            buffer[..length].copy_from_slice(&control.data);
        }
        self.answered(control, Control::ack);
        Ok(length)
    }

    /// As [`DeviceBackend::control_write`](inband_usb::DeviceBackend::control_write).
    pub fn control_write(&mut self, data: &[u8]) -> Result<(), ControlError> {
        let control = self.answer()?;
        let setup = control.setup();
        if setup.length == 0 || setup.direction() == Direction::Out || data.len() > usize::from(setup.length)
        {
            return Err(self.misuse(control));
        }
        self.answered(control, |control, peer| control.reply(data, peer));
        Ok(())
    }

    /// As [`DeviceBackend::control_stall`](inband_usb::DeviceBackend::control_stall).
    pub fn control_stall(&mut self) -> Result<(), ControlError> {
        let control = self.answer()?;
        self.answered(control, |control, peer| control.fail(End::Stall, peer));
        Ok(())
    }

    /// As [`DeviceBackend::submit`](inband_usb::DeviceBackend::submit).
    pub fn submit(&mut self, endpoint: EndpointAddress, buffer: Vec<u8>) -> Result<(), SubmitError> {
        // Until the function has heard of a change it means the transfer for what was before.
        let usable = self.enabled && !self.disable_due && !self.enable_due;
        let Some(attached) = self.attached.as_mut().filter(|_| usable) else {
            return Err(SubmitError::Disabled(buffer));
        };
        let Some(at) = attached.pipes.iter().position(|pipe| pipe.address() == endpoint) else {
            return Err(SubmitError::NoEndpoint(buffer));
        };
        let whole = !buffer.is_empty() && buffer.len().is_multiple_of(usize::from(BULK_PACKET_SIZE));
        if endpoint.direction() == Direction::Out && !whole {
            return Err(SubmitError::BadLength(buffer));
        }
        attached.pipes[at].push_transfer(buffer).map_err(SubmitError::Full)?;
        self.pump(at);
        Ok(())
    }

    /// As [`DeviceBackend::cancel`](inband_usb::DeviceBackend::cancel).
    pub fn cancel(&mut self, endpoint: EndpointAddress) {
        if let Some(attached) = &mut self.attached
            && let Some(pipe) = attached.pipes.iter_mut().find(|pipe| pipe.address() == endpoint)
        {
            pipe.end_transfers(TransferError::Cancelled, &mut self.completions);
        }
    }

    /// As [`DeviceBackend::set_halt`](inband_usb::DeviceBackend::set_halt).
    pub fn set_halt(&mut self, endpoint: EndpointAddress) {
        if let Some(attached) = &mut self.attached
            && attached.chapter9.state() == State::Configured
            && attached.set.interface_of(endpoint).is_some()
        {
            attached.chapter9.set_halt(endpoint);
            self.pump_endpoint(endpoint);
        }
    }
}
