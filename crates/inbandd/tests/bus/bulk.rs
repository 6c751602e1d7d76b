//! The bulk door: packages by it, and what becomes of it beside DFU.

use std::time::Duration;

use inband_bulk::{
    interface::{self, IN, OUT},
    wire::{Kind, message},
};
use inband_dfu::wire::{Request, State, Status, StatusReply};
use inband_session::{Door, DoorPolicy, DoorState, ResultCode, SessionState};
use inband_store::{Slot, SlotState};
use inband_usb::{
    HostDevice, HostError, HostTransfer, Setup,
    chapter9::request,
    descriptor::{CONFIGURATION, parse_configuration},
};
use inband_virtual::memory::MemoryHost;
use inbandd::command::{Answer, Ask};

use crate::{
    bench::{Bench, Hold, SLOT, Setting, answered, command, dnload, get_status, new_store, to_idle},
    bulk_host::{Parts, Went, answer, chunk, exchange, offer, result, send},
    host::{TIMEOUT, page_setup},
    package::{Package, noise},
    refused::{Bad, bad_packages, members_at},
};

pub(crate) const BULK: Setting = Setting { bulk: DoorPolicy::Always, ..Setting::DEFAULT };

/// Opens the device in DFU mode, both interfaces claimed, in dfuIDLE.
pub(crate) fn ready(bench: &Bench) -> MemoryHost {
    let mut host = if bench.in_dfu_mode() { bench.claim() } else { bench.enter_dfu() };
    host.claim(interface::INTERFACE).unwrap();
    to_idle(&mut host);
    host
}

/// A whole update by bulk, from whichever mode.
pub(crate) fn update(bench: &Bench, number: u32, file: &[u8]) -> Result<Went, String> {
    exchange(&mut ready(bench), number, &Parts::of(file), |_, _| {})
}

pub(crate) fn package() -> Package {
    Package::new(0x0215, 150_000)
}

/// An exchange in its middle: two chunks have come.
pub(crate) fn begun(bench: &Bench) -> (MemoryHost, Parts, Vec<u32>) {
    let parts = Parts::of(&package().bytes());
    let mut host = ready(bench);
    let asked = offer(&mut host, 1, &parts);
    for number in &asked[..2] {
        chunk(&mut host, 1, &parts, *number).unwrap();
    }
    bench.bus.advance(Duration::from_millis(1));
    assert_eq!(bench.status().state, SessionState::Receiving);
    (host, parts, asked)
}

/// Asserts that the package is staged by a second exchange that brings what the first one did not, but for what lay in a read.
#[track_caller]
pub(crate) fn assert_resumes(bench: &Bench, context: &str) {
    let went = update(bench, 99, &package().bytes()).unwrap();
    let all = Parts::of(&package().bytes()).chunks.len();
    assert_eq!(went.result(), ResultCode::Ok, "{context}");
    assert!(went.sent.len() < all, "{context}: all was sent anew");
    assert!(bench.medium().slot(Slot::B) == package().slot(SLOT), "{context}");
    bench.assert_factory_runs();
}

#[test]
fn a_package_into_an_empty_slot() {
    let bench = Bench::with(BULK);
    let package = package();
    let parts = Parts::of(&package.bytes());
    let went = update(&bench, 1, &package.bytes()).unwrap();
    assert_eq!((went.result(), went.outcome.session), (ResultCode::Ok, 1));
    assert_eq!(went.sent, (0..parts.chunks.len() as u32).collect::<Vec<_>>());
    let status = bench.status();
    assert_eq!((status.state, status.result()), (SessionState::Staged, Some(ResultCode::Ok)));
    assert_eq!((status.door, status.doors[1]), (Some(Door::Bulk), DoorState::Open));
    assert_eq!((status.slots, status.boots_next), ([SlotState::Good, SlotState::Staged], Slot::B));
    let bodies: usize = parts.head.len() + parts.chunks.iter().map(Vec::len).sum::<usize>();
    assert_eq!(status.received as usize, bodies);
    assert!(bench.medium().slot(Slot::B) == package.slot(SLOT));
    bench.assert_factory_runs();
    assert_eq!(get_status(&mut bench.claim()), Ok((State::DfuIdle, Status::Ok)));
    // As behind a download.
    bench.wait_return(Duration::from_secs(6));
    assert!(!bench.in_dfu_mode());
    assert_eq!(bench.status().doors[..2], [DoorState::Armed; 2]);
    // Once more: it is all there.
    let went = update(&bench, 2, &package.bytes()).unwrap();
    assert_eq!((went.result(), went.sent), (ResultCode::Ok, vec![]));
    assert!(bench.medium().slot(Slot::B) == package.slot(SLOT));
}

