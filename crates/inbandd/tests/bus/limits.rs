//! Budgets against wear, and the lock-out, as a host meets them.

use std::time::Duration;

use inband_dfu::{
    host::{End, Error},
    wire::{State, Status},
};
use inband_session::{Rates, ResultCode, SessionState};
use inband_store::{medium::MediumErrorKind, memory::Loss, record::Place};
use inband_usb::{HostDevice as _, HostError};

use crate::{
    bench::{Bench, Hold, Setting, block, detach_setup, dnload, get_status, new_store, to_idle},
    host::TIMEOUT,
    package::Package,
};

const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(60 * 60);

/// As configured unless said otherwise.
fn usual() -> Setting {
    Setting { rates: Rates::default(), refusals: 10, ..Setting::default() }
}

fn good() -> Vec<u8> {
    Package::new(0x0200, 20_000).bytes()
}

fn bad() -> Vec<u8> {
    let mut file = good();
    // In the signature.
    file[1536] ^= 1;
    file
}

/// Sends a bad package and takes note of its refusal.
fn send_bad(bench: &Bench) {
    assert!(matches!(bench.update(&bad()), Err(Error::Refused { status: Some(Status::ErrVerify), .. })));
    bench.assert_session(SessionState::Failed, ResultCode::BadSignature);
    to_idle(&mut bench.claim());
}

/// In DFU mode, the first block is refused.
fn assert_refused_in_dfu_mode(bench: &Bench) {
    let mut host = bench.claim();
    assert_eq!(dnload(&mut host, 0, &good()[..4096]), Err(HostError::Stall));
    assert_eq!(get_status(&mut host), Ok((State::DfuError, Status::ErrVendor)));
    to_idle(&mut host);
}

#[test]
fn behind_ten_bad_packages_the_host_has_to_wait_for_ten_minutes() {
    let bench = Bench::with(usual());
    for _ in 0..10 {
        assert!(!bench.status().locked_out);
        send_bad(&bench);
    }
    let status = bench.status();
    assert_eq!((status.locked_out, status.wait_minutes, status.session), (true, 10, 10));
    // The eleventh is no session any more, bad or good.
    for _ in 0..20 {
        assert_refused_in_dfu_mode(&bench);
    }
    bench.leave_dfu();
    let mut host = bench.claim();
    for _ in 0..20 {
        assert_eq!(host.control_out(detach_setup(), Vec::new(), TIMEOUT), Err(HostError::Stall));
    }
    drop(host);
    // What the host can learn is still there.
    bench.assert_session(SessionState::Failed, ResultCode::BadSignature);
    assert_eq!((bench.status().session, bench.last_log().session), (10, 10));

    bench.bus.advance(9 * MINUTE);
    let status = bench.status();
    assert!(status.locked_out && status.wait_minutes == 1, "{} minutes", status.wait_minutes);
    let mut host = bench.claim();
    assert_eq!(host.control_out(detach_setup(), Vec::new(), TIMEOUT), Err(HostError::Stall));
    drop(host);
    bench.bus.advance(MINUTE);
    assert_eq!(bench.status().wait_minutes, 0);
    assert_eq!(bench.update(&good()), Ok(End::Idle));
    bench.assert_session(SessionState::Staged, ResultCode::Ok);
    bench.assert_factory_runs();
}

#[test]
fn a_host_that_resets_the_bus_before_the_verdict_is_locked_out_like_any_other() {
    let bench = Bench::with(usual());
    drop(bench.enter_dfu());
    for number in 1..=10 {
        assert!(!bench.status().locked_out);
        let mut host = bench.claim();
        // The worker has the forged signature to check, and the host does not wait for what comes of it.
        bench.hold(Hold::Everything);
        dnload(&mut host, 0, &bad()[..4096]).unwrap();
        bench.bus.reset();
        drop(host);
        bench.assert_session(SessionState::Failed, ResultCode::Disconnected);
        bench.hold(Hold::Nothing);
        assert_eq!(bench.status().session, number);
    }
    let status = bench.status();
    assert_eq!((status.locked_out, status.wait_minutes), (true, 10));
    assert_refused_in_dfu_mode(&bench);
}

#[test]
fn a_good_package_in_between_ends_the_row() {
    let bench = Bench::with(usual());
    for _ in 0..2 {
        for _ in 0..9 {
            send_bad(&bench);
        }
        assert_eq!(bench.update(&good()), Ok(End::Idle));
    }
    assert!(!bench.status().locked_out);
}

