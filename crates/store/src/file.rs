//! The file backend (docs/spec/store.md, 4): a store in a directory.

use alloc::format;
use alloc::string::String;
use alloc::vec;
use alloc::vec::Vec;
use std::io;
use std::path::{Path, PathBuf};

use inband_package::head::MAX_INDEX_LENGTH;

use crate::journal::AREA_LENGTH;
use crate::medium::{Medium, MediumError, MediumErrorKind, check_range};
use crate::record::{MAX_LENGTH, Place, Slot};

mod system;

pub use system::{Native, Open, System};

/// A store in a directory: `slot-a.img`, `slot-b.img`, `record.0`, `record.1`, `index-a`, `index-b`, `journal.0`, `journal.1`,
/// `lock`. Holds the lock for as long as it lives.
#[derive(Debug)]
pub struct FileMedium<S: System = Native> {
    system: S,
    directory: PathBuf,
    /// Kept open to be synchronised after a rename.
    directory_file: S::File,
    slots: [S::File; 2],
    slot_length: u64,
    /// Its lock is given up when it is closed.
    _lock: S::File,
}

impl FileMedium {
    /// Makes the directory, unless it is there, and two slot images of `slot_length` bytes that take no space yet, for
    /// this user alone. Images that are there with that length are kept. The record is for [`Store::create`](crate::Store::create) to write.
    ///
    /// # Errors
    /// [`MediumErrorKind::InUse`] if an inbandd has the store open; [`MediumErrorKind::NotAStore`] if there is an image of
    /// another length; what the system says otherwise. The message names the path.
    pub fn create(directory: &Path, slot_length: u64) -> Result<Self, MediumError> {
        Self::create_on(Native, directory, slot_length)
    }

    /// Opens the images of a store and takes its lock.
    ///
    /// # Errors
    /// [`MediumErrorKind::NotAStore`] if the directory or an image is missing or an image has another length;
    /// [`MediumErrorKind::InUse`] if another inbandd has the store open; what the system says otherwise. The message
    /// names the path and what to do.
    pub fn open(directory: &Path, slot_length: u64) -> Result<Self, MediumError> {
        Self::open_on(Native, directory, slot_length)
    }
}

impl<S: System> FileMedium<S> {
    /// As [`FileMedium::create`], on another system than the one that runs us.
    ///
    /// # Errors
    /// Those of `create`.
    pub fn create_on(system: S, directory: &Path, slot_length: u64) -> Result<Self, MediumError> {
        make_directory(&system, directory).map_err(|error| {
            io_error("cannot create", directory, &error, "choose a directory that this user may write to")
        })?;
        let lock = lock(&system, directory)?;
        for slot in Slot::ALL {
            let path = image_path(directory, slot);
            let image = open_image(&system, &path, Open::Create)?;
            let length = length_of(&system, &image, &path)?;
            if length == 0 {
                system
                    .set_length(&image, slot_length)
                    .and_then(|()| system.sync(&image))
                    .map_err(|error| io_error("cannot set the size of", &path, &error, WRITABLE))?;
            }
        }
        Self::with_lock(system, directory, slot_length, lock)
    }

    /// As [`FileMedium::open`], on another system than the one that runs us.
    ///
    /// # Errors
    /// Those of `open`.
    pub fn open_on(system: S, directory: &Path, slot_length: u64) -> Result<Self, MediumError> {
        if !system.is_directory(directory) {
            let message = format!("no store at {}; make one with `inbandd init`", directory.display());
            return Err(MediumError::new(MediumErrorKind::NotAStore, message));
        }
        let lock = lock(&system, directory)?;
        Self::with_lock(system, directory, slot_length, lock)
    }

