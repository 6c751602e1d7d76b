//! Bytes on the wire, frozen. If a test here fails, do not change the test: hosts in the field know these bytes.

use inband_dfu::{
    descriptors::{self, Identity},
    host::{DfuInterface, FindError, InterfaceMode, find_dfu_interface},
    wire::{Attributes, FunctionalDescriptor, ParseError, Request, State, Status, StatusReply},
};
use inband_usb::{Setup, descriptor::parse_configuration};

/// DFU 1.1, 6.1.2: status, poll time of 66051 ms (010203h), state, string.
const STATUS_REPLY: [u8; 6] = [
    0x07, // bStatus errVERIFY
    0x03, 0x02, 0x01, // bwPollTimeout, little-endian
    0x0a, // bState dfuERROR
    0x04, // iString
];

/// DFU 1.1, 4.1.3, as our device has it in both sets.
const FUNCTIONAL: [u8; 9] = [
    0x09, // bLength
    0x21, // bDescriptorType
    0x0d, // bmAttributes: download, manifestation tolerant, will detach
    0xe8, 0x03, // wDetachTimeOut 1000 ms
    0x00, 0x10, // wTransferSize 4096
    0x10, 0x01, // bcdDFUVersion 1.10
];

fn identity() -> Identity {
    Identity {
        vendor_id: 0x1d6b,
        runtime_product_id: 0x0201,
        dfu_product_id: 0x0202,
        runtime_version: 0x0123,
        dfu_version: 0x0100,
        manufacturer: "Example".into(),
        product: "BMC".into(),
        serial: "0001".into(),
        interface_name: "firmware".into(),
    }
}

/// The configuration of either set; only bInterfaceProtocol differs.
const fn configuration(protocol: u8) -> [u8; 27] {
    [
        0x09, 0x02, 0x1b, 0x00, 0x01, 0x01, 0x00, 0xc0,
        0x01, // configuration, 27 bytes, one interface, self-powered
        0x09, 0x04, 0x00, 0x00, 0x00, 0xfe, 0x01, protocol,
        0x04, // interface 0, alternate 0, no endpoints
        0x09, 0x21, 0x0d, 0xe8, 0x03, 0x00, 0x10, 0x10, 0x01, // functional descriptor
    ]
}

#[test]
fn status_reply() {
    let reply = StatusReply {
        status: Status::ErrVerify,
        poll_timeout_ms: 0x0001_0203,
        state: State::DfuError,
        string: 4,
    };
    assert_eq!(reply.to_bytes(), STATUS_REPLY);
    assert_eq!(StatusReply::parse(&STATUS_REPLY), Ok(reply));
}

#[test]
fn status_reply_of_24_bits_at_most() {
    let reply =
        StatusReply { status: Status::Ok, poll_timeout_ms: u32::MAX, state: State::DfuIdle, string: 0 };
    assert_eq!(reply.to_bytes(), [0, 0xff, 0xff, 0xff, 2, 0]);
}

#[test]
fn status_reply_refusals() {
    for length in [0, 1, 5, 7, 64] {
        assert_eq!(StatusReply::parse(&vec![0; length]), Err(ParseError::Length(length)));
    }
    assert_eq!(StatusReply::parse(&[16, 0, 0, 0, 2, 0]), Err(ParseError::Status(16)));
    assert_eq!(StatusReply::parse(&[0, 0, 0, 0, 11, 0]), Err(ParseError::State(11)));
}

#[test]
fn numbers() {
    for (number, state) in (0..).zip(State::ALL) {
        assert_eq!((state as u8, State::from_number(number)), (number, Some(state)));
    }
    for (number, status) in (0..).zip(Status::ALL) {
        assert_eq!((status as u8, Status::from_number(number)), (number, Some(status)));
    }
    for number in 11..=255 {
        assert_eq!(State::from_number(number), None);
    }
    for number in 16..=255 {
        assert_eq!(Status::from_number(number), None);
    }
}

