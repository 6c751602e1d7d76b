//! `inband inspect --diff`: what an update from one package to another costs.

use std::{fs::File, path::Path};

use inband_package::{
    Head, Index, Refusal,
    head::SignatureEntry,
    index::MemberKind,
    maker::{self, Change, Cost, Inspection, MemberDiff},
    refusal::ArchivePart,
};
use serde::Serialize;

use super::{
    check::{make_error, refused},
    inspect::kind_name,
    signatures,
};
use crate::{
    error::Error,
    output::Output,
    text::{Table, bcd, bytes, hex, shown, shown_line, shown_path},
};

#[derive(Serialize)]
struct Report {
    old: Package,
    new: Package,
    signatures_verified: bool,
    /// Whether the security version is lower than it was.
    lower_security_version: bool,
    changes: Vec<FieldChange>,
    members: Vec<Member>,
    gone: Vec<String>,
    total: Counts,
    bulk: u64,
    dfu: u64,
}

#[derive(Serialize)]
struct Package {
    path: String,
    version: String,
    digest: String,
    fault: Option<String>,
}

#[derive(Serialize)]
struct FieldChange {
    what: &'static str,
    old: String,
    new: String,
}

#[derive(Serialize)]
struct Member {
    name: String,
    kind: &'static str,
    change: &'static str,
    #[serde(flatten)]
    counts: Counts,
}

#[derive(Serialize)]
struct Counts {
    length: u64,
    chunks: usize,
    shared_chunks: usize,
    shared: u64,
    new_bytes: u64,
    sent: u64,
    flash: u64,
}

impl From<Cost> for Counts {
    fn from(cost: Cost) -> Self {
        Self {
            length: cost.length,
            chunks: cost.chunks,
            shared_chunks: cost.shared_chunks,
            shared: cost.shared,
            new_bytes: cost.new_bytes(),
            sent: cost.sent,
            flash: cost.flash,
        }
    }
}

/// Compares two packages. What is broken behind their indexes is told, and does not stop it.
///
/// # Errors
/// [`Error::BadPackage`] if one of them has no readable index; [`Error::File`].
pub(super) fn run(old_path: &Path, new_path: &Path, output: &mut Output) -> Result<(), Error> {
    let (old, old_index) = read(old_path)?;
    let (new, new_index) = read(new_path)?;
    let diff = maker::diff(&old_index, &new.head, &new_index);
    let report = Report {
        old: package(old_path, &old, &old_index),
        new: package(new_path, &new, &new_index),
        // Nothing was said of keys.
        signatures_verified: false,
        lower_security_version: new_index.security_version < old_index.security_version,
        changes: changes((&old.head, &old_index), (&new.head, &new_index)),
        members: diff.members.iter().map(member).collect(),
        gone: diff.gone.clone(),
        total: diff.total().into(),
        bulk: diff.needed(),
        dfu: diff.whole,
    };
    output.text(text(old_path, new_path, &report).trim_end());
    output.json("diff", &report);
    Ok(())
}

fn read(path: &Path) -> Result<(Inspection, Index), Error> {
    let mut file =
        File::open(path).map_err(|source| Error::File { path: path.to_owned(), action: "open", source })?;
    let mut package = maker::inspect(&mut file).map_err(|error| make_error(path, error))?;
    match package.index.take() {
        Some(index) => Ok((package, index)),
        None => {
            // A reader that has not come to the index has found a fault before.
            let part = ArchivePart::Header(inband_package::index::MEMBER_NAME.to_owned());
            Err(refused(path, &package.fault.unwrap_or(Refusal::BadArchive { part, offset: 0 })))
        }
    }
}

fn package(path: &Path, package: &Inspection, index: &Index) -> Package {
    Package {
        path: path.to_string_lossy().into_owned(),
        version: index.version.clone(),
        digest: hex(&package.head_digest),
        fault: package.fault.as_ref().map(ToString::to_string),
    }
}

