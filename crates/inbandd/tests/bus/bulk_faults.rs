//! What happens to a bulk exchange: to its transfers, its host, its daemon, and from the other door.

use std::{ops::Range, time::Duration};

use inband_bulk::{
    interface,
    wire::{HEADER_LENGTH, Kind, message},
};
use inband_dfu::wire::{Request, State, Status};
use inband_session::{Rates, ResultCode, SessionState};
use inband_store::{Slot, SlotState, memory::Loss};
use inband_usb::{HostDevice as _, HostError, HostTransfer};
use inband_virtual::memory::{Action, Fault, FaultPlan, MemoryHost, Step};

use crate::{
    bench::{Bench, SLOT, Setting, block, command, dnload, factory, get_status, to_idle},
    bulk::{BULK, assert_resumes, begun, package, ready, update},
    bulk_host::{Parts, answer, chunk, exchange, offer, result, send},
    host::TIMEOUT,
};

/// Downloads in dfu-util's order of requests, once it has claimed the interface and set its alternate setting: it aborts a download that it
/// finds, clears an error, and leaves all else as it is.
fn like_dfu_util(host: &mut MemoryHost, file: &[u8]) -> Result<(), HostError> {
    loop {
        match get_status(host)?.0 {
            State::DfuError => command(host, Request::ClrStatus)?,
            State::DfuDnloadIdle | State::DfuUploadIdle => command(host, Request::Abort)?,
            _ => break,
        }
    }
    for (number, data) in (0..).zip(file.chunks(4096)) {
        assert_eq!(block(host, number, data)?, (State::DfuDnloadIdle, Status::Ok));
    }
    dnload(host, file.len().div_ceil(4096) as u16, &[])?;
    assert_eq!(get_status(host), Ok((State::DfuIdle, Status::Ok)));
    Ok(())
}

#[test]
fn from_one_door_to_the_other_in_the_middle() {
    let file = package().bytes();
    // From bulk to DFU.
    let bench = Bench::with(BULK);
    let (mut host, ..) = begun(&bench);
    command(&mut host, Request::Abort).unwrap();
    drop(host);
    assert!(bench.update(&file).is_ok());
    assert!(bench.medium().slot(Slot::B) == package().slot(SLOT));
    // dfu-util does not look for dfuDNBUSY; but it sets the alternate setting first, which ends what a killed host has left.
    let bench = Bench::with(BULK);
    let (host, ..) = begun(&bench);
    drop(host);
    assert_eq!(like_dfu_util(&mut bench.claim(), &file), Ok(()));
    assert_eq!(bench.status().session, 2);
    assert!(bench.medium().slot(Slot::B) == package().slot(SLOT));
    // And back: what DFU brought is not asked for.
    let bench = Bench::with(BULK);
    let mut host = ready(&bench);
    for (number, data) in (0..).zip(file.chunks(4096).take(file.len() / 4096 / 2)) {
        assert_eq!(block(&mut host, number, data), Ok((State::DfuDnloadIdle, Status::Ok)));
    }
    let parts = Parts::of(&file);
    send(&mut host, Kind::Offer, 1, 0, &parts.head).unwrap();
    assert_eq!(result(&mut host), ResultCode::Busy);
    assert_eq!(get_status(&mut host), Ok((State::DfuDnloadIdle, Status::Ok)));
    bench.assert_session(SessionState::Receiving, ResultCode::None);
    drop(host);
    assert_resumes(&bench, "dfu to bulk");
}

