//! What we thought of ourselves.

use std::{thread, time::Duration};

use inband_dfu::wire::{Request, State, Status};
use inband_session::{ResultCode, SessionState};
use inband_usb::Setup;
use nusb::{MaybeFuture as _, transfer::TransferError};

use crate::{
    run::Scenario,
    target::{BLOCK, Outcome, Target, detach, ensure, ensure_stall},
    wire::{InFlight, LIMIT, Mode, Opened, rubbish},
};

pub(crate) const SCENARIOS: &[(&str, Scenario)] = &[
    ("end-in-dfu-idle", end_in_dfu_idle),
    ("end-twice", end_twice),
    ("getstatus-flood", getstatus_flood),
    ("detach-storm", detach_storm),
    ("detach-and-gone", detach_and_gone),
    ("set-interface-mid-download", set_interface_mid_download),
    ("unconfigured-mid-download", unconfigured_mid_download),
    ("abort-and-another-half", abort_and_another_half),
    ("wrong-block-numbers", wrong_block_numbers),
    ("block-ahead-of-a-busy-device", block_ahead_of_a_busy_device),
    ("rubbish-without-end", rubbish_without_end),
    ("second-program", second_program),
    ("answers-cut-short", answers_cut_short),
    ("random-storm", random_storm),
];

/// For connections that carry a bus reset.
pub(crate) const BUS_RESETS: &[(&str, Scenario)] = &[
    ("bus-reset-in-app-idle", |target| {
        target.run_time()?;
        resets(target, &[State::AppIdle])
    }),
    ("bus-reset-in-dfu-idle", |target| resets_in(target, State::DfuIdle, &[State::DfuIdle])),
    ("bus-reset-in-dnload-sync", |target| resets_in(target, State::DfuDnloadSync, &[State::DfuIdle])),
    // The verdict may have been there already: then the package is accepted, and the device leaves.
    ("bus-reset-in-dnbusy", |target| resets_in(target, State::DfuDnbusy, &[State::DfuIdle, State::AppIdle])),
    ("bus-reset-in-dnload-idle", |target| resets_in(target, State::DfuDnloadIdle, &[State::DfuIdle])),
    // The package was accepted: fwupd resets here, and waits for the run-time set.
    ("bus-reset-in-manifest-sync", |target| resets_in(target, State::DfuManifestSync, &[State::AppIdle])),
    ("bus-reset-in-manifest", |target| resets_in(target, State::DfuManifest, &[State::AppIdle])),
    ("bus-reset-in-error", |target| resets_in(target, State::DfuError, &[State::DfuError])),
    ("bus-reset-in-data-stage", bus_reset_in_data_stage),
    ("bus-reset-storm", bus_reset_storm),
];

fn end_in_dfu_idle(target: &mut Target) -> Outcome {
    let opened = target.idle()?;
    let end = Request::Dnload.setup(0, 0, 0);
    ensure_stall(end, &opened.ask(end, &[]))?;
    opened.expect(State::DfuError, Status::ErrStalledPacket)
}

fn end_twice(target: &mut Target) -> Outcome {
    let opened = target.reach(State::DfuManifestSync)?;
    let end = Request::Dnload.setup(0, 0, 0);
    ensure_stall(end, &opened.ask(end, &[]))?;
    opened.expect(State::DfuError, Status::ErrStalledPacket)
}

/// GETSTATUS as fast as it goes: every answer is whole and asks for a wait that is neither none nor long.
fn getstatus_flood(target: &mut Target) -> Outcome {
    let flood = |opened: &Opened| {
        let before = opened.state()?;
        for _ in 0..20 {
            let requests: Vec<_> =
                (0..25).map(|_| opened.send(Request::GetStatus.setup(0, 0, 6), &[], LIMIT)).collect();
            for request in requests {
                let bytes = request.finish().map_err(|e| format!("in {before}: {e}"))?;
                ensure(bytes.len() == 6, || format!("{} bytes", bytes.len()))?;
            }
            let poll = opened.status()?.poll_timeout_ms;
            ensure((1..=1000).contains(&poll), || format!("bwPollTimeout is {poll} ms"))?;
        }
        let after = opened.state()?;
        ensure(before == after, || format!("{before} has become {after}"))
    };
    flood(target.reach(State::DfuDnloadIdle)?)?;
    flood(target.reach(State::DfuError)?)?;
    flood(target.run_time()?)
}

/// Many DETACHes at once, again and again: each enumeration follows one at most, and the device ends up in a mode it knows.
fn detach_storm(target: &mut Target) -> Outcome {
    for _ in 0..6 {
        let opened = target.take()?;
        let mode = opened.mode;
        if mode == Mode::Dfu {
            opened.to_idle()?;
        }
        let requests: Vec<_> =
            (0..50).map(|_| opened.send(Request::Detach.setup(0, 1000, 0), &[], LIMIT)).collect();
        let taken = requests.into_iter().map(InFlight::finish).filter(Result::is_ok).count();
        ensure(taken > 0, || format!("no DETACH is taken in {mode:?}"))?;
        opened.wait_gone()?;
        target.put(Opened::any()?);
    }
    Ok(())
}

