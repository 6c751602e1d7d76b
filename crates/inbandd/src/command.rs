//! Commands to a running daemon: how they are asked for in a line, and what is answered (docs/configuration.md, Commands).

use std::{
    fmt::{self, Write as _},
    time::Duration,
};

use inband_session::{Door, ResultCode, Session, SessionState, StoreView, status::StatusPage};
use inband_store::{Slot, text::Text};

/// A command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ask {
    /// `status`: how everything stands.
    Status,
    /// `arm DOOR`: let it open at the host's next knock.
    Arm(Door),
    /// `arm DOOR SECONDS`: likewise, for that time in the place of the one of the configuration; 0 is without an end.
    ArmFor(Door, u32),
    /// `host-powered-on`: the BMC has powered the host on.
    HostPoweredOn,
    /// `disarm DOOR`: take that back.
    Disarm(Door),
    /// `activate`: restart into what is staged.
    Activate,
    /// `confirm`: the firmware on trial is healthy.
    Confirm,
    /// `commit`: take what was copied onto the disk, as if the host had ejected it.
    Commit,
    /// `abort`: end the session that receives.
    Abort,
    /// `restart host|bmc`: restart the BMC.
    Restart(AskedBy),
}

/// Who wants a restart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AskedBy {
    /// The host: a boot on trial that it ends does not count.
    Host,
    /// The BMC, or somebody on it.
    Bmc,
}

impl AskedBy {
    /// The name, as in commands and logs.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Host => "host",
            Self::Bmc => "bmc",
        }
    }
}

impl Ask {
    /// Reads a command from its line, without the line break; `None` if it is none.
    #[must_use]
    pub fn parse(line: &[u8]) -> Option<Self> {
        let mut words = std::str::from_utf8(line).ok()?.split(' ');
        let door = |name: Option<&str>| Door::ALL.into_iter().find(|door| Some(door.name()) == name);
        let ask = match words.next()? {
            "status" => Self::Status,
            "arm" => match (door(words.next())?, words.next()) {
                (door, None) => Self::Arm(door),
                (door, Some(seconds)) => Self::ArmFor(door, seconds.parse().ok()?),
            },
            "host-powered-on" => Self::HostPoweredOn,
            "disarm" => Self::Disarm(door(words.next())?),
            "activate" => Self::Activate,
            "confirm" => Self::Confirm,
            "commit" => Self::Commit,
            "abort" => Self::Abort,
            "restart" => match words.next()? {
                "host" => Self::Restart(AskedBy::Host),
                "bmc" => Self::Restart(AskedBy::Bmc),
                _ => return None,
            },
            _ => return None,
        };
        words.next().is_none().then_some(ask)
    }

    /// The line that asks for it, without the line break.
    #[must_use]
    pub fn line(self) -> String {
        match self {
            Self::Status => "status".into(),
            Self::Arm(door) => format!("arm {door}"),
            Self::ArmFor(door, seconds) => format!("arm {door} {seconds}"),
            Self::HostPoweredOn => "host-powered-on".into(),
            Self::Disarm(door) => format!("disarm {door}"),
            Self::Activate => "activate".into(),
            Self::Confirm => "confirm".into(),
            Self::Commit => "commit".into(),
            Self::Abort => "abort".into(),
            Self::Restart(by) => format!("restart {}", by.name()),
        }
    }
}

/// What a command is answered.
#[derive(Clone, Debug, PartialEq)]
pub enum Answer {
    /// It is done, or under way and cannot fail any more.
    Done,
    /// It will be done, when the update that is under way is over.
    Held,
    /// How everything stands.
    Report(Box<Report>),
    /// The door's policy is `off`.
    DoorOff,
    /// Not in the middle of what goes on.
    Busy,
    /// There is nothing to do it to.
    NotNow,
    /// The store does not take it, and why.
    Failed(String),
    /// That is no command.
    Unknown,
}

impl Answer {
    /// Exit code of the program that asked (docs/spec/results.md, 3).
    #[must_use]
    pub const fn exit_code(&self) -> u8 {
        match self {
            Self::Done | Self::Held | Self::Report(_) => 0,
            Self::Unknown => 2,
            Self::Failed(_) => 5,
            Self::DoorOff => 8,
            Self::Busy => 9,
            Self::NotNow => 10,
        }
    }

