//! The volume door where the disk is another's, who tells nothing: the same packages, and what they cost.

use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard},
    time::Duration,
};

use inband_session::{Door, DoorPolicy, DoorState, ResultCode, SessionState};
use inband_store::{Slot, memory::Loss};
use inbandd::{
    bmc::{Lender, Look},
    command::{Answer, Ask},
};

use crate::{
    bench::{Bench, Hold, MAX_PACKAGE, SLOT, Setting},
    disk_host::padded,
    package::Package,
};

const LENT: Setting = Setting { volume: DoorPolicy::Always, lent: true, ..Setting::DEFAULT };
/// Bytes of which is known whether they were written.
const PAGE: usize = 4096;
const GAP: Duration = Duration::from_millis(2500);

/// A disk of the kernel's, and the host that has it.
#[derive(Debug, Default)]
pub(crate) struct LentDisk(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    medium: Option<Medium>,
    ejected: Option<Medium>,
    /// How often a medium was taken out of the host's hands.
    taken: usize,
}

#[derive(Debug)]
struct Medium {
    pages: BTreeMap<usize, Vec<u8>>,
    /// The first of them, as it was inserted.
    first: Vec<u8>,
    bytes: u64,
    writable: bool,
}

impl Medium {
    /// All but the first, which is there anyway.
    fn memory(&self) -> u64 {
        ((self.pages.len() - 1) * PAGE) as u64
    }
}

impl Lender for LentDisk {
    fn insert(&self, first: &[u8; 512], bytes: u64, writable: bool) {
        let mut state = self.state();
        assert!(state.medium.is_none() && bytes.is_multiple_of(PAGE as u64));
        let mut page = vec![0; PAGE];
        page[..512].copy_from_slice(first);
        let pages = BTreeMap::from([(0, page.clone())]);
        state.medium = Some(Medium { pages, first: page, bytes, writable });
    }

    fn remove(&self) {
        let mut state = self.state();
        state.ejected = None;
        state.taken += usize::from(state.medium.take().is_some());
    }

    fn take(&self) {
        self.eject();
    }

    fn look(&self) -> Look {
        let mut state = self.state();
        let Some(medium) = state.ejected.take() else {
            return Look { written: state.medium.as_ref().map_or(0, Medium::memory), ejected: None };
        };
        let touched = medium.pages[&0] != medium.first;
        let written = medium.memory() + if touched { PAGE as u64 } else { 0 };
        let run = medium.pages.into_iter().zip(0..).take_while(|((page, _), place)| page == place);
        Look { written, ejected: Some(Box::new(run.map(|((_, bytes), _)| bytes))) }
    }
}

impl LentDisk {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap()
    }

    /// The host writes there. Returns whether it may.
    fn write(&self, at: usize, bytes: &[u8]) -> bool {
        let mut state = self.state();
        let Some(medium) = state.medium.as_mut().filter(|medium| medium.writable) else { return false };
        assert!((at + bytes.len()) as u64 <= medium.bytes);
        for (at, byte) in (at..).zip(bytes) {
            medium.pages.entry(at / PAGE).or_insert_with(|| vec![0; PAGE])[at % PAGE] = *byte;
        }
        true
    }

    fn eject(&self) {
        let mut state = self.state();
        let medium = state.medium.take();
        state.ejected = Some(medium.expect("a medium"));
    }

    /// What the first block says, if there is a medium.
    fn text(&self) -> Option<String> {
        let state = self.state();
        let first = &state.medium.as_ref()?.pages[&0][..512];
        Some(String::from_utf8_lossy(first).trim_end().into())
    }

    fn taken(&self) -> usize {
        self.state().taken
    }
}

fn package() -> Package {
    Package::new(0x0215, 150_000)
}

/// Waits for a medium that says so.
#[track_caller]
fn wait_for(bench: &Bench, line: &str) -> String {
    let there = || bench.lender.text().is_some_and(|text| text.lines().any(|it| it == line));
    assert!(bench.bus.run_until(Duration::from_secs(30), there), "no {line}: {:?}", bench.lender.text());
    bench.lender.text().unwrap()
}

/// Ejects, and waits for what is said of that.
#[track_caller]
fn verdict(bench: &Bench, line: &str) -> String {
    let start = bench.bus.now();
    bench.lender.eject();
    let text = wait_for(bench, line);
    assert!(bench.bus.now() - start >= GAP);
    assert!(!bench.lender.write(0, &[0; 512]), "it is read-only");
    text
}

