use alloc::string::{String, ToString};
use alloc::vec;
use alloc::vec::Vec;

use inband_store::{Levels, SessionRecord, SlotRecord};

use super::*;
use crate::audit::HostAct;
use crate::budget::Rates;

const SECOND: Duration = Duration::from_secs(1);
const NOW: Duration = Duration::from_secs(1000);

fn view() -> StoreView {
    let good = SlotRecord {
        state: SlotState::Good,
        bcd_device: 0x0100,
        security_version: 3,
        version: Text::cut("1.0"),
        ..SlotRecord::EMPTY
    };
    let record = Record {
        sequence: 1,
        choice: Slot::A,
        boots_left: 0,
        booted: Slot::A,
        floor: 2,
        last_id: 4,
        slots: [good, SlotRecord::EMPTY],
        session: SessionRecord::NONE,
        log: Vec::new(),
        start: None,
    };
    StoreView { record, running: Slot::A, budget: budget(Levels::FULL) }
}

fn budget(levels: Levels) -> Budget {
    Budget::new(Rates::default(), Some(levels), Duration::ZERO)
}

fn config(dfu: DoorPolicy) -> Config {
    let doors = [dfu, DoorPolicy::Always, DoorPolicy::Off, DoorPolicy::Off];
    Config { machine: Text::cut("board"), doors, limits: Limits::default(), takes_ahead: false }
}

fn session() -> Session {
    let mut session = Session::new(config(DoorPolicy::Always), view());
    session.knock(Door::Dfu, NOW).unwrap();
    session.knock(Door::Bulk, NOW).unwrap();
    drain(&mut session);
    session
}

#[test]
fn the_host_is_told_whether_a_block_may_come_ahead() {
    for takes_ahead in [false, true] {
        let session = Session::new(Config { takes_ahead, ..config(DoorPolicy::Always) }, view());
        assert_eq!(session.status(NOW).takes_ahead, takes_ahead);
    }
}

/// A session that receives, with id 5, begun at [`NOW`].
fn receiving() -> Session {
    let mut session = session();
    assert_eq!(session.first_byte(Door::Dfu, NOW), Ok(5));
    drain(&mut session);
    session
}

fn progress(session: u32, announced: u64) -> Progress {
    Progress {
        session,
        received: 0,
        announced: Some(announced),
        accepted: None,
        complete: false,
        whole: false,
    }
}

fn drain(session: &mut Session) -> Vec<String> {
    core::iter::from_fn(|| session.poll_audit()).map(|line| line.to_string()).collect()
}

#[test]
fn a_whole_session() {
    let mut session = session();
    assert_eq!(session.state(), SessionState::Idle);
    assert_eq!(session.first_byte(Door::Dfu, NOW), Ok(5));
    session.progress(4096, NOW);
    let identity = Identity { head: [0xab; 16], version: Text::cut("2.0") };
    for _ in 0..3 {
        session.report(&Progress { accepted: Some(identity), ..progress(5, 8192) });
    }
    session.progress(4096, NOW);
    assert_eq!(session.handover(5), Ok(()));
    assert_eq!(session.state(), SessionState::Verifying);
    assert_eq!(session.verdict(5, Ok(()), NOW), Ok(()));
    assert_eq!((session.state(), session.result()), (SessionState::Staged, ResultCode::Ok));
    assert_eq!(session.activate(), Ok(()));
    assert_eq!(session.state(), SessionState::Activating);
    assert_eq!(
        drain(&mut session),
        [
            "event=session-began session=5 door=dfu slot=b",
            "event=session-state session=5 state=receiving result=none received=0",
            "event=package-accepted session=5 head=abababababababababababababababab version=2.0 bytes=8192",
            "event=session-state session=5 state=handover result=none received=8192",
            "event=session-state session=5 state=verifying result=none received=8192",
            "event=session-state session=5 state=staged result=ok received=8192",
            "event=session-state session=5 state=activating result=ok received=8192",
        ]
    );
    let status = session.status(NOW);
    assert_eq!((status.session, status.received, status.announced), (5, 8192, 8192));
    assert_eq!((status.door, status.head), (Some(Door::Dfu), [0xab; 16]));
}

