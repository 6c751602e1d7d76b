//! Disks of BMCs as Linux has them: found in sysfs, read and written past the page cache, which would show what was on an earlier medium.

use std::{
    fs::{self, File, OpenOptions},
    io,
    os::{
        linux::fs::MetadataExt as _,
        unix::fs::{FileExt as _, FileTypeExt as _, OpenOptionsExt as _},
    },
    path::{Path, PathBuf},
    thread,
    time::{Duration, Instant},
};

use inband_session::first_block::BLOCK;
use inband_usb::HostError;

use super::{holder::programs, sys};
use crate::{
    disk::{Disk, Drive, Medium, PIECE, Profile, Untaken, VENDOR},
    text::{shown, shown_path},
    usb::Place,
};

/// What O_DIRECT wants a buffer to be aligned to: a page suffices everywhere.
const ALIGNMENT: usize = 4096;
/// How long another program may have the disk open before it is taken for one that uses it: udev looks at each new medium.
const PASSERS_BY: Duration = Duration::from_secs(3);
const POLL: Duration = Duration::from_millis(100);
/// How often in a row a medium may fail to be read before that is its fault: one that goes, or another that comes, fails it once.
const FAILURES: u32 = 10;

/// Every disk that says it is a BMC's. A folder of sysfs that goes while it is read is left out.
///
/// # Errors
/// If there is no list of disks.
pub(crate) fn disks() -> Result<Option<Vec<Disk>>, HostError> {
    match in_sysfs(Path::new("/sys/class/block")) {
        Ok(found) => Ok(Some(found.into_iter().map(|found| found.disk).collect())),
        Err(error) => Err(host_error(&error)),
    }
}

/// Takes a disk.
///
/// # Errors
/// [`HostError::Busy`] if it is mounted, or another program has it open; [`HostError::Permission`], [`HostError::Gone`],
/// [`HostError::Other`].
pub(crate) fn take(disk: &Disk) -> Result<Box<dyn Drive>, Untaken> {
    let mut drive = Taken {
        place: disk.place.clone(),
        serial: disk.serial.clone(),
        claim: None,
        writer: None,
        buffer: Vec::new(),
        failures: 0,
        was_ours: false,
        start: Instant::now(),
    };
    match drive.claim() {
        Ok(_) => Ok(Box::new(drive)),
        Err(error) => Err(Untaken { advice: drive.advice(&error), error }),
    }
}

/// A disk in sysfs.
struct Found {
    disk: Disk,
    /// Its folder, which is another one each time the device is on the bus.
    folder: PathBuf,
    /// Its number, as in `8:0`.
    number: String,
}

