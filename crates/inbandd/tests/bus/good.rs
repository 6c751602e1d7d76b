//! Good packages: staged, told of at every step, started, confirmed.

use std::time::Duration;

use inband_dfu::{
    host::End,
    suffix::{ANY, Suffix},
    table::Mode,
    wire::{Request, State, Status, StatusReply},
};
use inband_package::digest::sha256;
use inband_session::{Door, DoorState, ResultCode, SessionState};
use inband_store::{Slot, SlotState, memory::Loss};
use inband_usb::{HostDevice, HostError};

use crate::{
    bench::{
        Bench, FACTORY, FLOOR, Hold, SLOT, Setting, answered, block, command, detach_setup, dnload, factory,
        get_state, get_status, to_idle,
    },
    host::{TIMEOUT, page_setup},
    package::{MACHINE, Package, Random},
};

/// bwPollTimeout while a block waits for the worker, ms (docs/spec/dfu.md, 1).
const POLL_MS: u64 = 2;

const IMMEDIATE: Setting = Setting { activate: true, ..Setting::DEFAULT };

#[test]
fn the_pages_tell_the_truth_at_every_step_of_an_update() {
    let bench = Bench::new();
    let package = Package::new(0x0215, 100_000);
    let file = package.bytes();
    let head: [u8; 16] = sha256(&file[512..1024])[..16].try_into().unwrap();

    // Before.
    let status = bench.status();
    assert_eq!(
        (status.state, status.result(), status.door),
        (SessionState::Idle, Some(ResultCode::None), None)
    );
    assert_eq!(status.doors, [DoorState::Armed, DoorState::Shut, DoorState::Shut, DoorState::Shut]);
    assert_eq!((status.session, status.received, status.announced, status.log_records), (0, 0, 0, 0));
    assert_eq!((status.running, status.boots_next), (Slot::A, Slot::A));
    assert_eq!((status.slots, status.bcd_device), ([SlotState::Good, SlotState::Empty], [FACTORY, 0]));
    assert_eq!((status.security_version, status.floor), (FLOOR, FLOOR));
    assert!(!status.on_trial && !status.other_boots_next);
    assert_eq!(bench.firmware(Slot::A).version.as_str(), "factory");
    assert!(bench.firmware(Slot::B).version.is_empty());
    let machine = bench.open().control_in(page_setup(3), TIMEOUT).unwrap();
    assert_eq!(&machine[2..], MACHINE.as_bytes());
    assert_eq!(answered(&mut bench.open(), page_setup(16)), None);
    assert_eq!(bench.bus.descriptors().unwrap().device_version, FACTORY);

    // In DFU mode, nothing sent.
    let mut host = bench.enter_dfu();
    let status = bench.status();
    assert_eq!((status.state, status.doors[0]), (SessionState::Idle, DoorState::Open));
    assert_eq!(bench.bus.descriptors().unwrap().device_version, FACTORY);

    // Between the blocks.
    bench.hold(Hold::Finish);
    let (mut last, mut accepted) = (0, false);
    for (number, data) in file.chunks(4096).enumerate() {
        dnload(&mut host, number as u16, data).unwrap();
        last += data.len();
        if last == file.len() {
            break;
        }
        while get_status(&mut host).unwrap().0 != State::DfuDnloadIdle {}
        let status = bench.status();
        assert_eq!((status.state, status.result()), (SessionState::Receiving, Some(ResultCode::None)));
        assert_eq!((status.door, status.session), (Some(Door::Dfu), 1));
        assert_eq!(status.received as usize, last);
        assert_eq!(status.announced as usize, file.len());
        // The head can be trusted from here on or not at all: 16 bytes of its hash, or zeros.
        accepted |= status.head == head;
        assert_eq!(status.head, if accepted { head } else { [0; 16] });
        let target = if accepted { SlotState::Invalid } else { SlotState::Empty };
        assert_eq!((status.slots, status.boots_next), ([SlotState::Good, target], Slot::A));
    }
    assert!(accepted);

    // All is there; it is read back.
    let reply = host.control_in(Request::GetStatus.setup(0, 0, 6), TIMEOUT).unwrap();
    let reply = StatusReply::parse(&reply).unwrap();
    assert_eq!((reply.state, reply.status, reply.poll_timeout_ms), (State::DfuDnbusy, Status::Ok, 50));
    bench.assert_session(SessionState::Verifying, ResultCode::None);
    assert_eq!(bench.status().slots, [SlotState::Good, SlotState::Invalid]);

    // Staged.
    bench.hold(Hold::Nothing);
    host.wait(Duration::from_millis(50));
    assert_eq!(get_status(&mut host), Ok((State::DfuDnloadIdle, Status::Ok)));
    let status = bench.status();
    assert_eq!((status.state, status.result()), (SessionState::Staged, Some(ResultCode::Ok)));
    assert_eq!((status.running, status.boots_next, status.other_boots_next), (Slot::A, Slot::B, true));
    assert_eq!(status.slots, [SlotState::Good, SlotState::Staged]);
    assert_eq!(status.bcd_device, [FACTORY, 0x0215]);
    assert_eq!((status.head, status.log_records), (head, 1));
    let log = bench.last_log();
    assert_eq!((log.session, log.result(), log.target), (1, Some(ResultCode::Ok), Slot::B));
    assert_eq!((log.state, log.version.as_str()), (SessionState::Staged, "v215"));
    let firmware = bench.firmware(Slot::B);
    assert_eq!((firmware.version.as_str(), firmware.state), ("v215", SlotState::Staged));

    // The host ends the download, and the device leaves by itself after five seconds.
    assert_eq!(dnload(&mut host, 25, &[]), Ok(()));
    assert_eq!(get_status(&mut host), Ok((State::DfuIdle, Status::Ok)));
    let accepted_at = bench.bus.now();
    bench.wait_return(Duration::from_secs(10));
    let took = bench.bus.now() - accepted_at;
    assert!((5000..5200).contains(&took.as_millis()), "{took:?}");
    assert!(!bench.in_dfu_mode());
    assert_eq!(bench.bus.descriptors().unwrap().device_version, 0x0215, "staged firmware shows at once");
    let status = bench.status();
    assert_eq!((status.state, status.doors[0]), (SessionState::Staged, DoorState::Armed));
    assert!(bench.medium().slot(Slot::A) == factory());
    assert!(bench.medium().slot(Slot::B) == package.slot(SLOT));
    drop(host);

    // The machine restarts, the new firmware comes up and is confirmed.
    let bench = bench.power_cycle(Loss::All);
    let status = bench.status();
    assert_eq!((status.state, status.result()), (SessionState::Done, Some(ResultCode::Ok)));
    assert_eq!((status.running, status.boots_next, status.on_trial), (Slot::B, Slot::B, false));
    assert_eq!(status.slots, [SlotState::Good, SlotState::Good]);
    assert_eq!((status.session, status.head, status.log_records), (1, head, 3));
}

