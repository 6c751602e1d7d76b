//! A BMC that hides behind a shut door, and one that is lost.

use std::{cell::RefCell, rc::Rc};

use inband_ipmi::{
    command::{Command, FLAG_STARTED, Piece, Started, Status},
    wire::Code,
};
use inband_session::{
    Door as SessionDoor,
    status::{FirmwarePage, MachinePage, StatusPage},
};
use inband_store::{SlotState, text::Text};

use super::*;
use crate::{
    find::Scope,
    testing::{
        FakeBus,
        bench::{Bench, Seen},
        bmc::MACHINE,
        ipmi::{Answers, double, honest, now},
    },
    update::{Done, Prepared, make, prepare},
};

/// The nonce of [`honest`].
const NONCE: u32 = 0x1234;

fn handle(client: Client) -> Handle {
    Handle::new(Ipmi { client: Ok(client), named: false }).unwrap()
}

/// All doors are there and shut, and a start may open them.
fn able() -> Capabilities {
    Capabilities { doors: 7, profiles: 3, options: 0x0f, allowed: 1, holds_s: 900, ..Capabilities::default() }
}

fn piece(number: u8, item: u8, offset: u8, whole: &[u8]) -> Answers {
    now(number, Code::OK, Piece::encode(item, whole, offset))
}

fn lost() -> Error {
    Error::NotBack { place: Place::Ipmi { channel: "x".into() }, seconds: 1 }
}

#[test]
fn a_bmc_that_hides_is_shown_by_a_start_and_hidden_again() {
    let bench = Bench::new();
    let rig = bench.rig();
    rig.bus.unplug();
    rig.replug.set(None);
    let (bmc, bus) = (rig.share(), rig.bus.clone());
    let ipmi = double(move |number, command| match command {
        Command::Capabilities => now(number, Code::OK, able().encode()),
        Command::Info { item, offset } => {
            let page = bmc.lock().unwrap().page(u16::from(item - 0x80)).unwrap();
            piece(number, *item, *offset, &page)
        }
        Command::Start { .. } => {
            bus.plug();
            honest(number, command)
        }
        Command::Stop { .. } => {
            bus.unplug();
            honest(number, command)
        }
        other => honest(number, other),
    });
    let scope = Scope { bus: &rig, name: "here".into(), hint: String::new() };
    let find = |wish| scope.target(None, wish);
    let mut seen = Seen::default();
    let asked = Rc::clone(&ipmi.asked);
    let mut handle = handle(ipmi.client);

    // A dry run looks, and no more.
    let dry = Plan { dry_run: true, ..bench.plan(Wish::Fastest) };
    let prepared = prepare(&rig, &dry, find, &mut handle, &mut seen, &Cancel::default());
    assert!(matches!(prepared, Ok(Some(Prepared::Hidden(_)))));
    assert!(asked.borrow().iter().all(|command| command.tag().is_none()));

    let plan = bench.plan(Wish::Fastest);
    let done = make(&rig, plan, find, &mut handle, &mut seen, &Cancel::default()).unwrap();
    assert_eq!(done, Done::Staged);
    assert!(rig.bmc().is_staged());
    assert_eq!(seen.count(|event| matches!(event, Event::Opened { door: "bulk", holds_s: 900, .. })), 1);
    assert_eq!(seen.0.last(), Some(&Event::Shut));
    let asked = asked.borrow();
    let start = |command: &Command| match command {
        Command::Start { door, wishes, .. } => Some((*door, *wishes)),
        _ => None,
    };
    let starts: Vec<_> = asked.iter().filter_map(start).collect();
    let Contents::Package(package) = &bench.contents else { panic!("it is a package") };
    let wishes = Wishes {
        length: Some(package.head.total_length as u32),
        head: Some(package.head_digest),
        ..Wishes::default()
    };
    assert_eq!(starts, [(Door::Bulk, wishes)]);
    let last = asked.iter().rfind(|command| command.tag().is_some());
    assert!(matches!(last, Some(Command::Stop { nonce: NONCE, commit: false, .. })), "{asked:?}");
}

