//! The hub, byte by byte. Over sockets it is tested in `tests/`.

use std::time::Duration;

use inband_usb::{
    Completion, DescriptorSet, DeviceEvent, Direction, EndpointAddress, TransferError, descriptor::Interface,
};

use super::{ConnectionId, Hub, Need};
use crate::{
    device::MAX_HELD,
    errno,
    usbip::wire::{self, BusId, Command, Request, Return, SHORT_NOT_OK, Status, Submit, ZERO_PACKET},
};

const OUT: EndpointAddress = EndpointAddress(0x01);
const IN: EndpointAddress = EndpointAddress(0x81);
const DEVID: u32 = 0x0001_0001;
const T0: Duration = Duration::from_secs(100);

fn set() -> DescriptorSet {
    DescriptorSet {
        vendor_id: 0x1d6b,
        product_id: 0x0104,
        device_version: 0x0123,
        manufacturer: "m".into(),
        product: "p".into(),
        serial: "s".into(),
        interfaces: vec![Interface {
            class: 0xfe,
            subclass: 1,
            protocol: 2,
            name: "n".into(),
            extra: Vec::new(),
            endpoints: vec![OUT, IN],
        }],
    }
}

/// A hub with a device attached on port 0.
fn hub() -> Hub {
    let mut hub = Hub::new();
    assert_eq!(hub.add_device(BusId::new("1-1").unwrap()), Some(0));
    hub.attach(0, &set(), T0).unwrap();
    hub
}

fn drain(hub: &mut Hub, id: ConnectionId) -> Vec<u8> {
    let mut bytes = Vec::new();
    loop {
        let part = hub.output(id).to_vec();
        if part.is_empty() {
            return bytes;
        }
        hub.sent(id, part.len(), T0);
        bytes.extend(part);
    }
}

fn import_request() -> Vec<u8> {
    Request::Import(BusId::new("1-1").unwrap()).to_bytes()
}

/// A client that has imported the device and configured it.
struct Session {
    hub: Hub,
    id: ConnectionId,
    seqnum: u32,
}

impl Session {
    fn imported() -> Self {
        let mut hub = hub();
        let id = hub.open(T0);
        hub.received(id, &import_request(), T0);
        assert_eq!(drain(&mut hub, id).len(), 320);
        Self { hub, id, seqnum: 0 }
    }

    fn configured() -> Self {
        let mut session = Self::imported();
        session.control([0x00, 9, 1, 0, 0, 0, 0, 0], Direction::Out, &[]);
        assert_eq!(session.returned(0), (1, 0, 0, vec![]));
        assert_eq!(session.hub.device(0).next_event(), Some(DeviceEvent::Enable));
        session
    }

    fn send(&mut self, submit: Submit, data: &[u8]) -> u32 {
        self.seqnum += 1;
        let mut bytes =
            Command::Submit(Submit { seqnum: self.seqnum, devid: DEVID, ..submit }).to_bytes().to_vec();
        bytes.extend(data);
        self.hub.received(self.id, &bytes, T0);
        self.seqnum
    }

    fn control(&mut self, setup: [u8; 8], direction: Direction, data: &[u8]) -> u32 {
        let length = u32::from(u16::from_le_bytes([setup[6], setup[7]]));
        self.send(Submit { setup, length, ..submit(EndpointAddress(0), direction) }, data)
    }

    fn bulk_out(&mut self, data: &[u8], flags: u32) -> u32 {
        self.send(Submit { length: data.len() as u32, flags, ..submit(OUT, Direction::Out) }, data)
    }

    fn bulk_in(&mut self, length: u32, flags: u32) -> u32 {
        self.send(Submit { length, flags, ..submit(IN, Direction::In) }, &[])
    }

    fn unlink(&mut self, target: u32) -> u32 {
        self.seqnum += 1;
        let command = Command::Unlink { seqnum: self.seqnum, devid: DEVID, target };
        self.hub.received(self.id, &command.to_bytes(), T0);
        self.seqnum
    }

