//! The kernel's USB, through nusb.

use std::{
    collections::VecDeque,
    future::{Future, IntoFuture},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, Wake, Waker},
    thread::{self, Thread, ThreadId},
    time::{Duration, Instant},
};

use inband_usb::{
    Direction, EndpointAddress, HostCompletion, HostDevice, HostError, HostTransfer, Recipient, RequestType,
    Setup, TransferId,
    descriptor::{parse_configuration, parse_device},
};
use nusb::{
    Device, DeviceId, DeviceInfo, Endpoint, Interface, MaybeFuture,
    transfer::{Buffer, Bulk, ControlIn, ControlOut, ControlType, In, Out, TransferError},
};

use super::{Bus, InterfaceClass, Opened, Place, Sighting, Strings, ended::Ended};
use crate::{
    disk::{Disk, Drive, Untaken},
    error::DeviceError,
    platform,
};

/// How long a control transfer may take that nobody gave a limit. nusb cannot cancel one, only let it run into its
/// own limit, so there always is one.
const CONTROL_LIMIT: Duration = Duration::from_secs(5);
/// How long a device that is let go of waits for its transfers to come back. The kernel gives cancelled ones back at once.
const RELEASE_LIMIT: Duration = Duration::from_secs(1);
/// How often a device with transfers in flight is looked for. usbfs says that a device is gone before it has given all transfers
/// back, and nusb 0.2.9 then listens no more: those would never end.
const LOOK_AGAIN: Duration = Duration::from_millis(250);
/// The same while a transfer that failed waits for whether the device leaves.
const LOOK_FOR_REASON: Duration = Duration::from_millis(25);
/// Control transfers given to the kernel at once.
const IN_FLIGHT: usize = 4;

/// The USB of this machine.
#[derive(Clone, Copy, Debug, Default)]
pub struct KernelBus;

impl Bus for KernelBus {
    fn list(&self) -> Result<Vec<Sighting>, HostError> {
        Ok(devices()?.iter().map(sighting).collect())
    }

    fn open(&self, place: &Place) -> Result<Opened, DeviceError> {
        let info = devices()?.into_iter().find(|info| place_of(info) == *place).ok_or(HostError::Gone)?;
        let device = info.open().wait().map_err(host_error)?;
        let configuration = match device.active_configuration() {
            Ok(configuration) => configuration.as_bytes().to_vec(),
            Err(error) => return Err(HostError::Other(error.to_string()).into()),
        };
        let descriptor = device.device_descriptor().as_bytes().to_vec();
        let strings = sighting(&info).strings;
        Ok(Opened {
            descriptor: parse_device(&descriptor)?,
            configuration: parse_configuration(&configuration)?,
            strings,
            device: Box::new(KernelDevice::new(device, info.id())),
        })
    }

    fn advice(&self, place: &Place, error: &HostError) -> Option<String> {
        let info = devices().ok()?.into_iter().find(|info| place_of(info) == *place)?;
        match error {
            HostError::Permission => Some(platform::permission_advice(info.vendor_id())),
            HostError::Busy => platform::holder(&info),
            HostError::Other(_) => platform::driver_advice(),
            _ => None,
        }
    }

    fn disks(&self) -> Result<Option<Vec<Disk>>, HostError> {
        platform::disks()
    }

    fn take_disk(&self, disk: &Disk) -> Result<Box<dyn Drive>, Untaken> {
        platform::take_disk(disk)
    }
}

fn devices() -> Result<Vec<DeviceInfo>, HostError> {
    match nusb::list_devices().wait() {
        Ok(devices) => Ok(devices.collect()),
        Err(error) => Err(host_error(error)),
    }
}

fn place_of(info: &DeviceInfo) -> Place {
    // Linux names buses 001, 002, ... here and 1, 2, ... everywhere a user sees them.
    let bus = info.bus_id().trim_start_matches('0');
    Place::Port { bus: if bus.is_empty() { "0" } else { bus }.to_owned(), ports: info.port_chain().to_vec() }
}

