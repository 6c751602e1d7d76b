//! Memory for a firmware tar without a head: a file that has no name, and that nobody can change once it is sealed.

use std::{
    fs::{self, File},
    io::{self, Write as _},
    os::unix::fs::FileExt as _,
    path::PathBuf,
};

use inband_package::openbmc::{Stage, StageError, Staging};
use rustix::{
    fs::{MemfdFlags, SealFlags, fcntl_add_seals, memfd_create},
    io::Errno,
};

/// Gives sealable memory (memfd_create(2)) as long as the machine has enough.
#[derive(Clone, Debug)]
pub struct Memfds {
    meminfo: PathBuf,
}

impl Default for Memfds {
    fn default() -> Self {
        Self { meminfo: "/proc/meminfo".into() }
    }
}

impl Memfds {
    /// The same, that learns what the machine has from this file instead of `/proc/meminfo`.
    #[must_use]
    pub const fn with_meminfo(meminfo: PathBuf) -> Self {
        Self { meminfo }
    }

    /// Bytes that can be taken without a machine that swaps or kills: MemAvailable (proc_meminfo(5)).
    fn available(&self) -> io::Result<u64> {
        let text = fs::read_to_string(&self.meminfo)?;
        let line = text.lines().find_map(|line| line.strip_prefix("MemAvailable:"));
        let kib = line.and_then(|line| line.trim().strip_suffix(" kB")?.parse::<u64>().ok());
        kib.and_then(|kib| kib.checked_mul(1024))
            .ok_or_else(|| io::Error::other(format!("{} has no MemAvailable", self.meminfo.display())))
    }
}

impl Staging for Memfds {
    fn open(&self, most: u64, margin: u64) -> Result<Box<dyn Stage>, StageError> {
        // What cannot be known is not there.
        let available = self.available().map_err(|error| StageError::Failed(error.to_string()))?;
        let needed = most.saturating_add(margin);
        if needed > available {
            return Err(StageError::NoSpace { needed, available });
        }
        let file = memfd_create("inbandd-tar", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING)
            .map_err(|error| failed(&error.into()))?;
        Ok(Box::new(Memfd { file: file.into(), length: 0, most }))
    }
}

/// One tar's memory. It is given back when this is dropped.
#[derive(Debug)]
struct Memfd {
    file: File,
    length: u64,
    most: u64,
}

impl Stage for Memfd {
    fn append(&mut self, bytes: &[u8]) -> Result<(), StageError> {
        let length = self.length.saturating_add(bytes.len() as u64);
        if length > self.most {
            return Err(StageError::NoSpace { needed: length, available: self.most });
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
        let mut stage = Memfd { file: file.into(), length: 0, most: 100 };
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
        assert!(matches!(staging.open(1, 0), Err(StageError::Failed(_))), "no such file");
        for wrong in [
            "",
            "MemFree: 9999999 kB\n",
            "MemAvailable: many kB\n",
            "MemAvailable: 18446744073709551615 kB\n",
        ] {
            fs::write(&meminfo, wrong).unwrap();
            assert!(matches!(staging.open(1, 0), Err(StageError::Failed(_))), "{wrong}");
        }
        fs::write(&meminfo, "MemTotal: 1000 kB\nMemAvailable:      100 kB\n").unwrap();
        assert!(staging.open(100 * 1024 - 10, 10).is_ok());
        let needed = 100 * 1024 + 1;
        let refused = staging.open(needed - 10, 10).unwrap_err();
        assert_eq!(refused, StageError::NoSpace { needed, available: 100 * 1024 });
        assert!(matches!(staging.open(u64::MAX, 10), Err(StageError::NoSpace { .. })));
    }
}
