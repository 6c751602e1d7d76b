//! Keys from files.

use std::{
    borrow::Cow,
    fs,
    io::Read,
    path::{Path, PathBuf},
};

use inband_package::{
    Head, KeyRing, Kind, PublicKey, Refusal, Verifier,
    head::{SignatureEntry, SignedHead},
    key::{DirectoryError, KeyError, SystemKeys},
    maker::PrivateKey,
};

use crate::{error::Error, text::shown_line};

/// Longest key file that is read, bytes.
const MAX_KEY_FILE: u64 = 64 * 1024;

/// Reads a key file: PEM, and not absurdly long.
///
/// # Errors
/// [`Error::Key`].
fn read_pem(path: &Path) -> Result<String, Error> {
    let unreadable = |error| Error::key(path, format_args!("the key cannot be read: {error}"));
    let mut text = String::new();
    let file = fs::File::open(path).map_err(unreadable)?;
    file.take(MAX_KEY_FILE).read_to_string(&mut text).map_err(unreadable)?;
    Ok(text)
}

/// Reads a private key.
///
/// # Errors
/// [`Error::Key`]; [`Error::RsaKey`], which tells how to sign with one.
pub fn read_private(path: &Path) -> Result<PrivateKey, Error> {
    PrivateKey::from_pem(&read_pem(path)?).map_err(|error| match error {
        KeyError::RsaPrivate => Error::RsaKey { path: path.to_owned() },
        other => Error::key(path, other),
    })
}

/// The public half of a private key; `path` names it if there is none.
///
/// # Errors
/// [`Error::Key`].
pub fn public_half(key: &PrivateKey, path: &Path) -> Result<PublicKey, Error> {
    key.public().map_err(|error| Error::key(path, error))
}

/// Reads a public key.
///
/// # Errors
/// [`Error::Key`], also for a key that no BMC accepts.
pub fn read_public(path: &Path) -> Result<PublicKey, Error> {
    let key = PublicKey::from_pem(&read_pem(path)?).map_err(|error| Error::key(path, error))?;
    KeyRing::new(vec![key.kind()], vec![key.clone()]).map_err(|error| Error::key(path, error))?;
    Ok(key)
}

/// Public keys, and which kinds of signature a package must have.
///
/// A BMC requires the kinds that its configuration lists. Here they may be left open: then those that the package announces are
/// required, of which there is at least one. All-of is the rule either way: each signature of the package must be by one of the keys
/// that is not revoked, and verify.
#[derive(Clone, Debug)]
pub struct PublicKeys {
    ring: KeyRing,
    /// Whether the package says what is required.
    open: bool,
}

impl PublicKeys {
    /// The keys in these files and directories, `None` if there are no paths; `require` is empty to leave the kinds open.
    ///
    /// # Errors
    /// [`Error::Key`] for a file that is no key, a directory without any, a key that no BMC accepts, and a required kind
    /// without a key.
    pub fn load(paths: &[PathBuf], require: &[Kind]) -> Result<Option<Self>, Error> {
        let Some(first) = paths.first() else { return Ok(None) };
        let mut found = SystemKeys::default();
        for path in paths {
            if path.is_dir() {
                let more = read_directory(path)?;
                found.keys.extend(more.keys);
                found.revoked.extend(more.revoked);
            } else {
                found.keys.push(read_public(path)?);
            }
        }
        let open = require.is_empty();
        let mut required = require.to_vec();
        if open {
            let usable = found.keys.iter().filter(|key| !found.revoked.contains(key.id()));
            required = usable.map(PublicKey::kind).collect();
            if required.is_empty() {
                return Err(Error::key(first, "every key is revoked"));
            }
        }
        let ring = found.ring(required).map_err(|error| Error::key(first, error))?;
        Ok(Some(Self { ring, open }))
    }

    /// One key, whose signature a package must have; `path` names it if it does not do.
    ///
    /// # Errors
    /// [`Error::Key`].
    pub fn one(key: PublicKey, path: &Path) -> Result<Self, Error> {
        let ring = KeyRing::new(vec![key.kind()], vec![key]).map_err(|error| Error::key(path, error))?;
        Ok(Self { ring, open: false })
    }

    /// The keys and the revoked ones among them.
    #[must_use]
    pub const fn ring(&self) -> &KeyRing {
        &self.ring
    }

    /// The ring for a package with this head.
    fn ring_for(&self, head: &Head) -> Cow<'_, KeyRing> {
        if self.open {
            Cow::Owned(self.ring.requiring(head.signatures.iter().map(SignatureEntry::kind).collect()))
        } else {
            Cow::Borrowed(&self.ring)
        }
    }
}

impl Verifier for PublicKeys {
    fn accepts(&self, head: &Head) -> Result<(), Refusal> {
        self.ring_for(head).accepts(head)
    }

    fn verify(&self, head: &Head, bytes: &SignedHead, signatures: &[Vec<u8>]) -> Result<(), Refusal> {
        self.ring_for(head).verify(head, bytes, signatures)
    }
}

/// The keys of a directory as a BMC has it: ours, or OpenBMC's where folders hold the keys.
fn read_directory(path: &Path) -> Result<SystemKeys, Error> {
    // The error names a file, and so may say anything.
    let wrong = |error: DirectoryError| Error::key(path, shown_line(&error.to_string()));
    let mut keys = SystemKeys::read(path).map_err(wrong)?;
    if keys.keys.is_empty() && is_openbmc(path) {
        keys = SystemKeys::read_openbmc(path).map_err(wrong)?;
    }
    if keys.keys.is_empty() {
        return Err(Error::key(path, "there is no key in it: a public key is a file *.pem there"));
    }
    Ok(keys)
}

/// Whether a folder in there is one of OpenBMC's for a key, or a part of one.
fn is_openbmc(path: &Path) -> bool {
    let has = |folder: &Path, file: &str| folder.join(file).symlink_metadata().is_ok();
    fs::read_dir(path).is_ok_and(|entries| {
        let mut folders = entries.flatten().map(|entry| entry.path());
        folders.any(|folder| has(&folder, "publickey") || has(&folder, "hashfunc"))
    })
}