/// DFU 1.1, table 3.1.
#[test]
fn requests() {
    let expected = [
        (Request::Detach, 0x21, 0, "DFU_DETACH"),
        (Request::Dnload, 0x21, 1, "DFU_DNLOAD"),
        (Request::Upload, 0xa1, 2, "DFU_UPLOAD"),
        (Request::GetStatus, 0xa1, 3, "DFU_GETSTATUS"),
        (Request::ClrStatus, 0x21, 4, "DFU_CLRSTATUS"),
        (Request::GetState, 0xa1, 5, "DFU_GETSTATE"),
        (Request::Abort, 0x21, 6, "DFU_ABORT"),
    ];
    assert_eq!(expected.map(|(request, ..)| request), Request::ALL);
    for (request, request_type, number, name) in expected {
        let setup = request.setup(3, 0x1234, 0x0006);
        assert_eq!(setup.to_bytes(), [request_type, number, 0x34, 0x12, 3, 0, 6, 0]);
        assert_eq!(Request::decode(&setup), Some(request));
        assert_eq!(Request::decode(&Setup { request_type: request_type ^ 0x80, ..setup }), None);
        assert_eq!(request.to_string(), name);
    }
    for request in 7..=255 {
        for request_type in [0x21, 0xa1] {
            assert_eq!(
                Request::decode(&Setup { request, request_type, value: 0, index: 0, length: 0 }),
                None
            );
        }
    }
}

#[test]
fn functional_descriptor() {
    assert_eq!(FunctionalDescriptor::OURS.to_bytes(), FUNCTIONAL);
    assert_eq!(FunctionalDescriptor::parse(&FUNCTIONAL), Ok(FunctionalDescriptor::OURS));
    // Bits 4 to 7 of bmAttributes are reserved and sent as zero.
    assert_eq!(Attributes::OURS.0 & 0xf0, 0);
}

#[test]
fn functional_descriptor_of_dfu_1_0() {
    let bytes = [0x07, 0x21, 0x07, 0xff, 0x00, 0x40, 0x00];
    assert_eq!(
        FunctionalDescriptor::parse(&bytes),
        Ok(FunctionalDescriptor {
            attributes: Attributes(0x07),
            detach_timeout_ms: 255,
            transfer_size: 64,
            dfu_version: 0x0100,
        })
    );
}

#[test]
fn functional_descriptor_refusals() {
    for length in [0, 6, 8, 10] {
        assert_eq!(FunctionalDescriptor::parse(&vec![0x21; length]), Err(ParseError::Length(length)));
    }
    let mut bytes = FUNCTIONAL;
    bytes[0] = 7;
    assert_eq!(FunctionalDescriptor::parse(&bytes), Err(ParseError::Length(7)));
    let mut bytes = FUNCTIONAL;
    bytes[1] = 0x24;
    assert_eq!(FunctionalDescriptor::parse(&bytes), Err(ParseError::DescriptorType(0x24)));
}

/// DFU 1.1, 4.1: a DFU interface and nothing else of ours.
#[test]
fn runtime_set() {
    let set = descriptors::runtime(&identity());
    set.validate().unwrap();
    assert_eq!(
        set.device_bytes(),
        [
            18, 1, 0x10, 0x02, 0, 0, 0, 64, 0x6b, 0x1d, // idVendor
            0x01, 0x02, // idProduct, run-time
            0x23, 0x01, // bcdDevice, the firmware's
            1, 2, 3, 1,
        ]
    );
    assert_eq!(set.configuration_bytes(), configuration(1));
}