/// What a host finds of bulk: interfaces in the set that is on the bus, and whether page 4 is answered.
fn found(bench: &Bench) -> (usize, bool) {
    let mut host = bench.open();
    let setup = Setup {
        request_type: 0x80,
        request: request::GET_DESCRIPTOR,
        value: u16::from(CONFIGURATION) << 8,
        index: 0,
        length: 255,
    };
    let configuration = parse_configuration(&host.control_in(setup, TIMEOUT).unwrap()).unwrap();
    assert_eq!(interface::find(&configuration).is_some(), configuration.interfaces.len() == 2);
    let page = answered(&mut host, page_setup(interface::PAGE)).inspect(|length| assert_eq!(*length, 12));
    (configuration.interfaces.len(), page.is_some())
}

#[test]
fn the_interface_is_there_in_dfu_mode_where_the_door_is_open() {
    let bench = Bench::with(BULK);
    assert_eq!(found(&bench), (1, true));
    let page = bench.open().control_in(page_setup(interface::PAGE), TIMEOUT).unwrap();
    assert_eq!(page, [1, 12, 1, 1, 1, 0, 0, 0, 0, 0, 0x10, 0]);
    drop(bench.enter_dfu());
    assert_eq!(found(&bench), (2, true));
    bench.leave_dfu();
    assert_eq!(found(&bench), (1, true));

    let bench = Bench::new();
    drop(bench.enter_dfu());
    assert_eq!(found(&bench), (1, false));

    let bench = Bench::with(Setting { bulk: DoorPolicy::Armed, ..Setting::DEFAULT });
    drop(bench.enter_dfu());
    assert_eq!((found(&bench), bench.status().doors[1]), ((1, true), DoorState::Shut));
    bench.leave_dfu();
    assert_eq!(bench.ask(Ask::Arm(Door::Bulk)), Answer::Done);
    drop(bench.enter_dfu());
    assert_eq!((found(&bench), bench.status().doors[1]), ((2, true), DoorState::Open));
    bench.leave_dfu();
    assert_eq!((found(&bench), bench.status().doors[1]), ((1, true), DoorState::Shut));
}

#[test]
fn a_controller_without_the_endpoints_has_the_door_dfu_alone() {
    for policy in [DoorPolicy::Always, DoorPolicy::Armed] {
        let bench = Bench::with(Setting { bulk: policy, ..Setting::DEFAULT });
        let arm = || {
            if policy == DoorPolicy::Armed {
                assert_eq!(bench.ask(Ask::Arm(Door::Bulk)), Answer::Done);
            }
        };
        let stands = || bench.status().doors[1];
        bench.bus.limit_endpoints(1);
        arm();
        assert_eq!((found(&bench), stands()), ((1, true), DoorState::Armed), "nobody has tried yet");
        // Again and again: the BMC takes its update by DFU, and says why a host need not look for more.
        for number in 0..2 {
            drop(bench.enter_dfu());
            assert_eq!((found(&bench), stands()), ((1, false), DoorState::Shut), "{policy:?} {number}");
            bench.update(&package().bytes()).unwrap();
            bench.assert_session(SessionState::Staged, ResultCode::Ok);
            bench.leave_dfu();
            assert_eq!((found(&bench), stands()), ((1, false), DoorState::Shut), "{policy:?} {number}");
            arm();
        }
        // What had the endpoints gives them back.
        bench.bus.limit_endpoints(2);
        drop(bench.enter_dfu());
        assert_eq!((found(&bench), stands()), ((2, true), DoorState::Open), "{policy:?}");
        assert_eq!(update(&bench, 1, &package().bytes()).unwrap().result(), ResultCode::Ok);
    }
}

