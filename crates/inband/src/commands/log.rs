//! `inband log`.

use inband_session::{Door, status::LogPage};
use serde::Serialize;

use super::facts::result_name;
use crate::{
    error::Error,
    find::Scope,
    output::Output,
    text::{Table, hex, shown},
    usb::Selector,
};

#[derive(Serialize)]
struct Record {
    session: u32,
    state: &'static str,
    result: &'static str,
    result_code: u16,
    door: Option<&'static str>,
    slot: &'static str,
    version: String,
    package: String,
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
            record.package.clone(),
        ]);
    }
    output.text(table.to_string().trim_end());
    Ok(())
}

fn record(page: &LogPage) -> Record {
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
