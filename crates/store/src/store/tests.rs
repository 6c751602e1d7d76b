use alloc::string::ToString;
use alloc::vec;

use inband_package::Refusal;
use inband_package::digest::sha256;
use inband_package::index::{Chunk, Encoding, Member, MemberKind};

use super::*;
use crate::layout::Region;
use crate::medium::MediumErrorKind;
use crate::memory::{Loss, MemoryMedium, Operation};

mod have;
mod regions;
mod resume;
mod trial;

const SLOT: usize = 4096;
const STAGED: Ending = Ending { state: 5, result: 1 };
const DONE: Ending = Ending { state: 8, result: 1 };
const FAILED: Ending = Ending { state: 9, result: 64 };
const RECEIVING: u8 = 1;
const LEVELS: Levels = Levels { sessions: 20, rewrites: 10 };
const DOOR: u8 = 1;
const HEAD: Digest = [7; 32];
const INDEX_BYTES: &[u8] = b"as it came";

fn layout() -> Layout {
    let kernel = Region::new("bmc", "kernel", 0, 1000);
    let rofs = Region::new("bmc", "rofs", 1024, 3000);
    Layout::new(SLOT as u64, vec![kernel, rofs]).unwrap()
}

fn medium() -> MemoryMedium {
    let mut medium = MemoryMedium::new(SLOT);
    medium.fill(Slot::A, &vec![0xaa; SLOT]);
    medium.fill(Slot::B, &vec![0xbb; SLOT]);
    let firmware = Firmware { version: Text::cut("1.0"), bcd_device: 0x0100, security_version: 2 };
    Store::create(&mut medium, &firmware).unwrap();
    medium.forget_operations();
    medium
}

fn open(medium: MemoryMedium) -> Store<MemoryMedium> {
    let options = Options { fingerprints: Some(FingerprintKey::new(9)), ..Options::default() };
    Store::open(medium, layout(), options).unwrap()
}

fn store() -> Store<MemoryMedium> {
    open(medium())
}

/// A member cut into chunks of 300 bytes.
fn member(name: &str, kind: MemberKind, bytes: &[u8]) -> Member {
    let chunk = |bytes: &[u8]| Chunk {
        encoding: Encoding::Plain,
        length: bytes.len().try_into().unwrap(),
        digest: sha256(bytes),
    };
    Member {
        name: name.to_string(),
        kind,
        target: 0,
        length: bytes.len() as u64,
        chunks: bytes.chunks(300).map(chunk).collect(),
    }
}

#[derive(Clone)]
struct Package {
    index: Index,
    members: Vec<Vec<u8>>,
}

fn package(version: &str, security_version: u32, kernel: &[u8], rofs: &[u8]) -> Package {
    let manifest = b"MANIFEST".to_vec();
    let members = vec![
        member("MANIFEST", MemberKind::Metadata, &manifest),
        member("kernel", MemberKind::Image, kernel),
        member("rofs", MemberKind::Image, rofs),
    ];
    let index = Index {
        machine: "board".to_string(),
        compatible: vec![],
        version: version.to_string(),
        security_version,
        bcd_device: 0x0200,
        targets: vec!["bmc".to_string()],
        members,
    };
    Package { index, members: vec![manifest, kernel.to_vec(), rofs.to_vec()] }
}

fn sample() -> Package {
    package("2.0", 3, &[1; 700], &[2; 3000])
}

/// Writes all members, chunk by chunk.
fn write(store: &mut Store<MemoryMedium>, package: &Package) -> Result<(), StoreError> {
    for (member, entry) in package.index.members.iter().enumerate() {
        for number in 0..entry.chunks.len() {
            store.write_chunk(&checked(package, member, number))?;
        }
    }
    Ok(())
}

/// A chunk of a package, as a reader hands it on.
fn checked(package: &Package, member: usize, number: usize) -> Checked<'_> {
    let (offset, chunk) = package.index.members[member].chunks_with_offsets().nth(number).unwrap();
    let at = usize::try_from(offset).unwrap();
    let bytes = &package.members[member][at..at + chunk.length as usize];
    Checked::new((member, number, offset), chunk, bytes).unwrap()
}

