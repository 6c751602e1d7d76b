use alloc::{string::ToString, vec};

use proptest::prelude::*;

use super::*;

/// A DFU-mode set with a bulk interface beside it.
fn set() -> DescriptorSet {
    DescriptorSet {
        vendor_id: 0x1209,
        product_id: 0x2b01,
        device_version: 0x0123,
        manufacturer: "M".into(),
        product: "Pé".into(),
        serial: String::new(),
        interfaces: vec![
            Interface {
                class: 0xfe,
                subclass: 1,
                protocol: 2,
                name: "bmc".into(),
                extra: vec![9, 0x21, 0x0d, 0xff, 0, 0, 0x10, 0x10, 1],
                endpoints: vec![],
            },
            Interface {
                class: 0xff,
                subclass: 0x49,
                protocol: 1,
                name: String::new(),
                extra: vec![],
                endpoints: vec![EndpointAddress(0x01), EndpointAddress(0x81)],
            },
        ],
    }
}

/// The same as bytes, by hand from USB 2.0, 9.6. They are what hosts saw of released devices: do not edit.
const DEVICE_BYTES: [u8; 18] = [18, 1, 0x10, 2, 0, 0, 0, 64, 0x09, 0x12, 0x01, 0x2b, 0x23, 0x01, 1, 2, 0, 1];
const QUALIFIER_BYTES: [u8; 10] = [10, 6, 0x10, 2, 0, 0, 0, 64, 1, 0];
const CONFIGURATION_BYTES: [u8; 50] = [
    9, 2, 50, 0, 2, 1, 0, 0xc0, 1, // configuration 1: self-powered, 2 mA
    9, 4, 0, 0, 0, 0xfe, 1, 2, 4, // interface 0: DFU mode
    9, 0x21, 0x0d, 0xff, 0, 0, 0x10, 0x10, 1, // DFU functional
    9, 4, 1, 0, 2, 0xff, 0x49, 1, 0, // interface 1: vendor
    7, 5, 0x01, 2, 0, 2, 0, // bulk OUT 512
    7, 5, 0x81, 2, 0, 2, 0, // bulk IN 512
];

#[test]
fn bytes_are_frozen() {
    let set = set();
    assert_eq!(set.device_bytes(), DEVICE_BYTES);
    assert_eq!(set.device_qualifier_bytes(), QUALIFIER_BYTES);
    assert_eq!(set.configuration_bytes(), CONFIGURATION_BYTES);
    // At full speed: type 7, packets of 64.
    let mut other = CONFIGURATION_BYTES;
    other[1] = 7;
    (other[40], other[41]) = (64, 0);
    (other[47], other[48]) = (64, 0);
    assert_eq!(set.other_speed_configuration_bytes(), other);
}

#[test]
fn strings() {
    let set = set();
    assert_eq!(set.string_bytes(0, 0).unwrap(), [4, 3, 0x09, 0x04]);
    assert_eq!(set.string_bytes(0, 0x0407).unwrap(), [4, 3, 0x09, 0x04], "the table has no language");
    assert_eq!(set.string_bytes(1, 0x0409).unwrap(), [4, 3, b'M', 0]);
    assert_eq!(set.string_bytes(2, 0x0409).unwrap(), [6, 3, b'P', 0, 0xe9, 0]);
    assert_eq!(set.string_bytes(4, 0x0409).unwrap(), [8, 3, b'b', 0, b'm', 0, b'c', 0]);
    assert_eq!(set.string_bytes(3, 0x0409), None, "an empty string is none");
    assert_eq!(set.string_bytes(5, 0x0409), None, "an interface without a name");
    assert_eq!(set.string_bytes(6, 0x0409), None, "an interface that is not there");
    assert_eq!(set.string_bytes(255, 0x0409), None);
    assert_eq!(set.string_bytes(1, 0x0407), None, "another language");
    for (text, bytes) in [("M", &[4, 3, b'M', 0][..]), ("\u{1f50c}", &[6, 3, 0x3d, 0xd8, 0x0c, 0xdd])] {
        assert_eq!(parse_string(bytes).unwrap(), text);
        let mut set = set.clone();
        set.serial = text.into();
        assert_eq!(set.string_bytes(3, 0x0409).unwrap(), bytes);
    }
}

