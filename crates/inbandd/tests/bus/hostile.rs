//! Hosts that mean harm, or are broken.

use std::time::Duration;

use inband_dfu::{
    table::Mode,
    wire::{Request, State, Status},
};
use inband_session::{DoorPolicy, ResultCode, SessionState};
use inband_store::{Slot, SlotState};
use inband_usb::{HostDevice, HostError, HostTransfer, Setup};
use inband_virtual::memory::{FaultPlan, MemoryHost};
use inbandd::worker::Worker as _;

use crate::{
    bench::{Bench, Hold, Setting, command, detach_setup, dnload, factory, get_state, get_status},
    package::{Package, Random},
};

#[test]
fn sessions_begun_and_aborted_faster_than_they_can_be_recorded_are_put_off() {
    let bench = Bench::new();
    let file = Package::new(0x0200, 60_000).bytes();
    let mut host = bench.enter_dfu();
    bench.hold(Hold::Everything);
    let mut refused = 0;
    for _ in 0..1000 {
        match dnload(&mut host, 0, &file[..4096]) {
            Ok(()) => command(&mut host, Request::Abort).unwrap(),
            Err(error) => {
                assert_eq!(error, HostError::Stall);
                assert_eq!(get_status(&mut host), Ok((State::DfuError, Status::ErrVendor)));
                command(&mut host, Request::ClrStatus).unwrap();
                refused += 1;
            }
        }
        assert!(bench.bmc().worker().backlog() < 70, "work piles up");
    }
    assert!(refused > 900, "{refused}");
    drop(host);
    // Once the worker has caught up, everything is as ever.
    bench.hold(Hold::Nothing);
    bench.bus.advance(Duration::from_millis(100));
    bench.assert_session(SessionState::Aborted, ResultCode::Aborted);
    bench.assert_updatable();
}

#[test]
fn the_worker_s_replies_to_an_ended_session_do_not_touch_the_next() {
    let bench = Bench::new();
    let bad = vec![0; 4096];
    let package = Package::new(0x0200, 20_000);
    let file = package.bytes();
    let mut host = bench.enter_dfu();
    // A session that will fail once the worker gets to it, ended before; and the next one behind it.
    bench.hold(Hold::Everything);
    dnload(&mut host, 0, &bad).unwrap();
    command(&mut host, Request::Abort).unwrap();
    dnload(&mut host, 0, &file[..4096]).unwrap();
    assert_eq!(get_status(&mut host), Ok((State::DfuDnbusy, Status::Ok)));
    bench.hold(Hold::Nothing);
    host.wait(Duration::from_millis(10));
    assert_eq!(get_status(&mut host), Ok((State::DfuDnloadIdle, Status::Ok)));
    let status = bench.status();
    assert_eq!((status.state, status.session), (SessionState::Receiving, 2));
    for (number, data) in file.chunks(4096).enumerate().skip(1) {
        dnload(&mut host, number as u16, data).unwrap();
        assert_eq!(get_status(&mut host), Ok((State::DfuDnloadIdle, Status::Ok)));
    }
    bench.assert_session(SessionState::Staged, ResultCode::Ok);
}

#[test]
fn detach_back_and_forth_is_survived() {
    let bench = Bench::new();
    for _ in 0..300 {
        let mut host = bench.open();
        let generation = bench.bus.generation();
        let _ = host.submit(HostTransfer::ControlOut { setup: detach_setup(), data: Vec::new() });
        assert!(bench.bus.run_until(Duration::from_secs(2), || bench.bus.generation() > generation));
    }
    assert!(!bench.in_dfu_mode());
    bench.assert_session(SessionState::Idle, ResultCode::None);
    bench.assert_updatable();
}

#[test]
fn requests_that_are_not_waited_for_are_survived() {
    let bench = Bench::new();
    let file = Package::new(0x0200, 60_000).bytes();
    let mut host = bench.enter_dfu();
    for number in 0..2000_u16 {
        let data = file[..4096].to_vec();
        let setup = Request::Dnload.setup(0, number, 4096);
        host.submit(HostTransfer::ControlOut { setup, data }).unwrap();
        host.submit(HostTransfer::ControlIn { setup: Request::GetStatus.setup(0, 0, 6) }).unwrap();
    }
    bench.bus.advance(Duration::from_secs(10));
    let ended = std::iter::from_fn(|| host.poll()).count();
    assert_eq!(ended, 4000);
    drop(host);
    // A block on the heels of a GETSTATUS that said "busy" is not taken, and the one behind it then has the wrong number.
    bench.assert_session(SessionState::Failed, ResultCode::Sequence);
    bench.assert_factory_runs();
    bench.assert_updatable();
}

