//! The program against a virtual BMC over USB/IP: what it finds, sends, shows and answers with.

// Clippy's leave for tests does not reach the functions that tests share.
#![allow(clippy::unwrap_used)]

mod support;

use std::{fs, net::TcpListener, thread};

use inband_session::DoorPolicy;
use inbandd::config::{Conformance, When};
use support::{
    Bench,
    bmc::{Bmc, FLOOR, Kind, MayHosts},
    run, spawn,
    zoo::{Answer, Zoo, dfu_device, nonsense, ours, stalls},
};

fn bench_with_package() -> Bench {
    let bench = Bench::new();
    bench.package("fw.tar", 1_000_000);
    bench
}

#[test]
fn list_and_status_tell_what_there_is() {
    let bench = Bench::new();
    let bmc = Bmc::start(&bench, Kind::default());
    let listed = bmc.run(&["list", "--json"]).expect(0).event("device");
    assert_eq!(listed["serial"], "TEST-1");
    assert_eq!(listed["machine"], support::MACHINE);
    assert_eq!(listed["path"], format!("usbip:{}/1-1", bmc.address));
    assert_eq!(listed["mode"], "run-time");
    let text = bmc.run(&["list"]).expect(0).out;
    assert!(text.contains("TEST-1") && text.contains("1.0.0"), "{text}");

    let status = bmc.status();
    assert_eq!(status["running"], "a");
    assert_eq!(status["state"], "idle");
    assert_eq!(status["result"], "none");
    assert_eq!(status["slots"][0]["version"], "1.0.0");
    assert_eq!(status["slots"][1]["state"], "empty");
    assert_eq!(status["security_floor"], FLOOR);
    let text = bmc.run(&["status"]).expect(0).out;
    assert!(text.contains("slot a") && text.contains("last result"), "{text}");
    let log = bmc.run(&["log"]).expect(0).out;
    assert!(log.contains("empty"), "{log}");
}

#[test]
fn an_update_is_staged_and_told_as_events() {
    let bench = bench_with_package();
    let bmc = Bmc::start(&bench, Kind::default());
    let update =
        bmc.run(&["update", &bench.arg("fw.tar"), "--keys", &bench.arg("release.pub"), "--json"]).expect(0);
    let events = update.json();
    let names: Vec<&str> = events.iter().map(|event| event["event"].as_str().unwrap()).collect();
    let mut once = names.clone();
    once.dedup();
    assert_eq!(
        once,
        ["package", "device", "detach", "dfu-mode", "door", "need", "start", "progress", "sent", "staged"]
    );
    assert_eq!(update.event("package")["verified"], true);
    assert_eq!(update.event("staged")["slot"], "b");
    assert_eq!(update.event("staged")["version"], "2.0.0");
    let last = events.iter().rfind(|event| event["event"] == "progress").unwrap();
    assert_eq!(last["sent"], last["total"]);
    assert!(update.err.is_empty(), "{}", update.err);

    // It is back at run-time as soon as the program has ended.
    let status = bmc.status();
    assert_eq!(status["mode"], "run-time");
    assert_eq!(status["state"], "staged");
    assert_eq!(status["result"], "ok");
    assert_eq!(status["running"], "a");
    assert_eq!(status["boots_next"], "b");
    let log = bmc.run(&["log", "--json"]).expect(0).event("log");
    assert_eq!(log["result"], "ok");
    assert_eq!(log["version"], "2.0.0");

    let bmc = bmc.restart();
    let status = bmc.status();
    assert_eq!(status["running"], "b");
    assert_eq!(status["slots"][1]["version"], "2.0.0");
}

