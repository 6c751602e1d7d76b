//! Ends of a session that no package causes: the host's, the cable's, the clock's, the daemon's.

use std::time::Duration;

use inband_dfu::{
    host::End,
    table::Mode,
    wire::{Request, State, Status},
};
use inband_session::{ResultCode, SessionState};
use inband_store::{Slot, SlotState, memory::Loss};
use inband_usb::HostError;
use inband_virtual::memory::MemoryHost;

use crate::{
    bench::{Bench, Hold, Setting, block, command, dnload, get_state, get_status, new_store},
    package::Package,
};

/// Where in a session something happens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Point {
    /// dfuDNLOAD-SYNC, with the first block.
    FirstSync,
    /// dfuDNLOAD-IDLE, with the head.
    Head,
    /// dfuDNLOAD-SYNC, with the slot being written.
    Sync,
    /// dfuDNBUSY.
    Busy,
    /// dfuDNLOAD-IDLE, with the slot being written.
    Idle,
}

const POINTS: [Point; 5] = [Point::FirstSync, Point::Head, Point::Sync, Point::Busy, Point::Idle];

impl Point {
    /// Whether the slot has been touched by then.
    fn writes(self) -> bool {
        match self {
            Self::FirstSync | Self::Head => false,
            Self::Sync | Self::Busy | Self::Idle => true,
        }
    }
}

/// Brings a session that far.
fn bring_to(bench: &Bench, point: Point) -> MemoryHost {
    let file = Package::new(0x0200, 60_000).bytes();
    let mut host = bench.enter_dfu();
    let mut blocks = file.chunks(512).enumerate().map(|(number, data)| (number as u16, data));
    let mut send = |host: &mut MemoryHost, count: usize| {
        for (number, data) in blocks.by_ref().take(count) {
            assert_eq!(block(host, number, data), Ok((State::DfuDnloadIdle, Status::Ok)));
        }
    };
    match point {
        Point::FirstSync => dnload(&mut host, 0, &file[..512]).unwrap(),
        Point::Head => send(&mut host, 2),
        Point::Idle => send(&mut host, 60),
        Point::Sync => {
            send(&mut host, 60);
            dnload(&mut host, 60, &file[60 * 512..][..512]).unwrap();
        }
        Point::Busy => {
            send(&mut host, 60);
            bench.hold(Hold::Everything);
            for number in 60.. {
                dnload(&mut host, number, &file[usize::from(number) * 512..][..512]).unwrap();
                if get_status(&mut host).unwrap().0 == State::DfuDnbusy {
                    break;
                }
            }
        }
    }
    assert_eq!(bench.status().state, SessionState::Receiving);
    host
}

/// What must hold behind an early end.
#[track_caller]
fn assert_ended(bench: Bench, point: Point, state: SessionState, result: ResultCode) {
    bench.assert_session(state, result);
    bench.hold(Hold::Nothing);
    bench.assert_session(state, result);
    let status = bench.status();
    let target = if point.writes() { SlotState::Invalid } else { SlotState::Empty };
    assert_eq!((status.slots, status.boots_next), ([SlotState::Good, target], Slot::A), "{point:?}");
    assert_eq!(bench.last_log().result(), Some(result), "{point:?}");
    bench.assert_factory_runs();
    bench.assert_updatable();
    // And as the store has it.
    let bench = bench.power_cycle(Loss::All);
    bench.assert_session(SessionState::Done, ResultCode::Ok);
    assert_eq!(bench.status().log_records, 4);
}

#[test]
fn an_unplug_ends_the_session() {
    for point in POINTS {
        let bench = Bench::new();
        let host = bring_to(&bench, point);
        bench.bus.unplug();
        bench.bus.advance(Duration::from_secs(1));
        bench.bus.plug();
        drop(host);
        assert!(bench.in_dfu_mode());
        assert_eq!(get_state(&mut bench.open()), Ok(State::DfuIdle));
        assert_ended(bench, point, SessionState::Failed, ResultCode::Disconnected);
    }
}

#[test]
fn a_cable_that_stays_out_leaves_a_clean_bmc() {
    for point in POINTS {
        let bench = Bench::new();
        drop(bring_to(&bench, point));
        bench.bus.unplug();
        bench.bus.advance(Duration::from_secs(3600));
        bench.hold(Hold::Nothing);
        bench.bus.plug();
        assert!(!bench.in_dfu_mode(), "{point:?}: back at run time");
        assert_ended(bench, point, SessionState::Failed, ResultCode::Disconnected);
    }
}

