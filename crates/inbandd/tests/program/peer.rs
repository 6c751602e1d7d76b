//! The host in Python, tests/peers/bulk_client.py, which was written from the specification: it updates the daemon
//! by the bulk interface, and does to it what a host should not.

use std::{
    fs,
    io::{BufRead as _, BufReader, Cursor},
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use inband_package::{
    index::MemberKind,
    maker::{Input, PackOptions, Source, pack, sign},
};
use inband_store::Slot;
use serde_json::Value;

use crate::{
    home::{Home, Running, config_with},
    package::{IMAGE, MACHINE, Package, key, noise},
    remote::settled,
};

const RUN_TIME: u16 = 1;
/// Bytes of a slot here: some fifty chunks.
const LARGE: usize = 2 * 1024 * 1024;

/// A BMC, and a host in Python that has a directory for its packages.
struct Lab {
    home: Home,
    running: Running,
}

/// What the host said, one object a line, and its exit code.
#[derive(Debug)]
struct Told {
    exit: i32,
    events: Vec<Value>,
}

impl Lab {
    /// With slot a running firmware that no index is known of, and slot b empty.
    fn new(more: &str) -> Self {
        let home = Home::new();
        home.configure(&config_with(LARGE, more));
        let output = home.inbandd(&["init"]).output().unwrap();
        assert!(output.status.success(), "{output:?}");
        let running = home.start();
        Self { home, running }
    }

    fn file(&self, name: &str, content: &[u8]) -> PathBuf {
        let path = self.home.path(name);
        fs::write(&path, content).unwrap();
        path
    }

    /// The host with this file.
    fn command(&self, file: &Path, options: &[&str]) -> Command {
        let mut command = python("bulk_client.py");
        command.arg(self.running.address.to_string()).arg(file).args(options);
        command
    }

    /// Runs it to its end.
    fn host(&self, file: &Path, options: &[&str]) -> Told {
        let output = self.command(file, options).output().unwrap();
        let said = String::from_utf8(output.stdout).unwrap();
        println!("{options:?}: {}\n{said}{}", output.status, String::from_utf8_lossy(&output.stderr));
        let events = said.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        Told { exit: output.status.code().unwrap(), events }
    }

    /// Updates, and waits until the new firmware runs.
    fn install(&self, package: &Package) -> Told {
        let told = self.host(&self.file("installed.tar", &package.bytes()), &[]);
        assert_eq!(told.exit, 0);
        settled(self.running.address, RUN_TIME);
        told
    }

    fn slot(&self, slot: Slot) -> Vec<u8> {
        self.home.slot(slot)
    }
}

impl Told {
    fn all(&self, event: &str) -> impl Iterator<Item = &Value> {
        self.events.iter().filter(move |value| value["event"] == event)
    }

    /// The only event of this name.
    fn one(&self, event: &str) -> &Value {
        let mut all = self.all(event);
        let found = all.next().unwrap_or_else(|| panic!("no {event}: {self:?}"));
        assert_eq!(all.next(), None, "{self:?}");
        found
    }

    /// Of all rounds together: how many chunks were asked for, and how many bytes they have.
    fn asked(&self) -> (u64, u64) {
        let sum = |field: &str| self.all("need").map(|need| need[field].as_u64().unwrap()).sum();
        (sum("asked"), sum("bytes"))
    }

    /// Bytes that went out by the bulk endpoint.
    fn sent(&self) -> u64 {
        self.one("end")["sent"].as_u64().unwrap()
    }

    fn result(&self) -> &str {
        self.one("result")["name"].as_str().unwrap()
    }
}

fn python(program: &str) -> Command {
    let program = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/peers").join(program);
    let mut command = Command::new("python3");
    // No traces of it in the tree.
    command.arg("-B").arg(program);
    command
}

/// A package that fills the slot; versions are BCD, so only up to 9 in each digit.
fn package(number: u16) -> Package {
    let digits = format!("{number:04}");
    Package::new(u16::from_str_radix(&digits, 16).unwrap(), LARGE)
}

#[test]
fn the_peer_has_the_frozen_bytes() {
    let output = python("bulk_messages_test.py").output().unwrap();
    assert!(output.status.success(), "{output:?}");
}

#[test]
fn everything_is_sent_into_an_empty_slot() {
    let lab = Lab::new("");
    let package = package(1);
    let told = lab.host(&lab.file("one.tar", &package.bytes()), &[]);
    assert_eq!((told.exit, told.result()), (0, "ok"));
    let need = told.one("need");
    assert_eq!(need["asked"], need["chunks"]);
    assert_eq!(need["bytes"], LARGE);
    // dfuDNBUSY, status OK, 50 ms.
    assert_eq!(need["dfu"], serde_json::json!([4, 0, 50]));
    assert!(lab.slot(Slot::B) == package.slot(LARGE));
    let overhead = told.sent() - LARGE as u64;
    let chunks = need["chunks"].as_u64().unwrap();
    assert!(overhead < 16_384 + chunks * 532, "{overhead} bytes besides {chunks} chunks");
    let page = &told.one("end")["page0"];
    assert_eq!((&page["boots_next"], &page["announced"]), (&1.into(), &package.bytes().len().into()));
}

#[test]
fn of_a_small_change_only_what_has_changed_is_sent() {
    let lab = Lab::new("\n[activation]\nwhen = \"immediate\"\n");
    let mut old = package(1);
    old.image.truncate(LARGE - 4096);
    lab.install(&old);
    // Everything behind the change stands elsewhere in the running slot.
    let mut new = package(2);
    new.image = old.image.clone();
    new.image.splice(LARGE / 2..LARGE / 2, *b"a few bytes more");
    let told = lab.install(&new);
    let (chunks, bytes) = told.asked();
    assert!((1..=3).contains(&chunks) && bytes <= 3 * 131_072, "{chunks} chunks, {bytes} bytes");
    assert!(told.sent() < 3 * 131_072 + 16_384);
    assert!(lab.slot(Slot::A) == new.slot(LARGE));
    assert!(lab.slot(Slot::B) == old.slot(LARGE));
}

#[test]
fn of_what_runs_already_nothing_is_sent_but_the_offer() {
    let lab = Lab::new("\n[activation]\nwhen = \"immediate\"\n");
    let package = package(1);
    lab.install(&package);
    let told = lab.install(&package);
    assert_eq!(told.asked(), (0, 0));
    assert!(told.sent() < 16_384, "{}", told.sent());
    assert!(lab.slot(Slot::A) == package.slot(LARGE));
}

#[test]
fn of_what_stands_in_the_target_slot_nothing_is_sent_and_of_a_change_in_place_one_chunk() {
    let lab = Lab::new("");
    let package = package(1);
    let file = lab.file("one.tar", &package.bytes());
    assert_eq!(lab.host(&file, &[]).result(), "ok");
    let told = lab.host(&file, &[]);
    assert_eq!((told.result(), told.asked()), ("ok", (0, 0)));
    assert!(told.sent() < 16_384, "{}", told.sent());

    let mut changed = package;
    // The last byte, which decides no boundary.
    changed.image[LARGE - 1] ^= 1;
    let told = lab.host(&lab.file("two.tar", &changed.bytes()), &[]);
    assert_eq!((told.result(), told.asked().0), ("ok", 1));
    assert!(lab.slot(Slot::B) == changed.slot(LARGE));
}

#[test]
fn of_compressed_chunks_the_frames_are_sent_and_metadata_is_not() {
    let lab = Lab::new("");
    let text: String = (0..50_000).map(|line| format!("line {line}\n")).collect();
    let image = [text.into_bytes(), noise(300_000, 1)].concat();
    let input = |name: &str, kind, bytes: &[u8]| Input {
        name: name.into(),
        kind,
        target: 0,
        source: Source::Bytes(bytes.to_vec()),
    };
    let inputs = [
        input("MANIFEST", MemberKind::Metadata, &noise(100_000, 2)),
        input(IMAGE, MemberKind::Image, &image),
        input("MANIFEST.sig", MemberKind::Metadata, &noise(1_000, 3)),
    ];
    let options = PackOptions {
        machine: MACHINE.into(),
        compatible: Vec::new(),
        version: "compressed".into(),
        security_version: 0,
        bcd_device: 1,
        targets: vec!["bmc".into()],
        mtime: 0,
        compression: Some(3),
        signers: vec![key().public().unwrap().signature_entry()],
    };
    let mut file = Cursor::new(Vec::new());
    pack(&options, &inputs, &mut file).unwrap();
    sign(&mut file, &key()).unwrap();
    let file = lab.file("compressed.tar", &file.into_inner());

    let told = lab.host(&file, &[]);
    assert_eq!(told.result(), "ok");
    let need = told.one("need");
    assert_ne!(need["first"], serde_json::json!([0]), "metadata was asked for");
    let (_, bytes) = told.asked();
    assert!((300_000..450_000).contains(&bytes), "{bytes} of {}", image.len());
    let slot = lab.slot(Slot::B);
    let (written, rest) = slot.split_at(image.len());
    assert!(written == image && rest.iter().all(|byte| *byte == 0xff));
}

#[test]
fn what_has_begun_by_bulk_may_be_done_by_dfu() {
    let lab = Lab::new("");
    let package = package(1);
    let file = lab.file("one.tar", &package.bytes());
    assert_eq!(lab.host(&file, &["--stop", "20", "--by", "abort"]).result(), "aborted");
    assert_eq!(lab.host(&file, &["--door", "dfu"]).exit, 0);
    assert!(lab.slot(Slot::B) == package.slot(LARGE));
}

#[test]
fn after_an_end_in_the_middle_only_what_is_missing_is_sent() {
    const STOP: u64 = 45;
    for by in ["disconnect", "abort", "detach", "set-interface", "set-configuration"] {
        let lab = Lab::new("");
        let package = package(1);
        let file = lab.file("one.tar", &package.bytes());
        let cut = lab.host(&file, &["--stop", &STOP.to_string(), "--by", by]);
        assert_eq!(cut.exit, 14, "{by}");
        let told = lab.host(&file, &[]);
        assert_eq!(told.result(), "ok", "{by}");
        let (all, all_bytes) = cut.asked();
        let (rest, bytes) = told.asked();
        // What stood in a read that was not full is lost, 64 KiB at most, and the chunk that was cut by that.
        let taken = cut.one("end")["chunk_bytes"].as_u64().unwrap();
        assert!(rest >= all - STOP, "{by}: {rest} of {all}");
        assert!(bytes <= all_bytes - taken + 65_536 + 131_072, "{by}: {bytes} of {all_bytes}");
        assert!(told.sent() < bytes + 16_384 + rest * 532, "{by}");
        assert!(lab.slot(Slot::B) == package.slot(LARGE), "{by}");
    }
}

#[test]
fn a_host_that_breaks_the_protocol_is_refused_and_the_next_session_works() {
    let refused = [
        ("corrupt:5", "bad-chunk", 6),
        ("duplicate:5", "protocol", 11),
        ("reorder:5", "protocol", 11),
        ("oversized:5", "protocol", 11),
        ("undersized:5", "protocol", 11),
        ("huge:5", "protocol", 11),
        ("exchange:5", "protocol", 11),
        ("unasked:5", "protocol", 11),
        ("filling:5", "protocol", 11),
        ("offer:5", "protocol", 11),
        ("runt:5", "protocol", 11),
        ("short-offer", "truncated", 6),
        ("long-offer", "protocol", 11),
        ("version", "protocol", 11),
        ("reserved", "protocol", 11),
        ("number", "protocol", 11),
        ("padding", "protocol", 11),
        ("in-error", "sequence", 11),
        ("in-dfu", "busy", 9),
    ];
    let lab = Lab::new("");
    for (number, (fault, result, exit)) in (1..).zip(refused) {
        let package = package(number);
        let file = lab.file("one.tar", &package.bytes());
        let told = lab.host(&file, &["--fault", fault]);
        assert_eq!((told.result(), told.exit), (result, exit), "{fault}");
        let in_the_middle = fault.ends_with(":5");
        let told = lab.host(&file, &[]);
        assert_eq!(
            told.asked().1 < LARGE as u64,
            in_the_middle,
            "{fault}: what had come before it was sent again"
        );
        assert_eq!((told.result(), told.exit), ("ok", 0), "{fault}");
        assert!(lab.slot(Slot::B) == package.slot(LARGE), "{fault}");
    }
}

#[test]
fn what_changes_nothing_does_not_disturb_an_update() {
    let lab = Lab::new("");
    let harmless: [&[&str]; 6] = [
        &["--fault", "junk"],
        &["--fault", "first-runt"],
        &["--fault", "dnload:5"],
        &["--fault", "clear-halt:5"],
        &["--read-late"],
        &["--transfer", "512"],
    ];
    for (number, options) in (1..).zip(harmless) {
        let package = package(number);
        let told = lab.host(&lab.file("one.tar", &package.bytes()), options);
        assert_eq!((told.result(), told.exit), ("ok", 0), "{options:?}");
        assert!(told.all("dnload").all(|event| event["stalled"] == true));
        assert!(lab.slot(Slot::B) == package.slot(LARGE), "{options:?}");
    }
}

#[test]
fn an_index_and_the_data_of_another_package_are_refused_at_the_first_chunk_that_differs() {
    let lab = Lab::new("");
    let old = package(1);
    let mut new = package(2);
    new.image = old.image.clone();
    new.image[LARGE - 1] ^= 1;
    let (old, new) = (lab.file("old.tar", &old.bytes()), lab.file("new.tar", &new.bytes()));
    for (index, data) in [(&old, &new), (&new, &old)] {
        let told = lab.host(index, &["--data", data.to_str().unwrap()]);
        assert_eq!((told.result(), told.exit), ("bad-chunk", 6));
    }
    assert_eq!(lab.host(&new, &[]).result(), "ok");
}

#[test]
fn a_file_comes_whole() {
    let lab = Lab::new("");
    let package = package(1);
    let told = lab.host(&lab.file("one.tar", &package.bytes()), &["--whole"]);
    assert_eq!((told.result(), told.exit), ("ok", 0));
    assert_eq!(told.asked(), ((package.bytes().len() as u64).div_ceil(65_536), package.bytes().len() as u64));
    assert!(lab.slot(Slot::B) == package.slot(LARGE));

    let no_package = lab.file("noise", &noise(200_000, 1));
    assert_eq!(lab.host(&no_package, &["--whole"]).result(), "bad-head");
    let cut = lab.file("cut.tar", &package.bytes()[..LARGE / 2]);
    assert_eq!(lab.host(&cut, &["--whole"]).result(), "truncated");
    let longer = lab.file("longer.tar", &[package.bytes(), vec![1; 512]].concat());
    assert_eq!(lab.host(&longer, &["--whole"]).result(), "trailing-bytes");
}

#[test]
fn while_one_host_is_silent_another_is_not_let_in_and_a_killed_daemon_leaves_nothing_in_the_way() {
    let mut lab = Lab::new("");
    let package = package(1);
    let file = lab.file("one.tar", &package.bytes());
    let mut silent =
        lab.command(&file, &["--stop", "10", "--by", "silence"]).stdout(Stdio::piped()).spawn().unwrap();
    let said = BufReader::new(silent.stdout.take().unwrap());
    let mut lines = said.lines().map(|line| line.unwrap());
    assert!(lines.any(|line| line.contains("\"silent\"")));
    // Another program holds the device.
    assert_eq!(lab.host(&file, &["--wait", "0"]).exit, 12);

    lab.running.child.kill().unwrap();
    // The device was lost.
    assert_eq!(silent.wait().unwrap().code(), Some(10));
    lab.running = lab.home.start();
    let told = lab.host(&file, &[]);
    assert_eq!(told.result(), "ok");
    assert!(lab.slot(Slot::B) == package.slot(LARGE));
}

#[test]
fn without_the_bulk_door_the_peer_goes_by_dfu() {
    for doors in ["\n[doors.bulk]\npolicy = \"off\"\n", "\n[doors.dfu]\nconformance = \"strict\"\n"] {
        let lab = Lab::new(doors);
        let package = package(1);
        let told = lab.host(&lab.file("one.tar", &package.bytes()), &[]);
        assert_eq!(told.exit, 0, "{doors}");
        assert_eq!(told.all("bulk").count(), 0, "{doors}");
        assert!(told.all("device").all(|device| device["page4"].is_null()), "{doors}");
        assert!(lab.slot(Slot::B) == package.slot(LARGE), "{doors}");
    }
}