#[test]
fn an_id_is_told_once_the_store_has_it() {
    let mut session = receiving();
    assert_eq!((session.status(NOW).session, session.status(NOW).state), (0, SessionState::Receiving));
    // What the store says of the session before tells nothing of this one.
    session.update(view());
    assert_eq!(session.status(NOW).session, 0);
    let mut store = view();
    store.record.last_id = 5;
    store.record.session = SessionRecord { id: 5, ..SessionRecord::NONE };
    session.update(store.clone());
    assert_eq!(session.status(NOW).session, 5);
    // The next one, whose end comes before its record; and one that no record takes.
    assert!(session.host_ended(HostEnd::Aborted));
    assert_eq!(session.first_byte(Door::Dfu, NOW), Ok(6));
    session.update(store);
    assert!(session.host_ended(HostEnd::Aborted));
    assert_eq!((session.status(NOW).session, session.status(NOW).state), (0, SessionState::Aborted));
    assert_eq!(session.first_byte(Door::Dfu, NOW), Ok(7));
    session.verdict(7, Err(ResultCode::Sequence), NOW).unwrap();
    assert_eq!((session.status(NOW).session, session.status(NOW).state), (0, SessionState::Failed));
    assert_eq!(session.first_byte(Door::Dfu, NOW), Ok(8));
    session.verdict(8, Err(ResultCode::StoreFailed), NOW).unwrap();
    assert_eq!(session.status(NOW).session, 8);
}

#[test]
fn a_shut_door_is_opened_by_nobody_but_an_arm_and_a_knock() {
    let mut session = Session::new(config(DoorPolicy::Armed), view());
    assert_eq!(session.door(Door::Dfu), DoorState::Shut);
    assert_eq!(session.knock(Door::Dfu, NOW), Err(ResultCode::DoorShut));
    assert_eq!(session.first_byte(Door::Dfu, NOW), Err(ResultCode::DoorShut));
    assert_eq!(session.arm(Door::Dfu, None), Ok(()));
    assert_eq!(session.door(Door::Dfu), DoorState::Armed);
    assert_eq!(session.first_byte(Door::Dfu, NOW), Err(ResultCode::DoorShut), "armed is not open");
    assert_eq!(session.knock(Door::Dfu, NOW), Ok(()));
    assert_eq!(session.door(Door::Dfu), DoorState::Open);
    assert_eq!(session.first_byte(Door::Dfu, NOW), Ok(5));
    // Armed for one time.
    session.leave(Door::Dfu);
    assert_eq!(session.knock(Door::Dfu, NOW), Err(ResultCode::DoorShut));
}

#[test]
fn arming_can_be_taken_back_until_the_host_knocks() {
    let mut session = Session::new(config(DoorPolicy::Armed), view());
    session.arm(Door::Dfu, None).unwrap();
    session.disarm(Door::Dfu, By::Bmc);
    assert_eq!(session.door(Door::Dfu), DoorState::Shut);
    session.arm(Door::Dfu, None).unwrap();
    session.knock(Door::Dfu, NOW).unwrap();
    session.disarm(Door::Dfu, By::Bmc);
    assert_eq!(session.door(Door::Dfu), DoorState::Open);
}

#[test]
fn a_door_with_policy_always_is_never_shut() {
    let mut session = Session::new(config(DoorPolicy::Always), view());
    assert_eq!(session.door(Door::Dfu), DoorState::Armed);
    session.disarm(Door::Dfu, By::Bmc);
    assert_eq!(session.door(Door::Dfu), DoorState::Armed);
    session.knock(Door::Dfu, NOW).unwrap();
    session.leave(Door::Dfu);
    assert_eq!(session.door(Door::Dfu), DoorState::Armed);
}

#[test]
fn a_door_that_is_withdrawn_is_shut_until_it_is_reinstated_or_armed() {
    for (policy, at_rest) in [(DoorPolicy::Always, DoorState::Armed), (DoorPolicy::Armed, DoorState::Shut)] {
        let mut session = Session::new(config(policy), view());
        session.arm(Door::Dfu, None).unwrap();
        session.knock(Door::Dfu, NOW).unwrap();
        session.withdraw(Door::Dfu);
        assert_eq!(session.knock(Door::Dfu, NOW), Err(ResultCode::DoorShut));
        session.leave(Door::Dfu);
        assert_eq!(session.door(Door::Dfu), DoorState::Shut, "nobody is in there who could leave");
        session.reinstate(Door::Dfu);
        assert_eq!(session.door(Door::Dfu), at_rest);
        session.withdraw(Door::Dfu);
        session.arm(Door::Dfu, None).unwrap();
        assert_eq!(session.knock(Door::Dfu, NOW), Ok(()));
        session.reinstate(Door::Dfu);
        assert_eq!(session.door(Door::Dfu), DoorState::Open, "one that is not shut stays as it is");
    }
}

#[test]
fn a_door_that_is_off_cannot_be_armed() {
    let mut session = Session::new(config(DoorPolicy::Off), view());
    assert_eq!(session.arm(Door::Dfu, None), Err(ResultCode::DoorShut));
    assert_eq!(session.knock(Door::Dfu, NOW), Err(ResultCode::DoorShut));
    assert_eq!(session.door(Door::Dfu), DoorState::Shut);
}

