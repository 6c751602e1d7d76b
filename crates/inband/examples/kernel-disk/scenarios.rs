//! The scenarios.

use std::{
    fs,
    os::unix::fs::FileExt as _,
    thread,
    time::{Duration, Instant},
};

use inband::usb::{Bus as _, KernelBus};
use inband_gadget::{
    GadgetError, Options,
    mass_storage::{Backing, Bus, DiskError, Event, Inquiry, KernelDisk, Medium},
};
use inband_usb::{DescriptorSet, Direction, EndpointAddress, HostDevice};
use inband_volume::bot::{
    host::{Data, Host},
    wire::{self, Status},
};
use rustix::fs::{SealFlags, fcntl_add_seals};

use crate::attempt::attempt;

const CONFIGFS: &str = "/sys/kernel/config/usb_gadget";
/// Much longer than anything here takes.
const LIMIT: Duration = Duration::from_secs(10);
const BLOCK: usize = 512;
const BLOCKS: u64 = 32 << 11;
const INQUIRY: Inquiry = Inquiry { vendor: *b"INBAND  ", product: *b"MEMORY DISK     ", revision: *b"1   " };

const TEST_UNIT_READY: [u8; 6] = [0; 6];
const REQUEST_SENSE: [u8; 6] = [0x03, 0, 0, 0, 18, 0];
const EJECT: [u8; 6] = [0x1b, 0, 0, 0, 2, 0];
const PREVENT: [u8; 6] = [0x1e, 0, 0, 0, 1, 0];
const MODE_SENSE: [u8; 6] = [0x1a, 0, 0x3f, 0, 192, 0];

const NO_MEDIUM: [u8; 3] = [0x02, 0x3a, 0x00];
const WRITE_ERROR: [u8; 3] = [0x03, 0x0c, 0x02];
const WRITE_PROTECTED: [u8; 3] = [0x07, 0x27, 0x00];

/// Every scenario, with its name.
const SCENARIOS: &[(&str, fn())] = &[
    ("what-is-there-is-told", told),
    ("a-living-process-is-left-alone", held),
    ("the-host-has-it-and-has-it-not", bus),
    ("ejected-by-the-host", ejected),
    ("sealed-while-the-kernel-has-it", sealed_early),
    ("written-parts-are-known", written),
    ("read-only-and-back", read_only),
    ("prevented-and-out-nevertheless", prevented),
    ("a-silent-host-holds-nothing-up", silent),
    ("taken-out-of-configfs", taken_out),
];

/// Runs the scenarios named, or all; whether all passed.
pub(super) fn run(wanted: &[String]) -> bool {
    let mut passed = true;
    for (name, scenario) in SCENARIOS {
        if !wanted.is_empty() && !wanted.iter().any(|it| it == name) {
            continue;
        }
        match attempt(scenario) {
            Ok(()) => println!("ok {name}"),
            Err(why) => {
                passed = false;
                println!("failed {name} {why}");
            }
        }
    }
    passed
}

fn set() -> DescriptorSet {
    DescriptorSet {
        vendor_id: 0x1209,
        product_id: 0x0001,
        device_version: 0x0100,
        manufacturer: "Inband".into(),
        product: "Disk".into(),
        serial: "0123456789ABCDEF".into(),
        interfaces: vec![wire::interface(EndpointAddress(0x01), EndpointAddress(0x81))],
    }
}

fn gadgets() -> Vec<String> {
    let entries = fs::read_dir(CONFIGFS).unwrap();
    entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}

fn until<T>(what: &str, mut done: impl FnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(done) = done() {
            return done;
        }
        assert!(start.elapsed() < LIMIT, "nothing for {LIMIT:?}: {what}");
        thread::sleep(Duration::from_millis(1));
    }
}

fn open() -> KernelDisk {
    KernelDisk::open(&Options::default(), &INQUIRY).unwrap()
}

/// A disk on the bus with a medium in it.
fn with(medium: impl Into<Medium>) -> KernelDisk {
    let mut disk = open();
    disk.insert(medium).unwrap();
    disk.show(&set()).unwrap();
    disk
}

/// Asks until that is told, and lets everything else pass.
fn wait_for(disk: &mut KernelDisk, wanted: Event) {
    until("an event", || (disk.poll().unwrap() == Some(wanted)).then_some(()));
}

/// What the host has of the disk.
struct Side {
    usb: Box<dyn HostDevice>,
    bot: Host,
}

