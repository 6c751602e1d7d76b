//! usbredir over sockets: the suite that every pair of backends passes, and what a socket has besides.
#![cfg(target_os = "linux")]
#![expect(clippy::expect_used, clippy::panic, clippy::unwrap_used, reason = "a test reports by panicking")]

mod guest;

use std::{
    fs,
    os::unix::{
        fs::PermissionsExt as _,
        net::{UnixListener, UnixStream},
    },
    path::PathBuf,
    sync::{Arc, Mutex},
    thread,
    time::{Duration, Instant},
};

use guest::{Connection, Guest, Home, Opened, Opening};
use inband_usb::{
    DescriptorSet, DeviceBackend as _, DeviceEvent,
    conformance::{Rig, run_all},
    descriptor::Interface,
};
use inband_virtual::usbredir::{Slot, SlotError};
use tempfile::TempDir;

/// How the two ends meet, and what becomes of the connection when a program in the guest ends.
enum Meeting {
    /// QEMU listens, and goes with the program.
    QemuListens(UnixListener),
    /// QEMU connects, and goes with the program.
    QemuConnects(PathBuf),
    /// QEMU listens, and stays.
    Stays(UnixListener),
}

struct Sockets {
    slot: Slot,
    meeting: Meeting,
    home: Home,
    opening: Option<Opening>,
    _folder: TempDir,
}

impl Sockets {
    fn new(meeting: impl FnOnce(PathBuf) -> (Slot, Meeting)) -> Self {
        let folder = TempDir::new().unwrap();
        let (slot, meeting) = meeting(folder.path().join("slot"));
        Self { slot, meeting, home: Home::default(), opening: None, _folder: folder }
    }

    fn qemu_listens() -> Self {
        Self::new(|path| {
            let listener = listener(&path);
            (Slot::connect(&path).unwrap(), Meeting::QemuListens(listener))
        })
    }

    /// A connection of QEMU's with a device, if there is one now.
    fn connection(&mut self) -> Option<Connection> {
        let kept = match self.meeting {
            Meeting::Stays(_) => self.home.take().filter(|connection| !connection.is_over()),
            Meeting::QemuListens(_) | Meeting::QemuConnects(_) => {
                self.home.take().filter(|connection| connection.device().is_none() && !connection.is_over())
            }
        };
        let mut connection = match kept {
            Some(connection) => connection,
            None => Connection::new(match &self.meeting {
                Meeting::QemuListens(listener) | Meeting::Stays(listener) => listener.accept().ok()?.0,
                Meeting::QemuConnects(path) => UnixStream::connect(path).unwrap(),
            }),
        };
        connection.serve();
        if connection.device().is_some() {
            return Some(connection);
        }
        self.home.put(connection);
        None
    }
}

fn listener(path: &PathBuf) -> UnixListener {
    let listener = UnixListener::bind(path).unwrap();
    listener.set_nonblocking(true).unwrap();
    listener
}

impl Rig for Sockets {
    type Device = Slot;
    type Host = Guest;

    fn device(&mut self) -> &mut Slot {
        &mut self.slot
    }

    fn open(&mut self, descriptors: &DescriptorSet) -> Option<Guest> {
        let opening = match self.opening.take() {
            Some(opening) => opening,
            None => {
                let connection = self.connection()?;
                if connection.device() != Some((descriptors.vendor_id, descriptors.product_id)) {
                    self.home.put(connection);
                    return None;
                }
                Opening::new(connection)
            }
        };
        match opening.poll(&self.home) {
            Opened::Device(guest) => Some(*guest),
            Opened::NotYet(opening) => {
                self.opening = Some(*opening);
                None
            }
            Opened::Gone => None,
        }
    }

    fn idle(&mut self) {
        self.slot.wait(Duration::from_millis(1));
    }
}

#[test]
fn usbredir_conforms_as_a_client() {
    run_all(&mut Sockets::qemu_listens());
}

#[test]
fn usbredir_conforms_as_a_server() {
    run_all(&mut Sockets::new(|path| {
        let slot = Slot::listen(&path).unwrap();
        (slot, Meeting::QemuConnects(path))
    }));
}

