//! A hostile USB/IP client against the server, with a function behind it that uses every call.
//!
//! The first byte says how: bit 7, the device is imported and configured already; bit 6, the client reads nothing before the
//! end; bits 5..0, the pieces the rest comes in, in units of 16 bytes, 0 for one piece. The rest is what the client sends.
//!
//! Besides: what the server sends is made of whole messages, and each returns a transfer that is in flight.

use std::time::Duration;

use inband_usb::{DescriptorSet, DeviceEvent, Direction, EndpointAddress, Setup, descriptor::Interface};
use inband_virtual::usbip::{
    BusId,
    server::{Device, Hub, Need},
    wire::{self, Command, Request, Return, Submit},
};

const OUT: EndpointAddress = EndpointAddress(0x01);
const IN: EndpointAddress = EndpointAddress(0x81);
const DEVID: u32 = 0x0001_0001;
const NOW: Duration = Duration::ZERO;
/// More than the server holds for a client: 4 MiB of each direction, a transfer and a message on top of each.
const MOST_HELD: usize = 12 << 20;

pub(crate) fn run(input: &[u8]) {
    let Some((&how, bytes)) = input.split_first() else { return };
    let mut hub = Hub::new();
    let port = hub.add_device(BusId::new("1-1").expect("a busid")).expect("a port");
    hub.attach(port, &set(0), NOW).expect("valid descriptors");
    let id = hub.open(NOW);
    let mut sent = Vec::new();
    let mut received = Vec::new();
    if how & 0x80 != 0 {
        sent = prelude();
        hub.received(id, &sent, NOW);
    }
    let lazy = how & 0x40 != 0;
    let piece = match usize::from(how & 0x3f) * 16 {
        0 => bytes.len().max(1),
        piece => piece,
    };
    let mut pieces = bytes.chunks(piece);
    let mut attachments = 0;
    loop {
        function(&mut hub, port, &mut attachments);
        let need = hub.need(id);
        if !lazy {
            drain(&mut hub, id, &mut received);
        }
        assert!(hub.output(id).len() <= MOST_HELD, "the output grows without bound");
        match need {
            Need::Io { read: true } => {
                let Some(piece) = pieces.next() else { break };
                sent.extend(piece);
                hub.received(id, piece, NOW);
            }
            // A reader that does not read, or a function that does not take: nothing more comes of it.
            Need::Io { read: false } if lazy || hub.need(id) == need => break,
            Need::Io { read: false } => {}
            Need::Finish | Need::Close => break,
        }
    }
    let broken = hub.need(id) == Need::Close;
    while !broken && drain(&mut hub, id, &mut received) {
        function(&mut hub, port, &mut attachments);
    }
    if !broken {
        check(&sent, &received);
    }
    hub.tick(Duration::from_secs(10));
    hub.closed(id);
    function(&mut hub, port, &mut attachments);
    assert!(hub.importer(port).is_none() && !hub.has_event(), "something is left of the connection");
}

/// An import and SET_CONFIGURATION.
fn prelude() -> Vec<u8> {
    let mut bytes = Request::Import(BusId::new("1-1").expect("a busid")).to_bytes();
    let submit = Submit {
        seqnum: 1,
        devid: DEVID,
        direction: Direction::Out,
        endpoint: 0,
        flags: 0,
        length: 0,
        setup: [0, 9, 1, 0, 0, 0, 0, 0],
    };
    bytes.extend(Command::Submit(submit).to_bytes());
    bytes
}

fn set(product_id: u16) -> DescriptorSet {
    DescriptorSet {
        vendor_id: 0x1d6b,
        product_id,
        device_version: 0,
        manufacturer: String::new(),
        product: "Fuzz".into(),
        serial: "1".into(),
        interfaces: vec![Interface {
            class: 0xff,
            subclass: 0,
            protocol: 0,
            name: String::new(),
            extra: Vec::new(),
            endpoints: vec![OUT, IN],
        }],
    }
}

