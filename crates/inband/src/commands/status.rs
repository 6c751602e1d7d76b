//! `inband status`.

use std::slice;

use inband_session::{ResultCode, SessionState};

use super::{
    disk::{self, DiskFacts},
    facts::{Doors, Facts, StartFacts},
};
use crate::{
    error::Error,
    find::Scope,
    ipmi::Ipmi,
    output::Output,
    text::{Table, bytes, counted, digest_cell, shown},
    usb::Selector,
};

/// Shows how a BMC stands; of one that shows its disk alone what that tells, unless IPMI tells more.
///
/// # Errors
/// Those of finding and of asking it.
pub fn run(
    scope: &Scope<'_>,
    selector: Option<&Selector>,
    ipmi: Ipmi,
    output: &mut Output,
) -> Result<(), Error> {
    let facts = match scope.one(selector) {
        Ok(mut bmc) => {
            let facts = Facts::read(&mut bmc).map_err(|source| bmc.failure("read the status", source))?;
            beside(facts, ipmi, output)?
        }
        // A selector is of USB.
        Err(none @ (Error::NoDevice { .. } | Error::Bus { .. })) if selector.is_none() => {
            match by_ipmi(ipmi, output)? {
                Some(facts) => facts,
                None => return alone(scope, selector, none, output),
            }
        }
        Err(none @ Error::NoDevice { .. }) => return alone(scope, selector, none, output),
        Err(error) => return Err(error),
    };
    output.text(text(&facts).trim_end());
    output.json("status", &facts);
    Ok(())
}

/// Shows what the disk of a BMC tells that has nothing else on the bus.
fn alone(
    scope: &Scope<'_>,
    selector: Option<&Selector>,
    none: Error,
    output: &mut Output,
) -> Result<(), Error> {
    if matches!(none, Error::Bus { .. }) {
        return Err(none);
    }
    let disks = scope.disks_alone(selector)?;
    let [disk] = disks.as_slice() else { return Err(none) };
    let facts = DiskFacts::read(scope, disk)?;
    output.text(disk::table(slice::from_ref(&facts)).to_string().trim_end());
    output.json("disk", &facts);
    Ok(())
}

/// What IPMI tells where USB shows nothing; `None` if there is no BMC of ours behind it. A failure is one only where the channel was named.
fn by_ipmi(ipmi: Ipmi, output: &mut Output) -> Result<Option<Facts>, Error> {
    let told = ipmi.client.and_then(|mut client| {
        let report = client.report().map_err(|source| client.failure("read the status", source))?;
        Ok(Facts::by_ipmi(client.place(), &report))
    });
    left_out(ipmi.named, told, output)
}

/// What USB told, with what IPMI knows of the same BMC.
fn beside(facts: Facts, ipmi: Ipmi, output: &mut Output) -> Result<Facts, Error> {
    let named = ipmi.named;
    let told = ipmi.client.and_then(|client| {
        // What was told already does not wait for a BMC that is mute.
        let mut client = if named { client } else { client.once() };
        let told = client.machine().and_then(|machine| Ok((machine, client.status()?)));
        told.map_err(|source| client.failure("read the status", source))
    });
    Ok(match left_out(named, told, output)? {
        Some((machine, status)) if machine == facts.machine && status.session == facts.session => {
            facts.with(&status)
        }
        Some(_) => {
            output.note("left out: IPMI, which tells of another BMC, or of another session");
            facts
        }
        None => facts,
    })
}

/// What IPMI told, if it did. A failure is one only where the channel was named.
///
/// # Errors
/// As said.
pub(super) fn left_out<T>(
    named: bool,
    told: Result<T, Error>,
    output: &mut Output,
) -> Result<Option<T>, Error> {
    match told {
        Ok(told) => Ok(Some(told)),
        Err(error) if named || matches!(error, Error::Cancelled) => Err(error),
        // Machines without IPMI, and with that of others, are the rule.
        Err(Error::NoIpmi { permission: false, .. } | Error::Usage(_)) => Ok(None),
        Err(error) if error.name() == "no-device" => Ok(None),
        Err(error) => {
            output.note(format_args!("left out: {error}"));
            Ok(None)
        }
    }
}

