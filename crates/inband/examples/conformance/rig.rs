//! The kernel's side and ours.

use std::{
    env, fs,
    thread::{self, JoinHandle},
    time::Duration,
};

use inband::usb::{Bus as _, KernelBus, Place};
use inband_usb::{
    DescriptorSet, DeviceBackend as _, HostDevice,
    conformance::{Rig, scenarios},
};
use inband_virtual::usbip::{
    Port, Server, ServerError,
    attach::{AttachError, attach},
};

use crate::attempt::attempt;

/// Between two turns of the server.
const TURN: Duration = Duration::from_micros(500);
/// Calls of [`Rig::open`], about a millisecond apart, in which a device has to show up before it is attached once more.
const PATIENCE: u32 = 3000;

/// How far [`Rig::open`] has come.
enum Stage {
    /// Nothing is known: the port may have been attached anew, or have the connection it had.
    Unknown,
    /// The kernel is being given the device.
    Attaching(JoinHandle<Result<u32, AttachError>>),
    /// The kernel has it: for so many calls.
    Attached(u32),
}

struct Kernel {
    port: Port,
    stage: Stage,
    /// The port of `vhci_hcd` it was on.
    last: Option<u32>,
    /// The address on the bus of the device opened last.
    opened: Option<String>,
    /// The address of a device that has left, which the kernel may show a moment longer.
    stale: Option<String>,
}

impl Kernel {
    fn attach(&self) -> Stage {
        let (server, busid, last) = (self.port.server().address(), self.port.busid().clone(), self.last);
        Stage::Attaching(thread::spawn(move || attach(server, &busid, last)))
    }
}

/// The address on the bus of what is at a place now.
fn address(place: &Place) -> Option<String> {
    let name = place.to_string();
    let name = name.strip_prefix("usb:")?;
    fs::read_to_string(format!("/sys/bus/usb/devices/{name}/devnum")).ok()
}

impl Rig for Kernel {
    type Device = Port;
    type Host = Box<dyn HostDevice>;

    // nusb cancels everything on an endpoint.
    const CANCELS_ONE: bool = false;

    fn device(&mut self) -> &mut Port {
        &mut self.port
    }

    fn open(&mut self, descriptors: &DescriptorSet) -> Option<Self::Host> {
        self.stage = match std::mem::replace(&mut self.stage, Stage::Unknown) {
            Stage::Unknown => self.attach(),
            Stage::Attaching(thread) if !thread.is_finished() => Stage::Attaching(thread),
            Stage::Attaching(thread) => match thread.join() {
                Ok(Ok(port)) => {
                    self.last = Some(port);
                    self.stale = self.opened.take();
                    Stage::Attached(0)
                }
                // The kernel has it already; or the connection failed, and patience will end.
                Ok(Err(AttachError::Client(_))) => Stage::Attached(0),
                Ok(Err(error)) => {
                    println!("attaching: {error}");
                    Stage::Unknown
                }
                Err(_) => Stage::Unknown,
            },
            Stage::Attached(PATIENCE) => Stage::Unknown,
            Stage::Attached(calls) => Stage::Attached(calls + 1),
        };
        let Stage::Attached(_) = self.stage else { return None };
        let wanted = (descriptors.vendor_id, descriptors.product_id);
        // The root hub has the same vendor id and others.
        let mut places = KernelBus.list().ok()?.into_iter();
        let place = places.find(|it| (it.vendor_id, it.product_id) == wanted)?.place;
        let address = address(&place).filter(|address| Some(address) != self.stale.as_ref())?;
        let opened = KernelBus.open(&place).ok()?;
        self.opened = Some(address);
        self.stage = Stage::Unknown;
        Some(opened.device)
    }

    fn idle(&mut self) {
        thread::sleep(Duration::from_millis(1));
    }
}

/// Runs every scenario by itself, or those that the command line names; whether all passed.
pub(super) fn run() -> Result<bool, ServerError> {
    let server = Server::bind(([127, 0, 0, 1], 0).into())?;
    let port = server.port("1-1")?;
    // The kernel waits for its controller in calls of the host's; the sockets are served meanwhile.
    thread::spawn(move || {
        loop {
            server.wait(Duration::from_secs(1));
            // A port with an event that the function has not polled makes the wait end at once.
            thread::sleep(TURN);
        }
    });
    let mut rig = Kernel { port, stage: Stage::Unknown, last: None, opened: None, stale: None };
    let mut passed = true;
    let wanted = env::args().skip(1).collect::<Vec<_>>();
    for (name, scenario) in scenarios() {
        if !wanted.is_empty() && !wanted.iter().any(|wanted| wanted == name) {
            continue;
        }
        match attempt(|| scenario(&mut rig)) {
            Ok(()) => println!("ok {name}"),
            Err(why) => {
                passed = false;
                println!("failed {name} {why}");
                // The next scenario finds the port as the first did.
                rig.port.detach()?;
                rig.stage = Stage::Unknown;
                while let Some(event) = rig.port.poll_event()? {
                    println!("left over: {event:?}");
                }
            }
        }
    }
    Ok(passed)
}
