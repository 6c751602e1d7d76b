//! Updates of a BMC on a bus in memory, with a fault at every transfer.

use inband_session::DoorState;
use inband_usb::Setup;
use inband_virtual::memory::{Action, Fault, FaultPlan, Step};

use super::*;
use crate::{
    find::{Scope, Target},
    testing::{
        bench::{Bench, Seen},
        bmc::{Answer, Rig},
    },
    update::{Prepared, door::Wish, handle::Handle, prepare},
};

/// How long a BMC may be away here.
const SHORT: Duration = Duration::from_millis(300);

/// The BMC of a rig, once it is on the bus.
fn found(rig: &Rig) -> Result<Bmc, Error> {
    assert!(rig.bus.run_until(Duration::from_secs(1), || rig.bus.attached()));
    Scope { bus: rig, name: "here".into(), hint: String::new() }.one(None)
}

/// Updates the BMC of a rig, as the program does once it has found it.
fn update_with(bench: &Bench, rig: &Rig, door: Wish, cancel: &Cancel, seen: &mut Seen) -> Result<(), Error> {
    let bmc = found(rig)?;
    let plan = bench.plan(door);
    let mut delivery = Delivery::new(rig, &plan, &bench.contents, seen, cancel)?;
    delivery.return_limit = SHORT;
    let (bmc, status) = delivery.make(bmc)?;
    assert!(bench.contents.is_session_of(&status));
    end(rig, bmc);
    Ok(())
}

fn update(bench: &Bench, rig: &Rig) -> Result<(), Error> {
    update_with(bench, rig, Wish::Fastest, &Cancel::default(), &mut Seen::default())
}

#[test]
fn what_is_missing_is_sent_and_no_more() {
    let bench = Bench::new();
    let rig = bench.rig();
    let mut seen = Seen::default();
    update_with(&bench, &rig, Wish::Fastest, &Cancel::default(), &mut seen).unwrap();
    let all = bench.contents.load().chunks();
    assert_eq!(rig.bmc().came.len(), all);
    assert!(rig.bmc().is_staged());
    assert_eq!(seen.doors(), ["bulk"]);
    let Some(Event::Sent { total, saved, .. }) = seen.0.last() else { panic!("{:?}", seen.0) };
    assert!(*total > bench.contents.load().bytes() && *saved == 0, "{total}, {saved}");

    // Once more: it is all there. Then but for one chunk.
    rig.bmc().came.clear();
    let mut seen = Seen::default();
    update_with(&bench, &rig, Wish::Bulk, &Cancel::default(), &mut seen).unwrap();
    assert!(rig.bmc().came.is_empty());
    assert_eq!(seen.count(|event| matches!(event, Event::Need { needed_chunks: 0, needed: 0, .. })), 1);
    let Some(Event::Sent { total, saved, .. }) = seen.0.last() else { panic!("{:?}", seen.0) };
    assert!(*total < 8192 && total + saved == bench.contents.length(), "{total}, {saved}");
}

#[test]
fn a_file_without_an_index_goes_as_a_whole() {
    let bench = Bench::tar();
    let rig = bench.rig();
    update(&bench, &rig).unwrap();
    assert_eq!(rig.bmc().came, [0, 1, 2, 3]);
    assert!(rig.bmc().is_staged());
}

#[test]
fn the_door_is_the_fastest_that_is_open_or_the_one_that_is_asked_for() {
    let bench = Bench::new();
    type Change = fn(&Rig);
    let cases: [(Change, &str); 4] = [
        (|rig| rig.bmc().tells_of_bulk = false, "no bulk door"),
        (|rig| rig.bmc().bulk = DoorState::Shut, "is shut"),
        (
            |rig| rig.bmc().answer = Some(|setup| page_4(setup, &[1, 12, 2, 9, 1, 0, 0, 0, 0, 0, 0, 0])),
            "2 to 9",
        ),
        (|rig| rig.bmc().answer = Some(|setup| page_4(setup, &[1, 12, 1])), "broken"),
    ];
    for (change, reason) in cases {
        let rig = bench.rig();
        change(&rig);
        let mut bmc = found(&rig).unwrap();
        let status = bmc.status().unwrap();
        let mut choose = |wish| door::choose(&mut bmc, &status, wish, 1);
        let choice = choose(Wish::Fastest).unwrap();
        assert!(
            matches!(choice, Choice::Dfu(_)) && choice.reason(Wish::Fastest).contains(reason),
            "{choice:?}"
        );
        assert!(matches!(choose(Wish::Dfu).unwrap(), Choice::Dfu(door::Reason::NotWanted)));
        let error = choose(Wish::Bulk).unwrap_err();
        assert_eq!(error.exit_code(), 8, "{error}");
        assert!(error.to_string().contains(reason), "{error}");
    }
    let rig = bench.rig();
    let mut bmc = found(&rig).unwrap();
    let status = bmc.status().unwrap();
    for (wish, length, bulk) in [
        (Wish::Fastest, 1, true),
        (Wish::Bulk, 1, true),
        (Wish::Dfu, 1, false),
        (Wish::Fastest, 1 << 31, false),
    ] {
        let choice = door::choose(&mut bmc, &status, wish, length).unwrap();
        assert_eq!(matches!(choice, Choice::Bulk(_)), bulk, "{wish:?}");
    }
}