#[test]
fn lookup() {
    let set = set();
    assert_eq!(set.interface(1).unwrap().class, 0xff);
    assert_eq!(set.interface(2), None);
    assert_eq!(set.endpoints().collect::<Vec<_>>(), [EndpointAddress(0x01), EndpointAddress(0x81)]);
    assert_eq!(set.interface_of(EndpointAddress(0x81)), Some(1));
    assert_eq!(set.interface_of(EndpointAddress(0x82)), None);
    assert_eq!(set.interfaces[1].endpoint(Direction::In), Some(EndpointAddress(0x81)));
    assert_eq!(set.interfaces[0].endpoint(Direction::In), None);
}

#[test]
fn what_no_host_could_read_does_not_validate() {
    let refused = |change: &dyn Fn(&mut DescriptorSet)| {
        let mut set = set();
        change(&mut set);
        // Its bytes are well-formed all the same.
        let bytes = set.configuration_bytes();
        assert_eq!(usize::from(u16::from_le_bytes([bytes[2], bytes[3]])), bytes.len());
        for index in 0..=255 {
            if let Some(bytes) = set.string_bytes(index, LANGUAGE) {
                assert_eq!(usize::from(bytes[0]), bytes.len());
            }
        }
        set.validate()
    };
    assert_eq!(refused(&|_| {}), Ok(()));
    assert_eq!(refused(&|set| set.interfaces.clear()), Err(DescriptorError::InterfaceCount));
    assert_eq!(refused(&|set| set.interfaces = vec![set.interfaces[0].clone(); 64]), Ok(()));
    for count in [65, 256, 1000] {
        assert_eq!(
            refused(&|set| set.interfaces = vec![set.interfaces[0].clone(); count]),
            Err(DescriptorError::InterfaceCount)
        );
    }
    for address in [0x00, 0x80, 0x11, 0xf1] {
        assert_eq!(
            refused(&|set| set.interfaces[0].endpoints.push(EndpointAddress(address))),
            Err(DescriptorError::EndpointAddress(address))
        );
    }
    assert_eq!(
        refused(&|set| set.interfaces[0].endpoints.push(EndpointAddress(0x81))),
        Err(DescriptorError::EndpointTwice(0x81))
    );
    for length in [126, 127, 1000] {
        let expected = if length == 126 { Ok(()) } else { Err(DescriptorError::StringTooLong) };
        assert_eq!(refused(&|set| set.manufacturer = "a".repeat(length)), expected);
        assert_eq!(refused(&|set| set.interfaces[1].name = "a".repeat(length)), expected);
    }
    assert_eq!(refused(&|set| set.serial = "\u{1f50c}".repeat(63)), Ok(()), "126 units");
    assert_eq!(refused(&|set| set.serial = "\u{1f50c}".repeat(64)), Err(DescriptorError::StringTooLong));
    for extra in [vec![0], vec![2], vec![1, 0x21], vec![3, 0x21], vec![2, 5], vec![2, 0x21, 9, 4]] {
        assert_eq!(
            refused(&|set| set.interfaces[1].extra = extra.clone()),
            Err(DescriptorError::Extra(1)),
            "{extra:?}"
        );
    }
    assert_eq!(
        refused(&|set| set.interfaces[1].extra = [255; 255].repeat(17)),
        Err(DescriptorError::TooLong)
    );
    assert_eq!(
        refused(&|set| set.interfaces[1].extra = [255; 255].repeat(300)),
        Err(DescriptorError::TooLong)
    );
}

