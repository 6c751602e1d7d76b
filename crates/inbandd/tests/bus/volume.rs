//! The volume door, raw profile: a package written to the disk and ejected, and what becomes of it beside the other doors.

use std::{
    collections::{BTreeMap, HashMap},
    sync::atomic::Ordering,
    time::Duration,
};

use inband_dfu::{host::Error, wire::Request};
use inband_session::{Door, DoorPolicy, DoorState, ResultCode, SessionState};
use inband_store::{Slot, SlotState, memory::Loss};
use inband_usb::{HostDevice, descriptor::CONFIGURATION};
use inband_virtual::memory::MemoryHost;
use inband_volume::bot::host::Data;
use inbandd::command::{Answer, Ask};

use crate::{
    bench::{Bench, Hold, MAX_PACKAGE, SLOT, Setting},
    bulk,
    disk_host::{self, CHANGED, Disk, NO_MEDIUM, NO_SPACE, RESET, WRITE_PROTECTED, padded},
    drive::{disk, eject, shown, wait_medium},
    host::{self, TIMEOUT},
    package::{Package, Random, noise},
    refused::{Bad, bad_packages},
};

const VOLUME: Setting = Setting { volume: DoorPolicy::Always, ..Setting::DEFAULT };

fn package() -> Package {
    Package::new(0x0215, 150_000)
}

/// Ejects what was written; the medium with the verdict, which is read-only: its text.
#[track_caller]
fn verdict(bench: &Bench, disk: &mut Disk<MemoryHost>) -> String {
    eject(bench, disk);
    read_verdict(disk)
}

#[track_caller]
fn read_verdict(disk: &mut Disk<MemoryHost>) -> String {
    assert!(disk.write_protected());
    assert_eq!(disk.write(0, &[0; 512]), Err(WRITE_PROTECTED));
    let text = disk.text();
    assert!(text.starts_with("SPEC=INBAND-RAW-1\r\nSTATE="), "{text}");
    text
}

/// A whole update; the text that tells of its end.
#[track_caller]
fn update(bench: &Bench, file: &[u8]) -> String {
    let mut disk = disk(bench);
    disk.copy(file);
    verdict(bench, &mut disk)
}

#[track_caller]
fn assert_passed(text: &str) {
    assert!(text.contains("\r\nSTATE=PASS\r\n") && text.contains("\r\nRESULT=ok\r\nCODE=1\r\n"), "{text}");
}

#[track_caller]
fn assert_failed(text: &str, code: ResultCode) {
    assert!(
        text.contains("\r\nSTATE=FAIL\r\n")
            && text.contains(&format!("\r\nRESULT={code}\r\nCODE={}\r\n", code.code())),
        "{code}: {text}"
    );
}

#[test]
fn a_package_by_copy_and_eject() {
    let bench = Bench::with(VOLUME);
    let mut disk = disk(&bench);
    assert_eq!(bench.status().door_state(Door::Volume), DoorState::Open);
    assert!(!disk.write_protected());
    let ready = disk.text();
    let lines = [
        "SPEC=INBAND-RAW-1",
        "STATE=READY",
        "MACHINE=test-board",
        "RUNNING=factory",
        "GENERATION=00000001",
        "MAX_SIZE=196608",
        "NEXT=write the package from the first block on, then eject",
    ];
    assert_eq!(ready.lines().collect::<Vec<_>>(), lines);
    assert_eq!(disk.read(1, 3).unwrap(), [0; 3 * 512]);
    disk.copy(&package().bytes());
    // What was written is what is read, until it is ejected.
    assert_eq!(disk.read(0, 100).unwrap(), &package().bytes()[..100 * 512]);
    let status = bench.status();
    assert_eq!((status.state, status.door), (SessionState::Receiving, Some(Door::Volume)));
    assert_eq!(status.received as usize, padded(&package().bytes()).len());
    let text = verdict(&bench, &mut disk);
    assert_passed(&text);
    bench.assert_session(SessionState::Staged, ResultCode::Ok);
    let head: String = bench.status().head.iter().map(|byte| format!("{byte:02x}")).collect();
    let lines = [
        "SPEC=INBAND-RAW-1",
        "STATE=PASS",
        "RESULT=ok",
        "CODE=1",
        "SESSION=1",
        "MACHINE=test-board",
        "RUNNING=factory",
        "VERSION=v215",
        &format!("HEAD={head}"),
        "GENERATION=00000002",
        "NEXT=eject",
    ];
    assert_eq!(text.lines().collect::<Vec<_>>(), lines);
    assert!(bench.medium().slot(Slot::B) == package().slot(SLOT));
    bench.assert_factory_runs();

    // What is ejected then makes room for the next.
    eject(&bench, &mut disk);
    assert!(!disk.write_protected() && disk.text().contains("STATE=READY"));
    drop(disk);
    let bench = bench.power_cycle(Loss::All);
    assert_eq!(bench.status().running, Slot::B);
}

