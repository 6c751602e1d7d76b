//! Updates by a disk in memory, of a BMC that does what a test tells it to.

use std::{
    cell::{RefCell, RefMut},
    collections::BTreeMap,
    fs,
    path::Path,
    rc::Rc,
};

use inband_session::first_block::{BLOCK, SPEC};

use super::*;
use crate::{
    disk::{Medium, Profile, Untaken},
    find::{Scope, Target},
    testing::{
        bench::{Bench, Seen},
        bmc::MACHINE,
    },
    update::{Prepared as Any, door::Wish, handle::Handle, prepare as prepare_any},
    usb::{Opened, Place, Sighting},
};

/// What the BMC does with the next medium that is ejected.
#[derive(Clone, Debug)]
enum Next {
    /// A verdict, after so long, with this state, result and head.
    Verdict(Duration, &'static str, u16, Vec<u8>),
    /// It starts anew, and knows of nothing.
    Restart,
    /// It leaves the bus for good.
    Leave,
    /// Nothing: the medium stays.
    Stay,
    /// Nothing comes any more.
    Silence,
}

/// What happens to a BMC.
type Act = fn(&mut Bmc);

/// A BMC, as its disk shows it.
struct Bmc {
    now: Duration,
    generation: u32,
    /// What is in the drive.
    medium: Option<BTreeMap<u64, Vec<u8>>>,
    /// When which medium comes: its text.
    due: Option<(Duration, String)>,
    next: Next,
    present: bool,
    machine: &'static str,
    running: String,
    /// Packages that were ejected.
    ejected: Vec<Vec<u8>>,
    /// Calls that change something.
    calls: Vec<String>,
    /// Before the write from this offset on something happens.
    before: Option<(u64, Act)>,
    /// The next write fails so.
    fails: Option<HostError>,
    /// What stands in the drive behind each verdict.
    behind: &'static str,
}

impl Bmc {
    fn insert(&mut self, state: &str) {
        self.generation += 1;
        let text = format!(
            "SPEC={SPEC}\r\nSTATE={state}\r\nMACHINE={}\r\nRUNNING={}\r\nGENERATION={:08X}\r\n",
            self.machine, self.running, self.generation
        );
        let mut block = text.into_bytes();
        block.resize(BLOCK, b' ');
        self.medium = Some(BTreeMap::from([(0, block)]));
    }

    fn ready(&mut self) {
        self.insert("READY\r\nMAX_SIZE=4194304");
    }

    fn verdict(state: &str, code: u16, head: &[u8]) -> String {
        format!("{state}\r\nCODE={code}\r\nSESSION=7\r\nVERSION=2.0.0\r\nHEAD={}", crate::text::hex(head))
    }

    fn step(&mut self) {
        if let Some((_, state)) = self.due.take_if(|(at, _)| *at <= self.now) {
            self.insert(&state);
        }
    }

    fn is_untouched(&self) -> bool {
        self.medium.as_ref().is_some_and(|blocks| blocks.len() == 1 && blocks[&0].starts_with(b"SPEC="))
    }

    fn handle_eject(&mut self) {
        let Some(blocks) = self.medium.clone() else { return };
        if matches!(self.next, Next::Stay) {
            return;
        }
        self.medium = None;
        if blocks.len() == 1 && blocks[&0].starts_with(b"SPEC=") {
            self.due = Some((self.now + Duration::from_millis(2500), self.behind.to_owned()));
            return;
        }
        self.ejected.push(blocks.into_values().flatten().collect());
        match self.next.clone() {
            Next::Verdict(after, state, code, head) => {
                self.due = Some((self.now + after, Self::verdict(state, code, &head)));
            }
            Next::Restart => {
                self.generation = 0;
                self.due = Some((self.now + Duration::from_secs(1), self.behind.to_owned()));
            }
            Next::Leave => self.present = false,
            Next::Stay | Next::Silence => {}
        }
    }
}

/// The disk, and the bus it is on.
#[derive(Clone)]
struct Rig(Rc<RefCell<Bmc>>, Profile);

impl Rig {
    fn new() -> Self {
        let mut bmc = Bmc {
            now: Duration::ZERO,
            generation: 40,
            medium: None,
            due: None,
            next: Next::Silence,
            present: true,
            machine: MACHINE,
            running: "1.0.0".to_owned(),
            ejected: Vec::new(),
            calls: Vec::new(),
            before: None,
            fails: None,
            behind: "READY\r\nMAX_SIZE=4194304",
        };
        bmc.ready();
        Self(Rc::new(RefCell::new(bmc)), Profile::Raw)
    }