    /// Takes one RET_SUBMIT with `carried` bytes of data: seqnum, status, length, data.
    fn returned(&mut self, carried: usize) -> (u32, i32, u32, Vec<u8>) {
        let (answer, data) = self.answer(carried);
        let Return::Submit { seqnum, status, length } = answer else { panic!("{answer:?}") };
        (seqnum, status, length, data)
    }

    fn answer(&mut self, carried: usize) -> (Return, Vec<u8>) {
        let mut bytes = Vec::new();
        while bytes.len() < 48 + carried {
            let part = self.hub.output(self.id);
            let part = part[..part.len().min(48 + carried - bytes.len())].to_vec();
            assert!(!part.is_empty(), "an answer is missing after {bytes:?}");
            self.hub.sent(self.id, part.len(), T0);
            bytes.extend(part);
        }
        (Return::from_bytes(bytes.first_chunk().unwrap()).unwrap(), bytes[48..].to_vec())
    }

    fn quiet(&mut self) {
        assert_eq!(self.hub.output(self.id), []);
    }

    fn completion(&mut self) -> Completion {
        match self.hub.device(0).next_event() {
            Some(DeviceEvent::Complete(completion)) => completion,
            other => panic!("{other:?}"),
        }
    }
}

fn submit(address: EndpointAddress, direction: Direction) -> Submit {
    Submit {
        seqnum: 0,
        devid: DEVID,
        direction,
        endpoint: address.number(),
        flags: 0,
        length: 0,
        setup: [0; 8],
    }
}

#[test]
fn device_list() {
    let mut hub = hub();
    hub.add_device(BusId::new("1-2").unwrap());
    let id = hub.open(T0);
    hub.received(id, &Request::DeviceList.to_bytes(), T0);
    let bytes = drain(&mut hub, id);
    assert_eq!(
        bytes[..12],
        [0x01, 0x11, 0x00, 0x05, 0, 0, 0, 0, 0, 0, 0, 1],
        "one of two ports has a device"
    );
    let device = wire::Device::from_bytes(bytes[12..324].try_into().unwrap()).unwrap();
    assert_eq!(device.busid.as_str(), "1-1");
    assert_eq!((device.vendor_id, device.product_id, device.device_version), (0x1d6b, 0x0104, 0x0123));
    assert_eq!((device.devid(), device.speed, device.class), (DEVID, wire::SPEED_HIGH, [0; 3]));
    assert_eq!((device.configuration, device.configurations, device.interfaces), (1, 1, 1));
    assert_eq!(bytes[324..], [0xfe, 1, 2, 0]);
    assert_eq!(hub.need(id), Need::Finish);

    assert_eq!(hub.detach(0, T0), None);
    let id = hub.open(T0);
    hub.received(id, &Request::DeviceList.to_bytes(), T0);
    assert_eq!(drain(&mut hub, id), [0x01, 0x11, 0x00, 0x05, 0, 0, 0, 0, 0, 0, 0, 0]);
}

#[test]
fn imports_that_are_refused() {
    let mut session = Session::imported();
    let second = session.hub.open(T0);
    session.hub.received(second, &import_request(), T0);
    assert_eq!(drain(&mut session.hub, second), wire::import_header(Status::Busy));
    assert_eq!(session.hub.need(second), Need::Finish);

    let third = session.hub.open(T0);
    session.hub.received(third, &Request::Import(BusId::new("9-9").unwrap()).to_bytes(), T0);
    assert_eq!(drain(&mut session.hub, third), wire::import_header(Status::NoDevice));

    // A client that goes makes room; a device that is not there cannot be had.
    session.hub.closed(session.id);
    let fourth = session.hub.open(T0);
    session.hub.received(fourth, &import_request(), T0);
    assert_eq!(drain(&mut session.hub, fourth).len(), 320);
    assert_eq!(session.hub.detach(0, T0), Some(fourth));
    let fifth = session.hub.open(T0);
    session.hub.received(fifth, &import_request(), T0);
    assert_eq!(drain(&mut session.hub, fifth), wire::import_header(Status::NoDevice));
}

