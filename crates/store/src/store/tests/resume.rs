//! What a session learns from the one before it: by the journal, and by the index beside the slot.

use alloc::collections::BTreeSet;

use super::*;
use crate::journal::Mark;
use crate::record::Place;

/// Bytes from one mark to the next: two chunks.
const MARK: u64 = 600;

fn with_marks(medium: MemoryMedium) -> Store<MemoryMedium> {
    Store::open(medium, layout(), Options { mark_every: MARK, ..Options::default() }).unwrap()
}

/// Encoded as an index is, so that it can be read again.
fn prepare(store: &mut Store<MemoryMedium>, package: &Package) {
    store.prepare(&Arc::new(package.index.clone()), &index_bytes(package), &HEAD, LEVELS).unwrap();
}

fn index_bytes(package: &Package) -> Vec<u8> {
    package.index.encode().unwrap()
}

/// The chunks of a package: member, offset, bytes.
fn chunks(package: &Package) -> Vec<(usize, u64, Vec<u8>)> {
    let members = package.index.members.iter().zip(&package.members).enumerate();
    let chunks = members.flat_map(|(number, (entry, bytes))| {
        entry.chunks_with_offsets().map(move |(offset, chunk)| {
            let at = usize::try_from(offset).unwrap();
            (number, offset, bytes[at..at + chunk.length as usize].to_vec())
        })
    });
    chunks.collect()
}

/// Begins a session and writes that many chunks.
fn write_some(store: &mut Store<MemoryMedium>, id: u32, package: &Package, count: usize) {
    store.begin(id, DOOR, RECEIVING, LEVELS).unwrap();
    prepare(store, package);
    for (member, offset, bytes) in chunks(package).into_iter().take(count) {
        store.write(member, offset, &bytes).unwrap();
    }
}

/// The power goes, and with it what was not synchronised.
fn cut(store: Store<MemoryMedium>, loss: Loss) -> Store<MemoryMedium> {
    let mut medium = store.into_medium();
    medium.power_cycle(loss);
    medium.forget_operations();
    with_marks(medium)
}

fn abort(store: &mut Store<MemoryMedium>) {
    store.abandon(FAILED, None).unwrap();
    store.medium.forget_operations();
}

/// The chunks that are said to be there: member and number in it.
fn held(store: &Store<MemoryMedium>) -> Vec<(usize, usize)> {
    let Phase::Writing(writing) = &store.phase else { return Vec::new() };
    let chunks = writing.plan.chunks().map(|wanted| (wanted.member, wanted.number));
    let said = store.chunk_hints().zip(chunks).filter(|(hint, _)| *hint == ChunkHint::Said);
    said.map(|(_, chunk)| chunk).collect()
}

/// Looks for that chunk of a member.
fn find(store: &mut Store<MemoryMedium>, (member, chunk): (usize, usize)) -> Found {
    let Phase::Writing(writing) = &store.phase else { panic!("nothing is written") };
    let number =
        writing.plan.members()[..member].iter().map(|member| member.chunks.len()).sum::<usize>() + chunk;
    store.find_chunk(number as u32).unwrap()
}

/// The offsets in the slot that were written since the operations were forgotten.
fn written(store: &Store<MemoryMedium>) -> BTreeSet<u64> {
    let offset = |operation: &Operation| match operation {
        Operation::Write { slot: Slot::B, offset, .. } => Some(*offset),
        _ => None,
    };
    store.medium().operations().iter().filter_map(offset).collect()
}

/// Ends the session with the whole package, whatever has come already.
fn complete(store: &mut Store<MemoryMedium>, package: &Package) {
    write(store, package).unwrap();
    store.finish(STAGED).unwrap();
    assert_eq!(store.medium().slot(Slot::B), expected(package, 0xbb));
}

/// In which every chunk differs from every other.
fn varied() -> Package {
    varied_from(0)
}

/// As [`varied`]; with another number, so far from that, its chunks are others.
fn varied_from(first: usize) -> Package {
    let bytes = |length: usize, start: usize| -> Vec<u8> {
        (start..start + length).map(|at| (first + at / 300 + at % 7) as u8).collect()
    };
    package("2.0", 3, &bytes(700, 0), &bytes(2900, 3000))
}