    /// One that stages what it is given.
    fn staging(bench: &Bench) -> Self {
        let rig = Self::new();
        rig.bmc().next = Next::Verdict(Duration::from_millis(2500), "PASS", 1, head(bench));
        rig
    }

    fn bmc(&self) -> RefMut<'_, Bmc> {
        self.0.borrow_mut()
    }

    fn calls(&self) -> Vec<String> {
        self.bmc().calls.clone()
    }
}

fn head(bench: &Bench) -> Vec<u8> {
    match &bench.contents {
        Contents::Package(package) => package.head_digest[..16].to_vec(),
        Contents::Tar(_) => Vec::new(),
    }
}

impl Drive for Rig {
    fn look(&mut self) -> Result<Medium, HostError> {
        let mut bmc = self.bmc();
        bmc.step();
        if !bmc.present {
            return Err(HostError::Gone);
        }
        let Some(blocks) = &bmc.medium else { return Ok(Medium::None) };
        let mut block = Box::new([0; BLOCK]);
        if let Some(first) = blocks.get(&0) {
            block.copy_from_slice(&first[..BLOCK]);
        }
        Ok(Medium::Block(block))
    }

    fn write(&mut self, offset: u64, bytes: &[u8]) -> Result<(), HostError> {
        let mut bmc = self.bmc();
        if let Some((_, act)) = bmc.before.take_if(|(at, _)| *at <= offset) {
            act(&mut bmc);
        }
        if let Some(error) = bmc.fails.take() {
            return Err(error);
        }
        let untouched = bmc.is_untouched();
        bmc.calls.push(format!("write {offset}+{}", bytes.len()));
        let Some(blocks) = bmc.medium.as_mut() else {
            return Err(HostError::Other("no medium found".to_owned()));
        };
        if untouched {
            blocks.clear();
        }
        for (number, block) in bytes.chunks(BLOCK).enumerate() {
            let mut whole = block.to_vec();
            whole.resize(BLOCK, 0);
            blocks.insert(offset + (number * BLOCK) as u64, whole);
        }
        Ok(())
    }

    fn eject(&mut self) -> Result<(), HostError> {
        let mut bmc = self.bmc();
        bmc.calls.push("eject".to_owned());
        bmc.handle_eject();
        Ok(())
    }

    fn advice(&self, _: &HostError) -> Option<String> {
        None
    }

    fn now(&self) -> Duration {
        self.0.borrow().now
    }

    fn pause(&mut self, time: Duration) {
        self.bmc().now += time;
    }
}

impl Bus for Rig {
    fn list(&self) -> Result<Vec<Sighting>, HostError> {
        Ok(Vec::new())
    }

    fn open(&self, _: &Place) -> Result<Opened, DeviceError> {
        Err(HostError::Gone.into())
    }

    fn advice(&self, _: &Place, _: &HostError) -> Option<String> {
        None
    }

    fn disks(&self) -> Result<Option<Vec<Disk>>, HostError> {
        let place = Place::Port { bus: "1".into(), ports: vec![2] };
        Ok(Some(vec![Disk { place, serial: Some("SN".into()), profile: self.1, file: "/dev/sdx".into() }]))
    }

    fn take_disk(&self, _: &Disk) -> Result<Box<dyn Drive>, Untaken> {
        Ok(Box::new(self.clone()))
    }
}

fn updated_as(plan: &Plan<'_>, rig: &Rig, cancel: &Cancel) -> (Result<(), Error>, Seen) {
    let scope = Scope { bus: rig, name: "here".into(), hint: String::new() };
    let mut seen = Seen::default();
    let prepared =
        prepare_any(rig, plan, |wish| scope.target(None, wish), &mut Handle::default(), &mut seen, cancel);
    let result = match prepared {
        Ok(Some(Any::Disk(prepared))) => run(rig, plan, prepared, &mut seen, cancel),
        Ok(Some(Any::Usb(_) | Any::Hidden(_))) => panic!("there is no BMC to speak to"),
        Ok(None) => Ok(()),
        Err(error) => Err(error),
    };
    (result, seen)
}

