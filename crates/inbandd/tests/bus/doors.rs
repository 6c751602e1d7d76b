//! Who may come in, and who may not now.

use std::time::Duration;

use inband_dfu::{
    host::Error,
    wire::{Request, State, Status},
};
use inband_session::{Door, DoorPolicy, DoorState, ResultCode, SessionState};
use inband_store::{Slot, SlotState, medium::MediumErrorKind};
use inband_usb::{HostDevice, HostError};

use crate::{
    bench::{Bench, Setting, block, command, detach_setup, dnload, get_state, get_status},
    host::{self, TIMEOUT},
    package::Package,
};

const OFF: Setting = Setting { policy: DoorPolicy::Off, ..Setting::DEFAULT };

#[test]
fn a_door_that_is_off_stalls_detach_and_hides_nothing() {
    let bench = Bench::with(OFF);
    let mut host = bench.claim();
    for _ in 0..3 {
        match host::detach(&mut host) {
            Err(Error::Refused { request: Request::Detach, .. }) => {}
            other => panic!("{other:?}"),
        }
        assert_eq!(get_status(&mut host), Ok((State::AppIdle, Status::Ok)));
    }
    // Nor does a host that resets the bus behind its DETACH get in.
    assert_eq!(host.control_out(detach_setup(), Vec::new(), TIMEOUT), Err(HostError::Stall));
    bench.bus.reset();
    assert_eq!(get_state(&mut host), Ok(State::AppIdle));
    drop(host);
    assert!(!bench.in_dfu_mode());
    assert_eq!(bench.status().doors, [DoorState::Shut; 4]);
    bench.assert_session(SessionState::Idle, ResultCode::None);
    bench.assert_factory_runs();
}

#[test]
fn payload_at_run_time_is_refused_whatever_the_policy() {
    for setting in [OFF, Setting::default()] {
        let bench = Bench::with(setting);
        let mut host = bench.claim();
        let file = Package::new(0x0200, 9000).bytes();
        for number in [0, 1] {
            assert_eq!(dnload(&mut host, number, &file[..4096]), Err(HostError::Stall));
            assert_eq!(get_status(&mut host), Ok((State::AppIdle, Status::Ok)));
        }
        assert_eq!(dnload(&mut host, 0, &[]), Err(HostError::Stall));
        drop(host);
        bench.assert_session(SessionState::Idle, ResultCode::None);
    }
}

/// Firmware that came up and cannot be confirmed: the store does not take the record.
fn on_trial() -> Bench {
    let bench = Bench::new();
    bench.update(&Package::new(0x0200, 20_000).bytes()).unwrap();
    let mut medium = bench.kill();
    medium.forget_operations();
    // The loader's record, the resumed session's, the confirmation's.
    medium.fail_at(2, MediumErrorKind::Io);
    let bench = Bench::boot(Setting::default(), medium);
    bench.assert_session(SessionState::PendingConfirm, ResultCode::Ok);
    bench
}

#[test]
fn no_session_begins_while_the_running_firmware_is_on_trial() {
    let bench = on_trial();
    let status = bench.status();
    assert_eq!((status.running, status.on_trial), (Slot::B, true));
    assert_eq!(status.slots, [SlotState::Good, SlotState::Trial]);
    let before = bench.medium();
    // The door is not shut: the host is told why nothing comes of it.
    match bench.update(&Package::new(0x0300, 20_000).bytes()) {
        Err(Error::Refused { status: Some(Status::ErrVendor), state: Some(State::DfuError), .. }) => {}
        other => panic!("{other:?}"),
    }
    bench.assert_session(SessionState::PendingConfirm, ResultCode::Ok);
    for slot in Slot::ALL {
        assert!(bench.medium().slot(slot) == before.slot(slot), "nothing was written");
    }
    bench.leave_dfu();
    bench.assert_session(SessionState::PendingConfirm, ResultCode::Ok);

    // The next start confirms it, and the BMC is updatable again.
    let bench = Bench::daemon(Setting::default(), bench.kill());
    bench.assert_session(SessionState::Done, ResultCode::Ok);
    bench.assert_updatable();
}

#[test]
fn a_confirmation_that_failed_is_tried_again() {
    let bench = on_trial();
    bench.bus.advance(Duration::from_secs(58));
    bench.assert_session(SessionState::PendingConfirm, ResultCode::Ok);
    bench.bus.advance(Duration::from_secs(3));
    bench.assert_session(SessionState::Done, ResultCode::Ok);
    bench.assert_updatable();
}