fn in_sysfs(class: &Path) -> io::Result<Vec<Found>> {
    let entries = match fs::read_dir(class) {
        Ok(entries) => entries,
        // A kernel without disks.
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    Ok(entries.flatten().filter_map(|entry| found(&entry.path())).collect())
}

fn found(entry: &Path) -> Option<Found> {
    let folder = fs::canonicalize(entry).ok()?;
    let value = |name: &str| -> Option<String> {
        let text = fs::read_to_string(folder.join(name)).ok()?;
        Some(text.trim_end().to_owned())
    };
    // A partition has no device of its own.
    if value("device/vendor")? != VENDOR {
        return None;
    }
    let profile = Profile::of(&value("device/model")?)?;
    let device = folder.ancestors().find(|folder| folder.join("idVendor").is_file())?;
    let of_device = |name: &str| fs::read_to_string(device.join(name)).ok();
    let bus = of_device("busnum")?.trim_end().to_owned();
    let ports =
        of_device("devpath")?.trim_end().split('.').map(|port| port.parse().ok()).collect::<Option<_>>()?;
    Some(Found {
        disk: Disk {
            place: Place::Port { bus, ports },
            serial: of_device("serial").map(|serial| serial.trim_end_matches('\n').to_owned()),
            profile,
            file: Path::new("/dev").join(folder.file_name()?),
        },
        number: value("dev")?,
        folder,
    })
}

/// The disk, with a file that nobody else can have: who mounts it, or takes it as we do, is told that it is busy.
struct Claim {
    file: File,
    folder: PathBuf,
    node: PathBuf,
}

struct Taken {
    place: Place,
    serial: Option<String>,
    claim: Option<Claim>,
    writer: Option<File>,
    /// A piece, and room to align it.
    buffer: Vec<u8>,
    /// Reads that failed in a row.
    failures: u32,
    /// We have had it once: that it is not to be had now is because udev has not set it up yet.
    was_ours: bool,
    start: Instant,
}

impl Taken {
    fn current(&self) -> Result<Found, HostError> {
        let found = in_sysfs(Path::new("/sys/class/block")).map_err(|error| host_error(&error))?;
        let is_ours = |disk: &Disk| {
            (&disk.place, &disk.serial, disk.profile) == (&self.place, &self.serial, Profile::Raw)
        };
        found.into_iter().find(|found| is_ours(&found.disk)).ok_or(HostError::Gone)
    }

    /// The disk that is there now, taken.
    fn claim(&mut self) -> Result<&Claim, HostError> {
        let found = self.current().inspect_err(|_| {
            // Its name is free for the next one.
            (self.claim, self.writer) = (None, None);
        })?;
        let claim = match self.claim.take().filter(|claim| claim.folder == found.folder) {
            Some(claim) => claim,
            None => {
                self.writer = None;
                let file = open_alone(&found).map_err(|error| match host_error(&error) {
                    HostError::Permission if self.was_ours => HostError::Gone,
                    other => other,
                })?;
                Claim { file, folder: found.folder, node: found.disk.file }
            }
        };
        self.was_ours = true;
        Ok(self.claim.insert(claim))
    }

    /// What an error means, the disk being there or not.
    fn failed(&self, error: &io::Error) -> HostError {
        match self.current() {
            Err(gone) => gone,
            Ok(found) if self.claim.as_ref().is_some_and(|claim| claim.folder != found.folder) => {
                HostError::Gone
            }
            Ok(_) => host_error(error),
        }
    }

    fn write_piece(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let writer = match &mut self.writer {
            Some(writer) => writer,
            empty @ None => {
                let Some(claim) = &self.claim else { return Err(io::ErrorKind::NotFound.into()) };
                let direct = OpenOptions::new().write(true).custom_flags(libc::O_DIRECT).open(&claim.node)?;
                empty.insert(direct)
            }
        };
        let piece = aligned(&mut self.buffer);
        for (number, bytes) in bytes.chunks(PIECE).enumerate() {
            let length = bytes.len().next_multiple_of(BLOCK);
            piece[..bytes.len()].copy_from_slice(bytes);
            piece[bytes.len()..length].fill(0);
            writer.write_all_at(&piece[..length], offset + (number * PIECE) as u64)?;
        }
        Ok(())
    }
}

impl Drive for Taken {
    fn look(&mut self) -> Result<Medium, HostError> {
        let node = self.claim()?.node.clone();
        let piece = aligned(&mut self.buffer);
        // To open it has the kernel look whether there is another medium.
        let read = OpenOptions::new()
            .read(true)
            .custom_flags(libc::O_DIRECT)
            .open(node)
            .and_then(|file| file.read_at(&mut piece[..BLOCK], 0));
        match read {
            Ok(BLOCK) => {
                self.failures = 0;
                let mut block = Box::new([0; BLOCK]);
                block.copy_from_slice(&piece[..BLOCK]);
                Ok(Medium::Block(block))
            }
            Ok(_) => Ok(Medium::None),
            Err(error) if error.raw_os_error() == Some(libc::ENOMEDIUM) => Ok(Medium::None),
            Err(error) => match self.failed(&error) {
                HostError::Other(_) if self.failures < FAILURES => {
                    self.failures += 1;
                    Ok(Medium::None)
                }
                other => Err(other),
            },
        }
    }

    fn write(&mut self, offset: u64, bytes: &[u8]) -> Result<(), HostError> {
        self.write_piece(offset, bytes).map_err(|error| self.failed(&error))
    }

    fn eject(&mut self) -> Result<(), HostError> {
        let result = (|| {
            if let Some(writer) = self.writer.take() {
                writer.sync_all()?;
            }
            let Some(claim) = &self.claim else { return Err(io::ErrorKind::NotFound.into()) };
            sys::allow_removal(&claim.file)?;
            sys::eject(&claim.file)
        })();
        result.map_err(|error| self.failed(&error))
    }

    fn advice(&self, error: &HostError) -> Option<String> {
        let node = self.current().ok()?.disk.file;
        match error {
            HostError::Permission => Some(format!(
                "run it as root, or as a member of the group that {} belongs to",
                shown_path(&node)
            )),
            HostError::Busy => Some(held_by(&node)),
            _ => None,
        }
    }

    fn now(&self) -> Duration {
        self.start.elapsed()
    }

    fn pause(&mut self, time: Duration) {
        thread::sleep(time);
    }
}

/// Opens a disk, or its empty drive, so that nobody else can take or mount it.
fn open_alone(found: &Found) -> io::Result<File> {
    let flags = libc::O_EXCL | libc::O_NONBLOCK;
    let file = OpenOptions::new().read(true).custom_flags(flags).open(&found.disk.file)?;
    let metadata = file.metadata()?;
    let number = format!("{}:{}", libc::major(metadata.st_rdev()), libc::minor(metadata.st_rdev()));
    // What is open keeps its number: by now it is the disk that was found, or one that took its name and number since.
    let is_found = || {
        fs::canonicalize(Path::new("/sys/dev/block").join(&number)).is_ok_and(|folder| folder == found.folder)
    };
    if !metadata.file_type().is_block_device() || number != found.number || !is_found() {
        // udev, or whoever makes device files, has not come that far.
        return Err(io::ErrorKind::NotFound.into());
    }
    let start = Instant::now();
    while !programs(Path::new("/proc"), &found.disk.file).is_empty() {
        if start.elapsed() >= PASSERS_BY {
            return Err(io::ErrorKind::ResourceBusy.into());
        }
        thread::sleep(POLL);
    }
    Ok(file)
}

/// Who has a disk, if that can be seen.
fn held_by(node: &Path) -> String {
    if let Some(place) = mounted_at(&fs::read_to_string("/proc/self/mounts").unwrap_or_default(), node) {
        return format!("it is mounted at {}: unmount it and try again", shown(&place));
    }
    match programs(Path::new("/proc"), node).as_slice() {
        [] => format!(
            "find out who has it with `fuser -v {}` as root, end that and try again",
            shown_path(node)
        ),
        programs => format!("it is held by {}; end that and try again", programs.join(", ")),
    }
}

/// Where a disk, or a partition of it, is mounted.
fn mounted_at(mounts: &str, node: &Path) -> Option<String> {
    let node = node.to_str()?;
    mounts.lines().find_map(|line| {
        let (what, rest) = line.split_once(' ')?;
        let partition = what.strip_prefix(node)?;
        let is_ours = partition.bytes().all(|byte| byte.is_ascii_digit());
        is_ours.then(|| rest.split(' ').next().unwrap_or_default().to_owned())
    })
}

/// A piece of memory as O_DIRECT wants it.
fn aligned(buffer: &mut Vec<u8>) -> &mut [u8] {
    buffer.resize(PIECE + ALIGNMENT, 0);
    // Never more than the alignment, but for a function that may not say.
    let start = buffer.as_ptr().align_offset(ALIGNMENT).min(ALIGNMENT);
    &mut buffer[start..start + PIECE]
}

fn host_error(error: &io::Error) -> HostError {
    match (error.kind(), error.raw_os_error()) {
        (io::ErrorKind::PermissionDenied, _) => HostError::Permission,
        (io::ErrorKind::ResourceBusy, _) => HostError::Busy,
        (io::ErrorKind::NotFound, _) | (_, Some(libc::ENODEV | libc::ENXIO)) => HostError::Gone,
        _ => HostError::Other(error.to_string()),
    }
}

#[cfg(test)]
mod tests;