#[test]
fn dfu_mode_shows_the_version_that_runs_and_run_time_the_one_that_boots_next() {
    let bench = Bench::new();
    bench.update(&Package::new(0x0215, 9000).bytes()).unwrap();
    assert_eq!(bench.bus.descriptors().unwrap().device_version, FACTORY);
    bench.leave_dfu();
    assert_eq!(bench.bus.descriptors().unwrap().device_version, 0x0215);
    drop(bench.enter_dfu());
    assert_eq!(bench.bus.descriptors().unwrap().device_version, FACTORY);
}

#[test]
fn immediate_activation_restarts_into_the_new_slot_and_confirms_it() {
    for leave in [Bench::leave_dfu, |bench: &Bench| bench.wait_return(Duration::from_secs(6))] {
        let bench = Bench::with(IMMEDIATE);
        let package = Package { security_version: 5, ..Package::new(0x0300, 50_000) };
        assert_eq!(bench.update(&package.bytes()), Ok(End::Idle));
        leave(&bench);
        assert_eq!(bench.bus.descriptors().unwrap().device_version, 0x0300);
        let status = bench.status();
        assert_eq!((status.state, status.result()), (SessionState::Done, Some(ResultCode::Ok)));
        assert_eq!((status.running, status.boots_next), (Slot::B, Slot::B));
        assert_eq!(status.slots, [SlotState::Good, SlotState::Good]);
        assert_eq!((status.security_version, status.floor), (5, 5), "the floor rises with the confirmation");
        assert!(bench.medium().slot(Slot::B) == package.slot(SLOT));
        assert!(bench.medium().slot(Slot::A) == factory(), "the old firmware stays where it was");
    }
}