/// MANIFEST is one chunk, the kernel three, rofs ten.
const KERNEL_AND_TWO: usize = 1 + 3 + 2;

#[test]
fn the_slot_is_synchronised_before_the_journal_says_so() {
    let mut store = with_marks(medium());
    write_some(&mut store, 1, &varied(), usize::MAX);
    let mut marks = 0;
    let operations = store.medium().operations();
    let first_write = operations.iter().position(|operation| matches!(operation, Operation::Write { .. }));
    for (at, operation) in operations.iter().enumerate().skip(first_write.unwrap()) {
        if let Operation::Journal(_) = operation {
            assert_eq!(operations[at - 1], Operation::Sync(Slot::B));
            marks += 1;
        }
    }
    // 3,608 bytes pass 600 five times in steps of whole chunks.
    assert_eq!(marks, 5);
}

#[test]
fn the_budget_and_the_doubt_are_in_the_journal_before_the_first_write() {
    let mut store = with_marks(medium());
    store.begin(1, DOOR, RECEIVING, Levels { sessions: 5, rewrites: 6 }).unwrap();
    assert_eq!(store.levels(), Some(Levels { sessions: 5, rewrites: 6 }));
    let package = varied();
    let levels = Levels { sessions: 5, rewrites: 4 };
    store.prepare(&Arc::new(package.index.clone()), &index_bytes(&package), &HEAD, levels).unwrap();
    assert_eq!(written(&store), BTreeSet::new());
    let store = cut(store, Loss::All);
    assert_eq!(store.levels(), Some(levels));
    assert_eq!(store.journal.facts().unwrap().progress.map(|progress| progress.settled), Some(false));
}

#[test]
fn a_session_adds_67_entries_to_the_journal_at_most() {
    for mark_every in [0, 1, 57, 1000] {
        let options = Options { mark_every, ..Options::default() };
        let mut store = Store::open(medium(), layout(), options).unwrap();
        let package = varied();
        store.begin(1, DOOR, RECEIVING, LEVELS).unwrap();
        prepare(&mut store, &package);
        for (number, bytes) in package.members.iter().enumerate() {
            for (at, byte) in bytes.iter().enumerate() {
                store.write(number, at as u64, &[*byte]).unwrap();
                // Nor does it help to send it again.
                store.write(number, at as u64, &[*byte]).unwrap();
            }
        }
        store.abandon(FAILED, None).unwrap();
        let is_entry = |operation: &&Operation| matches!(operation, Operation::Journal(_));
        let entries = store.medium().operations().iter().filter(is_entry).count();
        assert!(entries <= 67 && (entries > 60 || mark_every == 1000), "{entries}");
    }
}

#[test]
fn after_a_cut_the_same_package_is_believed_up_to_the_mark_and_written_behind_it() {
    let package = varied();
    let mut store = with_marks(medium());
    write_some(&mut store, 1, &package, 1 + 3 + 5);
    // The mark stands behind the second chunk of the kernel, then of rofs, and so on: 908 bytes, 1,508, 2,108.
    let mut store = cut(store, Loss::None);
    store.begin(2, DOOR, RECEIVING, LEVELS).unwrap();
    prepare(&mut store, &package);
    let believed = held(&store);
    assert_eq!(believed, [(1, 0), (1, 1), (1, 2), (2, 0), (2, 1), (2, 2), (2, 3)]);
    for chunk in believed {
        assert_eq!(find(&mut store, chunk), Found::There);
    }
    complete(&mut store, &package);
    // Rule 6: all chunks behind the mark, the one that stood there whole among them, and the filling.
    let behind = (4..10).map(|chunk| 1024 + 300 * chunk);
    let filling = [700, 1024 + 2900];
    assert_eq!(written(&store), behind.chain(filling).collect());
}

#[test]
fn after_a_cut_another_package_is_written_whole() {
    let package = varied();
    let mut store = with_marks(medium());
    write_some(&mut store, 1, &package, 1 + 3 + 5);
    let mut store = cut(store, Loss::None);
    // All but the version is the same, and the index another one.
    let other = Package { index: Index { version: "2.1".to_string(), ..package.index.clone() }, ..varied() };
    store.begin(2, DOOR, RECEIVING, LEVELS).unwrap();
    prepare(&mut store, &other);
    assert_eq!(held(&store), []);
    complete(&mut store, &other);
    assert_eq!(written(&store).len(), 3 + 10 + 2);
}

