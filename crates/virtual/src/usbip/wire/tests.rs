//! The bytes here are the protocol's: a change that makes one of these tests fail is wrong, not the test.

use inband_usb::Direction;

use super::*;
use crate::errno;

fn busid() -> BusId {
    BusId::new("1-1").unwrap()
}

/// `1-1`, zero-padded to 32 bytes.
const BUSID: [u8; 32] =
    [b'1', b'-', b'1', 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];

#[test]
fn requests_are_frozen() {
    let list = [0x01, 0x11, 0x80, 0x05, 0, 0, 0, 0];
    assert_eq!(Request::DeviceList.to_bytes(), list);
    assert_eq!(Request::parse(&list), Ok(Some((Request::DeviceList, 8))));

    let mut import = vec![0x01, 0x11, 0x80, 0x03, 0, 0, 0, 0];
    import.extend(BUSID);
    assert_eq!(Request::Import(busid()).to_bytes(), import);
    for length in 0..import.len() {
        assert_eq!(Request::parse(&import[..length]), Ok(None), "{length} bytes");
    }
    import.push(0xff);
    assert_eq!(Request::parse(&import), Ok(Some((Request::Import(busid()), 40))));
}

#[test]
fn reply_headers_are_frozen() {
    assert_eq!(device_list_header(Status::Ok), [0x01, 0x11, 0x00, 0x05, 0, 0, 0, 0]);
    assert_eq!(import_header(Status::NoDevice), [0x01, 0x11, 0x00, 0x03, 0, 0, 0, 4]);
    assert_eq!(parse_device_list_header(&device_list_header(Status::Ok)), Ok(Status::Ok));
    for code in 0..6 {
        let status = Status::from_code(code);
        assert_eq!(status.code(), code);
        assert_eq!(parse_import_header(&import_header(status)), Ok(status));
    }
    assert_eq!(parse_import_header(&device_list_header(Status::Ok)), Err(WireError::Code(5)));
    assert_eq!(parse_device_list_header(&import_header(Status::Ok)), Err(WireError::Code(3)));
    assert_eq!(parse_import_header(&[0x01, 0x06, 0x00, 0x03, 0, 0, 0, 0]), Err(WireError::Version(0x0106)));
}

#[test]
fn device_is_frozen() {
    let device = Device {
        path: "/sys/x".to_owned(),
        busid: busid(),
        bus: 1,
        number: 2,
        speed: SPEED_HIGH,
        vendor_id: 0x1d6b,
        product_id: 0x0104,
        device_version: 0x0123,
        class: [0xef, 2, 1],
        configuration: 1,
        configurations: 3,
        interfaces: 4,
    };
    let mut bytes = b"/sys/x".to_vec();
    bytes.resize(256, 0);
    bytes.extend(BUSID);
    bytes.extend([0, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0, 3]);
    bytes.extend([0x1d, 0x6b, 0x01, 0x04, 0x01, 0x23, 0xef, 2, 1, 1, 3, 4]);
    assert_eq!(device.to_bytes().as_slice(), bytes);
    assert_eq!(Device::from_bytes(&device.to_bytes()), Ok(device.clone()));
    assert_eq!(device.devid(), 0x0001_0002);

    // A path has no end, or characters that are not for people to see.
    let mut endless = device.to_bytes();
    endless[..256].fill(b'a');
    assert_eq!(Device::from_bytes(&endless), Err(WireError::Text));
    for bad in [0x1b, 0x80, 0xff, b'\n'] {
        let mut bytes = device.to_bytes();
        bytes[1] = bad;
        assert_eq!(Device::from_bytes(&bytes), Err(WireError::Text), "{bad:#x}");
    }
    let long = Device { path: "x".repeat(300), ..device };
    assert_eq!(Device::from_bytes(&long.to_bytes()).unwrap().path, "x".repeat(255));
}