/// Sessions with an authentic package, each ended behind its first blocks, until the BMC has enough of them.
fn wear(bench: &Bench) -> u32 {
    let file = good();
    if !bench.in_dfu_mode() {
        drop(bench.enter_dfu());
    }
    let mut host = bench.claim();
    for times in 0..100 {
        for (number, data) in (0..).zip(file.chunks(4096).take(3)) {
            match block(&mut host, number, data) {
                Ok((State::DfuDnloadIdle, Status::Ok)) => {}
                Err(HostError::Stall) if number == 0 => {
                    assert_eq!(get_status(&mut host), Ok((State::DfuError, Status::ErrVendor)));
                    to_idle(&mut host);
                    return times;
                }
                other => panic!("{times}: {other:?}"),
            }
        }
        to_idle(&mut host);
    }
    panic!("there is no end");
}

#[test]
fn a_day_s_rewrites_are_used_up_over_restarts_and_power_cuts() {
    let mut bench = Bench::with(usual());
    assert_eq!(wear(&bench), 24);
    let status = bench.status();
    assert_eq!((status.locked_out, status.wait_minutes), (false, 60));
    assert_eq!((status.state, status.session), (SessionState::Aborted, 24));
    for loss in Loss::ALL {
        bench = bench.power_cycle(loss);
        assert_eq!(wear(&bench), 0, "{loss:?}");
        bench = Bench::daemon(usual(), bench.kill());
        assert_eq!(wear(&bench), 0);
    }
    // Uptime alone brings the next one.
    bench.bus.advance(HOUR);
    assert_eq!(bench.status().wait_minutes, 0);
    assert_eq!(bench.update(&good()), Ok(End::Idle));
    bench.assert_session(SessionState::Staged, ResultCode::Ok);
}

#[test]
fn bad_packages_use_up_sessions_and_leave_the_log_of_what_ran_here() {
    let rates = Rates { sessions: 40, ..Rates::default() };
    let bench = Bench::with(Setting { rates, refusals: 0, ..usual() });
    assert_eq!(bench.update(&good()), Ok(End::Idle));
    for _ in 1..40 {
        send_bad(&bench);
    }
    assert_refused_in_dfu_mode(&bench);
    let status = bench.status();
    assert_eq!((status.session, status.wait_minutes), (40, 36), "one of 40 a day");
    let medium = bench.medium();
    let operations = medium.operations().len();
    bench.bus.advance(MINUTE / 6);
    assert_refused_in_dfu_mode(&bench);
    assert_eq!(bench.medium().operations().len(), operations, "nothing is written for who has to wait");
    let log = &bench.bmc().session().store().record.log.clone();
    assert_eq!(log.len(), 16);
    assert_eq!((log[0].id, log[0].result), (1, ResultCode::Ok.code()));
}

#[test]
fn while_a_budget_fills_it_is_written_down_once_an_hour_and_then_no_more() {
    let bench = Bench::with(usual());
    let operations = |bench: &Bench| bench.medium().operations().len();
    bench.bus.advance(100 * HOUR);
    let idle = operations(&bench);
    bench.bus.advance(1000 * HOUR);
    assert_eq!(operations(&bench), idle, "without a session nothing is written");

    wear(&bench);
    let worn = operations(&bench);
    for hour in 1..=24 {
        bench.bus.advance(HOUR);
        assert!(operations(&bench) - worn <= hour, "{hour} hours");
    }
    bench.bus.advance(2 * HOUR);
    let full = operations(&bench);
    assert!((24..=26).contains(&(full - worn)), "{}", full - worn);
    bench.bus.advance(100 * HOUR);
    assert_eq!(operations(&bench), full);

    // So a restart costs no more than an hour of waiting.
    wear(&bench);
    bench.bus.advance(10 * HOUR + MINUTE);
    let bench = Bench::daemon(usual(), bench.kill());
    assert!((9..=10).contains(&wear(&bench)));
}

#[test]
fn a_lost_journal_costs_nothing_but_time() {
    let mut medium = new_store();
    for area in Place::ALL {
        medium.set_journal(area, vec![0xff; 10_000]);
    }
    let bench = Bench::boot(usual(), medium);
    assert_eq!(bench.update(&good()), Ok(End::Idle));
    assert_eq!(bench.status().wait_minutes, 60);
    bench.bus.advance(HOUR);
    assert_eq!(bench.update(&good()), Ok(End::Idle));
}

#[test]
fn a_journal_that_cannot_be_written_refuses_the_session_before_anything_changes() {
    let mut medium = new_store();
    medium.forget_operations();
    medium.fail_at(0, MediumErrorKind::Io);
    let bench = Bench::boot(usual(), medium);
    let before = bench.medium();
    assert!(matches!(bench.update(&good()), Err(Error::Refused { status: Some(Status::ErrWrite), .. })));
    assert_eq!(bench.medium().operations().len(), before.operations().len() + 1);
    to_idle(&mut bench.claim());
    assert_eq!(bench.update(&good()), Ok(End::Idle));
}