#[test]
fn the_doubt_outlives_a_session_that_ends_in_order() {
    let package = varied();
    let mut store = with_marks(medium());
    write_some(&mut store, 1, &package, 1 + 3 + 5);
    let mut store = cut(store, Loss::None);
    write_some(&mut store, 2, &package, KERNEL_AND_TWO);
    abort(&mut store);
    // Less has come than the time before; what was believed then still is, and the rest is not.
    store.begin(3, DOOR, RECEIVING, LEVELS).unwrap();
    prepare(&mut store, &package);
    assert_eq!(held(&store).last(), Some(&(2, 3)));
    complete(&mut store, &package);
    assert!(written(&store).contains(&(1024 + 300 * 4)));
}

#[test]
fn after_an_end_in_order_nothing_is_written_twice() {
    let package = varied();
    let mut store = with_marks(medium());
    write_some(&mut store, 1, &package, 1 + 3 + 5);
    abort(&mut store);
    let mut store = cut(store, Loss::All);
    store.begin(2, DOOR, RECEIVING, LEVELS).unwrap();
    prepare(&mut store, &package);
    assert_eq!(held(&store).last(), Some(&(2, 4)), "to the last byte, not only to the mark");
    complete(&mut store, &package);
    let left = (5..10).map(|chunk| 1024 + 300 * chunk);
    assert_eq!(written(&store), left.chain([700, 1024 + 2900]).collect());
}

#[test]
fn an_aborted_session_tells_the_next_what_another_package_shares_with_it() {
    let package = varied();
    let mut store = with_marks(medium());
    write_some(&mut store, 1, &package, 1 + 3 + 5);
    abort(&mut store);
    let mut rofs = package.members[2].clone();
    rofs[300] ^= 1;
    let other = super::package("2.1", 3, &package.members[1], &rofs);
    store.begin(2, DOOR, RECEIVING, LEVELS).unwrap();
    prepare(&mut store, &other);
    assert_eq!(held(&store), [(1, 0), (1, 1), (1, 2), (2, 0), (2, 2), (2, 3), (2, 4)]);
}

#[test]
fn a_whole_slot_is_known_by_its_index() {
    let package = varied();
    let mut store = with_marks(medium());
    store.begin(1, DOOR, RECEIVING, LEVELS).unwrap();
    prepare(&mut store, &package);
    complete(&mut store, &package);
    let mut kernel = package.members[1].clone();
    kernel[0] ^= 1;
    let other = super::package("2.1", 3, &kernel, &package.members[2]);
    store.begin(2, DOOR, RECEIVING, LEVELS).unwrap();
    prepare(&mut store, &other);
    let believed = held(&store);
    assert_eq!(believed.len(), 2 + 10, "{believed:?}");
    for chunk in believed {
        assert_eq!(find(&mut store, chunk), Found::There);
    }
    assert_eq!(find(&mut store, (1, 0)), Found::Missing);
    assert_eq!(store.chunk_hints().next(), Some(ChunkHint::Unplaced));
    for (number, found) in [(0, Found::There), (1 + 3 + 10, Found::Missing), (u32::MAX, Found::Missing)] {
        assert_eq!(store.find_chunk(number), Ok(found), "{number}");
    }
}

#[test]
fn a_hint_that_is_wrong_is_found_out() {
    let package = varied();
    let bytes = index_bytes(&package);
    let indexes = [bytes.clone(), b"rubbish".to_vec(), bytes[..bytes.len() - 1].to_vec(), Vec::new()];
    for (number, index) in indexes.into_iter().enumerate() {
        let mut medium = medium();
        // Slot b never held that.
        medium.save_index(Slot::B, &index).unwrap();
        let mut store = with_marks(medium);
        store.begin(1, DOOR, RECEIVING, LEVELS).unwrap();
        prepare(&mut store, &package);
        let believed = held(&store);
        assert_eq!(believed.len(), if number == 0 { 13 } else { 0 });
        for chunk in believed {
            assert_eq!(find(&mut store, chunk), Found::Missing);
        }
        complete(&mut store, &package);
    }
}