#[test]
fn what_is_refused_is_told_and_the_next_is_taken() {
    for Bad { name, file, result, before_writing, .. } in bad_packages() {
        let file = padded(&file);
        let result = match name {
            // On a disk files have no end but the announced one, and blocks no bytes that are not there.
            "trailing bytes" | "cut by a byte" => continue,
            "cut in the head" => ResultCode::BadHead,
            "cut" => ResultCode::Incomplete,
            _ => result,
        };
        let bench = Bench::with(VOLUME);
        let mut disk = disk(&bench);
        disk.copy(&file);
        assert_failed(&verdict(&bench, &mut disk), result);
        bench.assert_session(SessionState::Failed, result);
        let target = if before_writing { SlotState::Empty } else { SlotState::Invalid };
        assert_eq!(bench.status().slots, [SlotState::Good, target], "{name}");
        bench.assert_factory_runs();
        // The same host goes on.
        eject(&bench, &mut disk);
        disk.copy(&package().bytes());
        assert_passed(&verdict(&bench, &mut disk));
        assert!(bench.medium().slot(Slot::B) == package().slot(SLOT), "{name}");
    }
}

#[test]
fn what_stands_behind_the_package_is_nothing_to_it() {
    let bench = Bench::with(VOLUME);
    let mut disk = disk(&bench);
    // A longer file was copied before, and something far behind.
    disk.copy(&[0x5a; 190 * 1024]);
    disk.write(9000, &[1; 512]).unwrap();
    disk.copy(&package().bytes());
    assert_passed(&verdict(&bench, &mut disk));
    assert!(bench.medium().slot(Slot::B) == package().slot(SLOT));
}

#[test]
fn blocks_in_any_order_make_the_same_package() {
    let bench = Bench::with(VOLUME);
    let mut disk = disk(&bench);
    let file = padded(&package().bytes());
    let pieces: Vec<_> = (0..).zip(file.chunks(7 * 512)).collect();
    for (number, piece) in pieces.iter().rev().chain(pieces.iter().step_by(3)) {
        disk.write(number * 7, piece).unwrap();
    }
    assert_passed(&verdict(&bench, &mut disk));
    assert!(bench.medium().slot(Slot::B) == package().slot(SLOT));
}

/// What was written, block by block.
type Model = BTreeMap<u32, Vec<u8>>;

fn write(disk: &mut Disk<MemoryHost>, model: &mut Model, lba: u32, bytes: &[u8]) {
    match disk.write(lba, bytes) {
        Ok(()) => model.extend((lba..).zip(bytes.chunks(512).map(<[u8]>::to_vec))),
        Err(sense) => assert!([RESET, CHANGED, NO_MEDIUM, WRITE_PROTECTED].contains(&sense), "{sense:?}"),
    }
}

