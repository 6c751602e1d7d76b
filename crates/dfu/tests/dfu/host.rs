//! The host sequence against our device and against devices that lie.

use std::time::Duration;

use inband_dfu::{
    device::Door,
    host::{self, DfuInterface, End, Error, Expect, Limits, Misbehaviour, POLL_LIMIT, Step, Transfer},
    table::Mode,
    wire::{Attributes, FunctionalDescriptor, ParseError, Request, State, Status, StatusReply},
};
use inband_usb::HostError;

use crate::bench::{Bench, DFU, RUNTIME};

const NOW: Duration = Duration::from_secs(50);
const LIMITS: Limits = Limits {
    prepare: Duration::from_secs(1),
    block: Duration::from_secs(2),
    download: Duration::from_secs(30),
    manifestation: Duration::from_secs(3),
};

fn status(state: State, poll_timeout_ms: u32) -> [u8; 6] {
    StatusReply { status: Status::Ok, poll_timeout_ms, state, string: 0 }.to_bytes()
}

fn failed(status: Status) -> [u8; 6] {
    StatusReply { status, poll_timeout_ms: 0, state: State::DfuError, string: 0 }.to_bytes()
}

/// Takes the request out of a step and checks it.
#[track_caller]
fn request(step: Step, request: Request, value: u16, length: u16) -> Expect {
    match step {
        Step::Request(transfer, expect) => {
            assert_eq!(transfer.setup, request.setup(0, value, length));
            expect
        }
        other => panic!("not {request}: {other:?}"),
    }
}

#[track_caller]
fn get_status(step: Step) -> Expect {
    request(step, Request::GetStatus, 0, 6)
}

/// Opens a device that is idle and begins a download; the first block is wanted.
fn first_block(total: u64) -> host::Block {
    let expect = get_status(host::open(NOW, &DFU, LIMITS));
    let Step::Ready(ready) = expect.handle(NOW, Ok(&status(State::DfuIdle, 0))).unwrap() else {
        panic!("the device is idle")
    };
    match ready.download(NOW, total).unwrap() {
        Step::Block(block) => block,
        other => panic!("{other:?}"),
    }
}

/// A download of one block that the device has taken; its status is asked for.
fn block_taken() -> Expect {
    let step = first_block(10).send(NOW, vec![7; 10]).unwrap();
    let expect = request(step, Request::Dnload, 0, 10);
    get_status(expect.handle(NOW, Ok(&[])).unwrap())
}

/// A download whose end the device has taken.
fn end_taken() -> Expect {
    let step = block_taken().handle(NOW, Ok(&status(State::DfuDnloadIdle, 0))).unwrap();
    get_status(request(step, Request::Dnload, 1, 0).handle(NOW, Ok(&[])).unwrap())
}

#[test]
fn whole_sessions_from_every_state() {
    for state in State::ALL {
        if matches!(state, State::DfuManifestWaitReset | State::DfuUploadIdle) {
            continue;
        }
        let mut bench = Bench::reach(Mode::Lenient, state);
        bench.finish_manifestation();
        bench.assert_next_session();
    }
}

/// Without the SET_INTERFACE that claiming does, cleaning up is up to CLRSTATUS and ABORT.
#[test]
fn clean_up_without_set_interface() {
    for mode in [Mode::Lenient, Mode::Strict] {
        for state in [
            State::DfuIdle,
            State::DfuDnloadSync,
            State::DfuDnbusy,
            State::DfuDnloadIdle,
            State::DfuManifestSync,
            State::DfuManifest,
            State::DfuError,
        ] {
            let mut bench = Bench::reach(mode, state);
            bench.finish_manifestation();
            if mode == Mode::Strict {
                // A.2.5, A.2.8: a poll before the time would be the host's fault.
                bench.pass(Duration::from_millis(20));
            }
            let end = bench.drive(host::open(bench.now, &DFU, Limits::default()), &[]);
            assert!(matches!(end, Ok(Step::Ready(_))), "{mode:?} {state}: {end:?}");
        }
    }
}