#[test]
fn device_is_parsed() {
    let expected = ParsedDevice {
        usb_version: 0x0210,
        class: 0,
        subclass: 0,
        protocol: 0,
        max_packet_size_0: 64,
        vendor_id: 0x1209,
        product_id: 0x2b01,
        device_version: 0x0123,
        manufacturer: 1,
        product: 2,
        serial: 0,
        configurations: 1,
    };
    assert_eq!(parse_device(&DEVICE_BYTES), Ok(expected));
    assert_eq!(parse_device(&[&DEVICE_BYTES[..], &[0; 9]].concat()), Ok(expected), "what follows is ignored");
    for length in 0..18 {
        assert_eq!(parse_device(&DEVICE_BYTES[..length]), Err(ParseError::Truncated));
    }
    let with = |place: usize, value| {
        let mut bytes = DEVICE_BYTES;
        bytes[place] = value;
        parse_device(&bytes)
    };
    assert_eq!(with(0, 17), Err(ParseError::BadLength));
    assert_eq!(with(0, 0), Err(ParseError::BadLength));
    assert_eq!(with(1, 2), Err(ParseError::WrongType));
}

#[test]
fn configuration_is_parsed() {
    let configuration = parse_configuration(&CONFIGURATION_BYTES).unwrap();
    assert_eq!((configuration.value, configuration.name), (1, 0));
    assert_eq!((configuration.attributes, configuration.max_power), (0xc0, 1));
    let [dfu, bulk] = &configuration.interfaces[..] else { panic!("{configuration:?}") };
    assert_eq!(
        (dfu.number, dfu.alternate, dfu.class, dfu.subclass, dfu.protocol, dfu.name),
        (0, 0, 0xfe, 1, 2, 4)
    );
    assert_eq!(dfu.extra_of_type(0x21).unwrap(), &CONFIGURATION_BYTES[18..27]);
    assert_eq!(dfu.extra_of_type(0x22), None);
    assert_eq!(dfu.endpoints, []);
    assert_eq!((bulk.number, bulk.class, bulk.name), (1, 0xff, 0));
    let endpoint = bulk.bulk(Direction::In).unwrap();
    assert_eq!(
        (endpoint.address.0, endpoint.kind, endpoint.max_packet_size),
        (0x81, EndpointKind::Bulk, 512)
    );
    assert_eq!(configuration.find(0xfe, 1, 2), Some(dfu));
    assert_eq!(configuration.find(0xfe, 1, 1), None);
    let longer = [&CONFIGURATION_BYTES[..], &[0; 9]].concat();
    assert_eq!(parse_configuration(&longer), Ok(configuration), "what follows wTotalLength is ignored");
}

/// A configuration head with the right wTotalLength, then these bytes.
fn configuration(rest: &[u8]) -> Result<ParsedConfiguration, ParseError> {
    let mut bytes = vec![9, 2, 0, 0, 1, 1, 0, 0x80, 50];
    bytes.extend(rest);
    let total = (bytes.len() as u16).to_le_bytes();
    bytes[2..4].copy_from_slice(&total);
    parse_configuration(&bytes)
}

const INTERFACE_0: [u8; 9] = [9, 4, 0, 0, 0, 0xff, 0, 0, 0];
const ENDPOINT_81: [u8; 7] = [7, 5, 0x81, 2, 0, 2, 0];

#[test]
fn hostile_configurations_are_refused() {
    for length in 0..CONFIGURATION_BYTES.len() {
        assert_eq!(parse_configuration(&CONFIGURATION_BYTES[..length]), Err(ParseError::Truncated));
    }
    // wTotalLength cuts a descriptor in two.
    for total in [0, 1, 8, 10, 17, 19, 49] {
        let mut bytes = CONFIGURATION_BYTES;
        bytes[2] = total;
        assert_eq!(parse_configuration(&bytes), Err(ParseError::Truncated), "wTotalLength {total}");
    }
    assert_eq!(parse_configuration(&DEVICE_BYTES), Err(ParseError::WrongType));
    for (rest, error) in [
        (&[0][..], ParseError::BadLength),
        (&[1], ParseError::BadLength),
        (&[0, 4, 0, 0], ParseError::BadLength),
        (&[1, 4, 0, 0], ParseError::BadLength),
        (&[2], ParseError::Truncated),
        (&[255, 0x21, 0, 0], ParseError::Truncated),
        (&[8, 4, 0, 0, 0, 0xff, 0, 0], ParseError::BadLength),
        (&ENDPOINT_81, ParseError::Misplaced),
        (&DEVICE_BYTES, ParseError::Misplaced),
        (&[9, 2, 9, 0, 1, 1, 0, 0x80, 50], ParseError::Misplaced),
    ] {
        assert_eq!(configuration(rest), Err(error), "{rest:?}");
    }
    for (rest, error) in [
        (&INTERFACE_0[..], ParseError::Twice),
        (&[6, 5, 0x81, 2, 0, 2], ParseError::BadLength),
        (&[7, 5, 0x00, 2, 0, 2, 0], ParseError::EndpointAddress(0x00)),
        (&[7, 5, 0x80, 2, 0, 2, 0], ParseError::EndpointAddress(0x80)),
        (&[7, 5, 0x91, 2, 0, 2, 0], ParseError::EndpointAddress(0x91)),
        (&[ENDPOINT_81, ENDPOINT_81].concat(), ParseError::Twice),
        (&[&[8, 0x0b, 1, 1, 0xff, 0, 0, 0][..], &ENDPOINT_81].concat(), ParseError::Misplaced),
    ] {
        assert_eq!(configuration(&[&INTERFACE_0, rest].concat()), Err(error), "{rest:?}");
    }
    let mut bytes = vec![0; 5000];
    bytes[..9].copy_from_slice(&[9, 2, 0x01, 0x10, 1, 1, 0, 0x80, 50]);
    assert_eq!(parse_configuration(&bytes), Err(ParseError::TooMany), "4097 bytes");
}

