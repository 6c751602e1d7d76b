//! USB disks whose writes are logged, by QEMU's `blklogwrites`: each begins as a copy of `volume.img`, which the script beside the guest has made
//! (see `beside`), and its log is `NAME.log` in the same folder. The guest knows them by their serial numbers, which are their names, and finds them
//! in the order of the head.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;

use super::beside;
use super::suite::Suite;
use crate::Outcome;

/// The log of a disk.
pub(super) fn log(vm: &Path, suite: &Suite, drive: &str) -> PathBuf {
    beside::folder(vm, suite).join(format!("{drive}.log"))
}

/// Gives a guest the disks of its suite, as they are before anything is written.
pub(super) fn plug(vm: &Path, suite: &Suite, guest: &mut Command) -> Outcome {
    if suite.drives.is_empty() {
        return Ok(());
    }
    guest.args(["-device", "qemu-xhci,id=usb,p2=15,p3=15"]);
    for (drive, port) in suite.drives.iter().zip(1..) {
        let (log, image) = (log(vm, suite, drive), beside::folder(vm, suite).join(format!("{drive}.img")));
        let make = || {
            fs::copy(beside::folder(vm, suite).join("volume.img"), &image)?;
            File::create(&log).map(drop)
        };
        make().map_err(|e| format!("cannot make {}: {e}", image.display()))?;
        guest
            .args(["-blockdev", &format!("driver=file,node-name={drive}-file,filename={}", image.display())]);
        guest.args(["-blockdev", &format!("driver=file,node-name={drive}-log,filename={}", log.display())]);
        guest.args([
            "-blockdev",
            &format!("driver=blklogwrites,node-name={drive},file={drive}-file,log={drive}-log"),
        ]);
        guest
            .arg("-device")
            .arg(format!("usb-storage,drive={drive},serial={drive},removable=on,bus=usb.0,port={port}"));
    }
    Ok(())
}
