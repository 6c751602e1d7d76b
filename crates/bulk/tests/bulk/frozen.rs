//! Bytes on the wire, frozen, and the same as in the specification. If a test here fails, do not change the test: hosts and BMCs in the
//! field know these bytes.

use inband_bulk::{
    ChunkSet,
    interface::{self, BulkInterface, IN, OUT, Page, PageError},
    wire::{
        HEADER_LENGTH, Header, Kind, MAX_CHUNKS, MAX_FILE_LENGTH, MAX_NEED_LENGTH, OFFER_LENGTHS, Outcome,
        message, message_length, parse_whole, pieces,
    },
};
use inband_usb::{
    DescriptorSet,
    descriptor::{Interface, parse_configuration},
};

const EXCHANGE: u32 = 0x1122_3344;

const OFFER: [u8; 20] = [
    0x49, 0x42, 0x4c, 0x4b, // magic
    0x01, // version
    0x01, // OFFER
    0x00, 0x00, // reserved
    0x44, 0x33, 0x22, 0x11, // exchange
    0x00, 0x00, 0x00, 0x00, // number
    0x00, 0x0e, 0x00, 0x00, // 3584 bytes
];

const WHOLE: [u8; 28] = [
    0x49, 0x42, 0x4c, 0x4b, 0x01, 0x02, 0x00, 0x00, 0x44, 0x33, 0x22, 0x11, 0x00, 0x00, 0x00, 0x00, 0x08,
    0x00, 0x00, 0x00, // WHOLE, 8 bytes
    0xa0, 0x86, 0x01, 0x00, 0x00, 0x00, 0x00, 0x00, // a file of 100,000 bytes
];

const NEED: [u8; 38] = [
    0x49, 0x42, 0x4c, 0x4b, 0x01, 0x81, 0x00, 0x00, 0x44, 0x33, 0x22, 0x11, 0x00, 0x00, 0x00, 0x00, 0x12,
    0x00, 0x00, 0x00, // NEED, round 0, 18 bytes
    0x0b, 0x00, 0x00, 0x00, // 11 chunks
    0x03, 0x00, 0x00, 0x00, // 3 asked for
    0xb8, 0x0b, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, // 3,000 bytes
    0x09, 0x04, // 0, 3 and 10
];

const CHUNK: [u8; 25] = [
    0x49, 0x42, 0x4c, 0x4b, 0x01, 0x03, 0x00, 0x00, 0x44, 0x33, 0x22, 0x11, 0x0a, 0x00, 0x00, 0x00, 0x05,
    0x00, 0x00, 0x00, // CHUNK 10, 5 bytes
    b'h', b'e', b'l', b'l', b'o',
];

const RESULT: [u8; 28] = [
    0x49, 0x42, 0x4c, 0x4b, 0x01, 0x82, 0x00, 0x00, 0x44, 0x33, 0x22, 0x11, 0x00, 0x00, 0x00, 0x00, 0x08,
    0x00, 0x00, 0x00, // RESULT, 8 bytes
    0x13, 0x00, // bad-signature
    0x00, 0x00, // reserved
    0x07, 0x00, 0x00, 0x00, // session 7
];

const PAGE: [u8; 12] = [
    0x01, 0x0c, // format version, length
    0x01, 0x01, // oldest and newest version
    0x01, // interface
    0x00, 0x00, 0x00, // reserved
    0x00, 0x00, 0x10, 0x00, // 1 MiB
];

const INTERFACE: [u8; 23] = [
    0x09, 0x04, 0x01, 0x00, 0x02, 0xff, 0x49, 0x01, 0x05, // interface 1, two endpoints, FF/49/01
    0x07, 0x05, 0x01, 0x02, 0x00, 0x02, 0x00, // 01h, bulk, 512 bytes
    0x07, 0x05, 0x81, 0x02, 0x00, 0x02, 0x00, // 81h, bulk, 512 bytes
];

/// A message is these bytes, and zeros to the end of the unit.
fn fills_a_unit(message: &[u8], bytes: &[u8]) {
    assert_eq!(message.len(), 512);
    assert_eq!(&message[..bytes.len()], bytes);
    assert!(message[bytes.len()..].iter().all(|byte| *byte == 0));
}

