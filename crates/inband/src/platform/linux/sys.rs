//! What no safe crate offers: two requests of Linux's to a disk, which are numbers alone.
#![allow(
    unsafe_code,
    reason = "ioctl(2) is what Linux has for it, and rustix's takes the answer for success"
)]

use std::{fs::File, io, os::fd::AsRawFd as _};

/// SCSI_IOCTL_DOORUNLOCK (scsi/scsi_ioctl.h): PREVENT ALLOW MEDIUM REMOVAL, which allows it.
const ALLOW_REMOVAL: libc::Ioctl = 0x5381;
/// CDROMEJECT (linux/cdrom.h), which sd(4) takes as well: START STOP UNIT with LoEj 1, Start 0.
const EJECT: libc::Ioctl = 0x5309;

/// Lets the medium be taken out. The kernel forbids it as long as somebody has the disk open.
///
/// # Errors
/// What the kernel says; that the disk said no.
pub(super) fn allow_removal(disk: &File) -> io::Result<()> {
    request(disk, ALLOW_REMOVAL)
}

/// Ejects the medium.
///
/// # Errors
/// As [`allow_removal`].
pub(super) fn eject(disk: &File) -> io::Result<()> {
    request(disk, EJECT)
}

fn request(disk: &File, number: libc::Ioctl) -> io::Result<()> {
    // SAFETY: the descriptor is open as long as `disk` is borrowed, and neither request takes an argument: the kernel reads and writes no
    // memory of ours.
    match unsafe { libc::ioctl(disk.as_raw_fd(), number) } {
        0 => Ok(()),
        -1 => Err(io::Error::last_os_error()),
        // The status of the SCSI command.
        status => Err(io::Error::other(format!("the disk answered with SCSI status {status:#x}"))),
    }
}
