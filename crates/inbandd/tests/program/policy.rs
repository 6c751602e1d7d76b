//! What the configuration says of regions and versions, as a host meets it at the door `dfu`.

use std::fs;

use inband_dfu::{
    host::{End, Error},
    wire::{DETACH_TIMEOUT_MS, Request, State},
};
use inband_session::{ResultCode, SessionState};
use inband_store::Slot;
use inband_usb::HostDevice as _;

use crate::{
    home::{Home, Running, SLOT, good_config},
    host::{TIMEOUT, detach, download, status},
    package::{Package, noise},
    remote::{open, settled},
};

const RUN_TIME: u16 = 1;
const DFU: u16 = 2;

/// The good configuration without its region, and with these lines instead.
fn config_with(lines: &str) -> String {
    format!("{}{lines}", good_config().split("[[region]]").next().unwrap())
}

fn update(running: &Running, package: &Package) -> Result<End, Error> {
    detach(&mut open(running.address, RUN_TIME)).unwrap();
    download(&mut open(running.address, DFU), &package.bytes(), |_, _| {})
}

/// Asserts that a package is refused with this result, at the door and in the status; then leads the device back to run time.
#[track_caller]
fn assert_refused(running: &Running, package: &Package, result: ResultCode) {
    match update(running, package) {
        Err(Error::Refused { status: Some(told), .. }) => assert_eq!(told as u8, result.b_status()),
        other => panic!("{result}: {other:?}"),
    }
    let mut client = open(running.address, DFU);
    let page = status(&mut client).unwrap();
    assert_eq!((page.state, page.result()), (SessionState::Failed, Some(result)));
    assert_eq!(page.running, page.boots_next);
    let state = client.control_in(Request::GetState.setup(0, 0, 1), TIMEOUT).unwrap();
    if State::from_number(state[0]) == Some(State::DfuError) {
        client.control_out(Request::ClrStatus.setup(0, 0, 0), Vec::new(), TIMEOUT).unwrap();
    }
    client.control_out(Request::Detach.setup(0, DETACH_TIMEOUT_MS, 0), Vec::new(), TIMEOUT).unwrap();
}

const REGIONS: &str = r#"
[[region]]
member = "image-u-boot"
offset = 0
size = 65536

[[region]]
target = "bmc"
member = "image-bmc"
offset = 65536
size = 131072

[[region]]
member = "image-rwfs"
offset = 196608
size = 65536
"#;

#[test]
fn the_loader_is_refused_and_settings_stay() {
    let home = Home::new();
    home.configure(&config_with(REGIONS));
    assert!(home.inbandd(&["init"]).status().unwrap().success());
    let before = noise(SLOT, 99);
    fs::write(home.path("store/slot-b.img"), &before).unwrap();
    let slot_b = || fs::read(home.path("store/slot-b.img")).unwrap();

    let package = Package::new(0x0200, 100_000);
    let with =
        |name: &str, length| Package { more: vec![(name.into(), noise(length, 5))], ..package.clone() };
    let running = home.start();
    assert_refused(&running, &with("image-u-boot", 100), ResultCode::RefusedMember);
    assert_refused(&running, &with("image-other", 100), ResultCode::UnmappedMember);
    assert_refused(&running, &with("image-rwfs", 65_537), ResultCode::TooLarge);
    let elsewhere = Package { targets: vec!["bmc".into(), "bios".into()], ..package.clone() };
    assert_refused(&running, &elsewhere, ResultCode::UnmappedMember);
    assert!(slot_b() == before, "a refused package was written");

    let mut expected = before;
    expected[65_536..196_608].fill(0xff);
    expected[65_536..165_536].copy_from_slice(&package.image);
    for package in [&package, &with("image-rwfs", 65_536), &with("image-rwfs", 10)] {
        assert_eq!(update(&running, package), Ok(End::Idle));
        assert!(slot_b() == expected);
    }
    drop(running);

    // Who wants the loader replaced says so, and then every package has to bring it.
    home.configure(&config_with(REGIONS).replacen("65536\n", "65536\npolicy = \"replace\"\n", 1));
    let running = home.start();
    settled(running.address, RUN_TIME);
    assert_refused(&running, &package, ResultCode::MissingMember);
    assert_eq!(update(&running, &with("image-u-boot", 100)), Ok(End::Idle));
}

#[test]
fn versions_are_compared_with_what_runs() {
    let home = Home::new();
    let rules = "[policy]\nsame_version = \"refuse\"\ndowngrade = \"refuse\"\n";
    home.configure(&(good_config() + rules));
    let runs = ["init", "--firmware-version", "v100", "--bcd-device", "0x0100", "--security-version", "3"];
    assert!(home.inbandd(&runs).status().unwrap().success());
    let running = home.start();
    assert_refused(&running, &Package::new(0x0100, 1000), ResultCode::SameVersion);
    assert_refused(&running, &Package::new(0x0099, 1000), ResultCode::Downgrade);
    let renamed = Package { version: "other".into(), ..Package::new(0x0099, 1000) };
    assert_refused(&running, &renamed, ResultCode::Downgrade);
    assert_eq!(update(&running, &Package::new(0x0101, 1000)), Ok(End::Idle));
    drop(running);

    // A restart makes the other slot the one to compare with.
    let running = home.start();
    assert_eq!(settled(running.address, RUN_TIME).running, Slot::B);
    assert_refused(&running, &Package::new(0x0101, 1000), ResultCode::SameVersion);
    assert_refused(&running, &Package::new(0x0100, 1000), ResultCode::Downgrade);
    drop(running);

    // Without the rules both are taken.
    home.configure(&good_config());
    let running = home.start();
    for version in [0x0101, 0x0099] {
        assert_eq!(update(&running, &Package::new(version, 1000)), Ok(End::Idle));
    }
}

#[test]
fn compatible_names_that_are_configured_are_asked_for() {
    let home = Home::with_store();
    home.configure(&(good_config() + "[policy]\ncompatible = [\"com.example.a\", \"com.example.b\"]\n"));
    let running = home.start();
    let with = |names: &[&str]| Package {
        compatible: names.iter().map(|name| (*name).into()).collect(),
        ..Package::new(0x0200, 1000)
    };
    assert_refused(&running, &with(&[]), ResultCode::Incompatible);
    assert_refused(&running, &with(&["com.example.c"]), ResultCode::Incompatible);
    assert_eq!(update(&running, &with(&["com.example.c", "com.example.b"])), Ok(End::Idle));
}

#[test]
fn the_older_package_is_refused_once_the_newer_one_is_confirmed() {
    let home = Home::with_store();
    let newer = Package { security_version: 8, ..Package::new(0x0200, 1000) };
    let older = Package { security_version: 7, ..Package::new(0x0199, 1000) };
    let running = home.start();
    // Staged only, it hinders nobody.
    for package in [&newer, &older, &newer] {
        assert_eq!(update(&running, package), Ok(End::Idle));
        assert_eq!(status(&mut open(running.address, RUN_TIME)).unwrap().floor, 0);
    }
    drop(running);
    let running = home.start();
    assert_eq!(settled(running.address, RUN_TIME).floor, 8);
    assert_refused(&running, &older, ResultCode::OldSecurityVersion);
    drop(running);
    // Not by a restart, and not by the configuration either.
    home.configure(&(good_config() + "[policy]\ndowngrade = \"accept\"\n"));
    let running = home.start();
    assert_refused(&running, &older, ResultCode::OldSecurityVersion);
    assert_eq!(status(&mut open(running.address, RUN_TIME)).unwrap().floor, 8);
}