#[test]
fn ports() {
    let mut hub = hub();
    assert_eq!(hub.add_device(BusId::new("1-1").unwrap()), None, "taken");
    for number in 2..128 {
        assert!(hub.add_device(BusId::new(&format!("1-{number}")).unwrap()).is_some());
    }
    assert_eq!(hub.add_device(BusId::new("1-128").unwrap()), None, "no address left");
}

#[test]
fn bytes_may_come_in_any_pieces() {
    let commands = |session: &mut Session, chunk: usize| {
        session.hub.device(0).submit(OUT, vec![0; 512]).unwrap();
        let mut bytes = Vec::new();
        let get = Submit {
            seqnum: 2,
            length: 18,
            setup: [0x80, 6, 0, 1, 0, 0, 18, 0],
            ..submit(EndpointAddress(0), Direction::In)
        };
        bytes.extend(Command::Submit(get).to_bytes());
        bytes.extend(
            Command::Submit(Submit { seqnum: 3, length: 5, ..submit(OUT, Direction::Out) }).to_bytes(),
        );
        bytes.extend(b"hello");
        bytes.extend(Command::Unlink { seqnum: 4, devid: DEVID, target: 3 }.to_bytes());
        for piece in bytes.chunks(chunk) {
            session.hub.received(session.id, piece, T0);
        }
        drain(&mut session.hub, session.id)
    };
    let whole = commands(&mut Session::configured(), 1000);
    assert_eq!(whole.len(), 48 + 18 + 48 + 48);
    for chunk in [1, 7, 47, 48, 49] {
        assert_eq!(commands(&mut Session::configured(), chunk), whole, "in pieces of {chunk}");
    }
}

#[test]
fn what_ends_a_connection() {
    let bad = |bytes: &[u8]| {
        let mut session = Session::configured();
        session.hub.received(session.id, bytes, T0);
        assert_eq!(session.hub.need(session.id), Need::Close, "{bytes:?}");
        session.hub.closed(session.id);
        assert_eq!(session.hub.device(0).next_event(), Some(DeviceEvent::Disable));
        assert_eq!(session.hub.device(0).next_event(), None);
    };
    let header = |seqnum, change: Submit| Command::Submit(Submit { seqnum, ..change }).to_bytes();
    bad(&[0xff; 48]);
    bad(&header(1, Submit { devid: 0x0001_0002, ..submit(IN, Direction::In) }));
    bad(&header(1, Submit { length: wire::MAX_TRANSFER + 1, ..submit(IN, Direction::In) }));
    bad(&header(1, Submit { length: u32::MAX, ..submit(OUT, Direction::Out) }));
    bad(&Command::Unlink { seqnum: 1, devid: 0, target: 0 }.to_bytes());
    let mut isochronous = header(1, submit(IN, Direction::In));
    isochronous[35] = 3;
    bad(&isochronous);

    for garbage in [&b"GET / HTTP/1.1\r\n\r\n"[..], &[0; 8], &[0x01, 0x11, 0x80, 0x04, 0, 0, 0, 0]] {
        let mut hub = hub();
        let id = hub.open(T0);
        hub.received(id, garbage, T0);
        assert_eq!(hub.need(id), Need::Close);
        assert_eq!(hub.output(id), []);
    }
}

#[test]
fn unlink_says_whether_the_transfer_was_returned() {
    let mut session = Session::configured();
    // Still queued: given up, and not returned.
    let queued = session.bulk_in(512, 0);
    let unlink = session.unlink(queued);
    assert_eq!(session.answer(0).0, Return::Unlink { seqnum: unlink, status: errno::ECONNRESET });
    session.hub.device(0).submit(IN, b"later".to_vec()).unwrap();
    session.quiet();
    // Returned before: told so, after the return.
    let returned = session.bulk_in(512, 0);
    let unlink = session.unlink(returned);
    assert_eq!(session.returned(5), (returned, 0, 5, b"later".to_vec()));
    assert_eq!(session.answer(0).0, Return::Unlink { seqnum: unlink, status: 0 });
    session.quiet();
    // Never there.
    let unlink = session.unlink(12345);
    assert_eq!(session.answer(0).0, Return::Unlink { seqnum: unlink, status: 0 });
}

