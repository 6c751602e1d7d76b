//! What the device tells its owner and takes from it: events, door, intake, manifestation, deadlines.

use std::time::Duration;

use inband_dfu::{
    Device,
    device::{Answer, Cause, Door, Event, IDLE_LIMIT, Intake, LEAVE_DELAY, Manifestation},
    table::Mode,
    wire::{Request, State, Status, StatusReply},
};

use crate::bench::{Bench, Stalled};

const MS: Duration = Duration::from_millis(1);

#[test]
fn a_download_as_events() {
    let mut bench = Bench::lenient();
    bench.events.clear();
    bench.image.truncate(4096 + 10);
    let number = bench.blocks();
    bench.out(Request::Dnload, number, &[]).unwrap();
    assert_eq!(
        bench.events,
        [
            Event::Begin,
            Event::BlockReceived { number: 0, length: 4096 },
            Event::BlockReceived { number: 1, length: 10 },
            Event::EndOfData,
        ]
    );
}

/// 6.1.2: "the state the device enters immediately after this reply".
#[test]
fn status_reply_when_ready() {
    let mut bench = Bench::lenient();
    bench.out(Request::Dnload, 0, &[1, 2, 3]).unwrap();
    let reply = bench.control_in(Request::GetStatus.setup(0, 0, 6)).unwrap();
    // OK, 1 ms and never 0, dfuDNLOAD-IDLE, no string.
    assert_eq!(reply, [0, 1, 0, 0, 5, 0]);
    assert_eq!(bench.control_in(Request::GetState.setup(0, 0, 1)).unwrap(), [5]);
}

#[test]
fn a_busy_owner_is_dnbusy_for_the_time_it_says() {
    let mut bench = Bench::lenient();
    bench.out(Request::Dnload, 0, &[1; 10]).unwrap();
    bench.device.set_intake(Intake::Busy { poll_ms: 30 });
    let reply = bench.status();
    assert_eq!((reply.state, reply.poll_timeout_ms), (State::DfuDnbusy, 30));
    bench.pass(29 * MS);
    assert_eq!(bench.device.state(), State::DfuDnbusy);
    bench.pass(MS);
    // A.2.5: no request is needed.
    assert_eq!(bench.device.state(), State::DfuDnloadSync);
    let reply = bench.status();
    assert_eq!((reply.state, reply.poll_timeout_ms), (State::DfuDnbusy, 30));
    bench.device.set_intake(Intake::Ready);
    let reply = bench.status();
    assert_eq!((reply.state, reply.poll_timeout_ms), (State::DfuDnloadIdle, 1));
}

#[test]
fn poll_times_are_neither_zero_nor_large() {
    for (asked, told) in [(0, 1), (1, 1), (1000, 1000), (1001, 1000), (u32::MAX, 1000)] {
        let mut bench = Bench::lenient();
        bench.out(Request::Dnload, 0, &[1; 10]).unwrap();
        bench.device.set_intake(Intake::Busy { poll_ms: asked });
        assert_eq!(bench.status().poll_timeout_ms, told);
        let mut bench = Bench::reach(Mode::Lenient, State::DfuManifestSync);
        bench.device.set_manifestation(bench.now, Manifestation::Running { poll_ms: asked });
        let reply = bench.status();
        assert_eq!((reply.state, reply.poll_timeout_ms), (State::DfuManifest, told));
    }
}

/// A.2.5, the letter: a request before the time is an error.
#[test]
fn strict_dnbusy_is_an_error_before_its_time() {
    let mut bench = Bench::in_dfu_mode(Mode::Strict);
    bench.out(Request::Dnload, 0, &[1; 10]).unwrap();
    bench.device.set_intake(Intake::Busy { poll_ms: 30 });
    assert_eq!(bench.status().state, State::DfuDnbusy);
    bench.pass(29 * MS);
    assert_eq!(bench.control_in(Request::GetStatus.setup(0, 0, 6)), Err(Stalled));
    bench.assert_status(State::DfuError, Status::ErrStalledPacket);
    assert_eq!(bench.aborts(), [Cause::Misuse(Status::ErrStalledPacket)]);
}

#[test]
fn strict_session_with_waits_kept() {
    let mut bench = Bench::in_dfu_mode(Mode::Strict);
    bench.busy_polls = 2;
    let file = bench.image.clone();
    assert!(bench.session(&file).is_ok());
    assert_eq!(bench.installed, Some(file));
}

#[test]
fn a_failed_intake_is_told_and_not_reported_back() {
    let mut bench = Bench::lenient();
    bench.block(0, &[1; 10]);
    bench.device.set_intake(Intake::Failed(Status::ErrVerify));
    assert_eq!(bench.out(Request::Dnload, 1, &[1; 10]), Err(Stalled));
    bench.assert_status(State::DfuError, Status::ErrVerify);
    assert_eq!(bench.aborts(), []);
    bench.out(Request::ClrStatus, 0, &[]).unwrap();
    bench.assert_status(State::DfuIdle, Status::Ok);
    bench.assert_next_session();
}