    /// The name, as in JSON.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Held => "held",
            Self::Report(_) => "status",
            Self::Unknown => "unknown",
            Self::Failed(_) => "failed",
            Self::DoorOff => "door-off",
            Self::Busy => "busy",
            Self::NotNow => "not-now",
        }
    }

    /// What it is in words; empty for a report, which says it itself.
    fn message(&self) -> &str {
        match self {
            Self::Done | Self::Report(_) => "",
            Self::Held => "the BMC restarts when the update that is under way is over",
            Self::Unknown => "that is no command of this inbandd",
            Self::Failed(reason) => reason,
            Self::DoorOff => "the door is off: set its policy to armed in the configuration",
            Self::Busy => "not now: wait until the update, or the restart, that is under way is over",
            Self::NotNow => "there is nothing to do that to: see inbandd status",
        }
    }

    /// The answer on the wire: one line of JSON, then the same for people.
    #[must_use]
    pub fn text(&self) -> String {
        let mut json = format!("{{\"exit\":{},\"answer\":\"{}\"", self.exit_code(), self.name());
        let mut people = String::new();
        if let Self::Report(report) = self {
            for (name, value) in report.fields() {
                let _ = match &value {
                    Value::Text(text) => write!(json, ",\"{name}\":{}", quoted(text)),
                    Value::Number(number) => write!(json, ",\"{name}\":{number}"),
                    Value::Flag(flag) => write!(json, ",\"{name}\":{flag}"),
                };
            }
            people = report.text();
        } else if !self.message().is_empty() {
            let _ = write!(json, ",\"message\":{}", quoted(self.message()));
            people = format!("{}\n", self.message());
        }
        format!("{json}}}\n{people}")
    }
}

/// A text as JSON has it.
fn quoted(text: &str) -> String {
    let mut quoted = String::from("\"");
    for c in text.chars() {
        match c {
            '"' | '\\' => quoted.extend(['\\', c]),
            ' '..='~' => quoted.push(c),
            _ => {
                for unit in c.encode_utf16(&mut [0; 2]) {
                    let _ = write!(quoted, "\\u{unit:04x}");
                }
            }
        }
    }
    quoted.push('"');
    quoted
}

/// How everything stands in one line, for a service manager.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Summary {
    running: Slot,
    version: Text<48>,
    /// Boots left and boots given, of firmware on trial.
    trial: Option<(u8, u8)>,
    state: SessionState,
    result: ResultCode,
}

impl Summary {
    /// As the session has it.
    #[must_use]
    pub fn new(session: &Session) -> Self {
        let StoreView { record, running, .. } = session.store();
        let trial = (record.boots_left, record.slot(record.choice).trial.given);
        Self {
            running: *running,
            version: record.slot(*running).version,
            trial: session.is_on_trial().then_some(trial),
            state: session.state(),
            result: session.result(),
        }
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "slot {} runs {}", self.running.name(), self.version)?;
        if let Some((left, given)) = self.trial {
            write!(f, ", on trial, {left} of {given} boots left")?;
        }
        write!(f, "; {}, {}", self.state, self.result)
    }
}

/// The control requests, the disk's commands, or the requests by IPMI that were answered since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Answers {
    /// How many.
    pub count: u64,
    /// The longest that one of them took.
    pub slowest: Duration,
}

impl Answers {
    /// One more, which took that long.
    pub fn add(&mut self, took: Duration) {
        self.count = self.count.saturating_add(1);
        self.slowest = self.slowest.max(took);
    }

    /// Microseconds of the slowest.
    fn slowest_us(&self) -> u64 {
        u64::try_from(self.slowest.as_micros()).unwrap_or(u64::MAX)
    }
}

/// How everything stands.
#[derive(Clone, Debug, PartialEq)]
pub struct Report {
    machine: Text<48>,
    summary: Summary,
    page: StatusPage,
    versions: [Text<48>; 2],
    given_back: u8,
    /// Until doors are shut again that were armed for a time.
    shuts: [Option<Duration>; 4],
    device: DeviceState,
    /// The requests by IPMI.
    ipmi: Answers,
}

