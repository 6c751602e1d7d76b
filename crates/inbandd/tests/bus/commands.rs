//! Commands of somebody on the BMC, in whatever the host is at.

use std::time::Duration;

use inband_dfu::{
    host::{End, Error},
    wire::{Request, Status},
};
use inband_session::{Door, DoorPolicy, Rates, ResultCode, SessionState};
use inband_usb::HostDevice as _;
use inbandd::command::{Answer, Ask, AskedBy};

use crate::{
    bench::{Bench, Hold, Setting},
    host,
    package::Package,
};

fn package() -> Package {
    Package::new(0x0200, 60_000)
}

#[test]
fn an_armed_door_opens_once() {
    let bench = Bench::with(Setting { policy: DoorPolicy::Armed, ..Setting::default() });
    let knock = || host::detach(&mut bench.claim());
    assert!(matches!(knock(), Err(Error::Refused { request: Request::Detach, .. })));
    assert_eq!(bench.ask(Ask::Arm(Door::Dfu)), Answer::Done);
    assert_eq!(bench.ask(Ask::Disarm(Door::Dfu)), Answer::Done);
    assert!(matches!(knock(), Err(Error::Refused { request: Request::Detach, .. })));
    assert_eq!(bench.ask(Ask::Arm(Door::Dfu)), Answer::Done);
    assert_eq!(bench.update(&package().bytes()), Ok(End::Idle));
    bench.leave_dfu();
    assert!(matches!(knock(), Err(Error::Refused { request: Request::Detach, .. })));
    assert_eq!(bench.ask(Ask::Arm(Door::Volume)), Answer::DoorOff);
}

/// Number and slowest answer of the control requests so far.
fn answers(bench: &Bench) -> (u64, u64) {
    let text = bench.ask(Ask::Status).text();
    let number = |name: &str| {
        let (_, rest) = text.split_once(&format!("\"{name}\":")).unwrap();
        rest.split([',', '}']).next().unwrap().parse().unwrap()
    };
    (number("control_requests"), number("slowest_answer_us"))
}

#[test]
fn control_requests_are_counted_and_the_slowest_is_kept() {
    let bench = Bench::new();
    let (before, _) = answers(&bench);
    for (late, slowest) in [(20, 20_000), (90, 90_000), (5, 90_000)] {
        let mut host = bench.claim();
        host.wait(Duration::from_secs(1));
        bench.be_late(Duration::from_millis(late));
        assert!(host::status(&mut host).is_ok());
        assert_eq!(answers(&bench).1, slowest);
    }
    assert_eq!(answers(&bench).0, before + 3, "standard requests are not ours");
}

/// An update in whose middle, at half of its bytes, this is asked for.
fn asked_in_the_middle(bench: &Bench, ask: Ask) -> (Result<End, Error>, Answer) {
    let file = package().bytes();
    let mut host = bench.enter_dfu();
    let mut answer = None;
    let end = host::download(&mut host, &file, |_, sent| {
        if sent >= file.len() as u64 / 2 && answer.is_none() {
            answer = Some(bench.bmc().ask(bench.bus.now(), ask).unwrap());
        }
    });
    (end, answer.unwrap().unwrap_or(Answer::Done))
}

#[test]
fn abort_preempts_a_session() {
    let bench = Bench::new();
    assert_eq!(bench.ask(Ask::Abort), Answer::NotNow);
    let (end, answer) = asked_in_the_middle(&bench, Ask::Abort);
    assert_eq!(answer, Answer::Done);
    assert!(matches!(end, Err(Error::Refused { status: Some(Status::ErrVendor), .. })), "{end:?}");
    bench.assert_session(SessionState::Aborted, ResultCode::Aborted);
    bench.assert_factory_runs();
    assert_eq!(bench.ask(Ask::Abort), Answer::NotNow);
    bench.assert_updatable();
}

#[test]
fn a_host_without_a_budget_is_preempted_all_the_same() {
    // The session is the last one of the day.
    let bench = Bench::with(Setting { rates: Rates { sessions: 1, rewrites: 1 }, ..Setting::default() });
    let (end, answer) = asked_in_the_middle(&bench, Ask::Abort);
    assert_eq!(answer, Answer::Done);
    assert!(matches!(end, Err(Error::Refused { status: Some(Status::ErrVendor), .. })), "{end:?}");
    bench.assert_session(SessionState::Aborted, ResultCode::Aborted);
    assert!(bench.status().wait_minutes > 0);
    assert_eq!(bench.ask(Ask::Restart(AskedBy::Bmc)), Answer::Done);
}