/// Runs a host program on a new BMC with one fault, and what happens then up to the next session. Whether the first one failed, and how many
/// chunks the next one had not to send.
fn with_fault(fault: Fault) -> (bool, usize) {
    let context = format!("{fault:?}");
    let bench = Bench::with(BULK);
    let unplugs = fault.action == Action::Unplug;
    let parts = Parts::of(&package().bytes());
    drop(ready(&bench));
    bench.bus.set_faults(FaultPlan::new([fault]));
    let first = {
        let mut host = bench.claim();
        host.claim(interface::INTERFACE).unwrap();
        exchange(&mut host, 1, &parts, |_, _| {})
    };
    bench.bus.set_faults(FaultPlan::default());
    if unplugs {
        bench.bus.advance(Duration::from_secs(1));
        bench.bus.plug();
    }
    bench.wait_attached();
    bench.bus.advance(Duration::from_secs(1));
    bench.wait_attached();
    let status = bench.status();
    let whole = bench.medium().slot(Slot::B) == package().slot(SLOT);
    assert!(status.slots[1] != SlotState::Staged || whole, "{context}: staged, and not what was sent");
    assert!(first.as_ref().is_ok_and(|went| went.result() == ResultCode::Ok) <= whole, "{context}");
    let has = parts.held(bench.medium().slot(Slot::B));
    let again = update(&bench, 2, &package().bytes()).unwrap();
    assert_eq!(again.result(), ResultCode::Ok, "{context}, {first:?}");
    assert!(bench.medium().slot(Slot::B) == package().slot(SLOT), "{context}");
    let all = parts.chunks.len();
    assert_eq!(again.sent.len(), all - has, "{context}: {has} of {all} were there");
    bench.assert_factory_runs();
    (first.is_err(), has)
}

#[test]
fn whatever_happens_to_a_transfer_the_next_session_brings_what_is_missing() {
    let transfers = {
        let bench = Bench::with(BULK);
        drop(ready(&bench));
        bench.bus.set_faults(FaultPlan::default());
        assert_eq!(update(&bench, 1, &package().bytes()).unwrap().result(), ResultCode::Ok);
        bench.bus.transfers()
    };
    assert!(transfers > 8, "{transfers}");
    for action in [Action::Unplug, Action::Reset, Action::Drop] {
        let (mut failed, mut most) = (0, 0);
        for transfer in 0..=transfers {
            for step in [Step::Setup, Step::Data(1024), Step::Data(20_000), Step::Status] {
                let (fails, spared) = with_fault(Fault { transfer, step, action: action.clone() });
                failed += u32::from(fails);
                most = most.max(if fails { spared } else { 0 });
            }
        }
        assert!(failed > 5, "{action:?}: {failed} sessions failed");
        assert!(most > 0, "{action:?}: all was sent again");
    }
}

#[test]
fn the_daemon_killed_at_every_chunk() {
    // A slot of this length has room for a few chunks, and so for no mark but those that are asked for.
    let setting = Setting { mark_every: 1, ..BULK };
    let parts = Parts::of(&package().bytes());
    let all = parts.chunks.len();
    // Bytes of the stream that so many chunks have.
    let stream = |count: usize| -> usize {
        let messages = parts.chunks[..count].iter().map(|chunk| HEADER_LENGTH + chunk.len());
        messages.map(|length| length.next_multiple_of(512)).sum()
    };
    for loss in [None, Some(Loss::All), Some(Loss::None), Some(Loss::Some), Some(Loss::Older)] {
        let mut spared = 0;
        for count in 0..=all {
            let context = format!("{loss:?} behind {count} chunks");
            let bench = Bench::with(setting);
            let mut host = ready(&bench);
            assert_eq!(offer(&mut host, 1, &parts).len(), all);
            for number in 0..count {
                chunk(&mut host, 1, &parts, number as u32).unwrap();
                bench.bus.advance(Duration::from_millis(1));
            }
            drop(host);
            let has = parts.held(bench.medium().slot(Slot::B));
            // What lies in a read that is not full has not been seen.
            assert!(has == count || stream(has + 1) + 65_536 > stream(count), "{context}: {has}");
            let bench = match loss {
                Some(loss) => bench.power_cycle(loss),
                None => Bench::daemon(setting, bench.kill()),
            };
            let status = bench.status();
            if status.slots[1] == SlotState::Staged || status.running == Slot::B {
                assert_eq!(count, all, "{context}");
                assert!(bench.medium().slot(Slot::B) == package().slot(SLOT), "{context}");
                continue;
            }
            bench.assert_session(SessionState::Interrupted, ResultCode::Interrupted);
            assert_eq!((status.slots[1], status.boots_next), (SlotState::Invalid, Slot::A), "{context}");
            assert!(bench.medium().slot(Slot::A) == factory(), "{context}");
            let went = update(&bench, 2, &package().bytes()).unwrap();
            assert_eq!(went.result(), ResultCode::Ok, "{context}");
            assert!(bench.medium().slot(Slot::B) == package().slot(SLOT), "{context}");
            if matches!(loss, None | Some(Loss::None)) {
                // What was written is not lost with the daemon, and its mark stands behind it.
                assert_eq!(went.sent, (has as u32..all as u32).collect::<Vec<_>>(), "{context}");
            }
            spared = spared.max(all - went.sent.len());
        }
        assert!(spared > 0, "{loss:?}: all was sent again");
    }
}