#[test]
fn a_bmc_that_was_chosen_and_is_not_there_is_not_looked_for_by_ipmi() {
    let bench = Bench::new();
    let ipmi = double(honest);
    let bus = FakeBus::with([]);
    let scope = Scope { bus: &bus, name: "here".into(), hint: String::new() };
    let selector = "ANOTHER".parse().unwrap();
    let find = |wish| scope.target(Some(&selector), wish);
    let asked = Rc::clone(&ipmi.asked);
    let plan = Plan { is_chosen: true, ..bench.plan(Wish::Fastest) };
    let mut seen = Seen::default();
    let error = make(&bus, plan, find, &mut handle(ipmi.client), &mut seen, &Cancel::default()).unwrap_err();
    assert_eq!(error.exit_code(), 3, "{error}");
    assert_eq!(*asked.borrow(), []);
}

#[test]
fn a_start_that_shows_nothing_is_stopped() {
    let bench = Bench::new();
    let ipmi = double(|number, command| match command {
        Command::Capabilities => now(number, Code::OK, able().encode()),
        Command::Info { item, offset } => {
            piece(number, *item, *offset, &pages(&status())[usize::from(item - 0x80)])
        }
        other => honest(number, other),
    });
    let bus = NoTime(FakeBus::with([]));
    let scope = Scope { bus: &bus, name: "here".into(), hint: String::new() };
    let mut seen = Seen::default();
    let asked = Rc::clone(&ipmi.asked);
    let find = |wish| scope.target(None, wish);
    let plan = bench.plan(Wish::Dfu);
    let error = make(&bus, plan, find, &mut handle(ipmi.client), &mut seen, &Cancel::default()).unwrap_err();
    assert_eq!(error.exit_code(), 3, "{error}");
    assert_eq!(seen.0.last(), Some(&Event::Shut));
    assert!(asked.borrow().iter().any(|command| matches!(command, Command::Stop { nonce: NONCE, .. })));
}

#[test]
fn a_door_that_is_not_for_us_to_open_is_left_alone() {
    let bench = Bench::new();
    // No start may open one; they are off; they are not shut; it is another BMC's IPMI, or of no BMC of ours.
    let ables = [
        Some(Capabilities { allowed: 0, ..able() }),
        Some(Capabilities { doors: 0, ..able() }),
        Some(Capabilities { door_states: 0x15, ..able() }),
        Some(Capabilities { doors: 4, profiles: 1, ..able() }),
        None,
    ];
    for able in ables {
        let ipmi = double(move |number, command| match (command, able) {
            (Command::Capabilities, Some(able)) => now(number, Code::OK, able.encode()),
            _ => now(number, Code::INVALID_COMMAND, Vec::new()),
        });
        let bus = FakeBus::with([]);
        let scope = Scope { bus: &bus, name: "here".into(), hint: String::new() };
        let mut seen = Seen::default();
        let asked = Rc::clone(&ipmi.asked);
        let find = |wish| scope.target(None, wish);
        let plan = bench.plan(Wish::Fastest);
        let error = make(&bus, plan, find, &mut handle(ipmi.client), &mut seen, &Cancel::default());
        assert_eq!(error.unwrap_err().exit_code(), 3);
        assert!(matches!(seen.0.last(), Some(Event::NotOpened { .. })), "{:?}", seen.0);
        assert_eq!(*asked.borrow(), [Command::Capabilities]);
    }
    // The board of IPMI is not the one on USB.
    let ipmi = double(|number, command| match command {
        Command::Capabilities => now(number, Code::OK, able().encode()),
        Command::Info { item, offset } => piece(number, *item, *offset, &pages(&status())[3]),
        other => honest(number, other),
    });
    let mut handle = handle(ipmi.client);
    assert!(handle.offer(Wish::Dfu, Some("other"), &mut Seen::default()).unwrap().is_none());
    assert!(handle.offer(Wish::Dfu, Some(MACHINE), &mut Seen::default()).unwrap().is_some());
}