    fn with_lock(system: S, directory: &Path, slot_length: u64, lock: S::File) -> Result<Self, MediumError> {
        let open = |slot| {
            let path = image_path(directory, slot);
            let image = open_image(&system, &path, Open::Write)?;
            let length = length_of(&system, &image, &path)?;
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
        let directory_file = system
            .open(directory, Open::Read)
            .map_err(|error| io_error("cannot open", directory, &error, READABLE))?;
        // What is there may be the work of an inbandd that was killed, and not durable. What is read next must still be so after
        // a power cut, and no record may be without the images it speaks of.
        system
            .sync(&directory_file)
            .map_err(|error| io_error("cannot synchronise", directory, &error, "check the disk"))?;
        Ok(Self {
            system,
            directory: directory.to_path_buf(),
            directory_file,
            slots,
            slot_length,
            _lock: lock,
        })
    }

    /// The system that the store lies on.
    pub const fn system(&self) -> &S {
        &self.system
    }

    fn image(&self, slot: Slot) -> &S::File {
        &self.slots[usize::from(slot.number())]
    }

    fn io_error(&self, what: &str, slot: Slot, error: &io::Error) -> MediumError {
        io_error(what, &image_path(&self.directory, slot), error, "check the disk")
    }

    /// Writes anew the pages in which a write of that many bytes begins and ends, FFh where they cannot be read. To change a part of
    /// a page the system must read it first, and a power cut may leave one that cannot be read.
    fn mend(&self, image: &S::File, offset: u64, length: u64) -> io::Result<()> {
        for inside in [offset, offset.saturating_add(length)] {
            let start = inside - inside % PAGE;
            if start == inside {
                continue;
            }
            let mut page =
                vec![0xff; usize::try_from(PAGE.min(self.slot_length - start)).unwrap_or_default()];
            let mut at = start;
            for sector in page.chunks_mut(SECTOR) {
                if self.system.read_at(image, sector, at).is_err() {
                    sector.fill(0xff);
                }
                at = at.saturating_add(sector.len() as u64);
            }
            self.system.write_at(image, &page, start)?;
        }
        Ok(())
    }

    /// Reads a small file that may be missing; `limit` bytes and one more at most.
    fn load(&self, name: &str, limit: usize) -> Result<Option<Vec<u8>>, MediumError> {
        let path = self.directory.join(name);
        let failed = |error: io::Error| io_error("cannot read", &path, &error, READABLE);
        let file = match self.system.open(&path, Open::Read) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(failed(error)),
        };
        let length = self.system.length(&file).map_err(failed)?;
        let most = limit.saturating_add(1);
        let mut bytes = vec![0; usize::try_from(length).unwrap_or(most).min(most)];
        self.system.read_at(&file, &mut bytes, 0).map_err(failed)?;
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
        let file = self.system.open(&temporary, Open::Replace).map_err(failed(&temporary))?;
        let written = self.system.write_at(&file, bytes, 0).and_then(|()| self.system.sync(&file));
        written.map_err(failed(&temporary))?;
        self.system.rename(&temporary, &path).map_err(failed(&path))?;
        self.system.sync(&self.directory_file).map_err(failed(&self.directory))
    }
}

impl<S: System> Medium for FileMedium<S> {
    fn slot_length(&self) -> u64 {
        self.slot_length
    }

    fn read(&mut self, slot: Slot, offset: u64, to: &mut [u8]) -> Result<(), MediumError> {
        check_range(self.slot_length, slot, offset, to.len())?;
        let read = self.system.read_at(self.image(slot), to, offset);
        read.map_err(|error| self.io_error("cannot read", slot, &error))
    }

    fn write(&mut self, slot: Slot, offset: u64, data: &[u8]) -> Result<(), MediumError> {
        check_range(self.slot_length, slot, offset, data.len())?;
        let image = self.image(slot);
        let write = || self.system.write_at(image, data, offset);
        let failed = |error: io::Error| self.io_error("cannot write", slot, &error);
        write().map_err(failed).or_else(|error| match error.kind {
            MediumErrorKind::Io => {
                self.mend(image, offset, data.len() as u64).and_then(|()| write()).map_err(failed)
            }
            MediumErrorKind::NoSpace
            | MediumErrorKind::InUse
            | MediumErrorKind::NotAStore
            | MediumErrorKind::OutOfRange => Err(error),
        })
    }