#[test]
fn arming_a_door_ends_a_lock_out() {
    let bench = Bench::with(Setting { refusals: 1, ..Setting::default() });
    let mut forged = package().bytes();
    forged[1536] ^= 1;
    bench.update(&forged).unwrap_err();
    bench.leave_dfu();
    assert!(bench.status().locked_out);
    assert!(matches!(host::detach(&mut bench.claim()), Err(Error::Refused { .. })));
    assert_eq!(bench.ask(Ask::Arm(Door::Dfu)), Answer::Done);
    assert!(!bench.status().locked_out);
    bench.assert_updatable();
}

#[test]
fn arming_a_door_grants_a_session_to_a_bmc_whose_budgets_a_host_has_used_up() {
    let setting = Setting { rates: Rates { sessions: 2, rewrites: 1 }, ..Setting::default() };
    let bench = Bench::with(setting);
    bench.update(&package().bytes()).unwrap();
    bench.leave_dfu();
    assert!(bench.status().wait_minutes > 0);
    assert_eq!(bench.ask(Ask::Arm(Door::Dfu)), Answer::Done);
    assert_eq!(bench.status().wait_minutes, 0);
    // It is one, and a restart neither takes nor doubles it.
    let bench = bench.power_cycle(inband_store::memory::Loss::All);
    bench.bus.advance(std::time::Duration::from_secs(1));
    let other = Package::new(0x0300, 50_000).bytes();
    assert_eq!(bench.update(&other), Ok(End::Idle));
    bench.leave_dfu();
    assert!(bench.status().wait_minutes > 0);
}

#[test]
fn what_goes_on_is_no_time_to_activate_or_confirm() {
    for ask in [Ask::Activate, Ask::Confirm] {
        let bench = Bench::new();
        assert_eq!(bench.ask(ask), Answer::NotNow);
        let (end, answer) = asked_in_the_middle(&bench, ask);
        assert_eq!(end, Ok(End::Idle));
        assert_eq!(answer, if ask == Ask::Activate { Answer::Busy } else { Answer::NotNow });
        bench.assert_session(SessionState::Staged, ResultCode::Ok);
    }
}

#[test]
fn from_the_handover_on_nothing_preempts() {
    let bench = Bench::new();
    bench.hold(Hold::Finish);
    let file = package().bytes();
    let mut host = bench.enter_dfu();
    for (number, data) in (0..).zip(file.chunks(4096)) {
        crate::bench::dnload(&mut host, number, data).unwrap();
        if number as usize + 1 < file.len().div_ceil(4096) {
            while crate::bench::get_status(&mut host).unwrap().0 != inband_dfu::wire::State::DfuDnloadIdle {
                host.wait(std::time::Duration::from_millis(5));
            }
        }
    }
    assert!(bench.bus.run_until(std::time::Duration::from_secs(5), || {
        bench.bmc().session().state() == SessionState::Verifying
    }));
    for ask in [Ask::Abort, Ask::Activate, Ask::Restart(AskedBy::Bmc), Ask::Restart(AskedBy::Host)] {
        assert_eq!(bench.ask(ask), Answer::Busy, "{ask:?}");
    }
    bench.hold(Hold::Nothing);
    bench.assert_session(SessionState::Staged, ResultCode::Ok);
}

#[test]
fn a_restart_preempts_a_session_and_the_bmc_comes_back() {
    for by in [AskedBy::Host, AskedBy::Bmc] {
        let bench = Bench::new();
        let (end, answer) = asked_in_the_middle(&bench, Ask::Restart(by));
        assert!(end.is_err());
        assert_eq!(answer, Answer::Done);
        assert!(!bench.in_dfu_mode());
        bench.assert_session(SessionState::Aborted, ResultCode::Aborted);
        bench.assert_factory_runs();
        bench.assert_updatable();
        // And into what is staged.
        assert_eq!(bench.ask(Ask::Restart(by)), Answer::Done);
        bench.wait_attached();
        bench.assert_session(SessionState::Done, ResultCode::Ok);
    }
}

#[test]
fn the_status_tells_what_the_pages_tell() {
    let bench = Bench::new();
    bench.assert_updatable();
    let text = bench.ask(Ask::Status).text();
    let (json, people) = text.split_once('\n').unwrap();
    for field in [
        r#"{"exit":0,"answer":"status","machine":"test-board","state":"staged","result":"ok","result_code":1"#,
        r#","running":"a","boots_next":"b","on_trial":false,"boots_left":3,"boots_given":3"#,
        r#","slot_b":"staged","version_b":"v200""#,
        r#""door_dfu":"open","door_bulk":"shut""#,
    ] {
        assert!(json.contains(field), "{field}: {json}");
    }
    assert!(
        people.contains("slot a runs factory; staged, ok") && people.contains("slot b: staged v200"),
        "{people}"
    );
}
