//! The program as a device of a QEMU guest: its sockets, and a QEMU that goes. What else goes over them is tested in `crates/virtual`, and in a guest.

use std::{
    collections::BTreeSet,
    io::{BufRead as _, BufReader, Read as _, Write as _},
    os::unix::{
        fs::PermissionsExt as _,
        net::{UnixListener, UnixStream},
    },
    path::Path,
    process::Stdio,
    time::{Duration, Instant},
};

use inband_usb::{EndpointAddress, HostCompletion, HostDevice, HostError, HostTransfer, TransferId};
use inband_virtual::usbredir::wire::{Capabilities, FromGuest, Header, Status, ToGuest};
use inband_volume::bot::host::Data;

use crate::{
    disk_host::{Disk, cdb10},
    home::{Home, good_config, signal},
};

/// Bytes of a hello with its header.
const HELLO: usize = 80;

/// What the one who connects is greeted with; then the program is ended.
fn greeting(usb: &str, connect: impl FnOnce(&Home) -> UnixStream) -> Home {
    let home = Home::with_store();
    home.configure(&good_config().replace("usbip:127.0.0.1:0", usb));
    let mut child = home
        .inbandd(&["--pcap", "bus.pcap"])
        .current_dir(home.path(""))
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut log = BufReader::new(child.stderr.take().unwrap()).lines().map(Result::unwrap);
    let started = log.find(|line| line.contains("event=started")).unwrap();
    // The path is that of the configuration's directory.
    let name = usb.split(':').next().unwrap();
    assert!(started.contains(&format!("usb={name}:{}", home.path("qemu.sock").display())), "{started}");
    let mut stream = connect(&home);
    let mut hello = [0; HELLO];
    stream.read_exact(&mut hello).unwrap();
    assert_eq!(hello[..12], [0, 0, 0, 0, 68, 0, 0, 0, 0, 0, 0, 0]);
    assert!(hello[12..].starts_with(b"inband "));
    signal(child.id(), "TERM");
    assert!(child.wait().unwrap().success());
    assert!(home.path("bus.pcap").metadata().unwrap().len() >= 24, "the header of a recording");
    home
}

#[test]
fn it_connects_to_the_socket_of_qemu_when_there_is_one() {
    greeting("usbredir:qemu.sock", |home| {
        let listener = UnixListener::bind(home.path("qemu.sock")).unwrap();
        drop(listener.accept().unwrap());
        // Again, after the first connection has ended.
        listener.accept().unwrap().0
    });
}

#[test]
fn it_listens_for_qemu() {
    let home = greeting("usbredir-listen:qemu.sock", |home| {
        let path = home.path("qemu.sock");
        assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o600);
        UnixStream::connect(path).unwrap()
    });
    assert!(!home.path("qemu.sock").exists());
}

/// QEMU at the program's socket, with a guest that has the device in use. An answer to what it did not ask is a failure.
struct Qemu {
    stream: UnixStream,
    capabilities: Capabilities,
    /// The id of what is asked next.
    next: u64,
    /// What is to be answered.
    asked: BTreeSet<u64>,
    start: Instant,
}

impl Qemu {
    /// A device with this product id, configured. Ids begin with this one.
    fn connect(path: &Path, product: u16, first: u64) -> Self {
        let stream = UnixStream::connect(path).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        let capabilities = Capabilities::default();
        let mut qemu =
            Self { stream, capabilities, next: first, asked: BTreeSet::new(), start: Instant::now() };
        qemu.say(0, &FromGuest::Hello(Capabilities(0xff)));
        let (_, message) = qemu.hear();
        let ToGuest::Hello(theirs) = message.parse(capabilities) else { panic!("{message:?}") };
        qemu.capabilities = Capabilities(0xff).both(theirs);
        loop {
            match qemu.hear().1.parse(qemu.capabilities) {
                ToGuest::DeviceConnect { product_id, .. } if product_id == product => break,
                ToGuest::InterfaceInfo(_) | ToGuest::EpInfo(_) => {}
                other => panic!("{other:?}"),
            }
        }
        qemu.say(0, &FromGuest::Reset);
        qemu.ask(&FromGuest::SetConfiguration { value: 1 });
        qemu.answer();
        qemu
    }

    fn say(&mut self, id: u64, message: &FromGuest<'_>) {
        let mut bytes = Vec::new();
        message.encode(id, self.capabilities, &mut bytes);
        self.stream.write_all(&bytes).unwrap();
    }

    fn ask(&mut self, message: &FromGuest<'_>) -> TransferId {
        let id = self.next;
        self.next += 1;
        self.asked.insert(id);
        self.say(id, message);
        TransferId(id)
    }

    /// The next message, and its id.
    fn hear(&mut self) -> (u64, Message) {
        // Before anything is agreed on, a header is short as well.
        let mut header = vec![0; Header::size(self.capabilities)];
        self.stream.read_exact(&mut header).unwrap();
        let Header { kind, length, id } = Header::parse(&header, header.len()).unwrap();
        let mut body = vec![0; length as usize];
        self.stream.read_exact(&mut body).unwrap();
        (id, Message { kind, body })
    }