#[test]
fn waits_are_honoured() {
    let mut bench = Bench::lenient();
    bench.busy_polls = 3;
    let file = bench.image.clone();
    let begin = bench.now;
    assert_eq!(bench.session(&file), Ok(End::Idle));
    // Four blocks, each busy for three polls of 20 ms.
    assert_eq!(bench.now - begin, Duration::from_millis(4 * 3 * 20));
}

#[test]
fn a_shut_door_is_a_refusal() {
    let mut bench = Bench::new(Mode::Lenient);
    bench.device.set_door(Door::Refused(Status::ErrVendor));
    let refused = Error::Refused { request: Request::Detach, status: None, state: None };
    let end = bench.drive(host::detach(&RUNTIME), &[]);
    assert_eq!(end.unwrap_err(), refused);
    assert_eq!(refused.to_string(), "the device refused DFU_DETACH");
    let mut bench = Bench::lenient();
    bench.device.set_door(Door::Refused(Status::ErrVendor));
    let file = bench.image.clone();
    let refused = Error::Refused {
        request: Request::Dnload,
        status: Some(Status::ErrVendor),
        state: Some(State::DfuError),
    };
    assert_eq!(bench.session(&file), Err(refused.clone()));
    assert_eq!(refused.to_string(), "the device refused DFU_DNLOAD: errVENDOR, a vendor-specific error");
}

#[test]
fn detach_without_getstatus_and_without_will_detach() {
    let functional = FunctionalDescriptor {
        attributes: Attributes(0x01),
        detach_timeout_ms: 250,
        ..FunctionalDescriptor::OURS
    };
    let interface = DfuInterface { functional, ..RUNTIME };
    // GETSTATUS is optional in run-time mode.
    let step = get_status(host::detach(&interface)).handle(NOW, Err(HostError::Stall)).unwrap();
    let expect = request(step, Request::Detach, 250, 0);
    let end = expect.handle(NOW, Ok(&[]));
    assert!(matches!(end, Ok(Step::Detached { bus_reset: true })));
}

#[test]
fn a_device_that_is_gone_at_detach_has_detached() {
    for error in [HostError::Gone, HostError::Cancelled, HostError::Other("protocol error".into())] {
        let step = get_status(host::detach(&RUNTIME)).handle(NOW, Ok(&status(State::AppIdle, 0))).unwrap();
        let expect = request(step, Request::Detach, 1000, 0);
        let end = expect.handle(NOW, Err(error));
        assert!(matches!(end, Ok(Step::Detached { bus_reset: false })));
    }
}

#[test]
fn states_of_the_other_mode_are_errors() {
    for state in State::ALL {
        let end = get_status(host::detach(&RUNTIME)).handle(NOW, Ok(&status(state, 0)));
        match state {
            State::AppIdle => assert!(matches!(end, Ok(Step::Request(..)))),
            State::AppDetach => assert!(matches!(end, Ok(Step::Detached { bus_reset: false }))),
            _ => assert_eq!(
                end.unwrap_err(),
                Error::PeerMisbehaved(Misbehaviour::State { state, after: Request::GetStatus })
            ),
        }
    }
    for state in [State::AppIdle, State::AppDetach] {
        let end = get_status(host::open(NOW, &DFU, LIMITS)).handle(NOW, Ok(&status(state, 0)));
        assert_eq!(
            end.unwrap_err(),
            Error::PeerMisbehaved(Misbehaviour::State { state, after: Request::GetStatus })
        );
    }
}