/// What is told of the device itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DeviceState {
    /// The control requests.
    pub answers: Answers,
    /// The disk's commands.
    pub disk: Answers,
    /// There is nothing on the bus but the kernel's disk.
    pub lent: bool,
    /// There is nothing on the bus at all, since every door is shut.
    pub hidden: bool,
    /// A restart waits for the end of the session.
    pub restart_held: bool,
}

enum Value {
    Text(String),
    Number(u64),
    Flag(bool),
}

impl Report {
    /// As the session has it.
    #[must_use]
    pub fn new(session: &Session, device: DeviceState, now: Duration) -> Self {
        let record = &session.store().record;
        let page = session.status(now);
        Self {
            machine: session.machine(),
            summary: Summary::new(session),
            device,
            ipmi: Answers::default(),
            versions: Slot::ALL.map(|slot| record.slot(slot).version),
            given_back: record.slot(page.running).trial.given_back,
            shuts: Door::ALL.map(|door| Some(session.shuts_at(door)?.saturating_sub(now))),
            page,
        }
    }

    /// The same, with the answers to requests by IPMI.
    #[must_use]
    pub const fn with_ipmi(mut self, answers: Answers) -> Self {
        self.ipmi = answers;
        self
    }

    fn version(&self, slot: Slot) -> String {
        self.versions[usize::from(slot.number())].as_str().to_owned()
    }