#[test]
fn what_is_refused_is_refused_before_a_chunk_is_asked_for_and_the_slot_is_touched() {
    let mut cases = 0;
    for Bad { name, file, result, status, before_writing } in bad_packages() {
        // What stands behind the index is never sent, or is data.
        if !before_writing || file.len() < 5000 || name == "no package" {
            continue;
        }
        cases += 1;
        let bench = Bench::with(BULK);
        let head = file[..members_at(&file)].to_vec();
        let parts = Parts { head, chunks: vec![vec![0; 60_000]] };
        let went = exchange(&mut ready(&bench), 1, &parts, |_, _| panic!("{name}: asked for")).unwrap();
        assert_eq!((went.result(), went.outcome.session), (result, 1), "{name}");
        assert_eq!(get_status(&mut bench.claim()), Ok((State::DfuError, status)), "{name}");
        let page = bench.status();
        assert_eq!((page.state, page.result()), (SessionState::Failed, Some(result)), "{name}");
        assert_eq!(page.slots, [SlotState::Good, SlotState::Empty], "{name}");
        assert!(bench.medium().slot(Slot::B) == new_store().slot(Slot::B), "{name}");
        // CLRSTATUS comes first.
        let mut host = bench.claim();
        host.claim(interface::INTERFACE).unwrap();
        send(&mut host, Kind::Offer, 2, 0, &parts.head).unwrap();
        assert_eq!(self::result(&mut host), ResultCode::Sequence, "{name}");
        assert_eq!(get_status(&mut host), Ok((State::DfuError, status)), "{name}");
        drop(host);
        assert_eq!(update(&bench, 3, &package().bytes()).unwrap().result(), ResultCode::Ok, "{name}");
    }
    assert!(cases > 8, "{cases}");
}

#[test]
fn dfu_tells_of_the_exchange_and_does_not_disturb_it() {
    let bench = Bench::with(BULK);
    let (mut host, parts, asked) = begun(&bench);
    let reply = host.control_in(Request::GetStatus.setup(0, 0, 6), TIMEOUT).unwrap();
    let reply = StatusReply::parse(&reply).unwrap();
    assert_eq!((reply.state, reply.status, reply.poll_timeout_ms), (State::DfuDnbusy, Status::Ok, 50));
    assert_eq!(dnload(&mut host, 0, &[0; 100]), Err(HostError::Stall));
    assert_eq!(dnload(&mut host, 0, &[]), Err(HostError::Stall));
    assert_eq!(command(&mut host, Request::ClrStatus), Err(HostError::Stall));
    // Nobody says anything for longer than DFU mode waits, and less than the progress rule.
    host.wait(Duration::from_secs(59));
    bench.hold(Hold::Finish);
    for number in &asked[2..] {
        chunk(&mut host, 1, &parts, *number).unwrap();
    }
    bench.bus.advance(Duration::from_millis(10));
    assert_eq!(get_status(&mut host), Ok((State::DfuManifest, Status::Ok)));
    // The host ends nothing any more, and nobody else begins.
    assert_eq!(command(&mut host, Request::Abort), Err(HostError::Stall));
    assert_eq!(command(&mut host, Request::Detach), Err(HostError::Stall));
    host.reset().unwrap();
    drop(host);
    bench.wait_attached();
    let mut host = bench.claim();
    host.claim(interface::INTERFACE).unwrap();
    send(&mut host, Kind::Offer, 2, 0, &parts.head).unwrap();
    assert_eq!(result(&mut host), ResultCode::Busy);
    bench.hold(Hold::Nothing);
    assert_eq!(get_status(&mut host), Ok((State::DfuIdle, Status::Ok)));
    bench.assert_session(SessionState::Staged, ResultCode::Ok);
    assert!(bench.medium().slot(Slot::B) == package().slot(SLOT));
}

