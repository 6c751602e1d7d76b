//! Packages on the build machine: the program's commands, their files and their exit codes.

mod support;

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    process::{Command, Stdio},
};

use support::{Bench, MACHINE, run};

#[test]
fn a_new_key_is_secret_and_never_replaces_another() {
    let bench = Bench::new();
    let mode = fs::metadata(bench.path("release.key")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let before = fs::read(bench.path("release.key")).unwrap();
    for half in ["release.key", "release.pub"] {
        let refused = run(["keygen", "--out", &bench.arg("release")]).expect(7);
        assert!(refused.err.contains("release."), "{}", refused.err);
        assert_eq!(fs::read(bench.path("release.key")).unwrap(), before);
        // Also if only the other half is there.
        let aside = bench.path("aside");
        fs::rename(bench.path(half), &aside).unwrap();
        run(["keygen", "--out", &bench.arg("release")]).expect(7);
        assert!(!bench.path(half).exists());
        fs::rename(&aside, bench.path(half)).unwrap();
    }
    bench.keygen("other");
    assert_ne!(fs::read(bench.path("other.key")).unwrap(), before);
}

#[test]
fn openssl_reads_our_keys_and_verifies_our_signature() {
    let bench = Bench::new();
    bench.package("fw.tar", 100_000);
    run(["sign", &bench.arg("fw.tar"), "--print-bytes", "--out", &bench.arg("bytes")]).expect(0);
    let status = Command::new("tar")
        .args(["-C", &bench.arg(""), "-xf", &bench.arg("fw.tar"), "inband.head.ed25519.sig"])
        .status()
        .unwrap();
    assert!(status.success());
    let verified = Command::new("openssl")
        .args(["pkeyutl", "-verify", "-rawin", "-pubin", "-inkey", &bench.arg("release.pub")])
        .args(["-in", &bench.arg("bytes"), "-sigfile", &bench.arg("inband.head.ed25519.sig")])
        .stdout(Stdio::null())
        .status()
        .unwrap();
    assert!(verified.success());
}

#[test]
fn verify_tells_what_is_wrong() {
    let bench = Bench::new();
    bench.package("fw.tar", 200_000);
    let package = bench.arg("fw.tar");
    let public = bench.arg("release.pub");
    let bytes = fs::read(bench.path("fw.tar")).unwrap();

    let good = run(["verify", &package, "--keys", &public]).expect(0);
    assert!(good.out.contains(": verified\n"), "{}", good.out);
    let without_key = run(["verify", &package]).expect(0);
    assert!(without_key.out.contains("NOT CHECKED"), "{}", without_key.out);
    run(["verify", &package, "--machine", MACHINE]).expect(0);
    let wrong = run(["verify", &package, "--machine", "other-board", "--json"]).expect(6);
    assert_eq!(wrong.event("error")["result"], "wrong-machine");

    bench.keygen("other");
    let unknown = run(["verify", &package, "--keys", &bench.arg("other.pub"), "--json"]).expect(6);
    assert_eq!(unknown.event("error")["result"], "unknown-key");

    let mut changed = bytes.clone();
    let middle = changed.len() / 2;
    changed[middle] ^= 1;
    fs::write(bench.path("changed.tar"), &changed).unwrap();
    let changed = run(["verify", &bench.arg("changed.tar"), "--json"]).expect(6);
    assert_eq!(changed.event("error")["result"], "bad-chunk");

    fs::write(bench.path("cut.tar"), &bytes[..bytes.len() - 1]).unwrap();
    let cut = run(["verify", &bench.arg("cut.tar"), "--json"]).expect(6);
    assert_eq!(cut.event("error")["result"], "truncated");

    fs::write(bench.path("long.tar"), [&bytes[..], b"x"].concat()).unwrap();
    let long = run(["verify", &bench.arg("long.tar"), "--json"]).expect(6);
    assert_eq!(long.event("error")["result"], "trailing-bytes");

    fs::write(bench.path("text.tar"), "no package at all").unwrap();
    run(["verify", &bench.arg("text.tar")]).expect(6);
    run(["verify", &bench.arg("missing.tar")]).expect(7);
    run(["verify", &package, "--keys", &bench.arg("missing.pub")]).expect(16);
    run(["verify", &package, "--keys", &package]).expect(16);
    run(["verify", &package, "--keys", &bench.arg("missing")]).expect(16);
}

#[test]
fn inspect_shows_what_was_packed() {
    let bench = Bench::new();
    bench.image("image.bin", 300_000, 3);
    fs::write(bench.path("MANIFEST"), "purpose=bmc\n").unwrap();
    let manifest = format!("MANIFEST={}", bench.arg("MANIFEST"));
    bench
        .pack(
            "fw.tar",
            "image.bin",
            &[
                "--version",
                "2.4.0-rc1",
                "--security-version",
                "9",
                "--bcd-device",
                "2.40",
                "--compatible",
                "test-board.rev-b",
                "--metadata",
                &manifest,
            ],
        )
        .expect(0);
    let shown = run(["inspect", &bench.arg("fw.tar"), "--json"]).expect(0).event("inspected");
    assert_eq!(shown["machine"], MACHINE);
    assert_eq!(shown["version"], "2.4.0-rc1");
    assert_eq!(shown["security_version"], 9);
    assert_eq!(shown["bcd_device"], "2.40");
    assert_eq!(shown["compatible"], serde_json::json!(["test-board.rev-b"]));
    assert_eq!(shown["members"][0]["name"], "MANIFEST");
    assert_eq!(shown["members"][0]["kind"], "metadata");
    assert_eq!(shown["members"][1]["name"], "image-bmc");
    assert_eq!(shown["members"][1]["length"], 300_000);
    assert_eq!(shown["fault"], serde_json::Value::Null);
    let text = run(["inspect", &bench.arg("fw.tar")]).expect(0).out;
    assert!(text.contains("2.4.0-rc1") && text.contains("image-bmc"), "{text}");

    // A cut package is still shown, with its fault.
    let bytes = fs::read(bench.path("fw.tar")).unwrap();
    fs::write(bench.path("cut.tar"), &bytes[..100_000]).unwrap();
    let cut = run(["inspect", &bench.arg("cut.tar"), "--json"]).expect(0).event("inspected");
    assert!(cut["fault"].as_str().unwrap().contains("ended"), "{cut}");
}

#[test]
fn compressing_is_told_and_changes_no_content() {
    let bench = Bench::new();
    fs::write(bench.path("text"), "all work and no play\n".repeat(20_000)).unwrap();
    bench.pack("plain.tar", "text", &[]).expect(0);
    let packed = bench.pack("small.tar", "text", &["--compress", "--json"]).expect(0).event("packed");
    let (stored, sent) = (packed["stored"].as_u64().unwrap(), packed["sent"].as_u64().unwrap());
    assert_eq!(stored, 21 * 20_000);
    assert!(sent < stored / 10, "{packed}");
    let length = |name: &str| fs::metadata(bench.path(name)).unwrap().len();
    assert!(length("small.tar") < length("plain.tar") / 10);
    run(["verify", &bench.arg("small.tar"), "--keys", &bench.arg("release.pub")]).expect(0);
    let told = bench.pack("other.tar", "text", &["--compress=19"]).expect(0).out;
    assert!(told.contains("compression saved 40") && told.contains("of 410.1 KiB (99 %)"), "{told}");
    assert!(!bench.pack("plain.tar", "text", &[]).expect(0).out.contains("compression"));
    for level in ["--compress=0", "--compress=23", "--compress=fast"] {
        bench.pack("none.tar", "text", &[level]).expect(2);
    }
    // What it holds is the same: nothing would have to be sent or written.
    let diff =
        run(["inspect", "--diff", &bench.arg("plain.tar"), &bench.arg("small.tar"), "--json"]).expect(0);
    let total = &diff.event("diff")["total"];
    assert_eq!((&total["new_bytes"], &total["flash"]), (&0.into(), &0.into()));
}

#[test]
fn a_diff_tells_what_an_update_costs() {
    let bench = Bench::new();
    bench.image("old.bin", 600_000, 3);
    let mut image = fs::read(bench.path("old.bin")).unwrap();
    image.truncate(500_000);
    image.extend_from_slice(&[7; 1000]);
    fs::write(bench.path("new.bin"), image).unwrap();
    fs::write(bench.path("MANIFEST"), "purpose=bmc\n").unwrap();
    bench.keygen("next");
    let manifest = format!("MANIFEST={}", bench.arg("MANIFEST"));
    bench.pack("old.tar", "old.bin", &["--version", "1.0", "--security-version", "5"]).expect(0);
    let more = ["--version", "1.1", "--security-version", "4", "--metadata", &manifest];
    bench.pack("new.tar", "new.bin", &[&more[..], &["--key", &bench.arg("next.key")]].concat()).expect(0);
    let (old, new) = (bench.arg("old.tar"), bench.arg("new.tar"));
    let diff = run(["inspect", "--diff", &old, &new, "--json"]).expect(0).event("diff");
    assert_eq!(diff["signatures_verified"], false);
    assert_eq!((&diff["old"]["version"], &diff["new"]["version"]), (&"1.0".into(), &"1.1".into()));
    assert_eq!(diff["lower_security_version"], true);
    let changes: Vec<_> =
        diff["changes"].as_array().unwrap().iter().map(|change| change["what"].as_str().unwrap()).collect();
    assert_eq!(changes, ["version", "security-version", "signer", "signer"]);
    let [manifest, image] = [&diff["members"][0], &diff["members"][1]];
    assert_eq!((&manifest["name"], &manifest["change"]), (&"MANIFEST".into(), &"added".into()));
    assert_eq!((&image["kind"], &image["change"]), (&"image".into(), &"changed".into()));
    let number = |value: &serde_json::Value| value.as_u64().unwrap();
    assert_eq!(number(&image["length"]), 501_000);
    assert_eq!(number(&image["shared"]) + number(&image["new_bytes"]), 501_000);
    // No more than what is new and the rest of its chunk, which is where flash changes too.
    assert!((1000..=129_000).contains(&number(&image["new_bytes"])), "{image}");
    assert_eq!(image["flash"], image["new_bytes"]);
    assert_eq!(number(&diff["dfu"]), fs::metadata(&new).unwrap().len());
    let inspected = run(["inspect", &new, "--json"]).expect(0).event("inspected");
    assert_eq!(diff["dfu"], inspected["length"]);
    assert!(number(&diff["bulk"]) > number(&diff["total"]["sent"]) + 512);
    assert!(number(&diff["bulk"]) < 512 + 64 + 8000 + number(&diff["total"]["sent"]));

    let text = run(["inspect", "--diff", &old, &new]).expect(0).out;
    for told in ["NOT VERIFIED", "1.0 -> 1.1", "5 -> 4", "refuses", "image-bmc", "by plain DFU"] {
        assert!(text.contains(told), "{told} is not in:\n{text}");
    }
    let same = run(["inspect", "--diff", &old, &old, "--json"]).expect(0).event("diff");
    assert_eq!((&same["total"]["sent"], &same["changes"]), (&0.into(), &serde_json::json!([])));
}

#[test]
fn a_diff_of_broken_files_goes_as_far_as_their_indexes_do() {
    let bench = Bench::new();
    bench.package("fw.tar", 300_000);
    let good = bench.arg("fw.tar");
    let bytes = fs::read(&good).unwrap();
    let broken = bench.arg("broken.tar");
    for (length, at, index) in [(bytes.len(), 100_000, true), (100_000, 99_999, true), (2000, 1540, false)] {
        let mut changed = bytes[..length].to_vec();
        changed[at] ^= 1;
        fs::write(&broken, &changed).unwrap();
        for arguments in [["inspect", "--diff", &broken, &good], ["inspect", "--diff", &good, &broken]] {
            let shown = run([&arguments[..], &["--json"]].concat());
            if index {
                let diff = shown.expect(0).event("diff");
                let faults = [&diff["old"]["fault"], &diff["new"]["fault"]];
                assert_eq!(faults.iter().filter(|fault| fault.is_string()).count(), 1, "{faults:?}");
                assert!(run(arguments).expect(0).out.contains("FAULT"));
            } else {
                assert_eq!(shown.expect(6).event("error")["result"], "truncated");
            }
        }
    }
    fs::write(&broken, "no package").unwrap();
    run(["inspect", "--diff", &broken, &good]).expect(6);
    run(["inspect", "--diff", &bench.arg("missing"), &good]).expect(7);
}

#[test]
fn what_cannot_be_packed_leaves_no_file() {
    let bench = Bench::new();
    bench.image("image.bin", 1000, 1);
    for (more, code) in [
        (&["--version", "has spaces"][..], 2),
        (&["--metadata", "inband.head=/dev/null"][..], 2),
        (&["--metadata", "image-bmc=/dev/null"][..], 2),
        (&["--metadata", "x=/does/not/exist"][..], 7),
        (&["--bcd-device", "1.0a"][..], 2),
        (&["--key", "/does/not/exist"][..], 16),
    ] {
        let run = bench.pack("fw.tar", "image.bin", more).expect(code);
        assert!(!run.err.is_empty());
        assert!(!bench.path("fw.tar").exists(), "{more:?}");
    }
    let left: Vec<_> = fs::read_dir(bench.folder())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name.ends_with(".part"))
        .collect();
    assert!(left.is_empty(), "{left:?}");
}

#[test]
fn packing_twice_gives_the_same_bytes() {
    let bench = Bench::new();
    bench.package("one.tar", 150_000);
    bench.package("two.tar", 150_000);
    assert_eq!(fs::read(bench.path("one.tar")).unwrap(), fs::read(bench.path("two.tar")).unwrap());
}

#[test]
fn hostile_names_in_a_file_are_shown_escaped() {
    let bench = Bench::new();
    let name = "evil\u{1b}[2J.tar";
    let missing = run(["verify", &bench.arg(name)]).expect(7);
    assert!(!missing.err.contains('\u{1b}'), "{:?}", missing.err);
    assert!(missing.err.contains("\\u{1b}"), "{:?}", missing.err);
}