#[test]
fn the_specification_has_the_same() {
    let text = include_str!("../../../../docs/spec/bulk.md");
    let (_, section) = text.split_once("## 10. Bytes, frozen").unwrap();
    let expected: [(&str, &[u8]); 7] = [
        ("offer", &OFFER),
        ("whole", &WHOLE),
        ("need", &NEED),
        ("chunk", &CHUNK),
        ("result", &RESULT),
        ("page", &PAGE),
        ("interface", &INTERFACE),
    ];
    for (name, bytes) in expected {
        let line = section.lines().find_map(|line| line.strip_prefix("    ")?.strip_prefix(name));
        let words = line.unwrap_or_else(|| panic!("no example of {name}")).split_whitespace();
        let found: Vec<u8> = words.map(|word| u8::from_str_radix(word, 16).unwrap()).collect();
        assert_eq!(found, bytes, "{name}");
    }
}

#[test]
fn offer() {
    let header = Header::new(Kind::Offer, EXCHANGE, 0, 3584);
    assert_eq!(header.to_bytes(), OFFER);
    assert_eq!(Header::parse(&OFFER), Some(header));
    assert_eq!(message_length(3584), 8 * 512);
    assert_eq!(message(Kind::Offer, EXCHANGE, 0, &[7; 3584])[..HEADER_LENGTH], OFFER);
}

#[test]
fn whole() {
    fills_a_unit(&message(Kind::Whole, EXCHANGE, 0, &100_000_u64.to_le_bytes()), &WHOLE);
    let body = WHOLE[HEADER_LENGTH..].try_into().unwrap();
    assert_eq!(parse_whole(&body), Some(100_000));
    assert_eq!(pieces(100_000), [65_536, 34_464]);
}

#[test]
fn need() {
    let lengths = [1000; 11];
    let mut set = ChunkSet::new(11);
    [0, 3, 10].into_iter().for_each(|chunk| set.insert(chunk));
    fills_a_unit(&message(Kind::Need, EXCHANGE, 0, &set.to_need(&lengths)), &NEED);
    assert_eq!(ChunkSet::from_need(&NEED[HEADER_LENGTH..], &lengths), Ok(set));
}

#[test]
fn chunk() {
    fills_a_unit(&message(Kind::Chunk, EXCHANGE, 10, b"hello"), &CHUNK);
}

#[test]
fn result() {
    let outcome = Outcome { result: 19, session: 7 };
    fills_a_unit(&message(Kind::Result, EXCHANGE, 0, &outcome.to_bytes()), &RESULT);
    assert_eq!(Outcome::parse(&RESULT[HEADER_LENGTH..].try_into().unwrap()), Some(outcome));
    assert_eq!(Outcome::parse(&[0x13, 0, 1, 0, 7, 0, 0, 0]), None);
}

#[test]
fn kinds() {
    let numbers = Kind::ALL.map(Kind::number);
    assert_eq!(numbers, [0x01, 0x02, 0x03, 0x81, 0x82]);
    for number in 0..=255 {
        assert_eq!(Kind::from_number(number).map(Kind::number), numbers.contains(&number).then_some(number));
    }
}

/// The bounds that the specification prints.
#[test]
fn bounds() {
    let span = |length: u32| 512 + length.next_multiple_of(512);
    assert_eq!(*OFFER_LENGTHS.start(), 1024 + span(64) + span(1));
    assert_eq!(*OFFER_LENGTHS.end(), 1024 + 4 * span(8192) + span(512 * 1024));
    assert_eq!(MAX_FILE_LENGTH, 1_073_807_360);
    assert_eq!(MAX_NEED_LENGTH, 2065);
    assert_eq!(message_length(MAX_NEED_LENGTH as u32), 5 * 512);
    assert_eq!(pieces(MAX_FILE_LENGTH).len(), MAX_CHUNKS as usize);
    for (length, found) in
        [(0, None), (1, Some(1)), (MAX_FILE_LENGTH, Some(MAX_FILE_LENGTH)), (MAX_FILE_LENGTH + 1, None)]
    {
        assert_eq!(parse_whole(&length.to_le_bytes()), found);
    }
}