#[test]
fn a_bus_reset_ends_the_session() {
    for point in POINTS {
        let bench = Bench::new();
        let mut host = bring_to(&bench, point);
        bench.bus.reset();
        assert_eq!(get_status(&mut host), Ok((State::DfuIdle, Status::Ok)), "{point:?}: DFU mode stays");
        drop(host);
        assert_ended(bench, point, SessionState::Failed, ResultCode::Disconnected);
    }
}

#[test]
fn a_bus_reset_in_strict_mode_leaves_dfu_mode_too() {
    for point in POINTS {
        let bench = Bench::with(Setting { mode: Mode::Strict, ..Setting::default() });
        let host = bring_to(&bench, point);
        let generation = bench.bus.generation();
        bench.bus.reset();
        assert!(bench.bus.run_until(Duration::from_secs(1), || bench.bus.generation() > generation));
        assert!(!bench.in_dfu_mode(), "{point:?}");
        drop(host);
        assert_ended(bench, point, SessionState::Failed, ResultCode::Disconnected);
    }
}

#[test]
fn abort_ends_the_session() {
    for point in POINTS {
        let bench = Bench::new();
        let mut host = bring_to(&bench, point);
        let expected = match point {
            // ABORT has no place in dfuDNBUSY (A.2.5).
            Point::Busy => (Err(HostError::Stall), (State::DfuError, Status::ErrStalledPacket)),
            Point::FirstSync | Point::Head | Point::Sync | Point::Idle => {
                (Ok(()), (State::DfuIdle, Status::Ok))
            }
        };
        assert_eq!(command(&mut host, Request::Abort), expected.0, "{point:?}");
        assert_eq!(get_status(&mut host), Ok(expected.1), "{point:?}");
        drop(host);
        assert_ended(bench, point, SessionState::Aborted, ResultCode::Aborted);
    }
}

#[test]
fn clrstatus_and_detach_end_the_session() {
    for point in POINTS {
        for request in [Request::ClrStatus, Request::Detach] {
            let bench = Bench::new();
            let mut host = bring_to(&bench, point);
            assert_eq!(command(&mut host, request), Err(HostError::Stall), "{point:?}");
            assert_eq!(get_status(&mut host), Ok((State::DfuError, Status::ErrStalledPacket)), "{point:?}");
            drop(host);
            assert_ended(bench, point, SessionState::Aborted, ResultCode::Aborted);
        }
    }
}

#[test]
fn another_host_program_ends_the_session() {
    for point in POINTS {
        let bench = Bench::new();
        drop(bring_to(&bench, point));
        // Claiming makes a SET_INTERFACE, as dfu-util's does.
        let mut host = bench.claim();
        assert_eq!(get_status(&mut host), Ok((State::DfuIdle, Status::Ok)), "{point:?}");
        drop(host);
        assert_ended(bench, point, SessionState::Aborted, ResultCode::Aborted);
    }
}

#[test]
fn a_block_out_of_order_ends_the_session() {
    for point in [Point::Head, Point::Idle] {
        for number in [0, 1, 59, 61, 62, 0xffff] {
            let bench = Bench::new();
            let mut host = bring_to(&bench, point);
            let next = if point == Point::Head { 2 } else { 60 };
            if number == next {
                continue;
            }
            assert_eq!(dnload(&mut host, number, &[0; 512]), Err(HostError::Stall));
            assert_eq!(get_status(&mut host), Ok((State::DfuError, Status::ErrAddress)));
            drop(host);
            assert_ended(bench, point, SessionState::Failed, ResultCode::Sequence);
        }
    }
}

#[test]
fn the_end_of_the_data_in_the_middle_ends_the_session() {
    for point in [Point::Head, Point::Idle] {
        let bench = Bench::new();
        let mut host = bring_to(&bench, point);
        assert_eq!(dnload(&mut host, 999, &[]), Err(HostError::Stall));
        assert_eq!(get_status(&mut host), Ok((State::DfuError, Status::ErrNotDone)));
        drop(host);
        assert_ended(bench, point, SessionState::Failed, ResultCode::Truncated);
    }
}

#[test]
fn without_progress_the_session_ends_after_a_minute() {
    for point in POINTS {
        for mode in [Mode::Lenient, Mode::Strict] {
            let bench = Bench::with(Setting { mode, ..Setting::default() });
            drop(bring_to(&bench, point));
            let started = bench.bus.now();
            assert!(bench.bus.run_until(Duration::from_secs(100), || {
                bench.bmc().session().state() == SessionState::Failed
            }));
            let took = bench.bus.now() - started;
            assert!((59..=60).contains(&took.as_secs()), "{point:?}: {took:?}");
            assert_eq!(bench.bmc().session().result(), ResultCode::Timeout);
            // The host never asks again; the device leaves DFU mode all the same.
            bench.wait_return(Duration::from_secs(70));
            assert!(!bench.in_dfu_mode(), "{point:?}");
            assert_ended(bench, point, SessionState::Failed, ResultCode::Timeout);
        }
    }
}