fn prepare(store: &mut Store<MemoryMedium>, package: &Package) -> Result<(), StoreError> {
    store.prepare(&Arc::new(package.index.clone()), INDEX_BYTES, &HEAD, LEVELS)
}

fn update(store: &mut Store<MemoryMedium>, id: u32, package: &Package) -> Result<(), StoreError> {
    store.begin(id, DOOR, RECEIVING, LEVELS)?;
    prepare(store, package)?;
    write(store, package)?;
    store.finish(STAGED)
}

/// The slot's bytes as a package leaves them: regions filled, what is outside them as it was.
fn expected(package: &Package, was: u8) -> Vec<u8> {
    let mut slot = vec![was; SLOT];
    slot[..1000].fill(0xff);
    slot[..package.members[1].len()].copy_from_slice(&package.members[1]);
    slot[1024..4024].fill(0xff);
    slot[1024..1024 + package.members[2].len()].copy_from_slice(&package.members[2]);
    slot
}

fn record_writes(store: &Store<MemoryMedium>) -> usize {
    let is_record = |operation: &&Operation| matches!(operation, Operation::Record(_));
    store.medium().operations().iter().filter(is_record).count()
}

#[test]
fn rule_1_the_running_slot_is_never_written() {
    let mut store = store();
    let packages = [sample(), package("3.0", 3, &[3; 1000], &[4; 1]), package("4.0", 3, &[], &[])];
    for (id, package) in (1..).zip(packages) {
        let running = store.running();
        let before = store.medium().slot(running).to_vec();
        update(&mut store, id, &package).unwrap();
        assert_eq!(store.medium().slot(running), before);
        assert!(store.medium().operations().iter().all(|operation| match operation {
            Operation::Write { slot, .. } | Operation::Sync(slot) | Operation::Index(slot) =>
                *slot != running,
            Operation::Record(_) | Operation::Journal(_) => true,
        }));
        store.medium.forget_operations();
        // The next round runs from the other slot.
        assert_eq!(store.boot(), Ok(running.other()));
        store.confirm(DONE).unwrap();
        store.medium.forget_operations();
    }
}

#[test]
fn rule_2_on_trial_no_session_begins() {
    let mut store = store();
    update(&mut store, 1, &sample()).unwrap();
    store.boot().unwrap();
    let before = store.record().clone();
    assert!(store.is_on_trial());
    assert_eq!(store.begin(2, DOOR, RECEIVING, LEVELS), Err(StoreError::OnTrial));
    assert_eq!(prepare(&mut store, &sample()), Err(StoreError::Order("no session has begun")));
    assert_eq!(store.record(), &before);
    // Not either after a restart of the daemon.
    let mut store = open(store.into_medium());
    assert_eq!(store.begin(2, DOOR, RECEIVING, LEVELS), Err(StoreError::OnTrial));
    store.confirm(DONE).unwrap();
    assert_eq!(store.begin(2, DOOR, RECEIVING, LEVELS), Ok(()));
}

#[test]
fn rule_3_nothing_but_the_record_changes_before_the_index_is_accepted() {
    let mut store = store();
    update(&mut store, 1, &sample()).unwrap();
    let before = store.medium().clone();
    let slots = store.record().slots;
    store.medium.forget_operations();

    store.begin(2, DOOR, RECEIVING, LEVELS).unwrap();
    assert_eq!(store.write(1, 0, b"x"), Err(StoreError::Order("the slot is not ready to be written")));
    assert_eq!(store.finish(STAGED), Err(StoreError::Order("the slot is not ready to be finished")));
    let mut unmapped = sample();
    unmapped.index.members[1].name = "u-boot".to_string();
    let refusal = Refusal::UnmappedMember { member: "u-boot".to_string() };
    assert_eq!(prepare(&mut store, &unmapped), Err(StoreError::Refused(refusal)));
    store.abandon(FAILED, None).unwrap();

    // A staged slot stays staged and chosen.
    assert_eq!(store.record().slots, slots);
    assert_eq!((store.record().choice, store.record().boots_left), (Slot::B, 3));
    for slot in Slot::ALL {
        assert_eq!(store.medium().slot(slot), before.slot(slot));
    }
    assert_eq!(
        store.medium().operations().len(),
        3,
        "an entry, and the record at the beginning and at the end"
    );
}

