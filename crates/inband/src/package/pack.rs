//! `inband pack`.

use std::path::Path;

use inband_dfu::suffix::Suffix;
use inband_package::{
    Index,
    head::SignatureEntry,
    index::{Member, MemberKind},
    maker::{self, Input, PackOptions, PrivateKey, Source},
};
use serde::Serialize;

use super::{
    check::make_error,
    files::Part,
    keys::{public_half, read_private, read_public},
    signatures::{self, Signature},
    suffix,
};
use crate::{
    cancel::Cancel,
    cli::{args::Pack, values::Signer},
    error::Error,
    output::Output,
    text::{bytes, counted, hex, shown_path},
};

#[derive(Serialize)]
struct Packed {
    path: String,
    machine: String,
    version: String,
    length: u64,
    digest: String,
    signed: bool,
    signatures: Vec<Signature>,
    missing: Vec<Signature>,
    stored: u64,
    sent: u64,
    dfu_suffix: bool,
}

/// Makes a package.
///
/// # Errors
/// [`Error::File`], [`Error::Key`], [`Error::RsaKey`], [`Error::Pack`], [`Error::Cancelled`].
pub fn run(args: &Pack, output: &mut Output, cancel: &Cancel) -> Result<(), Error> {
    let private = args.keys.iter().map(|path| read_private(path)).collect::<Result<Vec<_>, _>>()?;
    let signers = signers(args, &private)?;
    let options = PackOptions {
        machine: args.machine.clone(),
        compatible: args.compatible.clone(),
        version: args.firmware_version.clone(),
        security_version: args.security_version,
        bcd_device: args.bcd_device.0,
        targets: vec!["bmc".to_owned()],
        mtime: args.mtime,
        compression: args.compress,
        signers,
    };
    let images = args.members.iter().map(|member| (member, MemberKind::Image));
    let metadata = args.metadata.iter().map(|member| (member, MemberKind::Metadata));
    // Metadata first: a MANIFEST is what other readers of such an archive look for.
    let inputs: Vec<Input> = metadata
        .chain(images)
        .map(|(member, kind)| Input {
            name: member.name.clone(),
            kind,
            target: 0,
            source: Source::File(member.path.clone()),
        })
        .collect();

    let mut part = Part::create(&args.out)?;
    let packed = part
        .write(|file| maker::pack(&options, &inputs, file).map_err(|error| make_error(&args.out, error)))?;
    let file = part.file();
    for key in &private {
        maker::sign(file, key).map_err(|error| make_error(&args.out, error))?;
    }
    let missing = maker::missing(file).map_err(|error| make_error(&args.out, error))?;
    if let Some(ids) = args.dfu_suffix {
        let suffix = Suffix { vendor: ids.vendor, product: ids.product, device: args.bcd_device.0 };
        suffix::append(file, &suffix).map_err(|source| write_error(&args.out, source))?;
    }
    part.finish(cancel)?;

    let digest = hex(&inband_package::head::digest(&packed.head_bytes));
    let (stored, sent) =
        (sum(&packed.index, |member| member.length), sum(&packed.index, Member::sent_length));
    output.text(format_args!(
        "{}: {} in {}{}, {}\ndigest {digest}",
        shown_path(&args.out),
        bytes(packed.head.total_length),
        counted(packed.index.members.len(), "member"),
        if args.dfu_suffix.is_some() { " and a DFU suffix" } else { "" },
        if missing.is_empty() { "signed" } else { "not signed yet: `inband sign` does that" },
    ));
    for entry in &missing {
        output.text(format_args!("missing: {}", signatures::listed(&[*entry])));
    }
    if args.compress.is_some() {
        output.text(format_args!(
            "compression saved {} of {} ({} %)",
            bytes(stored.saturating_sub(sent)),
            bytes(stored),
            stored.saturating_sub(sent).saturating_mul(100).checked_div(stored).unwrap_or(0)
        ));
    }
    output.json(
        "packed",
        &Packed {
            path: args.out.to_string_lossy().into_owned(),
            machine: packed.head.machine,
            version: packed.index.version,
            length: packed.head.total_length,
            digest,
            signed: missing.is_empty(),
            signatures: signatures::all(&packed.head.signatures),
            missing: signatures::all(&missing),
            stored,
            sent,
            dfu_suffix: args.dfu_suffix.is_some(),
        },
    );
    Ok(())
}

/// Who signs, now or later, by kind: so one and the same package comes out, whoever of them signs at once.
fn signers(args: &Pack, private: &[PrivateKey]) -> Result<Vec<SignatureEntry>, Error> {
    let mut signers = Vec::new();
    for (key, path) in private.iter().zip(&args.keys) {
        signers.push(public_half(key, path)?.signature_entry());
    }
    for Signer { path, scheme } in &args.unsigned {
        let mut key = read_public(path)?;
        if let Some(scheme) = scheme {
            key = key.only_for(*scheme).map_err(|error| Error::key(path, error))?;
        }
        signers.push(key.signature_entry());
    }
    signers.sort_by_key(SignatureEntry::kind);
    Ok(signers)
}

fn sum(index: &Index, length: impl Fn(&Member) -> u64) -> u64 {
    index.members.iter().map(length).sum()
}

fn write_error(path: &Path, source: std::io::Error) -> Error {
    Error::File { path: path.to_owned(), action: "write", source }
}
