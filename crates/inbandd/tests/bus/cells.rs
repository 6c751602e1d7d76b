//! Doors and events (docs/spec/session.md, 8): every cell of its tables is tried, and they say what happened.
//!
//! A column is a state that a fresh BMC is brought to, a row something that happens then. What comes of it is put into the words of the tables and
//! compared with the cell. Behind each cell the running firmware is untouched, what was never complete is not staged, and the next update works.

use std::{fmt::Write as _, time::Duration};

mod after;
mod event;
pub(crate) mod image;
pub(crate) mod look;
mod stage;

pub(crate) use after::assert_updatable;
use event::Event;
use stage::{Column, Profiles, Stage};

use crate::{bench::Hold, package::Random};

/// A table of the specification, and what has to be in it.
struct Table {
    heading: &'static str,
    columns: &'static [Column],
    events: &'static [Event],
}

const RUN_TIME: Table = Table {
    heading: "### 8.1 ",
    columns: &[
        Column::Untouched,
        Column::OtherFiles,
        Column::Part,
        Column::Whole,
        Column::Judging,
        Column::Gap,
        Column::Verdict,
    ],
    events: &[
        Event::Detach,
        Event::FirstBlock,
        Event::Offer,
        Event::WriteRaw,
        Event::WriteOther,
        Event::Firmware,
        Event::Eject,
        Event::Apply,
        Event::Cancel,
        Event::BusReset,
        Event::Reconfigure,
        Event::Unplug(50),
        Event::Unplug(70),
        Event::Silence(70),
        Event::Silence(6 * 60),
        Event::Silence(11 * 60),
        Event::Silence(61 * 60),
        Event::VerdictIsOut,
        Event::ArmVolume,
        Event::DisarmVolume,
        Event::ArmDfu,
        Event::DisarmDfu,
        Event::Commit,
        Event::Abort,
        Event::Activate,
        Event::RestartBmc,
        Event::RestartHost,
        Event::Killed,
        Event::PowerCut,
    ],
};

const REFUSED: Table = Table {
    heading: "### 8.2 ",
    columns: &[Column::Left, Column::OnTrial, Column::LockedOut, Column::Worn],
    events: &[
        Event::Detach,
        Event::FirstBlock,
        Event::WriteRaw,
        Event::WriteOther,
        Event::Firmware,
        Event::Eject,
        Event::Apply,
        Event::Cancel,
        Event::BusReset,
        Event::Reconfigure,
        Event::Unplug(50),
        Event::Unplug(70),
        Event::Silence(70),
        Event::Silence(6 * 60),
        Event::Silence(11 * 60),
        Event::Silence(61 * 60),
        Event::VerdictIsOut,
        Event::ArmVolume,
        Event::DisarmVolume,
        Event::ArmDfu,
        Event::DisarmDfu,
        Event::Commit,
        Event::Abort,
        Event::Activate,
        Event::RestartBmc,
        Event::RestartHost,
        Event::Killed,
        Event::PowerCut,
    ],
};

const DFU_MODE: Table = Table {
    heading: "### 8.3 ",
    columns: &[
        Column::DfuIdle,
        Column::DfuReceives,
        Column::DfuAtWork,
        Column::DfuAtWorkReset,
        Column::DfuStaged,
        Column::BulkReceives,
        Column::BulkAtWork,
        Column::BulkStaged,
    ],
    events: &[
        Event::Detach,
        Event::FirstBlock,
        Event::Offer,
        Event::DiskCommand,
        Event::BusReset,
        Event::Reconfigure,
        Event::Unplug(50),
        Event::Unplug(70),
        Event::Silence(70),
        Event::Silence(6 * 60),
        Event::Silence(61 * 60),
        Event::VerdictIsOut,
        Event::ArmVolume,
        Event::DisarmVolume,
        Event::ArmDfu,
        Event::DisarmDfu,
        Event::Commit,
        Event::Abort,
        Event::Activate,
        Event::RestartBmc,
        Event::RestartHost,
        Event::Killed,
        Event::PowerCut,
    ],
};

const DFU_REFUSED: Table = Table {
    heading: "### 8.4 ",
    columns: &[Column::DfuOnTrial, Column::DfuLockedOut, Column::DfuWorn],
    events: &[
        Event::Detach,
        Event::FirstBlock,
        Event::Offer,
        Event::DiskCommand,
        Event::BusReset,
        Event::Unplug(70),
        Event::ArmVolume,
        Event::ArmDfu,
        Event::Abort,
        Event::Killed,
    ],
};