#[test]
fn rule_4_the_target_is_invalid_and_not_chosen_before_the_first_write() {
    let mut store = store();
    update(&mut store, 1, &sample()).unwrap();
    assert_eq!(store.record().choice, Slot::B);
    store.medium.forget_operations();
    store.begin(2, DOOR, RECEIVING, LEVELS).unwrap();
    prepare(&mut store, &package("3.0", 3, &[9; 10], &[])).unwrap();

    assert!(
        !store.medium().operations().iter().any(|operation| matches!(operation, Operation::Write { .. }))
    );
    // What a power cut right now finds.
    let mut medium = store.into_medium();
    medium.power_cycle(Loss::All);
    let store = open(medium);
    assert_eq!(*store.record().slot(Slot::B), SlotRecord { state: SlotState::Invalid, ..SlotRecord::EMPTY });
    assert_eq!((store.record().choice, store.record().boots_left), (Slot::A, 0));
    assert_eq!((store.record().session.id, store.record().session.state), (2, RECEIVING));
}

#[test]
fn rule_4_no_write_without_the_record() {
    let mut store = store();
    store.begin(1, DOOR, RECEIVING, LEVELS).unwrap();
    let next = store.medium().operations().len();
    store.medium.fail_at(next, MediumErrorKind::Io);
    assert!(matches!(prepare(&mut store, &sample()), Err(StoreError::Record(_))));
    assert_eq!(store.write(1, 0, b"x"), Err(StoreError::Order("the slot is not ready to be written")));
}

#[test]
fn rule_5_the_slot_is_read_back_before_it_is_staged() {
    // A worn cell: in the middle of a chunk, at the end of a member, and in the filling behind one.
    for (cell, fingerprints) in [0, 350, 699, 700, 999, 1024, 4023]
        .into_iter()
        .flat_map(|cell| [None, Some(FingerprintKey::new(9))].map(|fingerprints| (cell, fingerprints)))
    {
        let options = Options { fingerprints, ..Options::default() };
        let mut store = Store::open(medium(), layout(), options).unwrap();
        store.begin(1, DOOR, RECEIVING, LEVELS).unwrap();
        let package = sample();
        prepare(&mut store, &package).unwrap();
        write(&mut store, &package).unwrap();
        store.medium.break_cell(Slot::B, cell);
        let error = store.finish(STAGED).unwrap_err();
        assert!(matches!(error, StoreError::Mismatch { slot: Slot::B, .. }), "cell {cell}: {error}");
        store.abandon(FAILED, None).unwrap();
        assert_eq!(store.record().slot(Slot::B).state, SlotState::Invalid);
        assert_eq!(store.boot(), Ok(Slot::A));
    }
}

#[test]
fn the_filling_is_looked_at_to_its_last_byte() {
    for length in [0, 1, 15, 16, 17, 40] {
        let mut bytes = vec![0xff; length];
        assert_eq!(plan::not_filled(&bytes), None);
        for at in (0..length).rev() {
            // Behind the first that is other there may be more.
            bytes[at] = 0;
            assert_eq!(plan::not_filled(&bytes), Some(at), "{length}");
        }
    }
}

#[test]
fn what_stands_there_is_read_as_far_as_it_is_the_same_and_only_the_rest_is_written() {
    let data = vec![1; PIECE + 2 * FIRST];
    let last = data.len() - 1;
    for (differs, written, reads) in [
        (None, None, 4),
        (Some(0), Some(0), 3),
        (Some(FIRST - 1), Some(0), 3),
        (Some(FIRST), Some(0), 4),
        (Some(PIECE), Some(PIECE), 3),
        (Some(last), Some(PIECE), 4),
    ] {
        let mut medium = MemoryMedium::new(data.len());
        let mut there = data.clone();
        differs.iter().for_each(|at| there[*at] = 2);
        medium.fill(Slot::B, &there);
        put(&mut medium, Slot::B, 0, &data, Some(&mut vec![0; PIECE])).unwrap();
        assert_eq!(medium.slot(Slot::B), data, "{differs:?}");
        let writes: Vec<_> = medium
            .operations()
            .iter()
            .map(|operation| match operation {
                Operation::Write { offset, .. } => *offset as usize,
                other => panic!("{other:?}"),
            })
            .collect();
        assert_eq!((writes, medium.reads().len()), (Vec::from_iter(written), reads), "{differs:?}");
    }
}

