use alloc::vec;

use proptest::prelude::*;

use super::*;
use crate::medium::MediumErrorKind;
use crate::memory::{Loss, MemoryMedium};

fn facts(number: u64) -> Facts {
    let progress = Progress {
        session: 7,
        target: Slot::B,
        index: [0xbb; 32],
        mark: Mark { member: 2, offset: number },
        settled: number.is_multiple_of(2),
    };
    Facts {
        session: 8,
        levels: Levels { sessions: 1000 - number, rewrites: number },
        progress: (!number.is_multiple_of(3)).then_some(progress),
    }
}

/// A journal in which `entries` facts were written down, numbered from 1.
fn written(entries: u64) -> (MemoryMedium, Journal) {
    let mut medium = MemoryMedium::new(16);
    let mut journal = Journal::load(&mut medium);
    for number in 1..=entries {
        journal.record(&mut medium, facts(number)).unwrap();
    }
    (medium, journal)
}

fn loaded(medium: &mut MemoryMedium) -> Option<Facts> {
    Journal::load(medium).facts()
}

#[test]
fn the_bytes_are_frozen() {
    let mark = Mark { member: 0x0102, offset: 0x0102_0304 };
    let progress = Progress { session: 9, target: Slot::B, index: [0xbb; 32], mark, settled: true };
    let levels = Levels { sessions: 5, rewrites: 6 };
    let entry = Entry { sequence: 3, facts: Facts { session: 10, levels, progress: Some(progress) } };
    let bytes = entry.encode();
    let mut expected = [0; 96];
    expected[..4].copy_from_slice(b"IBJ1");
    expected[4..8].copy_from_slice(&[3, 1, 2, 1]);
    expected[8] = 3;
    expected[16] = 5;
    expected[24] = 6;
    expected[32] = 9;
    expected[36] = 10;
    expected[40..44].copy_from_slice(&[4, 3, 2, 1]);
    expected[48..80].fill(0xbb);
    assert_eq!(bytes[..96], expected);
    assert_eq!(bytes[96..], *Sha256::digest(expected).as_slice());
    assert_eq!(Entry::parse(&bytes), Some(entry));
}

#[test]
fn an_entry_has_one_form() {
    let bytes = Entry { sequence: 3, facts: facts(1) }.encode();
    for at in 0..CHECKSUM_AT {
        let mut other = bytes;
        other[at] ^= 0x80;
        assert_eq!(Entry::parse(&other), None, "byte {at}, checksum wrong");
        let checksum = Sha256::digest(&other[..CHECKSUM_AT]);
        other[CHECKSUM_AT..].copy_from_slice(&checksum);
        if let Some(entry) = Entry::parse(&other) {
            assert_eq!(entry.encode(), other, "byte {at}");
        }
    }
}

#[test]
fn the_newest_entry_is_found_again_however_many_there_were() {
    for entries in [1, 2, 255, 256, 257, 512, 513, 1000] {
        let (mut medium, journal) = written(entries);
        assert_eq!(journal.facts(), Some(facts(entries)), "{entries}");
        assert_eq!(loaded(&mut medium), Some(facts(entries)), "{entries}");
        for area in Place::ALL {
            assert!(medium.journal(area).len() <= AREA_LENGTH);
        }
    }
}

#[test]
fn an_area_is_started_only_when_the_other_is_full() {
    let (medium, _) = written(256);
    assert_eq!(medium.journal(Place::First).len(), AREA_LENGTH);
    assert!(medium.journal(Place::Second).is_empty());
    let (medium, _) = written(257);
    assert_eq!(medium.journal(Place::First).len(), AREA_LENGTH);
    assert_eq!(medium.journal(Place::Second).len(), ENTRY_LENGTH);
}

#[test]
fn what_is_so_already_is_not_written_again() {
    let (mut medium, mut journal) = written(3);
    medium.forget_operations();
    journal.record(&mut medium, facts(3)).unwrap();
    assert!(medium.operations().is_empty());
}

#[test]
fn a_torn_entry_is_dropped_and_nothing_is_put_behind_it() {
    let (medium, _) = written(3);
    for torn in 1..ENTRY_LENGTH {
        let mut medium = medium.clone();
        let mut bytes = medium.journal(Place::First).to_vec();
        bytes.extend_from_slice(&Entry { sequence: 1000, facts: facts(4) }.encode()[..torn]);
        medium.set_journal(Place::First, bytes.clone());
        let mut journal = Journal::load(&mut medium);
        assert_eq!(journal.facts(), Some(facts(3)));
        journal.record(&mut medium, facts(5)).unwrap();
        assert_eq!(medium.journal(Place::First), bytes);
        assert_eq!(loaded(&mut medium), Some(facts(5)));
    }
}

