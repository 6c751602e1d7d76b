//! Firmware on trial: its health command, its deadline, its boots, and the restarts that the host asks for.

use std::time::Duration;

use inband_dfu::host::End;
use inband_session::{ResultCode, SessionState};
use inband_store::{GIVEN_BACK_LIMIT, Slot, SlotState, medium::MediumErrorKind, memory::Loss};
use inbandd::{
    command::{Answer, Ask, AskedBy},
    programs::{Exit, Task},
};

use crate::{
    bench::{Bench, DEADLINE, FLOOR, Hold, RETRY, Setting},
    package::Package,
};

const HEALTH: Setting = Setting { activate: true, health: true, ..Setting::DEFAULT };
const SECOND: Duration = Duration::from_secs(1);

/// A security version above the floor, to see when that rises.
fn package() -> Package {
    Package { security_version: FLOOR + 2, ..Package::new(0x0200, 20_000) }
}

/// New firmware in its first boot, its health command running.
fn on_trial(setting: Setting) -> Bench {
    let bench = Bench::with(setting);
    assert_eq!(bench.update(&package().bytes()), Ok(End::Idle));
    bench.leave_dfu();
    bench.assert_session(SessionState::PendingConfirm, ResultCode::Ok);
    assert!(bench.programs.runs(Task::Health));
    assert_boots(&bench, 2);
    bench
}

/// Boots left, of three.
#[track_caller]
fn assert_boots(bench: &Bench, left: u8) {
    let status = bench.status();
    assert_eq!((status.running, status.on_trial), (Slot::B, true));
    assert_eq!((status.boots_left, status.boots_given), (left, 3));
}

fn pass(bench: &Bench, time: Duration) {
    bench.bus.advance(time);
}

/// The old firmware is back, and the next update works.
#[track_caller]
fn assert_rolled_back(bench: &Bench, result: ResultCode) {
    bench.assert_session(SessionState::RolledBack, result);
    bench.assert_factory_runs();
    let status = bench.status();
    assert_eq!((status.floor, status.slots[1], status.boots_given), (FLOOR, SlotState::Invalid, 0));
    let log = bench.last_log();
    assert_eq!((log.state, log.result()), (SessionState::RolledBack, Some(result)));
}

#[test]
fn healthy_firmware_is_confirmed_and_raises_the_floor() {
    let bench = on_trial(HEALTH);
    pass(&bench, 20 * SECOND);
    assert_eq!(bench.status().floor, FLOOR);
    bench.programs.end(Task::Health, Exit::Code(0));
    pass(&bench, SECOND);
    bench.assert_session(SessionState::Done, ResultCode::Ok);
    let status = bench.status();
    assert_eq!(
        (status.floor, status.on_trial, status.boots_left, status.boots_given),
        (FLOOR + 2, false, 0, 0)
    );
    assert_eq!(bench.last_log().boot, 1);
    // Nothing is run any more, now or at the next start.
    pass(&bench, 2 * DEADLINE);
    assert_eq!(bench.programs.counts(), (1, 0));
    let bench = bench.power_cycle(Loss::All);
    pass(&bench, 2 * DEADLINE);
    assert_eq!(bench.programs.counts(), (0, 0));
    bench.assert_session(SessionState::Done, ResultCode::Ok);
}

#[test]
fn a_health_command_that_fails_is_tried_again() {
    let bench = on_trial(HEALTH);
    for exit in [Exit::Code(1), Exit::Signal(11), Exit::NotStarted("no such file".into())] {
        bench.programs.end(Task::Health, exit);
        pass(&bench, RETRY - SECOND);
        assert!(!bench.programs.runs(Task::Health));
        pass(&bench, 2 * SECOND);
        assert!(bench.programs.runs(Task::Health));
        bench.assert_session(SessionState::PendingConfirm, ResultCode::Ok);
    }
    bench.programs.end(Task::Health, Exit::Code(0));
    pass(&bench, SECOND);
    bench.assert_session(SessionState::Done, ResultCode::Ok);
}