/// What a host does next, whatever that is good for.
fn act(random: &mut Random, bench: &Bench, disk: &mut Disk<MemoryHost>, file: &[u8], model: &mut Model) {
    let blocks = (file.len() / 512) as u32;
    let lba = random.next() as u32 % blocks;
    let end = (lba + 1 + random.next() as u32 % 200).min(blocks);
    match random.next() % 20 {
        0 => write(disk, model, lba, &noise(512 * (end - lba) as usize, random.next())),
        1 => {
            let piece = file[..512 * (end - lba) as usize].to_vec();
            write(disk, model, lba, &piece);
        }
        2 => _ = disk.read(lba, 8),
        3 => disk.bot.recover(&mut disk.usb).unwrap(),
        4 => bench.bus.advance(Duration::from_millis(random.next() % 4000)),
        5 => {
            let cbw = disk.bot.cbw(&disk_host::cdb10(0x2a, lba, 8), Data::Out(&[0; 4096]));
            disk.bot.send(&mut disk.usb, &cbw).unwrap();
            disk.bot.recover(&mut disk.usb).unwrap();
        }
        6 => _ = disk.command(&[0x1b, 0, 0, 0, 0, 0], Data::None),
        7..13 => write(disk, model, lba, &file[512 * lba as usize..512 * end as usize]),
        _ => {
            // Where something is missing.
            let there = |lba: u32| &file[512 * lba as usize..][..512];
            let missing = (0..blocks).find(|lba| model.get(lba).is_none_or(|bytes| bytes != there(*lba)));
            if let Some(lba) = missing {
                write(disk, model, lba, &file[512 * lba as usize..512 * (lba + 64).min(blocks) as usize]);
            }
        }
    }
}

#[test]
fn what_is_staged_is_what_was_there_at_the_eject_whatever_a_host_does() {
    let package = Package::new(0x0215, 60_000);
    let file = padded(&package.bytes());
    let mut ends = HashMap::new();
    for seed in 0..120 {
        let mut random = Random(seed);
        let bench = Bench::with(VOLUME);
        let mut disk = disk(&bench);
        let mut model = BTreeMap::new();
        for _ in 0..random.next() % 30 {
            act(&mut random, &bench, &mut disk, &file, &mut model);
        }
        if random.next().is_multiple_of(3) {
            bench.hold(Hold::Everything);
        }
        if disk.eject() == Err(RESET) {
            disk.eject().unwrap();
        }
        let whole = file
            .chunks(512)
            .enumerate()
            .all(|(lba, block)| model.get(&(lba as u32)).is_some_and(|there| there[..] == *block));
        // None of this counts.
        for _ in 0..3 {
            act(&mut random, &bench, &mut disk, &file, &mut BTreeMap::new());
        }
        bench.hold(Hold::Nothing);
        bench.bus.advance(Duration::from_secs(10));
        let status = bench.status();
        *ends.entry(status.result()).or_insert(0) += 1;
        match whole {
            _ if model.is_empty() => assert_eq!(status.session, 0, "{seed}"),
            true => {
                assert_eq!((status.state, status.session), (SessionState::Staged, 1), "{seed}");
                assert!(bench.medium().slot(Slot::B) == package.slot(SLOT), "{seed}");
            }
            false => assert_eq!((status.state, status.session), (SessionState::Failed, 1), "{seed}"),
        }
        bench.assert_factory_runs();
    }
    for end in [ResultCode::Ok, ResultCode::Incomplete, ResultCode::BadChunk] {
        assert!(ends.get(&Some(end)) > Some(&3_u32), "{end}: {ends:?}");
    }
}

#[test]
fn a_package_with_a_hole_is_not_whole() {
    let file = padded(&package().bytes());
    let last = (file.len() / 512 - 1) as u32;
    for hole in [0, 1, 31, 32, 100, last] {
        let bench = Bench::with(VOLUME);
        let mut disk = disk(&bench);
        for (number, block) in (0..).zip(file.chunks(512)).filter(|(number, _)| *number != hole) {
            disk.write(number, block).unwrap();
        }
        assert_failed(&verdict(&bench, &mut disk), ResultCode::Incomplete);
        bench.assert_session(SessionState::Failed, ResultCode::Incomplete);
        assert_eq!(bench.last_log().result(), Some(ResultCode::Incomplete));
        bench.assert_factory_runs();
        eject(&bench, &mut disk);
        disk.copy(&file);
        assert_passed(&verdict(&bench, &mut disk));
    }
}

