//! What a start says of the session that comes by it: at each door, met and not.

use std::time::Duration;

use inband_dfu::{
    host::Error,
    wire::{Request, State, Status},
};
use inband_ipmi::{
    command::{Command, Door as Start, Started, Wishes},
    wire::Code,
};
use inband_package::sha256;
use inband_session::{Door, DoorPolicy, DoorState, ResultCode, SessionState};
use inband_store::{Slot, SlotState};
use inbandd::command::{Answer, Ask};

use crate::{
    bench::{Bench, FACTORY, FLOOR, Hold, SLOT, Setting, block, command, dnload, get_status},
    bulk,
    drive::disk,
    fat::{FIRMWARE, with_file},
    ipmi::{ARMED, FAT, RAW, ask, status},
    package::Package,
};

const DOORS: [Start; 4] = [Start::Dfu, Start::Bulk, RAW, FAT];
const NONE: Wishes = Wishes { no_downgrade: false, defer_activation: false, length: None, head: None };
const FORWARD: Wishes = Wishes { no_downgrade: true, ..NONE };
const DEFERRED: Wishes = Wishes { defer_activation: true, ..NONE };

fn package() -> Package {
    Package::new(0x0215, 50_000)
}

/// Older than what runs, though not below the floor.
fn older() -> Package {
    Package { bcd_device: FACTORY - 0x67, security_version: FLOOR, ..package() }
}

/// SHA-256 of a package's head, which stands behind its tar header.
fn head(file: &[u8]) -> [u8; 32] {
    sha256(&file[512..1024])
}

/// All that can be said of a package.
fn of(file: &[u8]) -> Wishes {
    Wishes {
        no_downgrade: true,
        defer_activation: true,
        length: Some(file.len() as u32),
        head: Some(head(file)),
    }
}

fn try_start(bench: &Bench, tag: u32, door: Start, wishes: Wishes) -> Result<u32, Code> {
    let reply = ask(bench, &Command::Start { tag, door, wishes });
    if reply.code == Code::OK {
        Ok(Started::decode(&reply.data, tag).unwrap().nonce)
    } else {
        Err(reply.code)
    }
}

#[track_caller]
fn start(bench: &Bench, door: Start, wishes: Wishes) -> u32 {
    try_start(bench, 0, door, wishes).unwrap()
}

/// Brings a file by a door that is open or armed, as a host does that goes then. The result of the session.
#[track_caller]
fn bring(bench: &Bench, door: Start, file: &[u8]) -> ResultCode {
    let result = put(bench, door, file);
    leave(bench);
    result
}

/// Likewise, as a host that stays in DFU mode.
#[track_caller]
fn put(bench: &Bench, door: Start, file: &[u8]) -> ResultCode {
    let before = status(bench).session;
    match door {
        Start::Dfu => {
            let went = bench.update(file);
            assert!(matches!(went, Ok(_) | Err(Error::Refused { .. })), "{went:?}");
        }
        Start::Bulk => _ = bulk::update(bench, 1, file).unwrap(),
        Start::Volume(_) => {
            let mut disk = disk(bench);
            // A host whose disk has changed is told so first.
            while disk.ready().is_err() {}
            if door == FAT {
                disk.put(&with_file(FIRMWARE, file));
            } else {
                disk.copy(file);
            }
            disk.eject().unwrap();
            bench.bus.advance(Duration::from_secs(3));
            // What the drive tells of it, and its end.
            while disk.ready().is_err() {}
            disk.eject().unwrap();
            drop(disk);
            bench.bus.advance(Duration::from_secs(3));
        }
    }
    assert_eq!(status(bench).session, before + 1, "one session");
    ResultCode::from_code(status(bench).result).unwrap()
}

/// The host is through with DFU mode.
fn leave(bench: &Bench) {
    if bench.in_dfu_mode() {
        bench.wait_return(Duration::from_secs(70));
    }
}

