//! What of a package is there already: in its place, in the running slot, in the package itself.

use alloc::collections::BTreeSet;

use proptest::collection::vec as many;
use proptest::prelude::*;

use super::*;
use crate::layout::RegionPolicy;

/// Regions: two that are replaced, one between them that is preserved.
const KERNEL: (u64, u64) = (0, 1000);
const SETTINGS: (u64, u64) = (1000, 500);
const ROFS: (u64, u64) = (1500, 2000);

fn layout() -> Layout {
    let region = |name: &str, (offset, length): (u64, u64), policy| Region {
        policy,
        ..Region::new("bmc", name, offset, length)
    };
    let regions = vec![
        region("kernel", KERNEL, RegionPolicy::Replace),
        region("settings", SETTINGS, RegionPolicy::Preserve),
        region("rofs", ROFS, RegionPolicy::Replace),
    ];
    Layout::new(SLOT as u64, regions).unwrap()
}

/// The content that goes by a number: its length and its bytes.
fn content(number: u8) -> Vec<u8> {
    let length = 40 + usize::from(number % 7) * 23;
    (0..length).map(|at| (at as u8).wrapping_mul(number | 1) ^ number.wrapping_mul(57)).collect()
}

/// Contents that fit into a region, one behind the other.
fn fitting(contents: &[u8], room: u64) -> Vec<u8> {
    let mut left = room;
    let fits = |number: &&u8| match left.checked_sub(content(**number).len() as u64) {
        Some(rest) => {
            left = rest;
            true
        }
        None => false,
    };
    contents.iter().take_while(fits).copied().collect()
}

/// A package of these contents, each a chunk; its chunks are numbered through, MANIFEST first.
fn of(version: &str, kernel: &[u8], rofs: &[u8]) -> Package {
    let images = [("kernel", fitting(kernel, KERNEL.1)), ("rofs", fitting(rofs, ROFS.1))];
    let mut package = super::package(version, 3, &[], &[]);
    for (member, (name, contents)) in images.into_iter().enumerate() {
        let chunks = contents.iter().map(|number| content(*number)).map(|bytes| Chunk {
            encoding: Encoding::Plain,
            length: bytes.len() as u32,
            digest: sha256(&bytes),
        });
        let bytes: Vec<u8> = contents.iter().flat_map(|number| content(*number)).collect();
        let length = bytes.len() as u64;
        package.index.members[member + 1] = Member {
            name: name.to_string(),
            kind: MemberKind::Image,
            target: 0,
            length,
            chunks: chunks.collect(),
        };
        package.members[member + 1] = bytes;
    }
    package
}

impl Package {
    /// What the regions of a slot hold that was written from it.
    fn fill(&self, slot: &mut [u8]) {
        for (bytes, (offset, length)) in self.members[1..].iter().zip([KERNEL, ROFS]) {
            let region = &mut slot[offset as usize..(offset + length) as usize];
            region.fill(0xff);
            region[..bytes.len()].copy_from_slice(bytes);
        }
    }

    /// Digests of the chunks with their places in a slot.
    fn placed(&self) -> Vec<(u64, Digest)> {
        let members = self.index.members[1..].iter().zip([KERNEL.0, ROFS.0]);
        let chunks = members.flat_map(|(member, start)| {
            member.chunks_with_offsets().map(move |(offset, chunk)| (start + offset, chunk.digest))
        });
        chunks.collect()
    }

    fn chunk_count(&self) -> u32 {
        self.index.members.iter().map(|member| member.chunks.len()).sum::<usize>() as u32
    }

    /// The chunk of this number, as a reader hands it on.
    fn by_number(&self, number: u32) -> Checked<'_> {
        let mut in_member = number as usize;
        for (member, entry) in self.index.members.iter().enumerate() {
            if in_member < entry.chunks.len() {
                return checked(self, member, in_member);
            }
            in_member -= entry.chunks.len();
        }
        panic!("there is no chunk {number}")
    }
}

