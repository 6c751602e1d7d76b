//! A hostile QEMU against a usbredir slot, with a function behind it that uses every call.
//!
//! The first byte says how: bit 7, both have said hello and the device is configured already; bit 6, QEMU reads nothing before the
//! end; bits 5..0, the pieces the rest comes in, in units of 16 bytes, 0 for one piece. The rest is what QEMU sends.
//!
//! Besides: what the slot sends is made of whole messages of a device's, a malformed one of which would have QEMU abort; and each with an id
//! answers a message of that id, once.

use std::collections::BTreeMap;

use inband_usb::DescriptorSet;
use inband_virtual::usbredir::{
    Core, Device, Link,
    wire::{Capabilities, FromGuest, Header, SHORT_HEADER, ToGuest, kind},
};

use crate::connected::{Place, function, set};

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

impl Place for Core {
    type Peer = Link;

    fn device(&mut self) -> &mut Device {
        Self::device(self)
    }

    fn attach(&mut self, set: &DescriptorSet) {
        Self::attach(self, set).expect("valid descriptors");
    }

    fn detach(&mut self) {
        Self::detach(self);
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