#[test]
fn usbredir_conforms_on_one_connection() {
    run_all(&mut Sockets::new(|path| {
        let listener = listener(&path);
        (Slot::connect(&path).unwrap(), Meeting::Stays(listener))
    }));
}

fn set() -> DescriptorSet {
    DescriptorSet {
        vendor_id: 0x1d6b,
        product_id: 0x0104,
        device_version: 0x0123,
        manufacturer: "m".into(),
        product: "p".into(),
        serial: "s".into(),
        interfaces: vec![Interface {
            class: 0xff,
            subclass: 1,
            protocol: 2,
            name: "n".into(),
            extra: Vec::new(),
            endpoints: Vec::new(),
        }],
    }
}

/// Opens the device, however long that takes.
fn open(rig: &mut Sockets) -> Guest {
    let deadline = Instant::now() + Duration::from_secs(10);
    loop {
        while rig.device().poll_event().unwrap().is_some() {}
        if let Some(guest) = rig.open(&set()) {
            return guest;
        }
        assert!(Instant::now() < deadline, "no device");
        rig.idle();
    }
}

#[test]
fn a_qemu_that_comes_later_and_again_is_found() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("slot");
    let mut slot = Slot::connect(&path).unwrap();
    slot.attach(&set()).unwrap();
    slot.wait(Duration::ZERO);
    for _ in 0..2 {
        let listener = listener(&path);
        let mut rig = Sockets {
            slot: slot.clone(),
            meeting: Meeting::QemuListens(listener),
            home: Home::default(),
            opening: None,
            _folder: TempDir::new().unwrap(),
        };
        drop(open(&mut rig));
        drop(rig);
        fs::remove_file(&path).unwrap();
        while slot.poll_event().unwrap() != Some(DeviceEvent::Disable) {
            slot.wait(Duration::from_secs(1));
        }
    }
}

#[test]
fn a_socket_is_its_owners_alone_and_goes_with_the_slot() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("slot");
    let slot = Slot::listen(&path).unwrap();
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    // Somebody listens there.
    assert!(matches!(Slot::listen(&path), Err(SlotError::Listen(_))));
    drop(slot);
    assert!(!path.exists());
    // What a process that was killed has left behind.
    drop(UnixListener::bind(&path).unwrap());
    drop(Slot::listen(&path).unwrap());
    // A file is nobody's to take away.
    fs::write(&path, "kept").unwrap();
    assert!(matches!(Slot::listen(&path), Err(SlotError::Listen(_))));
    assert_eq!(fs::read(&path).unwrap(), b"kept");
    let long = folder.path().join("x".repeat(108));
    assert!(matches!(Slot::connect(&long), Err(SlotError::Path(_))));
    assert!(matches!(Slot::listen(&long), Err(SlotError::Path(_))));
}

#[test]
fn a_waker_ends_the_wait() {
    let folder = TempDir::new().unwrap();
    let slot = Slot::listen(&folder.path().join("slot")).unwrap();
    let waker = slot.waker();
    let started = Instant::now();
    thread::scope(|scope| {
        scope.spawn(move || waker.wake());
        slot.wait(Duration::from_secs(60));
    });
    assert!(started.elapsed() < Duration::from_secs(30));
}

#[test]
fn transfers_are_recorded() {
    #[derive(Clone, Default)]
    struct Sink(Arc<Mutex<Vec<u8>>>);
    impl std::io::Write for Sink {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().extend(bytes);
            Ok(bytes.len())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    let sink = Sink::default();
    let mut rig = Sockets::qemu_listens();
    rig.slot.tap(sink.clone()).unwrap();
    rig.slot.attach(&set()).unwrap();
    drop(open(&mut rig));
    let bytes = sink.0.lock().unwrap().clone();
    // The device descriptor's bytes are in it.
    let descriptor = set().device_bytes();
    assert!(bytes.windows(descriptor.len()).any(|window| window == descriptor));
}