#[test]
fn rule_5_chunks_that_never_came_are_missed() {
    let package = sample();
    for missing in 0..3 {
        let mut store = store();
        store.begin(1, DOOR, RECEIVING, LEVELS).unwrap();
        prepare(&mut store, &package).unwrap();
        store.write(1, 0, &package.members[1][..300]).unwrap();
        for number in (0..3).filter(|number| *number != missing) {
            store.write(2, number * 1000, &package.members[2][..1000]).unwrap();
        }
        assert!(matches!(store.finish(STAGED), Err(StoreError::Mismatch { .. })));
    }
}

#[test]
fn rule_5_a_fingerprint_says_nothing_of_other_bytes() {
    // Of another package, written over the right bytes; of the right bytes, which others were written over.
    let (package, other) = (sample(), package("2.0", 3, &[9; 700], &[2; 3000]));
    let foreign = checked(&other, 1, 0);
    for (chunk, then) in [(foreign, None), (checked(&package, 1, 0), Some([9; 300]))] {
        let mut store = store();
        store.begin(1, DOOR, RECEIVING, LEVELS).unwrap();
        prepare(&mut store, &package).unwrap();
        write(&mut store, &package).unwrap();
        store.write_chunk(&chunk).unwrap();
        if let Some(bytes) = then {
            store.write(1, 0, &bytes).unwrap();
        }
        let mismatch = StoreError::Mismatch { slot: Slot::B, offset: 0, what: "the chunk" };
        assert_eq!(store.finish(STAGED), Err(mismatch));
    }
}

#[test]
fn rule_5_a_foreign_chunk_alone_has_no_fingerprint_here() {
    let (package, other) = (sample(), package("2.0", 3, &[9; 700], &[2; 3000]));
    let mut store = store();
    store.begin(1, DOOR, RECEIVING, LEVELS).unwrap();
    prepare(&mut store, &package).unwrap();
    for (member, entry) in package.index.members.iter().enumerate() {
        for number in 0..entry.chunks.len() {
            let source = if (member, number) == (1, 0) { &other } else { &package };
            store.write_chunk(&checked(source, member, number)).unwrap();
        }
    }
    assert!(matches!(store.finish(STAGED), Err(StoreError::Mismatch { offset: 0, .. })));
}

#[test]
fn an_update_leaves_exactly_the_package() {
    let mut store = store();
    let package = sample();
    update(&mut store, 1, &package).unwrap();
    assert_eq!(store.medium().slot(Slot::B), expected(&package, 0xbb));
    let record = store.record();
    let staged = SlotRecord {
        state: SlotState::Staged,
        bcd_device: 0x0200,
        security_version: 3,
        head: [7; 16],
        version: Text::cut("2.0"),
        door: DOOR,
        pending: 1,
        trial: TrialRecord { given: 3, ..TrialRecord::NONE },
    };
    assert_eq!(*record.slot(Slot::B), staged);
    assert_eq!((record.choice, record.boots_left, record.floor), (Slot::B, 3, 2));
    assert_eq!(record.log, [record.session]);
    assert_eq!((record.session.state, record.session.result), (STAGED.state, STAGED.result));
    assert_eq!(store.medium.load_index(Slot::B), Ok(Some(INDEX_BYTES.to_vec())));
}

#[test]
fn a_package_that_leaves_a_region_empty_is_refused_before_anything_is_written() {
    let mut store = store();
    let before = store.medium().slot(Slot::B).to_vec();
    let mut kernel_only = sample();
    kernel_only.index.members.truncate(2);
    let refused = update(&mut store, 1, &kernel_only).unwrap_err();
    assert_eq!(refused, StoreError::Refused(Refusal::MissingMember { member: "rofs".into() }));
    assert_eq!(store.medium().slot(Slot::B), before);
    assert_eq!(store.record().choice, Slot::A);
}