#[test]
fn a_hole_hides_nothing_of_what_was_refused_before() {
    // Else a host could have one package after the other looked at, and be locked out never.
    let bench = Bench::with(Setting { refusals: 2, ..VOLUME });
    let mut disk = disk(&bench);
    for _ in 0..2 {
        let mut file = padded(&package().bytes());
        file[1536 + 5] ^= 1;
        file.truncate(file.len() - 512);
        disk.copy(&file);
        assert_failed(&verdict(&bench, &mut disk), ResultCode::BadSignature);
        eject(&bench, &mut disk);
    }
    assert!(read_verdict(&mut disk).contains("RESULT=locked-out"));
}

#[test]
fn nothing_that_a_host_does_behind_the_eject_changes_what_is_judged() {
    let bench = Bench::with(VOLUME);
    let mut disk = disk(&bench);
    disk.copy(&package().bytes());
    bench.hold(Hold::Everything);
    disk.eject().unwrap();
    for lba in [0, 1, 5, 300] {
        assert_eq!(disk.write(lba, &[0; 512]), Err(NO_MEDIUM));
        assert_eq!(disk.read(lba, 1), Err(NO_MEDIUM));
    }
    // Ejected again it is no other thing; nor does a reset, or a cable that is pulled, end what is the BMC's.
    assert_eq!(disk.eject(), Ok(()));
    disk.bot.recover(&mut disk.usb).unwrap();
    bench.assert_session(SessionState::Verifying, ResultCode::None);
    assert_eq!(bench.ask(Ask::Abort), Answer::Busy);
    assert_eq!(bench.ask(Ask::Disarm(Door::Volume)), Answer::Busy);
    drop(disk);
    bench.bus.unplug();
    bench.bus.advance(Duration::from_secs(600));
    bench.hold(Hold::Nothing);
    bench.bus.advance(Duration::from_secs(1));
    bench.bus.plug();
    bench.wait_attached();
    bench.assert_session(SessionState::Staged, ResultCode::Ok);
    assert!(bench.medium().slot(Slot::B) == package().slot(SLOT));
}

#[test]
fn no_more_is_handed_to_the_worker_than_it_takes() {
    let bench = Bench::with(VOLUME);
    let mut disk = disk(&bench);
    disk.copy(&package().bytes());
    bench.bus.advance(Duration::from_millis(1));
    bench.hold(Hold::Everything);
    disk.eject().unwrap();
    bench.bus.advance(Duration::from_secs(1));
    // It is the head that says how much is to follow.
    assert_eq!(bench.bmc().worker().held().len(), 1);
    bench.hold(Hold::Nothing);
    wait_medium(&bench, &mut disk);
    assert_passed(&read_verdict(&mut disk));
}

#[test]
fn a_reset_keeps_what_was_written() {
    let bench = Bench::with(VOLUME);
    let mut disk = disk(&bench);
    let file = padded(&package().bytes());
    disk.write(0, &file[..64 * 512]).unwrap();
    drop(disk);
    bench.bus.reset();
    bench.bus.advance(Duration::from_secs(1));
    let mut disk = self::disk(&bench);
    assert_eq!(disk.ready(), Ok(()));
    for (number, piece) in (1..).zip(file.chunks(64 * 512).skip(1)) {
        disk.write(number * 64, piece).unwrap();
    }
    assert_passed(&verdict(&bench, &mut disk));
}

#[test]
fn a_host_that_goes_and_does_not_come_back_leaves_nothing() {
    let bench = Bench::with(VOLUME);
    let mut disk = disk(&bench);
    disk.copy(&package().bytes());
    drop(disk);
    bench.bus.unplug();
    bench.bus.advance(Duration::from_secs(59));
    bench.bus.plug();
    bench.wait_attached();
    bench.assert_session(SessionState::Receiving, ResultCode::None);
    bench.bus.unplug();
    bench.bus.advance(Duration::from_secs(61));
    bench.bus.plug();
    bench.wait_attached();
    bench.assert_session(SessionState::Failed, ResultCode::Disconnected);
    let mut disk = self::disk(&bench);
    assert_eq!(disk.ready(), Err(CHANGED), "it has an empty medium again");
    assert!(!disk.write_protected() && disk.text().contains("STATE=READY"));
    disk.copy(&package().bytes());
    assert_passed(&verdict(&bench, &mut disk));
    // Nor does the next host find what was told to another.
    drop(disk);
    bench.bus.unplug();
    bench.bus.advance(Duration::from_secs(61));
    bench.bus.plug();
    bench.wait_attached();
    let mut disk = self::disk(&bench);
    assert_eq!(disk.ready(), Err(CHANGED));
    assert!(disk.text().contains("STATE=READY"));
    drop(disk);
    bench.assert_session(SessionState::Staged, ResultCode::Ok);
}