#[test]
fn a_way_that_there_is_not_is_told_each_time_and_is_an_error_where_it_was_named() {
    let way = |named| {
        let reason = "no device".to_owned();
        let client = Err(Error::NoIpmi { reason, advice: String::new(), permission: false });
        Handle::new(Ipmi { client, named })
    };
    assert_eq!(way(true).err().unwrap().exit_code(), 3);
    let (mut handle, mut seen) = (way(false).unwrap(), Seen::default());
    for times in 1..3 {
        assert!(handle.offer(Wish::Bulk, None, &mut seen).unwrap().is_none());
        assert_eq!(seen.count(|event| matches!(event, Event::NotOpened { .. })), times);
    }
}

/// Devices, and no time that passes between two looks.
struct NoTime(FakeBus);

impl crate::usb::Bus for NoTime {
    fn list(&self) -> Result<Vec<crate::usb::Sighting>, inband_usb::HostError> {
        self.0.list()
    }
    fn open(&self, place: &Place) -> Result<crate::usb::Opened, crate::error::DeviceError> {
        self.0.open(place)
    }
    fn advice(&self, place: &Place, error: &inband_usb::HostError) -> Option<String> {
        self.0.advice(place, error)
    }
    fn pause(&self, _: Duration) {}
}

/// Idle, in slot a.
fn status() -> StatusPage {
    StatusPage {
        state: SessionState::Idle,
        door: None,
        result_code: 0,
        doors: [DoorState::Shut; 4],
        on_trial: false,
        other_boots_next: false,
        locked_out: false,
        takes_ahead: false,
        session: 3,
        received: 0,
        announced: 0,
        running: Slot::A,
        boots_next: Slot::A,
        slots: [SlotState::Good; 2],
        bcd_device: [0; 2],
        security_version: 1,
        floor: 0,
        log_records: 0,
        boots_left: 0,
        boots_given: 0,
        head: [0; 16],
        wait_minutes: 0,
    }
}

fn pages(status: &StatusPage) -> [Vec<u8>; 4] {
    let firmware = |slot, version| FirmwarePage {
        state: SlotState::Good,
        slot,
        security_version: 1,
        bcd_device: 0,
        version: Text::cut(version),
    };
    let machine = MachinePage { machine: Text::cut(MACHINE) };
    [
        status.encode(),
        firmware(Slot::A, "1.0.0").encode(),
        firmware(Slot::B, "2.0.0").encode(),
        machine.encode(),
    ]
}

/// How a BMC stands, and the nonce that it tells.
type Told = Rc<RefCell<(StatusPage, u32)>>;

/// A handle that has opened a door of a BMC which then stands so.
fn opened(bench: &Bench, then: (StatusPage, u32)) -> Handle {
    let told: Told = Rc::new(RefCell::new((status(), 0)));
    let telling = Rc::clone(&told);
    let ipmi = double(move |number, command| {
        let (page, nonce) = *telling.borrow();
        match command {
            Command::Capabilities => now(number, Code::OK, able().encode()),
            Command::Info { item, offset } => {
                piece(number, *item, *offset, &pages(&page)[usize::from(item - 0x80)])
            }
            Command::Status => {
                now(number, Code::OK, Status { nonce, flags: FLAG_STARTED, ..Status::default() }.encode())
            }
            Command::Start { tag, .. } => {
                now(number, Code::OK, Started { nonce: NONCE, holds_s: 900 }.encode(*tag))
            }
            _ => Ok(Vec::new()),
        }
    });
    let mut handle = handle(ipmi.client);
    let mut seen = Seen::default();
    let offer = handle.offer(Wish::Bulk, None, &mut seen).unwrap().unwrap();
    handle.open(offer, &bench.plan(Wish::Bulk), &bench.contents, &mut seen).unwrap();
    *told.borrow_mut() = then;
    handle
}

