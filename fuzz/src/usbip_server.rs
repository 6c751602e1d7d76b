//! A hostile USB/IP client against the server, with a function behind it that uses every call.
//!
//! The first byte says how: bit 7, the device is imported and configured already; bit 6, the client reads nothing before the
//! end; bits 5..0, the pieces the rest comes in, in units of 16 bytes, 0 for one piece. The rest is what the client sends.
//!
//! Besides: what the server sends is made of whole messages, and each returns a transfer that is in flight.

use std::time::Duration;

use inband_usb::{DescriptorSet, Direction};
use inband_virtual::usbip::{
    BusId,
    server::{Device, Hub, Importer, Need},
    wire::{self, Command, Request, Return, Submit},
};

use crate::connected::{Place, function, set};

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
        function(&mut Port { hub: &mut hub, number: port }, &mut attachments);
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
        function(&mut Port { hub: &mut hub, number: port }, &mut attachments);
    }
    if !broken {
        check(&sent, &received);
    }
    hub.tick(Duration::from_secs(10));
    hub.closed(id);
    function(&mut Port { hub: &mut hub, number: port }, &mut attachments);
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

/// A port of the server's.
struct Port<'a> {
    hub: &'a mut Hub,
    number: usize,
}

impl Place for Port<'_> {
    type Peer = Importer;

    fn device(&mut self) -> &mut Device {
        self.hub.device(self.number)
    }

    fn attach(&mut self, set: &DescriptorSet) {
        self.hub.attach(self.number, set, NOW).expect("valid descriptors");
    }

    fn detach(&mut self) {
        self.hub.detach(self.number, NOW);
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
