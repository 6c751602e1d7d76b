//! A hostile USB/IP server against the client.
//!
//! The first byte says how: bits 7..6 choose what is read, 0 a device list, 1 an opening, 2 and 3 a device with transfers in
//! flight; bits 5..0 are the pieces the rest comes in, in units of 16 bytes, 0 for one piece. The rest is what the server
//! sends.
//!
//! Besides: every transfer ends once, whatever comes.

use inband_usb::{
    EndpointAddress, HostError, HostTransfer, Setup,
    descriptor::{EndpointKind, ParsedConfiguration, ParsedEndpoint, ParsedInterface},
};
use inband_virtual::usbip::{
    BusId,
    client::{Core, ListReader, Opened, OpeningCore},
};

const OUT: EndpointAddress = EndpointAddress(0x01);
const IN: EndpointAddress = EndpointAddress(0x81);

pub(crate) fn run(input: &[u8]) {
    let Some((&how, bytes)) = input.split_first() else { return };
    let piece = match usize::from(how & 0x3f) * 16 {
        0 => bytes.len().max(1),
        piece => piece,
    };
    let pieces = bytes.chunks(piece);
    match how >> 6 {
        0 => list(pieces),
        1 => opening(pieces),
        _ => {
            let mut core = Core::new(0x0001_0002);
            core.configured(configuration());
            transfers(core, pieces);
        }
    }
}

fn list<'a>(pieces: impl Iterator<Item = &'a [u8]>) {
    let mut reader = ListReader::default();
    let mut length = 0;
    for piece in pieces {
        length += piece.len();
        match reader.received(piece) {
            Ok(None) => {}
            Ok(Some(devices)) => {
                for remote in &devices {
                    assert_eq!(remote.interfaces.len(), usize::from(remote.device.interfaces));
                }
                assert!(devices.len() * 312 <= length, "devices that were not sent");
                return;
            }
            Err(_) => return,
        }
    }
}

fn opening<'a>(mut pieces: impl Iterator<Item = &'a [u8]>) {
    let mut opening = OpeningCore::new(&BusId::new("1-1").expect("a busid"));
    while let Some(piece) = pieces.next() {
        while !opening.output().is_empty() {
            opening.sent(opening.output().len());
        }
        match opening.received(piece) {
            Ok(None) => {}
            Ok(Some(Opened { core, .. })) => return transfers(core, pieces),
            Err(_) => {
                assert!(opening.output().is_empty(), "it goes on after an error");
                return;
            }
        }
    }
}

/// What the device of this configuration has is not known here: transfers it does not have are refused.
fn transfers<'a>(mut core: Core, pieces: impl Iterator<Item = &'a [u8]>) {
    let setup = Setup { request_type: 0xc1, request: 1, value: 0, index: 0, length: 64 };
    let mut in_flight = Vec::new();
    let _ = core.claim(0);
    for (round, piece) in pieces.enumerate() {
        let wanted = [
            HostTransfer::BulkIn { endpoint: IN, length: 512 },
            HostTransfer::BulkOut { endpoint: OUT, data: vec![1; 100] },
            HostTransfer::ControlIn { setup },
        ];
        // Every few rounds, so that the server's numbers have something to name.
        for transfer in wanted {
            in_flight.extend(core.submit(transfer));
        }
        match round % 4 {
            1 => {
                if let Some(id) = in_flight.first() {
                    core.cancel(*id);
                }
            }
            2 => {
                let _ = core.clear_halt(IN);
            }
            3 => {
                let _ = core.reset();
            }
            _ => {}
        }
        while !core.output().is_empty() {
            core.sent(core.output().len());
        }
        let failed = core.received(piece).is_err();
        assert!(!failed || core.is_gone(), "an error leaves a device behind");
        ended(&mut core, &mut in_flight, false);
    }
    core.lost();
    assert_eq!(core.submit(HostTransfer::ControlIn { setup }), Err(HostError::Gone));
    ended(&mut core, &mut in_flight, true);
    assert!(in_flight.is_empty(), "transfers are lost");
}

fn ended(core: &mut Core, in_flight: &mut Vec<inband_usb::TransferId>, gone: bool) {
    while let Some(completion) = core.poll() {
        let at = in_flight.iter().position(|id| *id == completion.id);
        in_flight.remove(at.expect("a transfer ended that was not in flight"));
        assert!(completion.length <= 512 && completion.data.len() <= 512, "more than was asked for");
        assert!(!gone || completion.result == Err(HostError::Gone));
    }
}

fn configuration() -> ParsedConfiguration {
    let endpoint = |address| ParsedEndpoint { address, kind: EndpointKind::Bulk, max_packet_size: 512 };
    ParsedConfiguration {
        value: 1,
        name: 0,
        attributes: 0xc0,
        max_power: 1,
        interfaces: vec![ParsedInterface {
            number: 0,
            alternate: 0,
            class: 0xff,
            subclass: 0,
            protocol: 0,
            name: 0,
            extra: Vec::new(),
            endpoints: vec![endpoint(OUT), endpoint(IN)],
        }],
    }
}