#[test]
fn one_session_at_a_time() {
    let mut session = receiving();
    assert_eq!(session.first_byte(Door::Bulk, NOW), Err(ResultCode::Busy));
    assert_eq!(session.first_byte(Door::Dfu, NOW), Err(ResultCode::Busy));
    assert_eq!(session.owner(), Some(Door::Dfu));
    session.leave(Door::Bulk);
    assert_eq!(session.knock(Door::Bulk, NOW), Err(ResultCode::Busy));
    session.handover(5).unwrap();
    assert_eq!(session.first_byte(Door::Bulk, NOW), Err(ResultCode::DoorShut));
    assert_eq!(session.first_byte(Door::Dfu, NOW), Err(ResultCode::Busy));
    session.verdict(5, Ok(()), NOW).unwrap();
    session.activate().unwrap();
    assert_eq!(session.first_byte(Door::Dfu, NOW), Err(ResultCode::Busy));
    assert_eq!(session.knock(Door::Bulk, NOW), Err(ResultCode::Busy));
    assert_eq!(session.id(), 5);
}

#[test]
fn on_trial_no_session_begins() {
    let mut store = view();
    store.record.slot_mut(Slot::A).state = SlotState::Trial;
    // Whatever the last session is said to be.
    for state in [SessionState::PendingConfirm, SessionState::Failed, SessionState::Idle] {
        store.record.session.state = state.number();
        let mut session = Session::new(config(DoorPolicy::Always), store.clone());
        session.knock(Door::Dfu, NOW).unwrap();
        assert_eq!(session.first_byte(Door::Dfu, NOW), Err(ResultCode::OnTrial));
        assert_eq!(session.state(), state);
        assert!(session.status(NOW).on_trial);
    }
}

#[test]
fn the_host_can_end_a_session_only_while_it_receives() {
    let mut session = receiving();
    assert!(session.host_ended(HostEnd::Aborted));
    assert_eq!((session.state(), session.result()), (SessionState::Aborted, ResultCode::Aborted));
    assert!(!session.host_ended(HostEnd::Disconnected), "it is over already");
    assert_eq!(session.result(), ResultCode::Aborted);

    let mut session = receiving();
    assert!(session.host_ended(HostEnd::Disconnected));
    assert_eq!((session.state(), session.result()), (SessionState::Failed, ResultCode::Disconnected));

    let mut session = receiving();
    session.handover(5).unwrap();
    assert!(!session.host_ended(HostEnd::Aborted));
    assert!(!session.host_ended(HostEnd::Disconnected));
    assert_eq!(session.state(), SessionState::Verifying);
    assert_eq!(session.verdict(5, Ok(()), NOW), Ok(()));
}

#[test]
fn an_ended_session_takes_neither_handover_nor_verdict() {
    let mut session = receiving();
    session.host_ended(HostEnd::Aborted);
    assert_eq!(session.handover(5), Err(Refusal::NotNow));
    assert_eq!(session.verdict(5, Ok(()), NOW), Err(Refusal::NotNow));
    assert_eq!(session.verdict(5, Err(ResultCode::BadChunk), NOW), Err(Refusal::NotNow));
    assert_eq!((session.state(), session.result()), (SessionState::Aborted, ResultCode::Aborted));
}

#[test]
fn how_far_a_session_is() {
    let mut session = receiving();
    assert_eq!(session.percent(), None, "the length is not known");
    session.progress(4096, NOW);
    session.report(&progress(5, 8192));
    assert_eq!(session.percent(), Some(50));
    // A DFU suffix is not among the bytes that were announced.
    session.progress(4096 + 16, NOW);
    assert_eq!(session.percent(), Some(100));
    session.handover(5).unwrap();
    assert_eq!(session.percent(), Some(0), "what is read back is another thing");
    session.read_back(5, 40);
    session.read_back(4, 90);
    assert_eq!(session.percent(), Some(40), "what is said of another session does not count");
    session.verdict(5, Ok(()), NOW).unwrap();
    assert_eq!(session.percent(), None);
    session.first_byte(Door::Dfu, NOW).unwrap();
    session.report(&progress(6, 8192));
    session.handover(6).unwrap();
    assert_eq!(session.percent(), Some(0));
}

#[test]
fn what_a_worker_says_of_an_ended_session_does_not_touch_the_next() {
    let mut session = receiving();
    session.host_ended(HostEnd::Aborted);
    assert_eq!(session.first_byte(Door::Dfu, NOW), Ok(6));
    let identity = Identity { head: [1; 16], version: Text::cut("2.0") };
    session.report(&Progress { accepted: Some(identity), ..progress(5, 1000) });
    assert_eq!(session.handover(5), Err(Refusal::NotNow));
    assert_eq!(session.verdict(5, Err(ResultCode::BadChunk), NOW), Err(Refusal::NotNow));
    let status = session.status(NOW);
    assert_eq!((status.state, status.announced, status.head), (SessionState::Receiving, 0, [0; 16]));
    assert_eq!(session.handover(6), Ok(()));
    assert_eq!(session.verdict(5, Ok(()), NOW), Err(Refusal::NotNow));
    assert_eq!(session.verdict(6, Ok(()), NOW), Ok(()));
}