#[test]
fn control_transfers_wait_for_the_one_before() {
    let mut session = Session::configured();
    let vendor = session.control([0xc1, 1, 0, 0, 0, 0, 4, 0], Direction::In, &[]);
    let standard = session.control([0x80, 8, 0, 0, 0, 0, 1, 0], Direction::In, &[]);
    session.quiet();
    assert!(
        matches!(session.hub.device(0).next_event(), Some(DeviceEvent::Setup(setup)) if setup.request == 1)
    );
    session.hub.device(0).control_write(b"abc").unwrap();
    assert_eq!(session.returned(3), (vendor, 0, 3, b"abc".to_vec()));
    assert_eq!(session.returned(1), (standard, 0, 1, vec![1]));

    // One that is given up lets the next one pass.
    let first = session.control([0xc1, 1, 0, 0, 0, 0, 4, 0], Direction::In, &[]);
    let second = session.control([0x80, 8, 0, 0, 0, 0, 1, 0], Direction::In, &[]);
    let unlink = session.unlink(first);
    assert_eq!(session.answer(0).0, Return::Unlink { seqnum: unlink, status: errno::ECONNRESET });
    assert_eq!(session.returned(1), (second, 0, 1, vec![1]));
    assert_eq!(session.hub.device(0).next_event(), None, "the request was given up before it was delivered");
}

#[test]
fn control_transfers_that_contradict_themselves() {
    let mut session = Session::configured();
    // wLength is not the buffer's length.
    let bad =
        Submit { length: 4, setup: [0xc1, 1, 0, 0, 0, 0, 5, 0], ..submit(EndpointAddress(0), Direction::In) };
    let seqnum = session.send(bad, &[]);
    assert_eq!(session.returned(0), (seqnum, errno::EPROTO, 0, vec![]));
    // The direction of the setup packet is not the transfer's.
    let bad = Submit {
        length: 1,
        setup: [0xc1, 1, 0, 0, 0, 0, 1, 0],
        ..submit(EndpointAddress(0), Direction::Out)
    };
    let seqnum = session.send(bad, &[7]);
    assert_eq!(session.returned(0), (seqnum, errno::EPROTO, 0, vec![]));
    // Without data the direction means nothing.
    for direction in [Direction::In, Direction::Out] {
        let seqnum = session.control([0xc1, 1, 0, 0, 0, 0, 0, 0], direction, &[]);
        assert!(matches!(session.hub.device(0).next_event(), Some(DeviceEvent::Setup(_))));
        assert_eq!(session.hub.device(0).control_read(&mut []), Ok(0));
        assert_eq!(session.returned(0), (seqnum, 0, 0, vec![]));
    }
}

#[test]
fn before_the_configuration() {
    let mut session = Session::imported();
    let seqnum = session.control([0xc1, 1, 0, 0, 0, 0, 4, 0], Direction::In, &[]);
    assert_eq!(session.returned(0), (seqnum, errno::EPIPE, 0, vec![]), "a class or vendor request");
    let seqnum = session.bulk_in(512, 0);
    assert_eq!(session.returned(0), (seqnum, errno::EPROTO, 0, vec![]));
    let seqnum = session.bulk_out(b"x", 0);
    assert_eq!(session.returned(0), (seqnum, errno::EPROTO, 0, vec![]));
    assert_eq!(session.hub.device(0).next_event(), None);
    let mut session = Session::configured();
    let seqnum = session.send(Submit { endpoint: 5, length: 512, ..submit(IN, Direction::In) }, &[]);
    assert_eq!(session.returned(0), (seqnum, errno::EPROTO, 0, vec![]), "no such endpoint");
}