fn sighting(info: &DeviceInfo) -> Sighting {
    Sighting {
        place: place_of(info),
        vendor_id: info.vendor_id(),
        product_id: info.product_id(),
        device_version: info.device_version(),
        interfaces: info
            .interfaces()
            .map(|interface| InterfaceClass {
                number: interface.interface_number(),
                class: interface.class(),
                subclass: interface.subclass(),
                protocol: interface.protocol(),
            })
            .collect(),
        strings: Strings {
            manufacturer: info.manufacturer_string().map(str::to_owned),
            product: info.product_string().map(str::to_owned),
            serial: info.serial_number().map(str::to_owned),
        },
    }
}

fn host_error(error: nusb::Error) -> HostError {
    match error.kind() {
        nusb::ErrorKind::Disconnected => HostError::Gone,
        nusb::ErrorKind::Busy => HostError::Busy,
        nusb::ErrorKind::PermissionDenied => HostError::Permission,
        nusb::ErrorKind::NotFound => HostError::Misuse("no such interface or endpoint"),
        _ => HostError::Other(error.to_string()),
    }
}

fn transfer_error(error: TransferError) -> HostError {
    match error {
        TransferError::Cancelled => HostError::Cancelled,
        TransferError::Stall => HostError::Stall,
        TransferError::Disconnected => HostError::Gone,
        TransferError::InvalidArgument => {
            HostError::Misuse("the operating system does not take the transfer")
        }
        TransferError::Fault | TransferError::Unknown(_) => HostError::Other(error.to_string()),
    }
}

/// Wakes the thread that waits for completions.
struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

type InFlight = Pin<Box<dyn Future<Output = Result<Vec<u8>, TransferError>> + Send>>;

/// A control transfer that waits for its turn or runs.
struct Control {
    id: TransferId,
    setup: Setup,
    /// The data stage to the device; given back with the completion.
    data: Vec<u8>,
    limit: Duration,
    running: Option<Result<InFlight, HostError>>,
    cancelled: bool,
}

/// An opened bulk endpoint with the ids of what is queued on it, oldest first.
enum Pipe {
    Out(Endpoint<Bulk, Out>, VecDeque<TransferId>),
    In(Endpoint<Bulk, In>, VecDeque<TransferId>),
}

impl Pipe {
    fn address(&self) -> u8 {
        match self {
            Self::Out(endpoint, _) => endpoint.endpoint_address(),
            Self::In(endpoint, _) => endpoint.endpoint_address(),
        }
    }

    const fn queue(&self) -> &VecDeque<TransferId> {
        match self {
            Self::Out(_, queue) | Self::In(_, queue) => queue,
        }
    }

    const fn queue_mut(&mut self) -> &mut VecDeque<TransferId> {
        match self {
            Self::Out(_, queue) | Self::In(_, queue) => queue,
        }
    }

    /// Cancels everything that is queued.
    fn cancel(&mut self) {
        match self {
            Self::Out(endpoint, _) => endpoint.cancel_all(),
            Self::In(endpoint, _) => endpoint.cancel_all(),
        }
    }

    /// The oldest transfer if it has ended.
    fn poll(&mut self, context: &mut Context<'_>) -> Option<HostCompletion> {
        let (completion, id, is_in) = match self {
            Self::Out(endpoint, queue) => match (queue.front(), endpoint) {
                (Some(&id), endpoint) if endpoint.pending() > 0 => {
                    let Poll::Ready(completion) = endpoint.poll_next_complete(context) else { return None };
                    queue.pop_front();
                    (completion, id, false)
                }
                _ => return None,
            },
            Self::In(endpoint, queue) => match (queue.front(), endpoint) {
                (Some(&id), endpoint) if endpoint.pending() > 0 => {
                    let Poll::Ready(completion) = endpoint.poll_next_complete(context) else { return None };
                    queue.pop_front();
                    (completion, id, true)
                }
                _ => return None,
            },
        };
        let length = completion.actual_len;
        let mut data = completion.buffer.into_vec();
        if is_in {
            data.truncate(length);
        }
        Some(HostCompletion { id, data, length, result: completion.status.map_err(transfer_error) })
    }
}