#[test]
fn counts_are_bounded() {
    let settings = |count: u8| {
        (0..count).flat_map(|alternate| [9, 4, 0, alternate, 0, 0xff, 0, 0, 0]).collect::<Vec<_>>()
    };
    assert_eq!(configuration(&settings(64)).unwrap().interfaces.len(), 64);
    assert_eq!(configuration(&settings(65)), Err(ParseError::TooMany));
    let addresses = (0x01..=0x0f).chain(0x81..=0x8f);
    let endpoints: Vec<u8> = addresses.flat_map(|address| [7, 5, address, 2, 0, 2, 0]).collect();
    let all = [&INTERFACE_0[..], &endpoints].concat();
    assert_eq!(configuration(&all).unwrap().interfaces[0].endpoints.len(), 30);
}

#[test]
fn other_descriptors_belong_to_the_interface_before_them() {
    let bytes = [
        &[8, 0x0b, 0, 2, 0xff, 0, 0, 0][..], // an association before the first interface
        &[3, 0x24, 1],                       // and what only it can own
        &INTERFACE_0,
        &[3, 0x24, 2],
        &[9, 5, 0x81, 0x13, 0x40, 0x18, 1, 0, 0], // longer than USB 2.0 has it; interrupt, two more a microframe
        &[3, 0x25, 3],                            // after an endpoint
        &[8, 0x0b, 1, 1, 0xff, 0, 0, 0],          // an association after an interface
        &[3, 0x24, 4],
    ]
    .concat();
    let found = configuration(&bytes).unwrap();
    let [interface] = &found.interfaces[..] else { panic!("{found:?}") };
    assert_eq!(interface.extra, [3, 0x24, 2, 3, 0x25, 3]);
    assert_eq!(interface.extra_of_type(0x25).unwrap(), [3, 0x25, 3]);
    let [endpoint] = interface.endpoints[..] else { panic!("{found:?}") };
    assert_eq!((endpoint.kind, endpoint.max_packet_size), (EndpointKind::Interrupt, 0x40));
    assert_eq!(interface.bulk(Direction::In), None);
}

#[test]
fn hostile_strings() {
    assert_eq!(parse_string(&[]), Err(ParseError::Truncated));
    assert_eq!(parse_string(&[0, 3]), Err(ParseError::BadLength));
    assert_eq!(parse_string(&[1, 3]), Err(ParseError::BadLength));
    assert_eq!(parse_string(&[2]), Err(ParseError::Truncated));
    assert_eq!(parse_string(&[255, 3, b'a', 0]), Err(ParseError::Truncated));
    assert_eq!(parse_string(&[3, 3, b'a']), Err(ParseError::BadLength));
    assert_eq!(parse_string(&[4, 4, b'a', 0]), Err(ParseError::WrongType));
    assert_eq!(parse_string(&[2, 3]).unwrap(), "");
    assert_eq!(parse_string(&[4, 3, b'a', 0, b'b', 0]).unwrap(), "a", "bLength ends it");
    assert_eq!(parse_string(&[4, 3, 0x3d, 0xd8]).unwrap(), "\u{fffd}", "half a surrogate pair");
    assert_eq!(parse_string(&[6, 3, 0x1b, 0, 0, 0]).unwrap(), "\u{1b}\0", "the terminal is not our business");
}

