//! The worker in a thread of its own.
// Clippy's leave for tests does not reach the functions that tests share.
#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used)]

use std::{
    sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel},
    time::{Duration, Instant},
};

use inband_package::{
    KeyRing, Kind, Policy,
    maker::PrivateKey,
    openbmc::{Encoding, Profile, stage::Buffers},
};
use inband_session::{Door, Pipeline, Rates, ResultCode, SessionState, Unindexed};
use inband_store::{
    Firmware, Layout, Medium, MediumError, Options, Region, Slot, SlotState, Store, file::FileMedium,
    memory::MemoryMedium, record::Place, text::Text,
};
use inbandd::worker::{Command, Gone, Reply, Thread, Worker as _};

use self::kit::{Release, ring};

// The other tests of tars use more of it.
#[allow(dead_code)]
#[path = "../../package/tests/openbmc/kit.rs"]
mod kit;

/// Where the kit finds its script, from this crate's folder.
const MAKE_TAR: &str = "../package/tests/openbmc/make-tar.sh";

const SLOT: usize = 64 * 1024;

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

fn new_store() -> MemoryMedium {
    let mut medium = MemoryMedium::new(SLOT);
    let firmware = Firmware { version: Text::cut("factory"), bcd_device: 0x0100, security_version: 0 };
    Store::create(&mut medium, &firmware).unwrap();
    medium
}

fn pipeline<M: Medium>(medium: M) -> Pipeline<M, KeyRing> {
    let region = Region::new("bmc", "image", 0, SLOT as u64);
    let layout = Layout::new(SLOT as u64, vec![region]).unwrap();
    let store = Store::open(medium, layout, Options::default()).unwrap();
    let key = PrivateKey::from_seed(&[7; 32]).public().unwrap();
    let keys = KeyRing::new(vec![Kind::Ed25519], vec![key]).unwrap();
    Pipeline::new(store, keys, Policy::for_machine("test-board".into()), Rates::default())
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

#[test]
fn commands_are_carried_out_in_order_and_counted() {
    let (mut worker, woken) = start(new_store());
    assert_eq!(worker.backlog(), 0);
    worker.send(Command::Begin { session: 1, door: Door::Dfu, now: Duration::ZERO }).unwrap();
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
        worker.send(Command::Begin { session, door: Door::Dfu, now: Duration::ZERO }).unwrap();
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
    let (mut worker, woken) = start(Panics(new_store()));
    worker.send(Command::Begin { session: 1, door: Door::Dfu, now: Duration::ZERO }).unwrap();
    assert_eq!(next(&mut worker, &woken).err(), Some(Gone));
    assert_eq!(worker.send(Command::Confirm), Err(Gone));
}

/// A medium whose slots take their time: each write tells, and waits to be let go on.
struct Slow {
    medium: MemoryMedium,
    writing: Sender<()>,
    go_on: Receiver<()>,
}

impl Medium for Slow {
    fn slot_length(&self) -> u64 {
        self.medium.slot_length()
    }

    fn read(&mut self, slot: Slot, offset: u64, to: &mut [u8]) -> Result<(), MediumError> {
        self.medium.read(slot, offset, to)
    }

    fn write(&mut self, slot: Slot, offset: u64, data: &[u8]) -> Result<(), MediumError> {
        self.writing.send(()).unwrap();
        self.go_on.recv().unwrap();
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
    let (writing, written) = channel();
    let (let_go, go_on) = channel();
    let medium = Slow { medium: new_store(), writing, go_on };
    let layout = Layout::new(SLOT as u64, vec![Region::new("bmc", "image-bmc", 0, SLOT as u64)]).unwrap();
    let store = Store::open(medium, layout, Options::default()).unwrap();
    let regions = [("image-bmc", SLOT as u64, Encoding::Raw)];
    let profile = Profile::new("test-board".into(), "bmc".into(), regions, 1 << 20).unwrap();
    let (keys, staging) = (ring().clone(), Box::new(Buffers { available: 1 << 40 }));
    let unindexed = Unindexed { profile, keys: keys.clone(), staging };
    let pipeline = Pipeline::new(store, keys, Policy::for_machine("test-board".into()), Rates::default())
        .with_unindexed(unindexed);
    let (wake, woken) = channel();
    let mut worker = Thread::start(pipeline, move || _ = wake.send(())).unwrap();
    // Dropped before the worker, which ends only when it is let go on.
    let let_go = let_go;

    for (session, fill) in [(1, 1), (2, 2)] {
        // One piece of a slot, so one write.
        let tar =
            Release::new("test-board", &format!("{session}.0"), &[("image-bmc", vec![fill; SLOT])]).tar();
        worker.send(Command::Begin { session, door: Door::Dfu, now: Duration::ZERO }).unwrap();
        worker.send(Command::Data { session, bytes: tar, awaited: true }).unwrap();
        worker.send(Command::Finish { session }).unwrap();
        written.recv_timeout(Duration::from_secs(20)).unwrap();
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
        loop {
            match next(&mut worker, &woken).unwrap() {
                Reply::View(view) => assert_eq!(view.record.slot(Slot::B).state, SlotState::Staged),
                Reply::Staged { .. } => break,
                other => panic!("{other:?}"),
            }
        }
    }
}
