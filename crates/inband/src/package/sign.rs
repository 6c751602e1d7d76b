//! `inband sign`: with a private key at hand, or in two steps with one that is elsewhere.

use std::{
    fs::{File, OpenOptions},
    io::Read,
    path::Path,
};

use inband_package::{
    PublicKey,
    maker::{self, PrivateKey},
};
use serde::Serialize;

use super::{
    check::make_error,
    files::write_new,
    keys::{read_pem, read_private},
    suffix,
};
use crate::{cli::args::Sign, error::Error, output::Output, text::shown_path};

/// Longest signature of any kind, bytes.
const MAX_SIGNATURE: u64 = inband_package::signature::MAX_LENGTH as u64;

#[derive(Serialize)]
struct Signed {
    path: String,
    what: &'static str,
}

/// Signs, writes the bytes to sign, or attaches a signature.
///
/// # Errors
/// [`Error::File`], [`Error::Key`], [`Error::BadPackage`].
pub fn run(args: &Sign, output: &mut Output) -> Result<(), Error> {
    let path = &args.package;
    let what = match (&args.key, &args.bytes, &args.signature, &args.signer) {
        (Some(key), ..) => {
            let key = read_private(key)?;
            in_place(path, |file| maker::sign(file, &key).map_err(|error| make_error(path, error)))?;
            "signed"
        }
        (None, Some(to), ..) => {
            let mut file = open(path, false)?;
            let bytes = maker::signed_bytes_of(&mut file).map_err(|error| make_error(path, error))?;
            write_new(to, &bytes, false)?;
            "bytes-written"
        }
        (None, None, Some(signature), Some(signer)) => {
            let key = PublicKey::from_pem(&read_pem(signer)?)
                .map_err(|error| Error::Key { path: signer.clone(), reason: error.to_string() })?;
            let signature = read_signature(signature)?;
            in_place(path, |file| {
                maker::attach(file, &key, &signature).map_err(|error| make_error(path, error))
            })?;
            "signed"
        }
        (None, None, ..) => {
            return Err(Error::Usage("say what to do: --key, --bytes or --signature".to_owned()));
        }
    };
    output.text(match &args.bytes {
        None => format!("{}: signed", shown_path(path)),
        Some(to) => format!("{}: the bytes to sign are in {}", shown_path(path), shown_path(to)),
    });
    output.json("signed", &Signed { path: path.to_string_lossy().into_owned(), what });
    Ok(())
}

/// Signs a package with a key.
///
/// # Errors
/// As [`run`].
pub fn with_key(path: &Path, key: &PrivateKey) -> Result<(), Error> {
    in_place(path, |file| maker::sign(file, key).map_err(|error| make_error(path, error)))
}

/// Changes a signature, and the DFU suffix with it, whose checksum covers the signature too.
fn in_place(path: &Path, change: impl FnOnce(&mut File) -> Result<(), Error>) -> Result<(), Error> {
    let failed = |source| Error::File { path: path.to_owned(), action: "read or write", source };
    let mut file = open(path, true)?;
    let length = maker::inspect(&mut file).map_err(|error| make_error(path, error))?.head.total_length;
    let found = suffix::find(&mut file, length).map_err(failed)?;
    change(&mut file)?;
    if let Some(found) = found {
        suffix::refresh(&mut file, length, &found).map_err(failed)?;
    }
    file.sync_all().map_err(failed)
}

fn open(path: &Path, write: bool) -> Result<File, Error> {
    OpenOptions::new().read(true).write(write).open(path).map_err(|source| Error::File {
        path: path.to_owned(),
        action: "open",
        source,
    })
}

fn read_signature(path: &Path) -> Result<Vec<u8>, Error> {
    let mut bytes = Vec::new();
    open(path, false)?.take(MAX_SIGNATURE + 1).read_to_end(&mut bytes).map_err(|source| Error::File {
        path: path.to_owned(),
        action: "read",
        source,
    })?;
    Ok(bytes)
}
