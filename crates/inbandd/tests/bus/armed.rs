//! Doors that are armed for a time, and by the host's power-on.

use std::time::Duration;

use inband_dfu::wire::{Request, State, Status};
use inband_session::{Door, DoorPolicy, DoorState, Rates, ResultCode, SessionState};
use inband_virtual::memory::MemoryHost;
use inbandd::{
    command::{Answer, Ask},
    config::PowerOn,
};

use crate::{
    bench::{Bench, GEOMETRY, Hold, Setting, block, command, dnload, get_status, new_store},
    disk_host::{NO_MEDIUM, padded},
    drive::{disk, shown},
    host,
    package::Package,
};

const ARMED: Setting = Setting {
    policy: DoorPolicy::Armed,
    bulk: DoorPolicy::Always,
    volume: DoorPolicy::Armed,
    power_on: Some(PowerOn::Command),
    ..Setting::DEFAULT
};
const SHUT: [DoorState; 2] = [DoorState::Shut; 2];
const ALMOST: Duration = Duration::from_secs(899);
const MINUTE: Duration = Duration::from_secs(60);

fn doors(bench: &Bench) -> [DoorState; 2] {
    [Door::Dfu, Door::Volume].map(|door| bench.status().door_state(door))
}

fn arm(bench: &Bench, door: Door) {
    assert_eq!(bench.ask(Ask::Arm(door)), Answer::Done);
}

/// Seconds until a door is shut again, as `inbandd status` has it.
fn told(bench: &Bench, door: Door) -> Option<u64> {
    let text = bench.ask(Ask::Status).text();
    let (_, rest) = text.split_once(&format!("\"door_{door}_shuts_s\":"))?;
    let seconds: u64 = rest.split([',', '}']).next().unwrap().parse().unwrap();
    assert!(text.contains(&format!(", shuts in {seconds} s\n")));
    Some(seconds)
}

#[test]
fn doors_that_nobody_comes_to_are_shut_again() {
    let bench = Bench::with(ARMED);
    assert_eq!(told(&bench, Door::Dfu), None);
    for door in [Door::Dfu, Door::Volume] {
        arm(&bench, door);
    }
    assert!(shown(&bench));
    bench.bus.advance(ALMOST - Duration::from_secs(5));
    assert_eq!(doors(&bench), [DoorState::Armed, DoorState::Open]);
    assert!(matches!(told(&bench, Door::Dfu), Some(1..=6)));
    assert!(matches!(told(&bench, Door::Volume), Some(1..=6)));
    bench.bus.advance(Duration::from_secs(7));
    assert_eq!(doors(&bench), SHUT);
    assert!(!shown(&bench));
    assert!(host::detach(&mut bench.claim()).is_err());
    assert_eq!(told(&bench, Door::Dfu), None);
}

#[test]
fn whoever_arms_may_say_for_how_long() {
    let bench = Bench::with(ARMED);
    assert_eq!(bench.ask(Ask::ArmFor(Door::Dfu, 30)), Answer::Done);
    bench.bus.advance(Duration::from_secs(31));
    assert_eq!(doors(&bench), SHUT);
    // Without an end, and then with one after all.
    assert_eq!(bench.ask(Ask::ArmFor(Door::Dfu, 0)), Answer::Done);
    bench.bus.advance(100 * MINUTE);
    assert_eq!(doors(&bench)[0], DoorState::Armed);
    arm(&bench, Door::Dfu);
    bench.bus.advance(16 * MINUTE);
    assert_eq!(doors(&bench), SHUT);
    // As it is configured.
    let bench = Bench::with(Setting { armed_for: 0, ..ARMED });
    arm(&bench, Door::Volume);
    bench.bus.advance(100 * MINUTE);
    assert!(shown(&bench));
}

#[test]
fn a_door_that_is_not_for_arming_has_no_time() {
    let bench = Bench::with(Setting { policy: DoorPolicy::Always, volume: DoorPolicy::Always, ..ARMED });
    for door in [Door::Dfu, Door::Bulk, Door::Volume] {
        assert_eq!(bench.ask(Ask::ArmFor(door, 1)), Answer::Done);
        assert_eq!(told(&bench, door), None);
    }
    bench.bus.advance(MINUTE);
    assert_eq!(doors(&bench), [DoorState::Armed, DoorState::Open]);
}