/// Starts with these wishes on a new BMC, and brings the file.
#[track_caller]
fn verdict(door: Start, wishes: Wishes, file: &[u8]) -> ResultCode {
    let bench = Bench::with(ARMED);
    let before = bench.medium();
    start(&bench, door, wishes);
    let result = bring(&bench, door, file);
    if result != ResultCode::Ok {
        assert!(
            bench.medium().slot(Slot::B) == before.slot(Slot::B),
            "{door:?}: a refused package was written"
        );
        assert_eq!(bench.status().slots, [SlotState::Good, SlotState::Empty]);
    }
    assert_eq!(status(&bench).flags & 0x80, 0, "the start is over");
    result
}

#[test]
fn nothing_older_where_the_start_says_so() {
    for door in DOORS {
        assert_eq!(verdict(door, FORWARD, &older().bytes()), ResultCode::Downgrade, "{door:?}");
        // Else it is the configuration's business.
        assert_eq!(verdict(door, NONE, &older().bytes()), ResultCode::Ok, "{door:?}");
    }
    for (security_version, bcd_device, result) in [
        (FLOOR, FACTORY, ResultCode::Ok),
        (FLOOR, FACTORY - 0x67, ResultCode::Downgrade),
        (FLOOR, 0, ResultCode::Downgrade),
        (FLOOR + 1, 0, ResultCode::Ok),
        // The floor is the harder rule.
        (FLOOR - 1, 0x9999, ResultCode::OldSecurityVersion),
    ] {
        let package = Package { security_version, bcd_device, ..package() };
        assert_eq!(verdict(RAW, FORWARD, &package.bytes()), result, "{security_version} {bcd_device:x}");
    }
}

#[test]
fn a_package_of_another_length_is_refused() {
    let file = package().bytes();
    let length = file.len() as u32;
    for door in DOORS {
        let verdict = |length| verdict(door, Wishes { length: Some(length), ..NONE }, &file);
        assert_eq!(verdict(length), ResultCode::Ok, "{door:?}");
        for other in [length - 1, length + 1, length + 512, 0, u32::MAX] {
            assert_eq!(verdict(other), ResultCode::UnexpectedPackage, "{door:?}: {other}");
        }
    }
}

#[test]
fn a_package_with_another_head_is_refused() {
    let file = package().bytes();
    // The same in all that shows.
    let mut twin = package();
    twin.image[0] ^= 1;
    let twin = twin.bytes();
    assert_eq!((file.len(), &file[..512]), (twin.len(), &twin[..512]));
    for door in DOORS {
        let wishes = Wishes { head: Some(head(&file)), ..NONE };
        assert_eq!(verdict(door, wishes, &file), ResultCode::Ok, "{door:?}");
        assert_eq!(verdict(door, wishes, &twin), ResultCode::UnexpectedPackage, "{door:?}");
        let mut last = head(&file);
        last[31] ^= 1;
        let wishes = Wishes { head: Some(last), ..NONE };
        assert_eq!(verdict(door, wishes, &file), ResultCode::UnexpectedPackage, "{door:?}");
    }
}

#[test]
fn all_wishes_together() {
    let (file, old) = (package().bytes(), older().bytes());
    for door in DOORS {
        assert_eq!(verdict(door, of(&file), &file), ResultCode::Ok, "{door:?}");
        assert_eq!(verdict(door, of(&old), &old), ResultCode::Downgrade, "{door:?}");
        let other = Wishes { length: Some(1024), ..of(&file) };
        assert_eq!(verdict(door, other, &file), ResultCode::UnexpectedPackage, "{door:?}");
        let other = Wishes { head: Some([0; 32]), ..of(&old) };
        assert_eq!(verdict(door, other, &old), ResultCode::UnexpectedPackage, "{door:?}");
    }
}

/// Of a head that was not announced nothing is read, and of one that was everything.
#[test]
fn an_announced_head_is_judged_as_any_other() {
    let mut file = package().bytes();
    file[512 + 8] = 9;
    let bench = Bench::with(ARMED);
    for (announced, result) in [([0; 32], ResultCode::UnexpectedPackage), (head(&file), ResultCode::BadHead)]
    {
        start(&bench, Start::Dfu, Wishes { head: Some(announced), ..NONE });
        assert_eq!(bring(&bench, Start::Dfu, &file), result);
    }
}

