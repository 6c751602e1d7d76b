//! The tester of `inband_volume::conformance` at this disk: on a bus in memory, and over sockets by USB/IP. The kernel's part is a guest's.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use inband_usb::{DeviceBackend, HostDevice};
use inband_virtual::{
    memory::MemoryHost,
    usbip::{self, BusId, Client, Server},
};
use inband_volume::{
    bot::{Halts, Limits},
    conformance::{Bench, Opened, Outcome, hostile, run_cases, run_faults},
};

use crate::bus::{IN, OUT, Rig, Shell};

/// What happens to the device in the middle of a command.
#[derive(Clone, Copy, Debug)]
enum Way {
    Unplug,
    Reset,
    /// The host is gone, as a program that dies.
    Close,
}

struct Memory {
    rig: Rig,
    way: Way,
}

impl Bench for Memory {
    type Usb = MemoryHost;

    fn open(&mut self) -> Result<Opened<MemoryHost>, String> {
        self.rig.wait();
        let mut usb = self.rig.bus.open().map_err(|error| error.to_string())?;
        usb.claim(0).map_err(|error| error.to_string())?;
        Ok(Opened { usb, interface: 0, output: OUT, input: IN })
    }

    fn pull(&mut self) -> Result<bool, String> {
        match self.way {
            Way::Unplug => {
                self.rig.bus.unplug();
                self.rig.bus.advance(Duration::from_millis(100));
                self.rig.bus.plug();
            }
            Way::Reset => self.rig.bus.reset(),
            Way::Close => return Ok(false),
        }
        Ok(true)
    }
}

fn memory(way: Way) -> Memory {
    Memory { rig: Rig::new(Halts::Use, Limits::default()), way }
}

/// Collects what failed.
fn failures(failed: &mut Vec<String>) -> impl FnMut(&str, Outcome) {
    |name, outcome| failed.extend(outcome.err().map(|why| format!("{name}: {why}")))
}

#[test]
fn cases_on_a_bus_in_memory() {
    let mut failed = Vec::new();
    run_cases(&mut memory(Way::Unplug), |_| true, failures(&mut failed));
    assert_eq!(failed, [""; 0]);
}

#[test]
fn faults_on_a_bus_in_memory() {
    for way in [Way::Unplug, Way::Reset, Way::Close] {
        let mut failed = Vec::new();
        run_faults(&mut memory(way), failures(&mut failed));
        assert_eq!(failed, [""; 0], "{way:?}");
    }
}

/// By the bus's clock a good command never takes longer than its data, and the commands of a host without manners cost no memory.
#[test]
fn a_hostile_host_on_a_bus_in_memory() {
    for seed in 0..8 {
        let figures = hostile::run(&mut memory(Way::Unplug), 400, seed).unwrap();
        assert!(figures.slowest < Duration::from_millis(20), "{figures:?}");
    }
}

/// A tester who finds everything right is none: a disk that pads what is short, instead of halting, does not pass.
#[test]
fn the_cases_find_what_is_wrong() {
    let mut bench = Memory { rig: Rig::new(Halts::Avoid, Limits::default()), way: Way::Unplug };
    let mut failed = Vec::new();
    run_cases(&mut bench, |_| true, failures(&mut failed));
    for name in ["bad-cbws", "case-4", "case-5", "case-8", "refused-commands", "reset-alone"] {
        assert!(failed.iter().any(|why| why.starts_with(&format!("{name}:"))), "{name}: {failed:?}");
    }
    assert!(!failed.iter().any(|why| why.starts_with("case-12:")), "{failed:?}");
}

struct Sockets {
    server: Server,
    busid: BusId,
}

impl Bench for Sockets {
    type Usb = Client;

    fn open(&mut self) -> Result<Opened<Client>, String> {
        let until = Instant::now() + Duration::from_secs(10);
        loop {
            match usbip::open(self.server.address(), &self.busid) {
                Ok(mut usb) => {
                    usb.claim(0).map_err(|error| error.to_string())?;
                    return Ok(Opened { usb, interface: 0, output: OUT, input: IN });
                }
                // The one before has not yet been seen to leave.
                Err(error) if Instant::now() > until => return Err(error.to_string()),
                Err(_) => thread::yield_now(),
            }
        }
    }

    fn pull(&mut self) -> Result<bool, String> {
        // The client is a program that goes away; the protocol has no reset, and no cable.
        Ok(false)
    }
}

#[test]
fn cases_over_usbip() {
    let server = Server::bind(([127, 0, 0, 1], 0).into()).unwrap();
    let port = server.port("1-1").unwrap();
    let mut bench = Sockets { server: server.clone(), busid: port.busid().clone() };
    let over = Arc::new(AtomicBool::new(false));
    let device = thread::spawn({
        let (over, waker) = (Arc::clone(&over), server.clone());
        move || {
            let start = Instant::now();
            let mut shell = Shell::new(port, Halts::Use, Limits::default());
            while !over.load(Ordering::SeqCst) {
                let due = shell.step(start.elapsed()).unwrap_or(Duration::MAX);
                waker.wait(due.saturating_sub(start.elapsed()).min(Duration::from_millis(100)));
            }
            shell.backend.detach().unwrap();
        }
    });
    let mut failed = Vec::new();
    run_cases(&mut bench, |_| true, failures(&mut failed));
    run_faults(&mut bench, failures(&mut failed));
    let hostile = hostile::run(&mut bench, 400, 1);
    over.store(true, Ordering::SeqCst);
    device.join().unwrap();
    assert_eq!(failed, [""; 0]);
    assert_eq!(hostile.map(|figures| figures.commands), Ok(400));
}