/// A store that runs one package and has another one in its other slot, each with its index.
fn holding(running: &Package, other: &Package) -> Store<MemoryMedium> {
    let mut medium = medium();
    for (slot, package) in [(Slot::A, running), (Slot::B, other)] {
        let mut bytes = medium.slot(slot).to_vec();
        package.fill(&mut bytes);
        medium.fill(slot, &bytes);
        medium.save_index(slot, &package.index.encode().unwrap()).unwrap();
    }
    medium.forget_operations();
    open(medium)
}

fn open(medium: MemoryMedium) -> Store<MemoryMedium> {
    let fingerprints = Some(FingerprintKey::new(9));
    Store::open(medium, layout(), Options { fingerprints, mark_every: 500, ..Options::default() }).unwrap()
}

fn begin(store: &mut Store<MemoryMedium>, package: &Package) {
    let id = store.record().last_id + 1;
    store.begin(id, DOOR, RECEIVING, LEVELS).unwrap();
    let bytes = package.index.encode().unwrap();
    store.prepare(&Arc::new(package.index.clone()), &bytes, &HEAD, LEVELS).unwrap();
}

/// Brings a chunk to the slot: finds it, or what it is a copy of first; else sends it.
fn bring(
    store: &mut Store<MemoryMedium>,
    package: &Package,
    number: u32,
    sent: &mut Vec<u32>,
) -> Result<(), StoreError> {
    loop {
        match store.find_chunk(number)? {
            Found::There => return Ok(()),
            Found::Missing => {
                sent.push(number);
                return store.write_chunk(&package.by_number(number));
            }
            Found::Behind(original) => bring(store, package, original, sent)?,
        }
    }
}

/// A session to its end; numbers of the chunks that had to be sent.
fn install(store: &mut Store<MemoryMedium>, package: &Package) -> Vec<u32> {
    begin(store, package);
    let mut sent = Vec::new();
    for number in 0..package.chunk_count() {
        bring(store, package, number, &mut sent).unwrap();
    }
    store.finish(STAGED).unwrap();
    let mut expected = store.medium().slot(Slot::B).to_vec();
    package.fill(&mut expected);
    assert_eq!(store.medium().slot(Slot::B), expected);
    assert!(expected[SETTINGS.0 as usize..ROFS.0 as usize].iter().all(|byte| *byte == 0xbb));
    sent
}

fn writes(store: &Store<MemoryMedium>) -> usize {
    let is_write = |operation: &&Operation| matches!(operation, Operation::Write { .. });
    store.medium().operations().iter().filter(is_write).count()
}

#[test]
fn an_identical_package_is_neither_sent_nor_written() {
    let (old, package) = (of("1.0", &[1, 2], &[3]), of("2.0", &[4, 5, 5], &[6, 4, 7]));
    let mut store = holding(&old, &package);
    assert_eq!(install(&mut store, &package), []);
    assert_eq!(writes(&store), 0);
    assert!(store.medium().reads().iter().all(|(slot, ..)| *slot == Slot::B), "all is in its place");
}

#[test]
fn what_runs_is_copied_and_not_sent() {
    let (old, package) = (of("1.0", &[1, 2], &[3]), of("2.0", &[4, 5, 5], &[6, 4, 7]));
    let mut store = holding(&package, &old);
    assert_eq!(install(&mut store, &package), []);
    // Shifted, and from one region to the other.
    let shifted = of("2.1", &[9, 7, 4, 5], &[10, 5, 6]);
    let mut store = holding(&package, &old);
    assert_eq!(install(&mut store, &shifted), [1, 5], "9 and 10");
}

#[test]
fn equal_chunks_are_sent_once() {
    let (old, package) = (of("1.0", &[1], &[2]), of("2.0", &[4, 5, 4, 4], &[5, 6, 4]));
    let mut store = holding(&old, &old);
    assert_eq!(install(&mut store, &package), [1, 2, 6]);
}