#[test]
fn wishes_are_of_one_start() {
    for door in DOORS {
        let bench = Bench::with(ARMED);
        let other = Wishes { head: Some([0; 32]), ..FORWARD };
        start(&bench, door, other);
        assert_eq!(bring(&bench, door, &older().bytes()), ResultCode::UnexpectedPackage, "{door:?}");
        // One of which nothing came.
        let nonce = start(&bench, door, other);
        assert_eq!(ask(&bench, &Command::Stop { tag: 0, nonce, commit: false }).code, Code::OK);
        start(&bench, door, NONE);
        assert_eq!(bring(&bench, door, &older().bytes()), ResultCode::Ok, "{door:?}");
        // Nor does what the BMC's own side opens know of them.
        start(&bench, door, other);
        assert_eq!(ask(&bench, &Command::Abort { tag: 0 }).code, Code::OK);
        let armed: &[Door] = match door {
            Start::Dfu => &[Door::Dfu],
            Start::Bulk => &[Door::Dfu, Door::Bulk],
            Start::Volume(_) => &[Door::Volume],
        };
        for door in armed {
            assert_eq!(bench.ask(Ask::Arm(*door)), Answer::Done);
        }
        let by = if door == FAT { RAW } else { door };
        assert_eq!(bring(&bench, by, &older().bytes()), ResultCode::Ok, "{door:?}");
    }
}

#[test]
fn wishes_are_of_all_that_comes_before_dfu_mode_is_left() {
    let (file, old) = (package().bytes(), older().bytes());
    let head_of = |file: &[u8]| Wishes { head: Some(head(file)), ..NONE };
    for door in [Start::Dfu, Start::Bulk] {
        let bench = Bench::with(AT_ONCE);
        start(&bench, door, head_of(&file));
        for (file, result) in [
            (&old, ResultCode::UnexpectedPackage),
            (&file, ResultCode::Ok),
            (&old, ResultCode::UnexpectedPackage),
        ] {
            assert_eq!(put(&bench, door, file), result, "{door:?}");
            assert_eq!(status(&bench).flags & 0x80, 0x80, "the start is in force");
        }
        leave(&bench);
        assert_eq!(status(&bench).flags & 0x80, 0, "the start is over");

        start(&bench, door, Wishes { defer_activation: true, ..FORWARD });
        assert_eq!(put(&bench, door, &file), ResultCode::Ok, "{door:?}");
        assert_eq!(put(&bench, door, &old), ResultCode::Downgrade, "{door:?}");
        assert_eq!(put(&bench, door, &file), ResultCode::Ok, "{door:?}");
        leave(&bench);
        bench.bus.advance(Duration::from_secs(70));
        bench.assert_session(SessionState::Staged, ResultCode::Ok);
        bench.assert_factory_runs();
    }
}

/// With its start go its options; so nothing else comes by the door that it has left open.
#[test]
fn a_stop_while_a_download_is_judged_lets_in_no_other() {
    let file = package().bytes();
    for act in [
        (|nonce| Command::Stop { tag: 0, nonce, commit: false }) as fn(u32) -> Command,
        |nonce| Command::Stop { tag: 0, nonce, commit: true },
        |_| Command::Abort { tag: 0 },
    ] {
        let bench = Bench::with(ARMED);
        let nonce = start(&bench, Start::Dfu, Wishes { length: Some(file.len() as u32), ..NONE });
        let mut host = bench.enter_dfu();
        bench.hold(Hold::Finish);
        for (number, data) in (0..).zip(file.chunks(4096)) {
            dnload(&mut host, number, data).unwrap();
            while get_status(&mut host).unwrap().0 != State::DfuDnloadIdle && status(&bench).state == 1 {
                bench.bus.advance(Duration::from_millis(10));
            }
        }
        bench.assert_session(SessionState::Verifying, ResultCode::None);
        let code = ask(&bench, &act(nonce)).code;
        assert!(matches!(code, Code::OK | Code::NOTHING), "{code:?}");
        assert_eq!(status(&bench).flags & 0x80, 0, "the start is over");
        bench.hold(Hold::Nothing);
        bench.bus.advance(Duration::from_secs(50));
        assert_eq!(get_status(&mut host), Ok((State::DfuDnloadIdle, Status::Ok)), "the host is told");
        command(&mut host, Request::Abort).unwrap();
        assert!(dnload(&mut host, 0, &older().bytes()[..4096]).is_err());
        bench.bus.advance(Duration::from_secs(11));
        assert!(!bench.in_dfu_mode());
        assert_eq!(bench.status().door_state(Door::Dfu), DoorState::Shut);
        bench.assert_session(SessionState::Staged, ResultCode::Ok);
    }
}

