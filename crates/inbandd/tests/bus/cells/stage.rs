//! The columns: a fresh BMC, brought to a state.

use std::time::Duration;

use inband_dfu::{
    host::End,
    wire::{Request, State, Status},
};
use inband_ipmi::wire::Code;
use inband_session::{Door, DoorPolicy, Rates, ResultCode, SessionState};
use inband_store::{memory::Loss, record::Place};
use inband_virtual::memory::MemoryHost;
use inbandd::{
    command::{Answer, Ask, AskedBy},
    config::{PowerOn, WhileShut},
};

use super::{
    event::start_volume,
    image::{self, package},
    look,
};
use crate::{
    bench::{Bench, Hold, Setting, block, command, dnload, get_status, new_store},
    bulk,
    bulk_host::{self, Parts},
    host,
};

/// The profiles that something is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Profiles {
    Both,
    Raw,
    Fat,
    None,
}

impl Profiles {
    pub(super) const fn and(self, other: Self) -> Self {
        match (self, other) {
            (Self::Both, other) | (other, Self::Both) => other,
            (Self::Raw, Self::Raw) => Self::Raw,
            (Self::Fat, Self::Fat) => Self::Fat,
            _ => Self::None,
        }
    }
}

/// A column.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Column {
    // Run time, all doors `always`.
    Untouched,
    OtherFiles,
    Part,
    Whole,
    Judging,
    Gap,
    Verdict,
    /// A download is judged whose host has left DFU mode.
    Left,
    OnTrial,
    LockedOut,
    Worn,
    // DFU mode.
    DfuIdle,
    DfuReceives,
    DfuAtWork,
    /// Behind a bus reset: DFU is idle, the session goes on.
    DfuAtWorkReset,
    DfuStaged,
    BulkReceives,
    BulkAtWork,
    BulkStaged,
    DfuOnTrial,
    DfuLockedOut,
    DfuWorn,
    // Doors that somebody has to arm.
    Shut,
    DfuArmed,
    BothArmed,
    ArmedUntouched,
    ArmedOtherFiles,
    ArmedWhole,
    ArmedJudging,
    ArmedVerdict,
    ArmedDfuIdle,
    ArmedDfuAtWork,
    LeftThenArmed,
    // The BMC restarts at once into what is staged.
    AtOnceVerdict,
    /// DFU mode, with the verdict having been in the drive.
    AtOnceDetached,
    AtOnceDfuStaged,
    AtOnceLeft,
    // A start by IPMI is in force, all doors having to be armed.
    Started,
    StartedWhole,
    StartedJudging,
    // All doors have to be armed, and the device is hidden until one is.
    Hidden,
    HiddenDfuArmed,
    HiddenUntouched,
    HiddenWhole,
    HiddenVerdict,
    HiddenDfuIdle,
    HiddenDfuStaged,
    HiddenLeft,
    // Somebody on the BMC wants it to restart, which waits.
    HeldDfuReceives,
    HeldDfuAtWork,
    HeldDfuStaged,
    HeldBulkReceives,
    HeldWhole,
    HeldJudging,
    HeldVerdict,
    HeldLeft,
}