#[test]
fn malformed_replies_are_errors() {
    for (reply, error) in [
        (&[][..], ParseError::Length(0)),
        (&[0, 0, 0, 0, 2], ParseError::Length(5)),
        (&[0, 0, 0, 0, 2, 0, 0], ParseError::Length(7)),
        (&[16, 0, 0, 0, 2, 0], ParseError::Status(16)),
        (&[0, 0, 0, 0, 11, 0], ParseError::State(11)),
    ] {
        let expected = Error::PeerMisbehaved(Misbehaviour::Reply(error));
        let states = [
            get_status(host::detach(&RUNTIME)),
            get_status(host::open(NOW, &DFU, LIMITS)),
            block_taken(),
            end_taken(),
        ];
        for expect in states {
            assert_eq!(expect.handle(NOW, Ok(reply)).unwrap_err(), expected);
        }
    }
}

#[test]
fn a_device_that_never_becomes_idle_is_given_up() {
    for state in [State::DfuError, State::DfuDnloadIdle, State::DfuUploadIdle] {
        let mut step = host::open(NOW, &DFU, LIMITS);
        let mut requests = 0;
        let error = loop {
            requests += 1;
            let Step::Request(transfer, expect) = step else { panic!("{step:?}") };
            let reply = if transfer.setup.length == 0 { vec![] } else { status(state, 0).to_vec() };
            match expect.handle(NOW, Ok(&reply)) {
                Ok(next) => step = next,
                Err(error) => break error,
            }
        };
        assert_eq!(error, Error::PeerMisbehaved(Misbehaviour::Stuck(state)));
        assert!(requests <= 9, "{requests} requests");
    }
}

/// dfuIDLE with an error status is cleared by ABORT, which A.2.3 knows, not by CLRSTATUS, which it does not.
#[test]
fn idle_with_an_error_status() {
    let reply =
        StatusReply { status: Status::ErrWrite, poll_timeout_ms: 0, state: State::DfuIdle, string: 0 };
    let step = get_status(host::open(NOW, &DFU, LIMITS)).handle(NOW, Ok(&reply.to_bytes())).unwrap();
    // Refused or not, the status is asked for again.
    let _ = get_status(request(step, Request::Abort, 0, 0).handle(NOW, Err(HostError::Stall)).unwrap());
}

/// A device that waits for a reset is not reset behind the caller's back.
#[test]
fn wait_reset_at_the_start() {
    let end =
        get_status(host::open(NOW, &DFU, LIMITS)).handle(NOW, Ok(&status(State::DfuManifestWaitReset, 0)));
    assert_eq!(
        end.unwrap_err(),
        Error::Refused {
            request: Request::GetStatus,
            status: Some(Status::Ok),
            state: Some(State::DfuManifestWaitReset),
        }
    );
}

/// Polls a device that answers the same for ever, and returns the time and the number of polls until it is given up.
fn poll_for_ever(expect: Expect, state: State, poll_ms: u32) -> (Error, Duration, u32) {
    let (mut now, mut polls, mut expect) = (NOW, 0, expect);
    loop {
        polls += 1;
        match expect.handle(now, Ok(&status(state, poll_ms))) {
            Ok(Step::Wait(time, pause)) => {
                assert!(!time.is_zero() && time <= POLL_LIMIT);
                now += time;
                expect = get_status(pause.resume());
            }
            Ok(other) => panic!("{other:?}"),
            Err(error) => return (error, now - NOW, polls),
        }
    }
}

#[test]
fn a_device_that_is_busy_for_ever_is_given_up() {
    let cases = [
        (get_status as fn(Step) -> Expect, State::DfuDnbusy, LIMITS.prepare),
        (get_status, State::DfuManifest, LIMITS.prepare),
    ];
    for (ask, state, limit) in cases {
        for poll in [0, 1, 17, 0x00ff_ffff] {
            let (error, time, polls) = poll_for_ever(ask(host::open(NOW, &DFU, LIMITS)), state, poll);
            assert_eq!((error, time), (Error::TooSlow(state), limit));
            assert!(polls <= 1001);
        }
    }
    for poll in [0, 17, 0x00ff_ffff] {
        for state in [State::DfuDnbusy, State::DfuDnloadSync] {
            let (error, time, _) = poll_for_ever(block_taken(), state, poll);
            assert_eq!((error, time), (Error::TooSlow(state), LIMITS.block));
        }
        for state in [State::DfuManifest, State::DfuManifestSync] {
            let (error, time, _) = poll_for_ever(end_taken(), state, poll);
            assert_eq!((error, time), (Error::TooSlow(state), LIMITS.manifestation));
        }
    }
}

