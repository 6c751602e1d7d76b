use alloc::{string::String, vec};

use super::*;
use crate::descriptor::Interface;

const OUT: EndpointAddress = EndpointAddress(0x01);
const IN: EndpointAddress = EndpointAddress(0x82);

fn set() -> DescriptorSet {
    let interface = |endpoints| Interface {
        class: 0xff,
        subclass: 0,
        protocol: 0,
        name: String::new(),
        extra: vec![],
        endpoints,
    };
    DescriptorSet {
        vendor_id: 0x1209,
        product_id: 1,
        device_version: 0x0100,
        manufacturer: "Inband".into(),
        product: String::new(),
        serial: "7".into(),
        interfaces: vec![interface(vec![OUT]), interface(vec![IN])],
    }
}

fn setup(request_type: u8, request: u8, value: u16, index: u16, length: u16) -> Setup {
    Setup { request_type, request, value, index, length }
}

/// A device in this state, IN halted if it can be.
fn device(state: State) -> Chapter9 {
    let mut device = Chapter9::new();
    if state != State::Default {
        assert_eq!(device.handle(&set(), &setup(0, 5, 9, 0, 0)), Outcome::Ack(Effect::Address(9)));
    }
    if state == State::Configured {
        assert_eq!(device.handle(&set(), &setup(0, 9, 1, 0, 0)), Outcome::Ack(Effect::Enable));
        device.set_halt(IN);
    }
    assert_eq!(device.state(), state);
    device
}

const STATES: [State; 3] = [State::Default, State::Address, State::Configured];

fn reply(bytes: &[u8]) -> Outcome {
    Outcome::Reply(bytes.into())
}

