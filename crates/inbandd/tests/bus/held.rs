//! A restart of the BMC that waits for the session at work.

use std::time::Duration;

use inband_dfu::{
    host::End,
    wire::{Request, State, Status},
};
use inband_session::{ResultCode, SessionState};
use inband_usb::{HostDevice as _, HostError};
use inbandd::{
    command::{Answer, Ask, AskedBy},
    programs::Task,
};

use crate::{
    bench::{Bench, Hold, Setting, block, command, dnload, get_status},
    host,
    package::Package,
};

const HOLD: Setting = Setting { hold_restart: true, restart: true, ..Setting::DEFAULT };

fn package() -> Vec<u8> {
    Package::new(0x0215, 60_000).bytes()
}

#[test]
fn it_begins_when_the_host_has_its_answer_whoever_asked_and_however_often() {
    for by in [AskedBy::Bmc, AskedBy::Host] {
        let bench = Bench::with(HOLD);
        let file = package();
        let mut device = bench.enter_dfu();
        let mut answers = Vec::new();
        let end = host::download(&mut device, &file, |_, sent| {
            if sent > 8192 && answers.len() < 2 {
                answers.extend(bench.ask_later(Ask::Restart(by)));
            }
        });
        assert_eq!((end, &answers[..]), (Ok(End::Idle), &[Answer::Held, Answer::Held][..]));
        drop(device);
        assert!(bench.restart_is_held() && !bench.programs.runs(Task::Restart));
        bench.assert_session(SessionState::Staged, ResultCode::Ok);
        bench.bus.advance(Duration::from_secs(6));
        assert!(bench.programs.runs(Task::Restart));
        assert!(!bench.restart_is_held());
    }
}

#[test]
fn without_a_session_it_begins_at_once() {
    let bench = Bench::with(HOLD);
    assert_eq!(bench.ask(Ask::Restart(AskedBy::Bmc)), Answer::Done);
    assert!(bench.programs.runs(Task::Restart));
}

#[test]
fn a_host_can_draw_it_out_by_a_minute_and_no_more() {
    let bench = Bench::with(HOLD);
    let mut device = bench.enter_dfu();
    for (number, data) in (0..).zip(package().chunks(4096)).take(3) {
        assert_eq!(block(&mut device, number, data), Ok((State::DfuDnloadIdle, Status::Ok)));
    }
    assert_eq!(bench.ask(Ask::Restart(AskedBy::Bmc)), Answer::Held);
    command(&mut device, Request::Abort).unwrap();
    // Neither another session nor questions without an end.
    assert_eq!(dnload(&mut device, 0, &package()[..4096]), Err(HostError::Stall));
    assert_eq!(get_status(&mut device), Ok((State::DfuError, Status::ErrVendor)));
    let since = bench.bus.now();
    while get_status(&mut device) != Err(HostError::Gone) {
        assert!(bench.bus.now() - since < Duration::from_secs(61));
        bench.bus.advance(Duration::from_secs(1));
    }
    assert!(bench.programs.runs(Task::Restart));
}

#[test]
fn the_verdict_is_waited_for() {
    let bench = Bench::with(HOLD);
    let file = package();
    bench.hold(Hold::Finish);
    let mut device = bench.enter_dfu();
    let blocks: Vec<_> = (0..).zip(file.chunks(4096)).collect();
    for (number, data) in &blocks {
        dnload(&mut device, *number, data).unwrap();
        while get_status(&mut device).unwrap().0 == State::DfuDnbusy && *number + 1 < blocks.len() as u16 {
            device.wait(Duration::from_millis(10));
        }
    }
    bench.assert_session(SessionState::Verifying, ResultCode::None);
    assert_eq!(bench.ask(Ask::Restart(AskedBy::Bmc)), Answer::Held);
    drop(device);
    bench.bus.advance(Duration::from_secs(600));
    assert!(bench.restart_is_held() && !bench.programs.runs(Task::Restart));
    bench.hold(Hold::Nothing);
    bench.bus.advance(Duration::from_secs(61));
    assert!(bench.programs.runs(Task::Restart));
}