#[test]
fn a_copy_that_stands_in_its_place_serves_for_those_before_it() {
    let old = of("1.0", &[1, 2], &[3, 8]);
    let package = of("2.0", &[8, 2], &[3, 8]);
    let mut store = holding(&of("0.9", &[], &[]), &old);
    begin(&mut store, &package);
    assert_eq!(store.find_chunk(1), Ok(Found::Behind(4)), "the one in rofs is said to be there");
    assert_eq!(store.find_chunk(4), Ok(Found::There));
    assert_eq!(store.find_chunk(1), Ok(Found::There));
}

#[test]
fn wrong_hints_cost_one_read_each() {
    let (running, old) = (of("1.0", &[1, 2, 3], &[4, 5, 6]), of("0.9", &[1, 9, 3], &[4]));
    let package = of("2.0", &[1, 2, 3], &[4, 5, 6]);
    let mut store = holding(&running, &old);
    for slot in Slot::ALL {
        store.medium.fill(slot, &[0; SLOT]);
    }
    begin(&mut store, &package);
    store.medium.forget_operations();
    for number in 1..=6 {
        for _ in 0..3 {
            assert_eq!(store.find_chunk(number), Ok(Found::Missing));
        }
    }
    let reads = |slot: Slot| store.medium().reads().iter().filter(|(read, ..)| *read == slot).count();
    assert_eq!(reads(Slot::A), 6, "all of them are said to be in the running slot");
    assert_eq!(reads(Slot::B), 3, "and 1, 3 and 4 in their place");
}

#[test]
fn only_regions_that_are_replaced_are_searched() {
    // An index that says of each region, and of more than there is, that it holds what comes.
    let package = of("2.0", &[1, 2, 3], &[4, 5, 6]);
    let mut forged = of("1.0", &[], &[]);
    let chunks = |numbers: &[u8]| package_chunks(numbers);
    let member = |name: &str, kind, target, numbers: &[u8]| {
        let chunks = chunks(numbers);
        let length = chunks.iter().map(|chunk| u64::from(chunk.length)).sum();
        Member { name: name.to_string(), kind, target, length, chunks }
    };
    let too_long = [4; 60];
    for (members, said) in [
        (vec![member("settings", MemberKind::Image, 0, &[1, 2, 3])], false),
        (vec![member("kernel", MemberKind::Metadata, 0, &[1, 2, 3])], false),
        (vec![member("kernel", MemberKind::Image, 1, &[1, 2, 3])], false),
        (vec![member("unknown", MemberKind::Image, 0, &[1, 2, 3])], false),
        // As far as the region goes; what an older layout may have left.
        (vec![member("rofs", MemberKind::Image, 0, &too_long)], true),
    ] {
        forged.index.targets = vec!["bmc".to_string(), "bios".to_string()];
        forged.index.members = members;
        let bytes = forged.index.encode().unwrap();
        let mut medium = holding(&package, &package).into_medium();
        medium.save_index(Slot::A, &bytes).unwrap();
        medium.save_index(Slot::B, &bytes).unwrap();
        let mut store = open(medium);
        begin(&mut store, &package);
        assert_eq!(store.chunk_hints().any(|hint| hint == ChunkHint::Said), said);
        let mut sent = Vec::new();
        for number in 0..package.chunk_count() {
            bring(&mut store, &package, number, &mut sent).unwrap();
        }
        store.finish(STAGED).unwrap();
        assert_only_replaced_is_read(&store);
    }
}

fn package_chunks(numbers: &[u8]) -> Vec<Chunk> {
    let chunk = |number: &u8| {
        let bytes = content(*number);
        Chunk { encoding: Encoding::Plain, length: bytes.len() as u32, digest: sha256(&bytes) }
    };
    numbers.iter().map(chunk).collect()
}