/// A worker that says "ready" late does not revive a download that has failed.
#[test]
fn failed_is_for_good() {
    let mut bench = Bench::lenient();
    bench.out(Request::Dnload, 0, &[1; 10]).unwrap();
    bench.device.set_intake(Intake::Failed(Status::ErrWrite));
    bench.device.set_intake(Intake::Ready);
    bench.assert_status(State::DfuError, Status::ErrWrite);
}

/// The owner fails the download while a block is on its way: the block is not delivered.
#[test]
fn a_block_that_crosses_a_failure_is_dropped() {
    let mut bench = Bench::lenient();
    bench.block(0, &[1; 10]);
    let answer = bench.device.handle_setup(bench.now, &Request::Dnload.setup(0, 1, 10));
    assert_eq!(answer, Answer::Receive { length: 10 });
    bench.device.set_intake(Intake::Failed(Status::ErrFile));
    bench.device.handle_data(bench.now, 10);
    assert_eq!(bench.device.poll_event(), None);
    bench.assert_status(State::DfuError, Status::ErrFile);
}

/// A backend that breaks its promise must not make a download with a hole.
#[test]
fn a_short_data_stage_fails_the_download() {
    let mut bench = Bench::lenient();
    bench.block(0, &[1; 10]);
    let answer = bench.device.handle_setup(bench.now, &Request::Dnload.setup(0, 1, 10));
    assert_eq!(answer, Answer::Receive { length: 10 });
    bench.device.handle_data(bench.now, 9);
    assert_eq!(bench.device.poll_event(), Some(Event::Aborted(Cause::Misuse(Status::ErrUnknown))));
    bench.assert_status(State::DfuError, Status::ErrUnknown);
}

#[test]
fn data_nobody_asked_for_is_ignored() {
    let mut bench = Bench::lenient();
    bench.device.handle_data(bench.now, 4096);
    bench.device.handle_cancelled();
    assert_eq!(bench.device.poll_event(), None);
    bench.assert_status(State::DfuIdle, Status::Ok);
}

#[test]
fn the_first_error_is_kept() {
    let mut bench = Bench::lenient();
    bench.block(0, &[1; 10]);
    assert_eq!(bench.out(Request::Dnload, 1, &[]), Err(Stalled));
    bench.assert_status(State::DfuError, Status::ErrNotDone);
    for request in [Request::Detach, Request::Dnload, Request::Abort] {
        assert_eq!(bench.out(request, 0, &[]), Err(Stalled));
        bench.assert_status(State::DfuError, Status::ErrNotDone);
    }
    bench.bus_reset();
    bench.set_interface();
    bench.assert_status(State::DfuError, Status::ErrNotDone);
}

#[test]
fn a_shut_door_refuses_detach_and_the_first_block_only() {
    let mut bench = Bench::new(Mode::Lenient);
    bench.device.set_door(Door::Refused(Status::ErrVendor));
    assert_eq!(bench.out(Request::Detach, 1000, &[]), Err(Stalled));
    bench.assert_status(State::AppIdle, Status::Ok);
    bench.device.set_door(Door::Open);
    bench.out(Request::Detach, 1000, &[]).unwrap();
    bench.block(0, &[1; 10]);
    bench.device.set_door(Door::Refused(Status::ErrTarget));
    bench.block(1, &[1; 10]);
    bench.out(Request::Abort, 0, &[]).unwrap();
    assert_eq!(bench.out(Request::Dnload, 0, &[1; 10]), Err(Stalled));
    bench.assert_status(State::DfuError, Status::ErrTarget);
    bench.out(Request::ClrStatus, 0, &[]).unwrap();
    // The door stays as it is when the device leaves and comes back.
    bench.out(Request::Detach, 0, &[]).unwrap();
    assert_eq!(bench.out(Request::Detach, 1000, &[]), Err(Stalled));
}

#[test]
fn no_new_download_while_the_last_one_is_put_to_work() {
    let mut bench = Bench::reach(Mode::Lenient, State::DfuManifestSync);
    bench.out(Request::Abort, 0, &[]).unwrap();
    assert_eq!(bench.out(Request::Dnload, 0, &[1; 10]), Err(Stalled));
    bench.assert_status(State::DfuError, Status::ErrVendor);
    bench.device.set_manifestation(bench.now, Manifestation::Done);
    bench.assert_next_session();
}

