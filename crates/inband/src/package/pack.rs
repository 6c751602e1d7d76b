//! `inband pack`.

use std::path::Path;

use inband_dfu::suffix::Suffix;
use inband_package::{
    PublicKey,
    index::MemberKind,
    maker::{self, Input, PackOptions, Source},
};
use serde::Serialize;

use super::{
    check::make_error,
    files::Part,
    keys::{read_pem, read_private},
    suffix,
};
use crate::{
    cli::args::Pack,
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
    dfu_suffix: bool,
}

/// Makes a package.
///
/// # Errors
/// [`Error::File`], [`Error::Key`], [`Error::Pack`].
pub fn run(args: &Pack, output: &mut Output) -> Result<(), Error> {
    let private = args.key.as_deref().map(read_private).transpose()?;
    let signer = match (&private, &args.signer, &args.key) {
        (Some(key), _, Some(path)) => {
            key.public().map_err(|error| Error::Key { path: path.clone(), reason: error.to_string() })?
        }
        (_, Some(path), _) => PublicKey::from_pem(&read_pem(path)?)
            .map_err(|error| Error::Key { path: path.clone(), reason: error.to_string() })?,
        _ => return Err(Error::Usage("a package needs --key or --signer".to_owned())),
    };
    let options = PackOptions {
        machine: args.machine.clone(),
        compatible: args.compatible.clone(),
        version: args.firmware_version.clone(),
        security_version: args.security_version,
        bcd_device: args.bcd_device.0,
        targets: vec!["bmc".to_owned()],
        mtime: args.mtime,
        compression: None,
        signers: vec![signer.signature_entry()],
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
    if let Some(file) = part.file() {
        if let Some(key) = &private {
            maker::sign(file, key).map_err(|error| make_error(&args.out, error))?;
        }
        if let Some(ids) = args.dfu_suffix {
            let suffix = Suffix { vendor: ids.vendor, product: ids.product, device: args.bcd_device.0 };
            suffix::append(file, &suffix).map_err(|source| write_error(&args.out, source))?;
        }
    }
    part.finish()?;

    let digest = hex(&inband_package::head::digest(&packed.head_bytes));
    let signed = private.is_some();
    output.text(format_args!(
        "{}: {} in {}{}, {}\ndigest {digest}",
        shown_path(&args.out),
        bytes(packed.head.total_length),
        counted(packed.index.members.len(), "member"),
        if args.dfu_suffix.is_some() { " and a DFU suffix" } else { "" },
        if signed { "signed" } else { "not signed yet: `inband sign` does that" },
    ));
    output.json(
        "packed",
        &Packed {
            path: args.out.to_string_lossy().into_owned(),
            machine: packed.head.machine,
            version: packed.index.version,
            length: packed.head.total_length,
            digest,
            signed,
            dfu_suffix: args.dfu_suffix.is_some(),
        },
    );
    Ok(())
}

fn write_error(path: &Path, source: std::io::Error) -> Error {
    Error::File { path: path.to_owned(), action: "write", source }
}