impl Column {
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Hidden => "hidden",
            Self::Untouched | Self::ArmedUntouched | Self::HiddenUntouched => "untouched",
            Self::OtherFiles | Self::ArmedOtherFiles => "other files",
            Self::Part => "part",
            Self::Whole | Self::ArmedWhole | Self::HiddenWhole | Self::HeldWhole => "whole",
            Self::Judging | Self::ArmedJudging | Self::HeldJudging => "judging",
            Self::Gap => "gap",
            Self::Verdict
            | Self::ArmedVerdict
            | Self::AtOnceVerdict
            | Self::HiddenVerdict
            | Self::HeldVerdict => "verdict",
            Self::Left | Self::AtOnceLeft | Self::HiddenLeft | Self::HeldLeft => "left",
            Self::OnTrial | Self::DfuOnTrial => "on trial",
            Self::LockedOut | Self::DfuLockedOut => "locked out",
            Self::Worn | Self::DfuWorn => "worn",
            Self::DfuIdle | Self::ArmedDfuIdle | Self::HiddenDfuIdle => "DFU mode",
            Self::DfuReceives | Self::HeldDfuReceives => "`dfu` receives",
            Self::DfuAtWork | Self::ArmedDfuAtWork | Self::HeldDfuAtWork => "`dfu` judged",
            Self::DfuAtWorkReset => "`dfu` judged, reset",
            Self::DfuStaged | Self::AtOnceDfuStaged | Self::HiddenDfuStaged | Self::HeldDfuStaged => {
                "`dfu` staged"
            }
            Self::AtOnceDetached => "verdict, DETACH",
            Self::BulkReceives | Self::HeldBulkReceives => "`bulk` receives",
            Self::BulkAtWork => "`bulk` judged",
            Self::BulkStaged => "`bulk` staged",
            Self::Shut => "shut",
            Self::DfuArmed | Self::HiddenDfuArmed => "`dfu` armed",
            Self::BothArmed => "both armed",
            Self::LeftThenArmed => "left, armed",
            Self::Started => "started",
            Self::StartedWhole => "started, whole",
            Self::StartedJudging => "started, judging",
        }
    }

    /// The profiles that it is about; DFU mode knows of none.
    pub(super) const fn fat(self) -> Profiles {
        match self {
            Self::OtherFiles | Self::ArmedOtherFiles => Profiles::Fat,
            Self::DfuIdle
            | Self::DfuReceives
            | Self::DfuAtWork
            | Self::DfuAtWorkReset
            | Self::DfuStaged
            | Self::BulkReceives
            | Self::BulkAtWork
            | Self::BulkStaged
            | Self::DfuOnTrial
            | Self::DfuLockedOut
            | Self::DfuWorn
            | Self::Shut
            | Self::DfuArmed
            | Self::ArmedDfuIdle
            | Self::ArmedDfuAtWork
            | Self::AtOnceDfuStaged
            | Self::Hidden
            | Self::HiddenDfuArmed
            | Self::HiddenDfuIdle
            | Self::HiddenDfuStaged
            | Self::HiddenLeft
            | Self::HeldDfuReceives
            | Self::HeldDfuAtWork
            | Self::HeldDfuStaged
            | Self::HeldBulkReceives => Profiles::Raw,
            _ => Profiles::Both,
        }
    }

    /// Whether the package is whole in it, and may be staged.
    pub(super) const fn is_whole(self) -> bool {
        !matches!(
            self,
            Self::Untouched
                | Self::OtherFiles
                | Self::Part
                | Self::LockedOut
                | Self::DfuLockedOut
                | Self::DfuIdle
                | Self::DfuReceives
                | Self::BulkReceives
                | Self::Shut
                | Self::DfuArmed
                | Self::BothArmed
                | Self::Started
                | Self::ArmedUntouched
                | Self::ArmedOtherFiles
                | Self::ArmedDfuIdle
                | Self::Hidden
                | Self::HiddenDfuArmed
                | Self::HiddenUntouched
                | Self::HiddenDfuIdle
                | Self::HeldDfuReceives
                | Self::HeldBulkReceives
        )
    }

    /// Whether the name of a package is on the volume.
    pub(super) const fn has_firmware(self) -> bool {
        matches!(
            self,
            Self::Part
                | Self::Whole
                | Self::ArmedWhole
                | Self::StartedWhole
                | Self::HiddenWhole
                | Self::HeldWhole
        )
    }

    /// Whether the verdict waits for a word of the test's.
    pub(super) const fn is_held(self) -> bool {
        matches!(
            self,
            Self::Judging
                | Self::Left
                | Self::DfuAtWork
                | Self::DfuAtWorkReset
                | Self::BulkAtWork
                | Self::ArmedJudging
                | Self::ArmedDfuAtWork
                | Self::LeftThenArmed
                | Self::AtOnceLeft
                | Self::StartedJudging
                | Self::HiddenLeft
                | Self::HeldDfuAtWork
                | Self::HeldJudging
                | Self::HeldLeft
        )
    }

    /// Whether a restart waits in it.
    pub(super) const fn holds_restart(self) -> bool {
        matches!(
            self,
            Self::HeldDfuReceives
                | Self::HeldDfuAtWork
                | Self::HeldDfuStaged
                | Self::HeldBulkReceives
                | Self::HeldWhole
                | Self::HeldJudging
                | Self::HeldVerdict
                | Self::HeldLeft
        )
    }

    /// Whether the BMC has restarted in it, or does so by itself.
    pub(super) const fn restarts(self) -> bool {
        self.holds_restart()
            || matches!(
                self,
                Self::OnTrial
                    | Self::DfuOnTrial
                    | Self::AtOnceVerdict
                    | Self::AtOnceDetached
                    | Self::AtOnceDfuStaged
                    | Self::AtOnceLeft
            )
    }

    const fn setting(self, fat: bool) -> Setting {
        let usual = Setting {
            volume: DoorPolicy::Always,
            bulk: DoorPolicy::Always,
            fat,
            ipmi: true,
            ..Setting::DEFAULT
        };
        match self {
            Self::OnTrial | Self::DfuOnTrial => Setting { health: true, ..usual },
            Self::LockedOut | Self::DfuLockedOut => Setting { refusals: 1, ..usual },
            Self::Worn | Self::DfuWorn => Setting { rates: Rates { sessions: 200, rewrites: 24 }, ..usual },
            Self::Shut
            | Self::DfuArmed
            | Self::BothArmed
            | Self::ArmedUntouched
            | Self::ArmedOtherFiles
            | Self::ArmedWhole
            | Self::ArmedJudging
            | Self::ArmedVerdict
            | Self::ArmedDfuIdle
            | Self::ArmedDfuAtWork
            | Self::LeftThenArmed
            | Self::Started
            | Self::StartedWhole
            | Self::StartedJudging => {
                let power_on = Some(PowerOn::Command);
                Setting { volume: DoorPolicy::Armed, policy: DoorPolicy::Armed, power_on, ..usual }
            }
            Self::Hidden
            | Self::HiddenDfuArmed
            | Self::HiddenUntouched
            | Self::HiddenWhole
            | Self::HiddenVerdict
            | Self::HiddenDfuIdle
            | Self::HiddenDfuStaged
            | Self::HiddenLeft => Setting {
                volume: DoorPolicy::Armed,
                policy: DoorPolicy::Armed,
                power_on: Some(PowerOn::Command),
                while_shut: WhileShut::Nothing,
                ..usual
            },
            _ if self.holds_restart() => Setting { hold_restart: true, ..usual },
            Self::AtOnceVerdict | Self::AtOnceDetached | Self::AtOnceDfuStaged | Self::AtOnceLeft => {
                Setting { activate: true, ..usual }
            }
            _ => usual,
        }
    }
}