#[test]
fn a_host_that_stops_writing_is_given_up() {
    let bench = Bench::with(VOLUME);
    let mut disk = disk(&bench);
    disk.write(0, &[1; 512]).unwrap();
    bench.bus.advance(Duration::from_secs(299));
    disk.write(0, &[1; 512]).unwrap();
    bench.bus.advance(Duration::from_secs(299));
    bench.assert_session(SessionState::Receiving, ResultCode::None);
    bench.bus.advance(Duration::from_secs(2));
    bench.assert_session(SessionState::Failed, ResultCode::Timeout);
    wait_medium(&bench, &mut disk);
    assert_failed(&read_verdict(&mut disk), ResultCode::Timeout);
    eject(&bench, &mut disk);
    // However it goes on: an hour is the end.
    for _ in 0..60 {
        assert_eq!(disk.write(0, &[1; 512]), Ok(()));
        bench.bus.advance(Duration::from_secs(59));
    }
    bench.assert_session(SessionState::Receiving, ResultCode::None);
    bench.bus.advance(Duration::from_secs(61));
    bench.assert_session(SessionState::Failed, ResultCode::Timeout);
    assert_eq!(bench.status().session, 2);
}

#[test]
fn a_verdict_that_nobody_ejects_makes_room_for_the_next_package() {
    let bench = Bench::with(VOLUME);
    let mut disk = disk(&bench);
    disk.copy(&package().bytes());
    assert_passed(&verdict(&bench, &mut disk));
    bench.bus.advance(Duration::from_secs(9 * 60));
    assert_eq!(disk.ready(), Ok(()));
    bench.bus.advance(Duration::from_secs(2 * 60));
    assert_eq!(disk.ready(), Err(CHANGED));
    assert!(!disk.write_protected() && disk.text().contains("GENERATION=00000003"));
}

#[test]
fn somebody_on_the_bmc_ends_it() {
    let bench = Bench::with(VOLUME);
    let mut disk = disk(&bench);
    disk.command(&[0x1e, 0, 0, 0, 1, 0], Data::None).unwrap();
    disk.copy(&package().bytes());
    assert_eq!(bench.ask(Ask::Abort), Answer::Done);
    // Though the host forbade it.
    wait_medium(&bench, &mut disk);
    assert_failed(&read_verdict(&mut disk), ResultCode::Aborted);
    bench.assert_session(SessionState::Aborted, ResultCode::Aborted);
    bench.assert_factory_runs();
}

#[test]
fn an_eject_of_nothing_is_no_session() {
    let bench = Bench::with(VOLUME);
    let mut disk = disk(&bench);
    for _ in 0..3 {
        eject(&bench, &mut disk);
        assert!(disk.text().contains("STATE=READY"));
    }
    // Nor is a stop, which hosts send before they sleep.
    disk.write(0, &[1; 512]).unwrap();
    disk.command(&[0x1b, 0, 0, 0, 0, 0], Data::None).unwrap();
    bench.assert_session(SessionState::Receiving, ResultCode::None);
}

// Beside the other doors.

#[test]
fn dfu_works_beside_it_and_the_disk_is_gone_meanwhile() {
    let bench = Bench::with(Setting { bulk: DoorPolicy::Always, ..VOLUME });
    assert!(shown(&bench));
    bench.update(&package().bytes()).unwrap();
    assert!(bench.in_dfu_mode());
    assert_eq!(bench.status().door_state(Door::Volume), DoorState::Armed);
    assert_eq!(bench.bus.descriptors().unwrap().interfaces.len(), 2, "DFU and bulk");
    bench.leave_dfu();
    assert!(shown(&bench));
    assert_eq!(bench.status().door_state(Door::Volume), DoorState::Open);
    bench.assert_session(SessionState::Staged, ResultCode::Ok);
    let went = bulk::update(&bench, 7, &Package::new(0x0216, 30_000).bytes()).unwrap();
    assert_eq!(went.result(), ResultCode::Ok);
    bench.leave_dfu();
    assert_passed(&update(&bench, &package().bytes()));
}

