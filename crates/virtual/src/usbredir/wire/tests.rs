//! Sizes, bytes and refusals of every message.

use inband_usb::{DescriptorSet, EndpointAddress, Setup, descriptor::Interface};

use super::{Capabilities, EpInfo, FromGuest, Header, InterfaceInfo, Status, ToGuest, WireError, bulk_head};

const NONE: Capabilities = Capabilities(0);
const ALL: Capabilities = Capabilities::OFFERED;
const ID: u64 = 0x1122_3344_5566_7788;
const OUT: EndpointAddress = EndpointAddress(0x02);
const IN: EndpointAddress = EndpointAddress(0x83);

fn set() -> DescriptorSet {
    let interface = |class, endpoints| Interface {
        class,
        subclass: 1,
        protocol: 2,
        name: String::new(),
        extra: Vec::new(),
        endpoints,
    };
    DescriptorSet {
        vendor_id: 0x1209,
        product_id: 0x0002,
        device_version: 0x0100,
        manufacturer: String::new(),
        product: String::new(),
        serial: String::new(),
        interfaces: vec![interface(0xfe, Vec::new()), interface(0xff, vec![OUT, IN])],
    }
}

fn setup(request_type: u8, length: u16) -> Setup {
    Setup { request_type, request: 0x06, value: 0x0102, index: 0x0304, length }
}

fn sent(message: &ToGuest<'_>, capabilities: Capabilities) -> Vec<u8> {
    let mut bytes = Vec::new();
    message.encode(ID, capabilities, &mut bytes);
    bytes
}