const ARMED: Table = Table {
    heading: "### 8.5 ",
    columns: &[
        Column::Shut,
        Column::DfuArmed,
        Column::BothArmed,
        Column::ArmedUntouched,
        Column::ArmedOtherFiles,
        Column::ArmedWhole,
        Column::ArmedJudging,
        Column::ArmedVerdict,
        Column::ArmedDfuIdle,
        Column::ArmedDfuAtWork,
        Column::LeftThenArmed,
    ],
    events: &[
        Event::Detach,
        Event::Eject,
        Event::Cancel,
        Event::BusReset,
        Event::Unplug(70),
        Event::Silence(70),
        Event::Silence(11 * 60),
        Event::Silence(16 * 60),
        Event::VerdictIsOut,
        Event::ArmVolume,
        Event::DisarmVolume,
        Event::ArmDfu,
        Event::DisarmDfu,
        Event::PoweredOn,
        Event::Abort,
        Event::RestartBmc,
        Event::Killed,
    ],
};

const AT_ONCE: Table = Table {
    heading: "### 8.6 ",
    columns: &[Column::AtOnceVerdict, Column::AtOnceDetached, Column::AtOnceDfuStaged, Column::AtOnceLeft],
    events: &[
        Event::Detach,
        Event::FirstBlock,
        Event::Offer,
        Event::Eject,
        Event::BusReset,
        Event::Unplug(50),
        Event::Unplug(70),
        Event::Silence(50),
        Event::Silence(70),
        Event::VerdictIsOut,
        Event::ArmVolume,
        Event::Abort,
        Event::Activate,
        Event::Killed,
    ],
};

const IPMI: Table = Table {
    heading: "### 8.7 ",
    columns: &[
        Column::Shut,
        Column::Untouched,
        Column::OtherFiles,
        Column::Whole,
        Column::Judging,
        Column::Verdict,
        Column::Left,
        Column::LockedOut,
        Column::DfuIdle,
        Column::DfuReceives,
        Column::DfuAtWork,
        Column::Started,
        Column::StartedWhole,
        Column::StartedJudging,
    ],
    events: &[
        Event::StartDfu,
        Event::StartBulk,
        Event::StartVolume,
        Event::StartOther,
        Event::Stop(true),
        Event::Stop(false),
        Event::IpmiAbort,
    ],
};

const HIDDEN: Table = Table {
    heading: "### 8.8 ",
    columns: &[
        Column::Hidden,
        Column::HiddenDfuArmed,
        Column::HiddenUntouched,
        Column::HiddenWhole,
        Column::HiddenVerdict,
        Column::HiddenDfuIdle,
        Column::HiddenDfuStaged,
        Column::HiddenLeft,
    ],
    events: &[
        Event::Detach,
        Event::Eject,
        Event::BusReset,
        Event::Unplug(70),
        Event::Silence(70),
        Event::Silence(16 * 60),
        Event::VerdictIsOut,
        Event::ArmVolume,
        Event::DisarmVolume,
        Event::ArmDfu,
        Event::DisarmDfu,
        Event::PoweredOn,
        Event::StartDfu,
        Event::StartVolume,
        Event::IpmiAbort,
        Event::Abort,
        Event::Activate,
        Event::RestartBmc,
        Event::Killed,
        Event::PowerCut,
    ],
};

const HELD: Table = Table {
    heading: "### 8.9 ",
    columns: &[
        Column::HeldDfuReceives,
        Column::HeldDfuAtWork,
        Column::HeldDfuStaged,
        Column::HeldBulkReceives,
        Column::HeldWhole,
        Column::HeldJudging,
        Column::HeldVerdict,
        Column::HeldLeft,
    ],
    events: &[
        Event::Detach,
        Event::FirstBlock,
        Event::Eject,
        Event::Cancel,
        Event::BusReset,
        Event::Unplug(70),
        Event::Silence(70),
        Event::Silence(11 * 60),
        Event::VerdictIsOut,
        Event::ArmVolume,
        Event::StartVolume,
        Event::IpmiAbort,
        Event::Abort,
        Event::Activate,
        Event::RestartBmc,
        Event::RestartHost,
        Event::Killed,
        Event::PowerCut,
    ],
};

const SPEC: &str = include_str!("../../../../docs/spec/session.md");

/// The cells of a line.
fn cells(line: &str) -> Vec<&str> {
    line.trim_matches('|').split('|').map(str::trim).collect()
}