#[test]
fn a_failed_check_ends_the_session_and_the_next_begins_anew() {
    let mut session = receiving();
    session.progress(70_000, NOW);
    session.report(&progress(5, 90_000));
    assert_eq!(session.verdict(5, Err(ResultCode::BadChunk), NOW), Ok(()));
    assert_eq!((session.state(), session.result()), (SessionState::Failed, ResultCode::BadChunk));
    assert_eq!(session.poll_timeout(), None);
    assert_eq!(session.first_byte(Door::Bulk, NOW), Ok(6));
    let status = session.status(NOW);
    assert_eq!((status.result(), status.received, status.announced), (Some(ResultCode::None), 0, 0));
    assert_eq!(status.door, Some(Door::Bulk));
}

#[test]
fn without_progress_the_session_ends() {
    let mut session = receiving();
    assert_eq!(session.poll_timeout(), Some(NOW + 60 * SECOND));
    // A byte short of what counts.
    session.progress(65_535, NOW + 59 * SECOND);
    assert_eq!(session.poll_timeout(), Some(NOW + 60 * SECOND));
    session.progress(1, NOW + 59 * SECOND);
    assert_eq!(session.poll_timeout(), Some(NOW + 119 * SECOND));
    // What came too much does not count for the next minute.
    session.progress(100_000, NOW + 60 * SECOND);
    assert_eq!(session.poll_timeout(), Some(NOW + 120 * SECOND));
    session.progress(65_535, NOW + 61 * SECOND);
    assert!(!session.handle_timeout(NOW + 120 * SECOND - Duration::from_nanos(1)));
    assert_eq!(session.state(), SessionState::Receiving);
    assert!(session.handle_timeout(NOW + 120 * SECOND));
    assert_eq!((session.state(), session.result()), (SessionState::Failed, ResultCode::Timeout));
    assert_eq!(session.poll_timeout(), None);
    assert!(!session.handle_timeout(NOW + 500 * SECOND));
}

#[test]
fn with_all_progress_there_is_still_an_end() {
    let mut session = receiving();
    for second in 0..3600 {
        session.progress(65_536, NOW + second * SECOND);
        assert!(!session.handle_timeout(NOW + second * SECOND), "after {second} s");
    }
    assert_eq!(session.poll_timeout(), Some(NOW + 3600 * SECOND));
    assert!(session.handle_timeout(NOW + 3600 * SECOND));
    assert_eq!(session.result(), ResultCode::Timeout);
}

#[test]
fn while_the_host_waits_for_the_bmc_only_the_whole_time_runs() {
    let mut session = receiving();
    session.progress(1000, NOW + 30 * SECOND);
    session.host_waits(true, NOW + 30 * SECOND);
    assert_eq!(session.poll_timeout(), Some(NOW + 3600 * SECOND));
    // What was on its way.
    session.progress(100_000, NOW + 31 * SECOND);
    session.host_waits(true, NOW + 32 * SECOND);
    assert!(!session.handle_timeout(NOW + 500 * SECOND));
    // All of the minute, and all of the bytes, from then on.
    session.host_waits(false, NOW + 600 * SECOND);
    session.host_waits(false, NOW + 630 * SECOND);
    session.progress(65_535, NOW + 640 * SECOND);
    assert_eq!(session.poll_timeout(), Some(NOW + 660 * SECOND));
    assert!(session.handle_timeout(NOW + 660 * SECOND));
    assert_eq!(session.result(), ResultCode::Timeout);
    session.host_waits(false, NOW + 700 * SECOND);
    assert_eq!(session.poll_timeout(), None, "it is over");
}

#[test]
fn no_time_runs_once_the_bytes_are_the_bmc_s() {
    let mut session = receiving();
    session.handover(5).unwrap();
    assert_eq!(session.poll_timeout(), None);
    assert!(!session.handle_timeout(Duration::MAX));
    assert_eq!(session.state(), SessionState::Verifying);
}

#[test]
fn times_at_the_end_of_the_clock_do_not_overflow() {
    let mut session = session();
    session.first_byte(Door::Dfu, Duration::MAX).unwrap();
    session.progress(u64::MAX, Duration::MAX);
    session.progress(u64::MAX, Duration::MAX);
    assert_eq!(session.status(NOW).received, u32::MAX);
    assert!(session.handle_timeout(Duration::MAX));
}