/// DFU 1.1, 4.2: class 0, one configuration, one interface with number 0, no endpoints.
#[test]
fn dfu_mode_set() {
    let set = descriptors::dfu_mode(&identity());
    set.validate().unwrap();
    assert_eq!(
        set.device_bytes(),
        [
            18, 1, 0x10, 0x02, 0, 0, 0, 64, 0x6b, 0x1d, // idVendor
            0x02, 0x02, // idProduct, DFU mode
            0x00, 0x01, // bcdDevice, the updater's
            1, 2, 3, 1,
        ]
    );
    assert_eq!(set.configuration_bytes(), configuration(2));
}

#[test]
fn the_sets_share_their_strings() {
    let (runtime, dfu) = (descriptors::runtime(&identity()), descriptors::dfu_mode(&identity()));
    for index in 1..=4 {
        assert!(runtime.string_bytes(index, 0x0409).is_some());
        assert_eq!(runtime.string_bytes(index, 0x0409), dfu.string_bytes(index, 0x0409));
    }
    assert_ne!(runtime.product_id, dfu.product_id);
}

#[test]
fn the_host_finds_both_sets() {
    for (protocol, mode) in [(1, InterfaceMode::Runtime), (2, InterfaceMode::Dfu)] {
        let parsed = parse_configuration(&configuration(protocol)).unwrap();
        assert_eq!(
            find_dfu_interface(&parsed, None),
            Ok(DfuInterface { number: 0, mode, name: 4, functional: FunctionalDescriptor::OURS })
        );
    }
}

#[test]
fn the_host_refuses_what_it_cannot_use() {
    let find = |change: &dyn Fn(&mut Vec<u8>)| {
        let mut bytes = configuration(2).to_vec();
        change(&mut bytes);
        let total = u16::try_from(bytes.len()).unwrap();
        bytes[2..4].copy_from_slice(&total.to_le_bytes());
        find_dfu_interface(&parse_configuration(&bytes).unwrap(), None)
    };
    assert_eq!(find(&|bytes| bytes[16] = 0), Err(FindError::NoInterface));
    assert_eq!(find(&|bytes| bytes[14] = 0xff), Err(FindError::NoInterface));
    assert_eq!(find(&|bytes| bytes[12] = 1), Err(FindError::NoInterface));
    assert_eq!(find(&|bytes| bytes.truncate(18)), Err(FindError::NoFunctionalDescriptor));
    assert_eq!(
        find(&|bytes| {
            bytes[18] = 8;
            bytes.truncate(26);
        }),
        Err(FindError::Malformed(ParseError::Length(8)))
    );
    assert_eq!(find(&|bytes| bytes[20] = 0x0e), Err(FindError::NoDownload));
    assert_eq!(find(&|bytes| bytes[24] = 0), Err(FindError::NoTransferSize));
}

/// Linux before 6.12 lets no FunctionFS device show one.
#[test]
fn something_known_may_stand_for_a_functional_descriptor_that_is_not_there() {
    let mut bytes = configuration(1).to_vec();
    bytes.truncate(18);
    bytes[2] = 18;
    let known = FunctionalDescriptor { transfer_size: 512, ..FunctionalDescriptor::OURS };
    let find = |bytes: &[u8]| find_dfu_interface(&parse_configuration(bytes).unwrap(), Some(known));
    assert_eq!(find(&bytes).map(|it| it.functional), Ok(known));
    assert_eq!(find(&configuration(1)).map(|it| it.functional), Ok(FunctionalDescriptor::OURS));
}

/// Linux and Windows hosts move 4096 bytes in a control transfer at most.
#[test]
fn the_host_clamps_the_transfer_size() {
    let mut bytes = configuration(2);
    bytes[23..25].copy_from_slice(&[0xff, 0xff]);
    let found = find_dfu_interface(&parse_configuration(&bytes).unwrap(), None).unwrap();
    assert_eq!((found.functional.transfer_size, found.block_size()), (65535, 4096));
    bytes[23..25].copy_from_slice(&[0x40, 0x00]);
    let found = find_dfu_interface(&parse_configuration(&bytes).unwrap(), None).unwrap();
    assert_eq!(found.block_size(), 64);
}