fn page_4(setup: &Setup, page: &[u8]) -> Option<Vec<u8>> {
    (setup.request == 0x49 && setup.value == 4).then(|| page.to_vec())
}

/// What page 4 promises at run time is not there in DFU mode: the BMC is led back, or updated by DFU.
#[test]
fn a_door_that_is_not_there_after_all() {
    let bench = Bench::new();
    let rig = bench.rig();
    rig.bmc().answer = Some(|setup| page_4(setup, &[1, 12, 1, 1, 5, 0, 0, 0, 0, 0, 0, 0]));
    let mut seen = Seen::default();
    let error = update_with(&bench, &rig, Wish::Bulk, &Cancel::default(), &mut seen).unwrap_err();
    assert_eq!((error.exit_code(), error.name()), (8, "no-door"), "{error}");
    let bmc = found(&rig).unwrap();
    assert_eq!(mode_name(bmc.mode()), "run-time");
}

#[test]
fn a_refusal_is_told_with_its_result() {
    let bench = Bench::new();
    for (code, exit) in [(ResultCode::UnknownKey, 6), (ResultCode::Busy, 9), (ResultCode::WriteFailed, 15)] {
        let rig = bench.rig();
        rig.bmc().refuses = Some(code);
        let error = update(&bench, &rig).unwrap_err();
        assert_eq!((error.result(), error.exit_code()), (Some(code), exit), "{error}");
        assert!(error.advice().is_some());
        // And it is updatable again at once.
        rig.bmc().refuses = None;
        update(&bench, &rig).unwrap();
    }
}

/// Transfers of an update, and of these the ones in front of the exchange.
fn transfers(bench: &Bench) -> (u64, u64) {
    let rig = bench.rig();
    rig.bus.set_faults(FaultPlan::default());
    let mut bmc = found(&rig).unwrap();
    bmc = enter_dfu_mode(&rig, bmc);
    bmc.status().unwrap();
    bmc.bulk_page().unwrap();
    let before = rig.bus.transfers();
    drop(bmc);
    let rig = bench.rig();
    rig.bus.set_faults(FaultPlan::default());
    update(bench, &rig).unwrap();
    (rig.bus.transfers(), before)
}

fn enter_dfu_mode(rig: &Rig, bmc: Bmc) -> Bmc {
    into_dfu_mode(rig, bmc, &mut Seen::default(), &Cancel::default()).unwrap()
}

/// The cable is pulled and put back at the beginning, in the middle and at the end of each transfer: from the exchange on the update goes on
/// by itself, sends what is missing, and no more than was under way a second time.
#[test]
fn every_pulled_cable() {
    let bench = Bench::new();
    let all = bench.contents.load().chunks();
    let (transfers, before) = transfers(&bench);
    let mut returned = 0;
    for transfer in 0..transfers {
        for step in [Step::Setup, Step::Data(1024), Step::Status] {
            let rig = bench.rig();
            rig.bus.set_faults(FaultPlan::new([Fault { transfer, step, action: Action::Unplug }]));
            let mut seen = Seen::default();
            let result = update_with(&bench, &rig, Wish::Fastest, &Cancel::default(), &mut seen);
            returned += seen.count(|event| matches!(event, Event::Back { .. }));
            if let Err(error) = &result {
                assert!(transfer < before, "at {step:?} of {transfer} of {transfers}: {error}");
                assert_eq!(error.exit_code(), 10, "at {step:?} of {transfer}: {error}");
                rig.bus.plug();
                update(&bench, &rig).unwrap();
            }
            assert!(rig.bmc().is_staged(), "at {step:?} of {transfer}");
            assert_eq!(rig.bmc().came.len(), all, "at {step:?} of {transfer}");
        }
    }
    assert!(returned > 20, "{returned}");
}