impl Side {
    fn try_open() -> Option<Self> {
        let mut devices = KernelBus.list().ok()?.into_iter();
        let device = devices.find(|it| (it.vendor_id, it.product_id) == (0x1209, 0x0001))?;
        let opened = KernelBus.open(&device.place).ok()?;
        let interface = opened.configuration.interfaces.first()?;
        let end = |direction| interface.endpoints.iter().find(|end| end.address.direction() == direction);
        let bot = Host::new(interface.number, end(Direction::Out)?.address, end(Direction::In)?.address);
        let mut usb = opened.device;
        usb.claim(interface.number).ok()?;
        Some(Self { usb, bot })
    }

    fn open() -> Self {
        let mut side = until("the host to see the disk", Self::try_open);
        // What there is to tell a host that is new.
        side.until_ready_or(NO_MEDIUM);
        side
    }

    /// The sense data of the command, if it fails.
    fn try_command(&mut self, cdb: &[u8], data: Data<'_>) -> Result<Vec<u8>, [u8; 3]> {
        let answer = self.bot.command(self.usb.as_mut(), cdb, data).unwrap();
        match answer.csw.status {
            Status::Passed => Ok(answer.data),
            _ => {
                let sense = self.bot.command(self.usb.as_mut(), &REQUEST_SENSE, Data::In(18)).unwrap().data;
                Err([sense[2] & 0x0f, sense[12], sense[13]])
            }
        }
    }

    fn command(&mut self, cdb: &[u8], data: Data<'_>) -> Vec<u8> {
        self.try_command(cdb, data).unwrap_or_else(|sense| panic!("{cdb:02x?} ends with {sense:02x?}"))
    }

    fn until_ready_or(&mut self, end: [u8; 3]) {
        until("the disk to be ready", || match self.try_command(&TEST_UNIT_READY, Data::None) {
            Ok(_) => Some(()),
            Err(sense) => (sense == end).then_some(()),
        });
    }

    /// Sends the CBW of a WRITE and half of its data. Nobody takes that but who carries out the command: the kernel waits for the rest.
    fn begin_write(&mut self) {
        let data = [0; 64 * BLOCK];
        let cbw = self.bot.cbw(&transfer(0x2a, 0, 64), Data::Out(&data));
        self.bot.send(self.usb.as_mut(), &cbw).unwrap();
        self.bot.data(self.usb.as_mut(), Data::Out(&data[..32 * BLOCK])).unwrap();
    }

    fn try_write(&mut self, lba: u32, block: &[u8; BLOCK]) -> Result<Vec<u8>, [u8; 3]> {
        self.try_command(&transfer(0x2a, lba, 1), Data::Out(block))
    }
}

/// READ(10) or WRITE(10).
fn transfer(code: u8, lba: u32, blocks: u8) -> [u8; 10] {
    let [a, b, c, d] = lba.to_be_bytes();
    [code, 0, a, b, c, d, 0, 0, blocks, 0]
}

/// The line for the log says what this kernel can do.
fn told() {
    let disk = open();
    let line = disk.probe().to_string();
    println!("{line}");
    assert!(line.contains("f_mass_storage there"), "{line}");
    drop(disk);
    assert!(gadgets().is_empty());
}

/// The disk of a process that lives is not removed under it.
fn held() {
    let mut disk = with(Backing::new(BLOCKS).unwrap());
    match KernelDisk::open(&Options::default(), &INQUIRY) {
        Err(DiskError::Gadget(GadgetError::Held(name))) => assert_eq!(name, "inband-0"),
        other => panic!("{other:?}"),
    }
    // And of another name, it does not get the controller.
    let mut other =
        KernelDisk::open(&Options { name: "other".into(), ..Options::default() }, &INQUIRY).unwrap();
    match other.show(&set()) {
        Err(DiskError::Gadget(GadgetError::Busy { by, .. })) => assert!(by.ends_with("/inband-0"), "{by}"),
        other => panic!("{other:?}"),
    }
    wait_for(&mut disk, Event::Bus(Bus::Configured));
}

