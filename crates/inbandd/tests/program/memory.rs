//! What a package on the disk takes of memory: itself, and no copy of it.

use std::{
    thread,
    time::{Duration, Instant},
};

use inband_session::{Door, SessionState};
use inband_virtual::usbip::Client;
use inband_volume::testing::FatHost;

use crate::{
    disk_host::{CHANGED, Disk, NO_MEDIUM},
    home::{Home, config_with},
    host::status,
    package::Package,
    remote::open,
};

const MIB: usize = 1 << 20;
/// Of a slot, which the image fills.
const SLOT: usize = 32 * MIB;
/// What a package may have beside its image.
const MAX_PACKAGE: usize = SLOT + MIB;
/// What a host may write beside a package, and what the daemon may have for all else.
const BESIDE: usize = 8 * MIB + 8 * MIB;
/// The first entry of the root directory that is free, and a cluster.
const FREE: u32 = 4;
const CLUSTER: u16 = 20;

/// Has a package written by `copy` and ejected, and compares the most memory that the daemon ever had.
#[track_caller]
fn assert_no_second_copy(profile: &str, copy: fn(&mut Disk<Client>, &[u8])) {
    let home = Home::new();
    let config =
        config_with(SLOT, &format!("[doors]\nvolume = {{ policy = \"always\", profile = \"{profile}\" }}\n"));
    let config = config
        .replace("dfu_product_id = 2", "dfu_product_id = 2\nvolume_product_id = 3")
        .replace("slot_size", &format!("max_package = {MAX_PACKAGE}\nslot_size"));
    home.configure(&config);
    assert!(home.inbandd(&["init"]).output().unwrap().status.success());
    let running = home.start();
    let mut disk = Disk::open(open(running.address, 3));

    let package = Package::new(0x0200, SLOT).bytes();
    copy(&mut disk, &package);
    disk.eject().unwrap();
    let deadline = Instant::now() + Duration::from_secs(120);
    loop {
        match disk.ready() {
            Err(NO_MEDIUM) => assert!(Instant::now() < deadline, "no verdict comes"),
            Err(CHANGED) => break,
            other => panic!("{other:?}"),
        }
        thread::sleep(Duration::from_millis(50));
    }
    let page = status(&mut disk.usb).unwrap();
    assert_eq!((page.state, page.door), (SessionState::Staged, Some(Door::Volume)));
    let peak = running.peak();
    assert!(peak > package.len(), "it was in memory: {peak}");
    assert!(peak <= package.len() + BESIDE, "{peak} bytes for a package of {}", package.len());
}

#[test]
fn a_package_in_a_file_is_in_memory_once() {
    assert_no_second_copy("fat", |disk, package| {
        let mut host = FatHost::new(MAX_PACKAGE as u32).unwrap();
        let clusters = package.len().div_ceil(host.geometry().cluster_blocks() as usize * 512) as u16;
        let clusters: Vec<u16> = (CLUSTER..CLUSTER + clusters).collect();
        host.file(FREE, b"FIRMWAREBIN", &clusters, package);
        disk.put(&host);
    });
}

#[test]
fn a_package_from_the_first_block_on_is_in_memory_once() {
    assert_no_second_copy("raw", |disk, package| disk.copy(package));
}
