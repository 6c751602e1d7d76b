//! Firmware on trial: whose boots count, and for how long.

use super::*;

/// Puts a package on trial, in its first boot.
fn on_trial() -> Store<MemoryMedium> {
    let mut store = store();
    update(&mut store, 1, &sample()).unwrap();
    assert_eq!(store.boot(), Ok(Slot::B));
    store
}

const UNHEALTHY: Ending = Ending { state: 7, result: 81 };

fn left(store: &Store<MemoryMedium>) -> (u8, u8) {
    (store.record().boots_left, store.record().boots_used(Slot::B))
}

#[test]
fn a_boot_that_the_host_ended_is_given_back_once() {
    let mut store = on_trial();
    assert_eq!(left(&store), (2, 1));
    assert_eq!(store.give_boot_back(), Ok(true));
    assert_eq!(left(&store), (3, 1));
    // Whoever asks again, and after whatever restart of the daemon, gets no second one.
    assert_eq!(store.give_boot_back(), Ok(false));
    let mut medium = store.into_medium();
    medium.power_cycle(Loss::All);
    let mut store = open(medium);
    assert_eq!(left(&store), (3, 1), "it was durable before the restart");
    assert_eq!(store.give_boot_back(), Ok(false));
    assert_eq!(store.boot(), Ok(Slot::B));
    assert_eq!(left(&store), (2, 2));
    assert_eq!(store.give_boot_back(), Ok(true));
    store.confirm(DONE).unwrap();
    assert_eq!(store.record().slot(Slot::B).trial, TrialRecord::NONE);
    assert_eq!(store.record().log.last().map(|entry| entry.boot), Some(2));
}

#[test]
fn what_is_not_on_trial_has_no_boot_to_give_back() {
    let mut store = store();
    assert_eq!(store.give_boot_back(), Ok(false));
    update(&mut store, 1, &sample()).unwrap();
    assert_eq!(store.give_boot_back(), Ok(false), "slot a runs");
    let before = store.record().clone();
    assert_eq!(store.unhealthy(UNHEALTHY), Err(StoreError::NotOnTrial));
    assert_eq!(store.record(), &before);
}

#[test]
fn a_host_cannot_keep_a_firmware_on_trial_for_ever() {
    let mut store = on_trial();
    let mut boots = 1;
    // It resets the BMC in each boot, before there can be a verdict.
    loop {
        store.give_boot_back().unwrap();
        if store.boot() == Ok(Slot::A) {
            break;
        }
        boots += 1;
        assert!(boots < 100);
    }
    assert_eq!(boots, 3 + u32::from(GIVEN_BACK_LIMIT));
    assert_eq!(u32::from(store.record().boots_used(Slot::B)), boots);
}

#[test]
fn an_unhealthy_boot_counts_whatever_the_host_does() {
    let mut store = on_trial();
    for boot in 1..=3 {
        store.unhealthy(UNHEALTHY).unwrap();
        assert_eq!(store.give_boot_back(), Ok(false));
        assert_eq!(left(&store), (3 - boot, boot));
        let expected = if boot < 3 { Slot::B } else { Slot::A };
        assert_eq!(store.boot(), Ok(expected));
    }
    let log: Vec<_> =
        store.record().log.iter().map(|entry| (entry.state, entry.result, entry.boot)).collect();
    assert_eq!(log, [(5, 1, 0), (7, 81, 3)], "one record for all boots in a row");
    assert!(store.record().slot(Slot::B).trial.unhealthy, "the daemon learns of it from this");
    assert_eq!(store.record().floor, 2);
}

#[test]
fn a_boot_is_not_given_back_by_a_record_that_cannot_be_written() {
    let mut store = on_trial();
    store.medium.forget_operations();
    store.medium.fail_at(0, MediumErrorKind::Io);
    assert!(matches!(store.give_boot_back(), Err(StoreError::Record(_))));
    assert_eq!(left(&store), (2, 1));
    assert_eq!(store.give_boot_back(), Ok(true));
}

#[test]
fn a_trial_without_a_number_of_boots_gives_none_back() {
    // As written by a version that did not keep the number.
    let mut store = on_trial();
    store.record.slot_mut(Slot::B).trial = TrialRecord::NONE;
    assert_eq!(store.give_boot_back(), Ok(false));
}

#[test]
fn rule_8_the_floor_neither_rises_with_a_trial_nor_with_its_end() {
    let mut store = store();
    update(&mut store, 1, &package("9", 9, &[1], &[])).unwrap();
    assert_eq!(store.boot(), Ok(Slot::B));
    store.unhealthy(UNHEALTHY).unwrap();
    store.give_boot_back().unwrap();
    while store.boot() == Ok(Slot::B) {
        assert_eq!(store.record().floor, 2);
    }
    assert_eq!(store.record().floor, 2);
}

#[test]
fn a_start_of_the_machine_counts_once_however_often_the_daemon_starts() {
    let mut store = store();
    update(&mut store, 1, &sample()).unwrap();
    let starts = [b"one", b"two", b"six"].map(|name| StartId::of(name));
    for (start, boots_left) in starts.into_iter().zip([2, 1, 0]) {
        for _ in 0..3 {
            assert_eq!(store.boot_once(start), Ok(Slot::B));
            assert_eq!(store.record().boots_left, boots_left);
            assert!(store.is_on_trial(), "so that slot a is no target");
            let written = store.record().sequence;
            let mut medium = store.into_medium();
            medium.power_cycle(Loss::All);
            store = open(medium);
            assert_eq!(store.record().sequence, written, "it was durable");
        }
    }
    assert_eq!(store.boot_once(StartId::of(b"ten")), Ok(Slot::A));
    assert_eq!(store.record().slot(Slot::B).state, SlotState::Invalid);
}

#[test]
fn a_slot_that_is_staged_does_not_run_before_the_machine_starts() {
    let mut store = store();
    let start = StartId::of(b"one");
    assert_eq!(store.boot_once(start), Ok(Slot::A));
    update(&mut store, 1, &sample()).unwrap();
    assert_eq!(store.boot_once(start), Ok(Slot::A));
    assert_eq!(store.record().slot(Slot::B).state, SlotState::Staged);
    assert_eq!(store.record().boots_left, 3);
    // It may still be replaced: it does not run.
    update(&mut store, 2, &sample()).unwrap();
    assert_eq!(store.boot_once(StartId::of(b"two")), Ok(Slot::B));
}

#[test]
fn a_start_of_a_virtual_machine_is_none_of_those_with_a_name() {
    let mut store = on_trial();
    let start = StartId::of(b"one");
    assert_eq!((store.boot_once(start), store.record().boots_left), (Ok(Slot::B), 1));
    assert_eq!((store.boot(), store.record().boots_left), (Ok(Slot::B), 0));
    assert_eq!(store.boot_once(start), Ok(Slot::A));
}