/// The DFU-mode set with these interfaces beside DFU's.
pub(crate) fn set(bulk: &[Interface]) -> DescriptorSet {
    let dfu = Interface {
        class: 0xfe,
        subclass: 1,
        protocol: 2,
        name: "bmc".into(),
        extra: vec![9, 0x21, 0x0d, 0xe8, 3, 0, 0x10, 0x10, 1],
        endpoints: Vec::new(),
    };
    DescriptorSet {
        vendor_id: 0x1d6b,
        product_id: 0x0202,
        device_version: 0x0100,
        manufacturer: "Example".into(),
        product: "BMC".into(),
        serial: "0001".into(),
        interfaces: [&[dfu], bulk].concat(),
    }
}

#[test]
fn interface_beside_dfu() {
    let configuration = set(&[interface::interface()]).configuration_bytes();
    assert_eq!(configuration.len(), 50);
    assert_eq!(configuration[27..], INTERFACE);
    let parsed = parse_configuration(&configuration).unwrap();
    assert_eq!(interface::find(&parsed), Some(BulkInterface { number: 1, output: OUT, input: IN }));
}

#[test]
fn interfaces_that_are_none() {
    let ours = interface::interface();
    let others = [
        Interface { class: 0xfe, ..ours.clone() },
        Interface { subclass: 0x42, ..ours.clone() },
        Interface { protocol: 2, ..ours.clone() },
        Interface { endpoints: vec![OUT], ..ours.clone() },
        Interface { endpoints: vec![OUT, inband_usb::EndpointAddress(2)], ..ours.clone() },
        Interface { endpoints: vec![OUT, IN, inband_usb::EndpointAddress(2)], ..ours },
    ];
    for other in others {
        let configuration = set(std::slice::from_ref(&other)).configuration_bytes();
        assert_eq!(interface::find(&parse_configuration(&configuration).unwrap()), None, "{other:?}");
    }
}

/// What our own descriptors never are, and another device's may be.
#[test]
fn interfaces_of_others() {
    let find = |at: &[(usize, u8)]| {
        let mut configuration = set(&[interface::interface()]).configuration_bytes();
        at.iter().for_each(|(at, byte)| configuration[27 + at] = *byte);
        interface::find(&parse_configuration(&configuration).unwrap())
    };
    let found = |number: u8, output: u8, input: u8| {
        let [output, input] = [output, input].map(inband_usb::EndpointAddress);
        Some(BulkInterface { number, output, input })
    };
    assert_eq!(find(&[(2, 3), (11, 0x02), (18, 0x83)]), found(3, 0x02, 0x83));
    assert_eq!(find(&[(11, 0x83), (18, 0x02)]), found(1, 0x02, 0x83), "IN before OUT");
    assert_eq!(find(&[(3, 1)]), None, "an alternate setting");
    assert_eq!(find(&[(12, 3)]), None, "an interrupt endpoint");
    assert_eq!(find(&[(19, 3)]), None, "an interrupt endpoint");
    assert_eq!(find(&[(11, 0x82), (18, 0x83)]), None, "two IN");
}

#[test]
fn page() {
    let page = Page::new(1 << 20);
    assert_eq!(page.encode(), PAGE);
    assert_eq!(Page::decode(&PAGE), Ok(page));
    let with = |at: usize, byte: u8| {
        let mut page = PAGE;
        page[at] = byte;
        Page::decode(&page)
    };
    assert_eq!(with(0, 2), Err(PageError::Format(2)));
    assert_eq!(with(1, 11), Err(PageError::Length(12)));
    assert_eq!(with(2, 2), Err(PageError::Versions(2, 1)));
    assert_eq!(with(3, 9).map(|page| page.is_spoken()), Ok(true));
    for length in 0..12 {
        assert_eq!(Page::decode(&PAGE[..length]), Err(PageError::Length(length)));
    }
    // A later format adds to it.
    let mut longer = [&PAGE[..], &[1, 2]].concat();
    longer[1] = 14;
    assert_eq!(Page::decode(&longer), Ok(page));
    let newer = Page { oldest: 2, newest: 3, ..page };
    assert!(!newer.is_spoken());
}