/// A request that may be anything, but is most often near something the device knows.
fn any_request(random: &mut Random, file: &[u8]) -> HostTransfer {
    let request_types = [0x21, 0xa1, 0x21, 0xa1, 0xc1, 0x41, 0x22, 0x01, 0x81, 0xff];
    let request_type = request_types[random.next() as usize % request_types.len()];
    let request = match random.next() % 8 {
        0 => 0x49,
        1 => random.next() as u8,
        other => (other % 7) as u8,
    };
    let lengths = [0, 0, 1, 6, 64, 512, 4096, 4096, 4097, 20_000];
    let length = lengths[random.next() as usize % lengths.len()];
    let value = (random.next() % 5) as u16;
    let index = if random.next().is_multiple_of(16) { random.next() as u16 } else { 0 };
    let setup = Setup { request_type, request, value, index, length };
    if request_type & 0x80 != 0 {
        return HostTransfer::ControlIn { setup };
    }
    let at = usize::from(value) * 4096;
    let mut data = file.get(at..).unwrap_or_default().to_vec();
    data.resize(length.into(), 0x5a);
    HostTransfer::ControlOut { setup, data }
}

/// Sends requests, waiting for some of them.
fn storm(bench: &Bench, random: &mut Random, file: &[u8], count: usize) {
    let mut host: Option<MemoryHost> = None;
    for _ in 0..count {
        let open = match host.take() {
            Some(open) => open,
            None => {
                if !bench.bus.run_until(Duration::from_secs(1), || bench.bus.attached()) {
                    bench.bus.plug();
                }
                bench.open()
            }
        };
        let mut open = open;
        let transfer = any_request(random, file);
        let kept = match random.next() % 8 {
            0 => open.submit(transfer).is_ok(),
            1 => {
                bench.bus.advance(Duration::from_millis(random.next() % 3000));
                !matches!(open.run(transfer, Duration::from_millis(1)), Err(HostError::Gone))
            }
            _ => !matches!(open.run(transfer, Duration::from_secs(2)), Err(HostError::Gone)),
        };
        if kept {
            host = Some(open);
        }
    }
}

#[test]
fn storms_of_requests_and_faults_leave_a_bmc_that_works() {
    for seed in 0..40 {
        let mut random = Random(seed);
        let mode = if seed % 2 == 0 { Mode::Lenient } else { Mode::Strict };
        let policy = if seed % 8 == 7 { DoorPolicy::Off } else { DoorPolicy::Always };
        let bench = Bench::with(Setting { mode, policy, activate: seed % 4 < 2, ..Setting::DEFAULT });
        let file = Package::new(0x0200, 9000).bytes();
        bench.bus.set_faults(FaultPlan::random(seed, 30, 400));
        if policy == DoorPolicy::Always {
            // Half of the storms begin in DFU mode.
            let _ = bench.open().run(
                HostTransfer::ControlOut { setup: detach_setup(), data: Vec::new() },
                Duration::from_secs(1),
            );
        }
        storm(&bench, &mut random, &file, 400);
        bench.bus.set_faults(FaultPlan::default());
        bench.bus.plug();
        // All deadlines there are.
        bench.bus.advance(Duration::from_secs(200));
        bench.wait_attached();
        assert!(!bench.in_dfu_mode(), "seed {seed}");
        let status = bench.status();
        assert_eq!(status.slots[usize::from(status.running.number())], SlotState::Good, "seed {seed}");
        if status.running == Slot::A {
            assert!(bench.medium().slot(Slot::A) == factory(), "seed {seed}");
        }
        if policy == DoorPolicy::Always {
            bench.assert_updatable();
        } else {
            assert_eq!((status.session, status.running), (0, Slot::A), "seed {seed}");
        }
    }
}

#[test]
fn a_request_cut_short_again_and_again_leaves_nothing_behind() {
    let bench = Bench::new();
    let file = Package::new(0x0200, 9000).bytes();
    let mut host = bench.enter_dfu();
    for _ in 0..100 {
        let setup = Request::Dnload.setup(0, 0, 4096);
        let id = host.submit(HostTransfer::ControlOut { setup, data: file[..4096].to_vec() }).unwrap();
        host.cancel(id);
        assert_eq!(get_state(&mut host), Ok(State::DfuIdle));
    }
    bench.assert_session(SessionState::Idle, ResultCode::None);
    drop(host);
    bench.assert_updatable();
}