#[test]
fn every_way_to_end_an_exchange() {
    let ended = |bench: &Bench, state, code| {
        bench.assert_session(state, code);
        assert_resumes(bench, code.name());
    };
    // ABORT.
    let bench = Bench::with(BULK);
    let (mut host, ..) = begun(&bench);
    command(&mut host, Request::Abort).unwrap();
    assert_eq!(get_status(&mut host), Ok((State::DfuIdle, Status::Ok)));
    assert_eq!(result(&mut host), ResultCode::Aborted);
    drop(host);
    ended(&bench, SessionState::Aborted, ResultCode::Aborted);

    // DETACH.
    let bench = Bench::with(BULK);
    let (mut host, ..) = begun(&bench);
    _ = command(&mut host, Request::Detach);
    drop(host);
    bench.wait_return(Duration::from_secs(5));
    assert!(!bench.in_dfu_mode());
    ended(&bench, SessionState::Aborted, ResultCode::Aborted);

    // Bus reset.
    let bench = Bench::with(BULK);
    let (mut host, ..) = begun(&bench);
    host.reset().unwrap();
    drop(host);
    ended(&bench, SessionState::Failed, ResultCode::Disconnected);

    // SET_INTERFACE, as a host program sends that begins anew.
    let bench = Bench::with(BULK);
    let (mut host, ..) = begun(&bench);
    let setup = Setup { request_type: 0x01, request: request::SET_INTERFACE, value: 0, index: 1, length: 0 };
    host.control_out(setup, Vec::new(), TIMEOUT).unwrap();
    drop(host);
    ended(&bench, SessionState::Aborted, ResultCode::Aborted);

    // Somebody on the BMC.
    let bench = Bench::with(BULK);
    let (mut host, ..) = begun(&bench);
    assert_eq!(bench.ask(Ask::Abort), Answer::Done);
    assert_eq!(result(&mut host), ResultCode::Aborted);
    assert_eq!(get_status(&mut host), Ok((State::DfuIdle, Status::Ok)));
    drop(host);
    ended(&bench, SessionState::Aborted, ResultCode::Aborted);

    // Nobody.
    let bench = Bench::with(BULK);
    let (mut host, ..) = begun(&bench);
    host.wait(Duration::from_secs(59));
    bench.assert_session(SessionState::Receiving, ResultCode::None);
    host.wait(Duration::from_secs(2));
    assert_eq!(result(&mut host), ResultCode::Timeout);
    assert_eq!(get_status(&mut host), Ok((State::DfuError, Status::ErrNotDone)));
    drop(host);
    ended(&bench, SessionState::Failed, ResultCode::Timeout);

    // A chunk that was not asked for next.
    let bench = Bench::with(BULK);
    let (mut host, parts, asked) = begun(&bench);
    // The device sees it once its read has ended.
    for _ in 0..3 {
        chunk(&mut host, 1, &parts, asked[1]).unwrap();
    }
    assert_eq!(result(&mut host), ResultCode::Protocol);
    assert_eq!(get_status(&mut host), Ok((State::DfuError, Status::ErrVendor)));
    drop(host);
    ended(&bench, SessionState::Failed, ResultCode::Protocol);
}

#[test]
fn what_nobody_has_read_is_gone_behind_an_abort_or_a_clrstatus() {
    let bench = Bench::with(BULK);
    let unread = |host: &mut MemoryHost| {
        let read = HostTransfer::BulkIn { endpoint: IN, length: 512 };
        host.run(read, Duration::from_millis(100)).map(|completion| completion.length)
    };
    // An OFFER of no length that one can have: a RESULT, and no session.
    let mut host = ready(&bench);
    send(&mut host, Kind::Offer, 1, 0, &[]).unwrap();
    assert_eq!(get_status(&mut host), Ok((State::DfuIdle, Status::Ok)));
    command(&mut host, Request::Abort).unwrap();
    assert_eq!(unread(&mut host), Err(HostError::Cancelled));
    drop(host);
    // One of zeros: a RESULT, and dfuERROR.
    let mut host = ready(&bench);
    send(&mut host, Kind::Offer, 2, 0, &[0; 3072]).unwrap();
    bench.bus.advance(Duration::from_millis(1));
    assert_eq!(get_status(&mut host).unwrap().0, State::DfuError);
    command(&mut host, Request::ClrStatus).unwrap();
    assert_eq!(unread(&mut host), Err(HostError::Cancelled));
    drop(host);
    assert_eq!(update(&bench, 3, &package().bytes()).unwrap().result(), ResultCode::Ok);
}