#[test]
fn only_what_differs_is_written() {
    let mut store = store();
    let package = sample();
    update(&mut store, 1, &package).unwrap();
    store.medium.forget_operations();
    update(&mut store, 2, &package).unwrap();
    let is_write = |operation: &&Operation| matches!(operation, Operation::Write { .. });
    assert_eq!(store.medium().operations().iter().find(is_write), None);

    let mut other = package;
    other.members[2][600] = 9;
    other.index.members[2] = member("rofs", MemberKind::Image, &other.members[2]);
    store.medium.forget_operations();
    update(&mut store, 3, &other).unwrap();
    let writes: Vec<_> = store.medium().operations().iter().filter(is_write).collect();
    assert_eq!(writes, [&Operation::Write { slot: Slot::B, offset: 1024 + 600, length: 300 }]);
}

#[test]
fn a_session_writes_the_record_three_times_at_most() {
    let mut store = store();
    update(&mut store, 1, &sample()).unwrap();
    assert_eq!(record_writes(&store), 3);
    store.medium.forget_operations();
    store.begin(2, DOOR, RECEIVING, LEVELS).unwrap();
    prepare(&mut store, &sample()).unwrap();
    store.abandon(FAILED, None).unwrap();
    assert_eq!(record_writes(&store), 3);
}

#[test]
fn a_member_must_fit_its_region_and_its_target() {
    let mut store = store();
    store.begin(1, DOOR, RECEIVING, LEVELS).unwrap();
    let too_large = Refusal::TooLarge { member: Some("kernel".to_string()), length: 1001, limit: 1000 };
    assert_eq!(prepare(&mut store, &package("2", 3, &[0; 1001], &[])), Err(StoreError::Refused(too_large)));
    let mut other_target = sample();
    other_target.index.targets = vec!["bios".to_string()];
    let unmapped = Refusal::UnmappedTarget { target: "bios".to_string() };
    assert_eq!(prepare(&mut store, &other_target), Err(StoreError::Refused(unmapped)));
    // A refused index can be followed by no other step than the end, or another index.
    assert_eq!(prepare(&mut store, &package("2", 3, &[0; 1000], &[])), Ok(()));
}

#[test]
fn bytes_that_are_no_member_s_are_refused() {
    let mut store = store();
    store.begin(1, DOOR, RECEIVING, LEVELS).unwrap();
    prepare(&mut store, &sample()).unwrap();
    store.medium.forget_operations();
    let behind = Err(StoreError::Order("bytes behind the end of the member"));
    assert_eq!(store.write(1, 700, b"x"), behind);
    assert_eq!(store.write(1, 699, b"xx"), behind);
    assert_eq!(store.write(1, u64::MAX, b"x"), behind);
    assert_eq!(store.write(0, 0, b"nine byte"), behind);
    assert_eq!(store.write(3, 0, b"x"), Err(StoreError::Order("no such member")));
    assert_eq!(store.medium().operations(), []);
}

#[test]
fn the_wrong_order_is_refused_and_changes_nothing() {
    let mut store = store();
    let before = store.record().clone();
    assert!(matches!(prepare(&mut store, &sample()), Err(StoreError::Order(_))));
    assert!(matches!(store.finish(STAGED), Err(StoreError::Order(_))));
    assert!(matches!(store.abandon(FAILED, None), Err(StoreError::Order(_))));
    assert_eq!(store.confirm(DONE), Err(StoreError::NotOnTrial));
    assert_eq!(store.record(), &before);
    store.begin(1, DOOR, RECEIVING, LEVELS).unwrap();
    assert!(matches!(store.begin(2, DOOR, RECEIVING, LEVELS), Err(StoreError::Order(_))));
    prepare(&mut store, &sample()).unwrap();
    assert!(matches!(prepare(&mut store, &sample()), Err(StoreError::Order(_))));
    assert!(matches!(store.begin(2, DOOR, RECEIVING, LEVELS), Err(StoreError::Order(_))));
    assert_eq!(store.record().session.id, 1);
}

