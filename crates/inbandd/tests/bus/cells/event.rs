//! The rows: what happens.

use std::time::Duration;

use inband_bulk::{
    interface::{self, OUT},
    wire::{Kind, message},
};
use inband_dfu::wire::State;
use inband_ipmi::command::{Command, Door as Start, Profile, Status, Wishes};
use inband_session::Door;
use inband_store::memory::Loss;
use inband_usb::{HostDevice as _, HostError, HostTransfer, Setup, chapter9::request};
use inband_virtual::memory::MemoryHost;
use inbandd::command::{Ask, AskedBy};

use super::{
    image::{self, package},
    look::{self, Set},
    stage::{Profiles, Stage},
};
use crate::{
    bench::{Bench, GEOMETRY, Hold, detach_setup, dnload, get_state, get_status},
    bulk_host::{self, Parts},
    disk_host::{Disk, Sense, padded},
    fat::{APPLY, CANCEL, FREE},
    host::TIMEOUT,
};

/// What comes of an event at once.
pub(super) enum Outcome {
    /// What it takes is not there.
    CannotBe,
    NoAnswer,
    Answer(String),
}

/// A row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Event {
    Detach,
    FirstBlock,
    Offer,
    DiskCommand,
    WriteRaw,
    WriteOther,
    Firmware,
    Eject,
    Apply,
    Cancel,
    BusReset,
    Reconfigure,
    /// For so many seconds.
    Unplug(u64),
    /// Likewise: nobody says anything.
    Silence(u64),
    VerdictIsOut,
    ArmVolume,
    DisarmVolume,
    ArmDfu,
    DisarmDfu,
    PoweredOn,
    Commit,
    Abort,
    Activate,
    RestartBmc,
    RestartHost,
    Killed,
    PowerCut,
    // By IPMI.
    StartDfu,
    StartBulk,
    StartVolume,
    /// In the profile that is not configured.
    StartOther,
    /// Of the last start: commit, or drop.
    Stop(bool),
    IpmiAbort,
}

impl Event {
    pub(super) fn name(self) -> String {
        let time = |seconds: u64| {
            if seconds < 120 { format!("{seconds} s") } else { format!("{} min", seconds / 60) }
        };
        match self {
            Self::Detach => "DETACH".into(),
            Self::FirstBlock => "DNLOAD, first block".into(),
            Self::Offer => "OFFER".into(),
            Self::DiskCommand => "a command to the disk".into(),
            Self::WriteRaw => "WRITE (`raw`)".into(),
            Self::WriteOther => "another file (`fat`)".into(),
            Self::Firmware => "`FIRMWARE.BIN` (`fat`)".into(),
            Self::Eject => "eject".into(),
            Self::Apply => "`APPLY.CMD` (`fat`)".into(),
            Self::Cancel => "`CANCEL.CMD` (`fat`)".into(),
            Self::BusReset => "bus reset".into(),
            Self::Reconfigure => "configuration 0, then 1".into(),
            Self::Unplug(seconds) => format!("unplugged for {}", time(seconds)),
            Self::Silence(seconds) => format!("nothing for {}", time(seconds)),
            Self::VerdictIsOut => "the verdict is out".into(),
            Self::ArmVolume => "`arm volume`".into(),
            Self::DisarmVolume => "`disarm volume`".into(),
            Self::ArmDfu => "`arm dfu`".into(),
            Self::DisarmDfu => "`disarm dfu`".into(),
            Self::PoweredOn => "`host-powered-on`".into(),
            Self::Commit => "`commit`".into(),
            Self::Abort => "`abort`".into(),
            Self::Activate => "`activate`".into(),
            Self::RestartBmc => "`restart bmc`".into(),
            Self::RestartHost => "`restart host`".into(),
            Self::Killed => "`inbandd` dies".into(),
            Self::PowerCut => "power cut".into(),
            Self::StartDfu => "start `dfu`".into(),
            Self::StartBulk => "start `bulk`".into(),
            Self::StartVolume => "start `volume`".into(),
            Self::StartOther => "start `volume`, the other profile".into(),
            Self::Stop(true) => "stop, commit".into(),
            Self::Stop(false) => "stop, drop".into(),
            Self::IpmiAbort => "abort by IPMI".into(),
        }
    }

    /// The profiles that it is about.
    pub(super) const fn fat(self) -> Profiles {
        match self {
            Self::WriteRaw => Profiles::Raw,
            Self::WriteOther | Self::Firmware | Self::Apply | Self::Cancel => Profiles::Fat,
            _ => Profiles::Both,
        }
    }