#[test]
fn firmware_whose_health_command_hangs_is_given_up_boot_by_boot() {
    let bench = on_trial(HEALTH);
    for left in [1, 0] {
        pass(&bench, DEADLINE - 10 * SECOND);
        assert!(bench.programs.runs(Task::Health));
        pass(&bench, 20 * SECOND);
        // Killed, restarted, run anew.
        bench.assert_session(SessionState::PendingConfirm, ResultCode::Unhealthy);
        assert_boots(&bench, left);
        assert!(bench.programs.runs(Task::Health));
    }
    pass(&bench, DEADLINE);
    assert_rolled_back(&bench, ResultCode::Unhealthy);
    assert_eq!(bench.programs.counts(), (3, 3));
    // The old firmware is on no trial.
    pass(&bench, 2 * DEADLINE);
    assert_eq!(bench.programs.counts(), (3, 3));
    bench.assert_updatable();
}

#[test]
fn firmware_whose_health_command_says_no_is_given_up() {
    let bench = on_trial(HEALTH);
    for _ in 0..200 {
        if bench.programs.runs(Task::Health) {
            bench.programs.end(Task::Health, Exit::Code(1));
        }
        pass(&bench, RETRY);
    }
    assert_rolled_back(&bench, ResultCode::Unhealthy);
    // The result stays until the next session, over any number of restarts.
    let mut bench = bench;
    for _ in 0..5 {
        bench = bench.power_cycle(Loss::All);
        assert_rolled_back(&bench, ResultCode::Unhealthy);
    }
    bench.assert_updatable();
}

#[test]
fn a_staged_slot_that_power_cuts_keep_from_coming_up_is_given_up() {
    let bench = Bench::with(Setting { activate: false, ..HEALTH });
    assert_eq!(bench.update(&package().bytes()), Ok(End::Idle));
    let mut medium = bench.kill();
    for _ in 0..3 {
        medium.power_cycle(Loss::All);
        medium = crate::bench::boot_and_die(medium);
    }
    let bench = Bench::boot(HEALTH, medium);
    assert_rolled_back(&bench, ResultCode::RolledBack);
    assert_eq!(bench.last_log().boot, 3);
    bench.assert_updatable();
}

#[test]
fn the_host_s_restarts_use_up_no_boots_but_not_for_ever() {
    let bench = on_trial(HEALTH);
    for _ in 0..GIVEN_BACK_LIMIT {
        pass(&bench, DEADLINE - 5 * SECOND);
        assert_eq!(bench.ask(Ask::Restart(AskedBy::Host)), Answer::Done);
        pass(&bench, SECOND);
        assert_boots(&bench, 2);
    }
    for left in [1, 0] {
        assert_eq!(bench.ask(Ask::Restart(AskedBy::Host)), Answer::Done);
        pass(&bench, SECOND);
        assert_boots(&bench, left);
    }
    assert_eq!(bench.ask(Ask::Restart(AskedBy::Host)), Answer::Done);
    pass(&bench, SECOND);
    assert_rolled_back(&bench, ResultCode::RolledBack);
}

#[test]
fn a_restart_that_the_bmc_asked_for_counts() {
    let bench = on_trial(HEALTH);
    assert_eq!(bench.ask(Ask::Restart(AskedBy::Bmc)), Answer::Done);
    pass(&bench, SECOND);
    assert_boots(&bench, 1);
    assert_eq!(bench.programs.counts(), (2, 1));
}

#[test]
fn the_deadline_s_verdict_stands_whatever_the_host_asks_for() {
    let bench = on_trial(HEALTH);
    bench.hold(Hold::Everything);
    pass(&bench, DEADLINE);
    assert_eq!(bench.ask(Ask::Restart(AskedBy::Host)), Answer::Busy);
    bench.hold(Hold::Nothing);
    pass(&bench, SECOND);
    assert_boots(&bench, 1);
}

