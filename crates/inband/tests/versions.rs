//! What `inband update` makes of the versions of a package and of the BMC, before anything is sent.

mod support;

use std::{fs, thread};

use inband_package::Rule;
use inband_session::{
    DoorState,
    status::{SLOT_A_PAGE, STATUS_PAGE},
};
use support::{
    Bench,
    bmc::{Bmc, Kind},
    run,
    zoo::{Answer, Zoo, dfu_device, ours},
};

fn bench_with_package() -> Bench {
    let bench = Bench::new();
    bench.package("fw.tar", 100_000);
    bench
}

/// A BMC that runs what is in `fw.tar`, version 2.0.0.
fn bmc_that_runs_it(bench: &Bench, kind: Kind) -> Bmc {
    let bmc = Bmc::start(bench, kind);
    bmc.run(&["update", &bench.arg("fw.tar")]).expect(0);
    let bmc = bmc.restart();
    loop {
        match bmc.status()["on_trial"].as_bool() {
            Some(false) => return bmc,
            _ => thread::yield_now(),
        }
    }
}

#[test]
fn an_update_to_what_runs_already_is_done_before_anything_is_sent() {
    let bench = bench_with_package();
    let bmc = bmc_that_runs_it(&bench, Kind::default());
    let before = bmc.status();
    assert_eq!(before["running"], "b");
    for more in
        [&["--json"][..], &["--json", "--wait"], &["--json", "--dry-run"], &["--json", "--no-downgrade"]]
    {
        let package = bench.arg("fw.tar");
        let update = bmc.run(&[&["update", &package], more].concat()).expect(0);
        let events = update.json();
        let names: Vec<&str> = events.iter().map(|event| event["event"].as_str().unwrap()).collect();
        assert_eq!(names, ["package", "device", "up-to-date"], "{more:?}");
        let told = update.event("up-to-date");
        assert_eq!((&told["slot"], &told["version"]), (&"b".into(), &"2.0.0".into()));
    }
    let text = bmc.run(&["update", &bench.arg("fw.tar")]).expect(0);
    assert!(text.out.starts_with("up to date: version 2.0.0 runs already, from slot b; "), "{}", text.out);
    assert!(text.out.contains("nothing was sent") && text.out.contains("--allow-same"), "{}", text.out);
    assert!(!text.err.contains("next:"), "{}", text.err);
    assert_eq!(bmc.status(), before);

    // Asked for, it is sent all the same.
    let update = bmc.run(&["update", &bench.arg("fw.tar"), "--allow-same", "--json"]).expect(0);
    assert_eq!(update.event("staged")["slot"], "a");
    // What is wrong with a package is told, whatever its version.
    let mut tampered = fs::read(bench.path("fw.tar")).unwrap();
    let middle = tampered.len() / 2;
    tampered[middle] ^= 1;
    fs::write(bench.path("tampered.tar"), tampered).unwrap();
    bmc.run(&["update", &bench.arg("tampered.tar")]).expect(6);
}

#[test]
fn what_runs_is_sent_again_where_something_else_would_boot_next() {
    let bench = bench_with_package();
    let bmc = bmc_that_runs_it(&bench, Kind::default());
    bench.pack("other.tar", "image.bin", &["--version", "3.0.0", "--security-version", "3"]).expect(0);
    bmc.run(&["update", &bench.arg("other.tar")]).expect(0);
    // Somebody staged the wrong one, and wants what runs to stay.
    let update = bmc.run(&["update", &bench.arg("fw.tar"), "--json"]).expect(0);
    assert_eq!(update.event("staged")["version"], "2.0.0");
    assert_eq!(bmc.status()["slots"][0]["version"], "2.0.0");
    // Whichever slot boots next now, it is that version.
    assert_eq!(bmc.run(&["update", &bench.arg("fw.tar"), "--json"]).expect(0).json().len(), 3);
}

#[test]
fn a_bmc_that_is_not_to_take_the_same_version_again_refuses_it_itself() {
    let bench = bench_with_package();
    let bmc = bmc_that_runs_it(&bench, Kind { same_version: Rule::Refuse, ..Kind::default() });
    let refused = bmc.run(&["update", &bench.arg("fw.tar"), "--allow-same", "--json"]).expect(6);
    assert_eq!(refused.event("error")["result"], "same-version");
    assert_eq!(bmc.status()["result"], "same-version");
    bmc.run(&["update", &bench.arg("fw.tar")]).expect(0);
}