fn updated(bench: &Bench, rig: &Rig) -> (Result<(), Error>, Seen) {
    updated_as(&bench.plan(Wish::Fastest), rig, &Cancel::default())
}

fn exit_code(bench: &Bench, rig: &Rig) -> u8 {
    updated(bench, rig).0.expect_err("this must not work").exit_code()
}

fn bytes(path: &Path) -> Vec<u8> {
    let mut bytes = fs::read(path).unwrap();
    bytes.resize(bytes.len().next_multiple_of(BLOCK), 0);
    bytes
}

#[test]
fn a_package_is_written_ejected_and_told_of_as_staged() {
    let bench = Bench::new();
    let rig = Rig::staging(&bench);
    let (result, seen) = updated(&bench, &rig);
    result.unwrap();
    // As the only disk there is it needs no --door.
    assert_eq!(seen.doors(), ["volume"]);
    assert!(rig.bmc().ejected == [bytes(bench.path())]);
    let total = bench.contents.length();
    assert_eq!(seen.count(|event| *event == Event::Progress { sent: total, total }), 1);
    assert_eq!(seen.0.last(), Some(&Event::Staged { slot: None, version: "2.0.0".into() }));
    // What told of it is gone: the next package finds room.
    assert_eq!(rig.calls().last().map(String::as_str), Some("eject"));
    rig.clone().pause(Duration::from_secs(3));
    rig.bmc().running = "3.0.0".to_owned();
    assert!(updated(&bench, &rig).0.is_ok());
    assert_eq!(rig.bmc().ejected.len(), 2);
}

#[test]
fn nothing_is_written_that_need_not_or_may_not_be() {
    let bench = Bench::new();
    let untouched = |rig: &Rig| assert!(rig.calls().is_empty(), "{:?}", rig.calls());

    let rig = Rig::staging(&bench);
    rig.bmc().insert("REFUSED\r\nCODE=35");
    assert!(matches!(updated(&bench, &rig).0, Err(Error::Refused { code: ResultCode::LockedOut, .. })));
    untouched(&rig);

    let rig = Rig::staging(&bench);
    rig.bmc().insert("READY\r\nMAX_SIZE=1000");
    assert!(matches!(updated(&bench, &rig).0, Err(Error::BadPackage { code: ResultCode::TooLarge, .. })));
    untouched(&rig);

    let rig = Rig::staging(&bench);
    rig.bmc().machine = "other";
    rig.bmc().ready();
    assert!(matches!(updated(&bench, &rig).0, Err(Error::BadPackage { code: ResultCode::WrongMachine, .. })));
    untouched(&rig);

    // It runs already; and what cannot be told of what runs is said beforehand.
    let rig = Rig::staging(&bench);
    rig.bmc().running = "2.0.0".to_owned();
    rig.bmc().ready();
    let mut plan = bench.plan(Wish::Volume);
    plan.same_version = Rule::Refuse;
    let (result, seen) = updated_as(&plan, &rig, &Cancel::default());
    result.unwrap();
    assert_eq!(seen.0.last(), Some(&Event::UpToDate { slot: None, version: "2.0.0".into() }));
    plan.same_version = Rule::Accept;
    plan.wait = Some(Duration::from_secs(1));
    assert!(matches!(updated_as(&plan, &rig, &Cancel::default()).0, Err(Error::Usage(_))));
    plan.wait = None;
    plan.downgrade = Rule::Refuse;
    assert!(matches!(updated_as(&plan, &rig, &Cancel::default()).0, Err(Error::Usage(_))));
    untouched(&rig);

    let fat = Rig(rig.0, Profile::Fat);
    for door in [Wish::Fastest, Wish::Volume] {
        let error = updated_as(&bench.plan(door), &fat, &Cancel::default()).0.unwrap_err();
        assert!(error.advice().is_some_and(|advice| advice.contains("FIRMWARE.BIN")), "{error}");
    }
    // Neither of these doors is a disk's.
    for door in [Wish::Dfu, Wish::Bulk] {
        let error = updated_as(&bench.plan(door), &fat, &Cancel::default()).0.unwrap_err();
        assert_eq!(error.exit_code(), 3);
    }
    untouched(&fat);
}