/// A device the kernel has opened for us.
///
/// Limits that come from nusb and the kernel:
/// * A control transfer that runs cannot be cancelled, only waited for until its limit; its completion is then
///   [`HostError::Cancelled`]. This is so as well when the device is let go of: what the next one to open it asks for waits
///   its turn.
/// * Cancelling a bulk transfer cancels all that are queued on its endpoint.
/// * [`claim`](HostDevice::claim), [`clear_halt`](HostDevice::clear_halt), [`reset`](HostDevice::reset), and cancelling wait in the
///   kernel for its host controller. With a device behind `vhci_hcd` that is the USB/IP server, which another thread or
///   process has to serve meanwhile.
/// * A transfer that fails as on a bad line is told half a second later, with what ended after it, or sooner if the device is gone.
/// * What a control transfer had moved when it failed is not told: its completion has length 0.
/// * Bulk transfers that were in flight when the device left come back without their buffers.
/// * After a reset nusb wants the device to be opened again.
struct KernelDevice {
    device: Device,
    /// What the system calls this device until it leaves.
    id: DeviceId,
    interfaces: Vec<Interface>,
    pipes: Vec<Pipe>,
    controls: VecDeque<Control>,
    ended: Ended,
    next_id: u64,
    gone: bool,
    /// When the device was last seen to be there.
    seen: Instant,
    start: Instant,
    /// The thread that looked last, and its waker.
    waker: Option<(ThreadId, Waker)>,
}

impl KernelDevice {
    fn new(device: Device, id: DeviceId) -> Self {
        let now = Instant::now();
        Self {
            device,
            id,
            interfaces: Vec::new(),
            pipes: Vec::new(),
            controls: VecDeque::new(),
            ended: Ended::default(),
            next_id: 0,
            gone: false,
            seen: now,
            start: now,
            waker: None,
        }
    }

    fn new_id(&mut self) -> TransferId {
        self.next_id += 1;
        TransferId(self.next_id)
    }

    /// The claimed interface a control request goes through (Windows knows no other way).
    fn interface_for(&self, setup: Setup) -> Result<&Interface, HostError> {
        let wanted = match setup.recipient() {
            Recipient::Interface => self
                .interfaces
                .iter()
                .find(|interface| u16::from(interface.interface_number()) == setup.index & 0xff),
            Recipient::Device | Recipient::Endpoint | Recipient::Other | Recipient::Reserved(_) => {
                self.interfaces.first()
            }
        };
        wanted.ok_or(HostError::Misuse("claim the interface before a control request"))
    }

    fn start_control(&self, setup: Setup, data: &[u8], limit: Duration) -> Result<InFlight, HostError> {
        let interface = self.interface_for(setup)?;
        let control_type = match setup.kind() {
            RequestType::Standard => ControlType::Standard,
            RequestType::Class => ControlType::Class,
            RequestType::Vendor => ControlType::Vendor,
            RequestType::Reserved => return Err(HostError::Misuse("a request of the reserved type")),
        };
        let recipient = match setup.recipient() {
            Recipient::Device => nusb::transfer::Recipient::Device,
            Recipient::Interface => nusb::transfer::Recipient::Interface,
            Recipient::Endpoint => nusb::transfer::Recipient::Endpoint,
            Recipient::Other => nusb::transfer::Recipient::Other,
            Recipient::Reserved(_) => return Err(HostError::Misuse("a request to a reserved recipient")),
        };
        let Setup { request, value, index, length, .. } = setup;
        Ok(match setup.direction() {
            Direction::In => {
                let control = ControlIn { control_type, recipient, request, value, index, length };
                Box::pin(interface.control_in(control, limit).into_future())
            }
            Direction::Out => {
                let control = ControlOut { control_type, recipient, request, value, index, data };
                Box::pin(interface.control_out(control, limit).map_ok(|()| Vec::new()).into_future())
            }
        })
    }