#[test]
fn a_package_by_copy_and_eject_from_a_disk_that_tells_nothing() {
    let bench = Bench::with(LENT);
    assert!(wait_for(&bench, "STATE=READY").contains("\r\nMAX_SIZE=196608\r\n"));
    let door = |door| bench.status().door_state(door);
    assert_eq!(
        [Door::Dfu, Door::Bulk, Door::Volume].map(door),
        [DoorState::Shut, DoorState::Shut, DoorState::Open]
    );
    assert_eq!(bench.ask(Ask::Arm(Door::Dfu)), Answer::DoorOff);
    let file = padded(&package().bytes());
    assert!(bench.lender.write(0, &file[..64 * 1024]));
    // Found by looking.
    bench.bus.advance(Duration::from_millis(600));
    bench.assert_session(SessionState::Receiving, ResultCode::None);
    assert!(bench.lender.write(64 * 1024, &file[64 * 1024..]));
    let text = verdict(&bench, "STATE=PASS");
    assert!(text.contains("\r\nRESULT=ok\r\n") && text.contains("\r\nVERSION=v215\r\n"), "{text}");
    bench.assert_session(SessionState::Staged, ResultCode::Ok);
    assert!(bench.medium().slot(Slot::B) == package().slot(SLOT));
    bench.assert_factory_runs();
    assert!(bench.ask(Ask::Status).text().contains("\"kernel_disk\":true"));

    bench.lender.eject();
    wait_for(&bench, "STATE=READY");
    assert_eq!(bench.lender.taken(), 0, "the host's ejects were all that it took");
    let bench = bench.power_cycle(Loss::All);
    assert_eq!(bench.status().running, Slot::B);
}

#[test]
fn what_is_copied_and_ejected_between_two_looks_is_a_package_as_well() {
    let bench = Bench::with(LENT);
    for version in [0x0215, 0x0216] {
        let package = Package::new(version, 150_000);
        wait_for(&bench, "STATE=READY");
        bench.lender.write(0, &padded(&package.bytes()));
        verdict(&bench, "STATE=PASS");
        assert!(bench.medium().slot(Slot::B) == package.slot(SLOT));
        bench.lender.eject();
    }
    assert_eq!(bench.status().session, 2);
}

#[test]
fn the_bmc_takes_the_copy_without_an_eject() {
    let bench = Bench::with(LENT);
    wait_for(&bench, "STATE=READY");
    assert_eq!(bench.ask(Ask::Commit), Answer::NotNow);
    bench.lender.write(0, &padded(&package().bytes()));
    bench.bus.advance(Duration::from_millis(600));
    assert_eq!(bench.ask(Ask::Commit), Answer::Done);
    assert_eq!(bench.lender.text(), None);
    wait_for(&bench, "STATE=PASS");
    assert!(bench.medium().slot(Slot::B) == package().slot(SLOT));
    assert_eq!(bench.ask(Ask::Commit), Answer::NotNow);
}

#[test]
fn less_than_a_page_is_seen_when_it_is_ejected() {
    let bench = Bench::with(LENT);
    wait_for(&bench, "STATE=READY");
    // Behind the text, and there alone: what stands before it is no head.
    assert!(bench.lender.write(1024, &[1; 512]));
    bench.bus.advance(Duration::from_secs(1));
    assert_eq!(bench.status().session, 0);
    assert!(verdict(&bench, "STATE=FAIL").contains("\r\nRESULT=bad-head\r\n"));
    assert_eq!(bench.status().received as usize, PAGE);
}

#[test]
fn an_eject_of_nothing_is_no_session_there() {
    let bench = Bench::with(LENT);
    for generation in 1..4 {
        assert!(wait_for(&bench, "STATE=READY").contains(&format!("\r\nGENERATION={generation:08X}\r\n")));
        bench.lender.eject();
        bench.bus.advance(GAP);
        assert_eq!(bench.lender.text(), None);
    }
    wait_for(&bench, "STATE=READY");
    assert_eq!(bench.status().session, 0);
}

#[test]
fn a_page_that_nobody_wrote_ends_the_package() {
    let bench = Bench::with(LENT);
    wait_for(&bench, "STATE=READY");
    let file = padded(&package().bytes());
    bench.lender.write(0, &file[..40_960]);
    bench.lender.write(45_056, &file[45_056..]);
    assert!(verdict(&bench, "STATE=FAIL").contains("\r\nRESULT=incomplete\r\n"));
    bench.assert_session(SessionState::Failed, ResultCode::Incomplete);
    bench.lender.eject();
    wait_for(&bench, "STATE=READY");
    // A package begins at the first block, where else the text stands.
    bench.lender.write(512, &file[512..]);
    assert!(verdict(&bench, "STATE=FAIL").contains("\r\nRESULT=bad-head\r\n"));
    bench.assert_factory_runs();
}