#[test]
fn nothing_else_than_a_staged_session_is_activated() {
    let mut session = receiving();
    assert_eq!(session.activate(), Err(Refusal::NotNow));
    session.verdict(5, Err(ResultCode::BadHead), NOW).unwrap();
    assert_eq!(session.activate(), Err(Refusal::NotNow));
    assert_eq!(session.confirmed(), Err(Refusal::NotNow));
}

#[test]
fn a_restart_shows_what_the_store_says() {
    let mut session = receiving();
    session.handover(5).unwrap();
    session.verdict(5, Ok(()), NOW).unwrap();
    session.activate().unwrap();
    let mut store = view();
    store.running = Slot::B;
    store.record.choice = Slot::B;
    *store.record.slot_mut(Slot::B) = SlotRecord { state: SlotState::Trial, ..*store.record.slot(Slot::A) };
    store.record.last_id = 5;
    store.record.session = SessionRecord {
        id: 5,
        state: SessionState::PendingConfirm.number(),
        result: ResultCode::Ok.code(),
        door: Door::Dfu.number(),
        target: Slot::B,
        boot: 1,
        head: [3; 16],
        version: Text::cut("2.0"),
    };
    session.restarted(store.clone());
    assert_eq!((session.state(), session.id()), (SessionState::PendingConfirm, 5));
    assert_eq!(session.door(Door::Dfu), DoorState::Armed, "nobody is in any more");
    let status = session.status(NOW);
    assert!(status.on_trial && !status.other_boots_next);
    assert_eq!((status.running, status.head), (Slot::B, [3; 16]));
    assert_eq!(session.confirmed(), Ok(()));
    store.record.slot_mut(Slot::B).state = SlotState::Good;
    session.update(store);
    assert_eq!((session.state(), session.status(NOW).on_trial), (SessionState::Done, false));
    session.knock(Door::Dfu, NOW).unwrap();
    assert_eq!(session.first_byte(Door::Dfu, NOW), Ok(6));
}

#[test]
fn session_ids_are_never_0() {
    let mut store = view();
    store.record.last_id = u32::MAX;
    let mut session = Session::new(config(DoorPolicy::Always), store);
    session.knock(Door::Dfu, NOW).unwrap();
    assert_eq!(session.first_byte(Door::Dfu, NOW), Ok(1));
}

const MINUTE: Duration = Duration::from_secs(60);

/// Begins a session, which the worker then ends with this result.
fn ended(session: &mut Session, result: Result<(), ResultCode>, now: Duration) {
    let id = session.first_byte(Door::Dfu, now).unwrap();
    if result.is_ok() {
        session.handover(id).unwrap();
    }
    session.verdict(id, result, now).unwrap();
}

const BAD: Result<(), ResultCode> = Err(ResultCode::BadSignature);

#[test]
fn ten_refused_packages_in_a_row_lock_the_host_out_for_ten_minutes() {
    let mut session = session();
    for _ in 0..10 {
        assert!(!session.status(NOW).locked_out);
        ended(&mut session, BAD, NOW);
    }
    let lines = drain(&mut session);
    assert_eq!(lines.last().map(String::as_str), Some("event=locked-out seconds=600"));
    // At every door, in DFU mode and on the way to it.
    for door in [Door::Dfu, Door::Bulk] {
        assert_eq!(session.first_byte(door, NOW), Err(ResultCode::LockedOut));
        session.leave(door);
        assert_eq!(session.knock(door, NOW), Err(ResultCode::LockedOut));
    }
    assert_eq!(
        drain(&mut session).first().map(String::as_str),
        Some("event=refused door=dfu result=locked-out times=1 again-in=600s")
    );
    // What came of the last package can still be read.
    let status = session.status(NOW + MINUTE);
    assert_eq!((status.state, status.result()), (SessionState::Failed, Some(ResultCode::BadSignature)));
    assert_eq!((status.locked_out, status.wait_minutes), (true, 9));
    let last = NOW + 10 * MINUTE - Duration::from_nanos(1);
    assert_eq!(session.status(last).wait_minutes, 1);
    assert_eq!(session.may_knock(Door::Dfu, last), Err(ResultCode::LockedOut));
    // To ask does not make it longer.
    let over = NOW + 10 * MINUTE;
    assert_eq!(session.status(over).wait_minutes, 0);
    session.knock(Door::Dfu, over).unwrap();
    // The count begins anew.
    for _ in 0..9 {
        ended(&mut session, BAD, over);
        assert!(!session.status(over).locked_out);
    }
    ended(&mut session, Ok(()), over);
    assert_eq!(session.state(), SessionState::Staged);
}

#[test]
fn a_package_that_is_taken_ends_the_row() {
    let mut session = session();
    for _ in 0..5 {
        for _ in 0..9 {
            ended(&mut session, BAD, NOW);
        }
        ended(&mut session, Ok(()), NOW);
    }
    assert!(!session.status(NOW).locked_out);
}

