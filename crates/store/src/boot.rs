//! The virtual boot loader (docs/spec/store.md, 3). A boot loader on a board does the same with its own environment.

use crate::record::{Record, SlotState};

/// Neither slot can be booted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("neither slot holds a bootable firmware; write one into slot a and initialise the store anew")]
pub struct NothingBootable;

/// Decides what to boot. Returns the record as the loader leaves it, before anything of the slot runs: its `booted` names
/// the slot. A record equal to the given one need not be written.
///
/// # Errors
/// [`NothingBootable`] if both slots are empty, invalid or given up; the record then stays as it is.
pub fn decide(record: &Record) -> Result<Record, NothingBootable> {
    let mut after = record.clone();
    // The table sends the loader from one slot to the other at most once; there is no third one to try.
    for _ in 0..2 {
        let choice = after.choice;
        let boots_left = after.boots_left;
        let slot = after.slot_mut(choice);
        match slot.state {
            SlotState::Good => {
                after.booted = choice;
                return Ok(after);
            }
            SlotState::Staged | SlotState::Trial if boots_left > 0 => {
                slot.state = SlotState::Trial;
                slot.trial.settled = false;
                after.boots_left = boots_left - 1;
                after.booted = choice;
                return Ok(after);
            }
            SlotState::Staged | SlotState::Trial => slot.state = SlotState::Invalid,
            SlotState::Invalid | SlotState::Empty => {}
        }
        after.choice = choice.other();
    }
    Err(NothingBootable)
}

#[cfg(test)]
mod tests {
    use alloc::vec::Vec;

    use super::*;
    use crate::record::{SessionRecord, Slot, SlotRecord};
    use SlotState::{Empty, Good, Invalid, Staged, Trial};

    fn record(choice: Slot, boots_left: u8, a: SlotState, b: SlotState) -> Record {
        let slot = |state| SlotRecord { state, ..SlotRecord::EMPTY };
        Record {
            sequence: 1,
            choice,
            boots_left,
            booted: Slot::A,
            floor: 0,
            last_id: 0,
            slots: [slot(a), slot(b)],
            session: SessionRecord::NONE,
            log: Vec::new(),
            start: None,
        }
    }

    /// Boots, and returns what changed: choice, boots left, states of a and b, booted.
    fn boots(record: &Record) -> Option<(Slot, u8, SlotState, SlotState, Slot)> {
        let after = decide(record).ok()?;
        Some((after.choice, after.boots_left, after.slots[0].state, after.slots[1].state, after.booted))
    }

    #[test]
    fn a_good_choice_boots_and_nothing_changes() {
        for boots_left in [0, 1, 255] {
            let before = record(Slot::A, boots_left, Good, Staged);
            assert_eq!(decide(&before), Ok(before.clone()));
            let before = record(Slot::B, boots_left, Good, Good);
            assert_eq!(decide(&before), Ok(Record { booted: Slot::B, ..before.clone() }));
        }
    }

    #[test]
    fn a_staged_choice_goes_on_trial_and_uses_up_a_boot() {
        assert_eq!(boots(&record(Slot::B, 3, Good, Staged)), Some((Slot::B, 2, Good, Trial, Slot::B)));
        assert_eq!(boots(&record(Slot::B, 1, Good, Staged)), Some((Slot::B, 0, Good, Trial, Slot::B)));
    }

    #[test]
    fn a_choice_on_trial_uses_up_a_boot() {
        assert_eq!(boots(&record(Slot::B, 2, Good, Trial)), Some((Slot::B, 1, Good, Trial, Slot::B)));
        assert_eq!(boots(&record(Slot::A, 1, Trial, Good)), Some((Slot::A, 0, Trial, Good, Slot::A)));
    }

    #[test]
    fn a_trial_that_is_used_up_is_invalid_and_the_other_slot_boots() {
        assert_eq!(boots(&record(Slot::B, 0, Good, Trial)), Some((Slot::A, 0, Good, Invalid, Slot::A)));
        assert_eq!(boots(&record(Slot::B, 0, Good, Staged)), Some((Slot::A, 0, Good, Invalid, Slot::A)));
    }

    #[test]
    fn an_invalid_or_empty_choice_gives_way_to_the_other_slot() {
        for state in [Invalid, Empty] {
            for boots_left in [0, 3] {
                let before = record(Slot::B, boots_left, Good, state);
                assert_eq!(boots(&before), Some((Slot::A, boots_left, Good, state, Slot::A)));
            }
        }
    }

    #[test]
    fn a_fallback_is_held_to_the_same_table() {
        assert_eq!(boots(&record(Slot::A, 2, Invalid, Staged)), Some((Slot::B, 1, Invalid, Trial, Slot::B)));
        assert_eq!(boots(&record(Slot::A, 0, Invalid, Staged)), None);
    }

    #[test]
    fn without_a_bootable_slot_nothing_boots() {
        for a in [Empty, Invalid] {
            for b in [Empty, Invalid] {
                for choice in Slot::ALL {
                    assert_eq!(boots(&record(choice, 3, a, b)), None);
                }
            }
        }
    }

    #[test]
    fn every_record_with_a_good_slot_boots_something_within_its_trial() {
        for choice in Slot::ALL {
            for other in [Empty, Invalid, Staged, Trial, Good] {
                for boots_left in 0..4 {
                    for good in Slot::ALL {
                        let (a, b) = if good == Slot::A { (Good, other) } else { (other, Good) };
                        let mut now = record(choice, boots_left, a, b);
                        for _ in 0..=boots_left {
                            now = decide(&now).unwrap();
                        }
                        assert_eq!(now.slot(now.booted).state, Good, "{choice:?} {other:?} {boots_left}");
                    }
                }
            }
        }
    }
}
