//! `inband verify`.

use inband_package::KeyRing;
use serde::Serialize;

use super::{
    check::{Demands, check},
    keys,
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
}

/// Checks every byte of a package.
///
/// # Errors
/// [`Error::BadPackage`], [`Error::File`], [`Error::Key`], [`Error::Cancelled`].
pub fn run(args: &Verify, output: &mut Output, cancel: &Cancel) -> Result<(), Error> {
    let keys: Option<KeyRing> = keys::load(&args.keys.files, args.keys.directory.as_deref())?;
    let demands = Demands { keys: keys.as_ref(), machine: args.machine.as_deref() };
    let verified = check(&args.package, demands, cancel)?;
    let chunks: usize = verified.index.members.iter().map(|member| member.chunks.len()).sum();
    let (verdict, signature) = match &keys {
        Some(_) => ("good", "verified"),
        None => ("good, but for the signature", "NOT CHECKED: no --key and no --keys"),
    };
    output.text(format_args!(
        "{}: {verdict}\n  head        format 1, {}\n  signature   {signature}\n  index       matches the head; version {}, security version {}\n  \
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
        },
    );
    Ok(())
}
