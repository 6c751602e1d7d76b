//! A disk that is full. A limit on the length of files stands for it, since anybody may set one: bytes behind it are refused as
//! on a full disk, with another number.

use std::{fs, process::Command};

use inband_dfu::{
    host::{End, Error},
    wire::Status,
};
use inband_session::{ResultCode, SessionState};
use inband_store::{Slot, SlotState};

use crate::{
    home::{Home, Running, SLOT, errors, program},
    host::{detach, download, status},
    package::Package,
    remote::open,
};

/// The program in a shell that has limited the length of files to so many KiB, and ignores the signal that comes with it.
fn limited(home: &Home, arguments: &[&str], kibibytes: u32) -> Command {
    let script = format!("trap '' XFSZ; ulimit -f {kibibytes}; exec \"$@\"");
    let mut command = Command::new("bash");
    command.args(["-c", &script, "limited"]).arg(program().get_program()).args(arguments);
    command.arg("--config").arg(home.path("inbandd.toml"));
    command
}

fn refused(running: &Running, package: &Package) -> Status {
    detach(&mut open(running.address, 1)).unwrap();
    match download(&mut open(running.address, 2), &package.bytes(), |_, _| {}) {
        Err(Error::Refused { status: Some(status), .. }) => status,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_slot_that_cannot_be_written() {
    let home = Home::with_store();
    let package = Package::new(0x0200, 100_000);
    let running = Running::start(&mut limited(&home, &[], 32));
    assert_eq!(refused(&running, &package), Status::ErrVendor);
    let page = status(&mut open(running.address, 2)).unwrap();
    assert_eq!((page.state, page.result()), (SessionState::Failed, Some(ResultCode::NoSpace)));
    assert_eq!((page.running, page.boots_next), (Slot::A, Slot::A));
    assert_eq!(page.slots, [SlotState::Good, SlotState::Invalid]);
    running.signal("TERM");
    let (code, lines) = running.wait();
    assert_eq!(code, Some(0));
    let line = lines.iter().find(|line| line.contains("result=no-space reason:")).unwrap();
    assert!(line.contains("slot-b.img") && line.contains("make room"), "{line}");

    // With room again, it works.
    let running = home.start();
    let page = status(&mut open(running.address, 1)).unwrap();
    assert_eq!((page.state, page.result()), (SessionState::Failed, Some(ResultCode::NoSpace)));
    detach(&mut open(running.address, 1)).unwrap();
    assert_eq!(download(&mut open(running.address, 2), &package.bytes(), |_, _| {}), Ok(End::Idle));
    assert!(fs::read(home.path("store/slot-b.img")).unwrap() == package.slot(SLOT));
}

#[test]
fn a_record_that_cannot_be_written() {
    let home = Home::with_store();
    let running = Running::start(&mut limited(&home, &[], 0));
    assert_eq!(refused(&running, &Package::new(0x0200, 20_000)), Status::ErrVendor);
    let page = status(&mut open(running.address, 2)).unwrap();
    assert_eq!((page.state, page.result()), (SessionState::Failed, Some(ResultCode::NoSpace)));
    assert_eq!(page.slots, [SlotState::Good, SlotState::Empty]);
}

#[test]
fn a_start_that_has_to_write_its_record() {
    let home = Home::with_store();
    let running = home.start();
    detach(&mut open(running.address, 1)).unwrap();
    let file = Package::new(0x0200, 20_000).bytes();
    assert_eq!(download(&mut open(running.address, 2), &file, |_, _| {}), Ok(End::Idle));
    drop(running);
    // The loader has to count the boot of what was staged.
    let run = limited(&home, &[], 0).output().unwrap();
    assert_eq!(run.status.code(), Some(5));
    let errors = errors(&run);
    assert!(errors.contains("cannot write") && errors.matches("make room").count() == 1, "{errors}");
    let running = home.start();
    assert_eq!(status(&mut open(running.address, 1)).unwrap().running, Slot::B);
}

#[test]
fn a_store_that_cannot_be_made() {
    let home = Home::new();
    let init = limited(&home, &["init"], 32).output().unwrap();
    assert_eq!(init.status.code(), Some(5));
    let errors = errors(&init);
    assert!(errors.contains("slot-a.img") && errors.matches("make room").count() == 1, "{errors}");
}
