use alloc::{string::String, vec, vec::Vec};

use super::*;
use crate::chapter9::{Chapter9, Outcome};

fn set(classes: &[u8]) -> DescriptorSet {
    let interface = |class: &u8| Interface {
        class: *class,
        subclass: 0,
        protocol: 0,
        name: String::new(),
        extra: vec![],
        endpoints: vec![],
    };
    DescriptorSet {
        vendor_id: 0x1209,
        product_id: 1,
        device_version: 0x0100,
        manufacturer: String::new(),
        product: String::new(),
        serial: String::new(),
        interfaces: classes.iter().map(interface).collect(),
    }
}

/// By hand from the specification. Hosts remember what a device said once: do not edit.
const FEATURES: [u8; 152] = [
    20, 0, 3, 0, // compatible ID
    b'W', b'I', b'N', b'U', b'S', b'B', 0, 0, // CompatibleID
    0, 0, 0, 0, 0, 0, 0, 0, // SubCompatibleID
    132, 0, 4, 0, // registry property
    7, 0, // REG_MULTI_SZ
    42, 0, // the name's bytes
    b'D', 0, b'e', 0, b'v', 0, b'i', 0, b'c', 0, b'e', 0, b'I', 0, b'n', 0, b't', 0, b'e', 0, b'r', 0, b'f',
    0, //
    b'a', 0, b'c', 0, b'e', 0, b'G', 0, b'U', 0, b'I', 0, b'D', 0, b's', 0, 0, 0, //
    80, 0, // the data's bytes
    b'{', 0, b'C', 0, b'9', 0, b'0', 0, b'A', 0, b'5', 0, b'F', 0, b'E', 0, b'7', 0, b'-', 0, //
    b'C', 0, b'E', 0, b'5', 0, b'7', 0, b'-', 0, b'4', 0, b'3', 0, b'7', 0, b'6', 0, b'-', 0, //
    b'9', 0, b'C', 0, b'7', 0, b'A', 0, b'-', 0, //
    b'E', 0, b'1', 0, b'D', 0, b'A', 0, b'A', 0, b'6', 0, b'E', 0, b'C', 0, b'9', 0, b'D', 0, b'4', 0, b'3',
    0, //
    b'}', 0, 0, 0, 0, 0,
];
const BOS_BYTES: [u8; 33] = [
    5, 15, 33, 0, 1, // one capability
    28, 16, 5, 0, // platform
    0xdf, 0x60, 0xdd, 0xd8, 0x89, 0x45, 0xc7, 0x4c, 0x9c, 0xd2, 0x65, 0x9d, 0x9e, 0x64, 0x8a, 0x9f, //
    0, 0, 3, 6, // Windows 8.1
    162, 0, // the descriptor set's bytes
    0x4d, 0, // bMS_VendorCode
];

fn joined(parts: &[&[u8]]) -> Vec<u8> {
    parts.concat()
}

#[test]
fn bytes_are_frozen() {
    let one = set(&[0xfe]);
    assert_eq!(one.bos_bytes().unwrap(), BOS_BYTES);
    assert_eq!(one.microsoft_bytes().unwrap(), joined(&[&[10, 0, 0, 0, 0, 0, 3, 6, 162, 0], &FEATURES]));

    // Interface 1 is a disk, for which Windows has a driver.
    let composite = set(&[0xfe, 0x08, 0xff]);
    let expected = joined(&[
        &[10, 0, 0, 0, 0, 0, 3, 6, 0x52, 1], // 338 bytes
        &[8, 0, 1, 0, 0, 0, 0x48, 1],        // configuration 0: 328 bytes
        &[8, 0, 2, 0, 0, 0, 160, 0],         // interface 0
        &FEATURES,
        &[8, 0, 2, 0, 2, 0, 160, 0], // interface 2
        &FEATURES,
    ]);
    assert_eq!(composite.microsoft_bytes().unwrap(), expected);
    let mut bos = BOS_BYTES;
    bos[29..31].copy_from_slice(&338_u16.to_le_bytes());
    assert_eq!(composite.bos_bytes().unwrap(), bos);
}

#[test]
fn the_largest_set_is_told_whole() {
    let set = set(&[0xff; 64]);
    assert_eq!(set.validate(), Ok(()));
    let bytes = set.microsoft_bytes().unwrap();
    assert_eq!(bytes.len(), 10 + 8 + 64 * 160);
    assert_eq!(u16::from_le_bytes([bytes[8], bytes[9]]), 10 + 8 + 64 * 160);
    assert_eq!(set.bos_bytes().unwrap()[29..31], bytes[8..10]);
}

#[test]
fn a_device_that_windows_has_drivers_for_is_one_of_usb_2_0() {
    let set = set(&[0x08]);
    assert_eq!((set.bos_bytes(), set.microsoft_bytes()), (None, None));
    assert_eq!(set.device_bytes()[2..4], [0, 2]);
    let ask = Setup { request_type: 0xc0, request: VENDOR_CODE, value: 0, index: 7, length: 0xffff };
    assert_eq!(Chapter9::new().handle(&set, &ask), Outcome::Stall);
}

#[test]
fn windows_asks_before_there_is_a_configuration_and_gets_what_it_asked_for() {
    let set = set(&[0xfe]);
    let whole = set.microsoft_bytes().unwrap();
    let ask = Setup { request_type: 0xc0, request: VENDOR_CODE, value: 0, index: 7, length: 0xffff };
    let mut device = Chapter9::with_address(1);
    for length in [0, 10, 162, 0xffff] {
        let expected = whole[..whole.len().min(length.into())].to_vec();
        assert_eq!(device.handle(&set, &Setup { length, ..ask }), Outcome::Reply(expected));
    }
    // What only looks like it is the function's, once there is one, and it stalls that.
    let others = [
        Setup { request_type: 0xc1, ..ask },
        Setup { request_type: 0x40, ..ask },
        Setup { request: 0x49, ..ask },
        Setup { value: 1, ..ask },
        Setup { index: 4, ..ask },
        Setup { index: 8, ..ask },
    ];
    for other in others {
        assert_eq!(device.handle(&set, &other), Outcome::Stall, "{other:x?}");
    }
    let configure = Setup { request_type: 0, request: 9, value: 1, index: 0, length: 0 };
    device.handle(&set, &configure);
    for other in others {
        assert_eq!(device.handle(&set, &other), Outcome::ToFunction, "{other:x?}");
    }
    assert_eq!(device.handle(&set, &ask), Outcome::Reply(whole));
}