/// A bus reset by somebody, or a transfer that gets lost: the update goes on or ends with an error, and the next one succeeds.
#[test]
fn every_reset_and_every_lost_transfer() {
    let bench = Bench::new();
    let (transfers, _) = transfers(&bench);
    for action in [Action::Reset, Action::Drop] {
        for transfer in 0..transfers {
            let rig = bench.rig();
            let fault = Fault { transfer, step: Step::Data(512), action: action.clone() };
            rig.bus.set_faults(FaultPlan::new([fault]));
            let result = update(&bench, &rig);
            assert!(rig.bmc().is_staged() || result.is_err(), "{action:?} at {transfer}: a lie");
            if let Err(error) = result {
                assert_eq!(error.exit_code(), 10, "{action:?} at {transfer}: {error}");
                update(&bench, &rig).unwrap();
            }
            assert!(rig.bmc().is_staged());
        }
    }
}

/// The cable is pulled so many times, each time when so many transfers were made since the last.
fn pulled(bench: &Bench, every: u64, times: u64) -> (Result<(), Error>, usize, Rig) {
    let rig = bench.rig();
    rig.bus.set_faults(FaultPlan::default());
    let (bus, mut next, mut left) = (rig.bus.clone(), transfers(bench).1 + every, times);
    rig.watch(move |made| {
        if made >= next && left > 0 {
            (next, left) = (made + every, left - 1);
            bus.unplug();
        }
    });
    let mut seen = Seen::default();
    let result = update_with(bench, &rig, Wish::Fastest, &Cancel::default(), &mut seen);
    (result, seen.count(|event| matches!(event, Event::Lost { .. })), rig)
}

#[test]
fn a_second_pulled_cable_is_survived_and_an_endless_row_is_not() {
    let bench = Bench::new();
    let (result, lost, rig) = pulled(&bench, 10, 2);
    result.unwrap();
    assert_eq!(lost, 2);
    assert!(rig.bmc().is_staged());
    let (result, lost, _) = pulled(&bench, 6, 1000);
    let error = result.unwrap_err();
    assert_eq!((error.exit_code(), error.name()), (10, "keeps-leaving"), "{error}");
    assert_eq!(lost, 8);
}

/// A BMC that leaves the bus in the middle, and does not come back.
fn unplugged_for_good(bench: &Bench) -> Rig {
    let (_, before) = transfers(bench);
    let rig = bench.rig();
    rig.replug.set(None);
    let fault = Fault { transfer: before + 8, step: Step::Data(512), action: Action::Unplug };
    rig.bus.set_faults(FaultPlan::new([fault]));
    rig
}

#[test]
fn a_device_that_is_gone_for_good_is_given_up() {
    let bench = Bench::new();
    let rig = unplugged_for_good(&bench);
    let error = update(&bench, &rig).unwrap_err();
    assert_eq!((error.exit_code(), error.name()), (10, "not-back"), "{error}");
    assert!(error.advice().is_some());
}

/// The user wants to stop at each transfer there is: the BMC has no session under way behind that, and can be updated.
#[test]
fn a_user_who_stops_at_any_moment() {
    let bench = Bench::new();
    let (transfers, before) = transfers(&bench);
    let mut aborted = 0;
    for moment in 0..transfers {
        let rig = bench.rig();
        rig.bus.set_faults(FaultPlan::default());
        let cancel = Cancel::default();
        let asked = cancel.clone();
        rig.watch(move |made| {
            if made >= moment {
                asked.request();
            }
        });
        let result = update_with(&bench, &rig, Wish::Fastest, &cancel, &mut Seen::default());
        match &result {
            Ok(()) => assert!(rig.bmc().is_staged() && moment > before, "{moment}"),
            Err(error) => assert_eq!(error.exit_code(), 14, "{moment}: {error}"),
        }
        aborted += u32::from(matches!(result, Err(Error::Aborted { handed_over: false, .. })));
        assert!(!rig.bmc().is_receiving(), "{moment}");
        rig.watch(|_| {});
        update(&bench, &rig).unwrap();
    }
    assert!(aborted > 5, "{aborted}");
}