    fn queue_control(
        &mut self,
        setup: Setup,
        data: Vec<u8>,
        limit: Duration,
    ) -> Result<TransferId, HostError> {
        self.interface_for(setup)?;
        let id = self.new_id();
        self.controls.push_back(Control { id, setup, data, limit, running: None, cancelled: false });
        self.start_controls();
        Ok(id)
    }

    fn submit_within(&mut self, transfer: HostTransfer, limit: Duration) -> Result<TransferId, HostError> {
        self.present()?;
        match transfer {
            HostTransfer::ControlOut { setup, data } => {
                if usize::from(setup.length) != data.len() {
                    return Err(HostError::Misuse("wLength is not the length of the data"));
                }
                if setup.direction() == Direction::In && !data.is_empty() {
                    return Err(HostError::Misuse("data to the device in an IN request"));
                }
                self.queue_control(setup, data, limit)
            }
            HostTransfer::ControlIn { setup } => {
                if setup.direction() == Direction::Out {
                    return Err(HostError::Misuse("an answer expected from an OUT request"));
                }
                self.queue_control(setup, Vec::new(), limit)
            }
            HostTransfer::BulkOut { endpoint, data } => {
                let id = self.new_id();
                match self.pipe(endpoint)? {
                    Pipe::Out(endpoint, queue) => {
                        endpoint.submit(Buffer::from(data));
                        queue.push_back(id);
                        Ok(id)
                    }
                    Pipe::In(..) => Err(HostError::Misuse("data to an IN endpoint")),
                }
            }
            HostTransfer::BulkIn { endpoint, length } => {
                let id = self.new_id();
                match self.pipe(endpoint)? {
                    Pipe::In(endpoint, queue) => {
                        if length == 0 || length % endpoint.max_packet_size() != 0 {
                            return Err(HostError::Misuse("a length that is no multiple of wMaxPacketSize"));
                        }
                        endpoint.submit(Buffer::new(length));
                        queue.push_back(id);
                        Ok(id)
                    }
                    Pipe::Out(..) => Err(HostError::Misuse("data from an OUT endpoint")),
                }
            }
        }
    }

    /// The pipe of an endpoint, opened on its first use.
    fn pipe(&mut self, address: EndpointAddress) -> Result<&mut Pipe, HostError> {
        let known = self.pipes.iter().position(|pipe| pipe.address() == address.0);
        let position = match known {
            Some(position) => position,
            None => {
                let opened = self.interfaces.iter().find_map(|interface| match address.direction() {
                    Direction::Out => Some(Pipe::Out(interface.endpoint(address.0).ok()?, VecDeque::new())),
                    Direction::In => Some(Pipe::In(interface.endpoint(address.0).ok()?, VecDeque::new())),
                });
                let Some(pipe) = opened else {
                    // Which endpoints there are nusb reads from the system, and of a device that has left there is nothing to read.
                    self.look();
                    self.present()?;
                    return Err(HostError::Misuse("no such bulk endpoint in a claimed interface"));
                };
                self.pipes.push(pipe);
                self.pipes.len() - 1
            }
        };
        Ok(&mut self.pipes[position])
    }

    /// Starts what can start and collects what has ended; with a device that is gone, that is everything. Returns the time: it is
    /// read once at each turn, for on some machines that is a system call.
    fn pump(&mut self) -> Instant {
        let now = Instant::now();
        self.collect(now);
        let unseen = now.saturating_duration_since(self.seen);
        if unseen >= self.look_again() && (self.is_waited_for() || self.ended.is_held()) {
            self.look();
        }
        if self.gone {
            self.end_all(now);
        }
        now
    }

    /// How long the device counts as there when it was seen.
    fn look_again(&self) -> Duration {
        if self.ended.is_held() { LOOK_FOR_REASON } else { LOOK_AGAIN }
    }