/// The end of the data is the handover: what comes after it is not reported as an aborted download.
#[test]
fn nothing_takes_the_end_of_the_data_back() {
    for request in [Request::Abort, Request::Detach, Request::ClrStatus] {
        let mut bench = Bench::reach(Mode::Lenient, State::DfuManifestSync);
        let _ = bench.out(request, 0, &[]);
        bench.bus_reset();
        bench.set_interface();
        assert_eq!(bench.aborts(), []);
        assert_eq!(bench.installed.as_ref(), Some(&bench.image));
    }
}

#[test]
fn a_failed_manifestation_is_told() {
    let mut bench = Bench::reach(Mode::Lenient, State::DfuManifest);
    bench.device.set_manifestation(bench.now, Manifestation::Failed(Status::ErrProg));
    bench.assert_status(State::DfuError, Status::ErrProg);
    assert_eq!(bench.device.poll_timeout(), Some(bench.now + IDLE_LIMIT));
}

#[test]
fn manifestation_takes_its_polls() {
    let mut bench = Bench::reach(Mode::Lenient, State::DfuManifestSync);
    bench.device.set_manifestation(bench.now, Manifestation::Running { poll_ms: 100 });
    let reply = bench.status();
    assert_eq!((reply.state, reply.poll_timeout_ms), (State::DfuManifest, 100));
    bench.pass(100 * MS);
    assert_eq!(bench.device.state(), State::DfuManifestSync);
    bench.device.set_manifestation(bench.now, Manifestation::Done);
    bench.assert_status(State::DfuIdle, Status::Ok);
}

#[test]
fn idle_in_dfu_mode_ends_after_a_minute_without_requests() {
    let mut bench = Bench::lenient();
    bench.pass(IDLE_LIMIT - MS);
    bench.assert_status(State::DfuIdle, Status::Ok);
    bench.pass(IDLE_LIMIT - MS);
    assert_eq!(bench.device.state(), State::DfuIdle);
    bench.pass(MS);
    assert_eq!(bench.device.state(), State::AppIdle);
    assert_eq!(bench.events.last(), Some(&Event::Leave));
    assert_eq!(bench.device.poll_timeout(), None);
    bench.assert_next_session();
}

#[test]
fn an_error_nobody_clears_ends_after_a_minute() {
    let mut bench = Bench::reach(Mode::Lenient, State::DfuError);
    bench.pass(IDLE_LIMIT);
    assert_eq!(bench.device.state(), State::AppIdle);
    bench.assert_status(State::AppIdle, Status::Ok);
}

/// A stalled request is no sign of life: a host program that only ever errs does not hold the device.
#[test]
fn stalled_requests_do_not_keep_the_device() {
    let mut bench = Bench::reach(Mode::Lenient, State::DfuError);
    bench.pass(IDLE_LIMIT / 2);
    assert_eq!(bench.out(Request::Abort, 0, &[]), Err(Stalled));
    bench.pass(IDLE_LIMIT / 2);
    assert_eq!(bench.device.state(), State::AppIdle);
}

/// A host that was killed in the middle, or behind its last block, must not hold the device for ever.
#[test]
fn a_download_that_nobody_goes_on_with_ends_after_a_minute() {
    for (complete, status) in [(false, true), (true, true), (true, false)] {
        let mut bench = Bench::lenient();
        bench.out(Request::Dnload, 0, &[1; 10]).unwrap();
        bench.device.set_complete(complete);
        if status {
            bench.assert_status(State::DfuDnloadIdle, Status::Ok);
        }
        bench.pass(IDLE_LIMIT - MS);
        assert_ne!(bench.device.state(), State::AppIdle);
        assert_eq!(bench.aborts(), []);
        bench.pass(MS);
        assert_eq!(bench.device.state(), State::AppIdle);
        assert_eq!(bench.aborts(), [Cause::Idle]);
        assert_eq!(bench.events.last(), Some(&Event::Leave));
        bench.assert_next_session();
    }
}

#[test]
fn requests_keep_a_paused_download() {
    let mut bench = Bench::lenient();
    bench.block(0, &[1; 10]);
    for _ in 0..5 {
        bench.pass(IDLE_LIMIT - MS);
        bench.assert_status(State::DfuDnloadIdle, Status::Ok);
    }
    bench.block(1, &[1; 10]);
}

/// While the owner works it is no pause of the host's.
#[test]
fn a_busy_owner_is_waited_for() {
    let mut bench = Bench::lenient();
    bench.out(Request::Dnload, 0, &[1; 10]).unwrap();
    bench.device.set_intake(Intake::Busy { poll_ms: 30 });
    assert_eq!(bench.device.poll_timeout(), None);
    bench.pass(10 * IDLE_LIMIT);
    assert_eq!(bench.aborts(), []);
    bench.device.set_intake(Intake::Failed(Status::ErrNotDone));
    bench.pass(MS);
    assert_eq!(bench.device.state(), State::AppIdle);
    assert_eq!(bench.aborts(), []);
}