#[test]
fn a_controller_that_calls_what_was_taken_back_disabled_reads_on() {
    let bench = Bench::with(BULK);
    bench.bus.cancel_as_disabled();
    for number in 1..3 {
        let mut host = ready(&bench);
        // As our host does it, and the reads are taken back.
        command(&mut host, Request::Abort).unwrap();
        let went = exchange(&mut host, number, &Parts::of(&package().bytes()), |_, _| {});
        assert_eq!(went.unwrap().result(), ResultCode::Ok);
    }
}

#[test]
fn no_time_runs_for_a_host_while_the_bmc_is_at_work() {
    let bench = Bench::with(BULK);
    let (mut host, parts, asked) = begun(&bench);
    bench.hold(Hold::Everything);
    for number in &asked[2..] {
        chunk(&mut host, 1, &parts, *number).unwrap();
    }
    host.wait(Duration::from_secs(600));
    bench.assert_session(SessionState::Receiving, ResultCode::None);
    bench.hold(Hold::Nothing);
    assert_eq!(result(&mut host), ResultCode::Ok);
    bench.assert_session(SessionState::Staged, ResultCode::Ok);
}

#[test]
fn what_is_taken_before_it_is_worked_on_is_what_page_4_says() {
    const FILE: usize = 4 << 20;
    let bench = Bench::with(BULK);
    let mut host = ready(&bench);
    bench.hold(Hold::Everything);
    send(&mut host, Kind::Whole, 1, 0, &(FILE as u64).to_le_bytes()).unwrap();
    let (header, _) = answer(&mut host);
    assert_eq!(Kind::from_number(header.kind), Some(Kind::Need));
    let mut taken = 0;
    for number in 0.. {
        let data = message(Kind::Chunk, 1, number, &vec![0; 65_536]);
        taken += data.len();
        if host.run(HostTransfer::BulkOut { endpoint: OUT, data }, Duration::from_secs(1)).is_err() {
            break;
        }
    }
    assert!((1 << 20..(1 << 20) + 3 * 66_048).contains(&taken), "{taken}");
    // The slowest answers are quick all the same, and who sends no more is not late.
    assert_eq!(get_status(&mut host), Ok((State::DfuDnbusy, Status::Ok)));
    host.wait(Duration::from_secs(120));
    bench.hold(Hold::Nothing);
    assert_eq!(result(&mut host), ResultCode::BadHead);
}

#[test]
fn noise_before_and_between_exchanges_changes_nothing() {
    let bench = Bench::with(BULK);
    let mut host = ready(&bench);
    for length in [512, 1, 511, 513, 4096, 100_000] {
        let data = noise(length, length as u64);
        host.run(HostTransfer::BulkOut { endpoint: OUT, data }, TIMEOUT).unwrap();
    }
    let status = bench.status();
    assert_eq!((status.state, status.session), (SessionState::Idle, 0));
    assert_eq!(
        exchange(&mut host, 1, &Parts::of(&package().bytes()), |_, _| {}).unwrap().result(),
        ResultCode::Ok
    );
}

/// The host has its NEED, and sends nothing yet: what the BMC tells of itself is so already.
#[test]
fn an_offer_that_is_accepted_is_told() {
    let bench = Bench::with(BULK);
    let parts = Parts::of(&Package::new(0x0215, 150_000).bytes());
    let mut host = ready(&bench);
    let offer = |length: usize| {
        let mut data = message(Kind::Offer, 1, 0, &parts.head);
        data.truncate(length);
        HostTransfer::BulkOut { endpoint: interface::OUT, data }
    };
    let limit = Duration::from_secs(5);
    host.run(offer(1024), limit).unwrap();
    let status = bench.status();
    assert_eq!(
        (status.state, status.head, status.slots[1]),
        (SessionState::Receiving, [0; 16], SlotState::Empty)
    );
    host.run(HostTransfer::ControlOut { setup: Request::Abort.setup(0, 0, 0), data: Vec::new() }, limit)
        .unwrap();
    to_idle(&mut host);

    host.run(offer(usize::MAX), limit).unwrap();
    host.run(HostTransfer::BulkIn { endpoint: interface::IN, length: 512 }, limit).unwrap();
    let status = bench.status();
    assert_eq!((status.state, status.slots[1]), (SessionState::Receiving, SlotState::Invalid));
    assert_ne!(status.head, [0; 16]);
    assert_eq!(status.received as usize, parts.head.len());
}
