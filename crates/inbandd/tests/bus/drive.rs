//! The disk of a BMC on the bus, and the media that come and go in it.

use std::time::Duration;

use inband_virtual::memory::MemoryHost;

use crate::{
    bench::{Bench, VOLUME_PRODUCT},
    disk_host::{CHANGED, Disk, NO_MEDIUM},
};

/// How long the drive is empty between two media, which is time for hosts to notice.
pub(crate) const GAP: Duration = Duration::from_millis(2500);

/// Whether the disk is on the bus: with it the device has another product id, and a second interface.
#[track_caller]
pub(crate) fn shown(bench: &Bench) -> bool {
    bench.wait_attached();
    let set = bench.bus.descriptors().unwrap();
    let disks = set.interfaces.iter().filter(|interface| interface.class == 0x08).count();
    let shown = set.product_id == VOLUME_PRODUCT;
    assert_eq!(disks, usize::from(shown));
    assert!(!shown || set.interfaces.len() == 2);
    shown
}

/// Opens the disk, which is there.
#[track_caller]
pub(crate) fn disk(bench: &Bench) -> Disk<MemoryHost> {
    assert!(shown(bench));
    Disk::open(bench.open())
}

/// Waits until another medium is in the drive.
#[track_caller]
pub(crate) fn wait_medium(bench: &Bench, disk: &mut Disk<MemoryHost>) {
    let start = bench.bus.now();
    loop {
        match disk.ready() {
            Err(NO_MEDIUM) => assert!(bench.bus.now() - start < Duration::from_secs(60), "nothing comes"),
            Err(CHANGED) => break,
            other => panic!("{other:?}"),
        }
        bench.bus.advance(Duration::from_millis(50));
    }
    assert_eq!(disk.ready(), Ok(()));
}

/// Ejects, and waits for another medium.
#[track_caller]
pub(crate) fn eject(bench: &Bench, disk: &mut Disk<MemoryHost>) {
    let start = bench.bus.now();
    disk.eject().unwrap();
    assert_eq!(disk.ready(), Err(NO_MEDIUM));
    wait_medium(bench, disk);
    assert!(bench.bus.now() - start >= GAP);
}