#[test]
fn after_an_accepted_image_the_device_leaves_in_five_seconds() {
    for polls in [0, 1] {
        let mut bench = Bench::lenient();
        let number = bench.blocks();
        bench.out(Request::Dnload, number, &[]).unwrap();
        for _ in 0..polls {
            bench.assert_status(State::DfuIdle, Status::Ok);
        }
        bench.pass(LEAVE_DELAY - MS);
        assert_ne!(bench.device.state(), State::AppIdle);
        bench.pass(MS);
        assert_eq!(bench.device.state(), State::AppIdle);
    }
}

#[test]
fn another_download_keeps_the_device_from_leaving() {
    let mut bench = Bench::lenient();
    let number = bench.blocks();
    bench.out(Request::Dnload, number, &[]).unwrap();
    bench.assert_status(State::DfuIdle, Status::Ok);
    bench.block(0, &[1; 10]);
    bench.pass(2 * LEAVE_DELAY);
    bench.assert_status(State::DfuDnloadIdle, Status::Ok);
}

/// A.2.2: min(wValue, wDetachTimeOut), if the owner has not left the bus by then.
#[test]
fn detach_times_out() {
    for (value, limit) in [(0, 1000), (1, 1), (300, 300), (1000, 1000), (65535, 1000)] {
        let mut device = Device::new(Mode::Lenient);
        let now = Duration::from_secs(7);
        assert_eq!(device.handle_setup(now, &Request::Detach.setup(0, value, 0)), Answer::Acknowledge);
        assert_eq!(device.state(), State::AppIdle);
        device.handle_data(now, 0);
        assert_eq!(device.state(), State::AppDetach);
        assert_eq!(device.poll_timeout(), Some(now + limit * MS));
        device.handle_timeout(now + limit * MS);
        assert_eq!(device.state(), State::AppIdle);
        // The owner, had it been so slow, finds nothing to do.
        assert_eq!(device.poll_event(), None);
    }
}

/// A request takes effect once it is complete: DETACH whose status stage the host cancels does nothing.
#[test]
fn cancelled_requests_leave_no_trace() {
    let mut bench = Bench::new(Mode::Lenient);
    bench.cut(Request::Detach.setup(0, 1000, 0));
    bench.assert_status(State::AppIdle, Status::Ok);
    bench.out(Request::Detach, 1000, &[]).unwrap();
    bench.events.clear();
    bench.cut(Request::Dnload.setup(0, 0, 4096));
    bench.assert_status(State::DfuIdle, Status::Ok);
    bench.block(0, &[1; 10]);
    bench.events.clear();
    for request in [Request::Dnload.setup(0, 1, 4096), Request::Abort.setup(0, 0, 0)] {
        bench.cut(request);
        bench.assert_status(State::DfuDnloadIdle, Status::Ok);
    }
    assert_eq!(bench.events, []);
    // The same block number again, since the device has not seen it.
    bench.block(1, &[2; 10]);
}

/// All that is known of the rest of the idle time is known by deadlines: a late caller gets the same.
#[test]
fn a_late_caller_is_served_as_if_in_time() {
    let mut bench = Bench::lenient();
    bench.out(Request::Dnload, 0, &[1; 10]).unwrap();
    bench.device.set_intake(Intake::Busy { poll_ms: 5 });
    assert_eq!(bench.status().state, State::DfuDnbusy);
    bench.device.set_intake(Intake::Ready);
    bench.now += Duration::from_secs(3600);
    bench.assert_status(State::DfuDnloadIdle, Status::Ok);
    bench.out(Request::Abort, 0, &[]).unwrap();
    bench.now += Duration::from_secs(3600);
    // Idle for an hour: the device has left before it sees the request.
    assert_eq!(bench.out(Request::Dnload, 0, &[1; 10]), Err(Stalled));
    assert_eq!(bench.events.last(), Some(&Event::Leave));
}

#[test]
fn deadlines_do_not_overflow() {
    let mut device = Device::new(Mode::Lenient);
    device.enter_dfu_mode(Duration::MAX - MS);
    assert_eq!(device.poll_timeout(), Some(Duration::MAX));
}

#[test]
fn replies_are_cut_to_what_was_asked_for() {
    let mut bench = Bench::lenient();
    for length in 1..=7 {
        let reply = bench.control_in(Request::GetStatus.setup(0, 0, length)).unwrap();
        assert_eq!(reply.len(), StatusReply::LEN.min(length.into()));
    }
    assert_eq!(bench.control_in(Request::GetState.setup(0, 0, 65535)).unwrap(), [2]);
}