#[test]
fn an_hour_without_a_refusal_ends_the_row() {
    let mut session = session();
    let mut now = NOW;
    for _ in 0..30 {
        ended(&mut session, BAD, now);
        assert!(!session.status(now).locked_out);
        now += 61 * MINUTE;
    }
    for _ in 0..10 {
        ended(&mut session, BAD, now);
        now += 59 * MINUTE;
    }
    assert!(session.status(now - 59 * MINUTE).locked_out);
}

#[test]
fn only_refused_packages_count() {
    let mut session = session();
    // Ends that say nothing about the package, and one in between that does.
    for number in 0..50 {
        let result = match number % 5 {
            0 => ResultCode::WriteFailed,
            1 => ResultCode::Sequence,
            2 => ResultCode::NoSpace,
            3 => ResultCode::Worn,
            _ => ResultCode::Internal,
        };
        ended(&mut session, Err(result), NOW);
        session.first_byte(Door::Dfu, NOW).unwrap();
        assert!(session.host_ended(HostEnd::Aborted));
        assert_eq!(session.first_byte(Door::Volume, NOW), Err(ResultCode::DoorShut));
    }
    assert!(!session.status(NOW).locked_out);
    let counted = ResultCode::ALL.into_iter().filter(|result| result.is_refusal());
    assert!(counted.map(ResultCode::code).all(|code| (16..32).contains(&code) || (40..48).contains(&code)));
}

#[test]
fn somebody_on_the_bmc_ends_a_lock_out() {
    let mut session = session();
    for _ in 0..10 {
        ended(&mut session, BAD, NOW);
    }
    assert_eq!(session.may_begin(Door::Dfu, NOW), Err(ResultCode::LockedOut));
    session.arm(Door::Dfu, None).unwrap();
    assert_eq!(session.may_begin(Door::Dfu, NOW), Ok(()));
    // The row begins anew, too.
    for _ in 0..9 {
        ended(&mut session, BAD, NOW);
    }
    assert_eq!(session.may_begin(Door::Dfu, NOW), Ok(()));
}

#[test]
fn nobody_is_locked_out_where_nothing_is_configured() {
    let limits = Limits { refusals: 0, ..Limits::default() };
    let mut session = Session::new(Config { limits, ..config(DoorPolicy::Always) }, view());
    session.knock(Door::Dfu, NOW).unwrap();
    for _ in 0..100 {
        ended(&mut session, BAD, NOW);
    }
    assert_eq!(session.may_begin(Door::Dfu, NOW), Ok(()));
}

#[test]
fn with_a_budget_used_up_no_session_begins_and_the_status_says_until_when() {
    let mut session = session();
    let before = session.status(NOW);
    session.update(StoreView { budget: budget(Levels { sessions: u64::MAX, rewrites: 0 }), ..view() });
    assert_eq!(session.first_byte(Door::Dfu, Duration::ZERO), Err(ResultCode::Worn));
    assert_eq!(
        drain(&mut session),
        ["event=refused door=dfu result=worn times=1 again-in=3600s"],
        "one of 24 a day"
    );
    assert_eq!(session.status(Duration::ZERO), StatusPage { wait_minutes: 60, ..before });
    // The host may come in to be told so.
    session.leave(Door::Dfu);
    assert_eq!(session.knock(Door::Dfu, Duration::ZERO), Ok(()));
    assert_eq!(session.may_begin(Door::Dfu, 60 * MINUTE - Duration::from_millis(1)), Err(ResultCode::Worn));
    assert_eq!(session.may_begin(Door::Dfu, 60 * MINUTE), Ok(()));
}

#[test]
fn repeated_refusals_are_told_together() {
    let mut session = receiving();
    for _ in 0..1000 {
        assert_eq!(session.first_byte(Door::Dfu, NOW), Err(ResultCode::Busy));
    }
    assert_eq!(drain(&mut session), ["event=refused door=dfu result=busy times=1"]);
    session.host_ended(HostEnd::Aborted);
    assert_eq!(
        drain(&mut session),
        [
            "event=refused door=dfu result=busy times=999",
            "event=session-state session=5 state=aborted result=aborted received=0",
        ]
    );
    // Another reason is another line.
    session.leave(Door::Dfu);
    let _ = session.first_byte(Door::Dfu, NOW);
    let _ = session.first_byte(Door::Ipmi, NOW);
    let _ = session.knock(Door::Ipmi, NOW);
    assert_eq!(
        drain(&mut session),
        [
            "event=door-left door=dfu",
            "event=refused door=dfu result=door-shut times=1",
            "event=refused door=ipmi result=door-shut times=1",
        ]
    );
}