/// A BMC in a state of a column.
pub(super) struct Stage {
    pub(super) bench: Bench,
    pub(super) column: Column,
    pub(super) setting: Setting,
    pub(super) fat: bool,
    /// A host program that is at something in DFU mode.
    pub(super) host: Option<MemoryHost>,
}

impl Stage {
    pub(super) fn new(column: Column, fat: bool) -> Self {
        let setting = column.setting(fat);
        let bench = match column {
            Column::Worn | Column::DfuWorn => {
                // What an hour brings: one rewrite.
                let mut medium = new_store();
                for area in Place::ALL {
                    medium.set_journal(area, vec![0xff; 10_000]);
                }
                Bench::boot(setting, medium)
            }
            _ => Bench::with(setting),
        };
        Self { bench, column, setting, fat, host: None }.brought()
    }

    fn brought(mut self) -> Self {
        let file = &package().file;
        match self.column {
            Column::Untouched | Column::Shut | Column::Hidden => {}
            Column::OtherFiles => self.copy_other(),
            Column::Part => self.copy_part(),
            Column::Whole => self.copy(),
            Column::Judging => self.judge(),
            Column::Gap => self.eject(),
            Column::Verdict | Column::AtOnceVerdict => self.verdict(),
            Column::AtOnceDetached => {
                self.verdict();
                drop(self.bench.enter_dfu());
            }
            Column::Left | Column::AtOnceLeft => self.leave_at_work(),
            Column::OnTrial => self = self.on_trial(),
            Column::DfuOnTrial => {
                self = self.on_trial();
                drop(self.bench.enter_dfu());
            }
            Column::LockedOut => {
                self.forge();
                self.bench.leave_dfu();
            }
            Column::DfuLockedOut => {
                self.forge();
                drop(bulk::ready(&self.bench));
            }
            Column::Worn => self.wear(),
            Column::DfuWorn => {
                self.wear();
                drop(self.bench.enter_dfu());
            }
            Column::DfuIdle => drop(bulk::ready(&self.bench)),
            Column::DfuReceives => self.download(5),
            Column::DfuAtWork => self.download(usize::MAX),
            Column::HeldDfuReceives => {
                self.download(5);
                self.hold_restart();
            }
            Column::HeldDfuAtWork => {
                self.download(usize::MAX);
                self.hold_restart();
            }
            Column::HeldDfuStaged => {
                let mut asked = None;
                let mut host = self.bench.enter_dfu();
                let end = host::download(&mut host, file, |_, sent| {
                    if sent > 8192 && asked.is_none() {
                        asked = self.bench.ask_later(Ask::Restart(AskedBy::Bmc));
                    }
                });
                assert_eq!((end, asked), (Ok(End::Idle), Some(Answer::Held)));
            }
            Column::HeldBulkReceives => {
                self.exchange(1);
                self.hold_restart();
            }
            Column::HeldWhole => {
                self.copy();
                self.hold_restart();
            }
            Column::HeldJudging => {
                self.judge();
                self.hold_restart();
            }
            Column::HeldVerdict => {
                self.copy();
                self.hold_restart();
                look::disk(&self.bench).eject().unwrap();
                self.settle();
                self.bench.assert_session(SessionState::Staged, ResultCode::Ok);
            }
            Column::HeldLeft => {
                self.leave_at_work();
                self.hold_restart();
            }
            Column::DfuAtWorkReset => {
                self.download(usize::MAX);
                self.host = None;
                self.bench.bus.reset();
            }
            Column::DfuStaged | Column::AtOnceDfuStaged => _ = self.bench.update(file).unwrap(),
            Column::BulkReceives => self.exchange(1),
            Column::BulkAtWork => {
                self.bench.hold(Hold::Finish);
                self.exchange(usize::MAX);
            }
            Column::BulkStaged => {
                assert_eq!(bulk::update(&self.bench, 1, file).unwrap().result(), ResultCode::Ok);
            }
            Column::DfuArmed | Column::HiddenDfuArmed => self.arm(Door::Dfu),
            Column::BothArmed => {
                self.arm(Door::Dfu);
                self.arm(Door::Volume);
            }
            Column::ArmedUntouched | Column::HiddenUntouched => self.arm(Door::Volume),
            Column::ArmedOtherFiles => {
                self.arm(Door::Volume);
                self.copy_other();
            }
            Column::ArmedWhole | Column::HiddenWhole => {
                self.arm(Door::Volume);
                self.copy();
            }
            Column::ArmedJudging => {
                self.arm(Door::Volume);
                self.judge();
            }
            Column::ArmedVerdict | Column::HiddenVerdict => {
                self.arm(Door::Volume);
                self.verdict();
            }
            Column::HiddenDfuStaged => {
                self.arm(Door::Dfu);
                self.bench.update(file).unwrap();
            }
            Column::HiddenLeft => {
                self.arm(Door::Dfu);
                self.leave_at_work();
            }
            Column::ArmedDfuIdle | Column::HiddenDfuIdle => {
                self.arm(Door::Dfu);
                drop(self.bench.enter_dfu());
            }
            Column::ArmedDfuAtWork => {
                self.arm(Door::Dfu);
                self.download(usize::MAX);
            }
            Column::LeftThenArmed => {
                self.arm(Door::Dfu);
                self.leave_at_work();
                self.arm(Door::Volume);
            }
            Column::Started => self.start(),
            Column::StartedWhole => {
                self.start();
                self.copy();
            }
            Column::StartedJudging => {
                self.start();
                self.judge();
            }
        }
        self
    }

