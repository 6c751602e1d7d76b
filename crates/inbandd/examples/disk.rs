//! A disk in memory on any USB side, for whatever kernels and their tools make of it. It is not inbandd: nothing looks at what is written.
//!
//! ```text
//! disk usbip:127.0.0.1:3240 64          so many MiB
//! disk usbredir:/run/disk.sock 64
//! disk gadget:dummy_udc.0 64            the controller, if there are several
//! disk gadget 64 reinsert               what is ejected comes back 3 s later, with what is on it
//! disk kernel 64 reinsert               of a kernel without FunctionFS: what it has itself; comes back read-only
//! ```
//!
//! Lines on its standard input are orders, to all but the kernel's:
//!
//! ```text
//! eject                  the medium goes, whatever the host wants
//! insert                 it comes back, with what is on it
//! insert disk.img        another one, with what is in the file
//! tell NAME              a line of JSON: the time since it told last, bytes read and written, and the slowest answer
//! ```

use std::{
    env,
    error::Error,
    fs, io,
    path::Path,
    sync::mpsc::{self, Receiver},
    thread,
    time::{Duration, Instant},
};

use inband_gadget::{
    Gadget, Options,
    mass_storage::{Backing, Inquiry, KernelDisk, Sealed},
};
use inband_usb::{DescriptorSet, DeviceBackend, DeviceEvent, EndpointAddress};
use inband_virtual::{usbip::Server, usbredir::Slot};
use inband_volume::{
    bot::{Device, Function, Halts, Limits, wire},
    scsi::{BLOCK, Disk, Event, Fault, Identity, Medium, State},
    sparse::{Base, Sparse},
};

