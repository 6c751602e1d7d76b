//! The power goes, or the daemon is killed, behind every single call that changed the disk under the file store, and what
//! was not durable is lost, torn or reordered in every way that [`inband_store::disk::cut`] knows; then again behind every call
//! of the start that follows. The BMC boots a whole firmware, old or new, tells the truth, and takes the next update.
//!
//! `INBAND_CUT=full` tries every combination of losses in the second cut as well, and the next update behind each
//! (`cargo xtask soak cut`).

use alloc::format;
use std::println;
use std::time::Instant;

use inband_store::disk::cut::Detail;
use inband_store::disk::{BLOCK_PAGES, Disk, Image};
use inband_store::file::FileMedium;
use inband_store::{Record, StartId};

use super::*;
use board::{Board, Versions, board, check, daemon, ensure, goes_on, init, open, slot_path};

mod board;

/// What was said of the record when the disk had seen so many calls. Whatever happens from then on, it was not in vain.
struct Told {
    calls: usize,
    record: Record,
}

/// What a program did to the disk, call by call, and what it said in between.
struct Run {
    history: Vec<Image>,
    told: Vec<Told>,
}

/// Watches a program.
struct Watch {
    disk: Disk,
    told: Vec<Told>,
}

impl Watch {
    fn new(image: Image) -> Self {
        Self { disk: Disk::new(image), told: Vec::new() }
    }

    fn tell(&mut self, record: &Record) {
        self.told.push(Told { calls: self.disk.calls(), record: record.clone() });
    }

    fn run(self) -> Run {
        Run { history: self.disk.history(), told: self.told }
    }
}

impl Run {
    /// Whether this record may be found when the disk has seen so many calls: it is what was said last, or on the way to what
    /// was to be said next.
    fn allows(&self, calls: usize, found: &Record) -> Result<(), String> {
        let (past, future) = self.told.split_at(self.told.partition_point(|told| told.calls <= calls));
        let last = past.last().map(|told| &told.record);
        let next = future.first().map(|told| &told.record);
        let is_from = |told: Option<&Record>| told.is_some_and(|told| told.sequence == found.sequence);
        let between = last.is_none_or(|last| last.sequence <= found.sequence)
            && found.sequence <= next.or(last).map_or(u64::MAX, |told| told.sequence);
        ensure(between, || format!("record {} is found; {last:?} was said", found.sequence))?;
        let same = |told: Option<&Record>| !is_from(told) || told == Some(found);
        ensure(same(last) && same(next), || {
            format!("{found:?} is found; {last:?} was said, {next:?} was next")
        })
    }
}

/// Why the program came to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Cut,
    Killed,
}

#[derive(Default)]
struct Tally {
    points: usize,
    cuts: usize,
    pairs: usize,
    updates: usize,
}

impl Tally {
    fn add(&mut self, other: &Self) {
        self.points += other.points;
        self.cuts += other.cuts;
        self.pairs += other.pairs;
        self.updates += other.updates;
    }
}

/// How much is tried.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Scope {
    Suite,
    Full,
}

impl Scope {
    fn of_environment() -> Self {
        match std::env::var("INBAND_CUT") {
            Ok(word) if word == "full" => Self::Full,
            Ok(word) => panic!("INBAND_CUT is \"{word}\"; \"full\" is all it can be"),
            Err(_) => Self::Suite,
        }
    }
}

/// Starts what is on the disk and looks whether that is as it must be. Returns the board and what the start did.
fn start(
    image: Image,
    end: End,
    before: &Run,
    calls: usize,
    versions: &Versions,
) -> Result<(Board, Watch), String> {
    let mut watch = Watch::new(image);
    let mut store = open(&watch.disk)?;
    let found = store.record().clone();
    before.allows(calls, &found)?;
    watch.tell(&found);
    if end == End::Cut {
        store.boot().map_err(|error| error.to_string())?;
        watch.tell(store.record());
    }
    start::recover(&mut store).map_err(|error| error.to_string())?;
    watch.tell(store.record());
    let board = pipeline(store, policy());
    check(&board, &watch.disk, versions, &found)?;
    Ok((board, watch))
}