#[test]
fn no_poll_time_is_waited_for_whole_if_it_is_too_long() {
    let limits = Limits { block: Duration::from_secs(3600), ..LIMITS };
    let expect = get_status(host::open(NOW, &DFU, limits));
    let Step::Ready(ready) = expect.handle(NOW, Ok(&status(State::DfuIdle, 0))).unwrap() else { panic!() };
    let Step::Block(block) = ready.download(NOW, 1).unwrap() else { panic!() };
    let expect = request(block.send(NOW, vec![0]).unwrap(), Request::Dnload, 0, 1);
    let step = get_status(expect.handle(NOW, Ok(&[])).unwrap())
        .handle(NOW, Ok(&status(State::DfuDnbusy, 0x00ff_ffff)))
        .unwrap();
    assert!(matches!(step, Step::Wait(POLL_LIMIT, _)));
}

#[test]
fn all_blocks_together_have_a_limit() {
    let block = first_block(10);
    let late = NOW + LIMITS.download + Duration::from_millis(1);
    assert_eq!(block.send(late, vec![7; 10]).unwrap_err(), Error::TooSlow(State::DfuDnloadIdle));
}

#[test]
fn states_that_cannot_follow_a_block() {
    for state in State::ALL {
        let end = block_taken().handle(NOW, Ok(&status(state, 0)));
        match state {
            State::DfuDnloadSync | State::DfuDnbusy | State::DfuDnloadIdle => assert!(end.is_ok()),
            State::DfuError => assert!(matches!(end, Err(Error::Refused { .. }))),
            _ => assert_eq!(
                end.unwrap_err(),
                Error::PeerMisbehaved(Misbehaviour::State { state, after: Request::Dnload })
            ),
        }
    }
}

#[test]
fn states_that_can_follow_the_end() {
    for state in State::ALL {
        let end = end_taken().handle(NOW, Ok(&status(state, 0)));
        match state {
            State::DfuIdle => assert!(matches!(end, Ok(Step::Downloaded(End::Idle)))),
            State::DfuManifestWaitReset => assert!(matches!(end, Ok(Step::Downloaded(End::WantsReset)))),
            State::AppIdle | State::AppDetach => assert!(matches!(end, Ok(Step::Downloaded(End::Left)))),
            State::DfuManifestSync | State::DfuManifest => assert!(matches!(end, Ok(Step::Wait(..)))),
            State::DfuError => assert!(matches!(end, Err(Error::Refused { .. }))),
            State::DfuDnloadSync | State::DfuDnbusy | State::DfuDnloadIdle | State::DfuUploadIdle => {
                assert_eq!(
                    end.unwrap_err(),
                    Error::PeerMisbehaved(Misbehaviour::State { state, after: Request::Dnload })
                );
            }
        }
    }
    assert!(matches!(end_taken().handle(NOW, Err(HostError::Gone)), Ok(Step::Downloaded(End::Left))));
}

/// dfu-util calls a download done when dfuERROR follows the end; we do not, nor when a good state comes with a bad status.
#[test]
fn an_error_status_is_an_error_in_any_state() {
    for expect in [block_taken(), end_taken()] {
        assert_eq!(
            expect.handle(NOW, Ok(&failed(Status::ErrVerify))).unwrap_err(),
            Error::Refused {
                request: Request::Dnload,
                status: Some(Status::ErrVerify),
                state: Some(State::DfuError)
            }
        );
    }
    let bad = StatusReply { status: Status::ErrProg, poll_timeout_ms: 0, state: State::DfuIdle, string: 0 };
    assert!(matches!(end_taken().handle(NOW, Ok(&bad.to_bytes())), Err(Error::Refused { .. })));
}