/// The next exchange sends exactly these chunks, and the slot is the package's.
fn the_rest_comes(bench: &Bench, rest: Range<u32>, context: &str) {
    let went = update(bench, 2, &package().bytes()).unwrap();
    assert_eq!(went.result(), ResultCode::Ok, "{context}");
    assert_eq!(went.sent, rest.collect::<Vec<_>>(), "{context}");
    assert!(bench.medium().slot(Slot::B) == package().slot(SLOT), "{context}");
    bench.assert_factory_runs();
}

/// How a host leaves an exchange.
#[derive(Clone, Copy, Debug)]
enum Left {
    /// Its program is gone; the next one claims the interfaces, and so sets their alternate settings.
    Alone,
    /// It resets the bus.
    Reset,
    /// It pulls the cable.
    Unplugged,
    /// It says no more.
    Silent,
}

#[test]
fn the_host_killed_at_every_message() {
    let parts = Parts::of(&package().bytes());
    let all = parts.chunks.len() as u32;
    for left in [Left::Alone, Left::Reset, Left::Unplugged, Left::Silent] {
        let mut spared = 0;
        for count in 0..all {
            let context = format!("{left:?} behind {count} chunks");
            let bench = Bench::with(BULK);
            let mut host = ready(&bench);
            assert_eq!(offer(&mut host, 1, &parts).len(), parts.chunks.len());
            for number in 0..count {
                chunk(&mut host, 1, &parts, number).unwrap();
                bench.bus.advance(Duration::from_millis(1));
            }
            let expected = match left {
                Left::Alone => (SessionState::Aborted, ResultCode::Aborted),
                Left::Reset => {
                    host.reset().unwrap();
                    (SessionState::Failed, ResultCode::Disconnected)
                }
                Left::Unplugged => {
                    bench.bus.unplug();
                    bench.bus.advance(Duration::from_secs(1));
                    bench.bus.plug();
                    (SessionState::Failed, ResultCode::Disconnected)
                }
                Left::Silent => {
                    bench.bus.advance(Duration::from_secs(61));
                    (SessionState::Failed, ResultCode::Timeout)
                }
            };
            drop(host);
            drop(ready(&bench));
            bench.assert_session(expected.0, expected.1);
            assert_eq!(bench.status().slots, [SlotState::Good, SlotState::Invalid], "{context}");
            let has = parts.held(bench.medium().slot(Slot::B)) as u32;
            the_rest_comes(&bench, has..all, &context);
            spared = spared.max(has);
        }
        assert!(spared > 0, "{left:?}: all was sent again");
    }
}

/// What becomes of a chunk's message.
#[derive(Clone, Copy, Debug)]
enum Mishap {
    Corrupted,
    Duplicated,
    Reordered,
    Oversized,
    Undersized,
}

