//! The worker in a thread of its own.
// Clippy's leave for tests does not reach the functions that tests share.
#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used)]

use std::{
    sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel},
    time::{Duration, Instant},
};

use inband_package::{
    Expected, KeyRing, Kind, Policy,
    openbmc::{Encoding, Profile, stage::Buffers},
};
use inband_session::{Door, Offered, Pipeline, Rates, ResultCode, SessionState, Unindexed};
use inband_store::{
    Firmware, Layout, Medium, MediumError, Options, Region, Slot, SlotState, Store, file::FileMedium,
    memory::MemoryMedium, record::Place, text::Text,
};
use inbandd::worker::{Command, Gone, Part, Payload, Reply, Thread, Worker as _};

use self::{
    bulk_host::Parts,
    kit::{Release, ring},
    package::{IMAGE, MACHINE, Package, key},
};

#[allow(dead_code, reason = "the tests of the bulk door use more of it")]
#[path = "support/bulk.rs"]
mod bulk_host;
#[allow(dead_code, reason = "other tests use more of it")]
#[path = "support/package.rs"]
mod package;

// The other tests of tars use more of it.
#[allow(dead_code)]
#[path = "../../package/tests/openbmc/kit.rs"]
mod kit;

/// Where the kit finds its script, from this crate's folder.
const MAKE_TAR: &str = "../package/tests/openbmc/make-tar.sh";

const SLOT: usize = 64 * 1024;
/// Of one that has room for several chunks.
const LARGE: usize = 512 * 1024;

/// A medium whose code is wrong: it panics when the record is written.
struct Panics(MemoryMedium);

impl Medium for Panics {
    fn slot_length(&self) -> u64 {
        self.0.slot_length()
    }

    fn read(&mut self, slot: Slot, offset: u64, to: &mut [u8]) -> Result<(), MediumError> {
        self.0.read(slot, offset, to)
    }

    fn write(&mut self, slot: Slot, offset: u64, data: &[u8]) -> Result<(), MediumError> {
        self.0.write(slot, offset, data)
    }

    fn sync(&mut self, slot: Slot) -> Result<(), MediumError> {
        self.0.sync(slot)
    }

    fn load_record(&mut self, place: Place) -> Result<Option<Vec<u8>>, MediumError> {
        self.0.load_record(place)
    }

    fn save_record(&mut self, _: Place, _: &[u8]) -> Result<(), MediumError> {
        panic!("as asked for");
    }

    fn load_index(&mut self, slot: Slot) -> Result<Option<Vec<u8>>, MediumError> {
        self.0.load_index(slot)
    }

    fn save_index(&mut self, slot: Slot, index: &[u8]) -> Result<(), MediumError> {
        self.0.save_index(slot, index)
    }

    fn load_journal(&mut self, area: Place) -> Result<Vec<u8>, MediumError> {
        self.0.load_journal(area)
    }

    fn append_journal(&mut self, area: Place, bytes: &[u8]) -> Result<(), MediumError> {
        self.0.append_journal(area, bytes)
    }

    fn start_journal(&mut self, area: Place, bytes: &[u8]) -> Result<(), MediumError> {
        self.0.start_journal(area, bytes)
    }
}

fn new_store(slot: usize) -> MemoryMedium {
    let mut medium = MemoryMedium::new(slot);
    let firmware = Firmware { version: Text::cut("factory"), bcd_device: 0x0100, security_version: 0 };
    Store::create(&mut medium, &firmware).unwrap();
    medium
}

fn store<M: Medium>(medium: M) -> Store<M> {
    let length = medium.slot_length();
    let layout = Layout::new(length, vec![Region::new("bmc", IMAGE, 0, length)]).unwrap();
    Store::open(medium, layout, Options::default()).unwrap()
}

fn pipeline<M: Medium>(medium: M) -> Pipeline<M, KeyRing> {
    let keys = KeyRing::new(vec![Kind::Ed25519], vec![key().public().unwrap()]).unwrap();
    Pipeline::new(store(medium), keys, Policy::for_machine(MACHINE.into()), Rates::default())
}

