//! The file backend (docs/spec/store.md, 4): a store in a directory.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use inband_package::head::MAX_INDEX_LENGTH;
use rustix::fs::FlockOperation;

use crate::medium::{Medium, MediumError, MediumErrorKind, check_range};
use crate::record::{MAX_LENGTH, Place, Slot};

/// A store in a directory: `slot-a.img`, `slot-b.img`, `record.0`, `record.1`, `index-a`, `index-b`, `lock`. Holds the
/// lock for as long as it lives.
#[derive(Debug)]
pub struct FileMedium {
    directory: PathBuf,
    /// Kept open to be synchronised after a rename.
    directory_file: File,
    slots: [File; 2],
    slot_length: u64,
    /// Its lock is given up when it is closed.
    _lock: File,
}

impl FileMedium {
    /// Makes the directory, unless it is there, and two slot images of `slot_length` bytes that take no space yet, for
    /// this user alone. Images that are there with that length are kept. The record is for [`Store::create`](crate::Store::create) to write.
    ///
    /// # Errors
    /// [`MediumErrorKind::InUse`] if an inbandd has the store open; [`MediumErrorKind::NotAStore`] if there is an image of
    /// another length; what the system says otherwise. The message names the path.
    pub fn create(directory: &Path, slot_length: u64) -> Result<Self, MediumError> {
        make_directory(directory).map_err(|error| {
            io_error("cannot create", directory, &error, "choose a directory that this user may write to")
        })?;
        let lock = lock(directory)?;
        for slot in Slot::ALL {
            let path = image_path(directory, slot);
            let image = open_image(&path, true)?;
            let length = length_of(&image, &path)?;
            if length == 0 {
                image
                    .set_len(slot_length)
                    .and_then(|()| image.sync_all())
                    .map_err(|error| io_error("cannot set the size of", &path, &error, WRITABLE))?;
            }
        }
        Self::with_lock(directory, slot_length, lock)
    }

    /// Opens the images of a store and takes its lock.
    ///
    /// # Errors
    /// [`MediumErrorKind::NotAStore`] if the directory or an image is missing or an image has another length;
    /// [`MediumErrorKind::InUse`] if another inbandd has the store open; what the system says otherwise. The message
    /// names the path and what to do.
    pub fn open(directory: &Path, slot_length: u64) -> Result<Self, MediumError> {
        if !directory.is_dir() {
            let message = format!("no store at {}; make one with `inbandd init`", directory.display());
            return Err(MediumError::new(MediumErrorKind::NotAStore, message));
        }
        let lock = lock(directory)?;
        Self::with_lock(directory, slot_length, lock)
    }

    fn with_lock(directory: &Path, slot_length: u64, lock: File) -> Result<Self, MediumError> {
        let open = |slot| {
            let path = image_path(directory, slot);
            let image = open_image(&path, false)?;
            let length = length_of(&image, &path)?;
            if length == slot_length {
                return Ok(image);
            }
            let message = format!(
                "{} has {length} bytes, the configured slot size is {slot_length}; correct the configuration, or make \
                 a new store with `inbandd init`",
                path.display()
            );
            Err(MediumError::new(MediumErrorKind::NotAStore, message))
        };
        let slots = [open(Slot::A)?, open(Slot::B)?];
        let directory_file =
            File::open(directory).map_err(|error| io_error("cannot open", directory, &error, READABLE))?;
        Ok(Self { directory: directory.to_path_buf(), directory_file, slots, slot_length, _lock: lock })
    }

    fn image(&self, slot: Slot) -> &File {
        &self.slots[usize::from(slot.number())]
    }

    fn io_error(&self, what: &str, slot: Slot, error: &io::Error) -> MediumError {
        io_error(what, &image_path(&self.directory, slot), error, "check the disk")
    }

    /// Reads a small file that may be missing; `limit` bytes and one more at most.
    fn load(&self, name: &str, limit: usize) -> Result<Option<Vec<u8>>, MediumError> {
        let path = self.directory.join(name);
        let failed = |error: io::Error| io_error("cannot read", &path, &error, READABLE);
        let file = match File::open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(failed(error)),
        };
        let mut bytes = Vec::new();
        file.take((limit as u64).saturating_add(1)).read_to_end(&mut bytes).map_err(failed)?;
        Ok(Some(bytes))
    }

    /// Replaces a small file: either the old bytes survive a power cut or the new ones, and the new ones once
    /// this has returned.
    fn replace(&self, name: &str, bytes: &[u8]) -> Result<(), MediumError> {
        let path = self.directory.join(name);
        let temporary = self.directory.join(format!("{name}.new"));
        let failed = |path: &Path| {
            let path = path.to_path_buf();
            move |error: io::Error| io_error("cannot write", &path, &error, WRITABLE)
        };
        let mut file = writable().create(true).truncate(true).open(&temporary).map_err(failed(&temporary))?;
        file.write_all(bytes).and_then(|()| file.sync_all()).map_err(failed(&temporary))?;
        fs::rename(&temporary, &path).map_err(failed(&path))?;
        self.directory_file.sync_all().map_err(failed(&self.directory))
    }
}

impl Medium for FileMedium {
    fn slot_length(&self) -> u64 {
        self.slot_length
    }