#[test]
fn a_corrupt_entry_is_passed_over() {
    let (medium, _) = written(4);
    for (entry, left) in [(0, 4), (1, 4), (3, 3)] {
        let mut medium = medium.clone();
        let mut bytes = medium.journal(Place::First).to_vec();
        bytes[entry * ENTRY_LENGTH + 20] ^= 1;
        medium.set_journal(Place::First, bytes);
        assert_eq!(loaded(&mut medium), Some(facts(left)), "entry {entry}");
    }
}

#[test]
fn the_order_of_entries_makes_no_difference() {
    let (mut medium, _) = written(4);
    let bytes = medium.journal(Place::First).to_vec();
    let mut entries = bytes.chunks(ENTRY_LENGTH).collect::<Vec<_>>();
    entries.reverse();
    medium.set_journal(Place::First, entries.concat());
    let mut journal = Journal::load(&mut medium);
    assert_eq!(journal.facts(), Some(facts(4)));
    // That was not written by a journal, so nothing is put behind it.
    journal.record(&mut medium, facts(5)).unwrap();
    assert_eq!(medium.journal(Place::Second).len(), ENTRY_LENGTH);
}

#[test]
fn a_stale_area_does_not_count() {
    let (mut medium, mut journal) = written(200);
    let stale = medium.journal(Place::First).to_vec();
    for number in 201..=600 {
        journal.record(&mut medium, facts(number)).unwrap();
    }
    // The first area is full of what it held long ago, as if it had never been emptied.
    medium.set_journal(Place::First, stale);
    assert_eq!(loaded(&mut medium), Some(facts(512)));
    let (mut medium, mut journal) = written(256);
    let stale = medium.journal(Place::First)[..].to_vec();
    journal.record(&mut medium, facts(257)).unwrap();
    // Old entries stand behind the new one in the area that took over.
    let mut bytes = medium.journal(Place::Second).to_vec();
    bytes.extend_from_slice(&stale[ENTRY_LENGTH..]);
    medium.set_journal(Place::Second, bytes);
    assert_eq!(loaded(&mut medium), Some(facts(257)));
}

#[test]
fn entries_that_come_back_from_the_dead_are_old() {
    let (mut medium, _) = written(10);
    let whole = medium.journal(Place::First).to_vec();
    medium.set_journal(Place::First, whole[..3 * ENTRY_LENGTH + 5].to_vec());
    let mut journal = Journal::load(&mut medium);
    assert_eq!(journal.facts(), Some(facts(3)));
    journal.record(&mut medium, facts(20)).unwrap();
    medium.set_journal(Place::First, whole);
    assert_eq!(loaded(&mut medium), Some(facts(20)));
}

#[test]
fn an_area_that_comes_back_from_the_dead_is_old() {
    let (mut medium, mut journal) = written(3);
    let next = medium.operations().len();
    medium.fail_at(next, MediumErrorKind::Io);
    assert!(journal.record(&mut medium, facts(4)).is_err());
    // So the other area was started, while the first one has room left and nothing wrong in it.
    journal.record(&mut medium, facts(5)).unwrap();
    journal.record(&mut medium, facts(6)).unwrap();
    let whole = medium.journal(Place::Second).to_vec();
    // At one start none of its sectors can be read.
    medium.set_journal(Place::Second, vec![0; whole.len()]);
    let mut journal = Journal::load(&mut medium);
    assert_eq!(journal.facts(), Some(facts(3)));
    journal.record(&mut medium, facts(20)).unwrap();
    if medium.journal(Place::Second).len() == whole.len() {
        medium.set_journal(Place::Second, whole);
    }
    assert_eq!(loaded(&mut medium), Some(facts(20)));
}

#[test]
fn an_area_that_is_too_long_is_not_added_to() {
    let (mut medium, _) = written(256);
    let mut bytes = medium.journal(Place::First).to_vec();
    bytes.push(0);
    medium.set_journal(Place::First, bytes);
    let mut journal = Journal::load(&mut medium);
    assert_eq!(journal.facts(), Some(facts(256)));
    journal.record(&mut medium, facts(257)).unwrap();
    assert_eq!(medium.journal(Place::First).len(), AREA_LENGTH + 1);
}