#[cfg(target_os = "linux")]
#[test]
fn a_trial_is_told_to_its_end() {
    let bench = bench_with_package();
    let kind = Kind { activate: When::Immediate, health: Some("/bin/false"), ..Kind::default() };
    let mut bmc = Bmc::start(&bench, kind);
    bmc.run(&["update", &bench.arg("fw.tar")]).expect(0);
    let mut seen = Vec::new();
    loop {
        // The BMC restarts in between, and a slow host may miss any of its boots.
        let status = bmc.run(&["status", "--json"]);
        if status.code == Some(0) {
            let status = status.event("status");
            if status["state"] == "rolled-back" {
                break;
            }
            assert_eq!(status["boots_given"], 3, "{status}");
            seen.push(status["boots_left"].as_u64().unwrap());
        }
    }
    assert!(seen.is_sorted_by(|earlier, later| earlier >= later), "{seen:?}");
    // However often the BMC restarts since.
    for _ in 0..3 {
        let status = bmc.status();
        assert_eq!((&status["result"], &status["running"]), (&"unhealthy".into(), &"a".into()));
        assert_eq!((&status["boots_given"], &status["security_floor"]), (&0.into(), &FLOOR.into()));
        let story = bmc.run(&["log"]).expect(0).out;
        let at = |words: &str| story.find(words).unwrap_or_else(|| panic!("{words}: {story}"));
        assert!(at("staged") < at("on trial"), "{story}");
        assert!(at("on trial") < at("unhealthy in boot 3"), "{story}");
        assert!(at("unhealthy in boot 3") < at("rolled back after 3 boots, unhealthy"), "{story}");
        let newest = bmc.run(&["log", "--json"]).expect(0).json().remove(0);
        assert_eq!((&newest["state"], &newest["boot"]), (&"rolled-back".into(), &3.into()));
        bmc = bmc.restart();
    }
}

#[test]
fn wait_ends_when_the_new_firmware_runs() {
    let bench = bench_with_package();
    let bmc = Bmc::start(&bench, Kind { activate: When::Immediate, ..Kind::default() });
    let update = bmc.run(&["update", &bench.arg("fw.tar"), "--wait", "--json"]).expect(0);
    let activated = update.event("activated");
    assert_eq!(activated["slot"], "b");
    assert_eq!(activated["version"], "2.0.0");
    assert_eq!(bmc.status()["running"], "b");
}

#[test]
fn wait_gives_up_where_nobody_restarts_the_bmc() {
    let bench = bench_with_package();
    let bmc = Bmc::start(&bench, Kind::default());
    let update = bmc.run(&["update", &bench.arg("fw.tar"), "--wait=1", "--json"]).expect(10);
    assert_eq!(update.event("error")["error"], "not-activated");
    assert_eq!(bmc.status()["state"], "staged");
}

#[test]
fn strict_devices_are_updated_too() {
    let bench = bench_with_package();
    let bmc = Bmc::start(&bench, Kind { conformance: Conformance::Strict, ..Kind::default() });
    bmc.run(&["update", &bench.arg("fw.tar")]).expect(0);
    assert_eq!(bmc.status()["state"], "staged");
}

#[test]
fn plain_output_has_no_control_characters_and_few_lines() {
    let bench = bench_with_package();
    let bmc = Bmc::start(&bench, Kind::default());
    let update = bmc.run(&["update", &bench.arg("fw.tar")]).expect(0);
    assert_eq!(update.out, "staged: version 2.0.0 in slot b\n");
    assert!(!update.err.contains(['\r', '\u{1b}']), "{:?}", update.err);
    assert!(update.err.contains("100 %"), "{}", update.err);
    assert!(update.err.lines().count() < 20, "{}", update.err);
    assert!(update.err.contains("next:"), "{}", update.err);
    let quiet = bmc.run(&["update", &bench.arg("fw.tar"), "--quiet"]).expect(0);
    assert!(quiet.err.is_empty(), "{}", quiet.err);
}

#[test]
fn a_dry_run_changes_nothing() {
    let bench = bench_with_package();
    let bmc = Bmc::start(&bench, Kind::default());
    let before = bmc.status();
    let dry = bmc.run(&["update", &bench.arg("fw.tar"), "--dry-run"]).expect(0);
    assert!(dry.out.contains("nothing was sent"), "{}", dry.out);
    assert_eq!(bmc.status(), before);
}

#[test]
fn a_bad_package_is_refused_before_anything_is_sent() {
    let bench = bench_with_package();
    let bmc = Bmc::start(&bench, Kind::default());
    let before = bmc.status();
    let good = fs::read(bench.path("fw.tar")).unwrap();
    let mut tampered = good.clone();
    tampered[good.len() / 2] ^= 0x80;
    fs::write(bench.path("tampered.tar"), tampered).unwrap();
    fs::write(bench.path("cut.tar"), &good[..good.len() / 2]).unwrap();
    bench.pack("old.tar", "image.bin", &["--security-version", "1"]).expect(0);
    bench.pack("other.tar", "image.bin", &["--machine", "other", "--security-version", "9"]).expect(2);
    let member = format!("image-bmc={}", bench.arg("image.bin"));
    run([
        "pack",
        "--machine",
        "other",
        "--version",
        "1",
        "--security-version",
        "9",
        "--member",
        &member,
        "--key",
        &bench.arg("release.key"),
        "--out",
        &bench.arg("other.tar"),
    ])
    .expect(0);
    for (file, result) in [
        ("tampered.tar", "bad-chunk"),
        ("cut.tar", "truncated"),
        ("old.tar", "old-security-version"),
        ("other.tar", "wrong-machine"),
    ] {
        let refused = bmc.run(&["update", &bench.arg(file), "--json"]).expect(6);
        let error = refused.event("error");
        assert_eq!(error["result"], result, "{file}");
        assert_eq!(error["exit"], 6);
        assert!(!refused.out.contains("\"detach\""), "{file}: something was sent: {}", refused.out);
    }
    assert_eq!(bmc.status(), before);
}

