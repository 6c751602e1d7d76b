//! A disk in memory on any USB side, for whatever kernels and their tools make of it. It is not inbandd: nothing looks at what is written.
//!
//! ```text
//! disk usbip:127.0.0.1:3240 64          so many MiB
//! disk usbredir:/run/disk.sock 64
//! disk gadget 64 reinsert               what is ejected comes back 3 s later, with what is on it
//! ```

use std::{
    env,
    error::Error,
    path::Path,
    time::{Duration, Instant},
};

use inband_gadget::{Gadget, Options};
use inband_usb::{DescriptorSet, DeviceBackend, DeviceEvent, EndpointAddress};
use inband_virtual::{usbip::Server, usbredir::Slot};
use inband_volume::{
    bot::{Device, Function, Halts, Limits, wire},
    scsi::{BLOCK, Disk, Event, Fault, Identity, Medium, State},
    sparse::{Blank, Sparse},
};

const OUT: EndpointAddress = EndpointAddress(0x01);
const IN: EndpointAddress = EndpointAddress(0x81);
/// The longest wait; nothing depends on it.
const LONGEST_WAIT: Duration = Duration::from_secs(10);
/// How long a medium is away. Windows wants more than a second.
const AWAY: Duration = Duration::from_secs(3);

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let (side, mib, reinsert) = match arguments.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        [side, mib] => (*side, *mib, false),
        [side, mib, "reinsert"] => (*side, *mib, true),
        _ => return Err("usage: disk gadget|usbip:ADDRESS|usbredir:SOCKET MIB [reinsert]".into()),
    };
    let memory = Memory::new(mib.parse()?, reinsert)?;
    if let Some(address) = side.strip_prefix("usbip:") {
        let server = Server::bind(address.parse()?)?;
        serve(server.port("1-1")?, memory, |limit| server.wait(limit))
    } else if let Some(path) = side.strip_prefix("usbredir:") {
        let slot = Slot::connect(Path::new(path))?;
        serve(slot.clone(), memory, |limit| slot.wait(limit))
    } else {
        let mut gadget = Gadget::open(Options::default())?;
        gadget.prepare(&set())?;
        let waiter = gadget.waiter();
        serve(gadget, memory, |limit| _ = waiter.wait(limit))
    }
}

fn set() -> DescriptorSet {
    DescriptorSet {
        vendor_id: 0x1209,
        product_id: 0x0001,
        device_version: 0x0100,
        manufacturer: "Inband".into(),
        product: "Disk".into(),
        serial: "0123456789ABCDEF".into(),
        interfaces: vec![wire::interface(OUT, IN)],
    }
}

/// A medium in memory, in a drive that is told the time.
struct Memory {
    store: Sparse<Blank>,
    insertion: u32,
    reinsert: bool,
    now: Duration,
    /// When what was ejected comes back.
    back: Option<Duration>,
}

impl Memory {
    fn new(mib: u64, reinsert: bool) -> Result<Self, Box<dyn Error>> {
        let store = Sparse::new(Blank, (mib << 20) / BLOCK as u64, usize::MAX)
            .map_err(|fault| format!("no memory: {fault:?}"))?;
        Ok(Self { store, insertion: 1, reinsert, now: Duration::ZERO, back: None })
    }

    fn tick(&mut self, now: Duration) {
        self.now = now;
        if self.back.is_some_and(|back| back <= now) {
            self.back = None;
            self.insertion += 1;
            println!("Inserted");
        }
    }
}

impl Medium for Memory {
    fn state(&self) -> State {
        State::Present { blocks: self.store.blocks(), write_protected: false, insertion: self.insertion }
    }

    fn read(&mut self, lba: u64, buffer: &mut [u8]) -> Result<(), Fault> {
        self.store.read(lba, buffer)
    }

    fn write(&mut self, lba: u64, data: &[u8]) -> Result<(), Fault> {
        self.store.write(lba, data)
    }

    fn flush(&mut self) -> Result<(), Fault> {
        Ok(())
    }

    fn notice(&mut self, event: Event) {
        if event == Event::Ejected && self.reinsert {
            self.back = Some(self.now + AWAY);
        }
        match event {
            Event::Written { .. } => {}
            other => println!("{other:?}"),
        }
    }
}

fn serve<B>(mut backend: B, memory: Memory, mut wait: impl FnMut(Duration)) -> Result<(), Box<dyn Error>>
where
    B: DeviceBackend<Error: Error + 'static>,
{
    let identity = Identity {
        vendor: *b"INBAND  ",
        product: *b"MEMORY DISK     ",
        revision: *b"1   ",
        serial: 0x0123_4567_89ab_cdef,
    };
    let device = Device::new(0, Halts::Use, Limits::default(), Disk::new(identity, memory));
    let mut function = Function::new(device, OUT, IN);
    let start = Instant::now();
    backend.attach(&set())?;
    loop {
        while let Some(event) = backend.poll_event()? {
            match event {
                DeviceEvent::Enable => function.handle_enable(),
                DeviceEvent::Disable => function.handle_disable(),
                DeviceEvent::Suspend | DeviceEvent::Resume => {}
                DeviceEvent::Setup(setup) => {
                    if !function.handle_setup(&mut backend, &setup) {
                        // A host that has given up the request is none to tell of it.
                        let _ = backend.control_stall();
                    }
                }
                DeviceEvent::Complete(done) => function.handle_complete(start.elapsed(), done),
            }
        }
        let now = start.elapsed();
        function.target_mut().medium_mut().tick(now);
        function.drive(now, &mut backend);
        let due =
            [function.poll_timeout(), function.device().target().medium().back].into_iter().flatten().min();
        wait(due.map_or(LONGEST_WAIT, |due| due.saturating_sub(start.elapsed()).min(LONGEST_WAIT)));
    }
}