#[test]
fn whatever_becomes_of_a_message_the_next_exchange_brings_what_is_missing() {
    let parts = Parts::of(&package().bytes());
    let all = parts.chunks.len() as u32;
    for mishap in
        [Mishap::Corrupted, Mishap::Duplicated, Mishap::Reordered, Mishap::Oversized, Mishap::Undersized]
    {
        let mut spared = 0;
        for at in 0..all - 1 {
            let context = format!("chunk {at} {mishap:?}");
            let bench = Bench::with(BULK);
            let mut host = ready(&bench);
            assert_eq!(offer(&mut host, 1, &parts).len(), parts.chunks.len());
            for number in 0..at {
                chunk(&mut host, 1, &parts, number).unwrap();
                bench.bus.advance(Duration::from_millis(1));
            }
            let mut body = parts.chunks[at as usize].clone();
            let mut expected = ResultCode::Protocol;
            match mishap {
                Mishap::Corrupted => {
                    *body.last_mut().unwrap() ^= 1;
                    expected = ResultCode::BadChunk;
                }
                Mishap::Duplicated => chunk(&mut host, 1, &parts, at).unwrap(),
                Mishap::Reordered => chunk(&mut host, 1, &parts, at + 1).unwrap(),
                Mishap::Oversized => body.push(0),
                Mishap::Undersized => _ = body.pop(),
            }
            send(&mut host, Kind::Chunk, 1, at, &body).unwrap();
            // The device sees it once its read has ended.
            for number in at + 1..all {
                chunk(&mut host, 1, &parts, number).unwrap();
            }
            assert_eq!(result(&mut host), expected, "{context}");
            drop(host);
            bench.assert_session(SessionState::Failed, expected);
            let has = parts.held(bench.medium().slot(Slot::B)) as u32;
            assert!(has <= at + 1, "{context}: {has}");
            the_rest_comes(&bench, has..all, &context);
            spared = spared.max(has);
        }
        assert!(spared > 0, "{mishap:?}: all was sent again");
    }
}

/// Two programs, each with one of the interfaces.
#[test]
fn one_program_by_bulk_and_another_by_dfu() {
    let file = package().bytes();
    let parts = Parts::of(&file);
    let bench = Bench::with(BULK);
    drop(ready(&bench));
    let mut dfu = bench.claim();
    let mut bulk = bench.open();
    bulk.claim(interface::INTERFACE).unwrap();
    assert_eq!(dfu.claim(interface::INTERFACE), Err(HostError::Busy), "a second one by bulk");
    // Bulk was first: the other one changes nothing, until it ends the exchange.
    let asked = offer(&mut bulk, 1, &parts);
    assert_eq!(dnload(&mut dfu, 0, &file[..4096]), Err(HostError::Stall));
    chunk(&mut bulk, 1, &parts, asked[0]).unwrap();
    bench.assert_session(SessionState::Receiving, ResultCode::None);
    to_idle(&mut dfu);
    assert_eq!(result(&mut bulk), ResultCode::Aborted);
    // DFU is first: an offer is answered, and what follows it is dropped.
    assert_eq!(block(&mut dfu, 0, &file[..4096]), Ok((State::DfuDnloadIdle, Status::Ok)));
    send(&mut bulk, Kind::Offer, 2, 0, &parts.head).unwrap();
    assert_eq!(result(&mut bulk), ResultCode::Busy);
    for number in &asked {
        chunk(&mut bulk, 2, &parts, *number).unwrap();
    }
    for (number, data) in (1..).zip(file[4096..].chunks(4096)) {
        let (state, status) = block(&mut dfu, number, data).unwrap();
        assert_eq!((state, status), (State::DfuDnloadIdle, Status::Ok));
    }
    dnload(&mut dfu, (file.len().div_ceil(4096)) as u16, &[]).unwrap();
    assert_eq!(get_status(&mut dfu), Ok((State::DfuIdle, Status::Ok)));
    bench.assert_session(SessionState::Staged, ResultCode::Ok);
    assert!(bench.medium().slot(Slot::B) == package().slot(SLOT));
}

/// A second offer in an exchange ends it, and is not taken for the beginning of another.
#[test]
fn two_programs_by_bulk_that_know_nothing_of_each_other() {
    let bench = Bench::with(BULK);
    let (mut host, parts, _) = begun(&bench);
    send(&mut host, Kind::Offer, 2, 0, &parts.head).unwrap();
    // The device sees it once its read has ended.
    let data = vec![0; 65_536];
    host.run(HostTransfer::BulkOut { endpoint: interface::OUT, data }, TIMEOUT).unwrap();
    assert_eq!(result(&mut host), ResultCode::Protocol);
    drop(host);
    bench.assert_session(SessionState::Failed, ResultCode::Protocol);
    assert_eq!(bench.status().session, 1);
    assert_resumes(&bench, "two offers");
}