fn assert_only_replaced_is_read(store: &Store<MemoryMedium>) {
    for (_, offset, length) in store.medium().reads() {
        let inside = |(start, room): (u64, u64)| *offset >= start && offset + *length as u64 <= start + room;
        assert!(inside(KERNEL) || inside(ROFS), "{length} bytes at {offset}");
    }
}

#[test]
fn chunks_that_were_found_are_read_back_by_their_fingerprints() {
    let (old, package) = (of("1.0", &[1, 2], &[3]), of("2.0", &[4, 5], &[6, 7]));
    // In place, and copied.
    for (running, other) in [(&old, &package), (&package, &old)] {
        let mut store = holding(running, other);
        begin(&mut store, &package);
        for number in 0..package.chunk_count() {
            bring(&mut store, &package, number, &mut Vec::new()).unwrap();
        }
        let Phase::Writing(writing) = &store.phase else { panic!() };
        assert_eq!(writing.plan.fingerprints_taken(), 4);
        // What they are compared with is what the slot holds then.
        store.medium.break_cell(Slot::B, ROFS.0);
        assert!(matches!(store.finish(STAGED), Err(StoreError::Mismatch { offset: 1500, .. })));
    }
}

#[test]
fn marks_pass_over_what_goes_nowhere_and_over_what_came_out_of_order() {
    let (old, package) = (of("1.0", &[1, 2], &[3]), of("2.0", &[4, 5, 6], &[7]));
    let mut store = holding(&old, &old);
    begin(&mut store, &package);
    // MANIFEST never comes; the second chunk of the kernel is the last one.
    for number in [1, 3, 4, 2] {
        store.write_chunk(&package.by_number(number)).unwrap();
    }
    store.abandon(FAILED, None).unwrap();
    let progress = store.journal.facts().unwrap().progress.unwrap();
    let end = package.members[2].len() as u64;
    assert_eq!((progress.mark.member, progress.mark.offset), (2, end));
    assert!(progress.settled);
    assert_eq!(install(&mut store, &package), []);
}

#[test]
fn a_medium_that_fails_while_a_chunk_is_copied_leaves_nothing_to_believe() {
    let (old, package) = (of("1.0", &[1, 2], &[3]), of("2.0", &[4, 5], &[6, 7]));
    let mut store = holding(&package, &old);
    begin(&mut store, &package);
    assert_eq!(store.find_chunk(1), Ok(Found::There));
    let next = store.medium().operations().len();
    store.medium.fail_at(next, MediumErrorKind::Io);
    assert!(matches!(store.find_chunk(2), Err(StoreError::Write(_))));
    store.abandon(FAILED, None).unwrap();
    let progress = store.journal.facts().unwrap().progress.unwrap();
    assert!(!progress.settled);
    assert_eq!(install(&mut store, &package), [], "all of it still runs");
}