#[test]
fn wishes_are_of_one_door() {
    let always = Setting { volume: DoorPolicy::Always, policy: DoorPolicy::Always, ..ARMED };
    let other = Wishes { head: Some([0; 32]), ..FORWARD };
    for (started, by) in [(Start::Dfu, RAW), (Start::Bulk, RAW), (RAW, Start::Dfu)] {
        let bench = Bench::with(always);
        start(&bench, started, other);
        assert_eq!(bring(&bench, by, &older().bytes()), ResultCode::Ok, "{started:?}");
        assert_eq!(status(&bench).flags & 0x80, 0x80, "the start is in force");
        assert_eq!(bring(&bench, started, &older().bytes()), ResultCode::UnexpectedPackage, "{started:?}");
    }
    // `dfu` and `bulk` are one.
    for (started, by) in [(Start::Dfu, Start::Bulk), (Start::Bulk, Start::Dfu)] {
        let bench = Bench::with(Setting { bulk: DoorPolicy::Always, ..always });
        start(&bench, started, other);
        assert_eq!(bring(&bench, by, &older().bytes()), ResultCode::UnexpectedPackage, "{started:?}");
    }
}

#[test]
fn a_repeat_is_the_same_start_and_other_wishes_are_another() {
    let bench = Bench::with(ARMED);
    let file = package().bytes();
    let nonce = try_start(&bench, 7, RAW, of(&file)).unwrap();
    assert_eq!(try_start(&bench, 7, RAW, of(&file)), Ok(nonce));
    for wishes in [NONE, FORWARD, Wishes { length: None, ..of(&file) }, Wishes { head: None, ..of(&file) }] {
        assert_eq!(try_start(&bench, 7, RAW, wishes), Err(Code::BUSY));
    }
    assert_eq!(bring(&bench, RAW, &older().bytes()), ResultCode::UnexpectedPackage);
    // The start is over: a repeat begins another one, with the same wishes.
    assert_ne!(try_start(&bench, 7, RAW, of(&file)).unwrap(), nonce);
    assert_eq!(bring(&bench, RAW, &file), ResultCode::Ok);
}

#[test]
fn a_host_that_was_gone_finds_its_wishes_and_a_daemon_that_died_does_not() {
    let bench = Bench::with(ARMED);
    start(&bench, RAW, FORWARD);
    let mut disk = disk(&bench);
    disk.copy(&older().bytes());
    drop(disk);
    bench.bus.unplug();
    bench.bus.advance(Duration::from_secs(61));
    bench.bus.plug();
    bench.assert_session(SessionState::Failed, ResultCode::Disconnected);
    assert_eq!(bring(&bench, RAW, &older().bytes()), ResultCode::Downgrade);

    start(&bench, Start::Dfu, Wishes { head: Some(head(&older().bytes())), ..FORWARD });
    let mut dfu = bench.enter_dfu();
    block(&mut dfu, 0, &older().bytes()[..1024]).unwrap();
    drop(dfu);
    let bench = Bench::daemon(ARMED, bench.kill());
    bench.assert_session(SessionState::Interrupted, ResultCode::Interrupted);
    assert_eq!(bench.status().door_state(Door::Dfu), DoorState::Shut, "and the start is over");
    start(&bench, Start::Dfu, NONE);
    assert_eq!(bring(&bench, Start::Dfu, &older().bytes()), ResultCode::Ok);
}

const AT_ONCE: Setting = Setting { activate: true, ..ARMED };