/// Cuts a run everywhere, and the start behind each cut everywhere.
fn walk(name: &str, run: &Run, versions: &Versions, scope: Scope) -> Tally {
    let mut tally = Tally::default();
    for (calls, image) in run.history.iter().enumerate() {
        tally.points += 1;
        let cuts = image.cuts(Detail::Fine).map(|(cut, image)| (End::Cut, format!("{cut:?}"), image));
        for (end, how, image) in cuts.chain([(End::Killed, String::new(), image.clone())]) {
            tally.cuts += 1;
            let at = || format!("{name}: {end:?} behind call {calls} {how}");
            let again = after(image, end, run, calls, versions, &mut tally);
            let again = again.unwrap_or_else(|why| panic!("{}: {why}", at()));
            cut_again(&again, end, versions, scope, &mut tally)
                .unwrap_or_else(|why| panic!("{}; {why}", at()));
        }
    }
    tally
}

/// Starts the board and takes an update. Returns what the start did.
fn after(
    image: Image,
    end: End,
    run: &Run,
    calls: usize,
    versions: &Versions,
    tally: &mut Tally,
) -> Result<Run, String> {
    let (mut board, watch) = start(image, end, run, calls, versions)?;
    let disk = watch.disk.clone();
    let run = watch.run();
    tally.updates += 1;
    goes_on(&mut board, &disk, versions)?;
    Ok(run)
}

/// Cuts a start everywhere.
fn cut_again(
    run: &Run,
    end: End,
    versions: &Versions,
    scope: Scope,
    tally: &mut Tally,
) -> Result<(), String> {
    let detail = match scope {
        Scope::Suite => Detail::Coarse,
        Scope::Full => Detail::Fine,
    };
    for (calls, image) in run.history.iter().enumerate() {
        // Behind a cut nothing is pending: a second one before the first call changes nothing.
        if calls == 0 && end == End::Cut {
            continue;
        }
        for (cut, image) in image.cuts(detail) {
            tally.pairs += 1;
            let at = |why| format!("cut again behind call {calls} {cut:?}: {why}");
            match scope {
                Scope::Suite => drop(start(image, End::Cut, run, calls, versions).map_err(at)?),
                Scope::Full => drop(after(image, End::Cut, run, calls, versions, tally).map_err(at)?),
            }
        }
    }
    Ok(())
}