const OUT: EndpointAddress = EndpointAddress(0x01);
const IN: EndpointAddress = EndpointAddress(0x81);
/// The longest wait; nothing depends on it.
const LONGEST_WAIT: Duration = Duration::from_secs(10);
/// How long a medium is away. Windows wants more than a second.
const AWAY: Duration = Duration::from_secs(3);
const INQUIRY: Inquiry = Inquiry { vendor: *b"INBAND  ", product: *b"MEMORY DISK     ", revision: *b"1   " };

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let (side, mib, reinsert) = match arguments.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        [side, mib] => (*side, *mib, false),
        [side, mib, "reinsert"] => (*side, *mib, true),
        _ => {
            return Err(
                "usage: disk gadget[:CONTROLLER]|kernel|usbip:ADDRESS|usbredir:SOCKET MIB [reinsert]".into(),
            );
        }
    };
    let mib = mib.parse()?;
    if side == "kernel" {
        return lend(mib, reinsert);
    }
    let memory = Memory::new(mib, reinsert)?;
    if let Some(address) = side.strip_prefix("usbip:") {
        let server = Server::bind(address.parse()?)?;
        let waker = server.waker();
        serve(server.port("1-1")?, memory, orders(move || waker.wake()), |limit| server.wait(limit))
    } else if let Some(path) = side.strip_prefix("usbredir:") {
        let slot = Slot::connect(Path::new(path))?;
        let waker = slot.waker();
        serve(slot.clone(), memory, orders(move || waker.wake()), |limit| slot.wait(limit))
    } else {
        let udc = side.strip_prefix("gadget:").map(String::from);
        let mut gadget = Gadget::open(Options { udc, ..Options::default() })?;
        gadget.prepare(&set())?;
        let waiter = gadget.waiter();
        let waker = waiter.waker();
        serve(gadget, memory, orders(move || waker.wake()), |limit| _ = waiter.wait(limit))
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

/// What is on a medium when it is inserted: this, then zeros.
struct Image(Vec<u8>);

impl Base for Image {
    fn block(&self, lba: u64, block: &mut [u8]) {
        let rest = usize::try_from(lba).ok().and_then(|lba| self.0.get(lba * BLOCK..)).unwrap_or_default();
        let (there, beyond) = block.split_at_mut(rest.len().min(BLOCK));
        there.copy_from_slice(&rest[..there.len()]);
        beyond.fill(0);
    }
}

/// A medium in memory, in a drive that is told the time.
struct Memory {
    store: Sparse<Image>,
    insertion: u32,
    absent: bool,
    reinsert: bool,
    now: Duration,
    /// When what was ejected comes back.
    back: Option<Duration>,
    /// When it told last, and since then: bytes each way, and the longest from what the host sent to the answer.
    told: Instant,
    read: usize,
    written: usize,
    slowest: Duration,
}

fn store(image: Vec<u8>, blocks: u64) -> Result<Sparse<Image>, Box<dyn Error>> {
    Ok(Sparse::new(Image(image), blocks, usize::MAX).map_err(|fault| format!("no memory: {fault:?}"))?)
}

impl Memory {
    fn new(mib: u64, reinsert: bool) -> Result<Self, Box<dyn Error>> {
        let store = store(Vec::new(), (mib << 20) / BLOCK as u64)?;
        Ok(Self {
            store,
            insertion: 1,
            absent: false,
            reinsert,
            now: Duration::ZERO,
            back: None,
            told: Instant::now(),
            read: 0,
            written: 0,
            slowest: Duration::ZERO,
        })
    }

    fn tick(&mut self, now: Duration) {
        self.now = now;
        if self.back.is_some_and(|back| back <= now) {
            self.insert();
        }
    }

    fn insert(&mut self) {
        self.back = None;
        self.absent = false;
        self.insertion += 1;
        println!("Inserted");
    }

    fn order(&mut self, order: &str) -> Result<(), Box<dyn Error>> {
        match order.split_whitespace().collect::<Vec<_>>().as_slice() {
            ["eject"] => self.absent = true,
            ["insert"] => self.insert(),
            ["insert", file] => {
                self.store = store(fs::read(file)?, self.store.blocks())?;
                self.insert();
            }
            ["tell", name] => {
                println!(
                    r#"{{"name":"{name}","ms":{:.1},"read":{},"written":{},"slowest_us":{}}}"#,
                    self.told.elapsed().as_secs_f64() * 1e3,
                    self.read,
                    self.written,
                    self.slowest.as_micros()
                );
                self.told = Instant::now();
                (self.read, self.written, self.slowest) = Default::default();
            }
            _ => return Err(format!("no order: {order}").into()),
        }
        Ok(())
    }
}

impl Medium for Memory {
    fn state(&self) -> State {
        if self.absent {
            return State::Absent;
        }
        State::Present { blocks: self.store.blocks(), write_protected: false, insertion: self.insertion }
    }

    fn read(&mut self, lba: u64, buffer: &mut [u8]) -> Result<(), Fault> {
        self.read += buffer.len();
        self.store.read(lba, buffer)
    }

    fn write(&mut self, lba: u64, data: &[u8]) -> Result<(), Fault> {
        self.written += data.len();
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

/// The lines of the standard input, as they come.
fn orders(wake: impl Fn() + Send + 'static) -> Receiver<String> {
    let (sender, orders) = mpsc::channel();
    thread::spawn(move || {
        for line in io::stdin().lines().map_while(Result::ok) {
            if sender.send(line).is_err() {
                break;
            }
            wake();
        }
    });
    orders
}

fn serve<B>(
    mut backend: B,
    memory: Memory,
    orders: Receiver<String>,
    mut wait: impl FnMut(Duration),
) -> Result<(), Box<dyn Error>>
where
    B: DeviceBackend<Error: Error + 'static>,
{
    let Inquiry { vendor, product, revision } = INQUIRY;
    let identity = Identity { vendor, product, revision, serial: 0x0123_4567_89ab_cdef };
    let device = Device::new(0, Halts::Use, Limits::default(), Disk::new(identity, memory));
    let mut function = Function::new(device, OUT, IN);
    let start = Instant::now();
    backend.attach(&set())?;
    loop {
        let mut came = None;
        while let Some(event) = backend.poll_event()? {
            came.get_or_insert_with(Instant::now);
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
        let medium = function.target_mut().medium_mut();
        medium.tick(now);
        for order in orders.try_iter() {
            medium.order(&order)?;
        }
        function.drive(now, &mut backend);
        if let Some(came) = came {
            let medium = function.target_mut().medium_mut();
            medium.slowest = medium.slowest.max(came.elapsed());
        }
        let due =
            [function.poll_timeout(), function.device().target().medium().back].into_iter().flatten().min();
        wait(due.map_or(LONGEST_WAIT, |due| due.saturating_sub(start.elapsed()).min(LONGEST_WAIT)));
    }
}

/// The kernel's disk. What was ejected is read-only from then on.
fn lend(mib: u64, reinsert: bool) -> Result<(), Box<dyn Error>> {
    let mut disk = KernelDisk::open(&Options::default(), &INQUIRY)?;
    println!("{}", disk.probe());
    disk.insert(Backing::new((mib << 20) / BLOCK as u64)?)?;
    disk.show(&set())?;
    // Kept, so that whoever wants to see what was written finds it in /proc.
    let mut ejected: Option<(Sealed, Instant)> = None;
    loop {
        while let Some(event) = disk.poll()? {
            println!("{event:?}");
        }
        if let Some(sealed) = disk.take()? {
            println!("Written {:?}", sealed.written()?);
            ejected = Some((sealed, Instant::now() + AWAY));
        }
        if let Some((sealed, _)) = ejected.take_if(|(_, back)| reinsert && *back <= Instant::now()) {
            disk.insert(sealed)?;
            println!("Inserted");
        }
        thread::sleep(disk.poll_timeout().unwrap_or(LONGEST_WAIT));
    }
}