/// The session behind it, of the package of a bench, with a result.
fn ended(bench: &Bench, state: SessionState, result: ResultCode) -> StatusPage {
    let Contents::Package(package) = &bench.contents else { panic!("it is a package") };
    StatusPage {
        state,
        door: Some(SessionDoor::Bulk),
        result_code: result.code(),
        session: 4,
        boots_next: Slot::B,
        head: *package.head_digest.first_chunk().unwrap(),
        ..status()
    }
}

#[test]
fn ipmi_tells_what_came_of_an_update_whose_device_was_lost() {
    let bench = Bench::new();
    let verdict = |then: (StatusPage, u32)| {
        let mut seen = Seen::default();
        let result = opened(&bench, then).verdict(&bench.contents, lost(), &mut seen, &Cancel::default());
        (result, seen)
    };
    let staged = ended(&bench, SessionState::Staged, ResultCode::Ok);
    // Also of a daemon that began anew.
    for nonce in [NONCE, 0] {
        let (result, seen) = verdict((staged, nonce));
        result.unwrap();
        assert_eq!(seen.0, [Event::Staged { slot: Some("b"), version: "2.0.0".into() }]);
    }
    let (result, _) = verdict((ended(&bench, SessionState::Failed, ResultCode::BadChunk), NONCE));
    assert!(matches!(result, Err(Error::Refused { code: ResultCode::BadChunk, .. })));
    let (result, _) = verdict((StatusPage { result_code: 9999, ..staged }, NONCE));
    assert!(matches!(result, Err(Error::UnknownResult { number: 9999, .. })));
    // Of somebody else's start, of the session before, of another package, or of none that has ended.
    for unrelated in [
        (staged, NONCE + 1),
        (StatusPage { session: 3, ..staged }, NONCE),
        (StatusPage { head: [1; 16], ..staged }, NONCE),
        (ended(&bench, SessionState::Receiving, ResultCode::None), NONCE),
    ] {
        let (result, seen) = verdict(unrelated);
        assert!(matches!(result, Err(Error::NotBack { .. })) && seen.0.is_empty());
    }
}

#[test]
fn a_wait_behind_a_shut_door_ends_with_what_runs() {
    let bench = Bench::new();
    let wait = |page: StatusPage, limit| {
        let mut seen = Seen::default();
        let mut handle = opened(&bench, (page, 0));
        (handle.wait_for_activation(limit, &mut seen, &Cancel::default()), seen)
    };
    let done = ended(&bench, SessionState::PendingConfirm, ResultCode::Ok);
    let limit = Duration::from_secs(3600);
    let (result, seen) = wait(StatusPage { running: Slot::B, on_trial: true, ..done }, limit);
    result.unwrap();
    let running = Event::Activated { slot: Some("b"), version: "2.0.0".into(), on_trial: true };
    assert_eq!(seen.0.last(), Some(&running));
    let (result, _) = wait(ended(&bench, SessionState::RolledBack, ResultCode::Unhealthy), limit);
    assert!(matches!(result, Err(Error::Refused { code: ResultCode::Unhealthy, .. })));
    let (result, _) = wait(ended(&bench, SessionState::Staged, ResultCode::Ok), Duration::from_millis(1));
    assert!(matches!(result, Err(Error::NotActivated { .. })));
}

#[test]
fn a_door_that_cannot_be_shut_is_told() {
    let bench = Bench::new();
    let mut seen = Seen::default();
    // It does not answer a stop.
    opened(&bench, (status(), NONCE)).close(&mut seen);
    assert!(matches!(seen.0.as_slice(), [Event::StillOpen { holds_s: 900, .. }]), "{:?}", seen.0);
    Handle::default().close(&mut seen);
    assert_eq!(seen.0.len(), 1);
}