    /// Whether the BMC may restart by it, or in it.
    pub(super) const fn restarts(self) -> bool {
        matches!(self, Self::Activate | Self::RestartBmc | Self::RestartHost | Self::PowerCut)
    }

    /// How often the device comes anew by the event itself; `None` where it is another daemon's.
    pub(super) const fn comes_back(self) -> Option<u64> {
        match self {
            Self::Unplug(_) => Some(1),
            Self::Killed | Self::PowerCut => None,
            _ => Some(0),
        }
    }

    /// Has it happen.
    pub(super) fn happen(self, mut stage: Stage) -> (Stage, Outcome) {
        let setting = stage.setting;
        match self {
            Self::Killed => {
                (stage.restarted(|bench| Bench::daemon(setting, bench.kill())), Outcome::NoAnswer)
            }
            Self::PowerCut => (stage.restarted(|bench| bench.power_cycle(Loss::All)), Outcome::NoAnswer),
            _ => {
                let outcome = self.happen_to(&mut stage);
                (stage, outcome)
            }
        }
    }

    fn happen_to(self, stage: &mut Stage) -> Outcome {
        let set = look::set(&stage.bench);
        let on_disk = |stage: &Stage, what: &dyn Fn(&mut Disk<MemoryHost>) -> Result<(), Sense>| {
            if set != Set::Disk {
                return Outcome::CannotBe;
            }
            let mut disk = look::disk(&stage.bench);
            let profile = if look::is_fat(&mut disk) { Profiles::Fat } else { Profiles::Raw };
            match self.fat().and(profile) {
                Profiles::None => Outcome::CannotBe,
                Profiles::Both | Profiles::Fat | Profiles::Raw => Outcome::Answer(sense(what(&mut disk))),
            }
        };
        let bus = &stage.bench.bus;
        let ask = |ask| Outcome::Answer(format!("`{}`", stage.bench.ask(ask).name()));
        match self {
            Self::Detach | Self::FirstBlock | Self::BusReset | Self::Reconfigure | Self::Unplug(_)
                if set == Set::Nothing =>
            {
                Outcome::CannotBe
            }
            Self::Detach => Outcome::Answer(detach(stage, set)),
            Self::FirstBlock => Outcome::Answer(first_block(&stage.bench)),
            Self::Offer if set != Set::Dfu => Outcome::CannotBe,
            Self::Offer => Outcome::Answer(offer(stage)),
            Self::DiskCommand => on_disk(stage, &Disk::ready),
            Self::WriteRaw => on_disk(stage, &|disk| disk.write(0, &padded(&package().file)[..512])),
            // Where a package is, it stays: the file has no name yet.
            Self::WriteOther if stage.column.has_firmware() => {
                on_disk(stage, &|disk| disk.write(GEOMETRY.data() + 9000, &[8; 5120]))
            }
            Self::WriteOther => on_disk(stage, &image::write_other),
            Self::Firmware => on_disk(stage, &image::name_firmware),
            Self::Eject => on_disk(stage, &Disk::eject),
            Self::Apply | Self::Cancel => {
                let name = if self == Self::Apply { APPLY } else { CANCEL };
                let outcome = on_disk(stage, &|disk| image::name(disk, FREE + 1, name));
                bus.advance(Duration::from_secs(2));
                outcome
            }
            Self::BusReset => {
                bus.reset();
                Outcome::NoAnswer
            }
            Self::Reconfigure => {
                for value in [0, 1] {
                    let request = request::SET_CONFIGURATION;
                    let setup = Setup { request_type: 0, request, value, index: 0, length: 0 };
                    stage.bench.open().control_out(setup, Vec::new(), TIMEOUT).unwrap();
                    bus.advance(Duration::from_secs(1));
                }
                Outcome::NoAnswer
            }
            Self::Unplug(seconds) => {
                bus.unplug();
                bus.advance(Duration::from_secs(seconds));
                bus.plug();
                Outcome::NoAnswer
            }
            Self::Silence(seconds) => {
                bus.advance(Duration::from_secs(seconds));
                Outcome::NoAnswer
            }
            Self::VerdictIsOut if !stage.column.is_held() => Outcome::CannotBe,
            Self::VerdictIsOut => {
                stage.bench.hold(Hold::Nothing);
                Outcome::NoAnswer
            }
            Self::ArmVolume => ask(Ask::Arm(Door::Volume)),
            Self::DisarmVolume => ask(Ask::Disarm(Door::Volume)),
            Self::ArmDfu => ask(Ask::Arm(Door::Dfu)),
            Self::DisarmDfu => ask(Ask::Disarm(Door::Dfu)),
            Self::PoweredOn => ask(Ask::HostPoweredOn),
            Self::Commit => ask(Ask::Commit),
            Self::Abort => ask(Ask::Abort),
            Self::Activate => ask(Ask::Activate),
            Self::RestartBmc => ask(Ask::Restart(AskedBy::Bmc)),
            Self::RestartHost => ask(Ask::Restart(AskedBy::Host)),
            Self::StartDfu => ipmi(&stage.bench, &start(Start::Dfu)),
            Self::StartBulk => ipmi(&stage.bench, &start(Start::Bulk)),
            Self::StartVolume => ipmi(&stage.bench, &start_volume(stage.fat)),
            Self::StartOther => ipmi(&stage.bench, &start_volume(!stage.fat)),
            Self::Stop(commit) => {
                let status = stage.bench.ipmi_command(&Command::Status);
                let nonce = Status::decode(&status.data).unwrap().nonce;
                ipmi(&stage.bench, &Command::Stop { tag: 0, nonce, commit })
            }
            Self::IpmiAbort => ipmi(&stage.bench, &Command::Abort { tag: 0 }),
            Self::Killed | Self::PowerCut => unreachable!("they take the stage away"),
        }
    }
}

