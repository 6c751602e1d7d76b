//! Doors that are shut, and a host that tries every request there is: what docs/spec/descriptors.md, dfu.md and session.md name is answered, all else is
//! stalled, and nothing changes.

use inband_session::DoorPolicy;
use inband_usb::{HostDevice, HostError, Setup};
use inband_virtual::memory::MemoryHost;

use crate::{
    bench::{Bench, Setting},
    host::{TIMEOUT, page_setup},
};

/// What becomes of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Answer {
    /// So many bytes, or as many of them as were asked for; none where the host has data.
    Bytes(u16),
    Stall,
}

/// What the specification says of a request at run time, the doors being shut. Standard requests are those of USB 2.0, 9.4, to a device that is configured,
/// has one interface and, at run time, no endpoint but 0.
fn specified(setup: Setup) -> Answer {
    let Setup { request_type, request, value, index, length } = setup;
    match (request_type, request, value, index) {
        // GET_STATUS of device, interface and endpoint 0; GET_CONFIGURATION; GET_INTERFACE.
        (0x80..=0x82, 0, 0, 0) => Answer::Bytes(2),
        (0x80, 8, 0, 0) | (0x81, 10, 0, 0) => Answer::Bytes(1),
        // CLEAR_FEATURE of endpoint 0, SET_INTERFACE.
        (0x02, 1, 0, 0) | (0x01, 11, 0, 0) if length == 0 => Answer::Bytes(0),
        // GETSTATUS and GETSTATE of DFU, whatever wValue says. DETACH is stalled.
        (0xa1, 3, _, 0) if length > 0 => Answer::Bytes(6),
        (0xa1, 5, _, 0) if length > 0 => Answer::Bytes(1),
        // The status page.
        (0xc1, 0x49, 0, 0) if length > 0 => Answer::Bytes(58),
        _ => Answer::Stall,
    }
}

/// SET_CONFIGURATION 0 takes the configuration away: by itself, below.
fn is_apart(setup: Setup) -> bool {
    (setup.request_type, setup.request, setup.value, setup.index, setup.length) == (0, 9, 0, 0, 0)
}

fn answer(host: &mut MemoryHost, setup: Setup) -> Answer {
    let result = if setup.request_type & 0x80 != 0 {
        host.control_in(setup, TIMEOUT).map(|bytes| bytes.len() as u16)
    } else {
        host.control_out(setup, vec![0x5a; setup.length.into()], TIMEOUT).map(|()| 0)
    };
    match result {
        Ok(length) => Answer::Bytes(length),
        Err(HostError::Stall) => Answer::Stall,
        Err(error) => panic!("{setup:?}: {error}"),
    }
}

/// Every bRequest with every bmRequestType, in lengths and values at the edges.
fn sweep(bench: &Bench) {
    let (generation, before) = (bench.bus.generation(), bench.status());
    let mut host = bench.claim();
    for (request_type, request) in (0..=255_u8).flat_map(|one| (0..=255_u8).map(move |other| (one, other))) {
        for length in [0, 1, 4096, 65_535] {
            for (value, index) in [(0, 0), (0, 0xffff), (0xffff, 0), (0xffff, 0xffff)] {
                let setup = Setup { request_type, request, value, index, length };
                if is_apart(setup) {
                    continue;
                }
                let should = match specified(setup) {
                    Answer::Bytes(bytes) => Answer::Bytes(bytes.min(length)),
                    Answer::Stall => Answer::Stall,
                };
                assert_eq!(answer(&mut host, setup), should, "{setup:?}");
            }
        }
    }
    assert_eq!(bench.bus.generation(), generation, "it has left the bus");
    assert_eq!(host.control_in(page_setup(0), TIMEOUT).unwrap(), before.encode(), "something has changed");
    one_by_one(&mut host);
    assert_eq!(bench.bus.generation(), generation, "it has left the bus");
    assert_eq!(bench.status(), before, "something has changed");
}

/// Requests that change address, configuration or interface: to a device with a configuration an address cannot be given (USB 2.0, 9.4.6), there is one
/// configuration, and one setting of one interface.
fn one_by_one(host: &mut MemoryHost) {
    let standard = |request_type, request, value| Setup { request_type, request, value, index: 0, length: 0 };
    for address in [0, 1, 127, 128, 0xffff] {
        assert_eq!(answer(host, standard(0, 5, address)), Answer::Stall, "SET_ADDRESS {address}");
    }
    for configuration in [2, 255, 0x0100, 0xffff] {
        assert_eq!(
            answer(host, standard(0, 9, configuration)),
            Answer::Stall,
            "SET_CONFIGURATION {configuration}"
        );
    }
    assert_eq!(answer(host, standard(1, 11, 1)), Answer::Stall, "SET_INTERFACE 1");
    // What Windows asks for, which none of the numbers above is.
    let windows = Setup { request_type: 0xc0, request: 0x4d, value: 0, index: 7, length: 0xffff };
    assert_eq!(answer(host, windows), Answer::Bytes(162), "Microsoft's descriptors");
    assert_eq!(answer(host, standard(0, 9, 0)), Answer::Bytes(0), "SET_CONFIGURATION 0");
    // Without a configuration there is no interface to ask.
    assert_eq!(answer(host, page_setup(0)), Answer::Stall);
    assert_eq!(answer(host, standard(0, 9, 1)), Answer::Bytes(0), "SET_CONFIGURATION 1");
    assert_eq!(answer(host, page_setup(0)), Answer::Bytes(58));
}

const ARMED: Setting = Setting {
    policy: DoorPolicy::Armed,
    bulk: DoorPolicy::Armed,
    volume: DoorPolicy::Armed,
    ..Setting::DEFAULT
};

#[test]
fn doors_that_nobody_has_armed_answer_what_they_have_to_and_nothing_else() {
    sweep(&Bench::with(ARMED));
}

#[test]
fn doors_that_are_off_answer_what_they_have_to_and_nothing_else() {
    sweep(&Bench::with(Setting { policy: DoorPolicy::Off, ..Setting::DEFAULT }));
}
