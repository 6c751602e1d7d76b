//! Both sides over a bus, with transfers in flight and a virtual clock.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use inband_usb::{
    DescriptorSet, DeviceBackend, DeviceEvent, EndpointAddress, HostDevice, HostError, HostTransfer,
};
use inband_virtual::memory::{Bus, MemoryDevice, MemoryHost};
use inband_volume::{
    bot::{
        Device, Function, Halts, Limits,
        host::{Data, Error, Host},
        wire::{self, Status},
    },
    scsi::Disk,
    testing::{ArrayMedium, pattern},
};

use crate::support::{BLOCKS, cdb10, disk};

pub(crate) const OUT: EndpointAddress = EndpointAddress(0x01);
pub(crate) const IN: EndpointAddress = EndpointAddress(0x81);

/// What a backend's owner does with the function: it passes on events.
pub(crate) struct Shell<B> {
    pub(crate) backend: B,
    pub(crate) function: Function<Disk<ArrayMedium>>,
    /// Acts behind each event, even if another one is waiting: what a kernel's events may look like when they come late.
    hasty: bool,
}

impl<B: DeviceBackend> Shell<B> {
    /// A disk that is attached.
    pub(crate) fn new(mut backend: B, halts: Halts, limits: Limits) -> Self {
        let set = DescriptorSet {
            vendor_id: 0x1d6b,
            product_id: 0x0104,
            device_version: 0x0100,
            manufacturer: "OpenBMC".into(),
            product: "disk".into(),
            serial: "0123456789ABCDEF".into(),
            interfaces: vec![wire::interface(OUT, IN)],
        };
        backend.attach(&set).unwrap();
        let function = Function::new(Device::new(0, halts, limits, disk()), OUT, IN);
        Self { backend, function, hasty: false }
    }

    pub(crate) fn step(&mut self, now: Duration) -> Option<Duration> {
        let Self { backend, function, hasty } = self;
        while let Some(event) = backend.poll_event().unwrap() {
            match event {
                DeviceEvent::Enable => function.handle_enable(),
                DeviceEvent::Disable => function.handle_disable(),
                DeviceEvent::Suspend | DeviceEvent::Resume => {}
                DeviceEvent::Setup(setup) => {
                    if !function.handle_setup(backend, &setup) {
                        backend.control_stall().unwrap_or_default();
                    }
                }
                DeviceEvent::Complete(done) => function.handle_complete(now, done),
            }
            if *hasty {
                function.drive(now, backend);
            }
        }
        function.drive(now, backend);
        function.poll_timeout()
    }
}

/// A bus with a disk on it.
pub(crate) struct Rig {
    pub(crate) bus: Bus,
    shell: Arc<Mutex<Shell<MemoryDevice>>>,
}

impl Rig {
    pub(crate) fn new(halts: Halts, limits: Limits) -> Self {
        let (bus, backend) = Bus::new();
        let shell = Shell::new(backend, halts, limits);
        let shell = Arc::new(Mutex::new(shell));
        let pumped = Arc::clone(&shell);
        bus.set_pump(move |now| pumped.lock().unwrap().step(now));
        let rig = Self { bus, shell };
        rig.wait();
        rig
    }

    /// Until the host sees the device.
    pub(crate) fn wait(&self) {
        assert!(self.bus.run_until(Duration::from_secs(1), || self.bus.attached()));
    }

    pub(crate) fn open(&self) -> (MemoryHost, Host) {
        let mut usb = self.bus.open().unwrap();
        usb.claim(0).unwrap();
        (usb, Host::new(0, OUT, IN))
    }

    /// From now on the shell acts behind each event.
    pub(crate) fn be_hasty(&self) {
        self.shell.lock().unwrap().hasty = true;
    }

    pub(crate) fn with<T>(&self, look: impl FnOnce(&mut Function<Disk<ArrayMedium>>) -> T) -> T {
        look(&mut self.shell.lock().unwrap().function)
    }