#[test]
fn the_bmc_refuses_what_only_it_can_see() {
    let bench = bench_with_package();
    let bmc = Bmc::start(&bench, Kind::default());
    // Signed by a key the BMC does not have: without --key the program cannot know.
    bench.keygen("stranger");
    bench
        .pack("stranger.tar", "image.bin", &["--key", &bench.arg("stranger.key"), "--security-version", "3"])
        .expect(0);
    let refused = bmc.run(&["update", &bench.arg("stranger.tar"), "--json"]).expect(6);
    assert_eq!(refused.event("error")["result"], "unknown-key");
    // A member the BMC has no region for.
    let member = format!("image-x={}", bench.arg("image.bin"));
    bench.pack("unmapped.tar", "image.bin", &["--member", &member, "--security-version", "3"]).expect(0);
    let refused = bmc.run(&["update", &bench.arg("unmapped.tar")]).expect(6);
    assert!(refused.err.contains("unmapped-member") && refused.err.contains("help:"), "{}", refused.err);

    let status = bmc.status();
    assert_eq!(status["mode"], "run-time");
    assert_eq!(status["state"], "failed");
    assert_eq!(status["result"], "unmapped-member");
    assert_eq!(status["boots_next"], "a");
    // And it is updatable again at once.
    bmc.run(&["update", &bench.arg("fw.tar")]).expect(0);
    let log: Vec<_> = bmc.run(&["log", "--json"]).expect(0).json();
    let results: Vec<_> = log.iter().map(|record| record["result"].as_str().unwrap()).collect();
    assert_eq!(results, ["ok", "unmapped-member", "unknown-key"]);
}

#[test]
fn a_shut_door_is_8() {
    let bench = bench_with_package();
    let bmc = Bmc::start(&bench, Kind { door: DoorPolicy::Off, ..Kind::default() });
    let refused = bmc.run(&["update", &bench.arg("fw.tar"), "--json"]).expect(8);
    assert_eq!(refused.event("error")["result"], "door-shut");
    assert!(!refused.out.contains("\"detach\""), "{}", refused.out);
    bmc.run(&["update", &bench.arg("fw.tar"), "--dry-run"]).expect(8);
    let refused = bmc.run(&["detach"]).expect(8);
    assert!(refused.err.contains("door-shut") && refused.err.contains("help:"), "{}", refused.err);
}

#[test]
fn detach_enters_dfu_mode_and_an_update_goes_on_from_there() {
    let bench = bench_with_package();
    let bmc = Bmc::start(&bench, Kind::default());
    let detached = bmc.run(&["detach", "--json"]).expect(0).event("dfu-mode");
    assert!(detached["after_ms"].as_u64().unwrap() < 1000, "{detached}");
    assert_eq!(bmc.status()["mode"], "dfu");
    bmc.run(&["detach"]).expect(0);
    let update = bmc.run(&["update", &bench.arg("fw.tar"), "--json"]).expect(0);
    assert!(!update.out.contains("\"detach\""), "{}", update.out);
    assert_eq!(bmc.status()["state"], "staged");
}

#[test]
fn a_device_is_chosen_by_serial_and_by_path() {
    let bench = Bench::new();
    let bmc = Bmc::start(&bench, Kind::default());
    let path = format!("usbip:{}/1-1", bmc.address);
    for selector in ["TEST-1", "1-1", &path] {
        for command in ["status", "list"] {
            bmc.run(&[command, "--device", selector]).expect(0);
        }
    }
    for selector in ["TEST-2", "1-2", "usb:1-1"] {
        for command in ["status", "list"] {
            let none = bmc.run(&[command, "--device", selector]).expect(3);
            assert!(none.err.contains(selector) && none.err.contains("list --all"), "{}", none.err);
        }
    }
}