#[test]
fn setting_the_configuration_again_is_a_reset() {
    let mut session = Session::configured();
    session.hub.device(0).submit(OUT, vec![0; 512]).unwrap();
    let pending = session.bulk_in(512, 0);
    session.hub.device(0).set_halt(OUT);
    let set = session.control([0x00, 9, 1, 0, 0, 0, 0, 0], Direction::Out, &[]);
    assert_eq!(session.returned(0), (set, 0, 0, vec![]));
    assert_eq!(session.returned(0), (pending, errno::ESHUTDOWN, 0, vec![]));
    // Until it has heard of it, the function's transfers are for what was before.
    assert!(session.hub.device(0).submit(OUT, vec![0; 512]).is_err());
    assert_eq!(session.completion().result, Err(TransferError::Disabled));
    assert_eq!(session.hub.device(0).next_event(), Some(DeviceEvent::Disable));
    assert_eq!(session.hub.device(0).next_event(), Some(DeviceEvent::Enable));
    session.hub.device(0).submit(OUT, vec![0; 512]).unwrap();
    let seqnum = session.bulk_out(b"x", 0);
    assert_eq!(session.returned(0), (seqnum, 0, 1, vec![]), "the halt is gone");

    // SET_INTERFACE is no reset: the function is enabled again, not disabled.
    assert_eq!(session.completion().length, 1);
    session.control([0x01, 11, 0, 0, 0, 0, 0, 0], Direction::Out, &[]);
    assert_eq!(session.hub.device(0).next_event(), Some(DeviceEvent::Enable));
    assert_eq!(session.hub.device(0).next_event(), None);

    // However often a client does it, the function hears of one change.
    for _ in 0..1000 {
        session.control([0x00, 9, 1, 0, 0, 0, 0, 0], Direction::Out, &[]);
        session.control([0x00, 9, 0, 0, 0, 0, 0, 0], Direction::Out, &[]);
        drain(&mut session.hub, session.id);
    }
    assert_eq!(session.hub.device(0).next_event(), Some(DeviceEvent::Disable));
    assert_eq!(session.hub.device(0).next_event(), None);
}

#[test]
fn transfer_flags() {
    let mut session = Session::configured();
    // A short answer where the driver forbids it.
    session.hub.device(0).submit(IN, b"abc".to_vec()).unwrap();
    let seqnum = session.bulk_in(512, SHORT_NOT_OK);
    assert_eq!(session.returned(3), (seqnum, errno::EREMOTEIO, 3, b"abc".to_vec()));
    assert_eq!(session.completion().result, Ok(()));

    // A zero-length packet after whole ones: into the room that is left, or into the next buffer.
    for (buffers, lengths) in [(vec![1024], vec![512]), (vec![512, 512], vec![512, 0])] {
        for length in buffers {
            session.hub.device(0).submit(OUT, vec![0; length]).unwrap();
        }
        let seqnum = session.bulk_out(&[7; 512], ZERO_PACKET);
        assert_eq!(session.returned(0), (seqnum, 0, 512, vec![]));
        for length in lengths {
            assert_eq!(session.completion().length, length);
        }
    }
    // The transfer has not ended before that packet is taken.
    session.hub.device(0).submit(OUT, vec![0; 512]).unwrap();
    session.bulk_out(&[7; 512], ZERO_PACKET);
    assert_eq!(session.completion().length, 512);
    session.quiet();
}

#[test]
fn more_than_was_asked_for() {
    let mut session = Session::configured();
    session.hub.device(0).submit(IN, vec![5; 700]).unwrap();
    // A host must not ask for part of a packet: the packet that does not fit is babble.
    let seqnum = session.bulk_in(600, 0);
    assert_eq!(session.returned(512), (seqnum, errno::EOVERFLOW, 512, vec![5; 512]));
    let seqnum = session.bulk_in(0, 0);
    assert_eq!(session.returned(0), (seqnum, errno::EOVERFLOW, 0, vec![]));
    let seqnum = session.bulk_in(512, 0);
    assert_eq!(session.returned(188), (seqnum, 0, 188, vec![5; 188]));
    assert_eq!(session.completion().length, 700);
}

#[test]
fn out_data_nobody_takes_stops_the_reading() {
    let mut session = Session::configured();
    let megabyte = vec![3; 1 << 20];
    let mut sent = 0;
    while session.hub.need(session.id) == (Need::Io { read: true }) {
        session.bulk_out(&megabyte, 0);
        sent += 1;
        assert!(sent < 20, "it never stops");
    }
    assert!(sent * megabyte.len() > MAX_HELD && sent * megabyte.len() <= MAX_HELD + megabyte.len());
    // What is in the socket stays there; what was read already waits.
    let unlink = session.unlink(99);
    session.quiet();
    for _ in 0..2048 {
        session.hub.device(0).submit(OUT, vec![0; 512]).unwrap();
        assert_eq!(session.completion().length, 512);
    }
    assert_eq!(session.returned(0).2, 1 << 20);
    assert_eq!(session.answer(0).0, Return::Unlink { seqnum: unlink, status: 0 });
    assert_eq!(session.hub.need(session.id), Need::Io { read: true });
}

