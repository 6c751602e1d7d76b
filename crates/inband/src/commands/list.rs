//! `inband list`.

use serde::Serialize;

use super::{
    disk::{self, DiskFacts},
    facts::Facts,
};
use crate::{
    error::Error,
    find::{Other, Reason, Scope, Survey},
    output::Output,
    text::{Table, shown},
    usb::Selector,
};

#[derive(Serialize)]
struct OtherFacts {
    path: String,
    vendor_id: String,
    product_id: String,
    serial: Option<String>,
    product: Option<String>,
    reason: String,
    advice: Option<String>,
}

/// Lists BMCs, and with `all` other DFU devices too; with a selector only what it names. Of a BMC that shows its disk alone there is what that
/// tells.
///
/// # Errors
/// [`Error::NoDevice`] if there is nothing to list; [`Error::Bus`]; [`Error::Device`] if the only candidate could not be asked.
pub fn run(
    scope: &Scope<'_>,
    selector: Option<&Selector>,
    all: bool,
    output: &mut Output,
) -> Result<(), Error> {
    let Survey { mut bmcs, mut others } = scope.survey()?;
    let found = bmcs.len() + others.len();
    if let Some(selector) = selector {
        bmcs.retain(|bmc| selector.names(&bmc.place, bmc.strings.serial.as_deref()));
        others
            .retain(|other| selector.names(&other.sighting.place, other.sighting.strings.serial.as_deref()));
    }
    let mut rows = Vec::new();
    let mut failures = Vec::new();
    for mut bmc in bmcs {
        match Facts::read(&mut bmc) {
            Ok(facts) => rows.push(facts),
            Err(source) => failures.push(bmc.failure("read the status", source)),
        }
    }
    let mut disks = Vec::new();
    for disk in scope.disks_alone(selector)? {
        match DiskFacts::read(scope, &disk) {
            Ok(facts) => disks.push(facts),
            Err(failure) => failures.push(failure),
        }
    }
    // One that is broken does not hide the others, unless there are none.
    match failures.pop() {
        Some(failure) if rows.is_empty() && disks.is_empty() => return Err(failure),
        last => failures.extend(last),
    }
    for failure in &failures {
        output.note(format_args!("left out: {failure}"));
    }
    if !all {
        others.retain(|other| matches!(other.reason, Reason::Unreadable { .. }));
    }
    if rows.is_empty() && disks.is_empty() && (!all || others.is_empty()) {
        return Err(scope.none(selector, if selector.is_some() { found } else { 0 }, others));
    }
    for facts in &rows {
        output.json("device", facts);
    }
    if !rows.is_empty() {
        output.text(table(&rows).to_string().trim_end());
    }
    for facts in &disks {
        output.json("disk", facts);
    }
    if !disks.is_empty() {
        output.text(disk::table(&disks).to_string().trim_end());
    }
    let other_rows: Vec<OtherFacts> = others.iter().map(other_facts).collect();
    for other in &other_rows {
        output.json("other-device", other);
    }
    if all && !other_rows.is_empty() {
        output.text(other_table(&other_rows).to_string().trim_end());
    } else {
        for other in &other_rows {
            output.note(format_args!("{} was left out: {}", other.path, other.reason));
        }
    }
    Ok(())
}

/// The list for people.
#[must_use]
pub fn table(rows: &[Facts]) -> Table {
    let mut table = Table::new(&["PATH", "SERIAL", "MACHINE", "MODE", "RUNS", "NEXT BOOT", "STATE", "DOOR"]);
    for facts in rows {
        let next = if facts.boots_next == facts.running {
            "the same".to_owned()
        } else {
            version_cell(facts.version(facts.boots_next))
        };
        let trial = if facts.on_trial { " (trial)" } else { "" };
        table.row([
            shown(&facts.path),
            facts.serial.as_deref().map_or_else(|| "-".to_owned(), shown),
            shown(&facts.machine),
            facts.mode.unwrap_or("-").to_owned(),
            format!("{}{trial}", version_cell(facts.version(facts.running))),
            next,
            facts.state.name().to_owned(),
            format!("dfu {}", facts.doors.dfu),
        ]);
    }
    table
}

fn version_cell(version: &str) -> String {
    if version.is_empty() { "-".to_owned() } else { shown(version) }
}

fn other_table(rows: &[OtherFacts]) -> Table {
    let mut table = Table::new(&["NO BMC OF THIS KIND", "ID", "PRODUCT", "SERIAL", "WHY"]);
    for other in rows {
        let cell = |text: &Option<String>| text.as_deref().map_or_else(|| "-".to_owned(), shown);
        table.row([
            shown(&other.path),
            format!("{}:{}", other.vendor_id, other.product_id),
            cell(&other.product),
            cell(&other.serial),
            other.reason.clone(),
        ]);
    }
    table
}

fn other_facts(other: &Other) -> OtherFacts {
    let sighting = &other.sighting;
    let (reason, advice) = match &other.reason {
        Reason::Foreign(reason) => (reason.clone(), None),
        Reason::Unreadable { error, advice } => (error.to_string(), advice.clone()),
    };
    OtherFacts {
        path: sighting.place.to_string(),
        vendor_id: format!("{:04x}", sighting.vendor_id),
        product_id: format!("{:04x}", sighting.product_id),
        serial: sighting.strings.serial.clone(),
        product: sighting.strings.product.clone(),
        reason,
        advice,
    }
}