fn asked(message: &FromGuest<'_>, capabilities: Capabilities) -> Vec<u8> {
    let mut bytes = Vec::new();
    message.encode(ID, capabilities, &mut bytes);
    bytes
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Every message of the device's, the type in its header, and the bytes of its type header with all that is offered, and with
/// nothing; bytes of data besides.
fn to_guest() -> Vec<(ToGuest<'static>, u32, usize, usize, usize)> {
    let info = InterfaceInfo::new(&set()).unwrap();
    let connect = ToGuest::DeviceConnect { vendor_id: 0x1209, product_id: 0x0002, device_version: 0x0100 };
    let (status, endpoint) = (Status::Success, 0x81);
    vec![
        (ToGuest::Hello(ALL), 0, 68, 68, 0),
        (connect, 1, 10, 8, 0),
        (ToGuest::DeviceDisconnect, 2, 0, 0, 0),
        (ToGuest::InterfaceInfo(Box::new(info)), 4, 132, 132, 0),
        (ToGuest::EpInfo(Box::new(EpInfo::new(&set()))), 5, 160, 96, 0),
        (ToGuest::ConfigurationStatus { status: Status::Stall, value: 1 }, 8, 2, 2, 0),
        (ToGuest::AltSettingStatus { status, interface: 1, alternate: 0 }, 11, 3, 3, 0),
        (ToGuest::IsoStreamStatus { status: Status::Inval, endpoint }, 14, 2, 2, 0),
        (ToGuest::InterruptReceivingStatus { status: Status::Inval, endpoint }, 17, 2, 2, 0),
        (ToGuest::ControlIn { setup: setup(0xa1, 3), status, data: b"abc" }, 100, 10, 10, 3),
        (ToGuest::ControlOut { setup: setup(0x21, 9), status, length: 9 }, 100, 10, 10, 0),
        (ToGuest::BulkIn { endpoint: IN, status: Status::Babble, data: b"abcde" }, 101, 10, 8, 5),
        (ToGuest::BulkOut { endpoint: OUT, status: Status::Cancelled, length: 700 }, 101, 10, 8, 0),
        (ToGuest::InterruptOut { endpoint: OUT, status: Status::Inval }, 103, 4, 4, 0),
    ]
}

/// Likewise of the guest's.
fn from_guest() -> Vec<(FromGuest<'static>, u32, usize, usize, usize)> {
    let endpoint = 0x81;
    vec![
        (FromGuest::Hello(Capabilities(0xff)), 0, 68, 68, 0),
        (FromGuest::Reset, 3, 0, 0, 0),
        (FromGuest::SetConfiguration { value: 1 }, 6, 1, 1, 0),
        (FromGuest::GetConfiguration, 7, 0, 0, 0),
        (FromGuest::SetAltSetting { interface: 1, alternate: 0 }, 9, 2, 2, 0),
        (FromGuest::GetAltSetting { interface: 1 }, 10, 1, 1, 0),
        (FromGuest::StartIsoStream { endpoint }, 12, 3, 3, 0),
        (FromGuest::StopIsoStream { endpoint }, 13, 1, 1, 0),
        (FromGuest::StartInterruptReceiving { endpoint }, 15, 1, 1, 0),
        (FromGuest::StopInterruptReceiving { endpoint }, 16, 1, 1, 0),
        (FromGuest::CancelDataPacket, 21, 0, 0, 0),
        (FromGuest::FilterReject, 22, 0, 0, 0),
        (FromGuest::FilterFilter, 23, 0, 0, 1),
        (FromGuest::DeviceDisconnectAck, 24, 0, 0, 0),
        (FromGuest::ControlOut { setup: setup(0x21, 3), data: b"abc" }, 100, 10, 10, 3),
        (FromGuest::ControlIn { setup: setup(0xa1, 3) }, 100, 10, 10, 0),
        (FromGuest::BulkOut { endpoint: OUT, data: b"abcde" }, 101, 10, 8, 5),
        (FromGuest::BulkIn { endpoint: IN, length: 700 }, 101, 10, 8, 0),
        (FromGuest::Iso, 102, 4, 4, 0),
        (FromGuest::InterruptOut { endpoint: OUT, data: b"ab" }, 103, 4, 4, 2),
    ]
}

/// A message's bytes have the header its size says, and nothing behind.
fn measure(bytes: &[u8], kind: u32, head: usize, data: usize, capabilities: Capabilities) -> Vec<u8> {
    // A hello has a short header always.
    let size = if kind == 0 { 12 } else { Header::size(capabilities) };
    let header = Header::parse(bytes, size).unwrap();
    assert_eq!((header.kind, header.length as usize), (kind, head + data));
    assert_eq!(bytes.len(), size + head + data, "type {kind}");
    if kind != 0 {
        assert_eq!(header.id, if size == 16 { ID } else { ID & 0xffff_ffff });
    }
    bytes[size..].to_vec()
}

#[test]
fn every_message_of_the_device_has_its_size_and_reads_back() {
    for (message, kind, all, none, data) in to_guest() {
        let body = measure(&sent(&message, ALL), kind, all, data, ALL);
        assert_eq!(ToGuest::parse(kind, &body, ALL), Ok(message.clone()));
        let body = measure(&sent(&message, NONE), kind, none, data, NONE);
        assert!(ToGuest::parse(kind, &body, NONE).is_ok());
    }
}

#[test]
fn every_message_of_the_guest_has_its_size_and_reads_back() {
    for (message, kind, all, none, data) in from_guest() {
        let body = measure(&asked(&message, ALL), kind, all, data, ALL);
        assert_eq!(FromGuest::parse(kind, &body, ALL), Ok(message.clone()));
        measure(&asked(&message, NONE), kind, none, data, NONE);
    }
}

#[test]
fn a_byte_more_or_less_is_no_message() {
    for (message, kind, head, _, _) in from_guest() {
        let bytes = asked(&message, ALL);
        let mut body = bytes[bytes.len() - Header::parse(&bytes, 12).unwrap().length as usize..].to_vec();
        if kind != super::kind::FILTER_FILTER {
            body.push(0);
            assert!(FromGuest::parse(kind, &body, ALL).is_err(), "type {kind} with a byte more");
            body.pop();
        }
        if head > 0 {
            body.pop();
            assert!(FromGuest::parse(kind, &body, ALL).is_err(), "type {kind} with a byte less");
        }
    }
}

/// The bytes, once and for all; with all that is offered.
#[test]
fn the_bytes_of_every_message_of_the_device() {
    let long = |kind: &str, length: &str, body: &str| format!("{kind}{length}8877665544332211{body}");
    let mut infos = "02000000".to_owned();
    for column in [[0, 1], [0xfe, 0xff], [1, 1], [2, 2]] {
        infos += &format!("{}{}", hex(&column), "00".repeat(30));
    }
    let mut eps = format!("00ff02{}00ffff02{}", "ff".repeat(13), "ff".repeat(12));
    eps += &"00".repeat(32);
    eps += &format!("000001{}00000001{}", "00".repeat(13), "00".repeat(12));
    eps += &format!("400000000002{}4000000000000002{}", "0000".repeat(13), "0000".repeat(12));
    let version = format!("{:0<128}", hex(concat!("inband ", env!("CARGO_PKG_VERSION")).as_bytes()));
    let expected = [
        format!("000000004400000000000000{version}7e000000"),
        long("01000000", "0a000000", "02000000091202000001"),
        long("02000000", "00000000", ""),
        long("04000000", "84000000", &infos),
        long("05000000", "a0000000", &eps),
        long("08000000", "02000000", "0401"),
        long("0b000000", "03000000", "000100"),
        long("0e000000", "02000000", "0281"),
        long("11000000", "02000000", "0281"),
        long("64000000", "0d000000", "8006a100020104030300616263"),
        long("64000000", "0a000000", "00062100020104030900"),
        long("65000000", "0f000000", "830605000000000000006162636465"),
        long("65000000", "0a000000", "0201bc02000000000000"),
        long("67000000", "04000000", "02020000"),
    ];
    for ((message, ..), expected) in to_guest().iter().zip(expected) {
        assert_eq!(hex(&sent(message, ALL)), expected, "{message:?}");
    }
}

#[test]
fn the_bytes_of_every_message_of_the_guest() {
    let long = |kind: &str, length: &str, body: &str| format!("{kind}{length}8877665544332211{body}");
    let version = format!("{:0<128}", hex(b"a guest"));
    let expected = [
        format!("000000004400000000000000{version}ff000000"),
        long("03000000", "00000000", ""),
        long("06000000", "01000000", "01"),
        long("07000000", "00000000", ""),
        long("09000000", "02000000", "0100"),
        long("0a000000", "01000000", "01"),
        long("0c000000", "03000000", "810802"),
        long("0d000000", "01000000", "81"),
        long("0f000000", "01000000", "81"),
        long("10000000", "01000000", "81"),
        long("15000000", "00000000", ""),
        long("16000000", "00000000", ""),
        long("17000000", "01000000", "00"),
        long("18000000", "00000000", ""),
        long("64000000", "0d000000", "00062100020104030300616263"),
        long("64000000", "0a000000", "8006a100020104030300"),
        long("65000000", "0f000000", "020005000000000000006162636465"),
        long("65000000", "0a000000", "8300bc02000000000000"),
        long("66000000", "04000000", "01000000"),
        long("67000000", "06000000", "020002006162"),
    ];
    for ((message, ..), expected) in from_guest().iter().zip(expected) {
        assert_eq!(hex(&asked(message, ALL)), expected, "{message:?}");
    }
}

#[test]
fn lengths_contradict_nothing_they_are_sent_with() {
    // A setup that asks for less than is answered, and a message whose lengths have 16 bits.
    let data = vec![7; 70_000];
    let bytes =
        sent(&ToGuest::ControlIn { setup: setup(0x80, 2), status: Status::Success, data: &data }, ALL);
    assert_eq!(bytes.len(), 16 + 10 + 2);
    let bytes = sent(&ToGuest::BulkIn { endpoint: IN, status: Status::Success, data: &data }, NONE);
    assert_eq!(bytes.len(), 12 + 8 + 65_535);
    assert_eq!(bytes[14..16], [0xff, 0xff]);
    let bytes = sent(&ToGuest::BulkIn { endpoint: IN, status: Status::Success, data: &data }, ALL);
    assert_eq!(bytes.len(), 16 + 10 + 70_000);
}

#[test]
fn what_cannot_be_meant_is_refused() {
    let refused = |kind, body: &[u8]| FromGuest::parse(kind, body, ALL).unwrap_err();
    // Types of the other direction, of capabilities not offered, and none at all.
    for kind in [1, 2, 4, 5, 8, 11, 14, 17, 18, 19, 20, 25, 26, 27, 28, 99, 104, 105, u32::MAX] {
        assert_eq!(refused(kind, &[]), WireError::Kind(kind));
    }
    assert_eq!(FromGuest::parse(22, &[], NONE), Err(WireError::Kind(22)));
    assert_eq!(FromGuest::parse(24, &[], NONE), Err(WireError::Kind(24)));
    // A direction that is not the request's.
    assert_eq!(refused(100, &[0x80, 6, 0x21, 0, 0, 0, 0, 0, 0, 0]), WireError::Endpoint(0x80));
    assert_eq!(refused(100, &[0x01, 6, 0x21, 0, 0, 0, 0, 0, 0, 0]), WireError::Endpoint(0x01));
    // Endpoints that are none, a stream, lengths that are not those of the data.
    for endpoint in [0x00, 0x80, 0x11, 0x91] {
        assert_eq!(refused(101, &[endpoint, 0, 0, 0, 0, 0, 0, 0, 0, 0]), WireError::Endpoint(endpoint));
    }
    assert_eq!(refused(101, &[1, 0, 0, 0, 1, 0, 0, 0, 0, 0]), WireError::Stream(1));
    assert_eq!(refused(101, &[1, 0, 1, 0, 0, 0, 0, 0, 0, 0]), WireError::Length { kind: 101, length: 10 });
    assert_eq!(refused(103, &[0x81, 0, 0, 0]), WireError::Endpoint(0x81));
    // A hello without capabilities, with a piece of a word, and with too many.
    for length in [0, 63, 64, 67, 69, 64 + 4 * 17] {
        assert_eq!(refused(0, &vec![0; length]), WireError::Length { kind: 0, length: length as u32 });
    }
    assert_eq!(FromGuest::parse(0, &[0; 64 + 4 * 16], NONE), Ok(FromGuest::Hello(NONE)));
    // The head of a transfer that is too long for us, and of what is none.
    let head = |length: u32| {
        let [a, b, c, d] = length.to_le_bytes();
        [1, 0, a, b, 0, 0, 0, 0, c, d]
    };
    assert_eq!(bulk_head(10 + (64 << 20), &head(64 << 20), ALL), Ok(EndpointAddress(1)));
    assert!(bulk_head(10 + (64 << 20), &head(1), ALL).is_err());
    assert!(bulk_head(10 + (129 << 20), &head(129 << 20), ALL).is_err());
}

#[test]
fn devices_with_more_interfaces_than_a_message_has_room_for_are_none() {
    let mut set = set();
    let interface = set.interfaces[0].clone();
    set.interfaces.resize(InterfaceInfo::MAX, interface.clone());
    assert!(InterfaceInfo::new(&set).is_some());
    set.interfaces.push(interface);
    assert_eq!(InterfaceInfo::new(&set), None);
    let mut body = vec![0; 132];
    body[0] = 33;
    assert_eq!(ToGuest::parse(4, &body, ALL), Err(WireError::Count(33)));
}