    /// The next answer.
    fn answer(&mut self) -> HostCompletion {
        let (id, message) = loop {
            let (id, message) = self.hear();
            // What is there is told again with a configuration, or a setting.
            if !matches!(message.parse(self.capabilities), ToGuest::InterfaceInfo(_) | ToGuest::EpInfo(_)) {
                break (id, message);
            }
        };
        let message = message.parse(self.capabilities);
        assert!(self.asked.remove(&id), "{id} was not asked, or has its answer: {message:?}");
        let (data, length) = match message {
            ToGuest::BulkIn { status: Status::Success, data, .. } => (data.to_vec(), data.len()),
            ToGuest::BulkOut { status: Status::Success, length, .. } => (Vec::new(), length as usize),
            ToGuest::ConfigurationStatus { status: Status::Success, .. }
            | ToGuest::AltSettingStatus { status: Status::Success, .. } => (Vec::new(), 0),
            other => panic!("{other:?}"),
        };
        HostCompletion { id: TransferId(id), data, length, result: Ok(()) }
    }
}

#[derive(Debug)]
struct Message {
    kind: u32,
    body: Vec<u8>,
}

impl Message {
    fn parse(&self, capabilities: Capabilities) -> ToGuest<'_> {
        ToGuest::parse(self.kind, &self.body, capabilities).unwrap()
    }
}

impl HostDevice for Qemu {
    fn submit(&mut self, transfer: HostTransfer) -> Result<TransferId, HostError> {
        Ok(match transfer {
            HostTransfer::BulkOut { endpoint, data } => {
                self.ask(&FromGuest::BulkOut { endpoint, data: &data })
            }
            HostTransfer::BulkIn { endpoint, length } => {
                self.ask(&FromGuest::BulkIn { endpoint, length: length as u32 })
            }
            HostTransfer::ControlOut { .. } | HostTransfer::ControlIn { .. } => {
                panic!("a disk that works needs no {transfer:?}")
            }
        })
    }

    fn poll(&mut self) -> Option<HostCompletion> {
        (!self.asked.is_empty()).then(|| self.answer())
    }

    fn claim(&mut self, interface: u8) -> Result<(), HostError> {
        self.ask(&FromGuest::SetAltSetting { interface, alternate: 0 });
        self.answer().result
    }

    fn cancel(&mut self, id: TransferId) {
        panic!("{id:?} has no answer");
    }

    fn clear_halt(&mut self, endpoint: EndpointAddress) -> Result<(), HostError> {
        panic!("{endpoint:?} is halted");
    }

    fn reset(&mut self) -> Result<(), HostError> {
        panic!("a disk that works is not reset");
    }

    fn wait(&mut self, _limit: Duration) {}

    fn now(&self) -> Duration {
        self.start.elapsed()
    }
}

/// What a guest does before its QEMU goes.
type Leave<'a> = &'a dyn Fn(&mut Disk<Qemu>);

/// Who goes on where the last host was waits for data that the next one does not send, and takes its command for them.
#[test]
fn a_command_that_qemu_left_in_its_data_is_nothing_to_the_next_one() {
    const BLOCKS: u16 = 64;
    let home = Home::with_store();
    let config = good_config().replace("usbip:127.0.0.1:0", "usbredir-listen:qemu.sock");
    let config = config.replace("dfu_product_id = 2", "dfu_product_id = 2\nvolume_product_id = 3");
    home.configure(&format!("{config}\n[doors]\nvolume = {{ policy = \"always\", profile = \"raw\" }}\n"));
    let mut child = home.inbandd(&[]).current_dir(home.path("")).stderr(Stdio::piped()).spawn().unwrap();
    let mut log = BufReader::new(child.stderr.take().unwrap()).lines().map(Result::unwrap);
    assert!(log.any(|line| line.contains("event=started")));

    let open = |first| Disk::open(Qemu::connect(&home.path("qemu.sock"), 3, first));
    let data = [0x5a; BLOCKS as usize * 512];
    let write = |disk: &mut Disk<Qemu>| {
        let cbw = disk.bot.cbw(&cdb10(0x2a, 100, BLOCKS), Data::Out(&data));
        disk.bot.send(&mut disk.usb, &cbw).unwrap();
    };
    let read = |disk: &mut Disk<Qemu>| {
        let cbw = disk.bot.cbw(&cdb10(0x28, 100, BLOCKS), Data::In(data.len() as u32));
        disk.bot.send(&mut disk.usb, &cbw).unwrap();
    };
    let leave: [Leave<'_>; 5] = [
        &write,
        &|disk| {
            write(disk);
            disk.bot.data(&mut disk.usb, Data::Out(&data[..data.len() / 2])).unwrap();
        },
        // Already waiting for the status.
        &|disk| {
            write(disk);
            disk.usb.submit(HostTransfer::BulkIn { endpoint: EndpointAddress(0x82), length: 512 }).unwrap();
        },
        &read,
        &|disk| {
            read(disk);
            disk.bot.data(&mut disk.usb, Data::In(data.len() as u32 / 2)).unwrap();
        },
    ];
    for (number, leave) in (1..).zip(leave) {
        let mut disk = open(number * 1000);
        assert!(disk.text().starts_with("SPEC=INBAND-RAW-1"), "{number}");
        leave(&mut disk);
    }
    let mut disk = open(9000);
    assert_eq!(disk.write(100, &data), Ok(()));
    assert_eq!(disk.read(100, BLOCKS).unwrap(), data);
    signal(child.id(), "TERM");
    assert!(child.wait().unwrap().success());
}
