//! Memory for a firmware tar without a head: a file that has no name, and that nobody can change once it is sealed.

use std::{
    fs::File,
    io::{self, Write as _},
    os::unix::fs::FileExt as _,
    path::PathBuf,
};

use inband_package::openbmc::{Stage, StageError, Staging};
use rustix::{
    fs::{MemfdFlags, SealFlags, fcntl_add_seals, memfd_create},
    io::Errno,
};

use crate::memory::{self, MEMINFO};

/// Bytes taken from one look at the machine's memory to the next.
const CHECK: u64 = 1024 * 1024;

/// Gives sealable memory (memfd_create(2)) as long as the machine has enough.
#[derive(Clone, Debug)]
pub struct Memfds {
    meminfo: PathBuf,
}

impl Default for Memfds {
    fn default() -> Self {
        Self { meminfo: MEMINFO.into() }
    }
}

impl Memfds {
    /// The same, that learns what the machine has from this file instead of `/proc/meminfo`.
    #[must_use]
    pub const fn with_meminfo(meminfo: PathBuf) -> Self {
        Self { meminfo }
    }

    /// Whether so many bytes can be taken.
    fn check(&self, needed: u64) -> Result<(), StageError> {
        let available = memory::or_none(memory::available(&self.meminfo));
        if needed > available { Err(StageError::NoSpace { needed, available }) } else { Ok(()) }
    }
}

impl Staging for Memfds {
    fn open(&self, most: u64, margin: u64) -> Result<Box<dyn Stage>, StageError> {
        self.check(most.saturating_add(margin))?;
        let file = memfd_create("inbandd-tar", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING)
            .map_err(|error| failed(&error.into()))?;
        Ok(Box::new(Memfd { file: file.into(), length: 0, most, memory: self.clone(), margin, checked: 0 }))
    }
}

/// One tar's memory. It is given back when this is dropped.
#[derive(Debug)]
struct Memfd {
    file: File,
    length: u64,
    most: u64,
    memory: Memfds,
    margin: u64,
    /// Bytes up to which there was memory when that was looked at last.
    checked: u64,
}

impl Stage for Memfd {
    fn append(&mut self, bytes: &[u8]) -> Result<(), StageError> {
        let length = self.length.saturating_add(bytes.len() as u64);
        if length > self.most {
            return Err(StageError::NoSpace { needed: length, available: self.most });
        }
        // A host may take an hour, and others take memory meanwhile. What is here counts for no process, so that one of theirs
        // would be killed for it, and nothing gained.
        if length > self.checked {
            let ahead = CHECK.max(bytes.len() as u64);
            self.memory.check(ahead.min(self.most - self.length).saturating_add(self.margin))?;
            self.checked = self.length.saturating_add(ahead);
        }
        self.file.write_all(bytes).map_err(|error| match error.kind() {
            io::ErrorKind::OutOfMemory | io::ErrorKind::StorageFull => {
                StageError::NoSpace { needed: length, available: self.length }
            }
            _ => failed(&error),
        })?;
        self.length = length;
        Ok(())
    }

    fn seal(&mut self) -> Result<(), StageError> {
        let seals = SealFlags::WRITE | SealFlags::GROW | SealFlags::SHRINK | SealFlags::SEAL;
        fcntl_add_seals(&self.file, seals).map_err(|error: Errno| failed(&error.into()))
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> Result<(), StageError> {
        self.file.read_exact_at(buffer, offset).map_err(|error| failed(&error))
    }
}

fn failed(error: &io::Error) -> StageError {
    StageError::Failed(error.to_string())
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    const MARGIN: u64 = 1 << 20;

    #[test]
    fn what_is_sealed_is_what_was_appended_and_stays_so() {
        let mut stage = Memfds::default().open(100_000, MARGIN).unwrap();
        stage.append(&[1; 70_000]).unwrap();
        stage.append(&[2; 30_000]).unwrap();
        assert_eq!(stage.append(&[3]), Err(StageError::NoSpace { needed: 100_001, available: 100_000 }));
        stage.seal().unwrap();
        let mut read = vec![0; 4];
        stage.read_at(69_998, &mut read).unwrap();
        assert_eq!(read, [1, 1, 2, 2]);
        assert!(matches!(stage.read_at(99_998, &mut read), Err(StageError::Failed(_))));
    }

    #[test]
    fn a_sealed_file_cannot_be_changed_by_anybody() {
        let file = memfd_create("test", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING).unwrap();
        let memory = Memfds::default();
        let mut stage = Memfd { file: file.into(), length: 0, most: 100, memory, margin: 0, checked: 0 };
        stage.append(b"firmware").unwrap();
        stage.seal().unwrap();
        // Whoever gets hold of the file.
        let mut other = stage.file.try_clone().unwrap();
        assert_eq!(other.write_at(b"x", 0).unwrap_err().raw_os_error(), Some(Errno::PERM.raw_os_error()));
        assert!(other.write(b"x").is_err() && other.set_len(3).is_err() && other.set_len(30).is_err());
        assert_eq!(fcntl_add_seals(&other, SealFlags::FUTURE_WRITE), Err(Errno::PERM));
        let mut read = [0; 8];
        stage.read_at(0, &mut read).unwrap();
        assert_eq!(&read, b"firmware");
    }

    #[test]
    fn memory_that_is_not_there_is_not_promised() {
        let folder = tempfile::tempdir().unwrap();
        let meminfo = folder.path().join("meminfo");
        let staging = Memfds::with_meminfo(meminfo.clone());
        let unknown = Err(StageError::NoSpace { needed: 1, available: 0 });
        assert_eq!(staging.open(1, 0).map(drop), unknown, "no such file");
        for wrong in [
            "",
            "MemFree: 9999999 kB\n",
            "MemAvailable: many kB\n",
            "MemAvailable: 18446744073709551615 kB\n",
        ] {
            fs::write(&meminfo, wrong).unwrap();
            assert_eq!(staging.open(1, 0).map(drop), unknown, "{wrong}");
        }
        fs::write(&meminfo, "MemTotal: 1000 kB\nMemAvailable:      100 kB\n").unwrap();
        assert!(staging.open(100 * 1024 - 10, 10).is_ok());
        let needed = 100 * 1024 + 1;
        let refused = staging.open(needed - 10, 10).unwrap_err();
        assert_eq!(refused, StageError::NoSpace { needed, available: 100 * 1024 });
        assert!(matches!(staging.open(u64::MAX, 10), Err(StageError::NoSpace { .. })));
    }

    #[test]
    fn memory_that_others_have_taken_since_is_not_taken() {
        let folder = tempfile::tempdir().unwrap();
        let meminfo = folder.path().join("meminfo");
        let tell = |kib: u64| fs::write(&meminfo, format!("MemAvailable: {kib} kB\n")).unwrap();
        tell(9 * 1024);
        let mut stage = Memfds::with_meminfo(meminfo.clone()).open(8 << 20, MARGIN).unwrap();
        stage.append(&vec![1; 4096]).unwrap();
        tell(2 * 1024 - 1);
        let mut append = || (0..512).find_map(|_| stage.append(&[1; 4096]).err());
        let available = (2 * 1024 - 1) * 1024;
        assert_eq!(append(), Some(StageError::NoSpace { needed: 2 << 20, available }));
        tell(2 * 1024);
        assert_eq!(append(), None);
    }
}
