//! `inband update` by the bulk door of a virtual BMC, over USB/IP.

// Clippy's leave for tests does not reach the functions that tests share.
#![allow(clippy::unwrap_used)]

mod support;

use std::fs;

use inband_session::DoorPolicy;
use inbandd::config::Conformance;
use support::{
    Bench,
    bmc::{Bmc, Kind},
};

/// Bytes of the image.
const LENGTH: usize = 3_500_000;
/// Bytes of one that is long enough on its way to be stopped there.
const LONG: usize = 24_000_000;

fn bench_with(length: usize) -> Bench {
    let bench = Bench::new();
    bench.package("fw.tar", length);
    bench
}

fn bench() -> Bench {
    bench_with(LENGTH)
}

/// Updates a BMC by bulk; bytes that went over the wire, chunks asked for, chunks there are.
fn update(bmc: &Bmc, bench: &Bench, package: &str) -> (u64, u64, u64) {
    let run = bmc.run(&["update", &bench.arg(package), "--json"]).expect(0);
    assert_eq!(run.event("door")["door"], "bulk");
    let need = run.json().into_iter().rfind(|event| event["event"] == "need").unwrap();
    let number = |value: &serde_json::Value| value.as_u64().unwrap();
    (number(&run.event("sent")["total"]), number(&need["needed_chunks"]), number(&need["chunks"]))
}

#[test]
fn full_identical_and_a_small_change() {
    let bench = bench();
    let bmc = Bmc::start(&bench, Kind::default());
    let (full, needed, chunks) = update(&bmc, &bench, "fw.tar");
    assert_eq!(needed, chunks);
    assert!((LENGTH as u64..LENGTH as u64 * 102 / 100).contains(&full), "{full}");
    let status = bmc.status();
    assert_eq!((&status["state"], &status["boots_next"]), (&"staged".into(), &"b".into()));
    assert_eq!(status["mode"], "run-time");
    let log = bmc.run(&["log", "--json"]).expect(0).event("log");
    assert_eq!((&log["result"], &log["door"]), (&"ok".into(), &"bulk".into()));

    // The index goes again, and no more.
    let (identical, needed, _) = update(&bmc, &bench, "fw.tar");
    assert_eq!(needed, 0);
    assert!(identical < 16 * 1024, "{identical}");

    let mut image = fs::read(bench.path("image.bin")).unwrap();
    image[LENGTH / 2..LENGTH / 2 + 100].fill(0x5a);
    fs::write(bench.path("image.bin"), image).unwrap();
    bench.pack("next.tar", "image.bin", &["--security-version", "3", "--version", "2.0.1"]).expect(0);
    let (changed, needed, _) = update(&bmc, &bench, "next.tar");
    assert!((1..=3).contains(&needed), "{needed}");
    assert!(changed < 320 * 1024, "{changed}");
    let bmc = bmc.restart();
    let status = bmc.status();
    assert_eq!((&status["running"], &status["slots"][1]["version"]), (&"b".into(), &"2.0.1".into()));
}

#[test]
fn a_door_can_be_forced() {
    let bench = bench();
    let bmc = Bmc::start(&bench, Kind::default());
    let dfu = bmc.run(&["update", &bench.arg("fw.tar"), "--door", "dfu", "--json"]).expect(0);
    assert_eq!(dfu.event("door")["door"], "dfu");
    assert_eq!(dfu.event("sent")["saved"], 0);
    let log = bmc.run(&["log", "--json"]).expect(0).event("log");
    assert_eq!(log["door"], "dfu");
    let bulk = bmc.run(&["update", &bench.arg("fw.tar"), "--door", "bulk"]).expect(0);
    assert!(bulk.err.contains("door:    bulk, as --door says"), "{}", bulk.err);
    assert!(bulk.err.contains("need:    nothing"), "{}", bulk.err);
}

#[test]
fn where_there_is_no_bulk_door_there_is_dfu_and_a_forced_one_is_8() {
    let bench = bench();
    for kind in [
        Kind { bulk: Some(DoorPolicy::Off), ..Kind::default() },
        Kind { conformance: Conformance::Strict, ..Kind::default() },
    ] {
        let bmc = Bmc::start(&bench, kind);
        let forced = bmc.run(&["update", &bench.arg("fw.tar"), "--door", "bulk", "--json"]).expect(8);
        assert_eq!(forced.event("error")["error"], "no-door");
        assert!(!forced.out.contains("\"detach\""), "{}", forced.out);
        assert_eq!(bmc.status()["session"], 0);
        let update = bmc.run(&["update", &bench.arg("fw.tar"), "--json"]).expect(0);
        let door = update.event("door");
        assert_eq!(door["door"], "dfu");
        assert!(door["reason"].as_str().unwrap().contains("no bulk door"), "{door}");
        drop(bmc);
        fs::remove_dir_all(bench.path("store")).unwrap();
    }
}