/// The progress rule: 64 KiB in a minute, however many bytes come one by one.
#[test]
fn a_slow_host_is_served_and_a_slower_one_is_not() {
    let parts = Parts::of(&package().bytes());
    let bench = Bench::with(BULK);
    let mut host = ready(&bench);
    let asked = offer(&mut host, 1, &parts);
    let started = bench.bus.now();
    for number in asked {
        host.wait(Duration::from_secs(15));
        chunk(&mut host, 1, &parts, number).unwrap();
    }
    assert_eq!(result(&mut host), ResultCode::Ok);
    assert!(bench.bus.now() - started > Duration::from_secs(60));
    bench.assert_session(SessionState::Staged, ResultCode::Ok);

    let bench = Bench::with(BULK);
    let mut host = ready(&bench);
    let asked = offer(&mut host, 1, &parts);
    let started = bench.bus.now();
    let bytes: Vec<u8> = asked
        .iter()
        .flat_map(|number| message(Kind::Chunk, 1, *number, &parts.chunks[*number as usize]))
        .collect();
    for unit in bytes.chunks(512) {
        if bench.status().state != SessionState::Receiving {
            break;
        }
        let transfer = HostTransfer::BulkOut { endpoint: interface::OUT, data: unit.to_vec() };
        host.run(transfer, TIMEOUT).unwrap();
        host.wait(Duration::from_secs(1));
    }
    let took = bench.bus.now() - started;
    assert!((Duration::from_secs(60)..Duration::from_secs(63)).contains(&took), "{took:?}");
    assert_eq!(result(&mut host), ResultCode::Timeout);
    bench.assert_session(SessionState::Failed, ResultCode::Timeout);
    drop(host);
    assert_eq!(update(&bench, 2, &package().bytes()).unwrap().result(), ResultCode::Ok);
}

#[test]
fn offers_without_end_meet_the_lock_out_and_the_budgets() {
    let usual = Setting { rates: Rates::default(), refusals: 10, ..BULK };
    let good = Parts::of(&package().bytes());
    let mut bad = good.clone();
    // In the signature.
    bad.head[1536] ^= 1;
    let bench = Bench::with(usual);
    for exchange in 1..=10 {
        let mut host = ready(&bench);
        send(&mut host, Kind::Offer, exchange, 0, &bad.head).unwrap();
        assert_eq!(result(&mut host), ResultCode::BadSignature);
    }
    for parts in [&bad, &good] {
        let mut host = ready(&bench);
        send(&mut host, Kind::Offer, 11, 0, &parts.head).unwrap();
        assert_eq!(result(&mut host), ResultCode::LockedOut);
        assert_eq!(get_status(&mut host), Ok((State::DfuError, Status::ErrVendor)));
    }
    assert_eq!((bench.status().session, bench.status().locked_out), (10, true));

    let bench = Bench::with(usual);
    let mut begun = 0;
    loop {
        let mut host = ready(&bench);
        send(&mut host, Kind::Offer, begun + 1, 0, &good.head).unwrap();
        let (header, _) = answer(&mut host);
        if header.kind == Kind::Result.number() {
            break;
        }
        begun += 1;
        assert!(begun < 1000);
    }
    let status = bench.status();
    assert_eq!(status.session, begun);
    assert!(begun > 10 && status.wait_minutes > 0 && !status.locked_out, "{begun}");
    let mut host = ready(&bench);
    send(&mut host, Kind::Offer, 2000, 0, &good.head).unwrap();
    assert_eq!(result(&mut host), ResultCode::Worn);
    to_idle(&mut host);
    assert_eq!(dnload(&mut host, 0, &package().bytes()[..4096]), Err(HostError::Stall));
    drop(host);
    bench.assert_factory_runs();
}
