//! The controller's side and the host's, of one kernel.

use std::{
    env, fs,
    task::Poll,
    thread,
    time::{Duration, Instant},
};

use inband::usb::{Bus as _, KernelBus, Place};
use inband_gadget::{Gadget, GadgetError, Options};
use inband_usb::{
    ControlError, DescriptorSet, DeviceBackend, DeviceEvent, EndpointAddress, HostDevice, SubmitError,
    conformance::{Rig, scenarios},
};

use crate::attempt::attempt;

/// The gadget, and what the host had opened when it left the bus: the kernel may show that a moment longer.
struct Device {
    gadget: Gadget,
    /// The address on the bus of the device opened last.
    opened: Option<String>,
    stale: Option<String>,
}

impl Device {
    fn leaves(&mut self) {
        self.stale = self.opened.take().or(self.stale.take());
    }
}

impl DeviceBackend for Device {
    type Error = GadgetError;

    fn attach(&mut self, descriptors: &DescriptorSet) -> Result<(), GadgetError> {
        self.leaves();
        self.gadget.attach(descriptors)
    }

    fn detach(&mut self) -> Result<(), GadgetError> {
        self.leaves();
        self.gadget.detach()
    }

    fn poll_event(&mut self) -> Result<Option<DeviceEvent>, GadgetError> {
        self.gadget.poll_event()
    }

    fn control_read(&mut self, buffer: &mut [u8]) -> Poll<Result<usize, ControlError>> {
        self.gadget.control_read(buffer)
    }

    fn control_write(&mut self, data: &[u8]) -> Result<(), ControlError> {
        self.gadget.control_write(data)
    }

    fn control_stall(&mut self) -> Result<(), ControlError> {
        self.gadget.control_stall()
    }

    fn submit(&mut self, endpoint: EndpointAddress, buffer: Vec<u8>) -> Result<(), SubmitError> {
        self.gadget.submit(endpoint, buffer)
    }

    fn cancel(&mut self, endpoint: EndpointAddress) {
        self.gadget.cancel(endpoint);
    }

    fn set_halt(&mut self, endpoint: EndpointAddress) {
        self.gadget.set_halt(endpoint);
    }
}

struct Loop {
    device: Device,
}

/// The address on the bus of what is at a place now.
fn address(place: &Place) -> Option<String> {
    let name = place.to_string();
    let name = name.strip_prefix("usb:")?;
    fs::read_to_string(format!("/sys/bus/usb/devices/{name}/devnum")).ok()
}

impl Rig for Loop {
    type Device = Device;
    type Host = Box<dyn HostDevice>;

    // nusb cancels everything on an endpoint.
    const CANCELS_ONE: bool = false;

    fn shows_class_descriptors(&mut self) -> bool {
        self.device.gadget.probe().dfu_descriptor != Some(false)
    }

    fn device(&mut self) -> &mut Device {
        &mut self.device
    }

    fn open(&mut self, descriptors: &DescriptorSet) -> Option<Self::Host> {
        let wanted = (descriptors.vendor_id, descriptors.product_id);
        // The root hub has the same vendor id and others.
        let mut places = KernelBus.list().ok()?.into_iter();
        let place = places.find(|it| (it.vendor_id, it.product_id) == wanted)?.place;
        let address = address(&place).filter(|address| Some(address) != self.device.stale.as_ref())?;
        let opened = KernelBus.open(&place).ok()?;
        self.device.opened = Some(address);
        Some(opened.device)
    }

    fn idle(&mut self) {
        thread::sleep(Duration::from_millis(1));
    }
}

/// Runs every scenario by itself, or those that the command line names; whether all passed.
pub(super) fn run() -> Result<bool, GadgetError> {
    let gadget = Gadget::open(Options::default())?;
    println!("{}", gadget.probe());
    let mut rig = Loop { device: Device { gadget, opened: None, stale: None } };
    let mut passed = true;
    let wanted = env::args().skip(1).collect::<Vec<_>>();
    for (name, scenario) in scenarios() {
        if !wanted.is_empty() && !wanted.iter().any(|wanted| wanted == name) {
            continue;
        }
        let start = Instant::now();
        match attempt(|| scenario(&mut rig)) {
            Ok(()) => println!("ok {name} {} ms", start.elapsed().as_millis()),
            Err(why) => {
                passed = false;
                println!("failed {name} {why}");
                // The next scenario finds the gadget as the first did.
                rig.device.detach()?;
                while let Some(event) = rig.device.poll_event()? {
                    println!("left over: {event:?}");
                }
            }
        }
    }
    println!("{}", rig.device.gadget.probe());
    Ok(passed)
}