#[test]
fn audit_lines_that_nobody_fetches_do_not_pile_up() {
    let mut session = session();
    for _ in 0..1000 {
        session.leave(Door::Dfu);
        session.knock(Door::Dfu, NOW).unwrap();
    }
    assert_eq!(drain(&mut session).len(), AUDIT_LIMIT);
}

#[test]
fn every_page_of_the_request() {
    let mut session = receiving();
    let entry = |id| SessionRecord {
        id,
        result: ResultCode::Timeout.code(),
        state: 9,
        door: 1,
        ..SessionRecord::NONE
    };
    let mut store = view();
    store.record.log = vec![entry(2), entry(3), entry(4)];
    session.update(store);
    assert_eq!(StatusPage::decode(&session.page(0, NOW).unwrap()), Ok(session.status(NOW)));
    assert_eq!(session.status(NOW).log_records, 3);
    let a = FirmwarePage::decode(&session.page(1, NOW).unwrap()).unwrap();
    assert_eq!(
        (a.slot, a.state, a.version.as_str(), a.security_version),
        (Slot::A, SlotState::Good, "1.0", 3)
    );
    let b = FirmwarePage::decode(&session.page(2, NOW).unwrap()).unwrap();
    assert_eq!((b.slot, b.state, b.version.as_str()), (Slot::B, SlotState::Empty, ""));
    let machine = MachinePage::decode(&session.page(3, NOW).unwrap()).unwrap();
    assert_eq!(machine.machine.as_str(), "board");
    // Newest first.
    let log = [16, 17, 18].map(|page| LogPage::decode(&session.page(page, NOW).unwrap()).unwrap());
    assert_eq!(log.map(|page| page.session), [4, 3, 2]);
    assert_eq!(log[0].result(), Some(ResultCode::Timeout));
    for number in (4..16).chain(19..40).chain([255, 256, u16::MAX]) {
        assert_eq!(session.page(number, NOW), None, "page {number}");
    }
}

/// Every mix of what a door, a worker, an operator and the clock can do, at random: one session at a time, ids that
/// only rise, results where states say so.
#[test]
fn any_order_of_inputs_keeps_the_promises() {
    use proptest::prelude::*;
    proptest!(|(steps in proptest::collection::vec((0..13u8, 0..200u64), 0..200))| {
        let mut session = Session::new(config(DoorPolicy::Armed), view());
        let mut now = NOW;
        let mut last_id = 4;
        for (step, amount) in steps {
            let before = session.state();
            match step {
                0 => drop(session.arm(Door::Dfu, None)),
                1 => session.disarm(Door::Dfu, By::Bmc),
                2 => {
                    let asked = session.may_knock(Door::Dfu, now);
                    prop_assert_eq!(session.knock(Door::Dfu, now), asked);
                }
                3 => drop(session.knock(Door::Bulk, now)),
                4 => session.leave(Door::Dfu),
                5 | 6 => {
                    let door = if step == 5 { Door::Dfu } else { Door::Bulk };
                    let asked = session.may_begin(door, now);
                    let begun = session.first_byte(door, now);
                    prop_assert_eq!(begun.map(drop), asked);
                    if let Ok(id) = begun {
                        prop_assert!(!before.is_at_work());
                        prop_assert_eq!(session.owner(), Some(door));
                        prop_assert!(id > last_id);
                        last_id = id;
                    }
                }
                7 => session.progress(amount * 1024, now),
                8 => {
                    let ended = session.host_ended(HostEnd::Disconnected);
                    prop_assert_eq!(ended, before == SessionState::Receiving);
                }
                9 => drop(session.handover(session.id())),
                10 => drop(session.verdict(session.id(), if amount % 2 == 0 { Ok(()) } else { Err(ResultCode::BadChunk) }, now)),
                11 => drop(session.activate()),
                _ => {
                    now += Duration::from_secs(amount);
                    let timed_out = session.handle_timeout(now);
                    prop_assert!(!timed_out || before == SessionState::Receiving);
                }
            }
            prop_assert_eq!(session.poll_timeout().is_some(), session.state() == SessionState::Receiving);
            match session.state() {
                SessionState::Idle | SessionState::Receiving | SessionState::Handover | SessionState::Verifying => {
                    prop_assert_eq!(session.result(), ResultCode::None);
                }
                SessionState::Staged | SessionState::Activating => prop_assert_eq!(session.result(), ResultCode::Ok),
                SessionState::Failed => prop_assert!(!session.result().is_ok()),
                other => prop_assert!(false, "nothing here leads to {}", other),
            }
            let page = session.page(0, now).unwrap();
            prop_assert_eq!(StatusPage::decode(&page), Ok(session.status(now)));
        }
    });
}