#[test]
fn without_a_journal_all_works_and_what_is_in_doubt_is_written_whole() {
    let package = varied();
    let lose = |store: Store<MemoryMedium>, bytes: &[u8]| {
        let mut medium = store.into_medium();
        for area in Place::ALL {
            medium.set_journal(area, bytes.to_vec());
        }
        cut(with_marks(medium), Loss::None)
    };
    for bytes in [&[][..], &[0xff; 300], &[0; 40_000]] {
        let mut store = with_marks(medium());
        write_some(&mut store, 1, &package, 1 + 3 + 5);
        let mut store = lose(store, bytes);
        assert_eq!(store.levels(), None);
        store.begin(2, DOOR, RECEIVING, LEVELS).unwrap();
        prepare(&mut store, &package);
        assert_eq!(held(&store), []);
        complete(&mut store, &package);
        assert_eq!(written(&store).len(), 3 + 10 + 2);
        // A slot that is whole needs no journal to be believed.
        let mut store = lose(store, bytes);
        store.begin(3, DOOR, RECEIVING, LEVELS).unwrap();
        prepare(&mut store, &package);
        assert_eq!(held(&store).len(), 13);
        complete(&mut store, &package);
        assert_eq!(written(&store), BTreeSet::new());
        store.boot().unwrap();
        store.confirm(DONE).unwrap();
    }
}

#[test]
fn a_journal_that_lost_its_newest_entries_is_not_taken_for_the_truth() {
    let package = varied();
    let mut store = with_marks(medium());
    write_some(&mut store, 1, &package, usize::MAX);
    abort(&mut store);
    let old = store.medium().journal(Place::First).to_vec();
    let other = super::package("3.0", 3, &[9; 700], &[8; 2900]);
    write_some(&mut store, 2, &other, 1 + 3 + 5);
    let mut medium = store.into_medium();
    medium.set_journal(Place::First, old);
    medium.save_index(Slot::B, &index_bytes(&package)).unwrap();
    let mut store = cut(with_marks(medium), Loss::Some);
    store.begin(3, DOOR, RECEIVING, LEVELS).unwrap();
    prepare(&mut store, &package);
    assert_eq!(held(&store), []);
    complete(&mut store, &package);
    assert_eq!(written(&store).len(), 3 + 10 + 2);
}

#[test]
fn nor_when_the_log_has_forgotten_the_session_that_wrote_last() {
    let package = varied();
    let mut store = with_marks(medium());
    write_some(&mut store, 1, &package, usize::MAX);
    abort(&mut store);
    let old = store.medium().journal(Place::First).to_vec();
    write_some(&mut store, 2, &super::package("3.0", 3, &[9; 700], &[8; 2900]), 1 + 3 + 5);
    let mut store = cut(store, Loss::Some);
    // As a start records it.
    let interrupted = SessionRecord { state: 2, result: 51, ..store.record().session };
    store.log_session(interrupted, None).unwrap();
    // Sessions that come to nothing, as many as a host likes, with levels as they go down.
    for id in 3..40 {
        let levels = Levels { sessions: 1000 - u64::from(id), ..LEVELS };
        store.begin(id, DOOR, RECEIVING, levels).unwrap();
        store.abandon(FAILED, None).unwrap();
    }
    // What was added to the journal since the first session is lost.
    let mut medium = store.into_medium();
    medium.set_journal(Place::First, old);
    let mut store = cut(with_marks(medium), Loss::None);
    assert_eq!(store.levels(), None, "what the budgets had left long ago");
    store.begin(40, DOOR, RECEIVING, LEVELS).unwrap();
    prepare(&mut store, &package);
    assert_eq!(held(&store), []);
    complete(&mut store, &package);
    assert_eq!(written(&store).len(), 3 + 10 + 2, "the slot was in doubt, and nothing has lifted that");
}

#[test]
fn a_slot_that_did_not_hold_what_was_written_is_not_believed() {
    let package = varied();
    let mut store = with_marks(medium());
    store.medium.break_cell(Slot::B, 1100);
    write_some(&mut store, 1, &package, usize::MAX);
    assert!(matches!(store.finish(STAGED), Err(StoreError::Mismatch { .. })));
    abort(&mut store);
    store.begin(2, DOOR, RECEIVING, LEVELS).unwrap();
    prepare(&mut store, &package);
    assert_eq!(held(&store), []);
    write(&mut store, &package).unwrap();
    assert_eq!(written(&store).len(), 3 + 10);
}

