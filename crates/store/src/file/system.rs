//! What the file backend asks of the system, so that tests can put a disk of their own under it.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt};
use std::path::Path;

use rustix::fs::FlockOperation;

/// How a file is opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Open {
    /// To be read, or, where it is a directory, to be synchronised.
    Read,
    /// To be read and written.
    Write,
    /// To be read and written, and made if it is missing.
    Create,
    /// To be written, as a new file: one that is there loses the name. Not its bytes: a power cut in the middle of a
    /// rename may have left it another one.
    Replace,
}

/// The calls of the file backend. Each is one of the system's, and its errors are the system's. What a power cut
/// leaves is only sure where [`System::sync`] says so.
pub trait System {
    /// An open file, or directory. Its lock is given up when it is dropped.
    type File;

    /// Whether there is a directory.
    fn is_directory(&self, path: &Path) -> bool;

    /// Makes a directory that no other user may look into.
    ///
    /// # Errors
    /// Above all: there is something of that name, or no directory for it.
    fn make_directory(&self, path: &Path) -> io::Result<()>;

    /// Opens a file; one that is made is this user's alone.
    ///
    /// # Errors
    /// [`io::ErrorKind::NotFound`] if it is missing and not to be made.
    fn open(&self, path: &Path, how: Open) -> io::Result<Self::File>;

    /// Takes the lock of a file.
    ///
    /// # Errors
    /// [`io::ErrorKind::WouldBlock`] if it is taken.
    fn lock(&self, file: &Self::File) -> io::Result<()>;

    /// Bytes of a file.
    ///
    /// # Errors
    /// They cannot be told.
    fn length(&self, file: &Self::File) -> io::Result<u64>;

    /// Makes a file this long; new bytes are 0 and take no space.
    ///
    /// # Errors
    /// There is no room, or the file system has a limit.
    fn set_length(&self, file: &Self::File, length: u64) -> io::Result<()>;

    /// Fills `to` from `offset` on.
    ///
    /// # Errors
    /// Not all of the bytes can be had.
    fn read_at(&self, file: &Self::File, to: &mut [u8], offset: u64) -> io::Result<()>;

    /// Writes all of `data` from `offset` on. Later reads see it; a power cut may leave any part of it.
    ///
    /// # Errors
    /// Any part may have been written.
    fn write_at(&self, file: &Self::File, data: &[u8], offset: u64) -> io::Result<()>;

    /// Makes the bytes and the length of a file durable, and of a directory the names in it. The name of a file belongs to its
    /// directory.
    ///
    /// # Errors
    /// Any part may be durable.
    fn sync(&self, file: &Self::File) -> io::Result<()>;

    /// Lets go of what is cached of a file and not waiting to be written, so that the next read asks the disk; as far as
    /// the system can.
    fn forget(&self, file: &Self::File);

    /// Gives a file another name, in place of the file that had it: after a power cut the name stands for the one or the other.
    ///
    /// # Errors
    /// The names are as they were.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;
}

/// The system that runs us.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Native;

impl System for Native {
    type File = File;

    fn is_directory(&self, path: &Path) -> bool {
        path.is_dir()
    }

    fn make_directory(&self, path: &Path) -> io::Result<()> {
        DirBuilder::new().mode(0o700).create(path)
    }

    fn open(&self, path: &Path, how: Open) -> io::Result<File> {
        // Who may write these files decides what boots, and who may open the lock can hold it.
        let mut options = OpenOptions::new();
        options.mode(0o600).read(true);
        match how {
            Open::Read => &mut options,
            Open::Write => options.write(true),
            Open::Create => options.write(true).create(true).truncate(false),
            Open::Replace => match fs::remove_file(path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                Ok(()) | Err(_) => options.write(true).create_new(true),
            },
        };
        options.open(path)
    }

    fn lock(&self, file: &File) -> io::Result<()> {
        Ok(rustix::fs::flock(file, FlockOperation::NonBlockingLockExclusive)?)
    }

    fn length(&self, file: &File) -> io::Result<u64> {
        Ok(file.metadata()?.len())
    }

    fn set_length(&self, file: &File, length: u64) -> io::Result<()> {
        file.set_len(length)
    }

    fn read_at(&self, file: &File, to: &mut [u8], offset: u64) -> io::Result<()> {
        file.read_exact_at(to, offset)
    }

    fn write_at(&self, file: &File, data: &[u8], offset: u64) -> io::Result<()> {
        file.write_all_at(data, offset)
    }

    fn sync(&self, file: &File) -> io::Result<()> {
        file.sync_all()
    }

    /// Above all after a failed synchronisation: the kernel then still has the bytes, takes them for written, and would show
    /// them as if the disk had them.
    fn forget(&self, file: &File) {
        // Advice: a file system that has no disk, or keeps the bytes for another reason, may leave it. Other systems
        // have no such call, and no BMC runs them.
        #[cfg(target_os = "linux")]
        let _ = rustix::fs::fadvise(file, 0, None, rustix::fs::Advice::DontNeed);
        #[cfg(not(target_os = "linux"))]
        let _ = file;
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }
}
