//! The disk beside the DFU interface, over USB/IP.

use std::{
    fs, thread,
    time::{Duration, Instant},
};

use inband_dfu::host::End;
use inband_session::{Door, ResultCode, SessionState};
use inband_virtual::usbip::Client;

use crate::{
    disk_host::{CHANGED, Disk, NO_MEDIUM},
    home::{Home, Running, SLOT, good_config},
    host::{detach, download, status},
    package::Package,
    remote::open,
};

const DFU: u16 = 2;
const WITH_DISK: u16 = 3;

fn home() -> Home {
    let home = Home::with_store();
    let config = good_config().replace("dfu_product_id = 2", "dfu_product_id = 2\nvolume_product_id = 3");
    home.configure(&format!(
        "control = \"control\"\n{config}\n[doors]\nvolume = {{ policy = \"always\", profile = \"raw\" }}\n"
    ));
    home
}

fn disk(running: &Running) -> Disk<Client> {
    Disk::open(open(running.address, WITH_DISK))
}

/// Ejects, and waits for another medium; its text.
fn eject(disk: &mut Disk<Client>) -> String {
    disk.eject().unwrap();
    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        match disk.ready() {
            Err(NO_MEDIUM) => assert!(Instant::now() < deadline, "no medium comes"),
            Err(CHANGED) => return disk.text(),
            other => panic!("{other:?}"),
        }
        // As often as hosts ask whether there is a medium.
        thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn an_update_by_copy_and_eject_and_one_by_dfu() {
    let home = home();
    let check = home.inbandd(&["check"]).output().unwrap();
    assert!(
        String::from_utf8(check.stdout)
            .unwrap()
            .contains("doors: dfu always, bulk always, volume always (raw)\n")
    );
    let running = home.start();
    let package = Package::new(0x0200, 200_000);
    let mut disk = disk(&running);
    assert!(disk.text().contains("STATE=READY"));
    disk.copy(&package.bytes());
    let text = eject(&mut disk);
    assert!(text.contains("STATE=PASS\r\nRESULT=ok") && text.contains("VERSION=v200"), "{text}");
    let page = status(&mut disk.usb).unwrap();
    assert_eq!((page.state, page.door), (SessionState::Staged, Some(Door::Volume)));
    assert!(fs::read(home.path("store/slot-b.img")).unwrap() == package.slot(SLOT));
    let told = home.inbandd(&["status"]).output().unwrap();
    let told = String::from_utf8(told.stdout).unwrap();
    assert!(told.contains("door volume: open\n") && told.contains("\ndisk commands: "), "{told}");
    drop(disk);

    let other = Package::new(0x0201, 100_000);
    detach(&mut open(running.address, WITH_DISK)).unwrap();
    assert_eq!(download(&mut open(running.address, DFU), &other.bytes(), |_, _| {}), Ok(End::Idle));
    let mut disk = self::disk(&running);
    assert!(disk.text().contains("STATE=READY"));
    assert!(fs::read(home.path("store/slot-b.img")).unwrap() == other.slot(SLOT));
}

/// What a host has written is gone when it was judged, be there buffers that were made behind it: else the next package, by whatever door, finds no memory.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
#[test]
fn memory_is_given_back() {
    const MIB: usize = 1 << 20;
    let home = home();
    let running = home.start();
    let mut disk = disk(&running);
    let before = running.resident();
    for number in 0..24 * 16 {
        disk.write(number * 128, &[0xa5; MIB / 16]).unwrap();
    }
    assert!(running.resident() > before + 24 * MIB);
    // Several buffers of the disk's at once, which stay.
    disk.read(0, 512).unwrap();
    assert!(eject(&mut disk).contains("RESULT=bad-head"));
    let deadline = Instant::now() + Duration::from_secs(20);
    while running.resident() > before + 4 * MIB {
        assert!(Instant::now() < deadline, "{} bytes of {before}", running.resident());
        thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn a_daemon_that_dies_in_a_copy_has_lost_it_and_says_so() {
    let home = home();
    let running = home.start();
    let package = Package::new(0x0200, 200_000);
    let mut disk = disk(&running);
    disk.copy(&package.bytes());
    // Of a session that is not on record yet there is nothing to say.
    while status(&mut disk.usb).unwrap().session == 0 {
        thread::yield_now();
    }
    drop(disk);
    running.signal("KILL");
    running.wait();
    let running = home.start();
    let mut disk = self::disk(&running);
    let page = status(&mut disk.usb).unwrap();
    assert_eq!((page.state, page.result()), (SessionState::Interrupted, Some(ResultCode::Interrupted)));
    // What a host goes on to write is no package.
    disk.write(100, &package.bytes()[51_200..102_400]).unwrap();
    assert!(eject(&mut disk).contains("RESULT=incomplete"));
    eject(&mut disk);
    disk.copy(&package.bytes());
    assert!(eject(&mut disk).contains("RESULT=ok"));
}