/// How far the journal says that the slot has come, and whether that is beyond doubt.
fn noted(store: &Store<MemoryMedium>) -> (Mark, bool) {
    let progress = store.journal.facts().unwrap().progress.unwrap();
    (progress.mark, progress.settled)
}

#[test]
fn a_session_is_paid_for_before_the_record_has_it() {
    let mut store = with_marks(medium());
    store.begin(1, DOOR, RECEIVING, LEVELS).unwrap();
    assert!(matches!(store.medium().operations(), [Operation::Journal(_), Operation::Record(_)]));
}

#[test]
fn a_new_store_has_a_journal_before_it_has_a_record() {
    let mut medium = MemoryMedium::new(SLOT);
    let firmware = Firmware { version: Text::cut("1.0"), bcd_device: 0x0100, security_version: 2 };
    Store::create(&mut medium, &firmware).unwrap();
    assert!(matches!(medium.operations(), [Operation::Journal(_), Operation::Record(_)]));
    assert_eq!(with_marks(medium).levels(), Some(Levels::FULL));
}

#[test]
fn a_write_or_a_synchronisation_that_failed_leaves_nothing_to_believe() {
    let package = varied();
    // The write of the kernel's second chunk, and the synchronisation for the mark behind it.
    for failing in 0..2 {
        let mut store = with_marks(medium());
        write_some(&mut store, 1, &package, 2);
        let next = store.medium().operations().len() + failing;
        store.medium.fail_at(next, MediumErrorKind::Io);
        let (member, offset, bytes) = chunks(&package).swap_remove(2);
        assert!(store.write(member, offset, &bytes).is_err());
        store.abandon(FAILED, None).unwrap();
        assert_eq!(noted(&store), (Mark::default(), false), "{failing}");
    }
}

#[test]
fn an_end_whose_synchronisation_fails_leaves_the_doubt() {
    let mut store = with_marks(medium());
    write_some(&mut store, 1, &varied(), KERNEL_AND_TWO);
    let last_mark = noted(&store);
    let next = store.medium().operations().len();
    store.medium.fail_at(next, MediumErrorKind::Io);
    store.abandon(FAILED, None).unwrap();
    assert_eq!(noted(&store), last_mark);
    assert!(!last_mark.1);
}

#[test]
fn filling_that_is_in_doubt_is_written_however_it_reads() {
    let package = varied();
    let mut store = with_marks(medium());
    store.begin(1, DOOR, RECEIVING, LEVELS).unwrap();
    prepare(&mut store, &package);
    complete(&mut store, &package);
    write_some(&mut store, 2, &package, KERNEL_AND_TWO);
    let mut store = cut(store, Loss::All);
    store.begin(3, DOOR, RECEIVING, LEVELS).unwrap();
    prepare(&mut store, &package);
    complete(&mut store, &package);
    assert!(written(&store).is_superset(&[700, 1024 + 2900].into()));
}

#[test]
fn keeping_levels_keeps_progress() {
    let mut store = with_marks(medium());
    write_some(&mut store, 1, &varied(), KERNEL_AND_TWO);
    let before = noted(&store);
    store.save_levels(Levels { sessions: 1, rewrites: 2 }).unwrap();
    assert_eq!(noted(&store), before);
    abort(&mut store);
    let before = noted(&store);
    store.save_levels(Levels { sessions: 2, rewrites: 3 }).unwrap();
    assert_eq!(noted(&cut(store, Loss::All)), before);
}

#[test]
fn an_index_that_the_journal_does_not_name_says_nothing() {
    let package = varied();
    let mut store = with_marks(medium());
    write_some(&mut store, 1, &package, usize::MAX);
    abort(&mut store);
    let other = varied_from(100);
    store.medium.save_index(Slot::B, &index_bytes(&other)).unwrap();
    store.begin(2, DOOR, RECEIVING, LEVELS).unwrap();
    prepare(&mut store, &other);
    assert_eq!(held(&store), []);
}