#[test]
fn two_hosts_in_one_download_do_no_harm() {
    // Programs that do not claim the interface can still send requests to it.
    let file = Package::new(0x0200, 30_000).bytes();
    let other = Package::new(0x0300, 30_000).bytes();

    let bench = Bench::new();
    let mut first = bench.enter_dfu();
    let mut second = bench.open();
    for (number, data) in file.chunks(4096).enumerate().take(3) {
        assert_eq!(block(&mut first, number as u16, data), Ok((State::DfuDnloadIdle, Status::Ok)));
    }
    // The second begins with its first block: that is out of order.
    assert_eq!(dnload(&mut second, 0, &other[..4096]), Err(HostError::Stall));
    assert_eq!(dnload(&mut first, 3, &file[3 * 4096..][..4096]), Err(HostError::Stall));
    assert_eq!(get_status(&mut first), Ok((State::DfuError, Status::ErrAddress)));
    bench.assert_session(SessionState::Failed, ResultCode::Sequence);
    drop((first, second));
    bench.assert_factory_runs();
    bench.assert_updatable();

    // In step with the first, its bytes end up in one stream with them, which no signature is for.
    let bench = Bench::new();
    let mut first = bench.enter_dfu();
    let mut second = bench.open();
    for (number, data) in file.chunks(4096).enumerate().take(3) {
        assert_eq!(block(&mut first, number as u16, data), Ok((State::DfuDnloadIdle, Status::Ok)));
    }
    assert_eq!(block(&mut second, 3, &other[3 * 4096..][..4096]), Ok((State::DfuDnloadIdle, Status::Ok)));
    let rest = file.chunks(4096).enumerate().skip(4);
    let mut ends = rest.map(|(number, data)| block(&mut first, number as u16, data));
    assert!(ends.any(|end| end == Ok((State::DfuError, Status::ErrVerify))));
    bench.assert_session(SessionState::Failed, ResultCode::BadChunk);
    drop(ends);
    drop((first, second));
    bench.assert_factory_runs();
    bench.assert_updatable();
}

#[test]
fn a_second_first_block_before_the_status_of_the_first_changes_nothing() {
    let bench = Bench::new();
    let file = Package::new(0x0200, 30_000).bytes();
    let mut first = bench.enter_dfu();
    let mut second = bench.open();
    dnload(&mut first, 0, &file[..4096]).unwrap();
    assert_eq!(dnload(&mut second, 0, &file[..4096]), Err(HostError::Stall));
    let (state, status) = get_status(&mut second).unwrap();
    assert_ne!(state, State::DfuError);
    assert_eq!(status, Status::Ok);
    bench.assert_session(SessionState::Receiving, ResultCode::None);
    drop((first, second));
    bench.assert_updatable();
}

#[test]
fn only_one_program_claims_the_interface() {
    let bench = Bench::new();
    let _first = bench.enter_dfu();
    assert_eq!(bench.open().claim(0), Err(HostError::Busy));
}

#[test]
fn a_door_opens_by_detach_and_shuts_behind_the_host() {
    let bench = Bench::new();
    assert_eq!(bench.status().door_state(Door::Dfu), DoorState::Armed);
    drop(bench.enter_dfu());
    assert_eq!(bench.status().door_state(Door::Dfu), DoorState::Open);
    bench.leave_dfu();
    assert_eq!(bench.status().door_state(Door::Dfu), DoorState::Armed);
}

#[test]
fn detach_is_honoured_once() {
    // A second DETACH on the heels of the first is for a device that is gone.
    let bench = Bench::new();
    let mut host = bench.claim();
    let generation = bench.bus.generation();
    host.control_out(detach_setup(), Vec::new(), TIMEOUT).unwrap();
    assert_eq!(host.control_out(detach_setup(), Vec::new(), TIMEOUT), Err(HostError::Gone));
    bench.bus.advance(Duration::from_secs(5));
    assert!(bench.in_dfu_mode());
    assert_eq!(bench.bus.generation(), generation + 1);
    drop(host);
    let mut host = bench.claim();
    assert_eq!(command(&mut host, Request::Abort), Ok(()));
}
