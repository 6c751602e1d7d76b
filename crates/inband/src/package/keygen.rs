//! `inband keygen`.

use std::{
    ffi::OsString,
    io,
    path::{Path, PathBuf},
};

use inband_package::maker::PrivateKey;
use serde::Serialize;

use super::{check::make_error, files::write_new};
use crate::{
    cli::{args::Keygen, values::NewKey},
    error::Error,
    output::Output,
    text::{hex, shown_path},
};

#[derive(Serialize)]
struct Keys {
    private: String,
    public: String,
    kind: &'static str,
    id: String,
}

/// A private key of the system's randomness.
///
/// # Errors
/// [`Error::System`] if the system has none to give.
pub fn random_key(kind: NewKey) -> Result<PrivateKey, Error> {
    match kind {
        NewKey::Ed25519 => Ok(PrivateKey::from_seed(&random()?)),
        // All but one number in 2^190 make a key.
        NewKey::P384 => loop {
            if let Some(key) = PrivateKey::p384_from_number(&random()?) {
                return Ok(key);
            }
        },
    }
}

fn random<const N: usize>() -> Result<[u8; N], Error> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).map_err(|error| Error::System {
        action: "get randomness for a key",
        source: io::Error::other(error),
    })?;
    Ok(bytes)
}

/// Makes PREFIX.key and PREFIX.pub.
///
/// # Errors
/// [`Error::File`], also if one of them is there already.
pub fn run(args: &Keygen, output: &mut Output) -> Result<(), Error> {
    let prefix = args.out.as_path();
    let private_path = with_suffix(prefix, ".key");
    let public_path = with_suffix(prefix, ".pub");
    for path in [&private_path, &public_path] {
        if path.symlink_metadata().is_ok() {
            let source =
                io::Error::new(io::ErrorKind::AlreadyExists, "it is there already and may be in use");
            return Err(Error::File { path: path.clone(), action: "create", source });
        }
    }
    let key = random_key(args.kind)?;
    let key_error = |error| make_error(&private_path, inband_package::maker::MakeError::Key(error));
    let public = key.public().map_err(key_error)?;
    let public_pem = public.to_pem().map_err(key_error)?;
    write_new(&private_path, key.to_pem().map_err(key_error)?.as_bytes(), true)?;
    write_new(&public_path, public_pem.as_bytes(), false)?;
    output.text(format_args!(
        "private key: {}  (keep it secret)\npublic key:  {}  (goes to the BMC's system keys, as {})\nkey id:      {}",
        shown_path(&private_path),
        shown_path(&public_path),
        shown_path(Path::new(with_suffix(prefix, ".pem").file_name().unwrap_or_default())),
        hex(public.id())
    ));
    output.json(
        "keys",
        &Keys {
            private: private_path.to_string_lossy().into_owned(),
            public: public_path.to_string_lossy().into_owned(),
            kind: public.kind().name(),
            id: hex(public.id()),
        },
    );
    Ok(())
}

fn with_suffix(prefix: &Path, suffix: &str) -> PathBuf {
    let mut name = OsString::from(prefix);
    name.push(suffix);
    name.into()
}