#[test]
fn in_data_nobody_reads_stays_with_the_function() {
    let mut session = Session::configured();
    for _ in 0..16 {
        session.bulk_in(1 << 20, 0);
    }
    let mut moved = 0;
    while let Ok(()) = session.hub.device(0).submit(IN, vec![9; 1 << 20]) {
        moved += 1;
        assert!(moved < 100, "it never stops");
    }
    let mut completed = 0;
    while let Some(DeviceEvent::Complete(_)) = session.hub.device(0).next_event() {
        completed += 1;
    }
    assert_eq!(completed, 4, "with their headers they are more than 4 MiB");
    assert_eq!(session.hub.need(session.id), Need::Io { read: false });
    for _ in 0..16 {
        assert_eq!(session.returned(1 << 20).2, 1 << 20);
    }
    assert_eq!(session.hub.need(session.id), Need::Io { read: true });
}

#[test]
fn too_many_transfers_end_the_connection() {
    let mut session = Session::configured();
    for _ in 0..4096 {
        session.bulk_in(512, 0);
    }
    assert_eq!(session.hub.need(session.id), Need::Io { read: true });
    session.bulk_in(512, 0);
    assert_eq!(session.hub.need(session.id), Need::Close);
}

#[test]
fn the_answer_before_the_device_leaves_arrives() {
    let mut session = Session::configured();
    let detach = session.control([0x21, 0, 0xe8, 3, 0, 0, 0, 0], Direction::Out, &[]);
    session.bulk_in(512, 0);
    assert!(matches!(session.hub.device(0).next_event(), Some(DeviceEvent::Setup(_))));
    session.hub.device(0).control_read(&mut []).unwrap();
    let mut other = set();
    other.product_id = 0x0105;
    assert_eq!(session.hub.attach(0, &other, T0).unwrap(), Some(session.id));
    assert_eq!(session.hub.need(session.id), Need::Io { read: false });
    // The next client does not wait for the one that goes.
    let next = session.hub.open(T0);
    session.hub.received(next, &import_request(), T0);
    let reply = drain(&mut session.hub, next);
    assert_eq!(wire::Device::from_bytes(reply[8..].try_into().unwrap()).unwrap().product_id, 0x0105);

    assert_eq!(session.returned(0), (detach, 0, 0, vec![]));
    session.quiet();
    assert_eq!(session.hub.need(session.id), Need::Finish);
    session.hub.tick(T0 + Duration::from_secs(1));
    assert_eq!(session.hub.need(session.id), Need::Close);
}

#[test]
fn visitors_do_not_stay() {
    let mut hub = hub();
    let idle = hub.open(T0);
    assert_eq!(hub.deadline(), Some(T0 + Duration::from_secs(5)));
    hub.tick(T0 + Duration::from_secs(4));
    assert_eq!(hub.need(idle), Need::Io { read: true });
    hub.tick(T0 + Duration::from_secs(5));
    assert_eq!(hub.need(idle), Need::Close);
    hub.closed(idle);
    assert_eq!(hub.deadline(), None);

    // Idle connections make room for others, the oldest first; importers do not count.
    let importer = hub.open(T0);
    hub.received(importer, &import_request(), T0);
    let idle: Vec<_> = (0..8).map(|_| hub.open(T0)).collect();
    assert!(idle.iter().all(|id| hub.need(*id) == Need::Io { read: true }));
    let ninth = hub.open(T0);
    assert_eq!(hub.need(idle[0]), Need::Close);
    for id in [idle[1], idle[7], ninth, importer] {
        assert_eq!(hub.need(id), Need::Io { read: true });
    }
}