/// The power goes at each operation of a session that copies; the next one ends the same way, and is sent no more.
#[test]
fn the_power_goes_at_each_operation_while_chunks_are_copied() {
    let running = of("1.0", &[1, 2, 3, 4], &[5, 6, 7, 8, 9]);
    let other = of("0.9", &[1, 12], &[13, 6]);
    let package = of("2.0", &[20, 1, 2, 2, 4], &[21, 5, 7, 21, 8, 22, 6]);
    let mut whole = holding(&running, &other);
    let sent = install(&mut whole, &package);
    assert_eq!(sent, [1, 6, 11]);
    let operations = whole.medium().operations().len();
    let mut spared = 0;
    for at in 0..operations {
        for loss in Loss::ALL {
            let mut store = holding(&running, &other);
            store.medium.cut_power_at(at);
            let id = store.record().last_id + 1;
            let bytes = package.index.encode().unwrap();
            let _ = store
                .begin(id, DOOR, RECEIVING, LEVELS)
                .and_then(|()| store.prepare(&Arc::new(package.index.clone()), &bytes, &HEAD, LEVELS))
                .and_then(|()| {
                    let mut numbers = 0..package.chunk_count();
                    numbers.try_for_each(|number| bring(&mut store, &package, number, &mut Vec::new()))
                })
                .and_then(|()| store.finish(STAGED));
            assert!(!store.medium().is_powered(), "operation {at}");
            let mut medium = store.into_medium();
            medium.power_cycle(loss);
            medium.forget_operations();
            let mut store = open(medium);
            store.boot().unwrap();
            if store.is_on_trial() {
                // The last record was durable.
                continue;
            }
            assert_eq!(store.running(), Slot::A);
            let mark = store.journal.facts().and_then(|facts| facts.progress).map(|progress| progress.mark);
            let again = install(&mut store, &package);
            assert_eq!(again, sent[sent.len() - again.len()..], "operation {at}, {loss:?}, {mark:?}");
            spared = spared.max(sent.len() - again.len());
        }
    }
    assert!(spared >= 2, "{spared}: what was marked is not sent again");
}

fn contents() -> impl Strategy<Value = (Vec<u8>, Vec<u8>)> {
    (many(0u8..24, 0..12), many(0u8..24, 0..24))
}

proptest! {
    #[test]
    fn what_is_sent_is_what_is_nowhere(running in contents(), other in contents(), new in contents()) {
        let of = |version, (kernel, rofs): &(Vec<u8>, Vec<u8>)| of(version, kernel, rofs);
        let (running, other, package) = (of("1.0", &running), of("0.9", &other), of("2.0", &new));
        let mut store = holding(&running, &other);
        let sent = install(&mut store, &package);
        assert_only_replaced_is_read(&store);

        let there: BTreeSet<(u64, Digest)> = other.placed().into_iter().collect();
        let mut known: BTreeSet<Digest> = running.placed().into_iter().map(|(_, digest)| digest).collect();
        known.extend(package.placed().into_iter().filter(|place| there.contains(place)).map(|(_, digest)| digest));
        let mut expected = Vec::new();
        for (number, (_, digest)) in (1..).zip(package.placed()) {
            if known.insert(digest) {
                expected.push(number);
            }
        }
        prop_assert_eq!(sent, expected);
    }

    /// Whatever the slots hold besides what their indexes say, and whatever these are.
    #[test]
    fn hints_that_lie_change_nothing_but_what_is_sent(
        running in contents(),
        other in contents(),
        new in contents(),
        claims in [contents(), contents()],
        damage in many((any::<bool>(), 0..SLOT, any::<u8>()), 0..20),
    ) {
        let of = |version, (kernel, rofs): &(Vec<u8>, Vec<u8>)| of(version, kernel, rofs);
        let (running, other, package) = (of("1.0", &running), of("0.9", &other), of("2.0", &new));
        let mut medium = holding(&running, &other).into_medium();
        for (slot, claim) in Slot::ALL.into_iter().zip(&claims) {
            medium.save_index(slot, &of("0.1", claim).index.encode().unwrap()).unwrap();
            let mut bytes = medium.slot(slot).to_vec();
            for (_, at, byte) in damage.iter().filter(|(b, ..)| *b == (slot == Slot::B)) {
                if !(SETTINGS.0..ROFS.0).contains(&(*at as u64)) {
                    bytes[*at] ^= byte;
                }
            }
            medium.fill(slot, &bytes);
        }
        let mut store = open(medium);
        store.medium.forget_operations();
        let sent = install(&mut store, &package);
        assert_only_replaced_is_read(&store);
        prop_assert_eq!(sent.iter().collect::<BTreeSet<_>>().len(), sent.len(), "each once");
        let of_running = store.medium().reads().iter().filter(|(slot, ..)| *slot == Slot::A).count();
        prop_assert!(of_running <= package.chunk_count() as usize);
    }
}