#[test]
fn updates_take_turns_between_the_slots() {
    let bench = Bench::with(IMMEDIATE);
    for (number, slot) in [Slot::B, Slot::A, Slot::B, Slot::A].into_iter().enumerate() {
        let package = Package::new(0x0200 + number as u16, 30_000 * (number + 1));
        assert_eq!(bench.update(&package.bytes()), Ok(End::Idle));
        bench.leave_dfu();
        let status = bench.status();
        assert_eq!((status.state, status.running), (SessionState::Done, slot));
        assert_eq!(status.session as usize, number + 1);
        assert!(bench.medium().slot(slot) == package.slot(SLOT));
    }
}

#[test]
fn an_update_without_activation_replaces_one_that_was_staged() {
    let bench = Bench::new();
    for version in [0x0200, 0x0201] {
        let package = Package::new(version, 40_000);
        assert_eq!(bench.update(&package.bytes()), Ok(End::Idle));
        assert!(bench.medium().slot(Slot::B) == package.slot(SLOT));
        assert_eq!(bench.status().bcd_device, [FACTORY, version]);
    }
    bench.assert_factory_runs();
}

#[test]
fn strict_mode_takes_an_update_too() {
    let bench = Bench::with(Setting { mode: Mode::Strict, ..Setting::default() });
    let package = Package::new(0x0200, 20_000);
    assert_eq!(bench.update(&package.bytes()), Ok(End::Idle));
    bench.assert_session(SessionState::Staged, ResultCode::Ok);
    bench.wait_return(Duration::from_secs(6));
    assert!(!bench.in_dfu_mode());
    assert!(bench.medium().slot(Slot::B) == package.slot(SLOT));
}

#[test]
fn a_host_that_keeps_bw_poll_timeout_is_in_time_however_late_the_bmc_is() {
    let bench = Bench::with(Setting { mode: Mode::Strict, ..Setting::default() });
    let mut host = bench.enter_dfu();
    bench.hold(Hold::Everything);
    let file = Package::new(0x0200, 20_000).bytes();
    assert_eq!(dnload(&mut host, 0, &file[..4096]), Ok(()));
    for _ in 0..3 {
        assert_eq!(get_status(&mut host), Ok((State::DfuDnbusy, Status::Ok)));
        bench.be_late(Duration::from_millis(20));
        bench.bus.advance(Duration::from_millis(POLL_MS));
        assert_eq!(get_status(&mut host), Ok((State::DfuDnbusy, Status::Ok)));
        bench.be_late(Duration::ZERO);
        bench.bus.advance(Duration::from_millis(POLL_MS));
    }
}

#[test]
fn a_host_may_cut_blocks_as_it_likes_and_number_them_from_anywhere() {
    let bench = Bench::new();
    let file = Package::new(0x0200, 30_000).bytes();
    let mut random = Random(1);
    let mut host = bench.enter_dfu();
    let mut rest = file.as_slice();
    let mut number = 0xfff0_u16;
    while !rest.is_empty() {
        let length = (1 + random.next() as usize % 4096).min(rest.len());
        let (data, more) = rest.split_at(length);
        assert_eq!(block(&mut host, number, data), Ok((State::DfuDnloadIdle, Status::Ok)));
        rest = more;
        number = number.wrapping_add(1);
    }
    assert_eq!(dnload(&mut host, number, &[]), Ok(()));
    assert_eq!(get_status(&mut host), Ok((State::DfuIdle, Status::Ok)));
    bench.assert_session(SessionState::Staged, ResultCode::Ok);
}

/// A package whose length is so many bytes over a multiple of the block length.
fn package_over_a_block(over: usize) -> Vec<u8> {
    (0..8)
        .map(|more| Package::new(0x0200, 20_000 + 512 * more).bytes())
        .find(|file| file.len() % 4096 == over)
        .expect("lengths of packages are multiples of 512")
}

