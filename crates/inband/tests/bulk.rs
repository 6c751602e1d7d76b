//! `inband update` by the bulk door of a virtual BMC, over USB/IP.

// Clippy's leave for tests does not reach the functions that tests share.
#![allow(clippy::panic, clippy::unwrap_used)]

mod support;

use std::fs;

use self::kit::{Key, Release};

// The other tests of tars use more of it.
#[allow(dead_code)]
#[path = "../../package/tests/openbmc/kit.rs"]
mod kit;

/// Where the kit finds its script, from this crate's folder.
const MAKE_TAR: &str = "../package/tests/openbmc/make-tar.sh";

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
    let (mut child, lines, wire) = bmc.update_under_way(&bench, &[], 100_000);
    child.kill().unwrap();
    child.wait().unwrap();
    drop(lines);
    wire.wait_for_end();
    let (sent, needed, chunks) = update(&bmc, &bench, "fw.tar");
    assert!(needed < chunks && sent < LONG as u64, "{needed} of {chunks}, {sent}");
    assert_eq!(bmc.status()["state"], "staged");
}

#[test]
fn ctrl_c_aborts_and_the_next_update_sends_the_rest() {
    let bench = bench_with(LONG);
    let bmc = Bmc::start(&bench, Kind::default());
    let (mut child, lines, wire) = bmc.update_under_way(&bench, &[], 100_000);
    let process = rustix::process::Pid::from_child(&child);
    rustix::process::kill_process(process, rustix::process::Signal::INT).unwrap();
    let rest: Vec<String> = lines.map(Result::unwrap).collect();
    assert_eq!(child.wait().unwrap().code(), Some(14), "{rest:?}");
    wire.wait_for_end();
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

#[test]
fn a_tar_without_a_head_goes_whole_and_is_judged_with_its_last_byte() {
    const IMAGE: usize = 1_000_000;
    let bench = Bench::new();
    fs::write(bench.path("release.pub"), Key::System.public_pem()).unwrap();
    let kind = Kind { unindexed: true, ..Kind::default() };
    bench.image("image.bin", IMAGE, 7);
    let image = fs::read(bench.path("image.bin")).unwrap();
    let release = Release::new(support::MACHINE, "2.0.0", &[("image-bmc", image.clone())]);
    let good = release.tar();
    let with = |change: &dyn Fn(&mut Release)| {
        let mut release = release.clone();
        change(&mut release);
        release.tar()
    };
    let mut changed = good.clone();
    changed[IMAGE / 2] ^= 1;
    let refused = [
        ("bad-signature", changed),
        ("bad-signature", with(&|release| release.system = Key::Stranger)),
        ("truncated", good[..IMAGE].to_vec()),
        ("trailing-bytes", [&good[..], &[1]].concat()),
        ("wrong-machine", Release::new("other", "2.0.0", &release.images).tar()),
    ];
    let send = |bmc: &Bmc, tar: &[u8], code: i32| {
        fs::write(bench.path("fw.tar"), tar).unwrap();
        let run = bmc.run(&["update", &bench.arg("fw.tar"), "--door", "bulk", "--json"]).expect(code);
        assert_eq!(run.event("tar")["length"], tar.len());
        let need = run.event("need");
        assert_eq!((&need["needed_chunks"], &need["needed"]), (&need["chunks"], &tar.len().into()));
        assert_eq!(need["chunks"], tar.len().div_ceil(65_536));
        run
    };
    let bmc = Bmc::start(&bench, kind);
    let before = bench.slot("b", usize::MAX);
    for (result, tar) in &refused {
        let run = send(&bmc, tar, 6);
        // All of it was sent before anything was said.
        let last = run.json().into_iter().rfind(|event| event["event"] == "progress").unwrap();
        assert_eq!(last["sent"], last["total"], "{result}");
        assert_eq!(run.event("error")["result"], *result);
        let status = bmc.status();
        assert_eq!((&status["state"], &status["result"]), (&"failed".into(), &(*result).into()));
        assert_eq!((&status["boots_next"], &status["slots"][1]["state"]), (&"a".into(), &"empty".into()));
        assert!(bench.slot("b", usize::MAX) == before, "{result}: the slot was written to");
    }
    let run = send(&bmc, &good, 0);
    assert_eq!(run.event("staged")["version"], "2.0.0");
    assert!(bench.slot("b", IMAGE) == image);
    // A second time all of it goes again.
    send(&bmc, &good, 0);
    drop(bmc);

    // Where such tars are not taken.
    let bench = bench_with(IMAGE);
    fs::write(bench.path("plain.tar"), &good).unwrap();
    let bmc = Bmc::start(&bench, Kind::default());
    for door in ["bulk", "dfu"] {
        let run = bmc.run(&["update", &bench.arg("plain.tar"), "--door", door, "--json"]).expect(6);
        assert_eq!(run.event("error")["result"], "unindexed", "{door}");
    }
    update(&bmc, &bench, "fw.tar");
}

/// Kills an update by one door when the BMC has taken more than so many bytes.
fn killed(bmc: &Bmc, bench: &Bench, door: &str, bytes: u64) {
    let (mut child, lines, wire) = bmc.update_under_way(bench, &["--door", door], bytes);
    child.kill().unwrap();
    child.wait().unwrap();
    drop(lines);
    wire.wait_for_end();
}

#[test]
fn what_one_door_has_brought_counts_at_the_other() {
    const LENGTH: usize = 6_000_000;
    const HALF: u64 = 3_000_000;
    let bench = bench_with(LENGTH);
    let image = fs::read(bench.path("image.bin")).unwrap();
    let bmc = Bmc::start(&bench, Kind::default());
    killed(&bmc, &bench, "dfu", HALF);
    let (sent, needed, chunks) = update(&bmc, &bench, "fw.tar");
    assert!(needed < chunks, "{needed} of {chunks}");
    // What it had in hand when the host was killed, and the chunk that was cut by that.
    assert!(sent < LENGTH as u64 - HALF + 600_000, "{sent}");
    assert!(bench.slot("b", LENGTH) == image);
    drop(bmc);

    fs::remove_dir_all(bench.path("store")).unwrap();
    let bmc = Bmc::start(&bench, Kind::default());
    killed(&bmc, &bench, "bulk", HALF);
    let run = bmc.run(&["update", &bench.arg("fw.tar"), "--door", "dfu", "--json"]).expect(0);
    assert_eq!(run.event("door")["door"], "dfu");
    assert!(bench.slot("b", LENGTH) == image);
    assert_eq!(bmc.status()["state"], "staged");
}
