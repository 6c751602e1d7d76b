//! The lock of the daemon that serves, against whoever takes the device off the bus because none does.
//!
//! It is on the folder that the service manager made for the daemon (RUNTIME_DIRECTORY, systemd.exec(5)): there is one, nobody but root and
//! the daemon's user can open it, and the kernel unlocks it when the process ends, however it does.

use std::{
    env,
    fs::File,
    os::fd::OwnedFd,
    path::{Path, PathBuf},
};

use rustix::{
    fs::{FlockOperation, flock},
    io::Errno,
};

use crate::error::Error;

/// Held while the daemon serves.
#[derive(Debug)]
pub struct Serving {
    _folder: OwnedFd,
}

impl Serving {
    /// From here on nobody takes the device away. Nothing where no service manager made a folder.
    ///
    /// # Errors
    /// Somebody is about to take the device off the bus and to end this process, which must not serve any more; or the folder cannot be
    /// locked.
    pub fn begin() -> Result<Option<Self>, Error> {
        let Some(folders) = env::var_os("RUNTIME_DIRECTORY") else { return Ok(None) };
        folder(&folders).map(|folder| Self::lock(&folder)).transpose()
    }

    fn lock(folder: &Path) -> Result<Self, Error> {
        let failed = |error| Error::System { what: "cannot lock the folder in RUNTIME_DIRECTORY", error };
        let file = File::open(folder).map_err(failed)?;
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(Self { _folder: file.into() }),
            Err(Errno::WOULDBLOCK) => Err(Error::Released),
            Err(error) => Err(failed(error.into())),
        }
    }
}

/// The first of the folders, which stand between colons.
fn folder(folders: &std::ffi::OsStr) -> Option<PathBuf> {
    env::split_paths(folders).next().filter(|path| path.is_absolute())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_at_a_time_has_the_folder() {
        let folder = tempfile::tempdir().unwrap();
        let first = Serving::lock(folder.path()).unwrap();
        assert!(matches!(Serving::lock(folder.path()), Err(Error::Released)));
        drop(first);
        assert!(Serving::lock(folder.path()).is_ok());
        let missing = folder.path().join("missing");
        assert!(matches!(Serving::lock(&missing), Err(Error::System { .. })));
    }

    #[test]
    fn the_folder_is_the_first_of_those_named() {
        assert_eq!(folder("/run/inband".as_ref()), Some("/run/inband".into()));
        assert_eq!(folder("/run/inband:/run/other".as_ref()), Some("/run/inband".into()));
        assert_eq!(folder("".as_ref()), None);
    }
}
