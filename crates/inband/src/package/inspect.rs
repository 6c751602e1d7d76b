//! `inband inspect`: what a file says of itself, checked or not.

use std::{fs::File, path::Path};

use inband_package::{index::MemberKind, maker};
use serde::Serialize;

use super::{check::make_error, diff, signatures, suffix};
use crate::{
    cli::args::Inspect,
    error::Error,
    output::Output,
    text::{Table, bcd, bytes, hex, shown, shown_path},
};

#[derive(Serialize)]
struct Inspected {
    path: String,
    machine: String,
    length: u64,
    mtime: u64,
    digest: String,
    signatures: Vec<Signature>,
    version: Option<String>,
    security_version: Option<u32>,
    bcd_device: Option<String>,
    compatible: Vec<String>,
    targets: Vec<String>,
    members: Vec<Member>,
    dfu_suffix: Option<DfuSuffix>,
    fault: Option<String>,
}

#[derive(Serialize)]
struct Signature {
    #[serde(flatten)]
    of: signatures::Signature,
    signed: bool,
}

#[derive(Serialize)]
struct Member {
    name: String,
    kind: &'static str,
    target: Option<String>,
    length: u64,
    chunks: usize,
}

#[derive(Serialize)]
struct DfuSuffix {
    vendor: String,
    product: String,
    device: String,
}

/// Shows a package, or what an update to it costs. A broken one is shown as far as it goes, with what is wrong.
///
/// # Errors
/// [`Error::BadPackage`] if it has no readable head; [`Error::File`].
pub fn run(args: &Inspect, output: &mut Output) -> Result<(), Error> {
    match &args.diff {
        Some(old) => diff::run(old, &args.package, output),
        None => show(&args.package, output),
    }
}

fn show(path: &Path, output: &mut Output) -> Result<(), Error> {
    let failed = |action| move |source| Error::File { path: path.to_owned(), action, source };
    let mut file = File::open(path).map_err(failed("open"))?;
    let inspection = maker::inspect(&mut file).map_err(|error| make_error(path, error))?;
    let suffix = suffix::find(&mut file, inspection.head.total_length).map_err(failed("read"))?;
    let signatures = inspection
        .head
        .signatures
        .iter()
        .enumerate()
        .map(|(number, entry)| Signature { of: entry.into(), signed: inspection.is_signed(number) })
        .collect();
    let index = inspection.index.as_ref();
    let members = index.map_or_else(Vec::new, |index| {
        index
            .members
            .iter()
            .map(|member| Member {
                name: member.name.clone(),
                kind: kind_name(member.kind),
                target: index.targets.get(usize::from(member.target)).cloned(),
                length: member.length,
                chunks: member.chunks.len(),
            })
            .collect()
    });
    let inspected = Inspected {
        path: path.to_string_lossy().into_owned(),
        machine: inspection.head.machine.clone(),
        length: inspection.head.total_length,
        mtime: inspection.head.mtime,
        digest: hex(&inspection.head_digest),
        signatures,
        version: index.map(|index| index.version.clone()),
        security_version: index.map(|index| index.security_version),
        bcd_device: index.map(|index| bcd(index.bcd_device)),
        compatible: index.map(|index| index.compatible.clone()).unwrap_or_default(),
        targets: index.map(|index| index.targets.clone()).unwrap_or_default(),
        members,
        dfu_suffix: suffix.map(|suffix| DfuSuffix {
            vendor: format!("{:04x}", suffix.vendor),
            product: format!("{:04x}", suffix.product),
            device: bcd(suffix.device),
        }),
        fault: inspection.fault.as_ref().map(ToString::to_string),
    };
    output.text(text(path, &inspected).trim_end());
    output.json("inspected", &inspected);
    Ok(())
}

/// What a member is, as all outputs name it.
pub(super) const fn kind_name(kind: MemberKind) -> &'static str {
    match kind {
        MemberKind::Image => "image",
        MemberKind::Metadata => "metadata",
    }
}

fn text(path: &Path, inspected: &Inspected) -> String {
    let mut fields = Table::pairs();
    let mut field = |name: &str, value: String| fields.row([name.to_owned(), value]);
    field("package", shown_path(path));
    field("machine", shown(&inspected.machine));
    if let Some(version) = &inspected.version {
        field("version", shown(version));
    }
    if let Some(security) = inspected.security_version {
        field("security version", security.to_string());
    }
    if let Some(bcd) = &inspected.bcd_device {
        field("bcdDevice", bcd.clone());
    }
    for name in &inspected.compatible {
        field("compatible", shown(name));
    }
    field("length", format!("{} ({} bytes)", bytes(inspected.length), inspected.length));
    field("digest", inspected.digest.clone());
    for signature in &inspected.signatures {
        let state = if signature.signed { "signed (not verified here)" } else { "MISSING: not signed yet" };
        field("signature", format!("{} by key {}, {state}", signature.of.scheme, signature.of.key_id));
    }
    if let Some(suffix) = &inspected.dfu_suffix {
        field("DFU suffix", format!("{}:{}, bcdDevice {}", suffix.vendor, suffix.product, suffix.device));
    }
    if let Some(fault) = &inspected.fault {
        field("FAULT", shown(fault));
    }
    if inspected.members.is_empty() {
        return fields.to_string();
    }
    let mut members = Table::new(&["MEMBER", "KIND", "TARGET", "LENGTH", "CHUNKS"]);
    for member in &inspected.members {
        members.row([
            shown(&member.name),
            member.kind.to_owned(),
            member.target.as_deref().map_or_else(|| "-".to_owned(), shown),
            bytes(member.length),
            member.chunks.to_string(),
        ]);
    }
    format!("{fields}\n{members}")
}
