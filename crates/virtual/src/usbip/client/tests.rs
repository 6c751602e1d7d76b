//! The client against every answer a server may give.

use inband_usb::{
    Direction, EndpointAddress, HostError, HostTransfer, Setup, TransferId,
    descriptor::{EndpointKind, ParsedConfiguration, ParsedEndpoint, ParsedInterface},
};

use super::{ClientError, Core, ListReader, OpeningCore};
use crate::errno;
use crate::usbip::wire::{self, BusId, Command, Return, Status, Submit, WireError};

const DEVID: u32 = 0x0001_0002;
const OUT: EndpointAddress = EndpointAddress(0x01);
const IN: EndpointAddress = EndpointAddress(0x82);

fn configuration() -> ParsedConfiguration {
    let endpoint = |address| ParsedEndpoint { address, kind: EndpointKind::Bulk, max_packet_size: 512 };
    ParsedConfiguration {
        value: 3,
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

/// A configured device with its interface claimed.
fn core() -> Core {
    let mut core = Core::new(DEVID);
    core.configured(configuration());
    core.claim(0).unwrap();
    let submit = sent_submit(&mut core);
    assert_eq!(submit.setup, [0x01, 11, 0, 0, 0, 0, 0, 0], "SET_INTERFACE");
    answer(&mut core, submit.seqnum, 0, 0, &[]).unwrap();
    assert!(core.poll().is_none(), "nobody asked for it");
    core
}

fn sent(core: &mut Core, count: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    while bytes.len() < count {
        let part = core.output();
        let part = part[..part.len().min(count - bytes.len())].to_vec();
        assert!(!part.is_empty(), "{} bytes are missing", count - bytes.len());
        core.sent(part.len());
        bytes.extend(part);
    }
    bytes
}

fn sent_command(core: &mut Core) -> Command {
    Command::from_bytes(sent(core, 48)[..].first_chunk().unwrap()).unwrap()
}

fn sent_submit(core: &mut Core) -> Submit {
    match sent_command(core) {
        Command::Submit(submit) => submit,
        other => panic!("{other:?}"),
    }
}

fn answer(core: &mut Core, seqnum: u32, status: i32, length: u32, data: &[u8]) -> Result<(), ClientError> {
    core.received(&[&Return::Submit { seqnum, status, length }.to_bytes()[..], data].concat())
}

fn bulk_in(length: usize) -> HostTransfer {
    HostTransfer::BulkIn { endpoint: IN, length }
}

fn bulk_out(data: &[u8]) -> HostTransfer {
    HostTransfer::BulkOut { endpoint: OUT, data: data.to_vec() }
}

#[test]
fn transfers_on_the_wire() {
    let mut core = core();
    let id = core.submit(bulk_out(b"hello")).unwrap();
    let submit = sent_submit(&mut core);
    assert_eq!((submit.devid, submit.address(), submit.length), (DEVID, OUT, 5));
    assert_eq!(sent(&mut core, 5), b"hello");
    answer(&mut core, submit.seqnum, 0, 5, &[]).unwrap();
    let completion = core.poll().unwrap();
    assert_eq!((completion.id, completion.length, completion.result), (id, 5, Ok(())));
    assert_eq!(completion.data, b"hello", "OUT buffers come back as submitted");

    core.submit(bulk_in(1024)).unwrap();
    let submit = sent_submit(&mut core);
    assert_eq!((submit.address(), submit.length), (IN, 1024));
    answer(&mut core, submit.seqnum, errno::EOVERFLOW, 3, b"abc").unwrap();
    let completion = core.poll().unwrap();
    assert_eq!((completion.data, completion.result), (b"abc".to_vec(), Err(HostError::Overflow)));

    // An IN request without data is an OUT transfer on the wire.
    let setup = Setup { request_type: 0xc1, request: 1, value: 0, index: 0, length: 0 };
    core.submit(HostTransfer::ControlIn { setup }).unwrap();
    assert_eq!(sent_submit(&mut core).direction, Direction::Out);
}

#[test]
fn statuses() {
    for (status, result) in [
        (0, Ok(())),
        (errno::EPIPE, Err(HostError::Stall)),
        (errno::ENOENT, Err(HostError::Cancelled)),
        (errno::ECONNRESET, Err(HostError::Cancelled)),
        (errno::ESHUTDOWN, Err(HostError::Cancelled)),
        (errno::ENODEV, Err(HostError::Gone)),
        (errno::EOVERFLOW, Err(HostError::Overflow)),
    ] {
        let mut core = core();
        core.submit(bulk_in(512)).unwrap();
        let seqnum = sent_submit(&mut core).seqnum;
        answer(&mut core, seqnum, status, 0, &[]).unwrap();
        assert_eq!(core.poll().unwrap().result, result);
    }
    for status in [1, i32::MIN, errno::EPROTO] {
        let mut core = core();
        core.submit(bulk_in(512)).unwrap();
        let seqnum = sent_submit(&mut core).seqnum;
        answer(&mut core, seqnum, status, 0, &[]).unwrap();
        assert!(matches!(core.poll().unwrap().result, Err(HostError::Other(_))));
    }
}

#[test]
fn answers_that_end_the_connection() {
    let bad = |answer: &[u8]| {
        let mut core = core();
        let lost = [core.submit(bulk_in(512)).unwrap(), core.submit(bulk_out(b"hello")).unwrap()];
        let seqnum = sent_submit(&mut core).seqnum;
        let mut bytes = answer.to_vec();
        if bytes[4..8] == [0xaa; 4] {
            bytes[4..8].copy_from_slice(&seqnum.to_be_bytes());
        }
        assert!(core.received(&bytes).is_err(), "{answer:?}");
        for id in lost {
            let completion = core.poll().unwrap();
            assert_eq!((completion.id, completion.result), (id, Err(HostError::Gone)));
        }
        assert!(core.poll().is_none());
        assert!(core.is_gone());
        assert_eq!(core.output(), []);
        assert_eq!(core.submit(bulk_in(512)), Err(HostError::Gone));
        assert_eq!(core.claim(0), Err(HostError::Gone));
        assert_eq!(core.clear_halt(IN), Err(HostError::Gone));
        assert_eq!(core.reset(), Err(HostError::Gone));
        core.cancel(lost[0]);
        core.received(&bytes).unwrap();
    };
    const PENDING: u32 = 0xaaaa_aaaa;
    bad(&[0xff; 48]);
    bad(&Return::Submit { seqnum: 77, status: 0, length: 0 }.to_bytes());
    bad(&Return::Submit { seqnum: PENDING, status: 0, length: 513 }.to_bytes());
    bad(&Return::Submit { seqnum: PENDING, status: 0, length: u32::MAX }.to_bytes());
    bad(&Return::Unlink { seqnum: PENDING, status: errno::ECONNRESET }.to_bytes());
    // The same return twice.
    let once = [&Return::Submit { seqnum: PENDING, status: 0, length: 0 }.to_bytes()[..]; 1].concat();
    let mut core = core();
    core.submit(bulk_in(512)).unwrap();
    let seqnum = sent_submit(&mut core).seqnum;
    let mut twice = once.clone();
    twice[4..8].copy_from_slice(&seqnum.to_be_bytes());
    core.received(&twice).unwrap();
    assert!(matches!(core.received(&twice), Err(ClientError::Protocol(_))));
}

#[test]
fn cancelling() {
    let mut core = core();
    // Given up by the server.
    let id = core.submit(bulk_in(512)).unwrap();
    let target = sent_submit(&mut core).seqnum;
    core.cancel(id);
    core.cancel(id);
    let Command::Unlink { seqnum, devid: DEVID, target: named } = sent_command(&mut core) else { panic!() };
    assert_eq!(named, target);
    assert_eq!(core.output(), [], "it is asked for once");
    core.received(&Return::Unlink { seqnum, status: errno::ECONNRESET }.to_bytes()).unwrap();
    assert_eq!(core.poll().unwrap().result, Err(HostError::Cancelled));

    // Returned before the UNLINK arrived.
    let id = core.submit(bulk_in(512)).unwrap();
    let target = sent_submit(&mut core).seqnum;
    core.cancel(id);
    let Command::Unlink { seqnum, .. } = sent_command(&mut core) else { panic!() };
    answer(&mut core, target, 0, 2, b"ok").unwrap();
    core.received(&Return::Unlink { seqnum, status: 0 }.to_bytes()).unwrap();
    assert_eq!(core.poll().unwrap().data, b"ok");
    assert!(core.poll().is_none());
    // And the answer twice is one too many.
    assert!(core.received(&Return::Unlink { seqnum, status: 0 }.to_bytes()).is_err());
}

#[test]
fn what_is_submitted_later_comes_after_the_clearing_of_a_halt() {
    let mut core = core();
    core.clear_halt(IN).unwrap();
    let clear = sent_submit(&mut core);
    assert_eq!(clear.setup, [0x02, 1, 0, 0, 0x82, 0, 0, 0]);
    let first = core.submit(bulk_in(512)).unwrap();
    let second = core.submit(bulk_in(512)).unwrap();
    core.clear_halt(OUT).unwrap();
    let third = core.submit(bulk_out(b"x")).unwrap();
    assert_eq!(core.output(), [], "nothing overtakes it");
    core.cancel(second);
    let completion = core.poll().unwrap();
    assert_eq!((completion.id, completion.result), (second, Err(HostError::Cancelled)));

    // A failure of the request is the device's affair; what waits goes on.
    answer(&mut core, clear.seqnum, errno::EPIPE, 0, &[]).unwrap();
    assert_eq!(sent_submit(&mut core).address(), IN);
    let clear = sent_submit(&mut core);
    assert_eq!(clear.setup, [0x02, 1, 0, 0, 0x01, 0, 0, 0]);
    assert_eq!(core.output(), []);
    core.lost();
    assert_eq!(core.poll().unwrap().id, first);
    let completion = core.poll().unwrap();
    assert_eq!(
        (completion.id, completion.data, completion.result),
        (third, b"x".to_vec(), Err(HostError::Gone))
    );
}

#[test]
fn reset_cancels_and_configures() {
    let mut core = core();
    let id = core.submit(bulk_in(512)).unwrap();
    let target = sent_submit(&mut core).seqnum;
    core.reset().unwrap();
    assert!(matches!(sent_command(&mut core), Command::Unlink { target: named, .. } if named == target));
    assert_eq!(sent_submit(&mut core).setup, [0x00, 9, 3, 0, 0, 0, 0, 0]);
    assert!(core.poll().is_none(), "{id:?} ends when the server says so");
}

#[test]
fn misuse() {
    let mut core = core();
    let misused = |core: &mut Core, transfer| {
        assert!(matches!(core.submit(transfer), Err(HostError::Misuse(_))));
        assert_eq!(core.output(), []);
    };
    misused(&mut core, bulk_in(0));
    misused(&mut core, bulk_in(511));
    misused(&mut core, bulk_in((1 << 20) + 512));
    misused(&mut core, bulk_out(&vec![0; (1 << 20) + 1]));
    misused(&mut core, HostTransfer::BulkIn { endpoint: OUT, length: 512 });
    misused(&mut core, HostTransfer::BulkOut { endpoint: IN, data: vec![1] });
    misused(&mut core, HostTransfer::BulkOut { endpoint: EndpointAddress(0x03), data: vec![1] });
    let setup = Setup { request_type: 0x41, request: 1, value: 0, index: 0, length: 2 };
    misused(&mut core, HostTransfer::ControlIn { setup });
    misused(&mut core, HostTransfer::ControlOut { setup, data: vec![1] });
    let setup = Setup { request_type: 0xc1, ..setup };
    misused(&mut core, HostTransfer::ControlOut { setup, data: vec![1, 2] });
    assert!(matches!(core.claim(1), Err(HostError::Misuse(_))));
    assert!(matches!(core.clear_halt(EndpointAddress(0x84)), Err(HostError::Misuse(_))));

    let mut unclaimed = Core::new(DEVID);
    unclaimed.configured(configuration());
    misused(&mut unclaimed, bulk_in(512));

    for _ in 0..1024 {
        core.submit(bulk_in(512)).unwrap();
    }
    assert!(matches!(core.submit(bulk_in(512)), Err(HostError::Misuse(_))));
    core.cancel(TransferId(u64::MAX));
}

fn record() -> wire::Device {
    wire::Device {
        path: "/sys/x".to_owned(),
        busid: BusId::new("1-1").unwrap(),
        bus: 1,
        number: 2,
        speed: wire::SPEED_HIGH,
        vendor_id: 1,
        product_id: 2,
        device_version: 3,
        class: [0; 3],
        configuration: 1,
        configurations: 1,
        interfaces: 1,
    }
}

#[test]
fn opening_refuses_a_hostile_server() {
    let opening = || OpeningCore::new(&BusId::new("1-1").unwrap());
    let result = |bytes: &[u8]| opening().received(bytes).unwrap_err();
    assert!(matches!(result(&[0; 8]), ClientError::Wire(WireError::Version(0))));
    assert!(matches!(result(&wire::import_header(Status::Busy)), ClientError::Refused(Status::Busy)));
    let other = wire::Device { busid: BusId::new("1-2").unwrap(), ..record() };
    let reply = [&wire::import_header(Status::Ok)[..], &other.to_bytes()].concat();
    assert!(matches!(result(&reply), ClientError::Protocol(_)));
    let reply = [&wire::import_header(Status::Ok)[..], &record().to_bytes(), &[0]].concat();
    assert!(matches!(result(&reply), ClientError::Protocol(_)), "more than was asked for");

    // Up to the descriptors, in single bytes; then each descriptor is wrong in turn.
    let descriptor = [18, 1, 0, 2, 0, 0, 0, 64, 1, 0, 2, 0, 3, 0, 0, 0, 0, 1];
    let configuration = [9, 2, 18, 0, 1, 7, 0, 0xc0, 1, 9, 4, 0, 0, 0, 0xff, 0, 0, 0];
    let run = |answers: &[&[u8]]| {
        let mut opening = opening();
        for byte in [&wire::import_header(Status::Ok)[..], &record().to_bytes()].concat() {
            assert!(opening.received(&[byte]).unwrap().is_none());
        }
        for answer in answers {
            let Ok(Command::Submit(submit)) = Command::from_bytes(opening.output().first_chunk().unwrap())
            else {
                panic!()
            };
            opening.sent(48);
            let length = answer.len() as u32;
            let header = Return::Submit { seqnum: submit.seqnum, status: 0, length }.to_bytes();
            if let Some(opened) = opening.received(&[&header[..], answer].concat())? {
                return Ok(Some((opened, submit)));
            }
        }
        Ok::<_, ClientError>(None)
    };
    let (opened, last) = run(&[&descriptor, &configuration[..9], &configuration, &[]]).unwrap().unwrap();
    assert_eq!(last.setup, [0, 9, 7, 0, 0, 0, 0, 0], "SET_CONFIGURATION of the value it has");
    assert_eq!((opened.record, opened.descriptor.vendor_id), (record(), 1));
    assert_eq!(opened.core.configuration().value, 7);
    assert!(matches!(run(&[&descriptor[..17]]), Err(ClientError::Descriptors(_))));
    assert!(matches!(run(&[&descriptor, &[]]), Err(ClientError::Protocol(_))));
    assert!(matches!(run(&[&descriptor, &[9, 2, 0, 0xff]]), Err(ClientError::Protocol(_))), "4 KiB at most");
    assert!(matches!(
        run(&[&descriptor, &configuration[..9], &configuration[..17]]),
        Err(ClientError::Descriptors(_))
    ));
    assert!(matches!(run(&[&[0; 19]]), Err(ClientError::Protocol(_))), "more than was asked for");
}

#[test]
fn lists() {
    let mut bytes = [&wire::device_list_header(Status::Ok)[..], &2_u32.to_be_bytes()].concat();
    bytes.extend(record().to_bytes());
    bytes.extend([0xfe, 1, 2, 0]);
    bytes.extend(wire::Device { interfaces: 0, ..record() }.to_bytes());
    for chunk in [1, 100, 311, bytes.len()] {
        let mut reader = ListReader::default();
        let mut devices = None;
        for piece in bytes.chunks(chunk) {
            assert!(devices.is_none());
            devices = reader.received(piece).unwrap();
        }
        let devices = devices.unwrap();
        assert_eq!(devices.len(), 2);
        assert_eq!(devices[0].device, record());
        assert_eq!((&devices[0].interfaces[..], &devices[1].interfaces[..]), (&[[0xfe, 1, 2]][..], &[][..]));
    }
    let empty = [&wire::device_list_header(Status::Ok)[..], &[0; 4]].concat();
    assert_eq!(ListReader::default().received(&empty).unwrap(), Some(Vec::new()));

    let refused = |bytes: &[u8]| ListReader::default().received(bytes).unwrap_err();
    let endless = [&wire::device_list_header(Status::Ok)[..], &[0xff; 4]].concat();
    assert!(matches!(refused(&endless), ClientError::Wire(WireError::ListTooLong)));
    assert!(matches!(
        refused(&wire::device_list_header(Status::Other(9))),
        ClientError::Refused(Status::Other(9))
    ));
    assert!(matches!(refused(b"HTTP/1.1 400"), ClientError::Wire(WireError::Version(_))));
}