/// What happens to a board, and how it came to be ready for that.
struct Scenario {
    name: &'static str,
    before: fn(&mut Board, &Versions),
    action: fn(&mut Board, &Versions, &mut Tell<'_>),
}

/// Notes what a board says of its record.
type Tell<'a> = dyn FnMut(&Board) + 'a;

const SCENARIOS: &[Scenario] = &[
    Scenario {
        name: "an update",
        before: |_, _| {},
        action: |board, versions, tell| whole_session(board, 3, versions.get(4), tell),
    },
    Scenario {
        name: "an update over a staged one",
        before: |board, versions| update(board, 3, versions.get(4)).unwrap(),
        action: |board, versions, tell| whole_session(board, 4, versions.get(5), tell),
    },
    Scenario {
        name: "a forged update over a staged one",
        before: |board, versions| update(board, 3, versions.get(4)).unwrap(),
        action: |board, versions, tell| {
            let mut bytes = versions.get(5).bytes.clone();
            bytes[1536..1600].fill(3);
            board.begin(4, Door::Dfu, NOW, Expected::ANYTHING).unwrap();
            tell(board);
            assert_eq!(send(board, &bytes), Err(ResultCode::BadSignature));
            tell(board);
        },
    },
    Scenario {
        name: "an abort",
        before: |_, _| {},
        action: |board, versions, tell| {
            board.begin(3, Door::Dfu, NOW, Expected::ANYTHING).unwrap();
            tell(board);
            let bytes = &versions.get(4).bytes;
            send(board, &bytes[..bytes.len() - 9_000]).unwrap();
            tell(board);
            board.abort(ResultCode::Aborted);
            tell(board);
        },
    },
    Scenario {
        name: "an offer of what runs already, which is copied",
        before: |_, _| {},
        action: |board, versions, tell| {
            board.begin_offer(3, Door::Bulk, NOW, Expected::ANYTHING).unwrap();
            tell(board);
            send(board, needed::beginning(versions.get(3))).unwrap();
            tell(board);
            assert_eq!(board.offered().unwrap().missing, []);
            while board.settle().unwrap() == Settled::NotYet {
                tell(board);
            }
            board.finish().unwrap();
            tell(board);
        },
    },
    Scenario {
        name: "start and confirmation",
        before: |board, versions| update(board, 3, versions.get(4)).unwrap(),
        action: |board, _, tell| {
            // To the last boot of its trial.
            for _ in 0..3 {
                assert_eq!(board.boot(), Ok(Slot::B));
                tell(board);
            }
            board.confirm().unwrap();
            tell(board);
        },
    },
    Scenario {
        name: "a boot given back, an unhealthy one, roll-back",
        before: |board, versions| update(board, 3, versions.get(4)).unwrap(),
        action: |board, _, tell| {
            assert_eq!(board.boot(), Ok(Slot::B));
            tell(board);
            assert_eq!(board.give_boot_back(), Ok(true));
            tell(board);
            assert_eq!(board.boot(), Ok(Slot::B));
            tell(board);
            board.unhealthy().unwrap();
            tell(board);
            for booted in [Slot::B, Slot::B, Slot::A] {
                assert_eq!(board.boot(), Ok(booted));
                tell(board);
            }
        },
    },
    Scenario {
        name: "trial and roll-back",
        before: |board, versions| update(board, 3, versions.get(4)).unwrap(),
        action: |board, _, tell| {
            for booted in [Slot::B, Slot::B, Slot::B, Slot::A] {
                assert_eq!(board.boot(), Ok(booted));
                tell(board);
            }
        },
    },
];

/// A session up to the staged slot.
fn whole_session(board: &mut Board, id: u32, package: &Package, tell: &mut Tell<'_>) {
    board.begin(id, Door::Dfu, NOW, Expected::ANYTHING).unwrap();
    tell(board);
    for block in package.bytes.chunks(BLOCK) {
        board.push(block).unwrap();
        tell(board);
    }
    board.finish().unwrap();
    tell(board);
}

fn run(scenario: &Scenario, versions: &Versions) -> Run {
    let mut before = board(versions);
    (scenario.before)(&mut before, versions);
    let disk = before.into_store().into_medium();
    let mut watch = Watch::new(disk.system().image());
    drop(disk);
    let mut board = daemon(&watch.disk);
    watch.tell(board.store().record());
    (scenario.action)(&mut board, versions, &mut |board| watch.tell(board.store().record()));
    watch.run()
}

#[test]
fn the_power_goes_at_every_point_and_again() {
    let versions = Versions::new();
    let scope = Scope::of_environment();
    let mut all = Tally::default();
    let begun = Instant::now();
    for scenario in SCENARIOS {
        let begun = Instant::now();
        let tally = walk(scenario.name, &run(scenario, &versions), &versions, scope);
        print(scenario.name, &tally, begun);
        all.add(&tally);
    }
    print("all", &all, begun);
    assert!(all.points >= 200 && all.cuts >= 3_800 && all.pairs >= 120_000, "less than the geometry has");
}

/// The record that stands after the machine has started so often since firmware was staged, as it is to be found.
fn after_starts(starts: usize) -> (Slot, u8, SlotState) {
    match starts {
        0 => (Slot::A, 3, SlotState::Staged),
        1..=3 => (Slot::B, [2, 1, 0][starts - 1], SlotState::Trial),
        _ => (Slot::A, 0, SlotState::Invalid),
    }
}

fn summary(store: &Store<FileMedium<Disk>>) -> (Slot, u8, SlotState) {
    (store.running(), store.record().boots_left, store.record().slot(Slot::B).state)
}

#[test]
fn a_daemon_that_dies_in_a_start_of_the_machine_neither_loses_nor_repeats_it() {
    let versions = Versions::new();
    let mut before = board(&versions);
    update(&mut before, 3, versions.get(4)).unwrap();
    let disk = before.into_store().into_medium();
    let staged = disk.system().image();
    drop(disk);
    let id = |number: usize| StartId::of(&number.to_le_bytes());
    // Of each start: the disk before it, and behind each call of it.
    let mut image = staged;
    let mut points = 0;
    for start in 1..=4 {
        let disk = Disk::new(image);
        let mut store = open(&disk).unwrap();
        store.boot_once(id(start)).unwrap();
        start::recover(&mut store).unwrap();
        assert_eq!(summary(&store), after_starts(start));
        for image in disk.history() {
            points += 1;
            // Killed: the machine runs on, and so does what it booted.
            let killed = Disk::new(image.clone());
            let mut store = open(&killed).unwrap();
            store.boot_once(id(start)).unwrap();
            assert_eq!(summary(&store), after_starts(start), "start {start}, killed");
            // Cut: the next start may find that the loader had not decided, or that it had.
            for (cut, image) in image.cuts(Detail::Fine) {
                let disk = Disk::new(image);
                let mut store = open(&disk).unwrap();
                store.boot_once(id(100)).unwrap();
                let found = summary(&store);
                assert!(
                    [after_starts(start), after_starts(start + 1)].contains(&found),
                    "start {start}, {cut:?}: {found:?}"
                );
            }
        }
        image = disk.image();
    }
    assert!(points >= 4 * 5, "{points} points");
}

fn print(name: &str, tally: &Tally, begun: Instant) {
    let Tally { points, cuts, pairs, updates } = tally;
    let seconds = begun.elapsed().as_secs_f32();
    println!(
        "{name}: {points} points, {cuts} cuts, {pairs} pairs, {updates} updates behind them, {seconds:.1} s"
    );
}

#[test]
fn the_power_goes_while_a_store_is_made() {
    let versions = Versions::new();
    let disk = Disk::new(Image::blank());
    init(&disk, &versions).unwrap();
    let made = disk.calls();
    let mut stores = 0;
    for (calls, image) in disk.history().iter().enumerate() {
        let cuts = image.cuts(Detail::Fine).map(|(cut, image)| (format!("{cut:?}"), image));
        for (how, image) in cuts.chain([("killed".to_string(), image.clone())]) {
            let disk = Disk::new(image);
            // There is a store, or one can be made.
            if open(&disk).is_ok() {
                stores += 1;
            } else {
                assert!(calls < made, "{how} behind call {calls}: the store is gone");
                init(&disk, &versions).unwrap_or_else(|why| {
                    panic!("{how} behind call {calls}: no store, and none can be made: {why}")
                });
            }
            let mut board = daemon(&disk);
            let found = board.store().record().clone();
            check(&board, &disk, &versions, &found)
                .and_then(|()| goes_on(&mut board, &disk, &versions))
                .unwrap_or_else(|why| panic!("{how} behind call {calls}: {why}"));
        }
    }
    assert!(stores > 1);
}

#[test]
fn a_page_that_goes_bad_is_never_staged() {
    let versions = Versions::new();
    let package = versions.get(4);
    let image = board(&versions).into_store().medium().system().image();
    let mut found = 0;
    for page in 0..board::SLOT_PAGES {
        let disk = Disk::new(image.clone());
        disk.rot(slot_path(Slot::B), page);
        let mut board = daemon(&disk);
        let verdict = update(&mut board, 3, package);
        let bytes = disk.image().file(slot_path(Slot::B)).unwrap();
        let whole = bytes.starts_with(&package.slot());
        match verdict {
            Ok(()) => assert!(whole, "page {page}"),
            Err(result) => {
                assert_eq!((result, whole), (ResultCode::ReadbackMismatch, false), "page {page}");
                assert_eq!(board.boot(), Ok(Slot::A));
                found += 1;
            }
        }
    }
    // The pages of the kernel, which was there already, were not written, and those of the settings never are.
    assert!((45..board::SLOT_PAGES - BLOCK_PAGES).contains(&found), "{found} pages");
}