    /// Looks whether the device is still there.
    fn look(&mut self) {
        self.seen = Instant::now();
        // A list that cannot be had says nothing.
        self.gone |= devices().is_ok_and(|devices| devices.iter().all(|info| info.id() != self.id));
    }

    /// Nothing in flight comes back any more, or need be waited for.
    fn end_all(&mut self, now: Instant) {
        while let Some(control) = self.controls.pop_front() {
            self.end_control(control, Err(HostError::Gone), now);
        }
        for id in self.pipes.iter_mut().flat_map(|pipe| pipe.queue_mut().drain(..)) {
            let result = Err(HostError::Gone);
            self.ended.push(HostCompletion { id, data: Vec::new(), length: 0, result }, now);
        }
    }

    fn is_waited_for(&self) -> bool {
        !self.controls.is_empty() || self.pipes.iter().any(|pipe| !pipe.queue().is_empty())
    }

    /// Gives the kernel several at once, which makes them one after the other: between two of them nobody then waits for a turn of ours.
    fn start_controls(&mut self) {
        for number in 0..self.controls.len().min(IN_FLIGHT) {
            let control = &self.controls[number];
            if control.running.is_none() && !control.cancelled {
                let started = self.start_control(control.setup, &control.data, control.limit);
                self.controls[number].running = Some(started);
            }
        }
    }

    /// What wakes the present thread.
    fn waker(&mut self) -> Waker {
        let thread = thread::current();
        match &self.waker {
            Some((id, waker)) if *id == thread.id() => waker.clone(),
            _ => {
                let id = thread.id();
                self.waker.insert((id, Waker::from(Arc::new(Unpark(thread))))).1.clone()
            }
        }
    }

    fn collect(&mut self, now: Instant) {
        let waker = self.waker();
        let mut context = Context::from_waker(&waker);
        loop {
            self.start_controls();
            let Some(mut control) = self.controls.pop_front() else { break };
            let result = match control.running.take() {
                Some(Ok(mut flight)) => match flight.as_mut().poll(&mut context) {
                    Poll::Ready(result) => result.map_err(transfer_error),
                    Poll::Pending => {
                        control.running = Some(Ok(flight));
                        self.controls.push_front(control);
                        break;
                    }
                },
                Some(Err(error)) => Err(error),
                None => Err(HostError::Cancelled),
            };
            self.end_control(control, result, now);
        }
        for pipe in &mut self.pipes {
            while let Some(completion) = pipe.poll(&mut context) {
                self.gone |= completion.result == Err(HostError::Gone);
                self.ended.push(completion, now);
            }
        }
    }

    /// Gives up every control transfer, cancels every bulk transfer, and waits until these have come back, though not for
    /// ever.
    fn give_up(&mut self) {
        let now = self.pump();
        while let Some(control) = self.controls.pop_front() {
            self.end_control(control, Err(HostError::Cancelled), now);
        }
        for pipe in &mut self.pipes {
            pipe.cancel();
        }
        let deadline = Instant::now() + RELEASE_LIMIT;
        self.pump();
        while self.is_waited_for() {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            thread::park_timeout(left);
            self.pump();
        }
    }

    /// What is said of a call that the kernel answered.
    fn called<T>(&mut self, result: Result<T, nusb::Error>) -> Result<T, HostError> {
        result.map_err(host_error).inspect_err(|error| self.gone |= *error == HostError::Gone)
    }

    const fn present(&self) -> Result<(), HostError> {
        if self.gone { Err(HostError::Gone) } else { Ok(()) }
    }

    fn end_control(&mut self, control: Control, result: Result<Vec<u8>, HostError>, now: Instant) {
        let is_in = control.setup.direction() == Direction::In;
        match result {
            Err(HostError::Gone) => self.gone = true,
            // It answers, so it is there: to look for it costs reading all of sysfs.
            Ok(_) | Err(HostError::Stall) => self.seen = now,
            Err(_) => {}
        }
        let completion = match result {
            Ok(data) if is_in => HostCompletion { id: control.id, length: data.len(), data, result: Ok(()) },
            Ok(_) => HostCompletion {
                id: control.id,
                length: control.data.len(),
                data: control.data,
                result: Ok(()),
            },
            Err(error) => {
                HostCompletion { id: control.id, length: 0, data: control.data, result: Err(error) }
            }
        };
        self.ended.push(completion, now);
    }
}

