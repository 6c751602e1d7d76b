//! A device that no host sees while its doors are shut.

use std::{sync::atomic::Ordering, time::Duration};

use inband_dfu::host::End;
use inband_ipmi::{
    command::{Command, Door as Start, Profile, Started, Status, Wishes},
    wire::Code,
};
use inband_session::{Door, DoorPolicy, ResultCode, SessionState};
use inband_store::{Slot, memory::Loss};
use inbandd::{
    command::{Answer, Ask},
    config::WhileShut,
    programs::{Exit, Task},
};

use crate::{
    bench::{Bench, Setting},
    disk_host::Disk,
    package::Package,
};

const HIDDEN: Setting = Setting {
    policy: DoorPolicy::Armed,
    bulk: DoorPolicy::Always,
    volume: DoorPolicy::Armed,
    ipmi: true,
    while_shut: WhileShut::Nothing,
    ..Setting::DEFAULT
};

fn package() -> Vec<u8> {
    Package::new(0x0215, 60_000).bytes()
}

fn arm(bench: &Bench, door: Door) {
    assert_eq!(bench.ask(Ask::Arm(door)), Answer::Done);
    bench.wait_attached();
}

fn by_ipmi(bench: &Bench) -> Status {
    Status::decode(&bench.ipmi_command(&Command::Status).data).unwrap()
}

#[test]
fn a_host_that_starts_updates_and_asks_sees_the_device_for_that_long() {
    for door in [Start::Dfu, Start::Volume(Profile::Raw)] {
        let bench = Bench::with(HIDDEN);
        assert!(bench.is_hidden() && bench.bus.open().is_err());
        let reply = bench.ipmi_command(&Command::Start { tag: 1, door, wishes: Wishes::default() });
        let nonce = Started::decode(&reply.data, 1).unwrap().nonce;
        bench.wait_attached();
        if door == Start::Dfu {
            assert_eq!(bench.update(&package()), Ok(End::Idle));
            // Who has its answer asks once more before it goes.
            bench.bus.advance(Duration::from_secs(4));
            bench.assert_session(SessionState::Staged, ResultCode::Ok);
            assert!(!bench.is_hidden());
            bench.bus.advance(Duration::from_secs(2));
        } else {
            let mut disk = Disk::open(bench.open());
            disk.copy(&package());
            disk.eject().unwrap();
            bench.bus.advance(Duration::from_secs(3));
            assert_eq!(disk.ready(), Err((6, 0x28, 0)));
            assert!(disk.text().contains("STATE=PASS"));
            bench.bus.advance(Duration::from_secs(9 * 60));
            assert_eq!(disk.ready(), Ok(()));
            disk.eject().unwrap();
            bench.bus.advance(Duration::from_secs(3));
        }
        assert!(bench.is_hidden() && bench.bus.open().is_err());
        let status = by_ipmi(&bench);
        assert_eq!((status.state, status.nonce, status.result), (SessionState::Staged.number(), nonce, 1));
    }
}

#[test]
fn a_start_that_is_stopped_or_runs_out_leaves_nothing_behind() {
    let bench = Bench::with(HIDDEN);
    let start = || {
        let command = Command::Start { tag: 0, door: Start::Dfu, wishes: Wishes::default() };
        let reply = bench.ipmi_command(&command);
        bench.wait_attached();
        Started::decode(&reply.data, 0).unwrap().nonce
    };
    let nonce = start();
    assert!(!bench.is_hidden());
    assert_eq!(bench.ipmi_command(&Command::Stop { tag: 0, nonce, commit: false }).code, Code::OK);
    assert!(bench.is_hidden());
    start();
    bench.bus.advance(Duration::from_secs(899));
    assert!(!bench.is_hidden());
    bench.bus.advance(Duration::from_secs(2));
    assert!(bench.is_hidden());
}

#[test]
fn doors_that_are_off_are_hidden_for_good_and_one_that_is_always_there_is_not() {
    let bench = Bench::with(Setting { policy: DoorPolicy::Off, volume: DoorPolicy::Off, ..HIDDEN });
    let command = Command::Start { tag: 0, door: Start::Dfu, wishes: Wishes::default() };
    assert_eq!(bench.ipmi_command(&command).code, Code::DOOR_SHUT);
    assert_eq!(bench.ask(Ask::Arm(Door::Dfu)), Answer::DoorOff);
    bench.bus.advance(Duration::from_secs(60));
    assert!(bench.is_hidden());
    for setting in
        [Setting { policy: DoorPolicy::Always, ..HIDDEN }, Setting { volume: DoorPolicy::Always, ..HIDDEN }]
    {
        let bench = Bench::with(setting);
        assert!(!bench.is_hidden() && bench.bus.open().is_ok());
    }
}

#[test]
fn a_disk_for_which_there_is_no_memory_brings_nothing_onto_the_bus() {
    let bench = Bench::with(HIDDEN);
    bench.memory.store(1 << 20, Ordering::Relaxed);
    let before = bench.bus.generation();
    assert_eq!(bench.ask(Ask::Arm(Door::Volume)), Answer::Done);
    assert!(bench.is_hidden());
    bench.bus.advance(Duration::from_secs(60));
    assert_eq!(bench.bus.generation(), before, "nor is it shown for a moment");
    bench.memory.store(u64::MAX, Ordering::Relaxed);
    arm(&bench, Door::Volume);
    assert!(!bench.is_hidden());
}

#[test]
fn firmware_is_on_trial_and_confirmed_with_nobody_on_the_bus() {
    let bench = Bench::with(Setting { health: true, ..HIDDEN });
    arm(&bench, Door::Dfu);
    assert_eq!(bench.update(&package()), Ok(End::Idle));
    let bench = bench.power_cycle(Loss::All);
    assert!(bench.is_hidden());
    assert_eq!(by_ipmi(&bench).state, SessionState::PendingConfirm.number());
    bench.programs.end(Task::Health, Exit::Code(0));
    bench.bus.advance(Duration::from_secs(1));
    let status = bench.status();
    assert_eq!((status.state, status.running), (SessionState::Done, Slot::B));
    assert!(bench.is_hidden());
}
