//! A device on a port of the server: what [`Port`](super::Port) does, without sockets.
//!
//! One side are the calls of [`DeviceBackend`](inband_usb::DeviceBackend), the other the commands of the client that has
//! imported the device.

use std::{collections::VecDeque, mem};

use inband_usb::{
    Completion, ControlError, DescriptorSet, DeviceEvent, Direction, EndpointAddress, Setup, SubmitError,
    TransferError,
    chapter9::{Chapter9, Effect, Outcome, State, request},
    descriptor::{BULK_PACKET_SIZE, CONFIGURATION_VALUE},
};

use super::{
    importer::{Importer, return_bare},
    pipe::Pipe,
};
use crate::usbip::wire::{self, BusId, SHORT_NOT_OK, Submit, errno};

/// Number of the one bus all devices are on.
const BUS: u16 = 1;

/// A transfer too many.
pub(super) struct TooManyUrbs;

/// A device on a port. [`Hub`](super::Hub) has them.
pub struct Device {
    busid: BusId,
    /// Number on the bus, which is also the device address, 1 to 127.
    number: u8,
    attached: Option<Attached>,
    importer: Option<Importer>,
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
    submit: Submit,
    data: Vec<u8>,
}

impl Control {
    fn setup(&self) -> Setup {
        Setup::from_bytes(self.submit.setup)
    }

    /// Whether the transfer is what its setup packet says. Linux refuses others before they reach the wire.
    fn is_consistent(&self) -> bool {
        let setup = self.setup();
        self.submit.length == u32::from(setup.length)
            && (setup.length == 0 || setup.direction() == self.submit.direction)
    }

    fn reply(self, data: &[u8], importer: &mut Importer) {
        let short = self.submit.flags & SHORT_NOT_OK != 0 && data.len() < self.submit.length as usize;
        importer.return_in(&self.submit, if short { errno::EREMOTEIO } else { 0 }, data);
    }

    fn ack(self, importer: &mut Importer) {
        let length = self.data.len();
        match self.submit.direction {
            Direction::Out => importer.return_out(&self.submit, 0, length, length),
            Direction::In => importer.return_in(&self.submit, 0, &[]),
        }
    }

    fn fail(self, status: i32, importer: &mut Importer) {
        return_bare(importer, &self.submit, status, self.data.len());
    }
}

impl Device {
    pub(super) fn new(busid: BusId, number: u8) -> Self {
        Self {
            busid,
            number,
            attached: None,
            importer: None,
            completions: VecDeque::new(),
            enabled: false,
            disable_due: false,
            enable_due: false,
            stale: false,
        }
    }

    pub(super) fn busid(&self) -> &BusId {
        &self.busid
    }

    pub(super) fn bus(&self) -> u16 {
        BUS
    }

    pub(super) fn number(&self) -> u8 {
        self.number
    }

    /// The device as clients are told of it, and the class, subclass and protocol of its interfaces; `None` while it is
    /// detached.
    pub(super) fn record(&self) -> Option<(wire::Device, Vec<[u8; 3]>)> {
        let set = &self.attached.as_ref()?.set;
        // Refused by `attach` if there were more than 250.
        let interfaces: Vec<_> =
            set.interfaces.iter().map(|it| [it.class, it.subclass, it.protocol]).collect();
        let device = wire::Device {
            path: format!("/sys/devices/virtual/inband/usb{BUS}/{}", self.busid),
            busid: self.busid.clone(),
            bus: BUS.into(),
            number: self.number.into(),
            speed: wire::SPEED_HIGH,
            vendor_id: set.vendor_id,
            product_id: set.product_id,
            device_version: set.device_version,
            class: [0; 3],
            configuration: CONFIGURATION_VALUE,
            configurations: 1,
            interfaces: interfaces.len() as u8,
        };
        Some((device, interfaces))
    }

    pub(super) fn importer(&self) -> Option<&Importer> {
        self.importer.as_ref()
    }

    pub(super) fn importer_mut(&mut self) -> Option<&mut Importer> {
        self.importer.as_mut()
    }

    // --- the client's side ---

    /// A client imports the attached device: to the device, it was plugged in.
    pub(super) fn import(&mut self, importer: Importer) {
        self.importer = Some(importer);
    }

    /// The client is gone: to the device, it was unplugged.
    pub(super) fn leave(&mut self) -> Option<Importer> {
        let importer = self.importer.take();
        self.disable();
        if let Some(attached) = &mut self.attached {
            attached.chapter9 = Chapter9::with_address(self.number);
            attached.control.clear();
            self.stale |= attached.current.take().is_some() && mem::take(&mut attached.delivered);
            for pipe in &mut attached.pipes {
                pipe.forget_urbs();
            }
        }
        importer
    }