/// On the bus, off it, on it again; by us and by the administrator.
fn bus() {
    let mut disk = open();
    assert_eq!(disk.poll_timeout(), None);
    assert_eq!(disk.poll().unwrap(), None);
    disk.show(&set()).unwrap();
    assert!(disk.poll_timeout().is_some());
    wait_for(&mut disk, Event::Bus(Bus::Configured));
    disk.hide().unwrap();
    wait_for(&mut disk, Event::Bus(Bus::Away));
    disk.show(&set()).unwrap();
    wait_for(&mut disk, Event::Bus(Bus::Configured));
    fs::write(format!("{CONFIGFS}/inband-0/UDC"), "\n").unwrap();
    wait_for(&mut disk, Event::Bus(Bus::Away));
    disk.show(&set()).unwrap();
    wait_for(&mut disk, Event::Bus(Bus::Configured));
}

/// What the host wrote is what is taken, and it writes no more.
fn ejected() {
    let backing = Backing::new(BLOCKS).unwrap();
    backing.file().write_all_at(&[0xaa; BLOCK], 7 * BLOCK as u64).unwrap();
    let mut disk = with(backing);
    assert!(matches!(disk.insert(Backing::new(BLOCKS).unwrap()), Err(DiskError::Occupied)));
    let mut side = Side::open();
    assert_eq!(side.command(&[0x12, 0, 0, 0, 36, 0], Data::In(36))[8..], *b"INBAND  MEMORY DISK     1   ");
    assert_eq!(side.command(&transfer(0x28, 7, 1), Data::In(BLOCK as u32)), [0xaa; BLOCK]);
    side.try_write(8, &[0xbb; BLOCK]).unwrap();
    assert!(disk.take().unwrap().is_none(), "it is in");
    side.command(&EJECT, Data::None);
    wait_for(&mut disk, Event::Ejected);
    assert_eq!(side.try_write(8, &[0xcc; BLOCK]), Err(NO_MEDIUM));
    let sealed = disk.take().unwrap().unwrap();
    let mut bytes = [0; 3 * BLOCK];
    sealed.file().read_exact_at(&mut bytes, 7 * BLOCK as u64).unwrap();
    assert_eq!(bytes, [[0xaa; BLOCK], [0xbb; BLOCK], [0; BLOCK]].concat()[..]);
    assert!(disk.take().unwrap().is_none(), "it was taken");
    // Another one, with nothing of the first.
    disk.insert(Backing::new(BLOCKS).unwrap()).unwrap();
    side.until_ready_or(NO_MEDIUM);
    assert_eq!(side.command(&transfer(0x28, 7, 1), Data::In(BLOCK as u32)), [0; BLOCK]);
}

/// A seal holds against the kernel itself: that is why nobody has to know when it has let go.
fn sealed_early() {
    let backing = Backing::new(BLOCKS).unwrap();
    let file = backing.file().try_clone().unwrap();
    let disk = with(backing);
    let mut side = Side::open();
    side.try_write(8, &[0xbb; BLOCK]).unwrap();
    fcntl_add_seals(&file, SealFlags::WRITE).unwrap();
    assert_eq!(side.try_write(8, &[0xcc; BLOCK]), Err(WRITE_ERROR));
    let mut bytes = [0; BLOCK];
    file.read_exact_at(&mut bytes, 8 * BLOCK as u64).unwrap();
    assert_eq!(bytes, [0xbb; BLOCK]);
    drop(disk);
}

/// By pages: a host that reads writes nothing, one that writes a block has written a page.
fn written() {
    let mut disk = with(Backing::new(BLOCKS).unwrap());
    let mut side = Side::open();
    for lba in [0, 100, 5000] {
        side.command(&transfer(0x28, lba, 8), Data::In(8 * BLOCK as u32));
    }
    assert_eq!(disk.memory(), 0);
    for lba in [17, 20, 4096, 65535] {
        side.try_write(lba, &[1; BLOCK]).unwrap();
    }
    assert_eq!(disk.memory(), 3 * 4096);
    side.command(&EJECT, Data::None);
    wait_for(&mut disk, Event::Ejected);
    let written = disk.take().unwrap().unwrap().written().unwrap();
    let page = |lba: u64| {
        let start = lba * BLOCK as u64 / 4096 * 4096;
        start..start + 4096
    };
    assert_eq!(written, [page(17), page(4096), page(65535)]);
}

