//! A DFU device that takes every file for good and throws it away, to measure against: the same answers over the same backend, and
//! none of the work of an update.
//!
//! ```text
//! sink gadget
//! sink usbip:127.0.0.1:3240
//! ```

use std::{
    env,
    error::Error,
    task::Poll,
    time::{Duration, Instant},
};

use inband_dfu::{
    descriptors::{self, Identity},
    device::{Answer, Device, Event, Manifestation},
    table::Mode,
    wire::TRANSFER_SIZE,
};
use inband_gadget::{Gadget, Options};
use inband_usb::{DeviceBackend, DeviceEvent, Setup};
use inband_virtual::usbip::Server;

/// The longest wait; nothing depends on it.
const LONGEST_WAIT: Duration = Duration::from_secs(10);

fn main() -> Result<(), Box<dyn Error>> {
    let usb = env::args().nth(1).unwrap_or_default();
    if let Some(address) = usb.strip_prefix("usbip:") {
        let server = Server::bind(address.parse()?)?;
        let port = server.port("1-1")?;
        return Ok(Sink::new(port).serve(|limit| server.wait(limit))?);
    }
    if usb != "gadget" {
        return Err("usage: sink gadget|usbip:ADDRESS".into());
    }
    let mut gadget = Gadget::open(Options::default())?;
    gadget.prepare(&descriptors::runtime(&identity()))?;
    gadget.prepare(&descriptors::dfu_mode(&identity()))?;
    let waiter = gadget.waiter();
    Ok(Sink::new(gadget).serve(|limit| _ = waiter.wait(limit))?)
}

fn identity() -> Identity {
    Identity {
        vendor_id: 0x1209,
        runtime_product_id: 1,
        dfu_product_id: 2,
        runtime_version: 0x0100,
        dfu_version: 0x0100,
        manufacturer: "Inband".into(),
        product: "Sink".into(),
        serial: "SINK".into(),
        interface_name: "bmc".into(),
    }
}

struct Sink<B> {
    backend: B,
    dfu: Device,
    start: Instant,
    /// Length of a data stage that is not there yet.
    receiving: Option<usize>,
    buffer: [u8; TRANSFER_SIZE as usize],
}

impl<B: DeviceBackend> Sink<B> {
    fn new(backend: B) -> Self {
        Self {
            backend,
            dfu: Device::new(Mode::Lenient),
            start: Instant::now(),
            receiving: None,
            buffer: [0; TRANSFER_SIZE as usize],
        }
    }

    fn serve(mut self, wait: impl Fn(Duration)) -> Result<(), B::Error> {
        self.backend.attach(&descriptors::runtime(&identity()))?;
        loop {
            self.dfu.handle_timeout(self.start.elapsed());
            while self.act()? | self.handle_usb()? {}
            let due = self.dfu.poll_timeout().map(|due| due.saturating_sub(self.start.elapsed()));
            wait(due.unwrap_or(LONGEST_WAIT));
        }
    }

    /// One event of the bus. Returns whether there was one.
    fn handle_usb(&mut self) -> Result<bool, B::Error> {
        if let Some(length) = self.receiving.take() {
            return Ok(self.receive(length));
        }
        let Some(event) = self.backend.poll_event()? else { return Ok(false) };
        let now = self.start.elapsed();
        match event {
            DeviceEvent::Enable => self.dfu.handle_enable(now),
            DeviceEvent::Disable => self.dfu.handle_disable(now),
            DeviceEvent::Setup(setup) => self.handle_setup(now, &setup),
            DeviceEvent::Suspend | DeviceEvent::Resume | DeviceEvent::Complete(_) => {}
        }
        Ok(true)
    }

    fn handle_setup(&mut self, now: Duration, setup: &Setup) {
        // An answer to a request that the host took back goes nowhere, and the next event says what came instead.
        match self.dfu.handle_setup(now, setup) {
            Answer::Stall => _ = self.backend.control_stall(),
            Answer::Reply { bytes, length } => _ = self.backend.control_write(&bytes[..length]),
            Answer::Receive { length } => _ = self.receive(length),
            Answer::Acknowledge => _ = self.receive(0),
        }
    }

    /// Reads a data stage. Returns whether it was there.
    fn receive(&mut self, length: usize) -> bool {
        match self.backend.control_read(&mut self.buffer[..length]) {
            Poll::Pending => {
                self.receiving = Some(length);
                false
            }
            Poll::Ready(Ok(length)) => {
                self.dfu.handle_data(self.start.elapsed(), length);
                true
            }
            Poll::Ready(Err(_)) => {
                self.dfu.handle_cancelled();
                true
            }
        }
    }

    /// What the DFU device wants done. Returns whether there was anything.
    fn act(&mut self) -> Result<bool, B::Error> {
        let mut busy = false;
        while let Some(event) = self.dfu.poll_event() {
            busy = true;
            let now = self.start.elapsed();
            match event {
                Event::Detach => {
                    self.leave_bus()?;
                    self.dfu.enter_dfu_mode(now);
                    self.backend.attach(&descriptors::dfu_mode(&identity()))?;
                }
                Event::Leave => {
                    self.leave_bus()?;
                    self.dfu.enter_runtime(now);
                    self.backend.attach(&descriptors::runtime(&identity()))?;
                }
                // Whatever came may be all of it.
                Event::BlockReceived { .. } => self.dfu.set_complete(true),
                Event::EndOfData => self.dfu.set_manifestation(now, Manifestation::Done),
                Event::Begin | Event::Aborted(_) => {}
            }
        }
        Ok(busy)
    }

    /// Leaves the bus and forgets what came from it.
    fn leave_bus(&mut self) -> Result<(), B::Error> {
        self.receiving = None;
        self.backend.detach()?;
        while self.backend.poll_event()?.is_some() {}
        Ok(())
    }
}