#[test]
fn a_boot_is_given_back_before_the_restart_and_once() {
    let bench = on_trial(HEALTH);
    bench.hold(Hold::Everything);
    assert_eq!(bench.ask_later(Ask::Restart(AskedBy::Host)), None);
    for ask in [Ask::Restart(AskedBy::Host), Ask::Restart(AskedBy::Bmc), Ask::Confirm, Ask::Activate] {
        assert_eq!(bench.ask_later(ask), Some(Answer::Busy));
    }
    assert_boots(&bench, 2);
    bench.hold(Hold::Nothing);
    pass(&bench, SECOND);
    assert_boots(&bench, 2);
}

#[test]
fn a_store_that_takes_nothing_does_not_keep_unhealthy_firmware() {
    let bench = on_trial(HEALTH);
    let mut medium = bench.kill();
    medium.forget_operations();
    // The loader's record comes first.
    medium.fail_at(1, MediumErrorKind::Io);
    let bench = Bench::boot(HEALTH, medium);
    pass(&bench, DEADLINE + SECOND);
    bench.assert_session(SessionState::PendingConfirm, ResultCode::Ok);
    assert_boots(&bench, 0);
    // The same for a boot that cannot be given back: the restart comes, and the boot counts.
    pass(&bench, DEADLINE + SECOND);
    assert_rolled_back(&bench, ResultCode::Unhealthy);
}

#[test]
fn somebody_on_the_bmc_can_confirm_before_the_health_command_does() {
    let bench = on_trial(HEALTH);
    assert_eq!(bench.ask(Ask::Confirm), Answer::Done);
    bench.assert_session(SessionState::Done, ResultCode::Ok);
    assert_eq!(bench.programs.counts(), (1, 1), "it is not left running");
    assert_eq!(bench.ask(Ask::Confirm), Answer::NotNow);
    pass(&bench, 2 * DEADLINE);
    bench.assert_session(SessionState::Done, ResultCode::Ok);
}

#[test]
fn a_restart_is_the_command_s_where_there_is_one() {
    let bench = Bench::with(Setting { health: false, restart: true, ..HEALTH });
    assert_eq!(bench.update(&package().bytes()), Ok(End::Idle));
    let mut host = bench.claim();
    crate::bench::to_idle(&mut host);
    let _ = inband_usb::HostDevice::control_out(
        &mut host,
        crate::bench::detach_setup(),
        Vec::new(),
        crate::host::TIMEOUT,
    );
    drop(host);
    pass(&bench, 10 * SECOND);
    assert!(bench.programs.runs(Task::Restart) && !bench.bus.attached());
    // It fails: the BMC is as it was.
    bench.programs.end(Task::Restart, Exit::Code(1));
    pass(&bench, SECOND);
    bench.assert_session(SessionState::Staged, ResultCode::Ok);
    // It passes, and nothing comes of it.
    assert_eq!(bench.ask(Ask::Activate), Answer::Done);
    bench.programs.end(Task::Restart, Exit::Code(0));
    pass(&bench, 200 * SECOND);
    assert!(!bench.bus.attached());
    pass(&bench, 200 * SECOND);
    bench.assert_session(SessionState::Staged, ResultCode::Ok);
    // The BMC goes down.
    assert_eq!(bench.ask(Ask::Activate), Answer::Done);
    let bench = bench.power_cycle(Loss::All);
    bench.assert_session(SessionState::Done, ResultCode::Ok);
    assert_eq!(bench.status().running, Slot::B);
}

#[test]
fn unhealthy_firmware_is_restarted_until_the_bmc_goes_down() {
    let bench = Bench::with(Setting { activate: false, restart: true, ..HEALTH });
    assert_eq!(bench.update(&package().bytes()), Ok(End::Idle));
    let bench = bench.power_cycle(Loss::All);
    pass(&bench, DEADLINE + SECOND);
    for _ in 0..3 {
        assert!(bench.programs.runs(Task::Restart));
        bench.programs.end(Task::Restart, Exit::NotStarted("no such file".into()));
        pass(&bench, 50 * SECOND);
        assert!(!bench.programs.runs(Task::Restart) && !bench.programs.runs(Task::Health));
        bench.assert_session(SessionState::PendingConfirm, ResultCode::Unhealthy);
        pass(&bench, 20 * SECOND);
    }
    assert!(bench.programs.runs(Task::Restart));
    let bench = bench.power_cycle(Loss::All);
    assert_boots(&bench, 1);
}