    fn sync(&mut self, slot: Slot) -> Result<(), MediumError> {
        let image = self.image(slot);
        let synced = self.system.sync(image);
        self.system.forget(image);
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

    fn load_journal(&mut self, area: Place) -> Result<Vec<u8>, MediumError> {
        let path = self.directory.join(journal_name(area));
        let failed = |error: io::Error| io_error("cannot read", &path, &error, READABLE);
        let file = match self.system.open(&path, Open::Read) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(failed(error)),
        };
        let length = self.system.length(&file).map_err(failed)?;
        let most = AREA_LENGTH.saturating_add(1);
        let mut bytes = vec![0; usize::try_from(length).unwrap_or(most).min(most)];
        let mut at = 0;
        for sector in bytes.chunks_mut(SECTOR) {
            // A cut while an entry was added may leave what cannot be read; the entries elsewhere still count.
            if self.system.read_at(&file, sector, at).is_err() {
                sector.fill(0);
            }
            at = at.saturating_add(sector.len() as u64);
        }
        Ok(bytes)
    }

    fn append_journal(&mut self, area: Place, bytes: &[u8]) -> Result<(), MediumError> {
        let path = self.directory.join(journal_name(area));
        let failed = |error: io::Error| io_error("cannot write", &path, &error, WRITABLE);
        let file = self.system.open(&path, Open::Write).map_err(failed)?;
        let length = self.system.length(&file).map_err(failed)?;
        let written = self.system.write_at(&file, bytes, length).and_then(|()| self.system.sync(&file));
        written.map_err(failed)
    }

    fn start_journal(&mut self, area: Place, bytes: &[u8]) -> Result<(), MediumError> {
        self.replace(journal_name(area), bytes)
    }
}

/// Bytes that file systems write as one, at most.
const PAGE: u64 = 4096;
/// Bytes that disks read as one, at least.
const SECTOR: usize = 512;

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

const fn journal_name(area: Place) -> &'static str {
    match area {
        Place::First => "journal.0",
        Place::Second => "journal.1",
    }
}

fn image_path(directory: &Path, slot: Slot) -> PathBuf {
    directory.join(match slot {
        Slot::A => "slot-a.img",
        Slot::B => "slot-b.img",
    })
}

/// Makes the directory of a store, and those above it, unless they are there. Durable when this returns.
fn make_directory(system: &impl System, directory: &Path) -> io::Result<()> {
    if system.is_directory(directory) {
        return Ok(());
    }
    let parent = match directory.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        Some(_) | None => Path::new("."),
    };
    make_directory(system, parent)?;
    system.make_directory(directory)?;
    system.sync(&system.open(parent, Open::Read)?)
}

/// Opens an image; `how` says whether one that is missing is made.
fn open_image<S: System>(system: &S, path: &Path, how: Open) -> Result<S::File, MediumError> {
    system.open(path, how).map_err(|error| {
        if error.kind() == io::ErrorKind::NotFound {
            let message = format!("{} is missing; make a store with `inbandd init`", path.display());
            return MediumError::new(MediumErrorKind::NotAStore, message);
        }
        io_error("cannot open", path, &error, WRITABLE)
    })
}

fn length_of<S: System>(system: &S, image: &S::File, path: &Path) -> Result<u64, MediumError> {
    system.length(image).map_err(|error| io_error("cannot look at", path, &error, READABLE))
}

/// Takes the lock of a store, or says that it is taken. The kernel gives it back however the process ends.
fn lock<S: System>(system: &S, directory: &Path) -> Result<S::File, MediumError> {
    let path = directory.join("lock");
    let file =
        system.open(&path, Open::Create).map_err(|error| io_error("cannot open", &path, &error, WRITABLE))?;
    match system.lock(&file) {
        Ok(()) => Ok(file),
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
            let message =
                format!("{} is in use by another inbandd; stop that one first", directory.display());
            Err(MediumError::new(MediumErrorKind::InUse, message))
        }
        Err(error) => Err(io_error("cannot lock", &path, &error, WRITABLE)),
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