#[test]
fn submit_is_frozen() {
    let submit = Submit {
        seqnum: 0x0000_0d05,
        devid: 0x0001_000f,
        direction: Direction::In,
        endpoint: 0,
        flags: 0x0200,
        length: 0x40,
        setup: [0x80, 6, 0, 1, 0, 0, 0x40, 0],
    };
    let bytes = [
        0, 0, 0, 1, 0, 0, 0x0d, 0x05, 0, 1, 0, 0x0f, 0, 0, 0, 1, 0, 0, 0, 0, // command to endpoint
        0, 0, 2, 0, 0, 0, 0, 0x40, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0, // flags to interval
        0x80, 6, 0, 1, 0, 0, 0x40, 0,
    ];
    assert_eq!(Command::Submit(submit).to_bytes(), bytes);
    assert_eq!(Command::from_bytes(&bytes), Ok(Command::Submit(submit)));
    assert_eq!(submit.address().0, 0x80);

    // Linux sends number_of_packets 0 for what is not isochronous.
    let mut linux = bytes;
    linux[32..36].fill(0);
    assert_eq!(Command::from_bytes(&linux), Ok(Command::Submit(submit)));

    let refused = |at: usize, value: u32| {
        let mut bytes = bytes;
        bytes[at..at + 4].copy_from_slice(&value.to_be_bytes());
        Command::from_bytes(&bytes).unwrap_err()
    };
    assert_eq!(refused(0, 0), WireError::Code(0));
    assert_eq!(refused(0, 3), WireError::Code(3));
    assert_eq!(refused(12, 2), WireError::Direction(2));
    assert_eq!(refused(16, 16), WireError::Endpoint(16));
    assert_eq!(refused(24, MAX_TRANSFER + 1), WireError::TooLong(MAX_TRANSFER + 1));
    assert_eq!(refused(24, u32::MAX), WireError::TooLong(u32::MAX));
    assert_eq!(refused(32, 1), WireError::Isochronous);
}

#[test]
fn unlink_is_frozen() {
    let unlink = Command::Unlink { seqnum: 7, devid: 0x0001_0002, target: 5 };
    let mut bytes = [0; 48];
    bytes[..24].copy_from_slice(&[0, 0, 0, 2, 0, 0, 0, 7, 0, 1, 0, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 5]);
    assert_eq!(unlink.to_bytes(), bytes);
    assert_eq!(Command::from_bytes(&bytes), Ok(unlink));
}

#[test]
fn returns_are_frozen() {
    let stalled = Return::Submit { seqnum: 9, status: errno::EPIPE, length: 0x1234 };
    let mut bytes = [0; 48];
    bytes[..8].copy_from_slice(&[0, 0, 0, 3, 0, 0, 0, 9]);
    bytes[20..28].copy_from_slice(&[0xff, 0xff, 0xff, 0xe0, 0, 0, 0x12, 0x34]);
    assert_eq!(stalled.to_bytes(), bytes);
    assert_eq!(Return::from_bytes(&bytes), Ok(stalled));
    bytes[24] = 1;
    assert_eq!(Return::from_bytes(&bytes), Err(WireError::TooLong(0x0100_1234)));
    bytes[24] = 0;
    bytes[35] = 1;
    assert_eq!(Return::from_bytes(&bytes), Err(WireError::Isochronous));

    let unlinked = Return::Unlink { seqnum: 10, status: errno::ECONNRESET };
    let mut bytes = [0; 48];
    bytes[..8].copy_from_slice(&[0, 0, 0, 4, 0, 0, 0, 10]);
    bytes[20..24].copy_from_slice(&[0xff, 0xff, 0xff, 0x98]);
    assert_eq!(unlinked.to_bytes(), bytes);
    assert_eq!(Return::from_bytes(&bytes), Ok(unlinked));
    bytes[3] = 5;
    assert_eq!(Return::from_bytes(&bytes), Err(WireError::Code(5)));
}

#[test]
fn busids_are_checked() {
    assert_eq!(BusId::new(&"1".repeat(31)).unwrap().to_bytes()[31], 0);
    for bad in ["", "1 1", "1\u{fc}1", "1\x1b1", "12345678901234567890123456789012"] {
        assert_eq!(BusId::new(bad), None, "{bad:?}");
    }
    assert_eq!(BusId::from_bytes(&[b'1'; 32]), Err(WireError::Text), "no end");
    assert_eq!(BusId::from_bytes(&[0; 32]), Err(WireError::Text), "empty");
    let mut request = Request::Import(busid()).to_bytes();
    request[8] = b' ';
    assert_eq!(Request::parse(&request), Err(WireError::Text));
    assert_eq!(Request::parse(&[0x01, 0x10, 0x80, 0x05, 0, 0, 0, 0]), Err(WireError::Version(0x0110)));
    assert_eq!(Request::parse(&[0x01, 0x11, 0x80, 0x04, 0, 0, 0, 0]), Err(WireError::Code(0x8004)));
}
