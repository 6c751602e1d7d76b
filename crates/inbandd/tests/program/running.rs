//! The program at work, and its end.

use std::{fs, process::Stdio, thread};

use inband_dfu::host::End;
use inband_session::{ResultCode, SessionState};
use inband_store::Slot;

use crate::{
    home::{Home, Running, SLOT, errors, good_config, signal},
    host::{detach, download, status},
    package::Package,
    remote::{open, settled},
};

const RUN_TIME: u16 = 1;
const DFU: u16 = 2;

/// An update from run time. Over USB/IP a client that goes is a cable that is pulled, so the device returns to run time at once.
fn update(running: &Running, package: &Package) -> Result<End, inband_dfu::host::Error> {
    detach(&mut open(running.address, RUN_TIME))?;
    download(&mut open(running.address, DFU), &package.bytes(), |_, _| {})
}

#[test]
fn an_update_and_a_restart() {
    let home = Home::with_store();
    let package = Package::new(0x0200, 100_000);
    let running = home.start();
    assert_eq!(update(&running, &package), Ok(End::Idle));
    let page = status(&mut open(running.address, RUN_TIME)).unwrap();
    assert_eq!((page.state, page.result()), (SessionState::Staged, Some(ResultCode::Ok)));
    running.signal("TERM");
    let (code, lines) = running.wait();
    assert_eq!(code, Some(0));
    for event in [
        "event=door-opened",
        "event=session-began",
        "event=package-accepted",
        "state=staged",
        "event=stopped",
    ] {
        assert!(lines.iter().any(|line| line.contains(event)), "{event}: {lines:#?}");
    }
    assert!(fs::read(home.path("store/slot-b.img")).unwrap() == package.slot(SLOT));

    let running = home.start();
    assert_eq!(open(running.address, RUN_TIME).device_descriptor().device_version, 0x0200);
    let page = settled(running.address, RUN_TIME);
    assert_eq!((page.state, page.running), (SessionState::Done, Slot::B));
}

#[test]
fn an_update_that_is_activated_at_once() {
    let home = Home::with_store();
    home.configure(&(good_config() + "\n[activation]\nwhen = \"immediate\"\n"));
    let running = home.start();
    assert_eq!(update(&running, &Package::new(0x0200, 100_000)), Ok(End::Idle));
    assert_eq!(open(running.address, RUN_TIME).device_descriptor().device_version, 0x0200);
    let page = settled(running.address, RUN_TIME);
    assert_eq!((page.state, page.running), (SessionState::Done, Slot::B));
}

/// In strict mode a block ahead is an error, so no host may be told to send one.
#[test]
fn only_a_lenient_device_says_that_it_takes_a_block_ahead() {
    for (door, takes_ahead) in
        [("", true), ("conformance = \"lenient\"", true), ("conformance = \"strict\"", false)]
    {
        let home = Home::with_store();
        home.configure(&(good_config() + "\n[doors.dfu]\n" + door));
        let running = home.start();
        let page = settled(running.address, RUN_TIME);
        assert_eq!(page.takes_ahead, takes_ahead, "{door}");
    }
}

#[test]
fn signals_end_it_cleanly() {
    for signal in ["TERM", "INT"] {
        let home = Home::with_store();
        let running = home.start();
        let address = running.address;
        running.signal(signal);
        let (code, lines) = running.wait();
        assert_eq!(code, Some(0), "{signal}");
        assert!(lines.last().unwrap().contains("event=stopped"), "{lines:?}");
        assert!(std::net::TcpStream::connect(address).is_err(), "the port is free");
    }
}

#[test]
fn a_signal_in_the_middle_of_an_update_leaves_it_interrupted() {
    let home = Home::with_store();
    let running = home.start();
    detach(&mut open(running.address, RUN_TIME)).unwrap();
    let file = Package::new(0x0200, 100_000).bytes();
    let half = file.len() as u64 / 2;
    let mut signalled = false;
    let result = download(&mut open(running.address, DFU), &file, |_, sent| {
        if sent >= half && !signalled {
            running.signal("TERM");
            signalled = true;
        }
    });
    assert!(result.is_err(), "{result:?}");
    assert_eq!(running.wait().0, Some(0));

    let running = home.start();
    let page = status(&mut open(running.address, RUN_TIME)).unwrap();
    assert_eq!((page.state, page.result()), (SessionState::Interrupted, Some(ResultCode::Interrupted)));
    assert_eq!(page.running, Slot::A);
    assert_eq!(update(&running, &Package::new(0x0200, 100_000)), Ok(End::Idle));
}

/// Whether a process catches SIGTERM.
fn catches_term(pid: u32) -> bool {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let caught = status.lines().find_map(|line| line.strip_prefix("SigCgt:\t")).unwrap();
    u64::from_str_radix(caught, 16).unwrap() & (1 << (15 - 1)) != 0
}

#[test]
fn quiet_and_verbose() {
    let home = Home::with_store();
    // No line says that it serves.
    let child = home.inbandd(&["--quiet"]).stderr(Stdio::piped()).spawn().unwrap();
    while !catches_term(child.id()) {
        thread::yield_now();
    }
    signal(child.id(), "TERM");
    let output = child.wait_with_output().unwrap();
    assert_eq!((output.status.code(), errors(&output).as_str()), (Some(0), ""));

    let running = Running::start(&mut home.inbandd(&["--verbose"]));
    let _ = status(&mut open(running.address, RUN_TIME)).unwrap();
    running.signal("TERM");
    let (_, lines) = running.wait();
    assert!(lines.iter().any(|line| line.starts_with("<7>")), "{lines:?}");
}

#[test]
fn a_recording_is_made() {
    let home = Home::with_store();
    let path = home.path("bus.pcap");
    let running = Running::start(&mut home.inbandd(&["--pcap", path.to_str().unwrap()]));
    let _ = status(&mut open(running.address, RUN_TIME)).unwrap();
    running.signal("TERM");
    assert_eq!(running.wait().0, Some(0));
    let recording = fs::read(path).unwrap();
    assert!(recording.len() > 24 && recording.windows(2).any(|bytes| bytes == [0xc1, 0x49]));
}