#[test]
fn what_tells_of_an_earlier_session_is_ejected_first() {
    let bench = Bench::new();
    let rig = Rig::staging(&bench);
    rig.bmc().insert(&Bmc::verdict("FAIL", 23, &[]));
    let (result, seen) = updated(&bench, &rig);
    result.unwrap();
    assert_eq!(seen.count(|event| *event == Event::Cleared { result_code: 23 }), 1);
    assert_eq!(rig.calls()[0], "eject");

    // What is behind it may be that nothing may be written now.
    let rig = Rig::staging(&bench);
    rig.bmc().insert(&Bmc::verdict("PASS", 1, &[1; 16]));
    rig.bmc().behind = "REFUSED\r\nCODE=34";
    assert!(matches!(updated(&bench, &rig).0, Err(Error::Refused { code: ResultCode::OnTrial, .. })));
    assert_eq!(rig.calls(), ["eject"]);

    // A disk that does not let go is not waited for without end.
    let rig = Rig::staging(&bench);
    rig.bmc().insert(&Bmc::verdict("FAIL", 23, &[]));
    rig.bmc().next = Next::Stay;
    assert_eq!(exit_code(&bench, &rig), 11);
    // Nor one that always has another verdict.
    let rig = Rig::staging(&bench);
    rig.bmc().insert(&Bmc::verdict("FAIL", 23, &[]));
    rig.bmc().behind = "FAIL\r\nCODE=23\r\nSESSION=7\r\nHEAD=";
    assert_eq!(exit_code(&bench, &rig), 11);
    assert_eq!(rig.calls(), ["eject"; VERDICTS]);
    // Nor is an empty drive.
    let rig = Rig::new();
    rig.bmc().medium = None;
    assert!(matches!(updated(&bench, &rig).0, Err(Error::Refused { code: ResultCode::Busy, .. })));
}

#[test]
fn what_somebody_has_written_and_not_ejected_is_written_over() {
    let bench = Bench::new();
    let rig = Rig::staging(&bench);
    rig.bmc().medium = Some(BTreeMap::from([(0, vec![0x5a; BLOCK]), (1 << 20, vec![0x5a; BLOCK])]));
    let (result, _) = updated(&bench, &rig);
    result.unwrap();
    let length = bytes(bench.path()).len();
    assert!(rig.bmc().ejected[0][..length] == bytes(bench.path()));

    // Whether an eject in the middle would end it nobody knows: there may be a whole package.
    let rig = Rig::staging(&bench);
    rig.bmc().medium = Some(BTreeMap::from([(0, vec![0x5a; BLOCK])]));
    let (result, _) = cancelled_in_the_middle(&Bench::long(), &rig);
    assert!(matches!(result, Err(Error::LeftWritten { .. })));
    assert!(!rig.calls().contains(&"eject".to_owned()));
}

#[test]
fn the_verdict_is_ours_or_none() {
    let bench = Bench::new();
    let rig = |state, code, head: Vec<u8>| {
        let rig = Rig::new();
        rig.bmc().next = Next::Verdict(Duration::from_secs(3), state, code, head);
        rig
    };
    let ours = head(&bench);
    for (code, exit) in [(23, 6), (48, 14), (50, 10), (66, 15), (999, 1)] {
        assert_eq!(exit_code(&bench, &rig("FAIL", code, ours.clone())), exit, "{code}");
        assert_eq!(exit_code(&bench, &rig("FAIL", code, Vec::new())), exit, "{code}");
    }
    for (state, code, head) in [("PASS", 1, vec![1; 16]), ("FAIL", 23, vec![1; 16])] {
        assert!(matches!(updated(&bench, &rig(state, code, head)).0, Err(Error::NoVerdict { .. })));
    }
    // A package that is staged has a head; and what is staged does not end with a failure, nor the other way round.
    for (state, code, head) in [("PASS", 1, Vec::new()), ("PASS", 23, ours.clone()), ("FAIL", 1, ours)] {
        assert_eq!(exit_code(&bench, &rig(state, code, head)), 11, "{state} {code}");
    }
    // Of a firmware tar nobody knows the head.
    let tar = Bench::tar();
    let rig = rig("PASS", 1, Vec::new());
    rig.bmc().next = Next::Verdict(Duration::ZERO, "PASS", 1, vec![1; 16]);
    let mut plan = tar.plan(Wish::Volume);
    plan.wait = None;
    let prepared = Prepared {
        contents: tar.contents.clone(),
        disk: rig.disks().unwrap().unwrap().remove(0),
        drive: Box::new(rig.clone()),
        beside: None,
        reason: String::new(),
    };
    run(&rig, &plan, prepared, &mut Seen::default(), &Cancel::default()).unwrap();
    assert_eq!(rig.bmc().ejected[0].len(), 200_001_usize.next_multiple_of(BLOCK));
}

