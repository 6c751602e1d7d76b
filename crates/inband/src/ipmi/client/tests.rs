//! The client against a BMC that means harm, with a clock of its own.

use std::io;

use inband_ipmi::{
    command::{Door, acknowledged},
    wire::ORGANISATION,
};
use inband_session::{Door as SessionDoor, DoorState, SessionState};
use inband_store::{SlotState, text::Text};

use super::*;
use crate::{
    ipmi::Answer,
    testing::ipmi::{Doubled, double, honest, now},
};

fn start(client: &mut Client) -> Result<Started, IpmiError> {
    client.start(Door::Bulk, Wishes::default())
}

#[test]
fn what_is_lost_is_asked_again_with_the_same_tag() {
    type Loss = fn(u8) -> Result<Vec<(Duration, Answer)>, LinkError>;
    let losses: [Loss; 6] = [
        |_| Ok(Vec::new()),
        |number| now(number, NODE_BUSY, Vec::new()),
        |number| now(number, TIMEOUT, Vec::new()),
        |number| now(number, STARTING, Vec::new()),
        |number| now(number, UNAVAILABLE, Vec::new()),
        |_| Err(LinkError::Lost(io::ErrorKind::ConnectionRefused.into())),
    ];
    for loss in losses {
        let mut times = 0;
        let mut bench = double(move |number, command| {
            times += 1;
            if times < usize::from(ATTEMPTS) { loss(number) } else { honest(number, command) }
        });
        assert_eq!(start(&mut bench.client).unwrap(), Started { nonce: 0x1234, holds_s: 900 });
        let asked = bench.asked.borrow();
        assert_eq!(asked.len(), usize::from(ATTEMPTS));
        assert!(asked.iter().all(|command| *command == asked[0]), "{asked:?}");
        assert_ne!(asked[0].tag(), Some(0));
    }
}

#[test]
fn who_never_answers_is_given_up_in_bounded_time() {
    for code in [None, Some(NODE_BUSY), Some(TIMEOUT), Some(STARTING), Some(UNAVAILABLE)] {
        let mut bench = double(move |number, _| match code {
            None => Ok(Vec::new()),
            Some(code) => now(number, code, Vec::new()),
        });
        let error = bench.client.status().unwrap_err();
        assert!(matches!(error, IpmiError::NoAnswer(last) if last == code), "{error}");
        assert_eq!(bench.asked.borrow().len(), usize::from(ATTEMPTS));
        assert!(bench.clock.get() < Duration::from_secs(25), "{:?}", bench.clock.get());
    }
}

#[test]
fn what_may_be_done_without_is_asked_once() {
    let Doubled { client, clock, asked, .. } = double(|_, _| Ok(Vec::new()));
    assert!(matches!(client.once().status(), Err(IpmiError::NoAnswer(None))));
    assert_eq!((asked.borrow().len(), clock.get()), (1, ANSWER));
}

#[test]
fn answers_to_others_are_passed_over_and_late_ones_are_taken() {
    let mut bench = double(|number, command| {
        let Ok(good) = honest(number, command) else { return Ok(Vec::new()) };
        let good = good[0].1.clone();
        Ok(vec![
            (Duration::ZERO, Answer { number: number.wrapping_add(9), ..good.clone() }),
            (Duration::ZERO, Answer { netfn: 0x07, ..good.clone() }),
            (Duration::ZERO, Answer { command: 1, ..good.clone() }),
            // Of the attempt before, or of this one behind its time.
            (ANSWER + PAUSE + LOOK, good),
        ])
    });
    assert_eq!(bench.client.status().unwrap().nonce, 0x1234);
    assert_eq!(bench.asked.borrow().len(), 2);
    // A number that comes round is told apart still.
    for _ in 0..300 {
        bench.client.status().unwrap();
    }
}

#[test]
fn a_flood_of_answers_to_others_ends() {
    let mut bench = double(|number, command| {
        let good = honest(number, command)?[0].1.clone();
        let flood = Answer { number: number.wrapping_add(100), ..good };
        Ok((0..10_000).map(|n| (Duration::from_millis(n), flood.clone())).collect())
    });
    assert!(matches!(bench.client.status(), Err(IpmiError::NoAnswer(None))));
}

#[test]
fn refusals_are_told_and_not_repeated() {
    for code in Code::ALL.into_iter().filter(|code| *code != Code::OK).chain([Code(0xff), Code(0x8f)]) {
        let mut bench = double(move |number, _| now(number, code, vec![1, 2, 3]));
        assert!(matches!(start(&mut bench.client), Err(IpmiError::Refused(told)) if told == code));
        assert_eq!(bench.asked.borrow().len(), 1);
    }
}

#[test]
fn nothing_to_do_that_to_is_no_refusal_of_what_may_be_done() {
    for code in [Code::NOTHING, Code::WRONG_NONCE] {
        let mut times = 0;
        let mut bench = double(move |number, _| {
            times += 1;
            // The BMC restarts with the first request in its hands.
            if times == 1 { now(number, UNAVAILABLE, Vec::new()) } else { now(number, code, Vec::new()) }
        });
        assert!(matches!(bench.client.activate(), Err(IpmiError::Unknown(told)) if told == code));
        assert!(matches!(bench.client.activate(), Err(IpmiError::Refused(told)) if told == code));
    }
}