fn start(door: Start) -> Command {
    Command::Start { tag: 0, door, wishes: Wishes::default() }
}

/// A start of the disk.
pub(super) fn start_volume(fat: bool) -> Command {
    start(Start::Volume(if fat { Profile::Fat } else { Profile::Raw }))
}

fn ipmi(bench: &Bench, command: &Command) -> Outcome {
    Outcome::Answer(format!("{:02X}", bench.ipmi_command(command).code.0))
}

fn sense(result: Result<(), Sense>) -> String {
    match result {
        Ok(()) => "good".into(),
        Err((key, code, qualifier)) => format!("{key:02x}/{code:02X}/{qualifier:02X}"),
    }
}

/// DETACH, by a program that has claimed nothing: at run time that would begin the disk anew.
fn detach(stage: &mut Stage, set: Set) -> String {
    let bench = &stage.bench;
    let reason = bench.bmc().session().may_knock(Door::Dfu, bench.bus.now()).err();
    let answer = bench.open().control_out(detach_setup(), Vec::new(), TIMEOUT);
    stage.host = None;
    match (answer, reason) {
        (Ok(()) | Err(HostError::Gone), _) => "taken".into(),
        (Err(HostError::Stall), Some(code)) if set != Set::Dfu => format!("stalled, `{code}`"),
        (Err(HostError::Stall), _) => "stalled".into(),
        (other, _) => panic!("{other:?}"),
    }
}

/// The first block of another download.
fn first_block(bench: &Bench) -> String {
    let mut host = bench.open();
    let idle = get_state(&mut host) == Ok(State::DfuIdle);
    let reason = bench.bmc().session().may_begin(Door::Dfu, bench.bus.now()).err();
    match dnload(&mut host, 0, &package().file[..4096]) {
        Ok(()) => {
            while get_status(&mut host).unwrap().0 == State::DfuDnbusy {
                host.wait(Duration::from_millis(2));
            }
            "taken".into()
        }
        Err(HostError::Stall) if idle => format!("stalled, `{}`", reason.unwrap()),
        Err(HostError::Stall) => "stalled".into(),
        other => panic!("{other:?}"),
    }
}

/// An OFFER, by the program that has the interface.
fn offer(stage: &mut Stage) -> String {
    let mut host = stage.host.take().unwrap_or_else(|| {
        let mut host = stage.bench.open();
        host.claim(interface::INTERFACE).unwrap();
        host
    });
    let parts = Parts::of(&package().file);
    let mut answer = None;
    let mut data = message(Kind::Offer, 2, 0, &parts.head);
    // In the middle of a round the device sees it when the read is full that it has asked for: what follows is nothing to it.
    for _ in 0..30 {
        let next = vec![0; 4096];
        let sent = host.run(HostTransfer::BulkOut { endpoint: OUT, data }, Duration::from_millis(100));
        let length = 512;
        let read = HostTransfer::BulkIn { endpoint: interface::IN, length };
        if let Ok(read) = host.run(read, Duration::from_millis(20)) {
            answer = Some(bulk_host::parse(&read.data));
            break;
        }
        if sent.is_err() {
            break;
        }
        data = next;
    }
    stage.host = Some(host);
    match answer {
        None => "waits".into(),
        Some((header, body)) => match Kind::from_number(header.kind) {
            Some(Kind::Result) => format!("`{}`", bulk_host::result_in(&body)),
            kind => {
                assert_eq!(kind, Some(Kind::Need));
                "NEED".into()
            }
        },
    }
}