#[test]
fn a_bmc_that_tells_nothing_is_not_waited_for_without_end() {
    let bench = Bench::new();
    let ended = |next: Next| {
        let rig = Rig::new();
        rig.bmc().next = next;
        let (result, _) = updated(&bench, &rig);
        (result.unwrap_err(), rig.0.borrow().now)
    };
    let (error, after) = ended(Next::Silence);
    assert!(matches!(error, Error::Refused { code: ResultCode::Timeout, .. }), "{error}");
    assert!(after >= VERDICT_LIMIT && after < VERDICT_LIMIT + BACK_LIMIT);
    let (error, after) = ended(Next::Leave);
    assert!(matches!(error, Error::NotBack { .. }) && after < BACK_LIMIT * 2, "{error}");
    assert!(matches!(ended(Next::Restart).0, Error::NoVerdict { .. }));
    let (error, after) = ended(Next::Stay);
    assert!(error.exit_code() == 11 && after < EJECT_LIMIT * 2, "{error}");

    // A daemon that starts anew and has something to tell tells it of somebody else.
    let rig = Rig::new();
    rig.bmc().behind = "FAIL\r\nCODE=51\r\nSESSION=1\r\nHEAD=";
    rig.bmc().next = Next::Restart;
    assert!(matches!(updated(&bench, &rig).0, Err(Error::NoVerdict { .. })));
}

/// Cancels when the first piece is with the disk.
fn cancelled_in_the_middle(bench: &Bench, rig: &Rig) -> (Result<(), Error>, Seen) {
    struct Canceller(Cancel, Seen);
    impl Listener for Canceller {
        fn event(&mut self, event: &Event) {
            if matches!(event, Event::Progress { .. }) {
                self.0.request();
            }
            self.1.event(event);
        }
    }
    let cancel = Cancel::default();
    let mut listener = Canceller(cancel.clone(), Seen::default());
    let prepared = Prepared {
        contents: bench.contents.clone(),
        disk: rig.disks().unwrap().unwrap().remove(0),
        drive: Box::new(rig.clone()),
        beside: None,
        reason: String::new(),
    };
    let result = run(rig, &bench.plan(Wish::Volume), prepared, &mut listener, &cancel);
    (result, listener.1)
}

#[test]
fn a_user_s_end_ends_the_session_and_leaves_nothing_behind() {
    let rig = Rig::new();
    rig.bmc().next = Next::Verdict(Duration::from_millis(2500), "FAIL", 55, Vec::new());
    let (result, _) = cancelled_in_the_middle(&Bench::long(), &rig);
    assert!(matches!(result, Err(Error::Aborted { handed_over: false, .. })));
    assert_eq!(rig.calls(), [format!("write 0+{PIECE}"), "eject".to_owned(), "eject".to_owned()]);
    assert!(rig.bmc().medium.is_none());

    // With the last byte it is too late.
    let bench = Bench::new();
    let rig = Rig::staging(&bench);
    let (result, _) = cancelled_in_the_middle(&bench, &rig);
    assert!(matches!(result, Err(Error::Aborted { handed_over: true, .. })));
    assert_eq!(rig.bmc().ejected.len(), 1);
}