#[test]
fn a_host_in_dfu_mode_is_not_cut_off() {
    let bench = Bench::with(ARMED);
    arm(&bench, Door::Dfu);
    bench.bus.advance(ALMOST - Duration::from_secs(8));
    drop(bench.enter_dfu());
    bench.bus.advance(Duration::from_secs(30));
    let end = bench.update(&Package::new(0x0200, 20_000).bytes());
    assert!(end.is_ok(), "{end:?}");
    bench.assert_session(SessionState::Staged, ResultCode::Ok);
    bench.leave_dfu();
    assert_eq!(doors(&bench), SHUT);
}

/// A host asks how DFU stands once in 50 s, so that it is never idle there.
fn poll(bench: &Bench, host: &mut MemoryHost, times: u32) {
    for _ in 0..times {
        bench.bus.advance(Duration::from_secs(50));
        _ = get_status(host);
    }
}

#[test]
fn a_host_that_has_come_is_not_in_dfu_mode_for_longer_than_it_is_armed() {
    let bench = Bench::with(ARMED);
    arm(&bench, Door::Dfu);
    let mut host = bench.enter_dfu();
    poll(&bench, &mut host, 17);
    assert!(matches!(told(&bench, Door::Dfu), Some(45..=51)));
    // It is no session of its own that is over: another one is refused, and what there was can be read for a minute.
    poll(&bench, &mut host, 2);
    assert!(bench.in_dfu_mode());
    assert!(dnload(&mut host, 0, &Package::new(0x0200, 20_000).bytes()[..4096]).is_err());
    bench.assert_session(SessionState::Idle, ResultCode::None);
    poll(&bench, &mut host, 1);
    assert!(!bench.in_dfu_mode());
    assert_eq!(doors(&bench), SHUT);
}

#[test]
fn the_session_that_is_at_work_when_the_time_is_over_is_the_last_one() {
    let bench = Bench::with(ARMED);
    assert_eq!(bench.ask(Ask::ArmFor(Door::Dfu, 90)), Answer::Done);
    let file = Package::new(0x0200, 20_000).bytes();
    let mut host = bench.enter_dfu();
    poll(&bench, &mut host, 1);
    let blocks: Vec<_> = (0..).zip(file.chunks(4096)).collect();
    let (last, others) = blocks.split_last().unwrap();
    for (number, data) in others {
        block(&mut host, *number, data).unwrap();
    }
    // The verdict takes its time.
    bench.hold(Hold::Finish);
    dnload(&mut host, last.0, last.1).unwrap();
    poll(&bench, &mut host, 10);
    bench.assert_session(SessionState::Verifying, ResultCode::None);
    bench.hold(Hold::Nothing);
    bench.bus.advance(Duration::from_secs(1));
    bench.assert_session(SessionState::Staged, ResultCode::Ok);
    // Who has not been told is told, and begins nothing.
    assert_eq!(get_status(&mut host), Ok((State::DfuDnloadIdle, Status::Ok)));
    command(&mut host, Request::Abort).unwrap();
    assert!(dnload(&mut host, 0, &file[..4096]).is_err());
    poll(&bench, &mut host, 2);
    assert!(!bench.in_dfu_mode());
    assert_eq!(doors(&bench), SHUT);
    bench.assert_session(SessionState::Staged, ResultCode::Ok);
}