impl HostDevice for KernelDevice {
    fn submit(&mut self, transfer: HostTransfer) -> Result<TransferId, HostError> {
        self.submit_within(transfer, CONTROL_LIMIT)
    }

    fn poll(&mut self) -> Option<HostCompletion> {
        let now = self.pump();
        self.ended.pop(now, self.gone)
    }

    fn cancel(&mut self, id: TransferId) {
        if let Some(control) = self.controls.iter_mut().find(|control| control.id == id) {
            control.cancelled = true;
        }
        for pipe in &mut self.pipes {
            if pipe.queue().contains(&id) {
                pipe.cancel();
            }
        }
    }

    fn claim(&mut self, interface: u8) -> Result<(), HostError> {
        self.present()?;
        if self.interfaces.iter().any(|claimed| claimed.interface_number() == interface) {
            return Ok(());
        }
        // No kernel driver binds to FE/01. One that holds the interface nevertheless was put there by somebody and is
        // not pushed aside. A fresh claim is at alternate setting 0: the kernel sees to it when it releases one.
        let claimed = self.device.claim_interface(interface).wait();
        let claimed = self.called(claimed)?;
        self.interfaces.push(claimed);
        Ok(())
    }

    fn clear_halt(&mut self, endpoint: EndpointAddress) -> Result<(), HostError> {
        self.present()?;
        self.pump();
        let pipe = self.pipe(endpoint)?;
        if !pipe.queue().is_empty() {
            return Err(HostError::Misuse("transfers are in flight on the endpoint"));
        }
        let cleared = match pipe {
            Pipe::Out(endpoint, _) => endpoint.clear_halt().wait(),
            Pipe::In(endpoint, _) => endpoint.clear_halt().wait(),
        };
        self.called(cleared)
    }

    fn reset(&mut self) -> Result<(), HostError> {
        self.present()?;
        // The kernel would end them as if the device were gone.
        self.give_up();
        let done = self.device.reset().wait();
        self.called(done)
    }

    fn wait(&mut self, limit: Duration) {
        let now = self.pump();
        let told = match self.ended.due(now) {
            Some(_) if self.gone => Duration::ZERO,
            Some(due) => due.saturating_duration_since(now),
            None => limit,
        };
        let most = limit.min(told).min(self.look_again());
        if !most.is_zero() {
            thread::park_timeout(most);
        }
    }

    fn now(&self) -> Duration {
        self.start.elapsed()
    }

    // As provided, but with the caller's limit as nusb's own, which may be longer than the one there is otherwise.
    fn run(&mut self, transfer: HostTransfer, timeout: Duration) -> Result<HostCompletion, HostError> {
        let id = self.submit_within(transfer, timeout)?;
        self.finish(id, timeout)
    }
}

impl Drop for KernelDevice {
    fn drop(&mut self) {
        // An interface stays claimed as long as transfers are in flight, and whoever opens the device next finds it busy.
        self.give_up();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_machine_without_usb_has_no_devices_or_says_why() {
        // In a container there is no usbfs at all; that must be an answer, not a panic.
        match KernelBus.list() {
            Ok(_) => {}
            Err(error) => assert!(!error.to_string().is_empty()),
        }
        let nowhere = Place::Port { bus: "250".into(), ports: vec![250] };
        assert!(KernelBus.open(&nowhere).is_err());
    }

    #[test]
    fn every_error_of_a_transfer_keeps_its_meaning() {
        assert_eq!(transfer_error(TransferError::Stall), HostError::Stall);
        assert_eq!(transfer_error(TransferError::Cancelled), HostError::Cancelled);
        assert_eq!(transfer_error(TransferError::Disconnected), HostError::Gone);
    }
}