#[test]
fn a_killed_host_goes_on_where_it_was() {
    let bench = bench_with(LONG);
    let bmc = Bmc::start(&bench, Kind::default());
    let (mut child, lines) = bmc.update_under_way(&bench, &[], 100_000);
    child.kill().unwrap();
    child.wait().unwrap();
    drop(lines);
    let (sent, needed, chunks) = update(&bmc, &bench, "fw.tar");
    assert!(needed < chunks && sent < LONG as u64, "{needed} of {chunks}, {sent}");
    assert_eq!(bmc.status()["state"], "staged");
}

#[test]
fn ctrl_c_aborts_and_the_next_update_sends_the_rest() {
    let bench = bench_with(LONG);
    let bmc = Bmc::start(&bench, Kind::default());
    let (mut child, lines) = bmc.update_under_way(&bench, &[], 100_000);
    let process = rustix::process::Pid::from_child(&child);
    rustix::process::kill_process(process, rustix::process::Signal::INT).unwrap();
    let rest: Vec<String> = lines.map(Result::unwrap).collect();
    assert_eq!(child.wait().unwrap().code(), Some(14), "{rest:?}");
    let last: serde_json::Value = serde_json::from_str(rest.last().unwrap()).unwrap();
    assert_eq!(last["error"], "cancelled");
    assert!(last["advice"].as_str().unwrap().contains("as it was"), "{last}");
    let status = bmc.status();
    assert_eq!((&status["state"], &status["result"]), (&"aborted".into(), &"aborted".into()));
    assert_eq!((&status["mode"], &status["boots_next"]), (&"run-time".into(), &"a".into()));
    let dry = bmc.run(&["update", &bench.arg("fw.tar"), "--dry-run", "--json"]).expect(0).event("dry-run");
    assert!(dry["received"].as_u64() > Some(0), "{dry}");
    let (_, needed, chunks) = update(&bmc, &bench, "fw.tar");
    assert!(needed < chunks, "{needed} of {chunks}");
}

#[test]
fn a_refusal_is_told_as_by_dfu() {
    let bench = bench();
    let bmc = Bmc::start(&bench, Kind::default());
    bench.keygen("stranger");
    let stranger = bench.arg("stranger.key");
    bench.pack("stranger.tar", "image.bin", &["--key", &stranger, "--security-version", "3"]).expect(0);
    for door in ["dfu", "bulk"] {
        let refused = bmc.run(&["update", &bench.arg("stranger.tar"), "--door", door, "--json"]).expect(6);
        let error = refused.event("error");
        assert_eq!((&error["result"], &error["exit"]), (&"unknown-key".into(), &6.into()), "{door}");
        assert!(error["advice"].is_string());
        let status = bmc.status();
        assert_eq!((&status["result"], &status["mode"]), (&"unknown-key".into(), &"run-time".into()));
    }
    assert_eq!(
        update(&bmc, &bench, "fw.tar").1,
        update(&bmc, &bench, "fw.tar").2,
        "a refusal leaves nothing"
    );
}

#[test]
fn a_dry_run_tells_bounds_and_changes_nothing() {
    let bench = bench();
    let bmc = Bmc::start(&bench, Kind::default());
    let before = bmc.status();
    let dry = bmc.run(&["update", &bench.arg("fw.tar"), "--dry-run", "--json"]).expect(0).event("dry-run");
    let (least, most) = (dry["least"].as_u64().unwrap(), dry["most"].as_u64().unwrap());
    assert!(least < 16 * 1024 && most > LENGTH as u64, "{dry}");
    assert_eq!((&dry["door"], &dry["slot"], &dry["flash"]), (&"bulk".into(), &"b".into(), &LENGTH.into()));
    let dfu = bmc.run(&["update", &bench.arg("fw.tar"), "--dry-run", "--door", "dfu", "--json"]).expect(0);
    let dfu = dfu.event("dry-run");
    assert_eq!((&dfu["door"], &dfu["least"]), (&"dfu".into(), &dfu["most"]));
    assert_eq!(bmc.status(), before);
    // It was right.
    let (full, ..) = update(&bmc, &bench, "fw.tar");
    assert_eq!(full, most);
    let (identical, ..) = update(&bmc, &bench, "fw.tar");
    assert_eq!(identical, least);
}
