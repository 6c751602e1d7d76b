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

/// Nothing for Windows.
const PLAIN: Form = Form { microsoft: MicrosoftDescriptors::LeftOut, ..Form::WHOLE };
const BARE: Form = Form { class: ClassDescriptors::LeftOut, ..PLAIN };

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
    assert_eq!(descriptors(&set(), PLAIN, 7), DESCRIPTORS);
    assert_eq!(strings(&set()), STRINGS);
}

/// Likewise: what is behind the descriptors of the speeds.
const FOR_WINDOWS: [u8; 227] = [
    0, 59, 0, 0, 0, 0, 1, 4, 0, 2, 0, // extended compat IDs, 1.00: two interfaces
    0, 1, b'W', b'I', b'N', b'U', b'S', b'B', 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, //
    1, 1, b'W', b'I', b'N', b'U', b'S', b'B', 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, //
    0, 84, 0, 0, 0, 0, 1, 5, 0, 1, 0, // extended properties of interface 0, 1.00: one
    73, 0, 0, 0, 1, 0, 0, 0, // a string
    20, 0, b'D', b'e', b'v', b'i', b'c', b'e', b'I', b'n', b't', b'e', b'r', b'f', b'a', b'c', b'e', b'G',
    b'U', b'I', b'D', 0, //
    39, 0, 0, 0, b'{', b'C', b'9', b'0', b'A', b'5', b'F', b'E', b'7', b'-', b'C', b'E', b'5', b'7', b'-',
    b'4', b'3', b'7', b'6', b'-', b'9', b'C', b'7', b'A', b'-', b'E', b'1', b'D', b'A', b'A', b'6', b'E',
    b'C', b'9', b'D', b'4', b'3', b'}', 0, //
    1, 84, 0, 0, 0, 0, 1, 5, 0, 1, 0, // and of interface 1
    73, 0, 0, 0, 1, 0, 0, 0, //
    20, 0, b'D', b'e', b'v', b'i', b'c', b'e', b'I', b'n', b't', b'e', b'r', b'f', b'a', b'c', b'e', b'G',
    b'U', b'I', b'D', 0, //
    39, 0, 0, 0, b'{', b'C', b'9', b'0', b'A', b'5', b'F', b'E', b'7', b'-', b'C', b'E', b'5', b'7', b'-',
    b'4', b'3', b'7', b'6', b'-', b'9', b'C', b'7', b'A', b'-', b'E', b'1', b'D', b'A', b'A', b'6', b'E',
    b'C', b'9', b'D', b'4', b'3', b'}', 0,
];

#[test]
fn what_windows_asks_for_stands_behind_everything_else() {
    let blob = descriptors(&set(), Form::WHOLE, 7);
    assert_eq!(blob.len(), DESCRIPTORS.len() + 4 + FOR_WINDOWS.len());
    assert_eq!(blob[8..12], [0x6b, 0, 0, 0], "one flag more");
    assert_eq!(blob[24..28], [3, 0, 0, 0], "one count more: the IDs, and the properties of two interfaces");
    assert_eq!(blob[28..28 + 82], DESCRIPTORS[24..]);
    assert_eq!(blob[28 + 82..], FOR_WINDOWS);

    let older = Form { microsoft: MicrosoftDescriptors::WrittenForOlder, ..Form::WHOLE };
    let old = descriptors(&set(), older, 7);
    let swapped = [5, 64, 148].map(|at| 28 + 82 + at);
    for (at, (old, new)) in old.iter().zip(&blob).enumerate() {
        let version = swapped.iter().any(|place| at == *place || at == place + 1);
        assert_eq!(old != new, version, "byte {at}");
    }
}

#[test]
fn forms_are_tried_from_the_whole_to_the_bare() {
    use {ClassDescriptors as Class, MicrosoftDescriptors as Microsoft};
    let forms = |set: &DescriptorSet, kernel: &str| -> Vec<_> {
        Form::to_try(set, kernel).map(|form| (form.class, form.microsoft)).collect()
    };
    let mut set = set();
    assert_eq!(
        forms(&set, "6.1.0-56-amd64"),
        [
            (Class::Written, Microsoft::Written),
            (Class::Written, Microsoft::WrittenForOlder),
            (Class::Written, Microsoft::LeftOut),
            (Class::LeftOut, Microsoft::Written),
            (Class::LeftOut, Microsoft::WrittenForOlder),
            (Class::LeftOut, Microsoft::LeftOut),
        ]
    );
    let without = [(Class::Written, Microsoft::LeftOut), (Class::LeftOut, Microsoft::LeftOut)];
    assert_eq!(forms(&set, "5.16.20"), without, "its kernel may be harmed");
    assert_eq!(forms(&set, "a kernel"), without);
    for interface in &mut set.interfaces {
        (interface.class, interface.extra) = (0x08, Vec::new());
    }
    assert_eq!(forms(&set, "6.12"), [(Class::Written, Microsoft::LeftOut)]);
}

#[test]
fn class_specific_descriptors_are_left_out_and_not_counted() {
    let blob = descriptors(&set(), BARE, 7);
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
    let blob = descriptors(&set, BARE, 0);
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