#[test]
fn a_dfu_suffix_that_is_sent_along_is_ignored() {
    let suffix = Suffix { vendor: 0x1209, product: ANY, device: 0x0200 };
    // In the block of the last byte; in one of its own.
    for over in [512, 0] {
        let bench = Bench::new();
        let mut file = package_over_a_block(over);
        suffix.append(&mut file);
        assert_eq!(bench.update(&file), Ok(End::Idle));
        bench.assert_session(SessionState::Staged, ResultCode::Ok);
    }
    // Cut in pieces, behind the last byte.
    let bench = Bench::new();
    let file = package_over_a_block(0);
    let mut with_suffix = file.clone();
    suffix.append(&mut with_suffix);
    let mut host = bench.enter_dfu();
    let mut blocks = file.chunks(4096).collect::<Vec<_>>();
    blocks.extend(with_suffix[file.len()..].chunks(5));
    for (number, data) in blocks.iter().enumerate() {
        assert_eq!(block(&mut host, number as u16, data), Ok((State::DfuDnloadIdle, Status::Ok)));
    }
    assert_eq!(dnload(&mut host, blocks.len() as u16, &[]), Ok(()));
    assert_eq!(get_status(&mut host), Ok((State::DfuIdle, Status::Ok)));
    bench.assert_session(SessionState::Staged, ResultCode::Ok);
}

#[test]
fn a_busy_worker_makes_the_host_wait_and_nothing_else() {
    let bench = Bench::new();
    let file = Package::new(0x0200, 120_000).bytes();
    let mut host = bench.enter_dfu();
    assert_eq!(block(&mut host, 0, &file[..4096]), Ok((State::DfuDnloadIdle, Status::Ok)));
    bench.hold(Hold::Everything);
    let mut number = 1;
    loop {
        dnload(&mut host, number, &file[usize::from(number) * 4096..][..4096]).unwrap();
        number += 1;
        match get_status(&mut host).unwrap() {
            (State::DfuDnloadIdle, Status::Ok) => {}
            other => {
                assert_eq!(other, (State::DfuDnbusy, Status::Ok));
                break;
            }
        }
    }
    assert_eq!(bench.bmc().worker().held().len(), 16, "16 blocks are kept");
    // However long it takes, short of the limit for progress.
    for _ in 0..50 {
        host.wait(Duration::from_secs(1));
        assert_eq!(get_status(&mut host), Ok((State::DfuDnbusy, Status::Ok)));
    }
    assert_eq!(get_state(&mut host), Ok(State::DfuDnbusy));
    bench.hold(Hold::Nothing);
    assert_eq!(get_status(&mut host), Ok((State::DfuDnloadIdle, Status::Ok)));
    for (at, data) in file.chunks(4096).enumerate().skip(number.into()) {
        assert_eq!(block(&mut host, at as u16, data), Ok((State::DfuDnloadIdle, Status::Ok)));
    }
    bench.assert_session(SessionState::Staged, ResultCode::Ok);
}

#[test]
fn the_last_block_is_not_acknowledged_before_the_verdict() {
    let bench = Bench::new();
    let file = Package::new(0x0200, 20_000).bytes();
    let mut host = bench.enter_dfu();
    let blocks = file.chunks(4096).collect::<Vec<_>>();
    let last = blocks.len() - 1;
    for (number, data) in blocks[..last].iter().enumerate() {
        assert_eq!(block(&mut host, number as u16, data), Ok((State::DfuDnloadIdle, Status::Ok)));
    }
    bench.hold(Hold::Everything);
    dnload(&mut host, last as u16, blocks[last]).unwrap();
    assert_eq!(get_status(&mut host), Ok((State::DfuDnbusy, Status::Ok)));
    bench.assert_session(SessionState::Receiving, ResultCode::None);
    bench.hold(Hold::Nothing);
    assert_eq!(get_status(&mut host), Ok((State::DfuDnloadIdle, Status::Ok)));
    bench.assert_session(SessionState::Staged, ResultCode::Ok);
}

#[test]
fn nothing_is_acknowledged_before_the_head_of_this_session_was_seen() {
    let bench = Bench::new();
    let file = Package::new(0x0200, 20_000).bytes();
    let mut host = bench.enter_dfu();
    for _ in 0..3 {
        bench.hold(Hold::Everything);
        dnload(&mut host, 0, &file[..4096]).unwrap();
        assert_eq!(get_status(&mut host), Ok((State::DfuDnbusy, Status::Ok)));
        bench.hold(Hold::Nothing);
        assert_eq!(get_status(&mut host), Ok((State::DfuDnloadIdle, Status::Ok)));
        command(&mut host, Request::Abort).unwrap();
    }
}