/// What was ejected comes back to be read, and goes again, as often as one likes.
fn read_only() {
    let mut disk = with(Backing::new(BLOCKS).unwrap());
    let mut side = Side::open();
    side.try_write(8, &[0xbb; BLOCK]).unwrap();
    for _ in 0..3 {
        side.command(&EJECT, Data::None);
        wait_for(&mut disk, Event::Ejected);
        assert_eq!(side.try_command(&TEST_UNIT_READY, Data::None), Err(NO_MEDIUM));
        let sealed = disk.take().unwrap().unwrap();
        disk.insert(sealed).unwrap();
        side.until_ready_or(NO_MEDIUM);
        assert_eq!(side.command(&MODE_SENSE, Data::In(192))[2] & 0x80, 0x80, "WP");
        assert_eq!(side.try_write(8, &[0xcc; BLOCK]), Err(WRITE_PROTECTED));
        assert_eq!(side.command(&transfer(0x28, 8, 1), Data::In(BLOCK as u32)), [0xbb; BLOCK]);
    }
    // And a new one can be written to.
    disk.eject().unwrap();
    drop(disk.take().unwrap().unwrap());
    disk.insert(Backing::new(BLOCKS).unwrap()).unwrap();
    drop(side);
    let mut side = Side::open();
    assert_eq!(side.command(&MODE_SENSE, Data::In(192))[2] & 0x80, 0, "no WP");
    side.try_write(8, &[0xdd; BLOCK]).unwrap();
}

/// A host that prevents removal has its way with its own eject, not with ours.
fn prevented() {
    let mut disk = with(Backing::new(BLOCKS).unwrap());
    let mut side = Side::open();
    side.command(&PREVENT, Data::None);
    side.try_write(8, &[0xbb; BLOCK]).unwrap();
    assert!(side.try_command(&EJECT, Data::None).is_err());
    assert_eq!(disk.poll().unwrap(), Some(Event::Bus(Bus::Configured)));
    assert_eq!(disk.poll().unwrap(), None);
    disk.eject().unwrap();
    let sealed = disk.take().unwrap().unwrap();
    let mut bytes = [0; BLOCK];
    sealed.file().read_exact_at(&mut bytes, 8 * BLOCK as u64).unwrap();
    assert_eq!(bytes, [0xbb; BLOCK]);
    drop(side);
    let mut side = Side::open();
    assert_eq!(side.try_command(&TEST_UNIT_READY, Data::None), Err(NO_MEDIUM));
    disk.insert(sealed).unwrap();
    side.until_ready_or(NO_MEDIUM);
    assert_eq!(side.command(&transfer(0x28, 8, 1), Data::In(BLOCK as u32)), [0xbb; BLOCK]);
}

/// In the middle of a WRITE the host says nothing more. The kernel's own ways to take the medium out wait for it.
fn silent() {
    let mut disk = with(Backing::new(BLOCKS).unwrap());
    let mut side = Side::open();
    side.begin_write();
    quickly(|| {
        while disk.poll().unwrap().is_some() {}
        disk.eject().unwrap();
        assert!(disk.take().unwrap().is_some());
    });
    drop(side);
    // Nor does it with no medium in.
    let mut side = Side::open();
    side.begin_write();
    quickly(|| {
        disk.insert(Backing::new(BLOCKS).unwrap()).unwrap();
        while disk.poll().unwrap().is_some() {}
        disk.hide().unwrap();
    });
    drop(side);
    disk.show(&set()).unwrap();
    Side::open().begin_write();
    quickly(|| drop(disk));
}

fn quickly(does: impl FnOnce()) {
    let start = Instant::now();
    does();
    let time = start.elapsed();
    println!("{} ms", time.as_millis());
    assert!(time < Duration::from_secs(2), "{time:?}");
}

/// Somebody removes everything under a disk that is shown.
fn taken_out() {
    let mut disk = with(Backing::new(BLOCKS).unwrap());
    wait_for(&mut disk, Event::Bus(Bus::Configured));
    let gadget = format!("{CONFIGFS}/inband-0");
    fs::write(format!("{gadget}/UDC"), "\n").unwrap();
    fs::remove_file(format!("{gadget}/configs/c.1/mass_storage.inband-0")).unwrap();
    for folder in ["configs/c.1", "functions/mass_storage.inband-0", "strings/0x409", ""] {
        fs::remove_dir(format!("{gadget}/{folder}")).unwrap();
    }
    match disk.poll() {
        Err(DiskError::Gone(name)) => assert_eq!(name, "inband-0"),
        other => panic!("{other:?}"),
    }
    drop(disk);
    let mut disk = with(Backing::new(BLOCKS).unwrap());
    wait_for(&mut disk, Event::Bus(Bus::Configured));
}