#[test]
fn no_package_no_key_no_update() {
    let bench = bench_with_package();
    let bmc = Bmc::start(&bench, Kind::default());
    bmc.run(&["update", &bench.arg("missing.tar")]).expect(7);
    bmc.run(&["update", &bench.arg("fw.tar"), "--keys", &bench.arg("missing.pub")]).expect(16);
    bench.keygen("other");
    let wrong =
        bmc.run(&["update", &bench.arg("fw.tar"), "--keys", &bench.arg("other.pub"), "--json"]).expect(6);
    assert_eq!(wrong.event("error")["result"], "unknown-key");
    assert_eq!(bmc.status()["session"], 0);
}

#[test]
fn a_device_that_another_client_has_is_held() {
    let bench = Bench::new();
    let bmc = Bmc::start(&bench, Kind::default());
    let busid = inband_virtual::usbip::BusId::new("1-1").unwrap();
    let held = inband_virtual::usbip::open(bmc.address.as_str(), &busid).unwrap();
    let refused = bmc.run(&["status", "--json"]).expect(12);
    assert_eq!(refused.event("error")["error"], "device");
    let refused = bmc.run(&["status"]).expect(12);
    assert!(refused.err.contains("usbip detach"), "{}", refused.err);
    drop(held);
    bmc.status();
}

/// Interrupting the program in the middle of an update ends the session cleanly.
#[test]
fn ctrl_c_aborts_and_the_next_update_works() {
    let bench = Bench::new();
    bench.package("fw.tar", 3_500_000);
    let bmc = Bmc::start(&bench, Kind::default());
    let (mut child, lines, wire) = bmc.update_under_way(&bench, &["--door", "dfu"], 0);
    let kill =
        spawn(std::process::Command::new("kill").args(["-INT", &child.id().to_string()])).wait().unwrap();
    assert!(kill.success());
    let rest: Vec<String> = lines.map(Result::unwrap).collect();
    assert_eq!(child.wait().unwrap().code(), Some(14), "{rest:?}");
    wire.wait_for_end();
    let last: serde_json::Value = serde_json::from_str(rest.last().unwrap()).unwrap();
    assert_eq!(last["error"], "cancelled");
    assert!(last["advice"].as_str().unwrap().contains("as it was"), "{last}");

    let status = bmc.status();
    assert_eq!(status["state"], "aborted");
    assert_eq!(status["result"], "aborted");
    assert_eq!(status["boots_next"], "a");
    bmc.run(&["update", &bench.arg("fw.tar")]).expect(0);
}

/// A BMC whose running firmware is on trial.
fn on_trial(setup: &inband_usb::Setup) -> Option<Vec<u8>> {
    let mut page = ours(setup)?;
    if setup.value == inband_session::status::STATUS_PAGE {
        page[7] = 1;
    }
    Some(page)
}

/// A BMC that is at work on what somebody sent it, and so refuses DETACH.
fn verifying(setup: &inband_usb::Setup) -> Option<Vec<u8>> {
    let mut page = ours(setup)?;
    if setup.value == inband_session::status::STATUS_PAGE {
        page[2] = inband_session::SessionState::Verifying.number();
    }
    Some(page)
}

/// A BMC whose status is broken.
fn broken_status(setup: &inband_usb::Setup) -> Option<Vec<u8>> {
    let page = ours(setup)?;
    Some(if setup.value == inband_session::status::STATUS_PAGE { page[..20].to_vec() } else { page })
}

#[test]
fn what_a_bmc_says_of_itself_decides_before_anything_is_sent() {
    let bench = Bench::new();
    bench.image("image.bin", 50_000, 1);
    let member = format!("image-bmc={}", bench.arg("image.bin"));
    run([
        "pack",
        "--machine",
        "board",
        "--version",
        "1",
        "--member",
        &member,
        "--key",
        &bench.arg("release.key"),
        "--out",
        &bench.arg("fw.tar"),
    ])
    .expect(0);
    for (answer, code, result) in
        [(on_trial as Answer, 9, Some("on-trial")), (verifying, 9, Some("busy")), (broken_status, 11, None)]
    {
        let zoo = Zoo::open(vec![("1-1", dfu_device("ONE", "BMC"), answer)]);
        let refused = run(["--usbip", &zoo.address, "update", &bench.arg("fw.tar"), "--json"]).expect(code);
        assert_eq!(refused.event("error")["result"].as_str(), result, "{}", refused.out);
    }
}

