//! A medium in memory, which the kernel can be given as a file and which nobody can write to in the end.

use std::{
    fs::File,
    io,
    ops::Range,
    os::{
        fd::{AsFd, BorrowedFd, OwnedFd},
        unix::fs::MetadataExt as _,
    },
};

use rustix::{
    fs::{MemfdFlags, SealFlags, SeekFrom, fcntl_add_seals, memfd_create, seek},
    io::Errno,
};

use crate::GadgetError;

/// Bytes of a block.
const BLOCK: u64 = 512;

/// A medium that can be written to: memory of a fixed size, taken where something is written.
#[derive(Debug)]
pub struct Backing(File);

impl Backing {
    /// So many blocks of 512 bytes, all zeros.
    ///
    /// # Errors
    /// There are none, or more than a file can have, or the system has no memfd_create(2).
    pub fn new(blocks: u64) -> Result<Self, GadgetError> {
        let length = blocks.checked_mul(BLOCK).filter(|length| *length > 0);
        let made = || -> io::Result<File> {
            let length = length.ok_or(io::ErrorKind::InvalidInput)?;
            let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
            let file = File::from(memfd_create("inband-disk", flags)?);
            file.set_len(length)?;
            // Nobody who can open it makes it another size under the kernel.
            fcntl_add_seals(&file, SealFlags::GROW | SealFlags::SHRINK)?;
            Ok(file)
        };
        made().map(Self).map_err(GadgetError::system(format!("make a medium of {blocks} blocks")))
    }

    /// For what is to be on it before it is inserted.
    #[must_use]
    pub const fn file(&self) -> &File {
        &self.0
    }

    /// Nobody writes to it from here on: not whoever else has it open, not even the kernel, should it be about to.
    ///
    /// # Errors
    /// Somebody has it mapped to write to it.
    pub fn seal(self) -> Result<Sealed, GadgetError> {
        fcntl_add_seals(&self.0, SealFlags::WRITE | SealFlags::SEAL)
            .map_err(GadgetError::system("seal a medium"))?;
        Ok(Sealed(self.0))
    }
}

/// A medium that nobody can write to any more.
#[derive(Debug)]
pub struct Sealed(File);

impl Sealed {
    /// For reading.
    #[must_use]
    pub const fn file(&self) -> &File {
        &self.0
    }

    /// The parts that were written, before it was inserted or by the host, in bytes: in order, with something between them. They begin and end with
    /// pages of memory (4096 bytes, where pages are not larger), so what is told as written may have blocks in it that were not.
    ///
    /// # Errors
    /// Of lseek(2).
    pub fn written(&self) -> io::Result<Vec<Range<u64>>> {
        let mut parts = Vec::new();
        let mut end = 0;
        loop {
            let start = match seek(&self.0, SeekFrom::Data(end)) {
                Ok(start) => start,
                // Nothing behind this.
                Err(Errno::NXIO) => return Ok(parts),
                Err(error) => return Err(error.into()),
            };
            end = seek(&self.0, SeekFrom::Hole(start))?;
            parts.push(start..end);
        }
    }
}

impl AsFd for Sealed {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl From<Sealed> for OwnedFd {
    fn from(sealed: Sealed) -> Self {
        sealed.0.into()
    }
}

/// What can be inserted.
#[derive(Debug)]
pub enum Medium {
    /// The host may write.
    Writable(Backing),
    /// The host is told that it may not.
    ReadOnly(Sealed),
}

impl Medium {
    pub(super) const fn file(&self) -> &File {
        match self {
            Self::Writable(backing) => backing.file(),
            Self::ReadOnly(sealed) => sealed.file(),
        }
    }

    /// Bytes of memory.
    pub(super) fn memory(&self) -> u64 {
        // stat(2) counts in units of 512 bytes, whatever a page has.
        self.file().metadata().map_or(0, |info| info.blocks() * 512)
    }

    pub(super) const fn is_sealed(&self) -> bool {
        matches!(self, Self::ReadOnly(_))
    }

    pub(super) fn seal(self) -> Result<Sealed, GadgetError> {
        match self {
            Self::Writable(backing) => backing.seal(),
            Self::ReadOnly(sealed) => Ok(sealed),
        }
    }
}

impl From<Backing> for Medium {
    fn from(backing: Backing) -> Self {
        Self::Writable(backing)
    }
}

impl From<Sealed> for Medium {
    fn from(sealed: Sealed) -> Self {
        Self::ReadOnly(sealed)
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::FileExt as _;

    use super::*;

    #[test]
    fn a_medium_has_the_size_it_was_made_with_and_no_other() {
        let backing = Backing::new(8).unwrap();
        assert_eq!(backing.file().metadata().unwrap().len(), 4096);
        assert!(backing.file().set_len(8192).is_err());
        assert!(backing.file().set_len(512).is_err());
        assert!(backing.file().write_at(&[1], 4096).is_err());
        for blocks in [0, u64::MAX, 1 << 60] {
            assert!(Backing::new(blocks).is_err(), "{blocks}");
        }
    }

    #[test]
    fn a_sealed_medium_is_written_to_by_nobody() {
        let backing = Backing::new(8).unwrap();
        let other = backing.file().try_clone().unwrap();
        other.write_all_at(b"before", 0).unwrap();
        let sealed = backing.seal().unwrap();
        let path = format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&sealed.as_fd()));
        let another = File::options().read(true).write(true).open(path).unwrap();
        for file in [&other, &another] {
            let error = file.write_all_at(b"behind", 0).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::PermissionDenied);
        }
        let mut bytes = [0; 6];
        sealed.file().read_exact_at(&mut bytes, 0).unwrap();
        assert_eq!(&bytes, b"before");
    }

    #[test]
    fn what_was_written_is_known_by_pages() {
        // Large pages may be larger still.
        let blocks = 64 << 11;
        let written = |parts: &[(u64, usize)]| {
            let backing = Backing::new(blocks).unwrap();
            for (offset, length) in parts {
                backing.file().write_all_at(&vec![0; *length], *offset).unwrap();
            }
            backing.seal().unwrap().written().unwrap()
        };
        assert!(written(&[]).is_empty());
        let one = written(&[(20 << 20, 512)]);
        assert_eq!(one.len(), 1);
        assert!(one[0].start <= 20 << 20 && one[0].end >= (20 << 20) + 512, "{one:?}");
        assert!(one[0].end - one[0].start <= 2 << 20, "{one:?}");
        let two = written(&[(0, 512), ((64 << 20) - 512, 512)]);
        assert_eq!((two.len(), two[0].start, two[1].end), (2, 0, 64 << 20));
        assert_eq!(written(&[(0, 64 << 20)]).first(), Some(&(0..64 << 20)));
    }
}
