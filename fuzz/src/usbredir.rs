//! A hostile QEMU against a usbredir slot, with a function behind it that uses every call.
//!
//! The first byte says how: bit 7, both have said hello and the device is configured already; bit 6, QEMU reads nothing before the
//! end; bits 5..0, the pieces the rest comes in, in units of 16 bytes, 0 for one piece. The rest is what QEMU sends.
//!
//! Besides: what the slot sends is made of whole messages of a device's, a malformed one of which would have QEMU abort; and each with an id
//! answers a message of that id, once.

use std::collections::BTreeMap;

use inband_usb::{DescriptorSet, DeviceEvent, Direction, EndpointAddress, Setup, descriptor::Interface};
use inband_virtual::usbredir::{
    Core, Device,
    wire::{Capabilities, FromGuest, Header, SHORT_HEADER, ToGuest, kind},
};

const OUT: EndpointAddress = EndpointAddress(0x01);
const IN: EndpointAddress = EndpointAddress(0x81);
/// More than the slot holds for a guest that does not read: 4 MiB, and what one piece and one transfer add to it.
const MOST_HELD: usize = 24 << 20;

pub(crate) fn run(input: &[u8]) {
    let Some((&how, bytes)) = input.split_first() else { return };
    let mut core = Core::new();
    core.attach(&set(0)).expect("valid descriptors");
    core.opened();
    let mut sent = Vec::new();
    let mut received = Vec::new();
    if how & 0x80 != 0 {
        sent = prelude();
        core.received(&sent).expect("a good beginning");
    }
    let lazy = how & 0x40 != 0;
    let piece = match usize::from(how & 0x3f) * 16 {
        0 => bytes.len().max(1),
        piece => piece,
    };
    let mut attachments = 0;
    for piece in bytes.chunks(piece) {
        function(&mut core, &mut attachments);
        if !lazy {
            drain(&mut core, &mut received);
        }
        if !core.reads() {
            break;
        }
        sent.extend(piece);
        let result = core.received(piece);
        assert!(core.output().len() <= MOST_HELD, "the output grows without bound");
        if result.is_err() {
            break;
        }
    }
    // Also what was to be sent when the connection was found to be of no use.
    function(&mut core, &mut attachments);
    drain(&mut core, &mut received);
    check(&sent, &received);
    core.closed();
    function(&mut core, &mut attachments);
    assert!(core.output().is_empty() && !core.device().has_event(), "something is left of the connection");
}

/// As QEMU: a hello, and SET_CONFIGURATION.
fn prelude() -> Vec<u8> {
    let mut bytes = Vec::new();
    FromGuest::Hello(Capabilities(0xff)).encode(0, Capabilities::default(), &mut bytes);
    FromGuest::SetConfiguration { value: 1 }.encode(1, Capabilities::OFFERED, &mut bytes);
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
fn function(core: &mut Core, attachments: &mut u16) {
    // Each event takes something of QEMU's, of which there is no end of empty transfers but of input.
    while let Some(event) = core.device().next_event() {
        match event {
            DeviceEvent::Enable => {
                for length in [512, 2048] {
                    let _ = core.device().submit(OUT, vec![0; length]);
                }
                for length in [0, 100, 512, 1024] {
                    let _ = core.device().submit(IN, vec![0x55; length]);
                }
            }
            DeviceEvent::Setup(setup) => request(core, setup, attachments),
            DeviceEvent::Complete(done) if done.result.is_ok() => {
                assert!(done.length <= done.buffer.len());
                let _ = core.device().submit(done.endpoint, done.buffer);
            }
            DeviceEvent::Complete(_) | DeviceEvent::Disable | DeviceEvent::Suspend | DeviceEvent::Resume => {}
        }
    }
}

fn request(core: &mut Core, setup: Setup, attachments: &mut u16) {
    let device: &mut Device = core.device();
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
            core.attach(&set(*attachments)).expect("valid descriptors");
        }
        5 => core.detach(),
        _ if setup.length == 0 || setup.direction() == Direction::Out => {
            let _ = device.control_read(&mut vec![0; usize::from(setup.length)]);
        }
        _ => {
            let _ = device.control_write(&vec![0xaa; usize::from(setup.value)]);
        }
    }
}

/// Reads what the slot sends.
fn drain(core: &mut Core, received: &mut Vec<u8>) {
    while !core.output().is_empty() {
        let part = core.output().to_vec();
        received.extend(&part);
        core.sent(part.len());
    }
}

/// Everything the slot sent, against everything it was sent.
fn check(sent: &[u8], received: &[u8]) {
    let mut asked: BTreeMap<u64, u32> = BTreeMap::new();
    let capabilities = messages(sent, |id, kind, body, capabilities| {
        // Of one that is too long no more than its head may have come.
        *asked.entry(id).or_default() += u32::from(kind != kind::CANCEL_DATA_PACKET);
        match FromGuest::parse(kind, body, capabilities) {
            Ok(FromGuest::Hello(theirs)) => Some(theirs),
            _ => None,
        }
    });
    messages(received, |id, kind, body, _| {
        let message = ToGuest::parse(kind, body, capabilities.unwrap_or_default());
        match message.expect("a message of a device's") {
            ToGuest::Hello(_) => return Some(capabilities.unwrap_or_default()),
            ToGuest::DeviceConnect { .. }
            | ToGuest::DeviceDisconnect
            | ToGuest::InterfaceInfo(_)
            | ToGuest::EpInfo(_) => assert_eq!(id, 0),
            _ => {
                let left = asked.get_mut(&id).filter(|left| **left > 0).expect("an answer to what was asked");
                *left -= 1;
            }
        }
        None
    });
}

/// Walks over messages, of which the last may be a piece. `take` returns what a hello says.
fn messages(
    mut bytes: &[u8],
    mut take: impl FnMut(u64, u32, &[u8], Capabilities) -> Option<Capabilities>,
) -> Option<Capabilities> {
    let mut known = None;
    loop {
        let size = known.map_or(SHORT_HEADER, Header::size);
        let Some(header) = Header::parse(bytes, size) else { return known };
        let rest = &bytes[size..];
        let whole = rest.get(..header.length as usize);
        let body = whole.unwrap_or(rest);
        let said = take(header.id, header.kind, body, known.unwrap_or_default());
        if whole.is_none() {
            return known;
        }
        known = known.or(said.map(|said| Capabilities::OFFERED.both(said)));
        bytes = &bytes[size + body.len()..];
    }
}