#[test]
fn a_medium_is_read_only_while_no_session_may_begin() {
    let bench = Bench::with(Setting { refusals: 1, ..LENT });
    wait_for(&bench, "STATE=READY");
    bench.lender.write(0, &[0x5a; 9216]);
    assert!(verdict(&bench, "STATE=FAIL").contains("\r\nRESULT=bad-head\r\n"));
    let text = verdict(&bench, "STATE=REFUSED");
    assert!(text.contains("\r\nRESULT=locked-out\r\n"), "{text}");
    assert_eq!(bench.lender.taken(), 0);
    // For the next one the disk has to leave the bus: the host has not ejected this.
    bench.bus.advance(Duration::from_secs(601));
    wait_for(&bench, "STATE=READY");
    assert_eq!(bench.lender.taken(), 1);
    bench.lender.write(0, &padded(&package().bytes()));
    verdict(&bench, "STATE=PASS");
}

#[test]
fn a_session_of_a_host_that_does_not_go_on_ends() {
    for result in [ResultCode::Timeout, ResultCode::Aborted, ResultCode::Disconnected] {
        let bench = Bench::with(LENT);
        wait_for(&bench, "STATE=READY");
        bench.lender.write(0, &[1; 9216]);
        bench.bus.advance(Duration::from_secs(1));
        match result {
            ResultCode::Timeout => bench.bus.advance(Duration::from_secs(301)),
            ResultCode::Aborted => assert_eq!(bench.ask(Ask::Abort), Answer::Done),
            _ => {
                bench.bus.unplug();
                bench.bus.advance(Duration::from_secs(61));
                bench.bus.plug();
            }
        }
        if result == ResultCode::Disconnected {
            // Who is gone reads nothing.
            wait_for(&bench, "STATE=READY");
        } else {
            assert!(wait_for(&bench, "STATE=FAIL").contains(&format!("\r\nRESULT={result}\r\n")));
            bench.lender.eject();
        }
        assert_eq!(bench.lender.taken(), 1, "{result}");
        assert_eq!(bench.status().result(), Some(result));
        wait_for(&bench, "STATE=READY");
        bench.lender.write(0, &padded(&package().bytes()));
        verdict(&bench, "STATE=PASS");
    }
}

#[test]
fn what_was_ejected_is_the_bmcs() {
    let bench = Bench::with(LENT);
    wait_for(&bench, "STATE=READY");
    bench.lender.write(0, &padded(&package().bytes()));
    bench.bus.advance(Duration::from_secs(1));
    bench.hold(Hold::Everything);
    bench.lender.eject();
    bench.bus.advance(Duration::from_secs(600));
    assert_eq!(bench.lender.text(), None);
    bench.assert_session(SessionState::Verifying, ResultCode::None);
    assert_eq!(bench.ask(Ask::Abort), Answer::Busy);
    bench.hold(Hold::Nothing);
    wait_for(&bench, "STATE=PASS");
}

#[test]
fn an_armed_door_lends_for_one_update() {
    let bench = Bench::with(Setting { volume: DoorPolicy::Armed, ..LENT });
    assert_eq!(bench.lender.text(), None);
    assert_eq!(bench.ask(Ask::Arm(Door::Volume)), Answer::Done);
    wait_for(&bench, "STATE=READY");
    assert_eq!(bench.ask(Ask::Disarm(Door::Volume)), Answer::Done);
    assert_eq!(bench.lender.text(), None);
    assert_eq!(bench.ask(Ask::Arm(Door::Volume)), Answer::Done);
    wait_for(&bench, "STATE=READY");
    bench.lender.write(0, &padded(&package().bytes()));
    verdict(&bench, "STATE=PASS");
    bench.lender.eject();
    bench.bus.advance(Duration::from_secs(10));
    assert_eq!(bench.lender.text(), None);
    bench.wait_attached();
    assert_eq!(bench.status().door_state(Door::Volume), DoorState::Shut);
}

#[test]
fn without_the_memory_nothing_is_lent_until_somebody_wants_it() {
    let needed = (MAX_PACKAGE + (8 << 20)).next_multiple_of(16 * 1024);
    let bench = Bench::with(Setting { volume: DoorPolicy::Armed, ..LENT });
    bench.memory.store(needed - 1, std::sync::atomic::Ordering::Relaxed);
    assert_eq!(bench.ask(Ask::Arm(Door::Volume)), Answer::Done);
    assert_eq!(bench.lender.text(), None);
    assert_eq!(bench.status().door_state(Door::Volume), DoorState::Shut);
    bench.memory.store(needed, std::sync::atomic::Ordering::Relaxed);
    assert_eq!(bench.ask(Ask::Arm(Door::Volume)), Answer::Done);
    wait_for(&bench, "STATE=READY");
}