#[test]
fn who_armed_a_door_and_who_shut_it_is_told_once() {
    let mut session = Session::new(config(DoorPolicy::Armed), view());
    let _ = drain(&mut session);
    let until = Some(NOW + MINUTE);
    for _ in 0..3 {
        session.arm(Door::Dfu, until).unwrap();
        session.power_on(until);
    }
    session.shut(Door::Dfu, By::Deadline);
    session.shut(Door::Dfu, By::Deadline);
    assert!(session.power_on(until));
    session.disarm(Door::Dfu, By::Bmc);
    session.start(Door::Dfu, NOW).unwrap();
    session.stopped(Door::Dfu);
    session.disarm(Door::Dfu, By::Ipmi);
    session.asked(HostAct::Confirm);
    let lines = drain(&mut session);
    assert_eq!(lines.last().unwrap(), "event=confirm by=ipmi session=0");
    let of_dfu = lines.iter().filter(|line| line.contains("door=dfu"));
    assert_eq!(
        of_dfu.collect::<Vec<_>>(),
        [
            "event=door-armed door=dfu by=bmc",
            "event=door-shut door=dfu by=deadline",
            "event=door-armed door=dfu by=power-on",
            "event=door-shut door=dfu by=bmc",
            "event=door-started door=dfu by=ipmi",
            "event=door-stopped door=dfu by=ipmi",
            "event=door-shut door=dfu by=ipmi",
        ]
    );
}

#[test]
fn a_door_has_a_time_from_when_it_is_armed_until_somebody_is_in_there() {
    let mut session = Session::new(config(DoorPolicy::Armed), view());
    let (soon, late) = (Some(NOW + MINUTE), Some(NOW + 2 * MINUTE));
    session.arm(Door::Dfu, late).unwrap();
    session.arm(Door::Dfu, soon).unwrap();
    assert_eq!(session.shuts_at(Door::Dfu), soon, "the last word counts");
    session.power_on(late);
    assert_eq!(session.shuts_at(Door::Dfu), late);
    session.power_on(soon);
    assert_eq!(session.shuts_at(Door::Dfu), late, "but a power-on makes nothing shorter");
    session.start(Door::Dfu, NOW).unwrap();
    assert_eq!(session.shuts_at(Door::Dfu), None, "a start has a time of its own");
    session.power_on(soon);
    assert_eq!(session.shuts_at(Door::Dfu), None);
    session.arm(Door::Dfu, late).unwrap();
    session.knock(Door::Dfu, NOW).unwrap();
    assert_eq!(session.shuts_at(Door::Dfu), late, "whoever is in is bound by it");
    session.arm(Door::Dfu, soon).unwrap();
    assert_eq!(session.shuts_at(Door::Dfu), soon, "and has it anew");
    session.leave(Door::Dfu);
    assert_eq!((session.door(Door::Dfu), session.shuts_at(Door::Dfu)), (DoorState::Shut, None));
    // Who comes in the last second has more than that; once.
    session.arm(Door::Dfu, Some(NOW + Duration::from_secs(1))).unwrap();
    for _ in 0..2 {
        session.knock(Door::Dfu, NOW).unwrap();
        assert_eq!(session.shuts_at(Door::Dfu), Some(NOW + ENTERED));
    }
    session.knock(Door::Dfu, NOW + MINUTE).unwrap();
    assert_eq!(session.shuts_at(Door::Dfu), Some(NOW + ENTERED));
}

#[test]
fn a_door_that_is_shut_behind_a_session_has_no_other_one() {
    let mut session = Session::new(config(DoorPolicy::Armed), view());
    for door in [Door::Dfu, Door::Bulk] {
        session.arm(door, Some(NOW)).unwrap();
        session.knock(door, NOW).unwrap();
    }
    let id = session.first_byte(Door::Bulk, NOW).unwrap();
    session.shut_behind(Door::Dfu, By::Deadline);
    assert_eq!((session.late(Door::Dfu), session.shuts_at(Door::Dfu)), (Some(By::Deadline), None));
    assert_eq!(session.id(), id, "that one goes on");
    session.host_ended(HostEnd::Aborted);
    for door in [Door::Dfu, Door::Bulk] {
        assert_eq!(session.first_byte(door, NOW), Err(ResultCode::DoorShut));
        assert_eq!(session.door(door), DoorState::Open);
    }
    // Until somebody on the BMC wants it, or powers the host on.
    session.power_on(Some(NOW + MINUTE));
    assert_eq!((session.late(Door::Dfu), session.shuts_at(Door::Dfu)), (None, Some(NOW + MINUTE)));
    assert!(session.first_byte(Door::Dfu, NOW).is_ok());
    session.shut_behind(Door::Dfu, By::Bmc);
    session.leave(Door::Dfu);
    assert_eq!((session.door(Door::Dfu), session.late(Door::Dfu)), (DoorState::Shut, None));
}