#[test]
fn while_the_disk_has_a_session_detach_is_stalled() {
    let bench = Bench::with(VOLUME);
    let mut disk = disk(&bench);
    let refused = |context: &str| match host::detach(&mut bench.claim()) {
        Err(Error::Refused { request: Request::Detach, .. }) => {}
        other => panic!("{context}: {other:?}"),
    };
    disk.copy(&package().bytes());
    refused("receiving");
    // A host that claims an interface chooses its setting, and with that begins all of the function anew.
    assert_eq!(disk.ready(), Err(RESET));
    bench.hold(Hold::Finish);
    disk.eject().unwrap();
    bench.bus.advance(Duration::from_millis(100));
    refused("judging");
    assert_eq!(disk.ready(), Err(RESET));
    bench.hold(Hold::Nothing);
    wait_medium(&bench, &mut disk);
    assert_passed(&read_verdict(&mut disk));
    drop(disk);
    // With the verdict out DFU is free; the disk comes back with an empty medium.
    drop(bench.enter_dfu());
    bench.leave_dfu();
    assert!(self::disk(&bench).text().contains("STATE=READY"));
    bench.assert_session(SessionState::Staged, ResultCode::Ok);
}

#[test]
fn with_the_door_of_dfu_off_detach_is_stalled_and_the_disk_updates() {
    let bench = Bench::with(Setting { policy: DoorPolicy::Off, ..VOLUME });
    let mut host = bench.claim();
    for _ in 0..2 {
        match host::detach(&mut host) {
            Err(Error::Refused { request: Request::Detach, .. }) => {}
            other => panic!("{other:?}"),
        }
        let page = host::status(&mut host).unwrap();
        assert_eq!((page.state, page.door_state(Door::Dfu)), (SessionState::Idle, DoorState::Shut));
        assert_eq!(page.door_state(Door::Volume), DoorState::Open);
    }
    drop(host);
    assert_passed(&update(&bench, &package().bytes()));
    assert!(shown(&bench) && !bench.in_dfu_mode());
    bench.assert_session(SessionState::Staged, ResultCode::Ok);
    assert!(bench.medium().slot(Slot::B) == package().slot(SLOT));
}

#[test]
fn nothing_may_be_written_while_no_session_may_begin() {
    // Ten refusals in a row lock the host out.
    let bench = Bench::with(Setting { refusals: 1, ..VOLUME });
    let mut disk = disk(&bench);
    disk.copy(&[0x5a; 9216]);
    assert_failed(&verdict(&bench, &mut disk), ResultCode::BadHead);
    eject(&bench, &mut disk);
    let text = read_verdict(&mut disk);
    assert!(text.contains("STATE=REFUSED") && text.contains("\r\nRESULT=locked-out\r\n"), "{text}");
    assert_eq!(bench.status().session, 1);
    bench.bus.advance(Duration::from_secs(601));
    // The host looks at the medium anew, and may.
    assert_eq!(disk.ready(), Err(CHANGED));
    assert!(!disk.write_protected() && disk.text().contains("STATE=READY"));
    disk.copy(&package().bytes());
    assert_passed(&verdict(&bench, &mut disk));
}

