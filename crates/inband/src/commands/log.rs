//! `inband log`.

use inband_session::{Door, ResultCode, SessionState, status::LogPage};
use serde::Serialize;

use super::{facts::result_name, status::left_out};
use crate::{
    error::Error,
    find::Scope,
    ipmi::Ipmi,
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
    /// The boot of the trial, counted from 1, that the record tells of; 0 where it tells of none.
    pub boot: u8,
    /// Version of the package.
    pub version: String,
    /// First 8 bytes of the SHA-256 of the package's head.
    pub package: String,
}

/// Shows the BMC's log, which IPMI tells where USB shows no BMC: as JSON newest first, as the BMC has it; for people as a story, oldest first.
///
/// # Errors
/// Those of finding and of asking it.
pub fn run(
    scope: &Scope<'_>,
    selector: Option<&Selector>,
    ipmi: Ipmi,
    output: &mut Output,
) -> Result<(), Error> {
    let pages = match scope.one(selector) {
        Ok(mut bmc) => bmc.log().map_err(|source| bmc.failure("read the log", source))?,
        // A selector is of USB.
        Err(none @ (Error::NoDevice { .. } | Error::Bus { .. })) if selector.is_none() => {
            let told = ipmi
                .client
                .and_then(|mut client| client.log().map_err(|source| client.failure("read the log", source)));
            left_out(ipmi.named, told, output)?.ok_or(none)?
        }
        Err(error) => return Err(error),
    };
    let records: Vec<Record> = pages.iter().map(record).collect();
    for record in &records {
        output.json("log", record);
    }
    if records.is_empty() {
        output.text("the log is empty");
        return Ok(());
    }
    let mut table = Table::new(&["SESSION", "WHAT", "RESULT", "DOOR", "SLOT", "VERSION", "PACKAGE"]);
    for (record, page) in records.iter().zip(&pages).rev() {
        table.row([
            record.session.to_string(),
            what(page),
            format!("{} ({})", record.result, record.result_code),
            record.door.unwrap_or("-").to_owned(),
            record.slot.to_owned(),
            if record.version.is_empty() { "-".to_owned() } else { shown(&record.version) },
            digest_cell(&record.package).to_owned(),
        ]);
    }
    output.text(table.to_string().trim_end());
    Ok(())
}

/// What a record tells of, in words.
fn what(page: &LogPage) -> String {
    let of_boot = match page.boot {
        0 => String::new(),
        boot => format!(" in boot {boot}"),
    };
    let unhealthy = page.result() == Some(ResultCode::Unhealthy);
    match page.state {
        SessionState::Staged => "staged".to_owned(),
        SessionState::PendingConfirm if unhealthy => format!("unhealthy{of_boot}"),
        SessionState::PendingConfirm => "on trial".to_owned(),
        SessionState::Done => format!("confirmed{of_boot}"),
        SessionState::RolledBack => match (page.boot, unhealthy) {
            (0, _) => "rolled back".to_owned(),
            (boots, true) => format!("rolled back after {boots} boots, unhealthy"),
            (boots, false) => format!("rolled back after {boots} boots, never confirmed"),
        },
        SessionState::Idle
        | SessionState::Receiving
        | SessionState::Interrupted
        | SessionState::Handover
        | SessionState::Verifying
        | SessionState::Activating
        | SessionState::Failed
        | SessionState::Aborted => page.state.name().to_owned(),
    }
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
        boot: page.boot,
        version: page.version.as_str().to_owned(),
        package: hex(&page.head),
    }
}

#[cfg(test)]
mod tests {
    use inband_store::{Slot, text::Text};

    use super::*;

    #[test]
    fn a_story_is_told_in_words() {
        let page = |state, result: ResultCode, boot| LogPage {
            state,
            door: Some(Door::Dfu),
            session: 1,
            result_code: result.code(),
            target: Slot::B,
            boot,
            head: [0; 8],
            version: Text::cut("2.0"),
        };
        let story = [
            page(SessionState::Staged, ResultCode::Ok, 0),
            page(SessionState::PendingConfirm, ResultCode::Ok, 1),
            page(SessionState::PendingConfirm, ResultCode::Unhealthy, 2),
            page(SessionState::Done, ResultCode::Ok, 3),
            page(SessionState::RolledBack, ResultCode::Unhealthy, 3),
            page(SessionState::RolledBack, ResultCode::RolledBack, 3),
            page(SessionState::RolledBack, ResultCode::RolledBack, 0),
            page(SessionState::Failed, ResultCode::BadChunk, 0),
        ];
        assert_eq!(
            story.each_ref().map(what),
            [
                "staged",
                "on trial",
                "unhealthy in boot 2",
                "confirmed in boot 3",
                "rolled back after 3 boots, unhealthy",
                "rolled back after 3 boots, never confirmed",
                "rolled back",
                "failed"
            ]
        );
    }
}