#[test]
fn a_host_that_comes_back_late_finds_the_device_gone_and_a_page_that_says_why() {
    let bench = Bench::new();
    let mut host = bring_to(&bench, Point::Idle);
    bench.bus.advance(Duration::from_secs(61));
    assert_eq!(dnload(&mut host, 60, &[0; 512]), Err(HostError::Gone));
    drop(host);
    assert!(!bench.in_dfu_mode());
    assert_ended(bench, Point::Idle, SessionState::Failed, ResultCode::Timeout);
}

#[test]
fn drops_of_payload_are_no_progress() {
    let bench = Bench::new();
    let file = Package::new(0x0200, 100_000).bytes();
    let mut host = bench.enter_dfu();
    let started = bench.bus.now();
    // Ten seconds for each kilobyte: 64 KiB would take ten minutes.
    for (number, data) in file.chunks(1024).enumerate() {
        match block(&mut host, number as u16, data) {
            Ok((State::DfuDnloadIdle, Status::Ok)) => bench.bus.advance(Duration::from_secs(10)),
            other => {
                assert_eq!(other, Err(HostError::Stall));
                break;
            }
        }
    }
    assert_eq!((bench.bus.now() - started).as_secs(), 60);
    assert_eq!(get_status(&mut host), Ok((State::DfuError, Status::ErrNotDone)));
    drop(host);
    bench.assert_session(SessionState::Failed, ResultCode::Timeout);
    bench.assert_updatable();
}

#[test]
fn a_slow_host_that_makes_progress_is_served() {
    let bench = Bench::new();
    let file = Package::new(0x0200, 120_000).bytes();
    let mut host = bench.enter_dfu();
    for (number, data) in file.chunks(4096).enumerate() {
        assert_eq!(block(&mut host, number as u16, data), Ok((State::DfuDnloadIdle, Status::Ok)));
        bench.bus.advance(Duration::from_millis(3700));
    }
    bench.assert_session(SessionState::Staged, ResultCode::Ok);
}

#[test]
fn an_idle_dfu_mode_ends_after_a_minute() {
    for mode in [Mode::Lenient, Mode::Strict] {
        let bench = Bench::with(Setting { mode, ..Setting::default() });
        drop(bench.enter_dfu());
        let started = bench.bus.now();
        bench.wait_return(Duration::from_secs(100));
        let took = bench.bus.now() - started;
        assert!((59..=61).contains(&took.as_secs()), "{took:?}");
        assert!(!bench.in_dfu_mode());
        bench.assert_session(SessionState::Idle, ResultCode::None);
    }
}

#[test]
fn a_host_that_only_asks_keeps_dfu_mode_but_not_the_session_behind_it() {
    let bench = Bench::new();
    let mut host = bench.enter_dfu();
    for _ in 0..10 {
        bench.bus.advance(Duration::from_secs(50));
        assert_eq!(get_status(&mut host), Ok((State::DfuIdle, Status::Ok)));
    }
    drop(host);
    // Requests for pages are no requests to the DFU interface.
    for _ in 0..5 {
        bench.bus.advance(Duration::from_secs(20));
        bench.status();
    }
    assert!(!bench.in_dfu_mode());
}

/// The verdict has fallen, so nothing is lost; but without the run-time set nobody finds the device again, and firmware that
/// is to be activated when the host leaves would wait for ever.
#[test]
fn a_host_killed_behind_its_last_block_does_not_hold_dfu_mode() {
    // With the beginning of a DFU suffix behind it, the end of the download would be refused.
    for behind in [0, 3] {
        for activate in [false, true] {
            let bench = Bench::with(Setting { activate, ..Setting::default() });
            let mut file = Package::new(0x0200, 60_000).bytes();
            file.resize(file.len() + behind, 0x55);
            let mut host = bench.enter_dfu();
            for (number, data) in file.chunks(4096).enumerate() {
                assert_eq!(block(&mut host, number as u16, data), Ok((State::DfuDnloadIdle, Status::Ok)));
            }
            bench.assert_session(SessionState::Staged, ResultCode::Ok);
            drop(host);
            bench.wait_return(Duration::from_secs(61));
            assert!(!bench.in_dfu_mode());
            let state = if activate { SessionState::Done } else { SessionState::Staged };
            bench.assert_session(state, ResultCode::Ok);
        }
    }
}