/// What a host can do to a session.
#[derive(Clone, Copy, Debug)]
enum Disturbance {
    Reset,
    Unplug,
    Request(Request),
}

#[test]
fn a_reset_or_abort_during_the_read_back_changes_nothing() {
    let requests = [Request::Abort, Request::Detach, Request::ClrStatus];
    let disturbances = [Disturbance::Reset, Disturbance::Unplug].into_iter();
    for disturbance in disturbances.chain(requests.map(Disturbance::Request)) {
        for setting in [Setting::default(), IMMEDIATE] {
            let bench = Bench::with(setting);
            let package = Package::new(0x0200, 20_000);
            let file = package.bytes();
            let mut host = bench.enter_dfu();
            bench.hold(Hold::Finish);
            for (number, data) in file.chunks(4096).enumerate() {
                while get_state(&mut host).unwrap() != State::DfuIdle
                    && get_status(&mut host).unwrap().0 != State::DfuDnloadIdle
                {}
                dnload(&mut host, number as u16, data).unwrap();
            }
            assert_eq!(get_status(&mut host), Ok((State::DfuDnbusy, Status::Ok)));
            match disturbance {
                Disturbance::Reset => bench.bus.reset(),
                Disturbance::Unplug => {
                    bench.bus.unplug();
                    bench.bus.advance(Duration::from_secs(1));
                    bench.bus.plug();
                    bench.wait_attached();
                }
                // None of them has a place in dfuDNBUSY.
                Disturbance::Request(request) => {
                    assert_eq!(command(&mut host, request), Err(HostError::Stall));
                }
            }
            bench.assert_session(SessionState::Verifying, ResultCode::None);
            drop(host);

            // Nobody else comes in meanwhile.
            let mut host = bench.claim();
            to_idle(&mut host);
            assert_eq!(dnload(&mut host, 0, &file[..4096]), Err(HostError::Stall));
            assert_eq!(get_status(&mut host), Ok((State::DfuError, Status::ErrVendor)));
            drop(host);
            bench.assert_session(SessionState::Verifying, ResultCode::None);

            bench.hold(Hold::Nothing);
            bench.assert_session(SessionState::Staged, ResultCode::Ok);
            assert!(bench.medium().slot(Slot::B) == package.slot(SLOT));
            bench.wait_return(Duration::from_secs(70));
            let (state, running) = if setting.activate {
                (SessionState::Done, Slot::B)
            } else {
                (SessionState::Staged, Slot::A)
            };
            bench.assert_session(state, ResultCode::Ok);
            assert_eq!(bench.status().running, running);
        }
    }
}

#[test]
fn a_host_that_leaves_before_the_verdict_misses_nothing() {
    for setting in [Setting::default(), IMMEDIATE] {
        let bench = Bench::with(setting);
        let file = Package::new(0x0200, 20_000).bytes();
        let mut host = bench.enter_dfu();
        bench.hold(Hold::Finish);
        for (number, data) in file.chunks(4096).enumerate() {
            dnload(&mut host, number as u16, data).unwrap();
            get_status(&mut host).unwrap();
        }
        command(&mut host, Request::Abort).unwrap_err();
        command(&mut host, Request::ClrStatus).unwrap();
        drop(host);
        bench.leave_dfu();
        bench.assert_session(SessionState::Verifying, ResultCode::None);
        assert_eq!(bench.bus.descriptors().unwrap().device_version, FACTORY);
        // Run time, but the bytes are still being put to work.
        assert_eq!(bench.claim().control_out(detach_setup(), Vec::new(), TIMEOUT), Err(HostError::Stall));

        let generation = bench.bus.generation();
        bench.hold(Hold::Nothing);
        assert!(bench.bus.run_until(Duration::from_secs(1), || bench.bus.generation() > generation));
        assert_eq!(bench.bus.descriptors().unwrap().device_version, 0x0200);
        let state = if setting.activate { SessionState::Done } else { SessionState::Staged };
        bench.assert_session(state, ResultCode::Ok);
    }
}