/// DETACH by programs that are gone before it is answered.
fn detach_and_gone(target: &mut Target) -> Outcome {
    for limit in [0, 100, 400] {
        target.run_time()?;
        let opened = target.take()?;
        // Whether it is taken is a race; nothing may depend on it.
        drop(opened.send(Request::Detach.setup(0, 1000, 0), &[], Duration::from_micros(limit)).finish());
        drop(opened);
        thread::sleep(Duration::from_millis(50));
        target.works()?;
    }
    Ok(())
}

/// dfu-util was killed and started again: it begins with SET_INTERFACE.
fn set_interface_mid_download(target: &mut Target) -> Outcome {
    for state in [State::DfuDnloadSync, State::DfuDnloadIdle] {
        let opened = target.reach(state)?;
        opened.set_interface()?;
        opened.expect(State::DfuIdle, Status::Ok)?;
    }
    target.update()
}

/// SET_CONFIGURATION 0, then 1, in the middle of a download.
fn unconfigured_mid_download(target: &mut Target) -> Outcome {
    for again in [1, 3] {
        target.reach(State::DfuDnloadIdle)?;
        let device = target.take()?.into_device();
        for _ in 0..again {
            for configuration in [0, 1] {
                device
                    .set_configuration(configuration)
                    .wait()
                    .map_err(|e| format!("SET_CONFIGURATION: {e}"))?;
            }
        }
        drop(device);
        let opened = target.opened()?;
        let state = opened.state()?;
        ensure([State::DfuIdle, State::AppIdle].contains(&state), || format!("{state} behind it"))?;
    }
    target.update()
}

/// Two halves of two downloads do not make a package.
fn abort_and_another_half(target: &mut Target) -> Outcome {
    let package = target.package.clone();
    let opened = target.idle()?;
    opened.block(0, &package[..BLOCK])?;
    opened.command(Request::Abort)?;
    opened.dnload(1, &package[BLOCK..2 * BLOCK])?;
    let reply = opened.settle()?;
    ensure((reply.state, reply.status) == (State::DfuError, Status::ErrFile), || {
        format!("the second half: {} with {}", reply.state, reply.status)
    })?;
    target.works()?;
    target.update()
}

/// The same number twice, one left out, smaller ones.
fn wrong_block_numbers(target: &mut Target) -> Outcome {
    let package = target.package.clone();
    for wrong in [7, 6, 0, 9, 65535] {
        let opened = target.idle()?;
        opened.block(6, &package[..64])?;
        opened.block(7, &package[64..128])?;
        let setup = Request::Dnload.setup(0, wrong, 64);
        ensure_stall(setup, &opened.ask(setup, &package[128..192]))?;
        opened.expect(State::DfuError, Status::ErrAddress)?;
    }
    Ok(())
}

/// Each block, and behind it one that comes too early (docs/spec/dfu.md, 1.4): stalled, and nothing else.
fn block_ahead_of_a_busy_device(target: &mut Target) -> Outcome {
    let package = target.package.clone();
    let opened = target.idle()?;
    ensure(opened.page()?.takes_ahead, || "it takes no block ahead".into())?;
    let early = |number: u16, states: &[State]| -> Outcome {
        let setup = Request::Dnload.setup(0, number, BLOCK as u16);
        ensure_stall(setup, &opened.ask_with_rubbish(setup))?;
        let found = opened.state()?;
        ensure(states.contains(&found), || format!("{found} behind an early block {number}"))
    };
    let mut number = 0;
    for block in package.chunks(BLOCK) {
        opened.dnload(number, block)?;
        number += 1;
        early(number, &[State::DfuDnloadSync])?;
        // Only the slow ones are ever seen at work: the last, for which the slot is read back.
        if opened.status()?.state == State::DfuDnbusy {
            early(number, &[State::DfuDnbusy, State::DfuDnloadSync])?;
        }
        let reply = opened.settle()?;
        ensure((reply.state, reply.status) == (State::DfuDnloadIdle, Status::Ok), || {
            format!("{} with {} behind an early block {number}", reply.state, reply.status)
        })?;
    }
    opened.dnload(number, &[])?;
    opened.settle()?;
    opened.expect(State::DfuIdle, Status::Ok)?;
    let page = opened.page()?;
    ensure((page.state, page.result()) == (SessionState::Staged, Some(ResultCode::Ok)), || {
        format!("the session is {:?}, {:?}", page.state, page.result())
    })?;
    target.update()
}

/// Bytes that are no package, and more of them, whatever the device says.
fn rubbish_without_end(target: &mut Target) -> Outcome {
    let data = rubbish(BLOCK);
    let opened = target.idle()?;
    opened.dnload(0, &data)?;
    opened.settle()?;
    opened.expect(State::DfuError, Status::ErrFile)?;
    for number in 1..200 {
        let setup = Request::Dnload.setup(0, number, BLOCK as u16);
        ensure_stall(setup, &opened.ask(setup, &data))?;
    }
    opened.expect(State::DfuError, Status::ErrFile)
}