#[test]
fn somebody_on_the_bmc_sends_a_host_out_of_dfu_mode() {
    let bench = Bench::with(Setting { bulk: DoorPolicy::Armed, ..ARMED });
    for door in [Door::Dfu, Door::Bulk] {
        assert_eq!(bench.ask(Ask::ArmFor(door, 0)), Answer::Done);
    }
    let bulk = || bench.status().door_state(Door::Bulk);
    drop(bench.enter_dfu());
    assert_eq!(bench.ask(Ask::Disarm(Door::Bulk)), Answer::Done);
    assert_eq!((bulk(), bench.in_dfu_mode()), (DoorState::Shut, true));
    assert_eq!(bench.ask(Ask::Disarm(Door::Dfu)), Answer::Done);
    bench.wait_attached();
    assert!(!bench.in_dfu_mode());
    assert_eq!(doors(&bench), SHUT);
    // Behind a session, if one is at work.
    assert_eq!(bench.ask(Ask::ArmFor(Door::Dfu, 0)), Answer::Done);
    let mut host = bench.enter_dfu();
    block(&mut host, 0, &Package::new(0x0200, 20_000).bytes()[..4096]).unwrap();
    assert_eq!(bench.ask(Ask::Disarm(Door::Dfu)), Answer::Done);
    bench.assert_session(SessionState::Receiving, ResultCode::None);
    command(&mut host, Request::Abort).unwrap();
    assert!(dnload(&mut host, 0, &[0; 512]).is_err());
    poll(&bench, &mut host, 2);
    assert!(!bench.in_dfu_mode());
    assert_eq!(doors(&bench), SHUT);
}

#[test]
fn a_copy_to_the_disk_is_not_cut_off() {
    let bench = Bench::with(ARMED);
    arm(&bench, Door::Volume);
    let mut disk = disk(&bench);
    bench.bus.advance(ALMOST - MINUTE);
    let package = Package::new(0x0215, 60_000);
    let blocks = padded(&package.bytes());
    let (first, rest) = blocks.split_at(512);
    disk.write(0, first).unwrap();
    bench.bus.advance(4 * MINUTE);
    disk.write(1, rest).unwrap();
    bench.assert_session(SessionState::Receiving, ResultCode::None);
    disk.eject().unwrap();
    bench.bus.advance(Duration::from_secs(3));
    // The host may read what came of it, as ever.
    bench.bus.advance(9 * MINUTE);
    assert!(disk.ready().is_err_and(|sense| sense != NO_MEDIUM));
    assert!(disk.text().contains("STATE=PASS"));
    drop(disk);
    bench.bus.advance(2 * MINUTE);
    assert_eq!(doors(&bench), SHUT);
    bench.assert_session(SessionState::Staged, ResultCode::Ok);
}

#[test]
fn a_host_that_was_lost_in_its_copy_does_not_leave_the_door_open_for_ever() {
    let bench = Bench::with(ARMED);
    arm(&bench, Door::Volume);
    let mut disk = disk(&bench);
    bench.bus.advance(ALMOST - MINUTE);
    disk.write(0, &padded(&Package::new(0x0215, 60_000).bytes())[..512]).unwrap();
    drop(disk);
    bench.bus.unplug();
    bench.bus.advance(2 * MINUTE);
    bench.bus.plug();
    bench.assert_session(SessionState::Failed, ResultCode::Disconnected);
    bench.bus.advance(MINUTE);
    assert_eq!(doors(&bench), SHUT);
    assert!(!shown(&bench));
}

#[test]
fn a_session_that_begins_before_the_end_is_the_last_one_of_the_disk() {
    let bench = Bench::with(ARMED);
    assert_eq!(bench.ask(Ask::ArmFor(Door::Volume, 60)), Answer::Done);
    let mut disk = disk(&bench);
    let mut write = || disk.write(0, &[1; 512]).unwrap();
    write();
    for _ in 0..5 {
        bench.bus.advance(4 * MINUTE);
        write();
    }
    drop(disk);
    bench.bus.unplug();
    bench.bus.advance(MINUTE + Duration::from_millis(500));
    bench.bus.plug();
    bench.assert_session(SessionState::Failed, ResultCode::Disconnected);
    assert!(!shown(&bench), "nobody finds a medium for another one");
    assert_eq!(doors(&bench), SHUT);
}

#[test]
fn who_writes_other_files_gets_five_minutes_more_and_no_others() {
    let bench = Bench::with(Setting { fat: true, ..ARMED });
    arm(&bench, Door::Volume);
    let mut disk = disk(&bench);
    bench.bus.advance(ALMOST - MINUTE);
    disk.write(GEOMETRY.data(), &[7; 512]).unwrap();
    bench.bus.advance(3 * MINUTE);
    disk.write(GEOMETRY.data() + 1, &[7; 512]).unwrap();
    assert_eq!(doors(&bench), [DoorState::Shut, DoorState::Open]);
    drop(disk);
    bench.bus.advance(4 * MINUTE);
    assert_eq!(doors(&bench), SHUT);
    // Whoever arms the door once more has all of it once more.
    arm(&bench, Door::Volume);
    bench.bus.advance(ALMOST);
    assert!(shown(&bench));
}

