//! `inband sign`: with a private key at hand, or in two steps with one that is elsewhere.

use std::{
    fs::{self, File},
    io::{self, IsTerminal, Read, Seek},
    path::Path,
};

use inband_package::{
    Hex,
    head::SignatureEntry,
    maker::{self, Inspection, MakeError},
};
use serde::Serialize;

use super::{
    check::{make_error, refused},
    files::Part,
    keys::{PublicKeys, read_private},
    signatures::{self, Signature},
    suffix,
};
use crate::{
    cancel::Cancel,
    cli::args::Sign,
    error::Error,
    output::Output,
    text::{hex, shown_path},
};

/// Longest signature of any kind, bytes.
const MAX_SIGNATURE: u64 = inband_package::signature::MAX_LENGTH as u64;

#[derive(Serialize)]
struct Signed {
    path: String,
    what: &'static str,
    missing: Vec<Signature>,
}

#[derive(Serialize)]
struct ToSign {
    path: String,
    out: Option<String>,
    bytes: String,
    missing: Vec<Signature>,
}

/// Signs, prints the bytes to sign, or attaches a signature.
///
/// # Errors
/// [`Error::File`], [`Error::Key`], [`Error::RsaKey`], [`Error::Signer`], [`Error::BadPackage`], [`Error::Cancelled`].
pub fn run(args: &Sign, output: &mut Output, cancel: &Cancel) -> Result<(), Error> {
    let path = &args.package;
    if args.print_bytes {
        return print_bytes(path, args.out.as_deref(), output, cancel);
    }
    let (what, missing) = match (&args.key, &args.attach) {
        (Some(key), _) => {
            let key = read_private(key)?;
            let sign = |file: &mut File, _: &Inspection| {
                maker::sign(file, &key).map_err(|error| make_error(path, error))
            };
            ("signed", replace(path, cancel, sign)?)
        }
        (None, Some(signature)) => {
            let keys = PublicKeys::load(&args.keys, &[])?
                .ok_or_else(|| Error::Usage("--attach needs --keys".to_owned()))?;
            let signature = read_signature(signature)?;
            let attach =
                |file: &mut File, package: &Inspection| attach(path, file, package, &keys, &signature);
            ("attached", replace(path, cancel, attach)?)
        }
        (None, None) => {
            return Err(Error::Usage("say what to do: --key, --print-bytes or --attach".to_owned()));
        }
    };
    output.text(format_args!(
        "{}: {what}{}",
        shown_path(path),
        if missing.is_empty() { ", nothing missing" } else { "; more signatures have to follow" }
    ));
    for entry in &missing {
        output.text(format_args!("missing: {}", signatures::listed(&[*entry])));
    }
    let missing = signatures::all(&missing);
    output.json("signed", &Signed { path: path.to_string_lossy().into_owned(), what, missing });
    Ok(())
}

/// The bytes to sign go where they are wanted; what is said of them goes elsewhere.
fn print_bytes(path: &Path, out: Option<&Path>, output: &mut Output, cancel: &Cancel) -> Result<(), Error> {
    let mut file = File::open(path).map_err(|source| failed(path, "open", source))?;
    // Nobody should unlock an HSM for a package that is broken.
    whole(path, &mut file)?;
    file.rewind().map_err(|source| failed(path, "read", source))?;
    let bytes = maker::signed_bytes_of(&mut file).map_err(|error| make_error(path, error))?;
    let missing = maker::missing(&mut file).map_err(|error| make_error(path, error))?;
    match out {
        Some(out) => {
            let mut part = Part::create(out)?;
            part.write(|file| {
                io::Write::write_all(file, &bytes).map_err(|source| failed(out, "write", source))
            })?;
            part.finish(cancel)?;
        }
        None if output.is_json() => {}
        None if io::stdout().is_terminal() => {
            return Err(Error::Usage(
                "the bytes to sign are not for a terminal: use --out FILE, or pipe them to the signer"
                    .to_owned(),
            ));
        }
        None => output.raw(&bytes),
    }
    let name = out.map_or_else(|| "BYTES".to_owned(), shown_path);
    for entry in &missing {
        output.note(format_args!("missing: {}", signatures::listed(&[*entry])));
        if let Some(command) = signatures::openssl(entry.scheme, &name) {
            output.note(format_args!("  {command}"));
        }
    }
    output.json(
        "to-sign",
        &ToSign {
            path: path.to_string_lossy().into_owned(),
            out: out.map(|out| out.to_string_lossy().into_owned()),
            bytes: hex(&bytes),
            missing: signatures::all(&missing),
        },
    );
    Ok(())
}

/// Attaches a signature in the place of the signer that it verifies for.
fn attach(
    path: &Path,
    file: &mut File,
    package: &Inspection,
    keys: &PublicKeys,
    signature: &[u8],
) -> Result<(), Error> {
    let signer = |reason: String| Error::Signer { path: path.to_owned(), reason };
    let entries = &package.head.signatures;
    let mut tried: Vec<SignatureEntry> = Vec::new();
    for entry in entries {
        if keys.ring().revoked().contains(&entry.key_id) {
            return Err(signer(format!("the {} key {} is revoked", entry.kind(), Hex(&entry.key_id))));
        }
        for key in keys.ring().keys().iter().filter(|key| *key.id() == entry.key_id) {
            match maker::attach(file, key, signature) {
                Ok(()) => return Ok(()),
                Err(MakeError::WrongSignature { .. }) => tried.push(*entry),
                Err(other) => return Err(make_error(path, other)),
            }
        }
    }
    Err(signer(if tried.is_empty() {
        format!("it was packed for other signers than these keys: {}", signatures::listed(entries))
    } else {
        format!("the signature is of other bytes, or not made so: {}", signatures::listed(&tried))
    }))
}

/// Replaces a package by a copy with another signature, all or nothing; tells which signatures are missing then. The checksum of a
/// DFU suffix covers the signatures, so it is made anew.
fn replace(
    path: &Path,
    cancel: &Cancel,
    change: impl FnOnce(&mut File, &Inspection) -> Result<(), Error>,
) -> Result<Vec<SignatureEntry>, Error> {
    // What a link points to is replaced, not the link.
    let target = fs::canonicalize(path).map_err(|source| failed(path, "open", source))?;
    let mut part = Part::copy_of(&target)?;
    let file = part.file();
    let package = whole(path, file)?;
    let length = package.head.total_length;
    let suffix = suffix::find(file, length).map_err(|source| failed(path, "read", source))?;
    change(file, &package)?;
    if let Some(suffix) = suffix {
        suffix::refresh(file, length, &suffix).map_err(|source| failed(path, "write", source))?;
    }
    let missing = maker::missing(file).map_err(|error| make_error(path, error))?;
    part.finish(cancel)?;
    Ok(missing)
}

/// What is in a package of which nothing is broken, but for signatures.
fn whole(path: &Path, file: &mut File) -> Result<Inspection, Error> {
    let package = maker::inspect(file).map_err(|error| make_error(path, error))?;
    match &package.fault {
        Some(fault) => Err(refused(path, fault)),
        None => Ok(package),
    }
}

fn read_signature(path: &Path) -> Result<Vec<u8>, Error> {
    let mut bytes = Vec::new();
    let file = File::open(path).map_err(|source| failed(path, "open", source))?;
    file.take(MAX_SIGNATURE + 1).read_to_end(&mut bytes).map_err(|source| failed(path, "read", source))?;
    Ok(bytes)
}

fn failed(path: &Path, action: &'static str, source: io::Error) -> Error {
    Error::File { path: path.to_owned(), action, source }
}
