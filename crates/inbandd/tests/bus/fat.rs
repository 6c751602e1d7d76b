//! The volume door, profile `fat`: a package copied as a file, and what the volume says then.

use std::time::Duration;

use inband_session::{Door, DoorPolicy, DoorState, ResultCode, SessionState};
use inband_store::{Slot, memory::Loss};
use inband_virtual::memory::MemoryHost;
use inband_volume::{bot::host::Data, testing::FatHost};
use inbandd::command::{Answer, Ask};

use crate::{
    bench::{Bench, GEOMETRY, Hold, MAX_PACKAGE, SLOT, Setting},
    disk_host::{CHANGED, Disk, NO_MEDIUM, NO_SPACE, WRITE_PROTECTED},
    drive::{self, GAP, disk, wait_medium},
    package::Package,
    refused::{Bad, bad_packages},
};

const FAT: Setting = Setting { volume: DoorPolicy::Always, fat: true, ..Setting::DEFAULT };
/// The first entry of the root directory that is free, and clusters that are.
pub(crate) const FREE: u32 = 4;
pub(crate) const FIRMWARE: &[u8; 11] = b"FIRMWAREBIN";
pub(crate) const APPLY: &[u8; 11] = b"APPLY   CMD";
pub(crate) const CANCEL: &[u8; 11] = b"CANCEL  CMD";

fn package() -> Package {
    Package::new(0x0215, 150_000)
}

fn host() -> FatHost {
    FatHost::new(MAX_PACKAGE as u32).unwrap()
}

/// Clusters for so many bytes, from that one on.
fn clusters(first: u16, bytes: usize) -> Vec<u16> {
    let count = bytes.div_ceil(GEOMETRY.cluster_blocks() as usize * 512) as u16;
    (first..first + count).collect()
}

/// A volume with a file on it, from cluster 20 on.
pub(crate) fn with_file(name: &[u8; 11], bytes: &[u8]) -> FatHost {
    let mut host = host();
    host.file(FREE, name, &clusters(20, bytes.len()), bytes);
    host
}

fn with_package() -> FatHost {
    with_file(FIRMWARE, &package().bytes())
}

/// A file of the BMC's, read as the filesystem has it.
#[track_caller]
fn file(disk: &mut Disk<MemoryHost>, name: &[u8; 11]) -> Option<String> {
    let root = disk.read(GEOMETRY.root(), 1).unwrap();
    let entry = root.chunks(32).find(|entry| entry[..11] == *name)?;
    let cluster = u16::from_le_bytes([entry[26], entry[27]]);
    let size = u32::from_le_bytes(entry[28..32].try_into().unwrap()) as usize;
    let lba = GEOMETRY.data() + (u32::from(cluster) - 2) * GEOMETRY.cluster_blocks();
    let mut bytes = disk.read(lba, size.div_ceil(512) as u16).unwrap();
    bytes.truncate(size);
    Some(String::from_utf8(bytes).unwrap())
}

/// The one marker that there is, and its lines.
#[track_caller]
fn marker(disk: &mut Disk<MemoryHost>) -> (&'static str, Vec<String>) {
    let names: [(&'static str, &[u8; 11]); 4] = [
        ("READY", b"READY   TXT"),
        ("BUSY", b"BUSY    TXT"),
        ("PASS", b"PASS    TXT"),
        ("FAIL", b"FAIL    TXT"),
    ];
    let mut found: Vec<_> =
        names.into_iter().filter_map(|(word, name)| Some((word, file(disk, name)?))).collect();
    let (word, text) = found.pop().expect("a marker");
    assert!(found.is_empty(), "one marker only");
    assert_eq!(file(disk, b"STATUS  TXT").as_ref(), Some(&text), "STATUS.TXT says the same");
    (word, text.lines().map(Into::into).collect())
}

fn value<'a>(lines: &'a [String], key: &str) -> Option<&'a str> {
    lines.iter().find_map(|line| line.strip_prefix(key)?.strip_prefix('='))
}

/// Ejects, and reads what comes then.
#[track_caller]
fn eject(bench: &Bench, disk: &mut Disk<MemoryHost>) -> (&'static str, Vec<String>) {
    drive::eject(bench, disk);
    marker(disk)
}