#[test]
fn a_bmc_that_disappears_in_the_middle_is_10() {
    let bench = Bench::new();
    bench.package("fw.tar", 3_500_000);
    let bmc = Bmc::start(&bench, Kind::default());
    let (mut child, lines, _) = bmc.update_under_way(&bench, &["--door", "dfu"], 0);
    let bmc = bmc.restart();
    let last = lines.map(Result::unwrap).last().unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(10), "{last}");
    let status = bmc.status();
    assert_eq!(status["state"], "interrupted");
    assert_eq!(status["result"], "interrupted");
    bmc.run(&["update", &bench.arg("fw.tar")]).expect(0);
}

#[test]
fn of_two_bmcs_one_has_to_be_named() {
    let zoo =
        Zoo::open(vec![("1-1", dfu_device("ONE", "BMC"), ours), ("1-2", dfu_device("TWO", "BMC"), ours)]);
    let many = run(["--usbip", &zoo.address, "status"]).expect(4);
    assert!(
        many.err.contains("ONE") && many.err.contains("TWO") && many.err.contains("--device"),
        "{}",
        many.err
    );
    let chosen = run(["--usbip", &zoo.address, "--device", "TWO", "status", "--json"]).expect(0);
    assert_eq!(chosen.event("status")["serial"], "TWO");
    let listed = run(["--usbip", &zoo.address, "list", "--json"]).expect(0);
    assert_eq!(listed.json().len(), 2);
}

#[test]
fn foreign_devices_are_left_alone_and_shown_when_asked_for() {
    let mut keyboard = dfu_device("KEYS", "keyboard");
    keyboard.interfaces[0].class = 3;
    let zoo = Zoo::open(vec![
        ("1-1", dfu_device("STALLS", "printer"), stalls),
        ("1-2", dfu_device("NONSENSE", "evil\u{1b}[2J\u{202e}"), nonsense),
        ("1-3", keyboard, stalls),
    ]);
    let none = run(["--usbip", &zoo.address, "list"]).expect(3);
    assert!(none.out.is_empty(), "{}", none.out);
    let none = run(["--usbip", &zoo.address, "status"]).expect(3);
    assert!(none.err.contains("list --all"), "{}", none.err);

    let all = run(["--usbip", &zoo.address, "list", "--all"]).expect(0);
    assert!(all.out.contains("STALLS") && all.out.contains("NONSENSE"), "{}", all.out);
    assert!(!all.out.contains("KEYS"), "{}", all.out);
    assert!(!all.out.contains(['\u{1b}', '\u{202e}']), "{:?}", all.out);
    assert!(all.out.contains("evil\\u{1b}[2J\\u{202e}"), "{:?}", all.out);
    // A program gets the string as it is, in a line that is ASCII.
    let all = run(["--usbip", &zoo.address, "list", "--all", "--json"]).expect(0);
    assert!(all.out.is_ascii());
    assert!(all.json().iter().any(|other| other["product"] == "evil\u{1b}[2J\u{202e}"), "{}", all.out);
}

#[test]
fn a_server_that_speaks_something_else_is_told_as_such() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let server = thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        std::io::Write::write_all(&mut stream, b"HTTP/1.1 400 Bad Request\r\n\r\n").unwrap();
    });
    let refused = run(["--usbip", &address, "list"]).expect(3);
    assert!(refused.err.contains("USB/IP"), "{}", refused.err);
    server.join().unwrap();
}

#[test]
fn keys_of_every_kind_are_asked_before_anything_is_sent() {
    let bench = bench_with_package();
    let bmc = Bmc::start(&bench, Kind::default());
    run(["keygen", "--kind", "p384", "--out", &bench.arg("p384")]).expect(0);
    let keys = [bench.arg("release.key"), bench.arg("p384.key")];
    let signed = ["--key", &keys[0], "--key", &keys[1], "--security-version", "3"];
    bench.pack("both.tar", "image.bin", &signed).expect(0);
    let package = bench.arg("both.tar");
    let (release, p384) = (bench.arg("release.pub"), bench.arg("p384.pub"));
    let update = |more: &[&str]| bmc.run(&[&["update", &package, "--dry-run", "--json"], more].concat());
    update(&["--keys", &release, "--keys", &p384]).expect(0);
    update(&["--keys", &release, "--keys", &p384, "--require", "p384,ed25519"]).expect(0);
    for more in [&["--keys", &release][..], &["--keys", &release, "--keys", &p384, "--require", "ed25519"]] {
        assert_eq!(update(more).expect(6).event("error")["result"], "unknown-key");
    }
    bench.pack("unsigned.tar", "image.bin", &["--unsigned", &p384, "--security-version", "3"]).expect(0);
    let told = bmc.run(&["update", &bench.arg("unsigned.tar"), "--keys", &p384]).expect(6).err;
    assert!(told.contains("not signed yet: p384 by key"), "{told}");
}