fn member(diff: &MemberDiff) -> Member {
    Member {
        name: diff.name.clone(),
        kind: kind_name(diff.kind),
        change: match diff.change {
            Change::Added => "added",
            Change::Changed => "changed",
            Change::Same => "same",
        },
        counts: diff.cost.into(),
    }
}

/// What the packages say of themselves, where it differs.
fn changes((old_head, old): (&Head, &Index), (new_head, new): (&Head, &Index)) -> Vec<FieldChange> {
    let fields = [
        ("machine", old.machine.clone(), new.machine.clone()),
        ("compatible", old.compatible.join(", "), new.compatible.join(", ")),
        ("version", old.version.clone(), new.version.clone()),
        ("security-version", old.security_version.to_string(), new.security_version.to_string()),
        ("bcd-device", bcd(old.bcd_device), bcd(new.bcd_device)),
        ("targets", old.targets.join(", "), new.targets.join(", ")),
    ];
    let fields = fields.into_iter().map(|(what, old, new)| FieldChange { what, old, new });
    let signer = |entry: &SignatureEntry| signatures::listed(&[*entry]);
    let only = |one: &Head, other: &Head| -> Vec<String> {
        one.signatures.iter().filter(|entry| !other.signatures.contains(entry)).map(signer).collect()
    };
    let gone = only(old_head, new_head).into_iter().map(|old| (old, String::new()));
    let added = only(new_head, old_head).into_iter().map(|new| (String::new(), new));
    let signers = gone.chain(added).map(|(old, new)| FieldChange { what: "signer", old, new });
    fields.filter(|field| field.old != field.new).chain(signers).collect()
}

fn text(old: &Path, new: &Path, diff: &Report) -> String {
    let mut facts = Table::pairs();
    for (name, path, package) in [("old", old, &diff.old), ("new", new, &diff.new)] {
        facts.row([name.to_owned(), format!("{}, version {}", shown_path(path), shown(&package.version))]);
        if let Some(fault) = &package.fault {
            facts.row(["FAULT".to_owned(), shown(fault)]);
        }
    }
    facts.row(["signatures".to_owned(), "NOT VERIFIED here, of neither".to_owned()]);
    for change in &diff.changes {
        facts.row([change.what.to_owned(), format!("{} -> {}", or_none(&change.old), or_none(&change.new))]);
    }
    if diff.lower_security_version {
        facts.row(["NOTE".to_owned(), "a BMC that has confirmed the old one refuses the new one".to_owned()]);
    }
    for name in &diff.gone {
        facts.row(["gone".to_owned(), shown(name)]);
    }
    let mut table = Table::new(&["MEMBER", "", "LENGTH", "CHUNKS", "SHARED", "", "NEW", "SENT", "FLASH"]);
    for member in &diff.members {
        let change = if member.kind == kind_name(MemberKind::Image) { "" } else { "metadata, " };
        table.row(cells(shown(&member.name), format!("{change}{}", member.change), &member.counts));
    }
    table.row(cells("all".to_owned(), String::new(), &diff.total));
    format!(
        "{facts}\n{table}\nto send   {} by bulk transfer: head, signatures, index and needed chunks\n          {} by plain DFU: the whole package\n\
         to write  {} of flash",
        amount(diff.bulk),
        amount(diff.dfu),
        amount(diff.total.flash),
    )
}

fn cells(name: String, change: String, counts: &Counts) -> [String; 9] {
    let percent = counts.shared.saturating_mul(100).checked_div(counts.length);
    [
        name,
        change,
        bytes(counts.length),
        format!("{} of {}", counts.shared_chunks, counts.chunks),
        bytes(counts.shared),
        percent.map_or_else(String::new, |percent| format!("{percent} %")),
        bytes(counts.new_bytes),
        bytes(counts.sent),
        bytes(counts.flash),
    ]
}

fn amount(count: u64) -> String {
    format!("{} ({count} bytes)", bytes(count))
}

fn or_none(text: &str) -> String {
    if text.is_empty() { "none".to_owned() } else { shown_line(text) }
}
