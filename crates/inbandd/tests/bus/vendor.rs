//! The read-only vendor request: answered in both descriptor sets and in every state, and nothing else is.

use inband_dfu::wire::{Request, State, Status};
use inband_session::{
    SessionState,
    status::{MAX_LENGTH, REQUEST},
};
use inband_usb::{HostDevice, HostError, Setup};
use inband_virtual::memory::MemoryHost;

use crate::{
    bench::{Bench, Hold, answered, command, dnload, get_state, get_status},
    host::{TIMEOUT, page_setup, status},
    package::Package,
};

/// What is no request for a page.
fn malformed() -> Vec<Setup> {
    let good = page_setup(0);
    let mut all = vec![
        Setup { length: 0, ..good },
        Setup { index: 1, ..good },
        Setup { index: 0x0100, ..good },
        Setup { index: 0xffff, ..good },
        Setup { request: REQUEST + 1, ..good },
        Setup { request: 0, ..good },
        // To the device, an endpoint, anything.
        Setup { request_type: 0xc0, ..good },
        Setup { request_type: 0xc2, ..good },
        Setup { request_type: 0xc3, ..good },
        Setup { request_type: 0xdf, ..good },
        // A reserved type.
        Setup { request_type: 0xe1, ..good },
    ];
    all.extend([4, 15, 17, 31, 32, 0x0100, 0x1000, 0xffff].map(|value| Setup { value, ..good }));
    all
}

/// Asserts that pages are answered, and that nothing else is or changes anything.
#[track_caller]
fn assert_harmless(host: &mut MemoryHost) {
    let state = get_state(host).unwrap();
    let before = status(host).unwrap();
    // The log has one record at most in these tests.
    for setup in malformed() {
        assert_eq!(answered(host, setup), None, "{state}: {setup:?}");
    }
    // To the device, with and without data.
    for length in [0, 1, 64, 4096, 65_535] {
        for request_type in [0x41, 0x40, 0x42] {
            let setup = Setup { request_type, length, ..page_setup(0) };
            assert_eq!(
                host.control_out(setup, vec![0xa5; length.into()], TIMEOUT),
                Err(HostError::Stall),
                "{state}: {setup:?}"
            );
        }
    }
    // Any length gets what there is, up to that length.
    let whole = host.control_in(page_setup(0), TIMEOUT).unwrap();
    for length in [1, 2, 3, 55, 56, 57, 64, 255, 4096, 65_535] {
        let setup = Setup { length, ..page_setup(0) };
        let page = host.control_in(setup, TIMEOUT).unwrap();
        assert_eq!(page, whole[..whole.len().min(length.into())], "{state}");
    }
    for page in [0, 1, 2, 3] {
        let answer = host.control_in(page_setup(page), TIMEOUT).unwrap();
        assert!((2..=MAX_LENGTH).contains(&answer.len()), "{state}");
        assert_eq!((answer[0], usize::from(answer[1])), (1, answer.len()), "{state}");
    }
    let after = get_state(host).unwrap();
    // The time that dfuDNBUSY lasts goes by.
    let elapsed = (state, after) == (State::DfuDnbusy, State::DfuDnloadSync);
    assert!(after == state || elapsed, "{state}: {after}");
    assert_eq!(status(host).unwrap(), before);
}

#[test]
fn pages_are_answered_in_every_state_and_nothing_else_is() {
    let bench = Bench::new();
    let file = Package::new(0x0200, 60_000).bytes();

    // Run time.
    assert_harmless(&mut bench.claim());
    let mut host = bench.enter_dfu();
    assert_harmless(&mut host);

    // dfuDNLOAD-SYNC, dfuDNLOAD-IDLE, dfuDNBUSY.
    let mut number = 0;
    let mut send = |host: &mut MemoryHost| {
        dnload(host, number, &file[usize::from(number) * 512..][..512]).unwrap();
        number += 1;
    };
    send(&mut host);
    assert_eq!(get_state(&mut host), Ok(State::DfuDnloadSync));
    assert_harmless(&mut host);
    assert_eq!(get_status(&mut host), Ok((State::DfuDnloadIdle, Status::Ok)));
    assert_harmless(&mut host);
    bench.hold(Hold::Everything);
    send(&mut host);
    assert_eq!(get_status(&mut host), Ok((State::DfuDnbusy, Status::Ok)));
    assert_harmless(&mut host);
    bench.hold(Hold::Nothing);
    assert_eq!(get_status(&mut host), Ok((State::DfuDnloadIdle, Status::Ok)));
    assert_eq!(command(&mut host, Request::Abort), Ok(()));

    // dfuERROR.
    assert_eq!(dnload(&mut host, 0, &[]), Err(HostError::Stall));
    assert_eq!(get_state(&mut host), Ok(State::DfuError));
    assert_harmless(&mut host);
    assert_eq!(
        get_status(&mut host),
        Ok((State::DfuError, Status::ErrStalledPacket)),
        "the first status stays"
    );
    command(&mut host, Request::ClrStatus).unwrap();

    // dfuMANIFEST-SYNC, and dfuIDLE behind an accepted image.
    for (number, data) in file.chunks(4096).enumerate() {
        dnload(&mut host, number as u16, data).unwrap();
        assert_eq!(get_status(&mut host), Ok((State::DfuDnloadIdle, Status::Ok)));
    }
    assert_eq!(dnload(&mut host, 999, &[]), Ok(()));
    assert_eq!(get_state(&mut host), Ok(State::DfuManifestSync));
    assert_eq!(status(&mut host).unwrap().state, SessionState::Staged);
    assert_eq!(answered(&mut host, Setup { length: 65_535, ..page_setup(0) }), Some(58));
    assert_eq!(get_state(&mut host), Ok(State::DfuManifestSync));
    assert_eq!(get_status(&mut host), Ok((State::DfuIdle, Status::Ok)));
}

#[test]
fn a_vendor_request_in_a_download_does_not_disturb_it() {
    let bench = Bench::new();
    let file = Package::new(0x0200, 40_000).bytes();
    let mut host = bench.enter_dfu();
    for (number, data) in file.chunks(4096).enumerate() {
        status(&mut host).unwrap();
        dnload(&mut host, number as u16, data).unwrap();
        for setup in malformed() {
            assert_eq!(answered(&mut host, setup), None);
        }
        assert_eq!(get_status(&mut host), Ok((State::DfuDnloadIdle, Status::Ok)));
    }
    assert_eq!(dnload(&mut host, 999, &[]), Ok(()));
    assert_eq!(status(&mut host).unwrap().state, SessionState::Staged);
}

#[test]
fn class_requests_to_other_interfaces_and_recipients_change_nothing() {
    let bench = Bench::new();
    for dfu_mode in [false, true] {
        let mut host = if dfu_mode { bench.enter_dfu() } else { bench.claim() };
        let state = get_state(&mut host).unwrap();
        for request in Request::ALL {
            let good = request.setup(0, 0, 6);
            for setup in [
                Setup { index: 1, ..good },
                Setup { index: 0x8000, ..good },
                Setup { request_type: good.request_type & !0x1f, ..good },
                Setup { request_type: good.request_type | 2, ..good },
            ] {
                let result = if good.request_type & 0x80 != 0 {
                    host.control_in(setup, TIMEOUT).map(drop)
                } else {
                    host.control_out(setup, vec![0; 6], TIMEOUT)
                };
                assert_eq!(result, Err(HostError::Stall), "{setup:?}");
                assert_eq!(get_state(&mut host), Ok(state), "{setup:?}");
            }
        }
    }
}
