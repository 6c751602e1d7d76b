//! System keys in a directory: ours, or the one that OpenBMC has already.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::string::String;
use std::vec::Vec;

use super::files::{self, TextError};
use super::{KeyError, KeyId, KeyRing, PublicKey};
use crate::signature::Kind;

/// Longest file that is read, in bytes: far more than any key needs.
const MAX_FILE_LENGTH: u64 = 64 * 1024;

/// Most keys of a directory.
const MAX_KEYS: usize = 64;

/// Name of the list of revoked keys.
const REVOKED: &str = "revoked";

/// What a directory of system keys holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SystemKeys {
    /// The keys, in the order of their files' names.
    pub keys: Vec<PublicKey>,
    /// The revoked ones.
    pub revoked: Vec<KeyId>,
}

/// Why a directory of system keys cannot be used. One bad file is enough: leaving it out could mean to accept
/// what a revoked key has signed, or to refuse every package for a reason nobody sees.
#[derive(Debug, thiserror::Error)]
pub enum DirectoryError {
    /// It cannot be read.
    #[error("{}: {source}", path.display())]
    Io {
        /// The directory or file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A file that is too long.
    #[error("{}: longer than {MAX_FILE_LENGTH} bytes", path.display())]
    Long {
        /// The file.
        path: PathBuf,
    },
    /// Too many keys.
    #[error("{}: more than {MAX_KEYS} keys", path.display())]
    Many {
        /// The directory.
        path: PathBuf,
    },
    /// A file that is no usable key.
    #[error("{}: {source}", path.display())]
    Key {
        /// The file.
        path: PathBuf,
        /// Why.
        source: KeyError,
    },
    /// A list or a `hashfunc` that is not as it must be.
    #[error("{}: {source}", path.display())]
    Text {
        /// The file.
        path: PathBuf,
        /// Why.
        source: TextError,
    },
}

impl SystemKeys {
    /// Reads our own kind of directory: a public key in every `*.pem`, and the ids of revoked keys in `revoked`,
    /// if there is one. Other files are not looked at.
    ///
    /// # Errors
    /// Any [`DirectoryError`].
    pub fn read(directory: &Path) -> Result<Self, DirectoryError> {
        let mut keys = Vec::new();
        for path in entries(directory)? {
            if path.extension().is_some_and(|extension| extension == "pem") {
                keys.push(public_key(&path)?);
            }
        }
        Self { keys, revoked: revoked(directory)? }.limited(directory)
    }

    /// Reads OpenBMC's kind of directory, `/etc/activationdata`: a folder for each key, with `publickey` and
    /// `hashfunc` in it. A `revoked` beside the folders is read as in our own kind.
    ///
    /// # Errors
    /// Any [`DirectoryError`].
    pub fn read_openbmc(directory: &Path) -> Result<Self, DirectoryError> {
        let mut keys = Vec::new();
        for folder in entries(directory)? {
            if !folder.is_dir() {
                continue;
            }
            let path = folder.join("hashfunc");
            let scheme =
                files::hashfunc(&text(&path)?).map_err(|source| DirectoryError::Text { path, source })?;
            let path = folder.join("publickey");
            let key = public_key(&path)?;
            keys.push(key.only_for(scheme).map_err(|source| DirectoryError::Key { path, source })?);
        }
        Self { keys, revoked: revoked(directory)? }.limited(directory)
    }

    /// The ring of these keys that requires these kinds.
    ///
    /// # Errors
    /// As [`KeyRing::with_revoked`].
    pub fn ring(self, required: Vec<Kind>) -> Result<KeyRing, KeyError> {
        KeyRing::with_revoked(required, self.keys, self.revoked)
    }

    fn limited(self, directory: &Path) -> Result<Self, DirectoryError> {
        if self.keys.len() > MAX_KEYS {
            return Err(DirectoryError::Many { path: directory.into() });
        }
        Ok(self)
    }
}

/// What is in the directory, by name.
fn entries(directory: &Path) -> Result<Vec<PathBuf>, DirectoryError> {
    let unreadable = |source| DirectoryError::Io { path: directory.into(), source };
    let entries = fs::read_dir(directory).map_err(unreadable)?;
    let mut paths: Vec<_> =
        entries.map(|entry| entry.map(|entry| entry.path())).collect::<Result<_, _>>().map_err(unreadable)?;
    paths.sort();
    Ok(paths)
}

fn public_key(path: &Path) -> Result<PublicKey, DirectoryError> {
    PublicKey::from_pem(&text(path)?).map_err(|source| DirectoryError::Key { path: path.into(), source })
}

fn revoked(directory: &Path) -> Result<Vec<KeyId>, DirectoryError> {
    let path = directory.join(REVOKED);
    // A link to nowhere is not the same as no list.
    if path.symlink_metadata().is_err_and(|error| error.kind() == io::ErrorKind::NotFound) {
        return Ok(Vec::new());
    }
    files::revoked(&text(&path)?).map_err(|source| DirectoryError::Text { path, source })
}

fn text(path: &Path) -> Result<String, DirectoryError> {
    let unreadable = |source| DirectoryError::Io { path: path.into(), source };
    let mut text = String::new();
    let file = File::open(path).map_err(unreadable)?;
    if file.take(MAX_FILE_LENGTH + 1).read_to_string(&mut text).map_err(unreadable)? as u64 > MAX_FILE_LENGTH
    {
        return Err(DirectoryError::Long { path: path.into() });
    }
    Ok(text)
}
