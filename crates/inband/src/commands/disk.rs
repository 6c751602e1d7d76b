//! What a disk tells of a BMC that has nothing else on the bus.

use inband_session::{
    ResultCode,
    first_block::{FirstBlock, State, TextError},
};
use serde::Serialize;

use super::facts::result_name;
use crate::{
    disk::{Disk, Medium, Profile},
    error::Error,
    find::Scope,
    text::{Table, shown, shown_path},
};

/// A BMC of which only the disk is on the bus, as JSON has it. Fields are only ever added.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct DiskFacts {
    /// Where it is.
    pub path: String,
    /// Its serial number.
    pub serial: Option<String>,
    /// The disk's device file.
    pub disk: String,
    /// `raw` or `fat`.
    pub profile: &'static str,
    /// What is in the drive: `ready`, `refused`, `pass`, `fail`; `none`; `written` by a host; `unknown`. Of a disk with a filesystem nothing is
    /// read.
    pub medium: Option<&'static str>,
    /// The board.
    pub machine: Option<String>,
    /// The version that runs.
    pub running: Option<String>,
    /// The session that it tells of.
    pub session: Option<u32>,
    /// Why nothing may be written, or how the session ended, by name; `unknown` for a number this version does not know.
    pub result: Option<&'static str>,
    /// The same by number.
    pub result_code: Option<u16>,
    /// The version of the package that was judged, if it is authentic.
    pub version: Option<String>,
    /// Bytes of the largest package; where one may be written.
    pub max_size: Option<u64>,
}

impl DiskFacts {
    /// Looks at what is in a drive.
    ///
    /// # Errors
    /// Those of taking the disk and of reading it.
    pub fn read(scope: &Scope<'_>, disk: &Disk) -> Result<Self, Error> {
        let facts = Self {
            path: disk.place.to_string(),
            serial: disk.serial.clone(),
            disk: disk.file.display().to_string(),
            profile: "raw",
            ..Self::default()
        };
        if disk.profile == Profile::Fat {
            return Ok(Self { profile: "fat", ..facts });
        }
        let mut drive = scope.take(disk)?;
        let medium = drive.look();
        let medium =
            medium.map_err(|error| crate::disk::failure(&disk.place, &*drive, "read its disk", error))?;
        let text = match medium {
            Medium::None => return Ok(Self { medium: Some("none"), ..facts }),
            Medium::Block(block) => FirstBlock::parse(&block),
        };
        Ok(match text {
            Err(TextError::NoText) => Self { medium: Some("written"), ..facts },
            Err(_) => Self { medium: Some("unknown"), ..facts },
            Ok(text) => facts.with(text),
        })
    }

    fn with(self, text: FirstBlock) -> Self {
        let (medium, session, told) = match text.state {
            State::Ready => ("ready", None, None),
            State::Refused(told) => ("refused", None, Some(told.0)),
            State::Pass(session) => ("pass", Some(session.id), Some(ResultCode::Ok.code())),
            State::Fail(session, told) => ("fail", Some(session.id), Some(told.0)),
        };
        Self {
            medium: Some(medium),
            machine: Some(text.machine),
            running: Some(text.running),
            session,
            result: told.map(|code| result_name(ResultCode::from_code(code))),
            result_code: told,
            version: Some(text.version).filter(|version| !version.is_empty()),
            max_size: text.max_size,
            ..self
        }
    }

    /// What is in the drive, in a word or two.
    fn state(&self) -> String {
        match (self.medium, self.result) {
            (None, _) => "-".to_owned(),
            (Some(medium), None) => medium.to_owned(),
            (Some(medium), Some(result)) => format!("{medium} ({result})"),
        }
    }
}

/// Such BMCs for people.
#[must_use]
pub fn table(rows: &[DiskFacts]) -> Table {
    let cell = |text: &Option<String>| text.as_deref().map_or_else(|| "-".to_owned(), shown);
    let mut table = Table::new(&["ITS DISK ALONE", "SERIAL", "MACHINE", "DISK", "PROFILE", "RUNS", "MEDIUM"]);
    for facts in rows {
        table.row([
            shown(&facts.path),
            cell(&facts.serial),
            cell(&facts.machine),
            shown_path(facts.disk.as_ref()),
            facts.profile.to_owned(),
            cell(&facts.running),
            facts.state(),
        ]);
    }
    table
}

#[cfg(test)]
mod tests {
    use inband_session::first_block::{Session, Told};

    use super::*;

    #[test]
    fn what_a_disk_tells_is_told_and_fit_for_a_terminal() {
        let text = |state| FirstBlock {
            state,
            machine: "board".into(),
            running: "1.0".into(),
            version: String::new(),
            generation: 1,
            max_size: None,
        };
        let facts = DiskFacts {
            path: "usb:1-2".into(),
            serial: Some("SN\u{1b}[2J".into()),
            disk: "/dev/sda".into(),
            profile: "raw",
            medium: Some("none"),
            ..DiskFacts::default()
        };
        let documented = include_str!("../../../../docs/spec/events.md");
        let documented = documented.lines().find(|line| line.starts_with("| `disk` |")).unwrap();
        for field in serde_json::to_value(&facts).unwrap().as_object().unwrap().keys() {
            assert!(documented.contains(&format!("`{field}`")), "{field}");
        }
        let row = |facts: DiskFacts| table(&[facts]).to_string().lines().nth(1).unwrap().to_owned();
        assert_eq!(
            row(facts.clone()),
            "usb:1-2         SN\\u{1b}[2J  -        /dev/sda  raw      -     none"
        );
        let session = Session { id: 3, head: None };
        for (state, shown, code) in [
            (State::Ready, "ready", None),
            (State::Refused(Told(34)), "refused (on-trial)", Some(34)),
            (State::Pass(session), "pass (ok)", Some(1)),
            (State::Fail(session, Told(999)), "fail (unknown)", Some(999)),
        ] {
            let facts = facts.clone().with(text(state));
            assert_eq!((facts.result_code, facts.machine.as_deref()), (code, Some("board")));
            assert!(row(facts).ends_with(&format!("1.0   {shown}")));
        }
    }
}