/// Takes the device's events; what it does with a request is its bRequest.
fn function(hub: &mut Hub, port: usize, attachments: &mut u16) {
    // Each event takes something of the client's, of which there is no end of empty transfers but of input.
    while let Some(event) = hub.device(port).next_event() {
        match event {
            DeviceEvent::Enable => {
                for length in [512, 2048] {
                    let _ = hub.device(port).submit(OUT, vec![0; length]);
                }
                for length in [0, 100, 512, 1024] {
                    let _ = hub.device(port).submit(IN, vec![0x55; length]);
                }
            }
            DeviceEvent::Setup(setup) => request(hub, port, setup, attachments),
            DeviceEvent::Complete(done) if done.result.is_ok() => {
                assert!(done.length <= done.buffer.len());
                let _ = hub.device(port).submit(done.endpoint, done.buffer);
            }
            DeviceEvent::Complete(_) | DeviceEvent::Disable | DeviceEvent::Suspend | DeviceEvent::Resume => {}
        }
    }
}

fn request(hub: &mut Hub, port: usize, setup: Setup, attachments: &mut u16) {
    let device: &mut Device = hub.device(port);
    match setup.request {
        0 => {}
        1 => {
            let _ = device.control_stall();
        }
        2 => device.set_halt(EndpointAddress(setup.value as u8)),
        3 => device.cancel(EndpointAddress(setup.value as u8)),
        4 if *attachments < 4 => {
            let _ = device.control_read(&mut []);
            *attachments += 1;
            hub.attach(port, &set(*attachments), NOW).expect("valid descriptors");
        }
        5 => {
            hub.detach(port, NOW);
        }
        _ if setup.length == 0 || setup.direction() == Direction::Out => {
            let _ = device.control_read(&mut vec![0; usize::from(setup.length)]);
        }
        _ => {
            let _ = device.control_write(&vec![0xaa; usize::from(setup.value)]);
        }
    }
}

/// Reads what the server sends; whether there was something.
fn drain(hub: &mut Hub, id: inband_virtual::usbip::server::ConnectionId, received: &mut Vec<u8>) -> bool {
    let mut any = false;
    while !hub.output(id).is_empty() {
        any = true;
        let part = hub.output(id).to_vec();
        received.extend(&part);
        hub.sent(id, part.len(), NOW);
    }
    any
}

/// Everything the server sent after an import, against everything it was sent.
fn check(sent: &[u8], received: &[u8]) {
    let Ok(Some((Request::Import(_), used))) = Request::parse(sent) else { return };
    let Some((header, mut answers)) = received.split_first_chunk() else {
        panic!("an import without an answer")
    };
    if wire::parse_import_header(header) != Ok(wire::Status::Ok) {
        assert!(answers.is_empty(), "a refusal goes on");
        return;
    }
    answers = answers.get(wire::DEVICE_SIZE..).expect("a device follows");
    let mut in_flight = Vec::new();
    let mut unlinks = Vec::new();
    let mut commands = &sent[used..];
    while let Some((header, rest)) = commands.split_first_chunk() {
        let Ok(command) = Command::from_bytes(header) else { break };
        commands = rest;
        match command {
            Command::Submit(submit) => {
                if submit.direction == Direction::Out {
                    let Some(rest) = rest.get(submit.length as usize..) else { break };
                    commands = rest;
                }
                in_flight.push(submit);
            }
            Command::Unlink { seqnum, .. } => unlinks.push(seqnum),
        }
    }
    while !answers.is_empty() {
        let (header, rest) = answers.split_first_chunk().expect("a whole message");
        answers = rest;
        match Return::from_bytes(header).expect("a message that can be read") {
            Return::Submit { seqnum, length, .. } => {
                // Seqnums are the client's affair: where it uses one twice, whichever fits was meant.
                let at = in_flight.iter().position(|submit| {
                    submit.seqnum == seqnum
                        && length <= submit.length
                        && (submit.direction == Direction::Out || rest.len() >= length as usize)
                });
                let submit = in_flight.remove(at.expect("the return of a transfer in flight"));
                if submit.direction == Direction::In {
                    answers = &rest[length as usize..];
                }
                if in_flight.iter().any(|other| other.seqnum == seqnum) {
                    // Which of the two it was, and so where the next message begins, cannot be told.
                    return;
                }
            }
            Return::Unlink { seqnum, .. } => {
                let at = unlinks.iter().position(|other| *other == seqnum);
                unlinks.remove(at.expect("the answer to an UNLINK"));
            }
        }
    }
}
