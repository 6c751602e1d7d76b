//! What must hold behind every cell.

use std::time::Duration;

use inband_session::{Door, DoorState, ResultCode, SessionState};
use inband_store::{Slot, SlotState};
use inbandd::command::{Answer, Ask};

use super::{
    event::Event,
    image::{next, package},
    look::{self, Drive, Set},
    stage::Stage,
};
use crate::bench::{Hold, factory};

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
            self.assert_taken(context);
        }
        self.assert_firmware(context, events);
        self.assert_updatable(context);
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

    /// What a host does that means well, after it has waited for what it has to.
    #[track_caller]
    fn assert_updatable(&self, context: &str) {
        let bench = &self.bench;
        if bench.status().on_trial {
            assert_eq!(bench.ask(Ask::Confirm), Answer::Done, "{context}");
        }
        let wait = Duration::from_secs(60) * u32::from(bench.status().wait_minutes);
        bench.bus.advance(wait + Duration::from_secs(1));
        let file = &next().file;
        let shut = bench.status().door_state(Door::Dfu) == DoorState::Shut;
        match look::set(bench) {
            Set::Disk => self.update_by_disk(context),
            Set::Bare if shut => {
                self.arm(Door::Dfu);
                self.bench.update(file).expect(context);
            }
            Set::Bare | Set::Dfu => _ = bench.update(file).expect(context),
        }
        let slot = self.assert_taken(context);
        assert!(self.bench.medium().slot(slot) == next().slot, "{context}: not what was sent");
    }

    /// Asserts that the package is staged, or runs where the BMC restarts at once. The slot that it is in.
    #[track_caller]
    fn assert_taken(&self, context: &str) -> Slot {
        let status = self.bench.status();
        assert_eq!(status.result(), Some(ResultCode::Ok), "{context}");
        match status.state {
            SessionState::Staged => status.running.other(),
            SessionState::Done if self.setting.activate => status.running,
            state => panic!("{context}: {state:?}"),
        }
    }

    #[track_caller]
    fn update_by_disk(&self, context: &str) {
        let bench = &self.bench;
        // What tells of an end makes room; where that shuts the door it is armed again.
        for _ in 0..3 {
            if look::set(bench) == Set::Bare {
                self.arm(Door::Volume);
            }
            match look::drive(bench) {
                Drive::Says(state, _) if state == "PASS" || state == "FAIL" => {
                    look::disk(bench).eject().unwrap();
                }
                Drive::Says(..) | Drive::Written => break,
                Drive::Empty => {}
            }
            self.settle();
        }
        let mut disk = look::disk(bench);
        let fat = look::is_fat(&mut disk);
        assert_eq!(next().write(&mut disk, fat), Ok(()), "{context}");
        disk.eject().unwrap();
        drop(disk);
        self.settle();
        let after = look::drive(bench);
        assert!(matches!(&after, Drive::Says(state, _) if state == "PASS"), "{context}: {after:?}");
    }
}