#[test]
fn an_armed_door_shows_the_disk_for_one_update() {
    let bench = Bench::with(Setting { volume: DoorPolicy::Armed, ..Setting::DEFAULT });
    let door = || bench.status().door_state(Door::Volume);
    assert!(!shown(&bench));
    assert_eq!(door(), DoorState::Shut);
    assert_eq!(bench.ask(Ask::Arm(Door::Volume)), Answer::Done);
    assert!(shown(&bench));
    assert_eq!(door(), DoorState::Open);
    // Taken back.
    assert_eq!(bench.ask(Ask::Disarm(Door::Volume)), Answer::Done);
    assert!(!shown(&bench));
    assert_eq!(door(), DoorState::Shut);
    // Used.
    assert_eq!(bench.ask(Ask::Arm(Door::Volume)), Answer::Done);
    let mut disk = disk(&bench);
    disk.copy(&package().bytes());
    assert_eq!(bench.ask(Ask::Disarm(Door::Volume)), Answer::Busy);
    assert_passed(&verdict(&bench, &mut disk));
    assert_eq!(door(), DoorState::Open, "until the verdict was read");
    disk.eject().unwrap();
    drop(disk);
    bench.wait_return(Duration::from_secs(10));
    assert!(!shown(&bench));
    assert_eq!(door(), DoorState::Shut);
    // Armed in DFU mode it is there when the host has left that; DETACH shuts it as well.
    drop(bench.enter_dfu());
    assert_eq!(bench.ask(Ask::Arm(Door::Volume)), Answer::Done);
    assert!(bench.in_dfu_mode());
    bench.leave_dfu();
    assert!(shown(&bench));
    drop(bench.enter_dfu());
    bench.leave_dfu();
    assert!(!shown(&bench));
}

#[test]
fn a_door_that_is_off_shows_nothing_and_cannot_be_armed() {
    let bench = Bench::new();
    assert!(!shown(&bench));
    assert_eq!(bench.ask(Ask::Arm(Door::Volume)), Answer::DoorOff);
    assert!(!shown(&bench));
}

// What it takes.

#[test]
fn a_controller_without_the_endpoints_shows_dfu_alone() {
    for policy in [DoorPolicy::Always, DoorPolicy::Armed] {
        let bench = Bench::with(Setting { volume: policy, ..Setting::DEFAULT });
        bench.bus.limit_endpoints(1);
        assert_eq!(bench.ask(Ask::Arm(Door::Volume)), Answer::Done);
        drop(bench.enter_dfu());
        bench.leave_dfu();
        assert!(!shown(&bench));
        assert_eq!(bench.status().door_state(Door::Volume), DoorState::Shut);
        bench.update(&package().bytes()).unwrap();
        bench.assert_session(SessionState::Staged, ResultCode::Ok);
        bench.leave_dfu();
        // It is tried again: each time, or whenever somebody wants it.
        bench.bus.limit_endpoints(2);
        assert!(!shown(&bench));
        assert_eq!(bench.ask(Ask::Arm(Door::Volume)), Answer::Done);
        assert!(shown(&bench));
        assert_passed(&update(&bench, &package().bytes()));
    }
}

#[test]
fn a_machine_without_the_memory_shows_dfu_alone() {
    let bench = Bench::with(VOLUME);
    let mut disk = disk(&bench);
    let capacity = disk.command(&[0x25, 0, 0, 0, 0, 0, 0, 0, 0, 0], Data::In(8)).unwrap();
    let blocks = u64::from(u32::from_be_bytes(capacity[..4].try_into().unwrap())) + 1;
    let needed = (MAX_PACKAGE + (8 << 20)).next_multiple_of(16 * 1024);
    assert_eq!(blocks * 512, needed);
    drop(disk);
    bench.memory.store(needed - 1, Ordering::Relaxed);
    drop(bench.enter_dfu());
    bench.leave_dfu();
    assert!(!shown(&bench));
    assert_eq!(bench.status().door_state(Door::Volume), DoorState::Shut);
    bench.memory.store(needed, Ordering::Relaxed);
    drop(bench.enter_dfu());
    bench.leave_dfu();
    assert!(shown(&bench));
}