#[test]
fn the_floor_rises_with_the_confirmation_and_not_before() {
    let mut store = store();
    assert_eq!(store.record().floor, 2);
    update(&mut store, 1, &package("5", 5, &[1], &[])).unwrap();
    assert_eq!(store.record().floor, 2);
    assert_eq!(store.boot(), Ok(Slot::B));
    assert_eq!(store.record().floor, 2);
    store.confirm(DONE).unwrap();
    assert_eq!(store.record().floor, 5);
    assert_eq!(store.record().slot(Slot::B).state, SlotState::Good);
    assert_eq!((store.record().session.state, store.record().session.id), (DONE.state, 1));
    assert_eq!(store.confirm(DONE), Err(StoreError::NotOnTrial));
    // It never sinks.
    update(&mut store, 2, &package("4", 4, &[1], &[])).unwrap();
    assert_eq!(store.boot(), Ok(Slot::A));
    store.confirm(DONE).unwrap();
    assert_eq!(store.record().floor, 5);
}

#[test]
fn the_floor_stays_where_nothing_is_confirmed() {
    // Staged and taken back by another package.
    let mut store = store();
    update(&mut store, 1, &package("9", 9, &[1], &[])).unwrap();
    update(&mut store, 2, &package("3", 3, &[2], &[])).unwrap();
    assert_eq!(store.record().floor, 2);
    // Staged, and the machine restarts without anybody who confirms; then it is given up.
    update(&mut store, 3, &package("9", 9, &[1], &[])).unwrap();
    for _ in 0..3 {
        assert_eq!(store.boot(), Ok(Slot::B));
        assert_eq!(store.record().floor, 2);
    }
    assert_eq!(store.boot(), Ok(Slot::A));
    assert_eq!((store.record().floor, store.record().slot(Slot::B).state), (2, SlotState::Invalid));
    // What was confirmed before is not on trial, so nothing can be confirmed once more.
    assert_eq!(store.confirm(DONE), Err(StoreError::NotOnTrial));
    assert_eq!(store.record().floor, 2);
    // Nor does a restart of the daemon, or a power cut, make anything of it.
    let mut medium = store.into_medium();
    medium.power_cycle(Loss::All);
    assert_eq!(open(medium).record().floor, 2);
}

#[test]
fn the_record_holds_the_longest_version_there_is() {
    let mut store = store();
    let version = "v".repeat(inband_package::index::MAX_VERSION - 1) + "1";
    update(&mut store, 1, &package(&version, 3, &[1], &[])).unwrap();
    assert_eq!(store.record().slot(Slot::B).version.as_str(), version);
    let store = open(store.into_medium());
    assert_eq!(store.record().slot(Slot::B).version.as_str(), version);
}

#[test]
fn a_firmware_that_is_never_confirmed_is_given_up() {
    let mut store = store();
    update(&mut store, 1, &sample()).unwrap();
    for _ in 0..3 {
        assert_eq!(store.boot(), Ok(Slot::B));
    }
    assert_eq!(store.boot(), Ok(Slot::A));
    assert_eq!(store.record().slot(Slot::B).state, SlotState::Invalid);
    assert_eq!(store.record().slot(Slot::B).pending, 1, "the daemon learns of it from this");
    assert_eq!(store.record().floor, 2);
    assert_eq!(store.boot(), Ok(Slot::A));
}

#[test]
fn a_boot_that_fails_ends_the_session_too() {
    let mut store = store();
    update(&mut store, 1, &sample()).unwrap();
    store.begin(2, DOOR, RECEIVING, LEVELS).unwrap();
    store.medium.forget_operations();
    store.medium.fail_at(0, MediumErrorKind::Io);
    assert!(matches!(store.boot(), Err(StoreError::Record(_))));
    assert_eq!(store.running(), Slot::A);
    assert_eq!(store.begin(3, DOOR, RECEIVING, LEVELS), Ok(()));
}

#[test]
fn a_restart_of_the_daemon_is_no_boot() {
    let mut store = store();
    update(&mut store, 1, &sample()).unwrap();
    let store = open(store.into_medium());
    assert_eq!(store.running(), Slot::A);
    assert_eq!(store.record().slot(Slot::B).state, SlotState::Staged);
    assert_eq!(store.record().boots_left, 3);
}