#[test]
fn a_user_who_stops_while_the_cable_is_out() {
    let bench = Bench::new();
    let rig = unplugged_for_good(&bench);
    struct Stops(Cancel);
    impl Listener for Stops {
        fn event(&mut self, event: &Event) {
            if matches!(event, Event::Lost { .. }) {
                self.0.request();
            }
        }
    }
    let cancel = Cancel::default();
    let bmc = found(&rig).unwrap();
    let (plan, mut listener) = (bench.plan(Wish::Fastest), Stops(cancel.clone()));
    let delivery = Delivery::new(&rig, &plan, &bench.contents, &mut listener, &cancel).unwrap();
    let error = delivery.make(bmc).map(|_| ()).unwrap_err();
    assert_eq!(error.exit_code(), 14, "{error}");
}

/// Each message of the BMC with each bit of its header and of its first bytes changed, cut short, or made longer.
#[test]
fn nonsense_in_each_message() {
    let bench = Bench::new();
    let check = |what: &str, number: usize, change: fn(Vec<u8>, usize) -> Vec<u8>, at: usize| {
        let rig = bench.rig();
        rig.bmc().garble =
            Some(Box::new(move |which, message| if which == number { change(message, at) } else { message }));
        match update(&bench, &rig) {
            // A session number may be any.
            Ok(()) => assert!(rig.bmc().is_staged(), "{what} of {number}: a lie"),
            Err(error) => {
                let code = error.exit_code();
                // Of what is dropped nobody hears; a result may become another one.
                assert!([1, 6, 8, 9, 10, 11, 13, 14, 15].contains(&code), "{what} of {number}: {error}");
            }
        }
        assert!(!rig.bmc().is_receiving());
    };
    for number in 0..2 {
        for at in 0..48 * 8 {
            check(
                "bit",
                number,
                |mut message, at| {
                    message[at / 8] ^= 1 << (at % 8);
                    message
                },
                at,
            );
        }
        check("empty", number, |_, _| Vec::new(), 0);
        check("cut", number, |message, _| message[..100].to_vec(), 0);
        check("nothing but zeros", number, |_, _| vec![0; 512], 0);
        check("endless", number, |_, _| vec![0x5a; 100 * 512], 0);
        check(
            "filling",
            number,
            |mut message, _| {
                message[511] = 1;
                message
            },
            0,
        );
        check("twice", number, |message, _| [message.clone(), message].concat(), 0);
    }
}

#[test]
fn a_broken_protocol_is_11() {
    let bench = Bench::new();
    let broken: [fn(Vec<u8>) -> Vec<u8>; 4] = [
        |mut need| {
            need[24] ^= 1;
            need
        },
        |mut need| {
            need[511] = 1;
            need
        },
        |need| need[..100].to_vec(),
        |_| vec![0x5a; 100 * 512],
    ];
    for change in broken {
        let rig = bench.rig();
        rig.bmc().garble =
            Some(Box::new(move |number, message| if number == 0 { change(message) } else { message }));
        let error = update(&bench, &rig).unwrap_err();
        assert_eq!(error.exit_code(), 11, "{error}");
        assert!(error.advice().unwrap().contains("--door dfu"));
        assert!(!rig.bmc().is_receiving());
    }
}

/// Control answers that are nonsense, each from the beginning.
#[test]
fn nonsense_in_control_answers() {
    let bench = Bench::new();
    let answers: [Answer; 5] = [
        |setup| (setup.request_type == 0xa1).then(|| vec![0xff; 6]),
        |setup| (setup.request_type == 0xa1).then(Vec::new),
        |setup| (setup.value == 0 && setup.request_type == 0xc1).then(|| vec![1, 58]),
        |setup| (setup.value == 0 && setup.request_type == 0xc1).then(|| vec![0xff; 60]),
        |setup| (setup.request_type == 0xa1).then(|| vec![0, 0, 0, 0, 4, 0]),
    ];
    for answer in answers {
        let rig = bench.rig();
        rig.bmc().answer = Some(answer);
        let error = update(&bench, &rig).unwrap_err();
        assert!([10, 11].contains(&error.exit_code()), "{error}");
    }
}

#[test]
fn a_check_before_anything_is_sent_names_the_door_and_changes_nothing() {
    let bench = Bench::new();
    let rig = bench.rig();
    let (plan, mut seen) = (bench.plan(Wish::Fastest), Seen::default());
    let find = |_| found(&rig).map(|bmc| Target::Bmc(Box::new(bmc)));
    let prepared = prepare(&rig, &plan, find, &mut Handle::default(), &mut seen, &Cancel::default()).unwrap();
    assert!(matches!(prepared, Some(Prepared::Usb(_))));
    assert!(
        matches!(seen.0.last(), Some(Event::Device { door: "bulk", mode: "run-time", .. })),
        "{:?}",
        seen.0
    );
}
