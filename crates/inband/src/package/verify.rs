//! `inband verify`.

use std::{fs::File, path::Path};

use inband_package::{head::SignatureEntry, maker};
use serde::Serialize;

use super::{
    check::{Demands, check, make_error},
    keys::PublicKeys,
    signatures::{self, Signature},
};
use crate::{
    cancel::Cancel,
    cli::args::Verify,
    error::Error,
    output::Output,
    text::{bytes, counted, hex, shown, shown_path},
};

#[derive(Serialize)]
struct Verified {
    path: String,
    machine: String,
    version: String,
    security_version: u32,
    digest: String,
    length: u64,
    signature_verified: bool,
    signatures: Vec<Signature>,
    missing: Vec<Signature>,
}

/// Checks every byte of a package.
///
/// # Errors
/// [`Error::BadPackage`], [`Error::File`], [`Error::Key`], [`Error::Cancelled`].
pub fn run(args: &Verify, output: &mut Output, cancel: &Cancel) -> Result<(), Error> {
    let keys = PublicKeys::load(&args.keys.keys, &args.keys.require)?;
    let demands = Demands { keys: keys.as_ref(), machine: args.machine.as_deref() };
    let verified = check(&args.package, demands, cancel)?;
    let chunks: usize = verified.index.members.iter().map(|member| member.chunks.len()).sum();
    let entries = &verified.head.signatures;
    let missing = missing(&args.package)?;
    let verdict = match &keys {
        Some(_) => "good",
        None if missing.is_empty() => "good, but for the signatures",
        None => "good, but not signed yet",
    };
    let signatures: String = entries
        .iter()
        .map(|entry| {
            let state = match &keys {
                Some(_) => "verified",
                None if missing.contains(entry) => "MISSING",
                None => "NOT CHECKED, for want of --keys",
            };
            format!("  signature   {}: {state}\n", signatures::listed(&[*entry]))
        })
        .collect();
    output.text(format_args!(
        "{}: {verdict}\n  head        format 1, {}\n{signatures}  index       matches the head; version {}, security version {}\n  \
         machine     {}{}\n  members     {} with {}, every hash matches\n  end         nothing behind it but what may be",
        shown_path(&args.package),
        bytes(verified.head.total_length),
        shown(&verified.index.version),
        verified.index.security_version,
        shown(&verified.head.machine),
        if args.machine.is_some() { ", as asked for" } else { "" },
        verified.index.members.len(),
        counted(chunks, "chunk"),
    ));
    output.json(
        "verified",
        &Verified {
            path: args.package.to_string_lossy().into_owned(),
            machine: verified.head.machine,
            version: verified.index.version,
            security_version: verified.index.security_version,
            digest: hex(&verified.head_digest),
            length: verified.head.total_length,
            signature_verified: keys.is_some(),
            signatures: signatures::all(entries),
            missing: signatures::all(&missing),
        },
    );
    Ok(())
}

/// Who has not signed yet.
fn missing(path: &Path) -> Result<Vec<SignatureEntry>, Error> {
    let failed = |source| Error::File { path: path.to_owned(), action: "open", source };
    let mut file = File::open(path).map_err(failed)?;
    maker::missing(&mut file).map_err(|error| make_error(path, error))
}