/// After a STALL the device is asked why, once.
#[test]
fn the_reason_of_a_stall() {
    let stalled = || {
        let step = first_block(10).send(NOW, vec![7; 10]).unwrap();
        get_status(request(step, Request::Dnload, 0, 10).handle(NOW, Err(HostError::Stall)).unwrap())
    };
    let refused = |status, state| Error::Refused { request: Request::Dnload, status, state };
    assert_eq!(
        stalled().handle(NOW, Ok(&failed(Status::ErrTarget))).unwrap_err(),
        refused(Some(Status::ErrTarget), Some(State::DfuError))
    );
    assert_eq!(stalled().handle(NOW, Err(HostError::Stall)).unwrap_err(), refused(None, None));
    assert_eq!(stalled().handle(NOW, Err(HostError::Cancelled)).unwrap_err(), refused(None, None));
    assert_eq!(stalled().handle(NOW, Err(HostError::Gone)).unwrap_err(), Error::Gone);
}

#[test]
fn failed_transfers_by_blame() {
    for (error, expected) in [
        (HostError::Gone, Error::Gone),
        (HostError::Cancelled, Error::NoAnswer(Request::Dnload)),
        (HostError::Overflow, Error::PeerMisbehaved(Misbehaviour::Overflow)),
        (HostError::Permission, Error::Usb(HostError::Permission)),
    ] {
        let step = first_block(10).send(NOW, vec![7; 10]).unwrap();
        let end = request(step, Request::Dnload, 0, 10).handle(NOW, Err(error));
        assert_eq!(end.unwrap_err(), expected);
    }
    assert_eq!(
        block_taken().handle(NOW, Err(HostError::Stall)).unwrap_err(),
        Error::Refused { request: Request::GetStatus, status: None, state: None }
    );
}

#[test]
fn blocks_have_the_length_asked_for() {
    let block = first_block(10);
    assert_eq!((block.length(), block.sent()), (10, 0));
    assert!(matches!(block.send(NOW, vec![7; 9]), Err(Error::Misuse(_))));
    assert_eq!(first_block(u64::MAX).length(), 4096);
    assert_eq!(first_block(4097).length(), 4096);
    let small = DfuInterface {
        functional: FunctionalDescriptor { transfer_size: 64, ..FunctionalDescriptor::OURS },
        ..DFU
    };
    let expect = get_status(host::open(NOW, &small, LIMITS));
    let Step::Ready(ready) = expect.handle(NOW, Ok(&status(State::DfuIdle, 0))).unwrap() else { panic!() };
    let Step::Block(block) = ready.download(NOW, 100).unwrap() else { panic!() };
    assert_eq!(block.length(), 64);
}

#[test]
fn an_empty_file_is_the_callers_mistake() {
    let expect = get_status(host::open(NOW, &DFU, LIMITS));
    let Step::Ready(ready) = expect.handle(NOW, Ok(&status(State::DfuIdle, 0))).unwrap() else { panic!() };
    assert!(matches!(ready.download(NOW, 0), Err(Error::Misuse(_))));
}

/// The host's block numbers wrap, as the device's do.
#[test]
fn block_numbers_wrap() {
    let mut step = Step::Block(first_block(u64::MAX));
    for round in 0..=65_536_u32 {
        let Step::Block(block) = step else { panic!("{step:?}") };
        let Step::Request(Transfer { setup, .. }, expect) = block.send(NOW, vec![0; 4096]).unwrap() else {
            panic!()
        };
        assert_eq!(u32::from(setup.value), round & 0xffff);
        let expect = get_status(expect.handle(NOW, Ok(&[])).unwrap());
        step = expect.handle(NOW, Ok(&status(State::DfuDnloadIdle, 0))).unwrap();
    }
}