#[test]
fn after_a_failure_the_next_entry_goes_to_the_other_area() {
    let (mut medium, mut journal) = written(3);
    let next = medium.operations().len();
    medium.fail_at(next, MediumErrorKind::Io);
    assert!(journal.record(&mut medium, facts(4)).is_err());
    assert_eq!(journal.facts(), Some(facts(3)));
    journal.record(&mut medium, facts(5)).unwrap();
    assert_eq!(medium.journal(Place::First).len(), 3 * ENTRY_LENGTH);
    assert_eq!(loaded(&mut medium), Some(facts(5)));
}

#[test]
fn a_cut_leaves_the_facts_of_before_or_after() {
    // The entry that ends an area, the one that starts the next, and others.
    for entries in [0, 1, 255, 256, 257, 511, 512] {
        for loss in Loss::ALL {
            let (mut medium, mut journal) = written(entries);
            let before = journal.facts();
            medium.cut_power_at(medium.operations().len());
            assert!(journal.record(&mut medium, facts(entries + 1)).is_err());
            medium.power_cycle(loss);
            let mut journal = Journal::load(&mut medium);
            let found = journal.facts();
            assert!(found == before || found == Some(facts(entries + 1)), "{entries} {loss:?}");
            journal.record(&mut medium, facts(entries + 2)).unwrap();
            assert_eq!(loaded(&mut medium), Some(facts(entries + 2)));
        }
    }
}

#[derive(Clone, Debug)]
enum Damage {
    Flip(Place, usize, u8),
    Truncate(Place, usize),
    Append(Place, Vec<u8>),
    Swap(Place, usize, usize),
    Exchange,
    Empty(Place),
}

fn damage() -> impl Strategy<Value = Damage> {
    let place = || prop_oneof![Just(Place::First), Just(Place::Second)];
    prop_oneof![
        (place(), any::<usize>(), 1u8..).prop_map(|(area, at, bits)| Damage::Flip(area, at, bits)),
        (place(), any::<usize>()).prop_map(|(area, length)| Damage::Truncate(area, length)),
        (place(), proptest::collection::vec(any::<u8>(), 1..300))
            .prop_map(|(area, bytes)| Damage::Append(area, bytes)),
        (place(), any::<usize>(), any::<usize>()).prop_map(|(area, a, b)| Damage::Swap(area, a, b)),
        Just(Damage::Exchange),
        place().prop_map(Damage::Empty),
    ]
}

fn inflict(medium: &mut MemoryMedium, damage: Damage) {
    let mut change = |area: Place, change: &dyn Fn(&mut Vec<u8>)| {
        let mut bytes = medium.journal(area).to_vec();
        change(&mut bytes);
        medium.set_journal(area, bytes);
    };
    match damage {
        Damage::Flip(area, at, bits) => change(area, &|bytes| {
            let length = bytes.len().max(1);
            if let Some(byte) = bytes.get_mut(at % length) {
                *byte ^= bits;
            }
        }),
        Damage::Truncate(area, length) => change(area, &|bytes| bytes.truncate(length % (bytes.len() + 1))),
        Damage::Append(area, more) => change(area, &|bytes| bytes.extend(&more)),
        Damage::Swap(area, a, b) => change(area, &|bytes| {
            let entries = bytes.len() / ENTRY_LENGTH;
            if entries > 0 {
                let (a, b) = (a % entries * ENTRY_LENGTH, b % entries * ENTRY_LENGTH);
                for at in 0..ENTRY_LENGTH {
                    bytes.swap(a + at, b + at);
                }
            }
        }),
        Damage::Exchange => {
            let areas = Place::ALL.map(|area| medium.journal(area).to_vec());
            let [first, second] = areas;
            medium.set_journal(Place::First, second);
            medium.set_journal(Place::Second, first);
        }
        Damage::Empty(area) => medium.set_journal(area, vec![]),
    }
}

proptest! {
    /// Facts that were never written down do not appear, and the journal goes on.
    #[test]
    fn damage_costs_the_newest_facts_at_worst(
        entries in prop_oneof![0u64..6, 250u64..262, 505u64..520],
        damages in proptest::collection::vec(damage(), 1..6),
    ) {
        let (mut medium, _) = written(entries);
        for damage in damages {
            inflict(&mut medium, damage);
        }
        let mut journal = Journal::load(&mut medium);
        if let Some(found) = journal.facts() {
            prop_assert!((1..=entries).any(|number| facts(number) == found));
        }
        for number in [entries + 1, entries + 2] {
            journal.record(&mut medium, facts(number)).unwrap();
            prop_assert_eq!(loaded(&mut medium), Some(facts(number)));
        }
    }
}