#[track_caller]
fn assert_passed(bench: &Bench, (word, lines): &(&str, Vec<String>)) {
    assert_eq!((*word, value(lines, "STATE")), ("PASS", Some("PASS")), "{lines:?}");
    assert_eq!((value(lines, "RESULT"), value(lines, "CODE")), (Some("ok"), Some("1")));
    assert!(bench.medium().slot(Slot::B) == package().slot(SLOT));
}

#[track_caller]
fn assert_failed((word, lines): &(&str, Vec<String>), code: ResultCode, detail: Option<&str>) {
    assert_eq!((*word, value(lines, "STATE")), ("FAIL", Some("FAIL")), "{lines:?}");
    assert_eq!(value(lines, "RESULT"), Some(code.to_string()).as_deref());
    assert_eq!(value(lines, "CODE"), Some(code.code().to_string()).as_deref());
    assert_eq!(value(lines, "DETAIL"), detail, "{lines:?}");
}

#[test]
fn a_package_by_plain_copy_and_eject() {
    let bench = Bench::with(FAT);
    let mut disk = disk(&bench);
    assert!(!disk.write_protected());
    let inquiry = disk.command(&[0x12, 0, 0, 0, 36, 0], Data::In(36)).unwrap();
    assert_eq!(&inquiry[8..32], b"INBAND  FIRMWARE FAT    ");
    let ready = [
        "SPEC=INBAND-FAT-1",
        "STATE=READY",
        "MACHINE=test-board",
        "RUNNING=factory",
        "GENERATION=00000001",
        "MAX_SIZE=196608",
        "NEXT=copy the package to FIRMWARE.BIN, unmount, then eject or create APPLY.CMD",
    ];
    assert_eq!(marker(&mut disk), ("READY", ready.map(String::from).to_vec()));
    let readme = file(&mut disk, b"README  TXT").unwrap();
    assert!(
        readme.contains("FIRMWARE.BIN\r\n") && readme.lines().all(|line| line.is_ascii() && line.len() < 80)
    );
    disk.put(&with_package());
    let status = bench.status();
    assert_eq!((status.state, status.door), (SessionState::Receiving, Some(Door::Volume)));
    assert!(u64::from(status.received) >= package().bytes().len() as u64);
    let verdict = eject(&bench, &mut disk);
    assert_passed(&bench, &verdict);
    assert!(disk.write_protected());
    assert_eq!(disk.write(GEOMETRY.root(), &[0; 512]), Err(WRITE_PROTECTED));
    let head: String = bench.status().head.iter().map(|byte| format!("{byte:02x}")).collect();
    let pass = [
        "SPEC=INBAND-FAT-1",
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
    assert_eq!(verdict.1, pass.map(String::from));
    assert_eq!(bench.last_log().result(), Some(ResultCode::Ok));
    // What is ejected then makes room for the next.
    assert_eq!(eject(&bench, &mut disk).0, "READY");
    drop(disk);
    let bench = bench.power_cycle(Loss::All);
    assert_eq!(bench.status().running, Slot::B);
}

#[test]
fn what_is_refused_is_told_and_the_next_is_taken() {
    for Bad { name, file, result, .. } in bad_packages() {
        let bench = Bench::with(FAT);
        let mut disk = disk(&bench);
        disk.put(&with_file(FIRMWARE, &file));
        let verdict = eject(&bench, &mut disk);
        let result = if name == "cut in the head" { ResultCode::Truncated } else { result };
        assert_failed(&verdict, result, None);
        bench.assert_session(SessionState::Failed, result);
        bench.assert_factory_runs();
        assert_eq!(eject(&bench, &mut disk).0, "READY");
        disk.put(&with_package());
        assert_passed(&bench, &eject(&bench, &mut disk));
    }
}

/// What a host has made of the volume, the result, and the word for it.
fn bad_volumes() -> Vec<(&'static str, FatHost, ResultCode, Option<&'static str>)> {
    let bytes = package().bytes();
    let chain = clusters(20, bytes.len());
    let mut all = Vec::new();
    let mut add = |name, result, detail, change: &dyn Fn(&mut FatHost)| {
        let mut host = host();
        change(&mut host);
        all.push((name, host, result, detail));
    };
    add("no sync", ResultCode::Incomplete, Some("blocks"), &|host| {
        host.chain(&chain);
        host.entry(FREE, FIRMWARE, 0x20, 20, bytes.len() as u32);
    });
    add("no FAT", ResultCode::Incomplete, Some("chain"), &|host| {
        host.fill(&chain, &bytes);
        host.entry(FREE, FIRMWARE, 0x20, 20, bytes.len() as u32);
    });
    add("one FAT", ResultCode::Incomplete, Some("copies"), &|host| {
        host.file(FREE, FIRMWARE, &chain, &bytes);
        host.link_in(1, chain[3], 0);
    });
    add("empty", ResultCode::Incomplete, Some("empty"), &|host| {
        host.entry(FREE, FIRMWARE, 0x20, 0, 0);
    });
    add("two", ResultCode::BadVolume, Some("duplicate"), &|host| {
        host.file(FREE, FIRMWARE, &chain, &bytes);
        host.entry(FREE + 200, b"firmwarebin", 0x20, 20, bytes.len() as u32);
    });
    add("a circle", ResultCode::BadVolume, Some("corrupt"), &|host| {
        host.file(FREE, FIRMWARE, &chain, &bytes);
        host.link(*chain.last().unwrap(), 20);
    });
    add("formatted", ResultCode::BadVolume, Some("reformatted"), &|host| {
        host.file(FREE, FIRMWARE, &chain, &bytes);
        host.change(0, 13, &[1]);
    });
    add("too large", ResultCode::TooLarge, None, &|host| {
        host.file(FREE, FIRMWARE, &chain, &bytes);
        host.entry(FREE, FIRMWARE, 0x20, 20, MAX_PACKAGE as u32 + 1);
    });
    add("a folder", ResultCode::NoFile, None, &|host| {
        host.entry(FREE, FIRMWARE, 0x10, 20, 0);
    });
    all
}

#[test]
fn a_volume_without_a_whole_file_flashes_nothing() {
    for (name, host, result, detail) in bad_volumes() {
        let bench = Bench::with(FAT);
        let mut disk = disk(&bench);
        disk.put(&host);
        let verdict = eject(&bench, &mut disk);
        assert_failed(&verdict, result, detail);
        bench.assert_session(SessionState::Failed, result);
        assert_eq!(bench.last_log().result(), Some(result), "{name}");
        bench.assert_factory_runs();
        assert_eq!(eject(&bench, &mut disk).0, "READY");
        disk.put(&with_package());
        assert_passed(&bench, &eject(&bench, &mut disk));
    }
}

#[test]
fn a_name_does_for_who_cannot_eject() {
    let bench = Bench::with(FAT);
    let mut disk = disk(&bench);
    let mut host = with_package();
    host.entry(FREE + 1, APPLY, 0x20, 0, 0);
    disk.put(&host);
    bench.bus.advance(Duration::from_millis(1900));
    assert_eq!(disk.ready(), Ok(()), "what belongs to the name may still come");
    bench.bus.advance(Duration::from_millis(200));
    assert_eq!(disk.ready(), Err(NO_MEDIUM));
    wait_medium(&bench, &mut disk);
    assert_passed(&bench, &marker(&mut disk));
}

#[test]
fn a_host_that_never_rests_is_cut_after_a_minute() {
    let bench = Bench::with(FAT);
    let mut disk = disk(&bench);
    let mut host = with_package();
    host.entry(FREE + 1, APPLY, 0x20, 0, 0);
    disk.put(&host);
    let start = bench.bus.now();
    while disk.write(GEOMETRY.data() + 8000, &[1; 512]).is_ok() {
        bench.bus.advance(Duration::from_secs(1));
        assert!(bench.bus.now() - start < Duration::from_secs(62));
    }
    assert!(bench.bus.now() - start > Duration::from_secs(58));
    wait_medium(&bench, &mut disk);
    assert_passed(&bench, &marker(&mut disk));
}

#[test]
fn a_removal_that_was_forbidden_is_no_obstacle_to_a_name() {
    let bench = Bench::with(FAT);
    let mut disk = disk(&bench);
    disk.command(&[0x1e, 0, 0, 0, 1, 0], Data::None).unwrap();
    let mut host = with_package();
    disk.put(&host);
    assert_eq!(disk.eject(), Err((0x05, 0x53, 0x02)));
    host.entry(FREE + 1, APPLY, 0x20, 0, 0);
    disk.put(&host);
    bench.bus.advance(Duration::from_secs(3));
    wait_medium(&bench, &mut disk);
    assert_passed(&bench, &marker(&mut disk));
    assert_eq!(eject(&bench, &mut disk).0, "READY", "it is allowed again");
}

#[test]
fn without_a_package_a_name_is_answered_and_an_eject_is_not() {
    let bench = Bench::with(FAT);
    let mut disk = disk(&bench);
    // What mounting does, and other files.
    let mut host = with_file(b"OTHER   TXT", b"nothing");
    host.change(0, 37, &[1]);
    disk.put(&host);
    assert_eq!(eject(&bench, &mut disk).0, "READY");
    assert_eq!(bench.status().session, 0);
    host.entry(FREE + 1, APPLY, 0x20, 0, 0);
    disk.put(&host);
    bench.bus.advance(Duration::from_secs(3));
    wait_medium(&bench, &mut disk);
    assert_failed(&marker(&mut disk), ResultCode::NoFile, None);
    bench.assert_session(SessionState::Failed, ResultCode::NoFile);
}

#[test]
fn cancel_forgets_with_a_session_and_without() {
    let bench = Bench::with(FAT);
    let mut disk = disk(&bench);
    let mut host = host();
    host.entry(FREE + 1, CANCEL, 0x20, 0, 0);
    disk.put(&host);
    bench.bus.advance(Duration::from_secs(3));
    wait_medium(&bench, &mut disk);
    assert_eq!((marker(&mut disk).0, bench.status().session), ("READY", 0));
    // It goes before the other name.
    let mut host = with_package();
    host.entry(FREE + 1, APPLY, 0x20, 0, 0);
    host.entry(FREE + 2, CANCEL, 0x20, 0, 0);
    disk.put(&host);
    bench.bus.advance(Duration::from_secs(3));
    wait_medium(&bench, &mut disk);
    assert_failed(&marker(&mut disk), ResultCode::Aborted, None);
    bench.assert_session(SessionState::Aborted, ResultCode::Aborted);
    bench.assert_factory_runs();
}

/// Thousands of pages: a host would wait for its answer.
#[test]
fn what_nobody_wants_is_dropped_by_the_worker() {
    let cut = {
        let mut host = with_package();
        host.link(30, 0);
        host
    };
    let cancelled = {
        let mut host = with_package();
        host.entry(FREE + 1, CANCEL, 0x20, 0, 0);
        host
    };
    type End = fn(&Bench, &mut Disk<MemoryHost>);
    let ends: [(FatHost, End); 4] = [
        (with_file(b"OTHER   TXT", b"nothing"), |_, disk| disk.eject().unwrap()),
        (cut, |_, disk| disk.eject().unwrap()),
        (cancelled, |bench, _| bench.bus.advance(Duration::from_secs(3))),
        (with_package(), |bench, _| assert_eq!(bench.ask(Ask::Abort), Answer::Done)),
    ];
    for (number, (host, end)) in ends.into_iter().enumerate() {
        let bench = Bench::with(FAT);
        let mut disk = disk(&bench);
        bench.hold(Hold::Everything);
        disk.put(&host);
        assert_eq!(bench.to_be_dropped(), 0);
        end(&bench, &mut disk);
        assert_eq!((disk.ready(), bench.to_be_dropped()), (Err(NO_MEDIUM), 1), "{number}");
    }
}

#[test]
fn the_bmc_can_say_that_the_copy_is_done() {
    let bench = Bench::with(FAT);
    let mut disk = disk(&bench);
    assert_eq!(bench.ask(Ask::Commit), Answer::NotNow);
    disk.command(&[0x1e, 0, 0, 0, 1, 0], Data::None).unwrap();
    disk.put(&with_package());
    bench.hold(Hold::Everything);
    assert_eq!(bench.ask(Ask::Commit), Answer::Done);
    assert_eq!(disk.ready(), Err(NO_MEDIUM));
    assert_eq!(bench.ask(Ask::Commit), Answer::Busy);
    bench.hold(Hold::Nothing);
    wait_medium(&bench, &mut disk);
    assert_passed(&bench, &marker(&mut disk));
    assert_eq!(bench.ask(Ask::Commit), Answer::NotNow, "a verdict stays");
    assert_eq!(eject(&bench, &mut disk).0, "READY");
}

#[test]
fn until_the_name_is_there_the_other_doors_are_free() {
    let bench = Bench::with(FAT);
    let mut disk = disk(&bench);
    disk.put(&with_file(b"TEMP    TMP", &package().bytes()));
    bench.bus.advance(Duration::from_secs(3600));
    assert_eq!((bench.status().session, bench.status().state), (0, SessionState::Idle));
    // Renamed: it is as if it had been copied now.
    let mut host = host();
    host.entry(FREE, FIRMWARE, 0x20, 20, package().bytes().len() as u32);
    host.chain(&clusters(20, package().bytes().len()));
    disk.put(&host);
    let status = bench.status();
    assert_eq!((status.session, status.state), (1, SessionState::Receiving));
    assert!(u64::from(status.received) >= package().bytes().len() as u64);
    assert_passed(&bench, &eject(&bench, &mut disk));
}

#[test]
fn a_file_that_is_taken_away_again_is_none() {
    let bench = Bench::with(FAT);
    let mut disk = disk(&bench);
    let mut host = with_package();
    disk.put(&host);
    host.entry(FREE, b"\xe5IRMWAREBIN", 0x20, 20, 5);
    disk.put(&host);
    assert_failed(&eject(&bench, &mut disk), ResultCode::NoFile, None);
}

#[test]
fn a_volume_that_nothing_may_be_written_to_says_so_before() {
    let bench = Bench::with(Setting { refusals: 1, ..FAT });
    let mut disk = disk(&bench);
    let mut bytes = package().bytes();
    bytes[1536 + 5] ^= 1;
    disk.put(&with_file(FIRMWARE, &bytes));
    assert_failed(&eject(&bench, &mut disk), ResultCode::BadSignature, None);
    let (word, lines) = eject(&bench, &mut disk);
    assert_eq!(
        (word, value(&lines, "STATE"), value(&lines, "RESULT")),
        ("BUSY", Some("REFUSED"), Some("locked-out"))
    );
    assert_eq!(value(&lines, "MAX_SIZE"), None);
    assert!(disk.write_protected());
    assert_eq!(disk.write(GEOMETRY.data(), &[0; 512]), Err(WRITE_PROTECTED));
    bench.bus.advance(Duration::from_secs(11 * 60));
    assert_eq!(disk.ready(), Err(CHANGED), "another medium, when it may be");
    assert_eq!(marker(&mut disk).0, "READY");
}

#[test]
fn more_than_there_is_room_for_is_refused_and_the_session_goes_on() {
    let bench = Bench::with(FAT);
    let mut disk = disk(&bench);
    disk.put(&with_package());
    let mut lba = GEOMETRY.data() + 4096;
    let refused = loop {
        match disk.write(lba, &[1; 512 * 128]) {
            Ok(()) => lba += 128,
            Err(sense) => break sense,
        }
    };
    assert_eq!(refused, NO_SPACE);
    let room = u64::from(lba - GEOMETRY.data() - 4096) * 512;
    assert!((MAX_PACKAGE..=MAX_PACKAGE + (8 << 20)).contains(&room), "{room}");
    assert_passed(&bench, &eject(&bench, &mut disk));
}

#[test]
fn an_armed_door_is_shut_behind_what_was_told() {
    let bench = Bench::with(Setting { volume: DoorPolicy::Armed, ..FAT });
    bench.wait_attached();
    assert_eq!(bench.ask(Ask::Arm(Door::Volume)), Answer::Done);
    let mut disk = disk(&bench);
    disk.put(&with_package());
    assert_passed(&bench, &eject(&bench, &mut disk));
    disk.eject().unwrap();
    drop(disk);
    bench.bus.advance(GAP);
    bench.wait_attached();
    assert_eq!(bench.status().door_state(Door::Volume), DoorState::Shut);
}