#[test]
fn five_seconds_after_an_accepted_image_the_device_leaves_whatever_is_asked() {
    let bench = Bench::new();
    bench.update(&Package::new(0x0200, 20_000).bytes()).unwrap();
    let accepted_at = bench.bus.now();
    let generation = bench.bus.generation();
    let mut host = bench.claim();
    while bench.bus.generation() == generation && get_status(&mut host).is_ok() {
        bench.bus.advance(Duration::from_millis(100));
    }
    let took = bench.bus.now() - accepted_at;
    assert!((5000..5500).contains(&took.as_millis()), "{took:?}");
    drop(host);
    assert!(!bench.in_dfu_mode());
}

#[test]
fn another_download_keeps_dfu_mode_after_an_accepted_image() {
    let bench = Bench::new();
    bench.update(&Package::new(0x0200, 20_000).bytes()).unwrap();
    let file = Package::new(0x0201, 20_000).bytes();
    let mut host = bench.claim();
    for (number, data) in file.chunks(4096).enumerate() {
        assert_eq!(block(&mut host, number as u16, data), Ok((State::DfuDnloadIdle, Status::Ok)));
        bench.bus.advance(Duration::from_secs(4));
    }
    assert_eq!(dnload(&mut host, 999, &[]), Ok(()));
    assert_eq!(get_status(&mut host), Ok((State::DfuIdle, Status::Ok)));
    bench.assert_session(SessionState::Staged, ResultCode::Ok);
    assert_eq!(bench.status().session, 2);
}

#[test]
fn a_daemon_that_starts_anew_finds_the_session_interrupted() {
    for point in POINTS {
        for machine in [false, true] {
            let bench = Bench::new();
            drop(bring_to(&bench, point));
            // Before or after the worker has done what it was given.
            let medium = bench.kill();
            let bench = if machine {
                Bench::boot(Setting::default(), medium)
            } else {
                Bench::daemon(Setting::default(), medium)
            };
            assert!(!bench.in_dfu_mode());
            let writing = bench.status().slots[1] == SlotState::Invalid;
            let point = if writing { Point::Idle } else { Point::Head };
            assert_ended(bench, point, SessionState::Interrupted, ResultCode::Interrupted);
        }
    }
}

#[test]
fn a_daemon_that_starts_anew_during_the_read_back_finds_the_session_interrupted() {
    let bench = Bench::new();
    let file = Package::new(0x0200, 20_000).bytes();
    let mut host = bench.enter_dfu();
    bench.hold(Hold::Finish);
    for (number, data) in file.chunks(4096).enumerate() {
        dnload(&mut host, number as u16, data).unwrap();
        get_status(&mut host).unwrap();
    }
    bench.assert_session(SessionState::Verifying, ResultCode::None);
    drop(host);
    let bench = Bench::daemon(Setting::default(), bench.kill());
    assert_ended(bench, Point::Idle, SessionState::Interrupted, ResultCode::Interrupted);
}

#[test]
fn a_daemon_that_starts_anew_finds_staged_firmware_staged() {
    let bench = Bench::new();
    assert_eq!(bench.update(&Package::new(0x0200, 20_000).bytes()), Ok(End::Idle));
    let bench = Bench::daemon(Setting::default(), bench.kill());
    bench.assert_session(SessionState::Staged, ResultCode::Ok);
    assert_eq!(bench.bus.descriptors().unwrap().device_version, 0x0200);
    bench.assert_factory_runs();
}

#[test]
fn new_firmware_that_never_confirms_gives_way_to_the_old_one() {
    let mut medium = new_store();
    // Bench has three boots; each of these starts dies before the daemon is up.
    {
        let bench = Bench::boot(Setting::default(), medium);
        bench.update(&Package::new(0x0200, 20_000).bytes()).unwrap();
        medium = bench.kill();
    }
    for _ in 0..3 {
        medium = crate::bench::boot_and_die(medium);
    }
    let bench = Bench::boot(Setting::default(), medium);
    bench.assert_session(SessionState::RolledBack, ResultCode::RolledBack);
    let status = bench.status();
    assert_eq!((status.session, status.slots[1]), (1, SlotState::Invalid));
    assert_eq!(bench.last_log().result(), Some(ResultCode::RolledBack));
    bench.assert_factory_runs();
    bench.assert_updatable();
}