    /// By IPMI.
    fn start(&self) {
        assert_eq!(self.bench.ipmi_command(&start_volume(self.fat)).code, Code::OK);
        self.bench.wait_attached();
    }

    fn arm(&self, door: Door) {
        arm(&self.bench, door);
    }

    fn hold_restart(&self) {
        assert_eq!(self.bench.ask(Ask::Restart(AskedBy::Bmc)), Answer::Held);
    }

    fn copy_other(&self) {
        image::write_other(&mut look::disk(&self.bench)).unwrap();
        assert_eq!(self.bench.status().session, 0);
    }

    fn copy(&self) {
        package().write(&mut look::disk(&self.bench), self.fat).unwrap();
        self.bench.assert_session(SessionState::Receiving, ResultCode::None);
    }

    fn copy_part(&self) {
        package().write_part(&mut look::disk(&self.bench), self.fat).unwrap();
        self.bench.assert_session(SessionState::Receiving, ResultCode::None);
    }

    fn eject(&self) {
        self.copy();
        look::disk(&self.bench).eject().unwrap();
    }

    fn judge(&self) {
        self.bench.hold(Hold::Finish);
        self.eject();
        self.bench.assert_session(SessionState::Verifying, ResultCode::None);
    }

    fn verdict(&self) {
        self.eject();
        self.settle();
        self.bench.assert_session(SessionState::Staged, ResultCode::Ok);
    }