    pub(crate) fn bytes(&self) -> Vec<u8> {
        self.with(|function| function.device().target().medium().bytes.clone())
    }
}

pub(crate) fn make_ready(usb: &mut MemoryHost, host: &mut Host) {
    try_ready(usb, host).unwrap();
}

/// TEST UNIT READY, until what is to be told was told.
pub(crate) fn try_ready(usb: &mut MemoryHost, host: &mut Host) -> Result<(), Error> {
    for _ in 0..3 {
        if host.command(usb, &[0; 6], Data::None)?.csw.status == Status::Passed {
            return Ok(());
        }
    }
    panic!("not ready after three unit attentions");
}

/// What a host does when it finds a disk, with all that it asks.
#[test]
fn a_disk_over_a_bus() {
    for halts in [Halts::Use, Halts::Avoid] {
        let rig = Rig::new(halts, Limits::default());
        let (mut usb, mut host) = rig.open();
        assert_eq!(host.max_lun(&mut usb), Ok(vec![0]));
        let inquiry = host.command(&mut usb, &[0x12, 0, 0, 0, 36, 0], Data::In(36)).unwrap();
        assert_eq!((inquiry.csw.residue, inquiry.data.len(), inquiry.halted), (0, 36, false));
        make_ready(&mut usb, &mut host);
        // Short answers, padded or halted.
        let mode = host.command(&mut usb, &[0x1a, 0, 0x3f, 0, 192, 0], Data::In(192)).unwrap();
        assert_eq!((mode.csw.status, mode.csw.residue), (Status::Passed, 192 - 48));
        assert_eq!(
            (mode.data.len(), mode.halted),
            if halts == Halts::Use { (48, true) } else { (192, false) }
        );
        // All of the disk in commands of 120 KiB, as Linux has it.
        let image = pattern(3, BLOCKS * 512);
        for (n, part) in image.chunks(240 * 512).enumerate() {
            let cdb = cdb10(0x2a, n as u32 * 240, (part.len() / 512) as u16);
            let written = host.command(&mut usb, &cdb, Data::Out(part)).unwrap();
            assert_eq!((written.csw.status, written.csw.residue), (Status::Passed, 0));
        }
        assert_eq!(rig.bytes(), image);
        for (n, part) in image.chunks(240 * 512).enumerate() {
            let cdb = cdb10(0x28, n as u32 * 240, (part.len() / 512) as u16);
            let read = host.command(&mut usb, &cdb, Data::In(part.len() as u32)).unwrap();
            assert_eq!(read.data, part);
        }
    }
}

/// The wire does not rest within a command: four buffers keep it busy.
#[test]
fn the_wire_does_not_rest() {
    let rig = Rig::new(Halts::Use, Limits { buffers: 4, piece: 16 * 1024 });
    let (mut usb, mut host) = rig.open();
    make_ready(&mut usb, &mut host);
    let data = pattern(1, 240 * 512);
    let least = Duration::from_micros(125) * (240_u32).div_ceil(13);
    let before = rig.bus.now();
    host.command(&mut usb, &cdb10(0x2a, 0, 240), Data::Out(&data)).unwrap();
    let written = rig.bus.now() - before;
    host.command(&mut usb, &cdb10(0x28, 0, 240), Data::In(240 * 512)).unwrap();
    let read = rig.bus.now() - before - written;
    for time in [written, read] {
        assert!(time < least * 13 / 10 + Duration::from_millis(1), "{time:?} for {least:?} at least");
    }
}