#[test]
fn an_older_package_is_sent_unless_that_is_not_wanted() {
    let bench = bench_with_package();
    let bmc = bmc_that_runs_it(&bench, Kind::default());
    let before = bmc.status();
    let old = ["--version", "1.9", "--security-version", "3", "--bcd-device", "1.90"];
    bench.pack("old.tar", "image.bin", &old).expect(0);
    for more in [&[][..], &["--allow-same"], &["--dry-run"]] {
        let package = bench.arg("old.tar");
        let arguments = [&["update", &package, "--no-downgrade", "--json"], more].concat();
        let refused = bmc.run(&arguments).expect(6);
        let error = refused.event("error");
        assert_eq!((&error["result"], &error["result_code"]), (&"downgrade".into(), &30.into()));
        assert!(error["message"].as_str().unwrap().contains("bcdDevice 1.90 is older than"), "{error}");
        assert!(!refused.out.contains("\"detach\""), "something was sent: {}", refused.out);
    }
    assert_eq!(bmc.status(), before);
    bmc.run(&["update", &bench.arg("old.tar")]).expect(0);
    // Newer by one digit is not older.
    let newer = ["--version", "2.1", "--security-version", "3", "--bcd-device", "0x0201"];
    bench.pack("new.tar", "image.bin", &newer).expect(0);
    bmc.run(&["update", &bench.arg("new.tar"), "--no-downgrade"]).expect(0);
}

#[test]
fn bcd_device_is_shown_as_it_was_packed() {
    for (given, shown) in [("1.23", "1.23"), ("0x0456", "4.56"), ("1099", "10.99")] {
        let bench = Bench::new();
        bench.image("image.bin", 1000, 1);
        bench.pack("fw.tar", "image.bin", &["--security-version", "3", "--bcd-device", given]).expect(0);
        let inspected = run(["inspect", &bench.arg("fw.tar"), "--json"]).expect(0).event("inspected");
        assert_eq!(inspected["bcd_device"], shown);
        let bmc = Bmc::start(&bench, Kind::default());
        assert_eq!(bmc.run(&["list", "--json"]).expect(0).event("device")["bcd_device"], "1.00");
        bmc.run(&["update", &bench.arg("fw.tar")]).expect(0);
        // On the bus, and in the slot.
        let listed = bmc.run(&["list", "--json"]).expect(0).event("device");
        assert_eq!(
            (&listed["bcd_device"], &listed["slots"][1]["bcd_device"]),
            (&shown.into(), &shown.into())
        );
    }
    let bench = Bench::new();
    bench.image("image.bin", 1000, 1);
    for wrong in ["1.2a", "0x01ab", "1.234", "100.00", "0xffff"] {
        let refused = bench.pack("fw.tar", "image.bin", &["--bcd-device", wrong]).expect(2);
        assert!(refused.err.contains("1.10 or 0x0110"), "{}", refused.err);
    }
}

/// A BMC that says it runs version 1.
fn with_version_1(setup: &inband_usb::Setup) -> Option<Vec<u8>> {
    let page = ours(setup)?;
    Some(if setup.value == SLOT_A_PAGE { [&[1, 11], &page[2..], b"1"].concat() } else { page })
}

/// A BMC on trial that says it runs version 1.
fn on_trial_with_version_1(setup: &inband_usb::Setup) -> Option<Vec<u8>> {
    let mut page = with_version_1(setup)?;
    if setup.value == STATUS_PAGE {
        page[7] = 1;
    }
    Some(page)
}

/// A BMC with its door shut that says it runs version 1.
fn shut_with_version_1(setup: &inband_usb::Setup) -> Option<Vec<u8>> {
    let mut page = with_version_1(setup)?;
    if setup.value == STATUS_PAGE {
        page[6] = DoorState::Shut.number();
    }
    Some(page)
}

/// Nothing to send needs no open door; but what may still be given up is not yet what runs.
#[test]
fn up_to_date_is_what_is_confirmed() {
    let bench = Bench::new();
    bench.image("image.bin", 5_000, 1);
    let member = format!("image-bmc={}", bench.arg("image.bin"));
    let (key, out) = (bench.arg("release.key"), bench.arg("fw.tar"));
    let pack =
        ["pack", "--machine", "board", "--version", "1", "--member", &member, "--key", &key, "--out", &out];
    run(pack).expect(0);
    for (answer, code, event, result) in [
        (on_trial_with_version_1 as Answer, 9, "error", Some("on-trial")),
        (shut_with_version_1, 0, "up-to-date", None),
    ] {
        let zoo = Zoo::open(vec![("1-1", dfu_device("ONE", "BMC"), answer)]);
        let update = run(["--usbip", &zoo.address, "update", &out, "--json"]).expect(code);
        assert_eq!(update.event(event)["result"].as_str(), result, "{}", update.out);
    }
}