    fn read(&mut self, slot: Slot, offset: u64, to: &mut [u8]) -> Result<(), MediumError> {
        check_range(self.slot_length, slot, offset, to.len())?;
        self.image(slot).read_exact_at(to, offset).map_err(|error| self.io_error("cannot read", slot, &error))
    }

    fn write(&mut self, slot: Slot, offset: u64, data: &[u8]) -> Result<(), MediumError> {
        check_range(self.slot_length, slot, offset, data.len())?;
        self.image(slot)
            .write_all_at(data, offset)
            .map_err(|error| self.io_error("cannot write", slot, &error))
    }

    fn sync(&mut self, slot: Slot) -> Result<(), MediumError> {
        let image = self.image(slot);
        let synced = image.sync_data();
        forget_cached(image);
        synced.map_err(|error| self.io_error("cannot synchronise", slot, &error))
    }

    fn load_record(&mut self, place: Place) -> Result<Option<Vec<u8>>, MediumError> {
        self.load(record_name(place), MAX_LENGTH)
    }

    fn save_record(&mut self, place: Place, record: &[u8]) -> Result<(), MediumError> {
        self.replace(record_name(place), record)
    }

    fn load_index(&mut self, slot: Slot) -> Result<Option<Vec<u8>>, MediumError> {
        self.load(index_name(slot), usize::try_from(MAX_INDEX_LENGTH).unwrap_or(usize::MAX))
    }

    fn save_index(&mut self, slot: Slot, index: &[u8]) -> Result<(), MediumError> {
        self.replace(index_name(slot), index)
    }
}

const WRITABLE: &str = "check that this user may write there";
const READABLE: &str = "check that this user may read it";

const fn record_name(place: Place) -> &'static str {
    match place {
        Place::First => "record.0",
        Place::Second => "record.1",
    }
}

const fn index_name(slot: Slot) -> &'static str {
    match slot {
        Slot::A => "index-a",
        Slot::B => "index-b",
    }
}

fn image_path(directory: &Path, slot: Slot) -> PathBuf {
    directory.join(match slot {
        Slot::A => "slot-a.img",
        Slot::B => "slot-b.img",
    })
}

/// Makes the directory of a store, which no other user may look into, unless it is there. Durable when this returns.
fn make_directory(directory: &Path) -> io::Result<()> {
    if directory.is_dir() {
        return Ok(());
    }
    let parent = match directory.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        Some(_) | None => Path::new("."),
    };
    fs::create_dir_all(parent)?;
    DirBuilder::new().mode(0o700).create(directory)?;
    File::open(parent)?.sync_all()
}

/// How the files of a store are opened to be written: one that is made is this user's alone. Who may write them decides
/// what boots, and who may open the lock can hold it.
fn writable() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.write(true).mode(0o600);
    options
}

/// Lets go of what the kernel remembers of an image, so that the next read asks the disk. Above all after a failed
/// synchronisation: the kernel then still has the bytes, takes them for written, and would show them as if the disk had them.
#[cfg(target_os = "linux")]
fn forget_cached(image: &File) {
    // Advice: a file system that has no disk, or keeps the bytes for another reason, may leave it.
    let _ = rustix::fs::fadvise(image, 0, None, rustix::fs::Advice::DontNeed);
}

/// Other systems have no such call, and no BMC runs them.
#[cfg(not(target_os = "linux"))]
fn forget_cached(_: &File) {}

/// Opens an image; `create` makes an empty one if it is missing.
fn open_image(path: &Path, create: bool) -> Result<File, MediumError> {
    writable().read(true).create(create).truncate(false).open(path).map_err(|error| {
        if error.kind() == io::ErrorKind::NotFound {
            let message = format!("{} is missing; make a store with `inbandd init`", path.display());
            return MediumError::new(MediumErrorKind::NotAStore, message);
        }
        io_error("cannot open", path, &error, WRITABLE)
    })
}

fn length_of(image: &File, path: &Path) -> Result<u64, MediumError> {
    Ok(image.metadata().map_err(|error| io_error("cannot look at", path, &error, READABLE))?.len())
}

/// Takes the lock of a store, or says that it is taken. The kernel gives it back however the process ends.
fn lock(directory: &Path) -> Result<File, MediumError> {
    let path = directory.join("lock");
    let file = writable()
        .create(true)
        .truncate(false)
        .open(&path)
        .map_err(|error| io_error("cannot open", &path, &error, WRITABLE))?;
    match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(file),
        Err(rustix::io::Errno::WOULDBLOCK) => {
            let message =
                format!("{} is in use by another inbandd; stop that one first", directory.display());
            Err(MediumError::new(MediumErrorKind::InUse, message))
        }
        Err(error) => Err(io_error("cannot lock", &path, &error.into(), WRITABLE)),
    }
}

/// What the system said, where, and what to do; `advice` is for errors that have no better one.
fn io_error(what: &str, path: &Path, error: &io::Error, advice: &str) -> MediumError {
    let (kind, advice) = match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge => {
            (MediumErrorKind::NoSpace, "make room there")
        }
        _ => (MediumErrorKind::Io, advice),
    };
    let message: String = format!("{what} {}: {error}; {advice}", path.display());
    MediumError::new(kind, message)
}

#[cfg(test)]
mod tests;
