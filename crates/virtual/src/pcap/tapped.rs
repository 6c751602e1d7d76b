use std::{
    collections::BTreeMap,
    fmt,
    io::{self, Write},
    time::Duration,
};

use inband_usb::{EndpointAddress, HostCompletion, HostDevice, HostError, HostTransfer, Setup, TransferId};

use super::{Recorder, Urb};
use crate::errno;

/// A host device whose transfers are recorded, with the device's own clock.
///
/// Recording never changes what the device does: when the sink fails, it ends, once with a warning in the log.
/// Requests a device makes by itself, such as those of [`claim`](HostDevice::claim), are not seen here.
pub struct Tapped<H, W: Write> {
    device: H,
    recorder: Option<Recorder<W>>,
    in_flight: BTreeMap<TransferId, Urb>,
}

impl<H: HostDevice, W: Write> Tapped<H, W> {
    /// Records from now on.
    pub fn new(device: H, sink: W) -> io::Result<Self> {
        Ok(Self { device, recorder: Some(Recorder::new(sink)?), in_flight: BTreeMap::new() })
    }

    /// The device and, if it still works, the sink's recorder.
    pub fn into_parts(self) -> (H, Option<Recorder<W>>) {
        (self.device, self.recorder)
    }

    /// The device.
    pub fn device(&mut self) -> &mut H {
        &mut self.device
    }

    fn record(&mut self, write: impl FnOnce(&mut Recorder<W>) -> io::Result<()>) {
        if let Some(recorder) = &mut self.recorder
            && let Err(error) = write(recorder)
        {
            log::warn!("the USB recording ends here: {error}");
            self.recorder = None;
        }
    }
}

/// What a record says of a transfer about to be submitted.
struct Shape {
    endpoint: EndpointAddress,
    setup: [u8; 8],
    length: u32,
    data: Vec<u8>,
}

impl Shape {
    fn of(transfer: &HostTransfer) -> Self {
        let bounded = |length: usize| u32::try_from(length).unwrap_or(u32::MAX);
        let control = |endpoint: u8, setup: &Setup, data: &[u8]| Self {
            endpoint: EndpointAddress(endpoint),
            setup: setup.to_bytes(),
            length: setup.length.into(),
            data: data.to_vec(),
        };
        match transfer {
            HostTransfer::ControlOut { setup, data } => control(0x00, setup, data),
            HostTransfer::ControlIn { setup } => control(0x80, setup, &[]),
            HostTransfer::BulkOut { endpoint, data } => {
                Self { endpoint: *endpoint, setup: [0; 8], length: bounded(data.len()), data: data.clone() }
            }
            HostTransfer::BulkIn { endpoint, length } => {
                Self { endpoint: *endpoint, setup: [0; 8], length: bounded(*length), data: Vec::new() }
            }
        }
    }
}

impl<H: HostDevice, W: Write> HostDevice for Tapped<H, W> {
    fn submit(&mut self, transfer: HostTransfer) -> Result<TransferId, HostError> {
        let shape = Shape::of(&transfer);
        let id = self.device.submit(transfer)?;
        let urb = Urb { id: id.0, bus: 1, device: 1, endpoint: shape.endpoint };
        self.in_flight.insert(id, urb);
        let now = self.device.now();
        self.record(|recorder| recorder.submitted(now, urb, shape.setup, shape.length, &shape.data));
        Ok(id)
    }

    fn poll(&mut self) -> Option<HostCompletion> {
        let completion = self.device.poll()?;
        if let Some(urb) = self.in_flight.remove(&completion.id) {
            let status = match &completion.result {
                Ok(()) => 0,
                Err(HostError::Stall) => errno::EPIPE,
                Err(HostError::Cancelled) => errno::ECONNRESET,
                Err(HostError::Gone) => errno::ENODEV,
                Err(HostError::Overflow) => errno::EOVERFLOW,
                Err(HostError::Busy | HostError::Permission | HostError::Misuse(_) | HostError::Other(_)) => {
                    errno::EPROTO
                }
            };
            let length = u32::try_from(completion.length).unwrap_or(u32::MAX);
            let data: &[u8] = match urb.endpoint.direction() {
                inband_usb::Direction::In => &completion.data,
                inband_usb::Direction::Out => &[],
            };
            let now = self.device.now();
            self.record(|recorder| recorder.completed(now, urb, status, length, data));
        }
        Some(completion)
    }

    fn cancel(&mut self, id: TransferId) {
        self.device.cancel(id);
    }

    fn claim(&mut self, interface: u8) -> Result<(), HostError> {
        self.device.claim(interface)
    }

    fn clear_halt(&mut self, endpoint: EndpointAddress) -> Result<(), HostError> {
        self.device.clear_halt(endpoint)
    }

    fn reset(&mut self) -> Result<(), HostError> {
        self.device.reset()
    }

    fn wait(&mut self, limit: Duration) {
        self.device.wait(limit);
    }

    fn now(&self) -> Duration {
        self.device.now()
    }
}

impl<H: fmt::Debug, W: Write> fmt::Debug for Tapped<H, W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tapped").field("device", &self.device).finish_non_exhaustive()
    }
}