/// Requests by what they do in the Default, the Address and the Configured state. The section is of USB 2.0.
#[test]
fn table() {
    use Outcome::{Stall, ToFunction};
    let ack = Outcome::Ack(Effect::None);
    let address = |address| Outcome::Ack(Effect::Address(address));
    let enable = Outcome::Ack(Effect::Enable);
    let disable = Outcome::Ack(Effect::Disable);
    let clear = |endpoint| Outcome::Ack(Effect::ClearHalt(endpoint));
    let halt = |endpoint| Outcome::Ack(Effect::Halt(endpoint));
    let always = |outcome: Outcome| [outcome.clone(), outcome.clone(), outcome];
    let addressed = |outcome: Outcome| [Stall, outcome.clone(), outcome];
    let configured = |outcome: Outcome| [Stall, Stall, outcome];
    let never = || [Stall, Stall, Stall];

    let device_bytes = set().device_bytes();
    let configuration = set().configuration_bytes();
    let languages = reply(&[4, 3, 9, 4]);
    let serial = reply(&[4, 3, b'7', 0]);

    for (section, request, outcomes) in [
        // CLEAR_FEATURE
        ("9.4.1 halt", setup(0x02, 1, 0, 0x82, 0), configured(clear(IN))),
        ("9.4.1 no halt", setup(0x02, 1, 0, 0x01, 0), configured(clear(OUT))),
        ("9.4.1 endpoint 0", setup(0x02, 1, 0, 0x00, 0), addressed(ack.clone())),
        ("9.4.1 endpoint 0 IN", setup(0x02, 1, 0, 0x80, 0), addressed(ack.clone())),
        ("9.4.1 no such endpoint", setup(0x02, 1, 0, 0x81, 0), never()),
        ("9.4.1 wIndex beyond an endpoint", setup(0x02, 1, 0, 0x182, 0), never()),
        ("9.4.1 no such feature", setup(0x02, 1, 1, 0x82, 0), never()),
        ("9.4.1 remote wake-up", setup(0x00, 1, 1, 0, 0), never()),
        ("9.4.1 test mode cannot be cleared", setup(0x00, 1, 2, 0, 0), never()),
        ("9.4.1 interface", setup(0x01, 1, 0, 0, 0), never()),
        ("9.4.1 wLength", setup(0x02, 1, 0, 0x82, 1), never()),
        ("9.4.1 as IN", setup(0x82, 1, 0, 0x82, 2), never()),
        // GET_CONFIGURATION
        ("9.4.2", setup(0x80, 8, 0, 0, 1), [Stall, reply(&[0]), reply(&[1])]),
        ("9.4.2 wLength", setup(0x80, 8, 0, 0, 0xffff), [Stall, reply(&[0]), reply(&[1])]),
        ("9.4.2 wValue", setup(0x80, 8, 1, 0, 1), never()),
        ("9.4.2 wIndex", setup(0x80, 8, 0, 1, 1), never()),
        ("9.4.2 as OUT", setup(0x00, 8, 0, 0, 1), never()),
        // GET_DESCRIPTOR
        ("9.4.3 device", setup(0x80, 6, 0x0100, 0, 18), always(reply(&device_bytes))),
        ("9.4.3 device, more", setup(0x80, 6, 0x0100, 0, 0xffff), always(reply(&device_bytes))),
        ("9.4.3 device, less", setup(0x80, 6, 0x0100, 0, 8), always(reply(&device_bytes[..8]))),
        ("9.4.3 device, nothing", setup(0x80, 6, 0x0100, 0, 0), always(reply(&[]))),
        ("9.4.3 second device", setup(0x80, 6, 0x0101, 0, 18), never()),
        ("9.4.3 device, wIndex", setup(0x80, 6, 0x0100, 0x0409, 18), never()),
        ("9.4.3 configuration", setup(0x80, 6, 0x0200, 0, 0xffff), always(reply(&configuration))),
        ("9.4.3 configuration, head", setup(0x80, 6, 0x0200, 0, 9), always(reply(&configuration[..9]))),
        ("9.4.3 second configuration", setup(0x80, 6, 0x0201, 0, 9), never()),
        ("9.4.3 languages", setup(0x80, 6, 0x0300, 0, 255), always(languages)),
        ("9.4.3 string", setup(0x80, 6, 0x0303, 0x0409, 255), always(serial)),
        ("9.4.3 string, other language", setup(0x80, 6, 0x0303, 0x0407, 255), never()),
        ("9.4.3 no such string", setup(0x80, 6, 0x0302, 0x0409, 255), never()),
        ("9.4.3 interface", setup(0x80, 6, 0x0400, 0, 9), never()),
        ("9.4.3 endpoint", setup(0x80, 6, 0x0500, 0, 7), never()),
        ("9.6.2 qualifier", setup(0x80, 6, 0x0600, 0, 10), always(reply(&set().device_qualifier_bytes()))),
        (
            "9.6.4 other speed",
            setup(0x80, 6, 0x0700, 0, 0xffff),
            always(reply(&set().other_speed_configuration_bytes())),
        ),
        ("USB 3.2, 9.6.2 BOS", setup(0x80, 6, 0x0f00, 0, 0xffff), always(reply(&set().bos_bytes().unwrap()))),
        ("USB 3.2, 9.6.2 second BOS", setup(0x80, 6, 0x0f01, 0, 5), never()),
        ("DFU 1.1, 4.1.3 functional", setup(0x80, 6, 0x2100, 0, 9), never()),
        ("9.4.3 from the interface", setup(0x81, 6, 0x0100, 0, 18), never()),
        // GET_INTERFACE
        ("9.4.4", setup(0x81, 10, 0, 1, 1), configured(reply(&[0]))),
        ("9.4.4 no such interface", setup(0x81, 10, 0, 2, 1), never()),
        ("9.4.4 wIndex beyond an interface", setup(0x81, 10, 0, 0x101, 1), never()),
        ("9.4.4 wValue", setup(0x81, 10, 1, 0, 1), never()),
        // GET_STATUS
        ("9.4.5 device", setup(0x80, 0, 0, 0, 2), addressed(reply(&[1, 0]))),
        ("9.4.5 device, more", setup(0x80, 0, 0, 0, 0xffff), addressed(reply(&[1, 0]))),
        ("9.4.5 device, less", setup(0x80, 0, 0, 0, 1), addressed(reply(&[1]))),
        ("9.4.5 device, wIndex", setup(0x80, 0, 0, 1, 2), never()),
        ("9.4.5 device, wValue", setup(0x80, 0, 1, 0, 2), never()),
        ("9.4.5 interface", setup(0x81, 0, 0, 1, 2), configured(reply(&[0, 0]))),
        ("9.4.5 interface, more", setup(0x81, 0, 0, 1, 0xffff), configured(reply(&[0, 0]))),
        ("9.4.5 no such interface", setup(0x81, 0, 0, 2, 2), never()),
        ("9.4.5 endpoint 0", setup(0x82, 0, 0, 0x80, 2), addressed(reply(&[0, 0]))),
        ("9.4.5 endpoint", setup(0x82, 0, 0, 0x01, 2), configured(reply(&[0, 0]))),
        ("9.4.5 halted endpoint", setup(0x82, 0, 0, 0x82, 2), configured(reply(&[1, 0]))),
        ("9.4.5 endpoint, more", setup(0x82, 0, 0, 0x82, 0xffff), configured(reply(&[1, 0]))),
        ("9.4.5 no such endpoint", setup(0x82, 0, 0, 0x02, 2), never()),
        ("9.4.5 other recipient", setup(0x83, 0, 0, 0, 2), never()),
        // SET_ADDRESS
        ("9.4.6", setup(0x00, 5, 127, 0, 0), [address(127), address(127), Stall]),
        ("9.4.6 back", setup(0x00, 5, 0, 0, 0), [address(0), address(0), Stall]),
        ("9.4.6 above 127", setup(0x00, 5, 128, 0, 0), never()),
        ("9.4.6 wIndex", setup(0x00, 5, 1, 1, 0), never()),
        ("9.4.6 wLength", setup(0x00, 5, 1, 0, 1), never()),
        ("9.4.6 as IN (CVE-2021-3625)", setup(0x80, 5, 1, 0, 0xffff), never()),
        ("9.4.6 as IN, no data", setup(0x80, 5, 1, 0, 0), never()),
        // SET_CONFIGURATION
        ("9.4.7", setup(0x00, 9, 1, 0, 0), addressed(enable.clone())),
        ("9.4.7 none", setup(0x00, 9, 0, 0, 0), [Stall, ack, disable]),
        ("9.4.7 no such configuration", setup(0x00, 9, 2, 0, 0), never()),
        ("9.4.7 reserved byte", setup(0x00, 9, 0x0101, 0, 0), never()),
        ("9.4.7 wIndex", setup(0x00, 9, 1, 1, 0), never()),
        ("9.4.7 wLength", setup(0x00, 9, 1, 0, 1), never()),
        // SET_DESCRIPTOR
        ("9.4.8", setup(0x00, 7, 0x0100, 0, 18), never()),
        ("9.4.8 no data", setup(0x00, 7, 0x0100, 0, 0), never()),
        // SET_FEATURE
        ("9.4.9 halt", setup(0x02, 3, 0, 0x01, 0), configured(halt(OUT))),
        ("9.4.9 endpoint 0", setup(0x02, 3, 0, 0x00, 0), never()),
        ("9.4.9 no such endpoint", setup(0x02, 3, 0, 0x81, 0), never()),
        ("9.4.9 remote wake-up", setup(0x00, 3, 1, 0, 0), never()),
        ("9.4.9 test mode", setup(0x00, 3, 2, 0x0100, 0), never()),
        // SET_INTERFACE
        ("9.4.10", setup(0x01, 11, 0, 1, 0), configured(enable)),
        ("9.4.10 no such setting", setup(0x01, 11, 1, 0, 0), never()),
        ("9.4.10 no such interface", setup(0x01, 11, 0, 2, 0), never()),
        ("9.4.10 wIndex beyond an interface", setup(0x01, 11, 0, 0x100, 0), never()),
        ("9.4.10 to the device", setup(0x00, 11, 0, 0, 0), never()),
        // SYNCH_FRAME
        ("9.4.11", setup(0x82, 12, 0, 0x82, 2), never()),
        // Others
        ("9.4 reserved request", setup(0x80, 2, 0, 0, 2), never()),
        ("9.4 unknown request", setup(0x80, 0xff, 0, 0, 64), never()),
        ("9.3.1 reserved type", setup(0x60, 9, 1, 0, 0), never()),
        ("9.3.1 reserved type, IN", setup(0xe0, 0, 0, 0, 2), never()),
        ("9.1.1.4 class", setup(0x21, 1, 0, 0, 4096), configured(ToFunction)),
        ("9.1.1.4 class, IN", setup(0xa1, 3, 0, 0, 6), configured(ToFunction)),
        ("9.1.1.4 class, no such interface", setup(0x21, 0, 0, 99, 0), configured(ToFunction)),
        ("9.1.1.4 vendor", setup(0xc1, 7, 0, 0, 64), configured(ToFunction)),
        ("9.1.1.4 vendor, reserved recipient", setup(0x5f, 0, 0, 0, 0), configured(ToFunction)),
    ] {
        for (state, expected) in STATES.into_iter().zip(outcomes) {
            let mut device = device(state);
            let before = device.clone();
            let outcome = device.handle(&set(), &request);
            assert_eq!(outcome, expected, "{section} in {state:?}");
            if !matches!(outcome, Outcome::Ack(_)) {
                assert_eq!(device, before, "{section} in {state:?} changes nothing");
            }
        }
    }
}

