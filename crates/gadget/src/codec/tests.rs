use inband_usb::EndpointAddress;

use super::*;

/// A DFU interface with its functional descriptor, and a nameless bulk interface.
fn set() -> DescriptorSet {
    let interface = |class, name: &str, extra: &[u8], endpoints: &[u8]| Interface {
        class,
        subclass: 1,
        protocol: 2,
        name: name.into(),
        extra: extra.into(),
        endpoints: endpoints.iter().map(|address| EndpointAddress(*address)).collect(),
    };
    DescriptorSet {
        vendor_id: 0x1209,
        product_id: 1,
        device_version: 0x0100,
        manufacturer: "M".into(),
        product: "P".into(),
        serial: "S".into(),
        interfaces: vec![
            interface(0xff, "", &[], &[0x01, 0x81]),
            interface(0xfe, "bmc", &[9, 0x21, 0x0d, 0xff, 0, 0, 0x10, 0x10, 1], &[]),
        ],
    }
}

/// By hand from linux/usb/functionfs.h. Kernels have taken these bytes: do not edit.
const DESCRIPTORS: [u8; 106] = [
    3, 0, 0, 0, // FUNCTIONFS_DESCRIPTORS_MAGIC_V2
    106, 0, 0, 0, // length
    0x63, 0, 0, 0, // full speed, high speed, eventfd, all recipients
    7, 0, 0, 0, // the eventfd
    5, 0, 0, 0, // descriptors at full speed
    5, 0, 0, 0, // and at high speed
    9, 4, 0, 0, 2, 0xff, 1, 2, 0, // interface 0, without a name
    7, 5, 0x01, 2, 64, 0, 0, // bulk OUT 64
    7, 5, 0x81, 2, 64, 0, 0, // bulk IN 64
    9, 4, 1, 0, 0, 0xfe, 1, 2, 1, // interface 1, the first string
    9, 0x21, 0x0d, 0xff, 0, 0, 0x10, 0x10, 1, // DFU functional
    9, 4, 0, 0, 2, 0xff, 1, 2, 0, //
    7, 5, 0x01, 2, 0, 2, 0, // bulk OUT 512
    7, 5, 0x81, 2, 0, 2, 0, // bulk IN 512
    9, 4, 1, 0, 0, 0xfe, 1, 2, 1, //
    9, 0x21, 0x0d, 0xff, 0, 0, 0x10, 0x10, 1, //
];
const STRINGS: [u8; 22] = [
    2, 0, 0, 0, // FUNCTIONFS_STRINGS_MAGIC
    22, 0, 0, 0, // length
    1, 0, 0, 0, // strings
    1, 0, 0, 0, // languages
    0x09, 0x04, // English
    b'b', b'm', b'c', 0,
];

#[test]
fn blobs_are_frozen() {
    assert_eq!(descriptors(&set(), ClassDescriptors::Written, 7), DESCRIPTORS);
    assert_eq!(strings(&set()), STRINGS);
}

#[test]
fn class_specific_descriptors_are_left_out_and_not_counted() {
    let blob = descriptors(&set(), ClassDescriptors::LeftOut, 7);
    assert_eq!(blob.len(), 106 - 2 * 9);
    assert_eq!(blob[4], 106 - 2 * 9);
    assert_eq!((blob[16], blob[20]), (4, 4));
    let mut expected = DESCRIPTORS[24..56].to_vec();
    expected.extend(&DESCRIPTORS[65..97]);
    assert_eq!(blob[24..], expected);
}

#[test]
fn without_names_there_is_neither_string_nor_language() {
    let mut set = set();
    set.interfaces.truncate(1);
    assert_eq!(strings(&set), [2, 0, 0, 0, 16, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
}

#[test]
fn names_that_are_there_are_numbered_without_gaps() {
    let mut set = set();
    set.interfaces.insert(1, set.interfaces[1].clone());
    let blob = descriptors(&set, ClassDescriptors::LeftOut, 0);
    // Interface 0 has none; 1 and 2 have the first and the second.
    let at = |interface: usize| 24 + 9 + 14 + (interface - 1) * 9 + 8;
    assert_eq!((blob[24 + 8], blob[at(1)], blob[at(2)]), (0, 1, 2));
}

#[test]
fn events_are_read_whole_and_unknown_ones_left_out() {
    let mut bytes = Vec::new();
    for kind in 0..=7 {
        bytes.extend([0xa1, 3, 1, 0, 2, 0, 6, 0, kind, 0, 0, 0]);
    }
    // Half an event is none.
    bytes.extend([0; EVENT_SIZE - 1]);
    let setup = Setup { request_type: 0xa1, request: 3, value: 1, index: 2, length: 6 };
    let expected = [
        Event::Bind,
        Event::Unbind,
        Event::Enable,
        Event::Disable,
        Event::Setup(setup),
        Event::Suspend,
        Event::Resume,
    ];
    assert!(events(&bytes).eq(expected));
    assert_eq!(events(&[]).count(), 0);
}