/// The next reply, as soon as it is there.
fn next(worker: &mut Thread, woken: &std::sync::mpsc::Receiver<()>) -> Result<Reply, Gone> {
    loop {
        if let Some(reply) = worker.poll()? {
            return Ok(reply);
        }
        match woken.recv_timeout(Duration::from_secs(20)) {
            Ok(()) => {}
            // Its thread is ending.
            Err(RecvTimeoutError::Disconnected) => std::thread::yield_now(),
            Err(RecvTimeoutError::Timeout) => panic!("nobody is woken"),
        }
    }
}

fn start<M: Medium + Send + 'static>(medium: M) -> (Thread, std::sync::mpsc::Receiver<()>) {
    let (wake, woken) = std::sync::mpsc::channel();
    let worker = Thread::start(pipeline(medium), move || _ = wake.send(())).unwrap();
    (worker, woken)
}

/// A session by `dfu` of which nothing was announced.
const fn begin(session: u32) -> Command {
    Command::Begin { session, door: Door::Dfu, now: Duration::ZERO, expected: Expected::ANYTHING }
}

#[test]
fn commands_are_carried_out_in_order_and_counted() {
    let (mut worker, woken) = start(new_store(SLOT));
    assert_eq!(worker.backlog(), 0);
    worker.send(begin(1)).unwrap();
    worker.send(Command::Data { session: 1, bytes: vec![0; 600], awaited: true }).unwrap();
    // Its session is over by then.
    worker.send(Command::Data { session: 1, bytes: vec![0; 700], awaited: true }).unwrap();
    let mut seen = Vec::new();
    loop {
        match next(&mut worker, &woken).unwrap() {
            Reply::View(view) => seen.push(format!("view {}", view.record.session.state)),
            Reply::Failed { session: 1, refused } => {
                assert_eq!(refused.code, ResultCode::BadHead);
                assert!(!refused.text.is_empty());
                seen.push("failed".into());
            }
            Reply::Buffer { bytes: buffer, .. } => {
                seen.push(format!("buffer {}", buffer.len()));
                if buffer.len() == 700 {
                    break;
                }
            }
            other => panic!("{other:?}"),
        }
    }
    let receiving = format!("view {}", SessionState::Receiving.number());
    let failed = format!("view {}", SessionState::Failed.number());
    assert_eq!(seen, [receiving.as_str(), &failed, "failed", "buffer 600", "buffer 700"]);
    let deadline = Instant::now() + Duration::from_secs(20);
    while worker.backlog() > 0 {
        assert!(Instant::now() < deadline);
        std::thread::yield_now();
    }
}

#[test]
fn what_was_handed_over_is_done_before_it_is_dropped() {
    let folder = tempfile::tempdir().unwrap();
    let mut medium = FileMedium::create(folder.path(), SLOT as u64).unwrap();
    let firmware = Firmware { version: Text::cut("factory"), bcd_device: 0x0100, security_version: 0 };
    Store::create(&mut medium, &firmware).unwrap();
    let (mut worker, woken) = start(medium);
    for session in 1..=20 {
        worker.send(begin(session)).unwrap();
        worker.send(Command::Abort { session, reason: ResultCode::Aborted }).unwrap();
    }
    drop(worker);
    let medium = FileMedium::open(folder.path(), SLOT as u64).unwrap();
    let pipeline = pipeline(medium);
    let session = &pipeline.store().record().session;
    assert_eq!((session.id, session.state), (20, SessionState::Aborted.number()));
    // Nobody looked at a reply, so nobody had to be woken for the second.
    assert_eq!(woken.try_iter().count(), 1);
}

#[test]
fn a_worker_that_panicked_is_gone() {
    let (mut worker, woken) = start(Panics(new_store(SLOT)));
    worker.send(begin(1)).unwrap();
    assert_eq!(next(&mut worker, &woken).err(), Some(Gone));
    assert_eq!(worker.send(Command::Confirm), Err(Gone));
}

/// What is done with the bytes of a slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Access {
    Read,
    Write,
}

/// A medium whose slots take their time: each access of a kind tells, and waits to be let go on.
struct Slow {
    medium: MemoryMedium,
    slow: Access,
    at_work: Sender<()>,
    go_on: Receiver<()>,
}

impl Slow {
    /// The medium; what tells of each such access; and what lets it go on.
    fn new(medium: MemoryMedium, slow: Access) -> (Self, Receiver<()>, Sender<()>) {
        let (at_work, seen) = channel();
        let (let_go, go_on) = channel();
        (Self { medium, slow, at_work, go_on }, seen, let_go)
    }

