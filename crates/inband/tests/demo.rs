//! The demo, small: it ends well, and its JSON tells every verdict.

mod support;

use std::fs;

use support::{Bench, run};

#[test]
fn every_verdict_is_as_expected() {
    let demo = run(["demo", "--size", "4", "--json"]).expect(0);
    let verdicts: Vec<_> = demo.json().into_iter().filter(|event| event["event"] == "verdict").collect();
    assert!(verdicts.iter().all(|verdict| verdict["as_expected"] == true), "{verdicts:?}");
    let seen: Vec<_> = verdicts.iter().map(|verdict| verdict["seen"].as_str().unwrap()).collect();
    assert_eq!(
        seen,
        [
            "ok",
            "2.0.0",
            "ok",
            "2.0.0",
            "ok",
            "2.0.1",
            "aborted",
            "ok",
            "2.1.0",
            "bad-chunk",
            "truncated",
            "wrong-machine",
            "unknown-key",
            "old-security-version",
            "door-shut",
            "ok",
            "staged",
            "shut"
        ]
    );
    let modes: Vec<_> = demo
        .json()
        .iter()
        .filter(|event| event["event"] == "descriptors")
        .map(|event| {
            (event["mode"].as_str().unwrap().to_owned(), event["interfaces"][0].as_str().unwrap().to_owned())
        })
        .collect();
    let expected = [("run-time", "fe/01/01"), ("dfu", "fe/01/02"), ("run-time", "fe/01/01")];
    assert_eq!(modes, expected.map(|(mode, interface)| (mode.to_owned(), interface.to_owned())));
    assert_eq!(demo.event("demo")["unexpected"], 0);
    let sent: Vec<_> = demo
        .json()
        .iter()
        .filter(|event| event["event"] == "transfer")
        .map(|transfer| (transfer["sent"].as_u64().unwrap(), transfer["length"].as_u64().unwrap()))
        .collect();
    let [bulk, dfu, change, stopped, rest, armed] = sent[..] else { panic!("{sent:?}") };
    assert!(bulk.0 >= bulk.1 && dfu.0 == dfu.1, "{sent:?}");
    assert!(armed.0 < armed.1 / 2, "{sent:?}");
    assert!(change.0 < change.1 / 2 && stopped.0 < stopped.1 && rest.0 < rest.1, "{sent:?}");
}

#[test]
fn it_takes_a_package_of_the_users() {
    let bench = Bench::new();
    bench.package("fw.tar", 300_000);
    let demo = run(["demo", "--package", &bench.arg("fw.tar"), "--key", &bench.arg("release.key")]).expect(0);
    assert!(demo.out.contains("version 2.0.0 runs from slot b"), "{}", demo.out);
    bench.keygen("other");
    run(["demo", "--package", &bench.arg("fw.tar"), "--key", &bench.arg("other.key")]).expect(6);
    run(["demo", "--package", &bench.arg("fw.tar"), "--key", &bench.arg("missing.key")]).expect(16);
}

#[test]
fn it_takes_one_of_another_kind_of_key_with_compressed_chunks() {
    let bench = Bench::new();
    run(["keygen", "--kind", "p384", "--out", &bench.arg("p384")]).expect(0);
    fs::write(bench.path("text"), "all work and no play\n".repeat(20_000)).unwrap();
    let key = bench.arg("p384.key");
    bench.pack("fw.tar", "text", &["--key", &key, "--compress", "--security-version", "2"]).expect(0);
    let demo = run(["demo", "--package", &bench.arg("fw.tar"), "--key", &key]).expect(0);
    assert!(demo.out.contains("signed with p384"), "{}", demo.out);
}