    fn result(&self) -> &'static str {
        self.page.result().map_or("unknown", |result| result.name())
    }

    fn fields(&self) -> Vec<(&'static str, Value)> {
        let Self { page, device, .. } = self;
        let text = |text: &str| Value::Text(text.to_owned());
        let mut fields = vec![
            ("machine", text(self.machine.as_str())),
            ("state", text(page.state.name())),
            ("result", text(self.result())),
            ("result_code", Value::Number(page.result_code.into())),
            ("session", Value::Number(page.session.into())),
            ("received", Value::Number(page.received.into())),
            ("announced", Value::Number(page.announced.into())),
            ("running", text(page.running.name())),
            ("boots_next", text(page.boots_next.name())),
            ("on_trial", Value::Flag(page.on_trial)),
            ("boots_left", Value::Number(page.boots_left.into())),
            ("boots_given", Value::Number(page.boots_given.into())),
            ("boots_given_back", Value::Number(self.given_back.into())),
            ("security_version", Value::Number(page.security_version.into())),
            ("security_floor", Value::Number(page.floor.into())),
            ("locked_out", Value::Flag(page.locked_out)),
            ("wait_minutes", Value::Number(page.wait_minutes.into())),
            ("control_requests", Value::Number(device.answers.count)),
            ("slowest_answer_us", Value::Number(device.answers.slowest_us())),
            ("disk_commands", Value::Number(device.disk.count)),
            ("slowest_disk_answer_us", Value::Number(device.disk.slowest_us())),
            ("ipmi_requests", Value::Number(self.ipmi.count)),
            ("slowest_ipmi_answer_us", Value::Number(self.ipmi.slowest_us())),
            ("kernel_disk", Value::Flag(device.lent)),
            ("hidden", Value::Flag(device.hidden)),
            ("restart_held", Value::Flag(device.restart_held)),
        ];
        let slots = [("slot_a", "version_a"), ("slot_b", "version_b")];
        for (slot, (state, version)) in Slot::ALL.into_iter().zip(slots) {
            fields.push((state, text(page.slots[usize::from(slot.number())].name())));
            fields.push((version, Value::Text(self.version(slot))));
        }
        let doors = ["door_dfu", "door_bulk", "door_volume", "door_ipmi"];
        fields.extend(doors.into_iter().zip(page.doors).map(|(name, state)| (name, text(state.name()))));
        for (door, name) in [
            (Door::Dfu, "door_dfu_shuts_s"),
            (Door::Bulk, "door_bulk_shuts_s"),
            (Door::Volume, "door_volume_shuts_s"),
        ] {
            fields.extend(self.shuts_s(door).map(|seconds| (name, Value::Number(seconds))));
        }
        fields
    }

    /// Seconds, rounded up, until a door is shut that was armed for a time.
    fn shuts_s(&self, door: Door) -> Option<u64> {
        self.shuts[door.index()]
            .map(|left| u64::try_from(left.as_millis().div_ceil(1000)).unwrap_or(u64::MAX))
    }

    fn text(&self) -> String {
        let Self { page, device, .. } = self;
        let mut text = format!("{}: {}\n", self.machine, self.summary);
        for slot in Slot::ALL {
            let state = page.slots[usize::from(slot.number())].name();
            let next = if page.boots_next == slot { ", boots next" } else { "" };
            let _ = writeln!(text, "slot {}: {state} {}{next}", slot.name(), self.version(slot));
        }
        for door in [Door::Dfu, Door::Bulk, Door::Volume] {
            let _ = write!(text, "door {door}: {}", page.door_state(door).name());
            let _ = match self.shuts_s(door) {
                Some(seconds) => writeln!(text, ", shuts in {seconds} s"),
                None => writeln!(text),
            };
        }
        if device.hidden {
            text.push_str("the host sees no device until a door is armed\n");
        }
        if device.lent {
            text.push_str("the kernel has no FunctionFS: its own disk is all that a host sees, without DFU and without pages\n");
        }
        if device.restart_held {
            text.push_str("the BMC restarts when the update that is under way is over\n");
        }
        if page.wait_minutes > 0 {
            let why = if page.locked_out { ResultCode::LockedOut } else { ResultCode::Worn };
            let _ = writeln!(text, "the host has to wait {} min: {}", page.wait_minutes, why.meaning());
        }
        let (count, slowest) = (device.answers.count, device.answers.slowest_us());
        let _ = writeln!(text, "control requests: {count}, the slowest answered in {slowest} us");
        for (what, answers) in [("disk commands", device.disk), ("requests by IPMI", self.ipmi)] {
            if answers.count > 0 {
                let (count, slowest) = (answers.count, answers.slowest_us());
                let _ = writeln!(text, "{what}: {count}, the slowest answered in {slowest} us");
            }
        }
        let _ = writeln!(text, "security: version {}, floor {}", page.security_version, page.floor);
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_command_is_read_as_it_is_written() {
        let mut all =
            vec![Ask::Status, Ask::HostPoweredOn, Ask::Activate, Ask::Confirm, Ask::Commit, Ask::Abort];
        all.extend([AskedBy::Host, AskedBy::Bmc].map(Ask::Restart));
        all.extend(Door::ALL.map(Ask::Arm));
        all.extend(Door::ALL.map(|door| Ask::ArmFor(door, u32::MAX)));
        all.extend(Door::ALL.map(Ask::Disarm));
        for ask in all {
            assert_eq!(Ask::parse(ask.line().as_bytes()), Some(ask));
        }
    }

    #[test]
    fn anything_else_is_no_command() {
        for line in [
            &b""[..],
            b" status",
            b"status ",
            b"status now",
            b"STATUS",
            b"arm",
            b"arm  dfu",
            b"arm door",
            b"arm dfu ",
            b"arm dfu -1",
            b"arm dfu 4294967296",
            b"arm dfu 9 9",
            b"restart",
            b"restart me",
            b"status\0",
            b"status\r",
            b"\xff",
        ] {
            assert_eq!(Ask::parse(line), None, "{line:?}");
        }
    }

    // Programs read these.
    #[test]
    fn answers_are_frozen() {
        assert_eq!(Answer::Done.text(), "{\"exit\":0,\"answer\":\"done\"}\n");
        assert_eq!(
            Answer::Failed("a \"b\" \\ \u{e9}\n\u{1f600}".into()).text().lines().next(),
            Some(r#"{"exit":5,"answer":"failed","message":"a \"b\" \\ \u00e9\u000a\ud83d\ude00"}"#)
        );
        assert_eq!((Answer::Held.exit_code(), Answer::Held.name()), (0, "held"));
        let codes = [Answer::Unknown, Answer::DoorOff, Answer::Busy, Answer::NotNow]
            .map(|answer| (answer.exit_code(), answer.name()));
        assert_eq!(codes, [(2, "unknown"), (8, "door-off"), (9, "busy"), (10, "not-now")]);
    }

    #[test]
    fn of_all_answers_the_slowest_is_told() {
        let mut answers = Answers::default();
        for milliseconds in [3, 70, 2] {
            answers.add(Duration::from_millis(milliseconds));
        }
        assert_eq!((answers.count, answers.slowest_us()), (3, 70_000));
        answers.add(Duration::MAX);
        assert_eq!(answers.slowest_us(), u64::MAX);
    }
}