    fn pause(&self, access: Access) {
        if access == self.slow {
            self.at_work.send(()).unwrap();
            self.go_on.recv().unwrap();
        }
    }
}

impl Medium for Slow {
    fn slot_length(&self) -> u64 {
        self.medium.slot_length()
    }

    fn read(&mut self, slot: Slot, offset: u64, to: &mut [u8]) -> Result<(), MediumError> {
        self.pause(Access::Read);
        self.medium.read(slot, offset, to)
    }

    fn write(&mut self, slot: Slot, offset: u64, data: &[u8]) -> Result<(), MediumError> {
        self.pause(Access::Write);
        self.medium.write(slot, offset, data)
    }

    fn sync(&mut self, slot: Slot) -> Result<(), MediumError> {
        self.medium.sync(slot)
    }

    fn load_record(&mut self, place: Place) -> Result<Option<Vec<u8>>, MediumError> {
        self.medium.load_record(place)
    }

    fn save_record(&mut self, place: Place, record: &[u8]) -> Result<(), MediumError> {
        self.medium.save_record(place, record)
    }

    fn load_index(&mut self, slot: Slot) -> Result<Option<Vec<u8>>, MediumError> {
        self.medium.load_index(slot)
    }

    fn save_index(&mut self, slot: Slot, index: &[u8]) -> Result<(), MediumError> {
        self.medium.save_index(slot, index)
    }

    fn load_journal(&mut self, area: Place) -> Result<Vec<u8>, MediumError> {
        self.medium.load_journal(area)
    }

    fn append_journal(&mut self, area: Place, bytes: &[u8]) -> Result<(), MediumError> {
        self.medium.append_journal(area, bytes)
    }

    fn start_journal(&mut self, area: Place, bytes: &[u8]) -> Result<(), MediumError> {
        self.medium.start_journal(area, bytes)
    }
}

#[test]
fn while_a_tar_is_written_the_slot_is_told_to_be_invalid() {
    let (medium, writing, let_go) = Slow::new(new_store(SLOT), Access::Write);
    let regions = [(IMAGE, SLOT as u64, Encoding::Raw)];
    let profile = Profile::new(MACHINE.into(), "bmc".into(), regions, 1 << 20).unwrap();
    let (keys, staging) = (ring().clone(), Box::new(Buffers { available: 1 << 40 }));
    let unindexed = Unindexed { profile, keys: keys.clone(), staging };
    let policy = Policy::for_machine(MACHINE.into());
    let pipeline = Pipeline::new(store(medium), keys, policy, Rates::default()).with_unindexed(unindexed);
    let (wake, woken) = channel();
    let mut worker = Thread::start(pipeline, move || _ = wake.send(())).unwrap();
    // Dropped before the worker, which ends only when it is let go on.
    let let_go = let_go;

    for (session, fill) in [(1, 1), (2, 2)] {
        // One piece of a slot, so one write.
        let tar = Release::new(MACHINE, &format!("{session}.0"), &[(IMAGE, vec![fill; SLOT])]).tar();
        worker.send(begin(session)).unwrap();
        worker.send(Command::Data { session, bytes: tar, awaited: true }).unwrap();
        worker.send(Command::Finish { session }).unwrap();
        writing.recv_timeout(Duration::from_secs(20)).unwrap();
        // The worker is at it. What the other half knows by now:
        let (mut view, mut accepted) = (None, None);
        while let Some(reply) = worker.poll().unwrap() {
            match reply {
                Reply::View(new) => view = Some(new),
                Reply::Taken(progress) => accepted = progress.accepted,
                Reply::Buffer { .. } => {}
                other => panic!("{other:?}"),
            }
        }
        let record = view.unwrap().record;
        assert_eq!((record.choice, record.slot(Slot::B).state), (Slot::A, SlotState::Invalid), "{session}");
        assert_eq!(accepted.unwrap().version.as_str(), format!("{session}.0"));
        let_go.send(()).unwrap();
        let mut percent = Vec::new();
        loop {
            match next(&mut worker, &woken).unwrap() {
                Reply::ReadBack { percent: now, .. } => percent.push(now),
                Reply::View(view) => assert_eq!(view.record.slot(Slot::B).state, SlotState::Staged),
                Reply::Staged { .. } => break,
                other => panic!("{other:?}"),
            }
        }
        assert!(percent.is_sorted() && percent.last() == Some(&100), "{percent:?}");
    }
}