#[test]
fn an_answer_to_another_act_is_none() {
    let mut bench = double(|number, command| match command {
        Command::Start { tag, .. } => now(number, Code::OK, Started { nonce: 1, holds_s: 1 }.encode(!tag)),
        Command::Stop { .. } => now(number, Code::OK, acknowledged(0)),
        _ => now(number, Code::OK, Vec::new()),
    });
    assert!(matches!(start(&mut bench.client), Err(IpmiError::Reply(BadReply::Tag))));
    assert!(matches!(bench.client.stop(1, false), Err(IpmiError::Reply(BadReply::Tag))));
    assert!(matches!(bench.client.abort(), Err(IpmiError::Reply(_))));
}

#[test]
fn a_start_without_a_name_is_none() {
    let mut bench = double(|number, command| {
        now(number, Code::OK, Started { nonce: 0, holds_s: 900 }.encode(command.tag().unwrap()))
    });
    assert!(start(&mut bench.client).is_err());
}

#[test]
fn the_user_can_end_a_question_but_not_an_act() {
    let mut bench = double(|number, command| match command {
        Command::Status => Ok(Vec::new()),
        command => honest(number, command),
    });
    bench.cancel.request();
    assert!(matches!(bench.client.status(), Err(IpmiError::Cancelled)));
    assert!(bench.clock.get() < Duration::from_secs(1));
    assert_eq!(start(&mut bench.client).unwrap().nonce, 0x1234);
}

/// What a BMC tells of how it stands.
fn pages() -> [Vec<u8>; 4] {
    let status = StatusPage {
        state: SessionState::Receiving,
        door: Some(SessionDoor::Dfu),
        result_code: 0,
        doors: [DoorState::Open, DoorState::Shut, DoorState::Shut, DoorState::Shut],
        on_trial: false,
        other_boots_next: false,
        locked_out: false,
        takes_ahead: false,
        session: 3,
        received: 1,
        announced: 2,
        running: Slot::A,
        boots_next: Slot::A,
        slots: [SlotState::Good; 2],
        bcd_device: [0; 2],
        security_version: 1,
        floor: 1,
        log_records: 0,
        boots_left: 0,
        boots_given: 0,
        head: [7; 16],
        wait_minutes: 9,
    };
    let firmware = |slot| FirmwarePage {
        state: SlotState::Good,
        slot,
        security_version: 1,
        bcd_device: 0,
        version: Text::cut("a version that is as long as a version may ever be."),
    };
    let machine = MachinePage { machine: Text::cut("board") };
    [status.encode(), firmware(Slot::A).encode(), firmware(Slot::B).encode(), machine.encode()]
}

#[test]
fn pages_come_in_pieces() {
    let mut bench = double(|number, command| match command {
        Command::Info { item, offset } => {
            now(number, Code::OK, Piece::encode(*item, &pages()[usize::from(item - 0x80)], *offset))
        }
        other => honest(number, other),
    });
    let report = bench.client.report().unwrap();
    assert_eq!((report.machine.as_str(), report.page.session, report.page.wait_minutes), ("board", 3, 9));
    assert_eq!(report.firmware.map(|page| page.slot), [Slot::A, Slot::B]);
    assert_eq!(report.status.nonce, 0x1234);
}

#[test]
fn an_item_that_never_stays_the_same_is_given_up() {
    let mut length = 100;
    let mut bench = double(move |number, command| {
        let Command::Info { item, offset } = command else { return Ok(Vec::new()) };
        length += 1;
        now(number, Code::OK, Piece::encode(*item, &vec![0; length], *offset))
    });
    assert!(matches!(bench.client.machine(), Err(IpmiError::Changing(_))));
    assert_eq!(bench.asked.borrow().len(), 2 * usize::from(READS));
}

#[test]
fn both_slots_are_not_the_same_one() {
    let mut bench = double(|number, command| {
        let Command::Info { item, offset } = command else { return Ok(Vec::new()) };
        let page = usize::from(item - 0x80);
        now(number, Code::OK, Piece::encode(*item, &pages()[if page == 2 { 1 } else { page }], *offset))
    });
    assert!(matches!(bench.client.report(), Err(IpmiError::Page { page: 2, .. })));
}

/// Nothing that a BMC answers makes the client panic, hang, or ask more than so often.
#[test]
fn no_answer_does_harm() {
    let mut random = 0x9e37_79b9_7f4a_7c15_u64;
    let mut next = move || {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        random
    };
    for _ in 0..2000 {
        let seed = next();
        let mut bytes = seed | 1;
        let mut bench = double(move |number, command| {
            let mut byte = || {
                bytes = bytes.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(1);
                (bytes >> 56) as u8
            };
            // Every other answer begins as one should, so that what is behind is looked at.
            let mut data = if byte() & 1 == 0 { ORGANISATION.to_vec() } else { Vec::new() };
            if let (Some(tag), true) = (command.tag(), byte() & 3 != 0) {
                data.extend(tag.to_le_bytes());
            }
            if let Command::Info { item, .. } = command {
                data.push(*item);
            }
            let length = byte() % 80;
            data.extend((0..length).map(|_| byte()));
            let code = if byte() & 3 == 0 { Code(byte()) } else { Code::OK };
            now(number, code, data)
        });
        let client = &mut bench.client;
        let _ = (
            client.capabilities(),
            client.status(),
            start(client).map(|started| assert_ne!(started.nonce, 0)),
        );
        let _ = (client.stop(1, true), client.abort(), client.activate(), client.confirm());
        let _ = client.report();
        assert!(bench.asked.borrow().len() < 200, "seed {seed:x}");
    }
}