#[test]
fn a_record_that_cannot_be_written_is_not_believed() {
    let mut store = store();
    let before = store.record().clone();
    store.medium.fail_at(0, MediumErrorKind::Io);
    assert!(matches!(store.begin(1, DOOR, RECEIVING, LEVELS), Err(StoreError::Record(_))));
    assert_eq!(store.record(), &before);
    // The session has not begun; the next one can.
    update(&mut store, 2, &sample()).unwrap();
    assert_eq!(store.record().session.id, 2);
}

#[test]
fn copies_of_the_record_are_written_in_turn() {
    let mut store = store();
    update(&mut store, 1, &sample()).unwrap();
    let places: Vec<_> = store
        .medium()
        .operations()
        .iter()
        .filter_map(|operation| match operation {
            Operation::Record(place) => Some(*place),
            Operation::Write { .. } | Operation::Sync(_) | Operation::Index(_) | Operation::Journal(_) => {
                None
            }
        })
        .collect();
    assert_eq!(places, [Place::Second, Place::First, Place::Second]);
    // A copy that is torn is the one to be written next.
    let mut medium = store.into_medium();
    medium.set_record(Place::Second, Some(b"torn".to_vec()));
    medium.forget_operations();
    let mut store = open(medium);
    assert_eq!(store.record().session.state, RECEIVING);
    store.log_session(SessionRecord::NONE, None).unwrap();
    assert_eq!(store.medium().operations(), [Operation::Record(Place::Second)]);
}

#[test]
fn a_layout_for_other_slots_is_refused() {
    let region = layout().regions()[0].clone();
    let layout = Layout::new(8192, vec![region]).unwrap();
    let error = Store::open(medium(), layout, Options::default()).unwrap_err();
    assert_eq!(error, StoreError::SlotLength { layout: 8192, medium: 4096 });
}

#[test]
fn a_store_without_a_record_is_not_opened() {
    let error = Store::open(MemoryMedium::new(SLOT), layout(), Options::default()).unwrap_err();
    assert_eq!(error, StoreError::Unusable(PairError::Missing));
}

#[test]
fn a_chunk_longer_than_a_piece_is_written_and_read_back() {
    let length = 3 * PIECE + 5;
    let region = Region::new("bmc", "big", 3, length as u64 + 9);
    let layout = Layout::new(4 * PIECE as u64, vec![region]).unwrap();
    let mut medium = MemoryMedium::new(4 * PIECE);
    Store::create(&mut medium, &Firmware { version: Text::EMPTY, bcd_device: 0, security_version: 0 })
        .unwrap();
    medium.fill(Slot::B, &vec![0; 4 * PIECE]);
    let mut store = Store::open(
        medium,
        layout,
        Options { boots: 0, fingerprints: Some(FingerprintKey::new(9)), ..Options::default() },
    )
    .unwrap();
    let bytes: Vec<u8> = (0..length).map(|at| (at / 251) as u8).collect();
    let mut package = sample();
    package.index.members = vec![member("big", MemberKind::Image, &bytes)];
    package.index.members[0].chunks =
        vec![Chunk { encoding: Encoding::Plain, length: length as u32, digest: sha256(&bytes) }];
    package.members = vec![bytes.clone()];
    update(&mut store, 1, &package).unwrap();
    let slot = store.medium().slot(Slot::B);
    assert_eq!(slot[..3], [0; 3]);
    assert_eq!(slot[3..length + 3], bytes);
    assert_eq!(slot[length + 3..length + 12], [0xff; 9]);
    assert_eq!(slot[length + 12], 0);
    // A staged slot is always booted once.
    assert_eq!(store.record().boots_left, 1);
}

#[test]
fn rule_6_what_was_in_flight_at_a_cut_is_written_again() {
    // The cut loses what was not synchronised, in whole or in part; the next session does not take any of it for granted.
    for loss in Loss::ALL {
        let package = sample();
        let mut store = store();
        store.begin(1, DOOR, RECEIVING, LEVELS).unwrap();
        prepare(&mut store, &package).unwrap();
        write(&mut store, &package).unwrap();
        let mut medium = store.into_medium();
        medium.power_cycle(loss);
        let mut store = open(medium);
        assert_eq!(store.boot(), Ok(Slot::A));
        update(&mut store, 2, &package).unwrap();
        assert_eq!(store.medium().slot(Slot::B), expected(&package, 0xbb));
    }
}