#[test]
fn what_is_deferred_waits_until_somebody_asks() {
    for door in DOORS {
        let bench = Bench::with(AT_ONCE);
        start(&bench, door, DEFERRED);
        assert_eq!(bring(&bench, door, &package().bytes()), ResultCode::Ok, "{door:?}");
        bench.bus.advance(Duration::from_secs(15 * 60));
        bench.assert_session(SessionState::Staged, ResultCode::Ok);
        // Nor does the host bring it about by what it does otherwise.
        assert_eq!(bench.ask(Ask::Arm(Door::Dfu)), Answer::Done);
        drop(bench.enter_dfu());
        bench.leave_dfu();
        bench.bus.advance(Duration::from_secs(70));
        bench.assert_session(SessionState::Staged, ResultCode::Ok);
        if door == Start::Dfu {
            assert_eq!(bench.ask(Ask::Activate), Answer::Done);
        } else {
            assert_eq!(ask(&bench, &Command::Activate { tag: 0 }).code, Code::OK);
        }
        bench.wait_attached();
        assert_eq!(bench.status().running, Slot::B, "{door:?}");
    }
}

#[test]
fn what_is_not_deferred_runs_at_once_whatever_the_session_before_wanted() {
    for door in DOORS {
        let bench = Bench::with(AT_ONCE);
        start(&bench, RAW, DEFERRED);
        assert_eq!(bring(&bench, RAW, &Package::new(0x0300, 20_000).bytes()), ResultCode::Ok);
        start(&bench, door, NONE);
        assert_eq!(bring(&bench, door, &package().bytes()), ResultCode::Ok, "{door:?}");
        bench.bus.advance(Duration::from_secs(3));
        assert_eq!(bench.status().running, Slot::B, "{door:?}");
        assert!(bench.medium().slot(Slot::B) == package().slot(SLOT));
    }
}

/// The disk's verdict has a minute before the restart; what a session stages by then that is deferred is not restarted into.
#[test]
fn a_restart_that_is_near_is_not_into_what_is_deferred() {
    let bench = Bench::with(Setting { volume: DoorPolicy::Always, ..AT_ONCE });
    let mut disk = disk(&bench);
    disk.copy(&Package::new(0x0300, 20_000).bytes());
    disk.eject().unwrap();
    bench.bus.advance(Duration::from_secs(3));
    bench.assert_session(SessionState::Staged, ResultCode::Ok);
    drop(disk);
    start(&bench, Start::Dfu, DEFERRED);
    assert_eq!(bring(&bench, Start::Dfu, &package().bytes()), ResultCode::Ok);
    bench.bus.advance(Duration::from_secs(10 * 60));
    bench.assert_session(SessionState::Staged, ResultCode::Ok);
    bench.assert_factory_runs();
}

/// What a verdict was about runs by then: the time that it has left is not that of the next session.
#[test]
fn a_verdict_from_before_brings_no_other_restart() {
    let always = Setting { policy: DoorPolicy::Always, volume: DoorPolicy::Always, ..AT_ONCE };
    for restarted in [true, false] {
        let bench = Bench::with(always);
        let mut disk = disk(&bench);
        disk.copy(&Package::new(0x0300, 20_000).bytes());
        disk.eject().unwrap();
        drop(disk);
        bench.bus.advance(Duration::from_secs(3));
        if restarted {
            assert_eq!(bench.ask(Ask::Activate), Answer::Done);
        }
        // A minute is over 2 s behind the last byte of the next download, whose host has 5 s.
        bench.bus.advance(Duration::from_secs(57));
        assert_eq!(put(&bench, Start::Dfu, &package().bytes()), ResultCode::Ok);
        bench.bus.advance(Duration::from_secs(3));
        assert!(bench.in_dfu_mode(), "{restarted}");
        bench.assert_session(SessionState::Staged, ResultCode::Ok);
    }
}

/// A daemon that died knows of no session that is to be restarted into, so nothing that a host does later has it restart.
#[test]
fn a_daemon_that_died_restarts_into_nothing_by_itself() {
    let always = Setting { policy: DoorPolicy::Always, ..AT_ONCE };
    let bench = Bench::with(always);
    start(&bench, Start::Dfu, DEFERRED);
    assert_eq!(bring(&bench, Start::Dfu, &package().bytes()), ResultCode::Ok);
    let bench = Bench::daemon(always, bench.kill());
    bench.assert_session(SessionState::Staged, ResultCode::Ok);
    drop(bench.enter_dfu());
    bench.leave_dfu();
    bench.bus.advance(Duration::from_secs(70));
    bench.assert_session(SessionState::Staged, ResultCode::Ok);
    bench.assert_factory_runs();
}
