//! `inband status`.

use inband_session::ResultCode;

use super::facts::Facts;
use crate::{
    error::Error,
    find::Scope,
    output::Output,
    text::{Table, bytes, shown},
    usb::Selector,
};

/// Shows how a BMC stands.
///
/// # Errors
/// Those of finding and of asking it.
pub fn run(scope: &Scope<'_>, selector: Option<&Selector>, output: &mut Output) -> Result<(), Error> {
    let mut bmc = scope.one(selector)?;
    let facts = Facts::read(&mut bmc).map_err(|source| bmc.failure("read the status", source))?;
    output.text(text(&facts).trim_end());
    output.json("status", &facts);
    Ok(())
}

/// The status for people.
#[must_use]
pub fn text(facts: &Facts) -> String {
    let mut fields = Table::pairs();
    let mut field = |name: &str, value: String| fields.row([name.to_owned(), value]);
    field("BMC", format!("{} at {}", shown(&facts.machine), shown(&facts.path)));
    field("serial", facts.serial.as_deref().map_or_else(|| "-".to_owned(), shown));
    field("mode", facts.mode.to_owned());
    field("door", format!("dfu {}", facts.doors.dfu));
    let trial = if facts.on_trial { ", on trial" } else { "" };
    field("running", format!("slot {}{trial}", facts.running));
    field("next boot", format!("slot {}", facts.boots_next));
    field("state", facts.state.to_owned());
    let known = ResultCode::from_code(facts.result_code);
    match known {
        Some(result) => field("last result", format!("{}: {}", result.name(), result.meaning())),
        None => field("last result", format!("number {}, unknown to this version", facts.result_code)),
    }
    if let Some(result) = known.filter(|_| facts.session != 0) {
        field("next step", result.advice().to_owned());
    }
    if facts.session != 0 {
        let announced = match facts.announced {
            0 => String::new(),
            announced => format!(" of {}", bytes(announced.into())),
        };
        let door = facts.door.unwrap_or("-");
        field(
            "session",
            format!("{}, door {door}, {}{announced} received", facts.session, bytes(facts.received.into())),
        );
        field("package", facts.package.clone());
    }
    field("security", format!("version {}, floor {}", facts.security_version, facts.security_floor));

    let mut slots = Table::new(&["SLOT", "STATE", "VERSION", "SECURITY", "BCDDEVICE"]);
    for slot in &facts.slots {
        slots.row([
            slot.slot.to_owned(),
            slot.state.to_owned(),
            if slot.version.is_empty() { "-".to_owned() } else { shown(&slot.version) },
            slot.security_version.to_string(),
            slot.bcd_device.clone(),
        ]);
    }
    format!("{fields}\n{slots}")
}