#[test]
fn memory_that_others_have_taken_since_is_not_taken() {
    let bench = Bench::with(VOLUME);
    let mut disk = disk(&bench);
    disk.write(0, &[1; 64 * 1024]).unwrap();
    bench.memory.store(9 << 20, Ordering::Relaxed);
    let mut write =
        |from: u32| (from..from + 17).try_for_each(|number| disk.write(number * 128, &[1; 64 * 1024]));
    assert_eq!(write(1), Ok(()), "there is a mebibyte besides what is left to others");
    bench.memory.store((9 << 20) - 1, Ordering::Relaxed);
    assert_eq!(write(1), Ok(()), "what is written again takes none");
    assert_eq!(write(18), Err(NO_SPACE));
    bench.assert_session(SessionState::Receiving, ResultCode::None);
    assert_failed(&verdict(&bench, &mut disk), ResultCode::BadHead);
}

/// One block takes a page of memory: as many of them as may come between two looks must not take more than is left to others.
#[test]
fn single_blocks_do_not_take_more_memory_than_they_are_asked_for() {
    let bench = Bench::with(VOLUME);
    let mut disk = disk(&bench);
    disk.write(0, &[1; 512]).unwrap();
    // What a kernel would say: each page is gone from what there is.
    let mut left = 10_u64 << 20;
    let mut pages = 0;
    let refused = (1..).find_map(|page: u32| {
        bench.memory.store(left, Ordering::Relaxed);
        let done = disk.write(page * 32, &[1; 512]);
        if done.is_ok() {
            left -= 16 * 1024;
            pages += 1;
        }
        done.err()
    });
    assert_eq!(refused, Some(NO_SPACE));
    assert!(left >= 8 << 20, "{pages} pages leave {left} bytes");
    // What has its page takes none.
    assert_eq!(disk.write(33, &[2; 512]), Ok(()));
}

#[test]
fn staged_firmware_starts_when_its_verdict_was_ejected_or_left_there() {
    for eject in [true, false] {
        let bench = Bench::with(Setting { activate: true, ..VOLUME });
        let mut disk = disk(&bench);
        disk.copy(&package().bytes());
        assert_passed(&verdict(&bench, &mut disk));
        bench.bus.advance(Duration::from_secs(30));
        assert_eq!(bench.status().running, Slot::A);
        if eject {
            disk.eject().unwrap();
        }
        drop(disk);
        bench.wait_return(if eject { Duration::from_secs(5) } else { Duration::from_secs(35) });
        assert_eq!(bench.status().running, Slot::B, "{eject}");
        assert!(shown(&bench));
    }
}

#[test]
fn the_disk_says_who_it_is() {
    let bench = Bench::with(VOLUME);
    let mut disk = disk(&bench);
    let answer = disk.command(&[0x12, 0, 0, 0, 36, 0], Data::In(36)).unwrap();
    assert_eq!(&answer[8..], b"INBAND  FIRMWARE RAW    1   ");
    let serial = disk.command(&[0x12, 1, 0x80, 0, 64, 0], Data::In(64)).unwrap();
    assert_eq!(&serial[4..], b"0123456789ABCDEF");
    assert_eq!(disk.bot.max_lun(&mut disk.usb), Ok(vec![0]));
    // DFU answers beside it, at its own interface.
    let setup = inband_usb::Setup {
        request_type: 0x80,
        request: inband_usb::chapter9::request::GET_DESCRIPTOR,
        value: u16::from(CONFIGURATION) << 8,
        index: 0,
        length: 255,
    };
    assert_eq!(disk.usb.control_in(setup, TIMEOUT).unwrap().len(), 27 + 9 + 7 + 7);
    let Answer::Report(report) = bench.ask(Ask::Status) else { panic!("no report") };
    let text = Answer::Report(report).text();
    assert!(text.contains("\"door_volume\":\"open\""), "{text}");
    assert!(text.contains("\"disk_commands\":4,"), "{text}");
}

#[test]
fn the_slowest_answer_of_the_disk_is_told() {
    let bench = Bench::with(VOLUME);
    let mut disk = disk(&bench);
    bench.be_late(Duration::from_millis(70));
    disk.write(0, &[1; 64 * 1024]).unwrap();
    bench.be_late(Duration::ZERO);
    let text = bench.ask(Ask::Status).text();
    let us: u64 =
        text.split("\"slowest_disk_answer_us\":").nth(1).unwrap().split(',').next().unwrap().parse().unwrap();
    assert!((70_000..80_000).contains(&us), "{us}");
}