#[test]
fn a_power_on_arms_what_has_to_be_armed_and_nothing_else() {
    let bench = Bench::with(Setting { volume: DoorPolicy::Off, ..ARMED });
    assert_eq!(bench.ask(Ask::HostPoweredOn), Answer::Done);
    assert_eq!(doors(&bench), [DoorState::Armed, DoorState::Shut]);
    bench.bus.advance(ALMOST);
    assert_eq!(bench.ask(Ask::HostPoweredOn), Answer::Done, "and once more, from then on");
    bench.bus.advance(ALMOST);
    assert_eq!(doors(&bench)[0], DoorState::Armed);
    bench.bus.advance(Duration::from_secs(3));
    assert_eq!(doors(&bench), SHUT);

    let bench = Bench::with(Setting { policy: DoorPolicy::Off, ..ARMED });
    assert_eq!(bench.ask(Ask::HostPoweredOn), Answer::Done);
    assert_eq!(doors(&bench), [DoorState::Shut, DoorState::Open]);
    assert!(shown(&bench));

    // Where it is not to, and where there is nothing to arm.
    for setting in [
        Setting { power_on: None, ..ARMED },
        Setting { policy: DoorPolicy::Always, volume: DoorPolicy::Off, ..ARMED },
    ] {
        let bench = Bench::with(setting);
        let before = doors(&bench);
        assert_eq!(bench.ask(Ask::HostPoweredOn), Answer::NotNow);
        assert_eq!(doors(&bench), before);
    }
}

#[test]
fn a_power_on_makes_no_time_shorter_and_disturbs_nobody() {
    let bench = Bench::with(ARMED);
    assert_eq!(bench.ask(Ask::ArmFor(Door::Volume, 3600)), Answer::Done);
    assert_eq!(bench.ask(Ask::ArmFor(Door::Dfu, 0)), Answer::Done);
    let mut disk = disk(&bench);
    disk.copy(&Package::new(0x0215, 60_000).bytes());
    assert_eq!(bench.ask(Ask::HostPoweredOn), Answer::Done);
    assert_eq!(disk.eject(), Ok(()));
    drop(disk);
    bench.bus.advance(Duration::from_secs(3));
    bench.assert_session(SessionState::Staged, ResultCode::Ok);
    assert!(told(&bench, Door::Volume).unwrap() > 3500);
    assert_eq!(told(&bench, Door::Dfu), None);
    bench.bus.advance(60 * MINUTE);
    assert_eq!(doors(&bench)[0], DoorState::Armed);
}

#[test]
fn a_power_on_ends_no_lock_out_and_grants_nothing() {
    let bench = Bench::with(Setting { refusals: 1, volume: DoorPolicy::Off, ..ARMED });
    arm(&bench, Door::Dfu);
    let mut file = Package::new(0x0200, 20_000).bytes();
    file[1536] ^= 1;
    assert!(bench.update(&file).is_err());
    command(&mut bench.claim(), Request::ClrStatus).unwrap();
    bench.leave_dfu();
    assert_eq!(bench.ask(Ask::HostPoweredOn), Answer::Done);
    assert!(bench.status().locked_out);
    assert!(host::detach(&mut bench.claim()).is_err());
    arm(&bench, Door::Dfu);
    assert!(host::detach(&mut bench.claim()).is_ok());

    // One rewrite, and no more.
    let rates = Rates { sessions: 200, rewrites: 1 };
    let bench = Bench::boot(Setting { rates, volume: DoorPolicy::Off, ..ARMED }, new_store());
    let file = Package::new(0x0200, 20_000).bytes();
    arm(&bench, Door::Dfu);
    assert!(bench.update(&file).is_ok());
    bench.leave_dfu();
    assert_eq!(bench.ask(Ask::HostPoweredOn), Answer::Done);
    assert!(bench.update(&file).is_err());
    assert!(bench.status().wait_minutes > 0);
}
