//! Public keys from files.

use std::{
    fs,
    path::{Path, PathBuf},
};

use inband_package::{KeyRing, Kind, PublicKey, maker::PrivateKey};

use crate::error::Error;

/// Longest key file that is read, bytes.
const MAX_KEY_FILE: u64 = 64 * 1024;

/// Reads a key file: PEM, and not absurdly long.
///
/// # Errors
/// [`Error::Key`].
pub fn read_pem(path: &Path) -> Result<String, Error> {
    use std::io::Read;

    let wrong = |reason: String| Error::Key { path: path.to_owned(), reason };
    let file = fs::File::open(path).map_err(|error| wrong(format!("the key cannot be read: {error}")))?;
    let mut text = String::new();
    file.take(MAX_KEY_FILE)
        .read_to_string(&mut text)
        .map_err(|error| wrong(format!("the key cannot be read: {error}")))?;
    Ok(text)
}

/// Reads a private key.
///
/// # Errors
/// [`Error::Key`].
pub fn read_private(path: &Path) -> Result<PrivateKey, Error> {
    PrivateKey::from_pem(&read_pem(path)?)
        .map_err(|error| Error::Key { path: path.to_owned(), reason: error.to_string() })
}

/// The ring of public keys in the given files and in the directory's `*.pem` and `*.pub`; `None` if neither is given.
///
/// # Errors
/// [`Error::Key`] for a file that is no key, or a directory without any.
pub fn load(files: &[PathBuf], directory: Option<&Path>) -> Result<Option<KeyRing>, Error> {
    let mut paths = files.to_vec();
    if let Some(directory) = directory {
        paths.extend(in_directory(directory)?);
    }
    let Some(first) = paths.first().cloned() else { return Ok(None) };
    let mut keys = Vec::new();
    for path in &paths {
        let key = PublicKey::from_pem(&read_pem(path)?)
            .map_err(|error| Error::Key { path: path.clone(), reason: error.to_string() })?;
        keys.push(key);
    }
    ring(keys, &first).map(Some)
}

/// A ring of these keys, of which each may sign; `path` names them if they do not do.
///
/// # Errors
/// [`Error::Key`].
pub fn ring(keys: Vec<PublicKey>, path: &Path) -> Result<KeyRing, Error> {
    KeyRing::new(vec![Kind::Ed25519], keys)
        .map_err(|error| Error::Key { path: path.to_owned(), reason: error.to_string() })
}

fn in_directory(directory: &Path) -> Result<Vec<PathBuf>, Error> {
    let wrong = |reason: String| Error::Key { path: directory.to_owned(), reason };
    let entries =
        fs::read_dir(directory).map_err(|error| wrong(format!("the directory cannot be read: {error}")))?;
    let mut found: Vec<PathBuf> = entries
        .filter_map(|entry| entry.ok().map(|entry| entry.path()))
        .filter(|path| path.extension().is_some_and(|extension| extension == "pem" || extension == "pub"))
        .collect();
    found.sort();
    if found.is_empty() {
        return Err(wrong("there is no key (*.pem or *.pub) in it".to_owned()));
    }
    Ok(found)
}
