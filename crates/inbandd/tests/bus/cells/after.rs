//! What must hold behind every cell.

use std::time::Duration;

use inband_session::{Door, DoorPolicy, DoorState, ResultCode, SessionState};
use inband_store::{Slot, SlotState};
use inbandd::command::{Answer, Ask};

use super::{
    event::Event,
    image::{next, package},
    look::{self, Drive, Set, settle},
    stage::{Stage, arm},
};
use crate::bench::{Bench, Hold, Setting, factory};

impl Stage {
    /// Asserts that the running firmware is untouched, that what is staged is whole, that what was being judged is judged, and that the next update
    /// works by a door that is open.
    #[track_caller]
    pub(super) fn assert_safe(mut self, context: &str, events: &[Event]) {
        self.host = None;
        let judged = self.bench.status().state == SessionState::Verifying;
        self.bench.hold(Hold::Nothing);
        self.settle();
        if judged {
            assert_taken(&self.bench, &self.setting, context);
        }
        self.assert_firmware(context, events);
        assert_updatable(&self.bench, &self.setting, context);
    }

    #[track_caller]
    fn assert_firmware(&self, context: &str, events: &[Event]) {
        let (status, medium) = (self.bench.status(), self.bench.medium());
        let sent = &package().slot;
        let target = status.running.other();
        let counts =
            |slot: Slot| !matches!(status.slots[slot as usize], SlotState::Empty | SlotState::Invalid);
        // What was staged and started may have been staged once more, into the slot that ran before.
        let whole = |slot: Slot| medium.slot(slot) == factory() || medium.slot(slot) == *sent;
        assert!(whole(status.running), "{context}: the running slot was written to");
        assert!(!counts(target) || whole(target), "{context}: what is staged is not what was sent");
        assert!(counts(status.boots_next), "{context}: {:?} boots next", status.slots);
        assert!(!counts(Slot::B) || self.column.is_whole(), "{context}: {:?}", status.slots);
        let restarts = self.column.restarts() || events.iter().any(|event| event.restarts());
        let as_before = status.running == Slot::A && medium.slot(Slot::A) == factory();
        assert!(as_before || restarts, "{context}: it has restarted");
    }
}

/// Asserts that a host that means well can update, after it has waited for what it has to; where the doors are shut, behind a word of somebody on the BMC.
#[track_caller]
pub(crate) fn assert_updatable(bench: &Bench, setting: &Setting, context: &str) {
    if bench.restart_is_held() {
        // Nobody gets in before.
        bench.ask(Ask::Abort);
        bench.bus.advance(Duration::from_secs(70));
        assert!(!bench.restart_is_held(), "{context}");
    }
    if bench.status().on_trial {
        assert_eq!(bench.ask(Ask::Confirm), Answer::Done, "{context}");
    }
    let wait = Duration::from_secs(60) * u32::from(bench.status().wait_minutes);
    bench.bus.advance(wait + Duration::from_secs(1));
    let file = &next().file;
    let shut = bench.status().door_state(Door::Dfu) == DoorState::Shut;
    match look::set(bench) {
        Set::Disk => update_by_disk(bench, context),
        Set::Nothing | Set::Bare if setting.policy == DoorPolicy::Off => update_by_disk(bench, context),
        Set::Nothing | Set::Bare if shut => {
            arm(bench, Door::Dfu);
            bench.update(file).expect(context);
        }
        Set::Dfu if bench.bmc().session().late(Door::Dfu).is_some() => {
            // Nobody but who is armed for anew has another session there.
            arm(bench, Door::Dfu);
            bench.update(file).expect(context);
        }
        Set::Nothing => panic!("{context}: hidden, and a door is open"),
        Set::Bare | Set::Dfu => _ = bench.update(file).expect(context),
    }
    let slot = assert_taken(bench, setting, context);
    assert!(bench.slot_is(slot, &next().slot), "{context}: not what was sent");
}

/// Asserts that the package is staged, or runs where the BMC restarts at once. The slot that it is in.
#[track_caller]
fn assert_taken(bench: &Bench, setting: &Setting, context: &str) -> Slot {
    let status = bench.status();
    assert_eq!(status.result(), Some(ResultCode::Ok), "{context}");
    match status.state {
        SessionState::Staged => status.running.other(),
        SessionState::Done if setting.activate || setting.hold_restart => status.running,
        state => panic!("{context}: {state:?}"),
    }
}

#[track_caller]
fn update_by_disk(bench: &Bench, context: &str) {
    // What tells of an end makes room; where that shuts the door it is armed again.
    for _ in 0..3 {
        if look::set(bench) != Set::Disk {
            arm(bench, Door::Volume);
        }
        match look::drive(bench) {
            Drive::Says(state, _) if state == "PASS" || state == "FAIL" => {
                look::disk(bench).eject().unwrap();
            }
            Drive::Says(..) | Drive::Written => break,
            Drive::Empty => {}
        }
        settle(bench);
    }
    let mut disk = look::disk(bench);
    let fat = look::is_fat(&mut disk);
    assert_eq!(next().write(&mut disk, fat), Ok(()), "{context}");
    disk.eject().unwrap();
    drop(disk);
    settle(bench);
    let after = look::drive(bench);
    assert!(matches!(&after, Drive::Says(state, _) if state == "PASS"), "{context}: {after:?}");
}