#[test]
fn a_restart_that_fails_leaves_the_trial_as_it_was() {
    for by in [AskedBy::Host, AskedBy::Bmc] {
        let setting = Setting { activate: false, restart: true, ..HEALTH };
        let bench = Bench::with(setting);
        assert_eq!(bench.update(&package().bytes()), Ok(End::Idle));
        let bench = bench.power_cycle(Loss::All);
        // Again and again: the deadline does not move.
        for _ in 0..4 {
            pass(&bench, DEADLINE / 5);
            assert_eq!(bench.ask(Ask::Restart(by)), Answer::Done);
            assert!(!bench.programs.runs(Task::Health));
            bench.programs.end(Task::Restart, Exit::Code(1));
            pass(&bench, SECOND);
            assert!(bench.programs.runs(Task::Health));
            bench.assert_session(SessionState::PendingConfirm, ResultCode::Ok);
        }
        pass(&bench, DEADLINE / 5);
        assert!(bench.programs.runs(Task::Restart) && !bench.programs.runs(Task::Health));
        bench.programs.end(Task::Restart, Exit::Code(1));
        pass(&bench, SECOND);
        bench.assert_session(SessionState::PendingConfirm, ResultCode::Unhealthy);
    }
}

#[test]
fn a_restart_that_fails_leaves_firmware_without_a_health_command_to_be_confirmed() {
    let bench = Bench::with(Setting { activate: false, health: false, restart: true, ..HEALTH });
    assert_eq!(bench.update(&package().bytes()), Ok(End::Idle));
    let mut medium = bench.kill();
    medium.power_cycle(Loss::All);
    medium.forget_operations();
    // The loader's record, what the daemon tells of the boot, the confirmation: the last one fails.
    medium.fail_at(2, MediumErrorKind::Io);
    let bench = Bench::boot(Setting { activate: false, health: false, restart: true, ..HEALTH }, medium);
    bench.assert_session(SessionState::PendingConfirm, ResultCode::Ok);
    assert_eq!(bench.ask(Ask::Restart(AskedBy::Bmc)), Answer::Done);
    bench.programs.end(Task::Restart, Exit::Code(1));
    pass(&bench, 2 * SECOND);
    bench.assert_session(SessionState::Done, ResultCode::Ok);
}

#[test]
fn a_confirmation_ends_the_restarts_of_unhealthy_firmware() {
    let bench = Bench::with(Setting { activate: false, restart: true, ..HEALTH });
    assert_eq!(bench.update(&package().bytes()), Ok(End::Idle));
    let bench = bench.power_cycle(Loss::All);
    pass(&bench, DEADLINE + SECOND);
    bench.programs.end(Task::Restart, Exit::Code(1));
    pass(&bench, SECOND);
    assert_eq!(bench.ask(Ask::Confirm), Answer::Done);
    let counts = bench.programs.counts();
    pass(&bench, DEADLINE);
    bench.assert_session(SessionState::Done, ResultCode::Ok);
    assert_eq!(bench.programs.counts(), counts);
}

#[test]
fn two_confirmations_at_once_are_one() {
    let bench = on_trial(HEALTH);
    bench.hold(Hold::Everything);
    bench.programs.end(Task::Health, Exit::Code(0));
    pass(&bench, SECOND);
    assert_eq!(bench.ask_later(Ask::Confirm), None);
    bench.hold(Hold::Nothing);
    assert_eq!(bench.bmc().poll_answer(), Some(Answer::Done));
    pass(&bench, 2 * DEADLINE);
    bench.assert_session(SessionState::Done, ResultCode::Ok);
    assert_eq!(bench.status().log_records, 3);
}