    /// CMD_SUBMIT, with its data if it is OUT.
    pub(super) fn submit_urb(&mut self, submit: Submit, data: Vec<u8>) -> Result<(), TooManyUrbs> {
        let (Some(attached), Some(importer)) = (&mut self.attached, &mut self.importer) else {
            return Ok(());
        };
        if !importer.submitted(&submit, &data) {
            return Err(TooManyUrbs);
        }
        if submit.endpoint == 0 {
            attached.control.push_back(Control { submit, data });
            self.advance();
            return Ok(());
        }
        let configured = attached.chapter9.state() == State::Configured;
        match attached.pipes.iter_mut().find(|pipe| pipe.address() == submit.address()) {
            Some(pipe) if configured => {
                pipe.push_urb(submit, data);
                let halted = attached.chapter9.is_halted(pipe.address());
                pipe.pump(halted, importer, &mut self.completions);
            }
            // Nothing listens there.
            Some(_) | None => return_bare(importer, &submit, errno::EPROTO, data.len()),
        }
        Ok(())
    }

    /// CMD_UNLINK.
    pub(super) fn unlink_urb(&mut self, seqnum: u32, target: u32) {
        let (Some(attached), Some(importer)) = (&mut self.attached, &mut self.importer) else { return };
        let names = |control: &Control| control.submit.seqnum == target;
        let mut found = false;
        if let Some(current) = attached.current.take_if(|current| names(current)) {
            self.stale |= mem::take(&mut attached.delivered);
            importer.unlinked(&current.submit, current.data.len());
            found = true;
        } else if let Some(at) = attached.control.iter().position(names) {
            if let Some(control) = attached.control.remove(at) {
                importer.unlinked(&control.submit, control.data.len());
            }
            found = true;
        }
        found = found || attached.pipes.iter_mut().any(|pipe| pipe.unlink(target, importer));
        importer.return_unlink(seqnum, if found { errno::ECONNRESET } else { 0 });
        self.advance();
    }

    /// Goes on where the client's slow reading stopped it.
    pub(super) fn resume(&mut self) {
        let Some(attached) = &self.attached else { return };
        for at in 0..attached.pipes.len() {
            self.pump(at);
        }
    }

    fn pump(&mut self, at: usize) {
        if let (Some(attached), Some(importer)) = (&mut self.attached, &mut self.importer)
            && let Some(pipe) = attached.pipes.get_mut(at)
        {
            pipe.pump(attached.chapter9.is_halted(pipe.address()), importer, &mut self.completions);
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
            let (Some(attached), Some(importer)) = (&mut self.attached, &mut self.importer) else { return };
            if attached.current.is_some() {
                return;
            }
            let Some(control) = attached.control.pop_front() else { return };
            if !control.is_consistent() {
                control.fail(errno::EPROTO, importer);
                continue;
            }
            let setup = control.setup();
            let was_configured = attached.chapter9.state() == State::Configured;
            match attached.chapter9.handle(&attached.set, &setup) {
                Outcome::Reply(data) => control.reply(&data, importer),
                Outcome::Stall => control.fail(errno::EPIPE, importer),
                Outcome::ToFunction => {
                    attached.current = Some(control);
                    attached.delivered = false;
                }
                Outcome::Ack(effect) => {
                    control.ack(importer);
                    let reset = was_configured && setup.request == request::SET_CONFIGURATION;
                    self.apply(effect, reset);
                }
            }
        }
    }

    fn apply(&mut self, effect: Effect, reset: bool) {
        match effect {
            // The client's side has its own idea of addresses.
            Effect::None | Effect::Address(_) => {}
            Effect::Enable => {
                self.end_all();
                // A bus reset does not come over USB/IP, only the configuration that follows it: a second
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
        if let (Some(attached), Some(importer)) = (&mut self.attached, &mut self.importer) {
            for pipe in &mut attached.pipes {
                pipe.end_urbs(errno::ESHUTDOWN, importer);
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
    pub(super) fn attach(&mut self, set: &DescriptorSet) {
        self.attached = Some(Attached {
            pipes: set.endpoints().map(Pipe::new).collect(),
            set: set.clone(),
            chapter9: Chapter9::with_address(self.number),
            control: VecDeque::new(),
            current: None,
            delivered: false,
        });
    }

    /// Detaches; the client that had the device is returned, to be sent away.
    pub(super) fn detach(&mut self) -> Option<Importer> {
        let importer = self.leave();
        self.attached = None;
        importer
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
    fn answered(&mut self, control: Control, how: impl FnOnce(Control, &mut Importer)) {
        if let Some(importer) = &mut self.importer {
            how(control, importer);
        }
        self.advance();
    }

    fn misuse(&mut self, control: Control) -> ControlError {
        self.answered(control, |control, importer| control.fail(errno::EPIPE, importer));
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
        self.answered(control, |control, importer| control.reply(data, importer));
        Ok(())
    }

    /// As [`DeviceBackend::control_stall`](inband_usb::DeviceBackend::control_stall).
    pub fn control_stall(&mut self) -> Result<(), ControlError> {
        let control = self.answer()?;
        self.answered(control, |control, importer| control.fail(errno::EPIPE, importer));
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