/// The status for people.
#[must_use]
pub fn text(facts: &Facts) -> String {
    let mut fields = Table::pairs();
    let mut field = |name: &str, value: String| fields.row([name.to_owned(), value]);
    field("BMC", format!("{} at {}", shown(&facts.machine), shown(&facts.path)));
    field("serial", facts.serial.as_deref().map_or_else(|| "-".to_owned(), shown));
    if let Some(mode) = facts.mode {
        field("mode", mode.to_owned());
    }
    let Doors { dfu, bulk, volume, .. } = &facts.doors;
    field("doors", format!("dfu {dfu}, bulk {bulk}, volume {volume}"));
    if let Some(StartFacts { nonce, holds_s }) = &facts.start {
        let holds = counted((*holds_s).into(), "second");
        field("start", format!("{nonce}, holds {holds} more; `inband stop` ends it"));
    }
    let trial = match (facts.on_trial, facts.boots_given) {
        (false, _) => String::new(),
        (true, 0) => ", on trial".to_owned(),
        (true, given) => format!(", on trial, {} of {given} boots left", facts.boots_left),
    };
    field("running", format!("slot {}{trial}", facts.running));
    field("next boot", format!("slot {}", facts.boots_next));
    let percent = facts.percent.map_or_else(String::new, |percent| format!(", {percent} %"));
    field("state", format!("{}{percent}", facts.state.name()));
    let known = ResultCode::from_code(facts.result_code);
    field(
        "last result",
        match known {
            Some(ResultCode::None) if facts.session != 0 => "none yet".to_owned(),
            Some(result) => format!("{}: {}", result.name(), result.meaning()),
            None => format!("number {}, unknown to this version", facts.result_code),
        },
    );
    if let Some(step) = next_step(facts.state, known) {
        field("next step", step.to_owned());
    }
    if facts.wait_minutes > 0 {
        let why = if facts.locked_out { ResultCode::LockedOut } else { ResultCode::Worn };
        let minutes = counted(facts.wait_minutes.into(), "minute");
        field("wait", format!("{minutes}: {}", why.meaning()));
    }
    if facts.session != 0 {
        let announced = match facts.announced {
            0 => String::new(),
            announced => format!(" of {}", bytes(announced.into())),
        };
        // A BMC that restarted does not know any more how much came in.
        let received = match facts.received {
            0 => String::new(),
            received => format!(", {}{announced} received", bytes(received.into())),
        };
        field("session", format!("{}, door {}{received}", facts.session, facts.door.unwrap_or("-")));
        field("package", digest_cell(&facts.package).to_owned());
    }
    field("security", format!("version {}, floor {}", facts.security_version, facts.security_floor));
    field("told by", facts.told_by.join(" and "));

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

/// What to do about a session that stands so, where there is anything to do.
const fn next_step(state: SessionState, result: Option<ResultCode>) -> Option<&'static str> {
    match state {
        SessionState::Idle | SessionState::Done => None,
        SessionState::Receiving | SessionState::Handover | SessionState::Verifying => {
            Some("wait: the update is at work")
        }
        SessionState::Staged => Some(
            "restart the BMC to run it, if it does not do so by itself: `inband activate`, where a host may",
        ),
        SessionState::Activating => Some("wait: the BMC is restarting into it"),
        SessionState::PendingConfirm => Some(
            "wait until the BMC confirms it, or say that it is good (`inband confirm`, where a host may); if nobody does, the old firmware returns",
        ),
        SessionState::Interrupted
        | SessionState::Failed
        | SessionState::Aborted
        | SessionState::RolledBack => match result {
            Some(result) => Some(result.advice()),
            None => None,
        },
    }
}

#[cfg(test)]
mod tests {
    use inband_ipmi::command::{FLAG_STARTED, Status};

    use super::*;
    use crate::commands::facts::SlotFacts;

    /// A BMC after its first session, which stands so and sent no byte since the BMC started.
    fn facts(state: SessionState, result: ResultCode) -> Facts {
        let slot = |slot| SlotFacts {
            slot,
            state: "good",
            version: "1.0.0".to_owned(),
            security_version: 1,
            bcd_device: "1.00".to_owned(),
        };
        Facts {
            path: "usb:1-1".to_owned(),
            serial: None,
            manufacturer: None,
            product: None,
            vendor_id: Some("1209".to_owned()),
            product_id: Some("0001".to_owned()),
            bcd_device: Some("1.00".to_owned()),
            machine: "board".to_owned(),
            mode: Some("run-time"),
            state,
            result: result.name(),
            result_code: result.code(),
            door: Some("dfu"),
            doors: Doors { dfu: "armed", bulk: "shut", volume: "shut", ipmi: "shut" },
            session: 1,
            received: 0,
            announced: 0,
            package: "0".repeat(32),
            running: "a",
            boots_next: "a",
            on_trial: false,
            boots_left: 0,
            boots_given: 0,
            security_version: 1,
            security_floor: 1,
            locked_out: false,
            wait_minutes: 0,
            slots: [slot("a"), slot("b")],
            told_by: vec!["usb"],
            percent: None,
            start: None,
        }
    }