/// Reset Recovery behind CBWs that are none, over a bus that tells nobody of a CLEAR_FEATURE.
#[test]
fn reset_recovery() {
    let rig = Rig::new(Halts::Use, Limits::default());
    let (mut usb, mut host) = rig.open();
    make_ready(&mut usb, &mut host);
    for length in [30, 32, 512, 1] {
        let patience = Duration::from_secs(5);
        let out = |data| HostTransfer::BulkOut { endpoint: OUT, data };
        usb.run(out(vec![0; length]), patience).unwrap();
        let read = || HostTransfer::BulkIn { endpoint: IN, length: 512 };
        for _ in 0..3 {
            assert_eq!(usb.run(read(), patience), Err(HostError::Stall), "{length}");
            usb.clear_halt(IN).unwrap();
        }
        // A good command is of no use.
        let cbw = host.cbw(&[0; 6], Data::None);
        host.send(&mut usb, &cbw).unwrap();
        assert_eq!(host.status(&mut usb, &cbw), Err(Error::Usb(HostError::Stall)));
        host.recover(&mut usb).unwrap();
        // 06/29/00.
        assert_eq!(host.command(&mut usb, &[0; 6], Data::None).unwrap().csw.status, Status::Failed);
        assert_eq!(host.command(&mut usb, &[0; 6], Data::None).unwrap().csw.status, Status::Passed);
    }
}

/// A host that never reads its CSW holds up nobody but itself: the control pipe answers, and a reset makes all good.
#[test]
fn a_csw_that_nobody_reads() {
    let rig = Rig::new(Halts::Use, Limits::default());
    let (mut usb, mut host) = rig.open();
    make_ready(&mut usb, &mut host);
    let cbw = host.cbw(&[0; 6], Data::None);
    host.send(&mut usb, &cbw).unwrap();
    rig.bus.advance(Duration::from_secs(3600));
    assert_eq!(host.max_lun(&mut usb), Ok(vec![0]));
    let second = host.cbw(&[0; 6], Data::None);
    host.send(&mut usb, &second).unwrap();
    let third = host.cbw(&[0; 6], Data::None);
    assert_eq!(host.send(&mut usb, &third), Err(HostError::Cancelled));
    host.recover(&mut usb).unwrap();
    make_ready(&mut usb, &mut host);
    // Only the first one is read: the other comes behind it.
    let first = host.cbw(&[0; 6], Data::None);
    host.send(&mut usb, &first).unwrap();
    let second = host.cbw(&[0xff; 6], Data::None);
    host.send(&mut usb, &second).unwrap();
    assert_eq!(host.status(&mut usb, &first).unwrap().0.status, Status::Passed);
    assert_eq!(host.status(&mut usb, &second).unwrap().0.status, Status::Failed);
}

/// The medium is taken out and put in between commands and within one; the host goes on.
#[test]
fn twenty_insertions() {
    let rig = Rig::new(Halts::Use, Limits { buffers: 2, piece: 512 });
    let (mut usb, mut host) = rig.open();
    make_ready(&mut usb, &mut host);
    for n in 2..22 {
        let read = host.cbw(&cdb10(0x28, 0, 8), Data::In(4096));
        host.send(&mut usb, &read).unwrap();
        rig.with(|device| device.target_mut().medium_mut().present = false);
        let (_, _) = host.data(&mut usb, Data::In(4096)).unwrap();
        host.status(&mut usb, &read).unwrap();
        let absent = host.command(&mut usb, &[0; 6], Data::None).unwrap();
        assert_eq!(absent.csw.status, Status::Failed);
        let sense = host.command(&mut usb, &[3, 0, 0, 0, 18, 0], Data::In(18)).unwrap().data;
        assert_eq!((sense[2], sense[12]), (2, 0x3a));
        rig.with(|device| {
            let medium = device.target_mut().medium_mut();
            (medium.present, medium.insertion) = (true, n);
        });
        assert_eq!(host.command(&mut usb, &[0; 6], Data::None).unwrap().csw.status, Status::Failed);
        let sense = host.command(&mut usb, &[3, 0, 0, 0, 18, 0], Data::In(18)).unwrap().data;
        assert_eq!((sense[2], sense[12]), (6, 0x28));
        make_ready(&mut usb, &mut host);
    }
}