#[test]
fn errors_say_what_is_wrong() {
    assert_eq!(DescriptorError::TooLong.to_string(), "the configuration is longer than 4096 bytes");
    assert_eq!(ParseError::EndpointAddress(0x91).to_string(), "0x91 is no endpoint address");
}

prop_compose! {
    fn any_interface()(
        triple: (u8, u8, u8),
        name in "\\PC{0,40}",
        extra in prop::collection::vec((0x21_u8.., prop::collection::vec(any::<u8>(), 0..20)), 0..3),
    ) -> Interface {
        let extra = extra.into_iter()
            // An association would begin something new.
            .flat_map(|(kind, body)| [vec![body.len() as u8 + 2, kind], body].concat())
            .collect();
        Interface { class: triple.0, subclass: triple.1, protocol: triple.2, name, extra, endpoints: vec![] }
    }
}

prop_compose! {
    fn any_set()(
        ids: (u16, u16, u16),
        strings in prop::array::uniform3("\\PC{0,40}"),
        interfaces in prop::collection::vec(any_interface(), 1..6),
        endpoints in prop::collection::hash_map((1_u8..16, any::<bool>()), 0..6_usize, 0..8),
    ) -> DescriptorSet {
        let [manufacturer, product, serial] = strings;
        let mut set = DescriptorSet {
            vendor_id: ids.0, product_id: ids.1, device_version: ids.2, manufacturer, product, serial, interfaces,
        };
        for ((number, to_host), interface) in endpoints {
            let address = EndpointAddress(number | if to_host { 0x80 } else { 0 });
            let place = interface % set.interfaces.len();
            set.interfaces[place].endpoints.push(address);
        }
        set
    }
}

proptest! {
    /// What is written is read back the same.
    #[test]
    fn round_trip(set in any_set()) {
        prop_assert_eq!(set.validate(), Ok(()));
        let text = |index| match index {
            0 => String::new(),
            _ => parse_string(&set.string_bytes(index, LANGUAGE).unwrap()).unwrap(),
        };
        let device = parse_device(&set.device_bytes()).unwrap();
        let found = parse_configuration(&set.configuration_bytes()).unwrap();
        let read_back = DescriptorSet {
            vendor_id: device.vendor_id,
            product_id: device.product_id,
            device_version: device.device_version,
            manufacturer: text(device.manufacturer),
            product: text(device.product),
            serial: text(device.serial),
            interfaces: found.interfaces.into_iter().map(|it| Interface {
                class: it.class,
                subclass: it.subclass,
                protocol: it.protocol,
                name: text(it.name),
                extra: it.extra,
                endpoints: it.endpoints.into_iter().map(|it| it.address).collect(),
            }).collect(),
        };
        prop_assert_eq!(read_back, set);
    }

    /// Whatever a device answers, reading it ends, and yields no more than was there.
    #[test]
    fn hostile_bytes(bytes in prop::collection::vec(any::<u8>(), 0..600)) {
        _ = parse_device(&bytes);
        _ = parse_string(&bytes);
        _ = parse_configuration(&bytes);
    }

    /// The same, past the first checks.
    #[test]
    fn hostile_changes(place in 0..50_usize, value: u8, second in 0..50_usize, other: u8, total in 0..60_u8) {
        let mut bytes = CONFIGURATION_BYTES;
        bytes[2] = total;
        bytes[place] = value;
        bytes[second] = other;
        if let Ok(found) = parse_configuration(&bytes) {
            let read: usize = found.interfaces.iter().map(|it| 9 + it.extra.len() + 7 * it.endpoints.len()).sum();
            prop_assert!(read + 9 <= bytes.len());
        }
    }
}