#[test]
fn addresses() {
    let mut device = Chapter9::new();
    assert_eq!(device.address(), 0);
    for (address, state) in [(5, State::Address), (6, State::Address), (0, State::Default)] {
        device.handle(&set(), &setup(0, 5, address, 0, 0));
        assert_eq!((device.address(), device.state()), (address as u8, state));
    }
    let device = Chapter9::with_address(3);
    assert_eq!((device.address(), device.state()), (3, State::Address));
}

#[test]
fn halts_end_with_what_enables_endpoints() {
    let configuration = |value| setup(0, 9, value, 0, 0);
    for request in [configuration(1), configuration(0), setup(0x01, 11, 0, 0, 0), setup(0x02, 1, 0, 0x82, 0)]
    {
        let mut device = device(State::Configured);
        assert!(device.is_halted(IN));
        device.handle(&set(), &request);
        assert!(!device.is_halted(IN), "{request:?}");
    }
    let mut device = device(State::Configured);
    device.handle(&set(), &setup(0x02, 3, 0, 0x01, 0));
    assert!(device.is_halted(OUT) && device.is_halted(IN));
    device.handle(&set(), &setup(0x02, 1, 0, 0x01, 0));
    assert!(!device.is_halted(OUT) && device.is_halted(IN), "one halt for each endpoint");
}

#[test]
fn reset() {
    for (state, effect) in STATES.into_iter().zip([Effect::None, Effect::None, Effect::Disable]) {
        let mut device = device(state);
        assert_eq!(device.reset(), effect);
        assert_eq!(device, Chapter9::new());
    }
}

/// Every request there is but for wLength and most of wValue and wIndex: an answer is never longer than wLength.
#[test]
fn replies_fit() {
    let mut device = device(State::Configured);
    for request_type in 0x80..=0xff {
        for request in 0..=0xff {
            for value in [0, 1, 0x0100, 0x0200, 0x0301, 0x0600, 0x0700] {
                for index in [0, 1, 0x82, 0x0409] {
                    for length in [0, 1, 2, 17] {
                        let setup = setup(request_type, request, value, index, length);
                        if let Outcome::Reply(bytes) = device.handle(&set(), &setup) {
                            assert!(bytes.len() <= usize::from(length), "{setup:?}");
                        }
                    }
                }
            }
        }
    }
}