    fn on_trial(self) -> Self {
        self.verdict();
        let stage = self.restarted(|bench| bench.power_cycle(Loss::All));
        stage.bench.assert_session(SessionState::PendingConfirm, ResultCode::Ok);
        stage
    }

    /// With another daemon in the place of this one.
    pub(super) fn restarted(self, by: impl FnOnce(Bench) -> Bench) -> Self {
        // A host program keeps the old bus.
        drop(self.host);
        Self { bench: by(self.bench), host: None, ..self }
    }

    /// A refusal, of which one is enough here.
    fn forge(&self) {
        let mut file = package().file.clone();
        file[1536] ^= 1;
        self.bench.update(&file).unwrap_err();
        assert!(self.bench.status().locked_out);
    }

    fn wear(&self) {
        self.bench.update(&package().file).unwrap();
        self.bench.leave_dfu();
        assert!(self.bench.status().wait_minutes > 0);
    }

    /// So many blocks of a download; all of them leave it to be judged.
    fn download(&mut self, count: usize) {
        let mut host = bulk::ready(&self.bench);
        let blocks: Vec<_> = (0..).zip(package().file.chunks(4096)).collect();
        let (last, others) = blocks.split_last().unwrap();
        for (number, data) in others.iter().take(count) {
            assert_eq!(block(&mut host, *number, data), Ok((State::DfuDnloadIdle, Status::Ok)));
        }
        if count > others.len() {
            self.bench.hold(Hold::Finish);
            dnload(&mut host, last.0, last.1).unwrap();
            assert_eq!(get_status(&mut host), Ok((State::DfuDnbusy, Status::Ok)));
            self.bench.assert_session(SessionState::Verifying, ResultCode::None);
        }
        self.host = Some(host);
    }

    /// Stalled, cleared, honoured: the session is the BMC's, and goes on.
    fn leave_at_work(&mut self) {
        self.download(usize::MAX);
        let mut host = self.host.take().unwrap();
        command(&mut host, Request::Detach).unwrap_err();
        command(&mut host, Request::ClrStatus).unwrap();
        _ = command(&mut host, Request::Detach);
        drop(host);
        if self.setting.while_shut == WhileShut::Dfu {
            self.bench.wait_return(Duration::from_secs(1));
            assert!(!self.bench.in_dfu_mode());
        } else {
            self.settle();
            assert!(self.bench.is_hidden());
        }
        self.bench.assert_session(SessionState::Verifying, ResultCode::None);
    }

    fn exchange(&mut self, count: usize) {
        let parts = Parts::of(&package().file);
        let mut host = bulk::ready(&self.bench);
        let asked = bulk_host::offer(&mut host, 1, &parts);
        assert!(asked.len() > 1);
        for number in asked.iter().take(count) {
            bulk_host::chunk(&mut host, 1, &parts, *number).unwrap();
        }
        self.bench.bus.advance(Duration::from_millis(10));
        let state = if count < asked.len() { SessionState::Receiving } else { SessionState::Verifying };
        self.bench.assert_session(state, ResultCode::None);
        self.host = Some(host);
    }
}

/// Somebody on the BMC does.
pub(super) fn arm(bench: &Bench, door: Door) {
    assert_eq!(bench.ask(Ask::Arm(door)), Answer::Done);
    bench.wait_attached();
}