impl Table {
    /// What the specification says: rows of cells, the names of row and columns included.
    fn specified(&self) -> Vec<Vec<&'static str>> {
        let (_, text) = SPEC.split_once(self.heading).expect("the heading");
        let lines = text.lines().skip_while(|line| !line.starts_with('|'));
        lines.take_while(|line| line.starts_with('|')).map(cells).collect()
    }

    /// What is so.
    fn observed(&self) -> Vec<Vec<String>> {
        let head = self.columns.iter().map(|column| column.name().to_owned());
        let rows = self.events.iter().map(|event| {
            let cells = self.columns.iter().map(|column| cell(*column, *event));
            [event.name()].into_iter().chain(cells).collect()
        });
        [["event".to_owned()].into_iter().chain(head).collect()].into_iter().chain(rows).collect()
    }

    fn check(&self) {
        let mut specified = self.specified();
        // The line of dashes.
        specified.remove(1);
        let observed = self.observed();
        if specified == observed {
            return;
        }
        let (mut text, mut wrong) = (String::new(), String::new());
        for (number, row) in observed.iter().enumerate() {
            for (column, cell) in row.iter().enumerate() {
                let said = specified.get(number).and_then(|row| row.get(column)).copied();
                if said != Some(cell) {
                    writeln!(wrong, "{}, {}: {said:?}, and is {cell:?}", row[0], observed[0][column])
                        .unwrap();
                }
            }
            writeln!(text, "| {} |", row.join(" | ")).unwrap();
            if number == 0 {
                writeln!(text, "|{}", "---|".repeat(row.len())).unwrap();
            }
        }
        panic!("{}is not so:\n{wrong}\nIt is:\n\n{text}", self.heading);
    }
}

/// What comes of an event, in the words of the tables; in both profiles, where there is a disk.
fn cell(column: Column, event: Event) -> String {
    let profiles: &[bool] = match column.fat().and(event.fat()) {
        Profiles::Both => &[false, true],
        Profiles::Raw => &[false],
        Profiles::Fat => &[true],
        Profiles::None => return "–".into(),
    };
    let cells: Vec<_> = profiles.iter().map(|fat| run(column, event, *fat)).collect();
    let [first, rest @ ..] = &cells[..] else { unreachable!() };
    if rest.iter().all(|cell| cell == first) {
        first.clone()
    } else {
        format!("raw: {}; fat: {}", cells[0], cells[1])
    }
}

fn run(column: Column, event: Event, fat: bool) -> String {
    let stage = Stage::new(column, fat);
    let before = stage.look();
    let (stage, outcome) = event.happen(stage);
    stage.settle();
    let words = look::words(outcome, &before, &stage.look(), event.comes_back());
    stage.assert_safe(&format!("{}, {}: {words}", event.name(), column.name()), &[event]);
    words
}

#[test]
fn the_disk_at_run_time() {
    RUN_TIME.check();
}

#[test]
fn the_disk_while_no_session_may_begin() {
    REFUSED.check();
}

#[test]
fn dfu_mode() {
    DFU_MODE.check();
}

#[test]
fn dfu_mode_while_no_session_may_begin() {
    DFU_REFUSED.check();
}

#[test]
fn doors_that_somebody_has_to_arm() {
    ARMED.check();
}

#[test]
fn a_bmc_that_restarts_at_once() {
    AT_ONCE.check();
}

#[test]
fn the_door_handle() {
    IPMI.check();
}

#[test]
fn a_restart_that_waits() {
    HELD.check();
}

#[test]
fn a_device_that_is_hidden_while_its_doors_are_shut() {
    HIDDEN.check();
}

/// What the tables do not tell: one event behind the other, and verdicts that take their time. What must hold behind each holds behind all.
#[test]
fn whatever_happens_in_whatever_order_does_no_harm() {
    let tables = [RUN_TIME, REFUSED, DFU_MODE, DFU_REFUSED, ARMED, AT_ONCE, IPMI, HIDDEN, HELD];
    let all = [RUN_TIME.events, IPMI.events].concat();
    for seed in 0..120 {
        let mut random = Random(seed);
        let mut pick = |count: usize| (random.next() % count as u64) as usize;
        let table = &tables[pick(tables.len())];
        let column = table.columns[pick(table.columns.len())];
        let fat = match column.fat() {
            Profiles::Both => pick(2) == 0,
            profile => profile == Profiles::Fat,
        };
        let mut stage = Stage::new(column, fat);
        let mut events = Vec::new();
        for _ in 0..2 + pick(7) {
            let event = all[pick(all.len())];
            if event.fat().and(if fat { Profiles::Fat } else { Profiles::Raw }) == Profiles::None {
                continue;
            }
            events.push(event);
            if pick(3) == 0 {
                stage.bench.hold(Hold::Finish);
            }
            (stage, _) = event.happen(stage);
            stage.bench.bus.advance(Duration::from_millis(pick(6000) as u64));
            stage.bench.wait_attached();
        }
        stage.assert_safe(&format!("{seed}: {column:?}, {fat}, {events:?}"), &events);
    }
}