/// A store whose other slot holds a package.
fn store_with(package: &Package) -> MemoryMedium {
    let mut pipeline = pipeline(new_store(LARGE));
    pipeline.begin(1, Door::Dfu, Duration::ZERO, Expected::ANYTHING).unwrap();
    pipeline.push(&package.bytes()).unwrap();
    pipeline.finish().unwrap();
    pipeline.into_store().into_medium()
}

/// A host that offers a package, and the worker that takes it.
struct Exchange {
    worker: Thread,
    woken: Receiver<()>,
    parts: Parts,
}

impl Exchange {
    /// What is missing of it.
    fn offer(&mut self, session: u32) -> Vec<u32> {
        self.send(Command::BeginOffer {
            session,
            door: Door::Bulk,
            now: Duration::ZERO,
            expected: Expected::ANYTHING,
        });
        let bytes = self.parts.head.clone();
        self.portion(session, Payload::File, bytes);
        self.send(Command::Offered { session });
        loop {
            match next(&mut self.worker, &self.woken).unwrap() {
                Reply::Offered { offered: Offered { missing, .. }, .. } => return missing,
                Reply::View(_) | Reply::Taken(_) | Reply::Portion { .. } => {}
                other => panic!("{other:?}"),
            }
        }
    }

    fn send(&mut self, command: Command) {
        self.worker.send(command).unwrap();
    }

    fn portion(&mut self, session: u32, what: Payload, bytes: Vec<u8>) {
        let parts = vec![Part { what, range: 0..bytes.len() }];
        self.send(Command::Portion { session, bytes, parts, awaited: true });
    }

    fn chunk(&mut self, session: u32, number: u32) {
        let bytes = self.parts.chunks[number as usize].clone();
        self.portion(session, Payload::Chunk(number), bytes);
    }
}

/// The end of a session overtakes what is in work for it: behind the chunk that is being read nothing more is looked for.
#[test]
fn the_end_of_a_session_is_seen_while_a_command_is_in_work() {
    let old = Package::new(0x0200, LARGE);
    let mut new = Package { bcd_device: 0x0201, ..old.clone() };
    new.image[LARGE - 1] ^= 1;
    let last = Parts::of(&new.bytes()).chunks.len() as u32 - 1;
    assert!(last >= 5, "{last}");
    // Where nothing is missing all is looked for behind the offer; else before the chunk that comes.
    for (package, missing) in [(&old, vec![]), (&new, vec![last])] {
        let (medium, reading, let_go) = Slow::new(store_with(&old), Access::Read);
        let (worker, woken) = start(medium);
        let mut exchange = Exchange { worker, woken, parts: Parts::of(&package.bytes()) };
        // Dropped before the worker, which ends only when it is let go on.
        let let_go = let_go;
        assert_eq!(exchange.offer(2), missing);
        match missing.first() {
            Some(number) => exchange.chunk(2, *number),
            None => exchange.send(Command::Settle { session: 2 }),
        }
        reading.recv_timeout(Duration::from_secs(20)).unwrap();
        exchange.send(Command::Abort { session: 2, reason: ResultCode::Aborted });
        let_go.send(()).unwrap();
        loop {
            match next(&mut exchange.worker, &exchange.woken).unwrap() {
                Reply::View(view) => {
                    assert_eq!(view.record.session.state, SessionState::Aborted.number());
                    break;
                }
                Reply::Portion { .. } => {}
                other => panic!("{other:?}"),
            }
        }
        assert_eq!(reading.try_iter().count(), 0, "it went on reading");

        // The chunk that was read by then is known to the next session, which works.
        for _ in 0..1000 {
            let_go.send(()).unwrap();
        }
        let rest = exchange.offer(3);
        assert_eq!(rest, (1..=last).collect::<Vec<_>>());
        for number in rest {
            exchange.chunk(3, number);
        }
        exchange.send(Command::Settle { session: 3 });
        exchange.send(Command::Finish { session: 3 });
        loop {
            match next(&mut exchange.worker, &exchange.woken).unwrap() {
                Reply::Staged { session: 3 } => break,
                Reply::View(_)
                | Reply::Taken(_)
                | Reply::Portion { .. }
                | Reply::Complete(_)
                | Reply::ReadBack { .. } => {}
                other => panic!("{other:?}"),
            }
        }
    }
}
