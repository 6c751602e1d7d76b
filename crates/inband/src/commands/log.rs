//! `inband log`.

use inband_session::{Door, status::LogPage};
use serde::Serialize;

use super::facts::result_name;
use crate::{
    error::Error,
    find::Scope,
    output::Output,
    text::{Table, digest_cell, hex, shown},
    usb::Selector,
};

/// A record of the log, as JSON has it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Record {
    /// Session id.
    pub session: u32,
    /// The state the record was made in.
    pub state: &'static str,
    /// The result by name; `unknown` for a number this version does not know.
    pub result: &'static str,
    /// The same by number.
    pub result_code: u16,
    /// The door the session came through.
    pub door: Option<&'static str>,
    /// The slot that was the target.
    pub slot: &'static str,
    /// Version of the package.
    pub version: String,
    /// First 8 bytes of the SHA-256 of the package's head.
    pub package: String,
}

/// Shows the BMC's log, newest first.
///
/// # Errors
/// Those of finding and of asking it.
pub fn run(scope: &Scope<'_>, selector: Option<&Selector>, output: &mut Output) -> Result<(), Error> {
    let mut bmc = scope.one(selector)?;
    let pages = bmc.log().map_err(|source| bmc.failure("read the log", source))?;
    let records: Vec<Record> = pages.iter().map(record).collect();
    for record in &records {
        output.json("log", record);
    }
    if records.is_empty() {
        output.text("the log is empty");
        return Ok(());
    }
    let mut table = Table::new(&["SESSION", "RESULT", "STATE", "DOOR", "SLOT", "VERSION", "PACKAGE"]);
    for record in &records {
        table.row([
            record.session.to_string(),
            format!("{} ({})", record.result, record.result_code),
            record.state.to_owned(),
            record.door.unwrap_or("-").to_owned(),
            record.slot.to_owned(),
            if record.version.is_empty() { "-".to_owned() } else { shown(&record.version) },
            digest_cell(&record.package).to_owned(),
        ]);
    }
    output.text(table.to_string().trim_end());
    Ok(())
}

/// A page of the log as a record.
#[must_use]
pub fn record(page: &LogPage) -> Record {
    Record {
        session: page.session,
        state: page.state.name(),
        result: result_name(page.result()),
        result_code: page.result_code,
        door: page.door.map(Door::name),
        slot: page.target.name(),
        version: page.version.as_str().to_owned(),
        package: hex(&page.head),
    }
}