    fn field(facts: &Facts, name: &str) -> Option<String> {
        text(facts).lines().find_map(|line| Some(line.strip_prefix(name)?.trim().to_owned()))
    }

    #[test]
    fn the_next_step_is_that_of_the_state() {
        let step = |state, result| field(&facts(state, result), "next step");
        assert_eq!(step(SessionState::Idle, ResultCode::None), None);
        assert_eq!(step(SessionState::Done, ResultCode::Ok), None);
        for state in [SessionState::Receiving, SessionState::Verifying, SessionState::Activating] {
            let step = step(state, ResultCode::None).unwrap();
            assert!(step.starts_with("wait"), "{step}");
        }
        assert!(step(SessionState::Staged, ResultCode::Ok).unwrap().starts_with("restart the BMC"));
        let step = step(SessionState::Failed, ResultCode::WrongMachine);
        assert_eq!(step.as_deref(), Some(ResultCode::WrongMachine.advice()));
    }

    #[test]
    fn a_trial_is_told_with_its_boots() {
        let facts = facts(SessionState::PendingConfirm, ResultCode::Ok);
        let running = |facts: &Facts| field(facts, "running").unwrap();
        assert_eq!(running(&facts), "slot a");
        let on_trial = Facts { on_trial: true, boots_left: 2, boots_given: 3, ..facts };
        assert_eq!(running(&on_trial), "slot a, on trial, 2 of 3 boots left");
        assert_eq!(running(&Facts { boots_left: 0, boots_given: 0, ..on_trial }), "slot a, on trial");
    }

    #[test]
    fn who_has_to_wait_is_told_how_long_and_why() {
        let facts = facts(SessionState::Failed, ResultCode::BadHead);
        assert_eq!(field(&facts, "wait"), None);
        let worn = Facts { wait_minutes: 60, ..facts.clone() };
        assert_eq!(field(&worn, "wait"), Some(format!("60 minutes: {}", ResultCode::Worn.meaning())));
        let locked = Facts { wait_minutes: 1, locked_out: true, ..facts };
        assert_eq!(field(&locked, "wait"), Some(format!("1 minute: {}", ResultCode::LockedOut.meaning())));
    }

    #[test]
    fn ipmi_adds_the_start_in_force_and_how_far_it_is() {
        let by_usb = facts(SessionState::Verifying, ResultCode::None);
        assert_eq!((field(&by_usb, "start"), field(&by_usb, "told by")), (None, Some("usb".to_owned())));
        let mut status = Status { percent: 40, nonce: 0x2a, holds_s: 1, ..Status::default() };
        assert_eq!(by_usb.clone().with(&status).start, None);
        status.flags = FLAG_STARTED;
        let both = by_usb.clone().with(&status);
        assert_eq!(field(&both, "state").as_deref(), Some("verifying, 40 %"));
        assert!(field(&both, "start").unwrap().starts_with("0000002a, holds 1 second more"));
        assert_eq!(field(&both, "told by").as_deref(), Some("usb and ipmi"));
        // What is no percentage is not told as one.
        for percent in [101, 0xff] {
            assert_eq!(by_usb.clone().with(&Status { percent, ..status }).percent, None);
        }
    }

    #[test]
    fn nothing_is_said_of_what_is_not_known() {
        let facts = facts(SessionState::Receiving, ResultCode::None);
        assert_eq!(field(&facts, "last result").as_deref(), Some("none yet"));
        assert_eq!(field(&facts, "session").as_deref(), Some("1, door dfu"));
        assert_eq!(field(&facts, "package").as_deref(), Some("-"));
        let under_way = Facts { received: 512, announced: 2048, package: "12".repeat(16), ..facts };
        assert_eq!(field(&under_way, "session").as_deref(), Some("1, door dfu, 512 B of 2.0 KiB received"));
        assert_eq!(field(&under_way, "package"), Some("12".repeat(16)));
    }
}