#[test]
fn an_end_in_the_middle_of_the_copy_is_told_with_its_reason() {
    let bench = Bench::long();
    let update = |before: Act| {
        let rig = Rig::new();
        rig.bmc().before = Some((1, before));
        let prepared = Prepared {
            contents: bench.contents.clone(),
            disk: rig.disks().unwrap().unwrap().remove(0),
            drive: Box::new(rig.clone()),
            beside: None,
            reason: String::new(),
        };
        run(&rig, &bench.plan(Wish::Volume), prepared, &mut Seen::default(), &Cancel::default())
    };
    let ended = |before| update(before).unwrap_err();
    // Somebody on the BMC says that it is enough, and it is.
    let result = update(|bmc| {
        bmc.medium = None;
        bmc.due = Some((bmc.now + Duration::from_millis(2500), Bmc::verdict("PASS", 1, &[1; 16])));
    });
    assert!(result.is_ok(), "{result:?}");
    let error = ended(|bmc| {
        bmc.medium = None;
        bmc.due = Some((bmc.now + Duration::from_millis(2500), Bmc::verdict("FAIL", 48, &[])));
    });
    assert!(matches!(error, Error::Refused { code: ResultCode::Aborted, .. }), "{error}");
    let error = ended(|bmc| {
        bmc.fails = Some(HostError::Gone);
        bmc.present = false;
    });
    assert!(matches!(error, Error::NotBack { .. }), "{error}");
    let error = ended(|bmc| {
        bmc.fails = Some(HostError::Gone);
        bmc.generation = 0;
        bmc.ready();
    });
    assert!(matches!(error, Error::NoVerdict { .. }), "{error}");
    let error = ended(|bmc| {
        bmc.fails = Some(HostError::Other("input/output error".to_owned()));
        bmc.insert("REFUSED\r\nCODE=33");
    });
    assert!(matches!(error, Error::Refused { code: ResultCode::Busy, .. }), "{error}");
    // Nothing happened to the BMC: then it is the disk's fault.
    let error = ended(|bmc| bmc.fails = Some(HostError::Other("input/output error".to_owned())));
    assert!(error.to_string().contains("cannot write to its disk: input/output error"), "{error}");
}

#[test]
fn a_bmc_that_is_waited_for_tells_of_itself_by_what_runs() {
    let bench = Bench::new();
    let mut plan = bench.plan(Wish::Volume);
    plan.wait = Some(Duration::from_secs(60));
    let rig = Rig::staging(&bench);
    let (result, _) = updated_as(&plan, &rig, &Cancel::default());
    assert!(matches!(result, Err(Error::NotActivated { seconds: 60, .. })));

    /// Restarts into what was staged when the verdict is taken out.
    struct Restarting(Rig, Seen);
    impl Listener for Restarting {
        fn event(&mut self, event: &Event) {
            if *event == Event::WaitActivation {
                self.0.bmc().running = "2.0.0".to_owned();
                self.0.bmc().behind = "REFUSED\r\nCODE=34";
                self.0.bmc().due = Some((Duration::from_secs(20), "REFUSED\r\nCODE=34".to_owned()));
            }
            self.1.event(event);
        }
    }
    let rig = Rig::staging(&bench);
    let mut listener = Restarting(rig.clone(), Seen::default());
    let scope = Scope { bus: &rig, name: "here".into(), hint: String::new() };
    let Ok(Target::Disk(on_disk)) = scope.target(None, plan.door) else { panic!("there is a disk") };
    let prepared = prepare(&rig, &plan, bench.contents.clone(), *on_disk, &mut listener, &Cancel::default());
    run(&rig, &plan, prepared.unwrap().unwrap(), &mut listener, &Cancel::default()).unwrap();
    let running = Event::Activated { slot: None, version: "2.0.0".into(), on_trial: true };
    assert_eq!(listener.1.0.last(), Some(&running));
}

#[test]
fn generations_follow_each_other_around_the_end_of_their_numbers() {
    assert!(is_newer(2, 1) && is_newer(0, u32::MAX) && is_newer(5, u32::MAX - 5));
    assert!(!is_newer(1, 1) && !is_newer(1, 2) && !is_newer(u32::MAX, 0));
}