/// The rows of docs/spec/events.md: an event's name, and its fields.
fn documented() -> Vec<(String, Vec<String>)> {
    let words =
        |cell: &str| -> Vec<String> { cell.split('`').skip(1).step_by(2).map(str::to_owned).collect() };
    include_str!("../../../docs/spec/events.md")
        .lines()
        .map(|line| line.split('|').collect::<Vec<_>>())
        .filter(|cells| cells.len() == 5 && cells[1].contains('`'))
        .map(|cells| (words(cells[1]).remove(0), words(cells[3])))
        .collect()
}

#[test]
fn every_event_and_field_is_documented() {
    let bench = bench_with_package();
    let bmc = Bmc::start(&bench, Kind { activate: When::Immediate, ..Kind::default() });
    let package = bench.arg("fw.tar");
    let mut events = Vec::new();
    for arguments in [
        &["list", "--json"][..],
        &["status", "--json"],
        &["update", &package, "--dry-run", "--json"],
        &["update", &package, "--wait", "--json"],
        &["update", &package, "--json"],
        &["log", "--json"],
        &["detach", "--json"],
        &["update", "missing", "--json"],
        &["keygen", "--json", "--out", &bench.arg("new")],
        &["verify", &package, "--json"],
        &["inspect", &package, "--json"],
        &["inspect", "--diff", &package, &package, "--json"],
        &["sign", &package, "--json", "--print-bytes"],
        &["sign", &package, "--json", "--key", &bench.arg("release.key")],
        &["demo", "--json", "--size", "1"],
    ] {
        events.extend(bmc.run(arguments).json());
    }
    let shut = bench_with_package();
    let kind = Kind {
        door: DoorPolicy::Armed,
        ipmi: Some(MayHosts::All),
        health: Some("/bin/false"),
        ..Kind::default()
    };
    let bmc = Bmc::start(&shut, kind);
    let package = shut.arg("fw.tar");
    events.extend(bmc.run(&["update", &package, "--json"]).json());
    for arguments in [
        &["start", "--json"][..],
        &["status", "--json"],
        &["stop", "--json"],
        &["start", "dfu", "--json"],
        &["abort", "--json"],
        &["update", &package, "--json"],
        &["activate", "--json"],
    ] {
        events.extend(bmc.with_ipmi(&shut, arguments).json());
    }
    // The BMC restarts first.
    let confirmed = (0..200).find_map(|_| {
        let confirmed = bmc.with_ipmi(&shut, &["confirm", "--json"]);
        (confirmed.code == Some(0)).then(|| confirmed.json())
    });
    events.extend(confirmed.unwrap());
    events.extend(bench.pack("again.tar", "image.bin", &["--json"]).json());
    let zoo = Zoo::open(vec![("1-1", dfu_device("S", "printer"), stalls)]);
    events.extend(run(["--usbip", &zoo.address, "list", "--all", "--json"]).json());

    let documented = documented();
    for event in &events {
        let name = event["event"].as_str().unwrap();
        let rows: Vec<_> = documented.iter().filter(|(known, _)| known == name).collect();
        assert!(!rows.is_empty(), "{name} is not documented");
        for field in event.as_object().unwrap().keys().filter(|field| *field != "event") {
            let status_fields = documented.iter().filter(|(known, _)| known == "status");
            let mut known = rows.iter().copied().chain(status_fields.filter(|_| name == "device"));
            assert!(known.any(|(_, fields)| fields.contains(field)), "{name}.{field} is not documented");
        }
    }
    for (name, _) in &documented {
        let seen = events.iter().any(|event| event["event"] == name.as_str());
        // Attaching and disks need a kernel; the others a BMC that takes such a tar, leaves in the middle, or stops answering.
        let elsewhere = ["attached", "tar", "lost", "back", "disk", "cleared", "ejected", "still-open"]
            .contains(&name.as_str());
        assert!(seen || elsewhere, "{name} is documented and was never seen");
    }
}