/// A second program cannot have the interface, and what it can send to the device all the same does not disturb the first.
fn second_program(target: &mut Target) -> Outcome {
    let package = target.package.clone();
    let opened = target.idle()?;
    opened.block(0, &package[..BLOCK])?;
    let mut number = 1;
    for block in package[BLOCK..].chunks(BLOCK) {
        opened.second_program()?;
        opened.block(number, block)?;
        number += 1;
    }
    opened.dnload(number, &[])?;
    opened.settle()?;
    opened.expect(State::DfuIdle, Status::Ok)
}

/// Answers that nobody waits for: the late ones must not be taken for those of the next request.
fn answers_cut_short(target: &mut Target) -> Outcome {
    let opened = target.idle()?;
    for round in 0..150_u64 {
        let limit = Duration::from_micros(round * 13 % 700);
        let cut = match round % 3 {
            0 => Request::GetStatus.setup(0, 0, 6),
            1 => Setup { request_type: 0xc1, request: 0x49, value: 0, index: 0, length: 64 },
            _ => Setup { request_type: 0x80, request: 6, value: 0x0200, index: 0, length: 4096 },
        };
        match opened.send(cut, &[], limit).finish() {
            Ok(_) | Err(TransferError::Cancelled) => {}
            Err(error) => return Err(format!("{cut:x?} cut short: {error}")),
        }
        let state = opened.state_behind_a_cut()?;
        ensure(state == State::DfuIdle, || format!("GETSTATE answers {state}"))?;
    }
    opened.page().map(drop)
}

/// Requests that may be anything, but are most often near something the device knows; some cut short, some not waited for.
fn random_storm(target: &mut Target) -> Outcome {
    let mut random = Random::new(0x1b);
    let package = target.package.clone();
    let mut left_bus = 0;
    for round in 0..900 {
        let request_types = [0x21, 0xa1, 0x21, 0xa1, 0xc1, 0x41, 0x22, 0xa2];
        let request_type = request_types[random.below(8)];
        let request = match random.below(10) {
            0 => 0x49,
            1 => random.below(256) as u8,
            // DETACH is an enumeration: not often.
            2 if left_bus < 4 => 0,
            other => 1 + (other % 6) as u8,
        };
        let length = [0, 0, 1, 6, 64, 512, 4096, 4096, 4097, 20_000][random.below(10)];
        let value = random.below(5) as u16;
        let setup = Setup { request_type, request, value, index: 0, length };
        let data = if request_type & 0x80 == 0 {
            let mut data = package.get(usize::from(value) * BLOCK..).unwrap_or_default().to_vec();
            data.resize(length.into(), 0x5a);
            data
        } else {
            Vec::new()
        };
        let limit =
            if random.below(4) == 0 { Duration::from_micros(random.below(2000) as u64) } else { LIMIT };
        let opened = target.opened()?;
        let reply = opened.send(setup, &data, limit).finish();
        match reply {
            Err(TransferError::Disconnected) => {
                left_bus += 1;
                target.close();
            }
            Ok(bytes) => ensure(bytes.len() <= BLOCK, || format!("{} bytes", bytes.len()))?,
            Err(_) => {}
        }
        if round % 100 == 99 {
            target.works().map_err(|e| format!("behind request {round}: {e}"))?;
        }
    }
    target.update()
}

/// Splitmix64, so that every run is the same.
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(crate) fn below(&mut self, bound: u64) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) % bound) as usize
    }
}

fn resets_in(target: &mut Target, state: State, after: &[State]) -> Outcome {
    target.reach(state)?;
    resets(target, after)
}

/// Resets the bus; the device is then in one of these states, and stays in it over another reset.
fn resets(target: &mut Target, after: &[State]) -> Outcome {
    for _ in 0..2 {
        target.take()?.reset()?;
        let opened = target.opened()?;
        let state = opened.state()?;
        ensure(after.contains(&state), || format!("{state} behind a reset"))?;
    }
    Ok(())
}

fn bus_reset_in_data_stage(target: &mut Target) -> Outcome {
    let data = rubbish(BLOCK);
    for round in 0..5 {
        target.idle()?;
        let opened = target.take()?;
        let requests: Vec<_> = (0..4)
            .map(|number| opened.send(Request::Dnload.setup(0, number, BLOCK as u16), &data, LIMIT))
            .collect();
        thread::sleep(Duration::from_micros(round * 300));
        // The kernel ends what is on its way when the interface is let go of, and then resets.
        drop(requests);
        opened.reset()?;
        target.works()?;
    }
    target.update()
}

fn bus_reset_storm(target: &mut Target) -> Outcome {
    target.idle()?;
    for _ in 0..10 {
        target.take()?.reset()?;
        target.opened()?;
    }
    let opened = target.take()?;
    opened.to_idle()?;
    detach(opened)?;
    for _ in 0..10 {
        Opened::in_mode(Mode::RunTime)?.reset()?;
    }
    target.update()
}
