//! The door handle: what a host's IPMI commands do to the doors.

use std::{
    sync::{Mutex, atomic::Ordering},
    time::Duration,
};

use inband_dfu::wire::{Request as DfuRequest, State as DfuState};
use inband_ipmi::{
    Origin,
    command::{Capabilities, Command, Door as Start, FLAG_STARTED, Profile, Started, Status, Wishes, item},
    wire::{Code, NETFN, ORGANISATION, Reply, Request},
};
use inband_session::{Door, DoorPolicy, DoorState, ResultCode, SessionState};
use inband_store::{Slot, memory::Loss};
use inband_usb::EndpointAddress;
use inband_virtual::memory::MemoryHost;
use inbandd::{
    command::{Answer, Ask, AskedBy},
    programs::{Exit, Task},
    worker,
};

use crate::{
    bench::{self, Bench, Hold, SLOT, Setting, dnload, get_status},
    disk_host::Disk,
    drive::{disk, shown},
    package::Package,
};

pub(crate) const ARMED: Setting = Setting {
    policy: DoorPolicy::Armed,
    bulk: DoorPolicy::Armed,
    volume: DoorPolicy::Armed,
    ipmi: true,
    ..Setting::DEFAULT
};
pub(crate) const RAW: Start = Start::Volume(Profile::Raw);
pub(crate) const FAT: Start = Start::Volume(Profile::Fat);

fn package() -> Package {
    Package::new(0x0215, 150_000)
}

fn send(bench: &Bench, data: &[u8]) -> Reply {
    let request = Request { netfn: NETFN, lun: 0, command: 0x49, data };
    bench.ipmi(Origin::System, &request).expect("it is for us")
}

pub(crate) fn ask(bench: &Bench, command: &Command) -> Reply {
    bench.ipmi_command(command)
}

#[track_caller]
fn start(bench: &Bench, tag: u32, door: Start) -> Result<u32, Code> {
    let reply = ask(bench, &Command::Start { tag, door, wishes: Wishes::default() });
    if reply.code != Code::OK {
        return Err(reply.code);
    }
    let started = Started::decode(&reply.data, tag).unwrap();
    assert_eq!(started.holds_s, 900);
    Ok(started.nonce)
}

fn stop(bench: &Bench, nonce: u32, commit: bool) -> Code {
    ask(bench, &Command::Stop { tag: 0, nonce, commit }).code
}

pub(crate) fn status(bench: &Bench) -> Status {
    Status::decode(&ask(bench, &Command::Status).data).unwrap()
}

fn doors(bench: &Bench) -> [DoorState; 3] {
    [Door::Dfu, Door::Bulk, Door::Volume].map(|door| bench.status().door_state(door))
}

const OUT: EndpointAddress = EndpointAddress(0x02);
const IN: EndpointAddress = EndpointAddress(0x82);
const SHUT: [DoorState; 3] = [DoorState::Shut; 3];

#[test]
fn a_start_shows_the_disk_and_its_session_is_known_by_the_nonce() {
    let bench = Bench::with(ARMED);
    assert!(!shown(&bench));
    assert_eq!(doors(&bench), SHUT);
    let nonce = start(&bench, 7, RAW).unwrap();
    assert_ne!(nonce, 0);
    let mut disk = disk(&bench);
    disk.copy(&package().bytes());
    let now = status(&bench);
    assert_eq!((now.state, now.door, now.nonce), (SessionState::Receiving.number(), 3, nonce));
    assert!(now.received as usize >= package().bytes().len() && now.flags & 0x80 != 0);
    bench.hold(Hold::Everything);
    disk.eject().unwrap();
    let judged = status(&bench);
    assert_eq!((judged.state, judged.percent), (SessionState::Verifying.number(), 0));
    bench.hold(Hold::Nothing);
    bench.bus.advance(Duration::from_secs(3));
    let end = status(&bench);
    assert_eq!((end.state, end.result, end.nonce), (SessionState::Staged.number(), 1, nonce));
    assert_eq!((end.flags & 0x80, end.holds_s), (0, 0), "the start is over with its session");
    assert_eq!(end.other, status_head(&bench));
    assert!(bench.medium().slot(Slot::B) == package().slot(SLOT));
    // The host reads the verdict, and the door is shut behind it.
    assert_eq!(disk.ready(), Err((6, 0x28, 0)));
    disk.eject().unwrap();
    drop(disk);
    bench.bus.advance(Duration::from_secs(3));
    assert!(!shown(&bench));
    assert_eq!(doors(&bench), SHUT);
}

fn status_head(bench: &Bench) -> [u8; 8] {
    bench.status().head[..8].try_into().unwrap()
}

#[test]
fn the_host_chooses_the_profile() {
    let bench = Bench::with(Setting { fat: false, ..ARMED });
    for (door, product) in [(FAT, b"FIRMWARE FAT    "), (RAW, b"FIRMWARE RAW    ")] {
        let nonce = start(&bench, 0, door).unwrap();
        let mut disk = disk(&bench);
        let inquiry = disk.command(&[0x12, 0, 0, 0, 36, 0], inband_volume::bot::host::Data::In(36)).unwrap();
        assert_eq!(&inquiry[16..32], product);
        drop(disk);
        assert_eq!(stop(&bench, nonce, false), Code::OK);
        assert!(!shown(&bench));
    }
}

#[test]
fn a_disk_that_is_always_there_goes_back_to_its_profile() {
    let bench = Bench::with(Setting { volume: DoorPolicy::Always, ..ARMED });
    let product = |bench: &Bench| {
        let mut disk = disk(bench);
        let inquiry = disk.command(&[0x12, 0, 0, 0, 36, 0], inband_volume::bot::host::Data::In(36)).unwrap();
        String::from_utf8(inquiry[16..32].to_vec()).unwrap()
    };
    assert_eq!(product(&bench), "FIRMWARE RAW    ");
    let nonce = start(&bench, 0, FAT).unwrap();
    assert_eq!(product(&bench), "FIRMWARE FAT    ");
    assert_eq!(stop(&bench, nonce, false), Code::OK);
    assert_eq!(product(&bench), "FIRMWARE RAW    ");
}

#[test]
fn a_profile_goes_with_its_start() {
    let bench = Bench::with(Setting { policy: DoorPolicy::Always, fat: false, ..ARMED });
    start(&bench, 1, FAT).unwrap();
    drop(bench.enter_dfu());
    assert_eq!((status(&bench).flags & 0x80, doors(&bench)[2]), (0, DoorState::Shut));
    assert_eq!(bench.ask(Ask::Arm(Door::Volume)), Answer::Done);
    bench.leave_dfu();
    assert!(disk(&bench).text().contains("SPEC=INBAND-RAW-1"), "the disk is the one of the configuration");
}

#[test]
fn a_start_lets_dfu_in_and_a_stop_does_not() {
    let bench = Bench::with(ARMED);
    let nonce = start(&bench, 1, Start::Dfu).unwrap();
    assert_eq!(doors(&bench), [DoorState::Armed, DoorState::Shut, DoorState::Shut]);
    assert_eq!(stop(&bench, nonce, true), Code::NOTHING, "and the door is shut");
    assert_eq!(doors(&bench), SHUT);
    assert_eq!(stop(&bench, nonce, false), Code::WRONG_NONCE);
    start(&bench, 2, Start::Bulk).unwrap();
    assert_eq!(doors(&bench), [DoorState::Armed, DoorState::Armed, DoorState::Shut]);
    assert!(bench.update(&package().bytes()).is_ok());
    bench.wait_return(Duration::from_secs(70));
    assert_eq!(doors(&bench), SHUT);
    assert_eq!((status(&bench).state, status(&bench).flags & 0x80), (SessionState::Staged.number(), 0));
}

#[test]
fn a_stop_with_commit_is_an_eject() {
    let bench = Bench::with(ARMED);
    let nonce = start(&bench, 1, RAW).unwrap();
    let mut disk = disk(&bench);
    assert_eq!(stop(&bench, nonce ^ 1, true), Code::WRONG_NONCE);
    disk.copy(&package().bytes());
    assert_eq!(stop(&bench, nonce, true), Code::OK);
    bench.bus.advance(Duration::from_secs(3));
    bench.assert_session(SessionState::Staged, ResultCode::Ok);
    assert_eq!(disk.ready(), Err((6, 0x28, 0)));
    assert!(disk.text().contains("STATE=PASS"));
}

#[test]
fn a_stop_without_data_and_one_that_drops_leave_nothing() {
    let bench = Bench::with(ARMED);
    let nonce = start(&bench, 1, RAW).unwrap();
    assert!(shown(&bench));
    assert_eq!(stop(&bench, nonce, true), Code::NOTHING);
    assert!(!shown(&bench));
    let nonce = start(&bench, 2, RAW).unwrap();
    let mut disk = disk(&bench);
    disk.copy(&package().bytes());
    drop(disk);
    assert_eq!(stop(&bench, nonce, false), Code::OK);
    assert!(!shown(&bench));
    bench.assert_session(SessionState::Aborted, ResultCode::Aborted);
    bench.assert_factory_runs();
}

#[test]
fn one_start_at_a_time_and_a_repeat_is_answered_as_the_first() {
    let bench = Bench::with(ARMED);
    let nonce = start(&bench, 5, RAW).unwrap();
    assert_eq!(start(&bench, 5, RAW), Ok(nonce));
    assert_eq!(start(&bench, 6, RAW), Err(Code::BUSY));
    assert_eq!(start(&bench, 0, Start::Dfu), Err(Code::BUSY));
    assert_eq!(ask(&bench, &Command::Abort { tag: 9 }).code, Code::OK);
    assert!(!shown(&bench));
    assert_eq!(ask(&bench, &Command::Abort { tag: 10 }).code, Code::NOTHING);
    assert_ne!(start(&bench, 6, RAW).unwrap(), nonce);
}

/// The host is told the number of a session once the store has it, and may send an abort again before and behind that.
#[test]
fn a_repeat_of_an_abort_is_about_its_session_whether_or_not_that_is_told() {
    let bench = Bench::with(Setting { policy: DoorPolicy::Always, ..ARMED });
    let mut host = bench.enter_dfu();
    let mut begin = || {
        bench.hold(Hold::Everything);
        while let Ok((DfuState::DfuError | DfuState::DfuDnloadSync | DfuState::DfuDnbusy, _)) =
            bench::get_status(&mut host)
        {
            _ = bench::command(&mut host, DfuRequest::ClrStatus);
            bench.bus.advance(Duration::from_millis(50));
        }
        bench::dnload(&mut host, 0, &package().bytes()[..4096]).unwrap();
        assert_eq!(status(&bench).session, 0, "the store has not heard of it");
        bench.assert_session(SessionState::Receiving, ResultCode::None);
    };
    let abort = |tag| ask(&bench, &Command::Abort { tag }).code;
    begin();
    assert_eq!(abort(5), Code::OK);
    bench.hold(Hold::Nothing);
    bench.bus.advance(Duration::from_secs(1));
    assert_ne!(status(&bench).session, 0);
    assert_eq!(abort(5), Code::OK, "the repeat");
    // Neither of two sessions is told when the first one's abort is sent again.
    begin();
    assert_eq!(abort(6), Code::OK);
    begin();
    assert_eq!(abort(6), Code::OK);
    bench.assert_session(SessionState::Aborted, ResultCode::Aborted);
}

#[test]
fn a_start_of_which_nothing_comes_runs_out() {
    let bench = Bench::with(ARMED);
    start(&bench, 1, RAW).unwrap();
    bench.bus.advance(Duration::from_secs(899));
    assert!(shown(&bench) && status(&bench).holds_s == 1);
    bench.bus.advance(Duration::from_secs(2));
    assert!(!shown(&bench));
    assert_eq!(status(&bench).flags & 0x80, 0);
}

#[test]
fn dfu_mode_is_left_when_the_time_of_its_start_is_over() {
    for door in [Start::Dfu, Start::Bulk] {
        let bench = Bench::with(ARMED);
        start(&bench, 1, door).unwrap();
        let mut dfu = bench.enter_dfu();
        let begin = |dfu: &mut MemoryHost| bench::block(dfu, 0, &package().bytes()[..1024]).unwrap();
        let cancel = |dfu: &mut MemoryHost| bench::command(dfu, DfuRequest::Abort).unwrap();
        for _ in 0..29 {
            begin(&mut dfu);
            bench.bus.advance(Duration::from_secs(15));
            cancel(&mut dfu);
            bench.bus.advance(Duration::from_secs(15));
        }
        begin(&mut dfu);
        bench.bus.advance(Duration::from_secs(40));
        assert_eq!(status(&bench).state, SessionState::Receiving.number(), "who is at work is left alone");
        cancel(&mut dfu);
        // What came of it can be read, and nobody begins another.
        assert_eq!(status(&bench).flags & 0x80, 0);
        assert!(dnload(&mut dfu, 0, &package().bytes()[..1024]).is_err());
        for _ in 0..2 {
            assert!(bench.in_dfu_mode(), "{door:?}");
            bench.bus.advance(Duration::from_secs(29));
            get_status(&mut dfu).unwrap();
        }
        drop(dfu);
        bench.bus.advance(Duration::from_secs(3));
        assert!(!bench.in_dfu_mode(), "{door:?}");
        assert_eq!(doors(&bench), SHUT);
        bench.assert_session(SessionState::Aborted, ResultCode::Aborted);
    }
}

#[test]
fn a_download_that_takes_longer_than_its_start_is_told_what_came_of_it() {
    let bench = Bench::with(ARMED);
    start(&bench, 1, Start::Dfu).unwrap();
    bench.bus.advance(Duration::from_secs(870));
    let mut dfu = bench.enter_dfu();
    let file = package().bytes();
    let blocks: Vec<_> = (0..).zip(file.chunks(4096)).collect();
    let (last, others) = blocks.split_last().unwrap();
    for (number, data) in others {
        bench::block(&mut dfu, *number, data).unwrap();
    }
    bench.hold(Hold::Finish);
    dnload(&mut dfu, last.0, last.1).unwrap();
    bench.bus.advance(Duration::from_secs(40));
    assert_eq!(status(&bench).state, SessionState::Verifying.number());
    bench.hold(Hold::Nothing);
    bench.bus.advance(Duration::from_secs(1));
    assert_eq!(status(&bench).flags & 0x80, 0);
    assert_eq!(get_status(&mut dfu).unwrap().0, DfuState::DfuDnloadIdle);
    dnload(&mut dfu, last.0 + 1, &[]).unwrap();
    drop(dfu);
    bench.leave_dfu();
    bench.assert_session(SessionState::Staged, ResultCode::Ok);
    assert_eq!(doors(&bench), SHUT);
}

#[test]
fn what_comes_by_another_door_ends_no_start() {
    let bench = Bench::with(Setting { volume: DoorPolicy::Always, ..ARMED });
    let nonce = start(&bench, 1, Start::Dfu).unwrap();
    let mut disk = disk(&bench);
    disk.copy(&package().bytes());
    // Nor does a stop end that session: it is not the start's.
    assert_eq!(ask(&bench, &Command::Stop { tag: 0, nonce, commit: false }).code, Code::OK);
    assert_eq!((status(&bench).state, doors(&bench)[0]), (SessionState::Receiving.number(), DoorState::Shut));
    disk.eject().unwrap();
    bench.bus.advance(Duration::from_secs(3));
    bench.assert_session(SessionState::Staged, ResultCode::Ok);
    drop(disk);
    // One in force while another door's session ends runs out in its own time.
    start(&bench, 2, Start::Dfu).unwrap();
    let mut disk = Disk { bot: inband_volume::bot::host::Host::new(1, OUT, IN), usb: bench.open() };
    inband_usb::HostDevice::claim(&mut disk.usb, 1).unwrap();
    while disk.ready().is_err() {}
    disk.eject().unwrap();
    bench.bus.advance(Duration::from_secs(3));
    while disk.ready().is_err() {}
    disk.copy(&package().bytes());
    disk.eject().unwrap();
    bench.bus.advance(Duration::from_secs(3));
    assert_eq!((status(&bench).session, doors(&bench)[0]), (2, DoorState::Armed));
    assert_eq!(status(&bench).flags & 0x80, 0x80);
    bench.bus.advance(Duration::from_secs(900));
    assert_eq!((status(&bench).flags & 0x80, doors(&bench)[0]), (0, DoorState::Shut));
}

#[test]
fn a_disk_for_which_there_is_no_memory_is_refused_and_changes_nothing() {
    let bench = Bench::with(ARMED);
    bench.memory.store(1 << 20, Ordering::Relaxed);
    assert_eq!(start(&bench, 1, FAT), Err(Code::NO_RESOURCES));
    assert!(!shown(&bench) && doors(&bench) == SHUT);
    assert_eq!(status(&bench).flags & 0x80, 0);
    bench.memory.store(u64::MAX, Ordering::Relaxed);
    // The profile that was asked for in vain is forgotten.
    assert_eq!(bench.ask(Ask::Arm(Door::Volume)), Answer::Done);
    assert!(disk(&bench).text().contains("SPEC=INBAND-RAW-1"));
}

#[test]
fn a_bmc_that_goes_down_opens_nothing() {
    let bench = Bench::with(Setting { restart: true, ..ARMED });
    assert_eq!(bench.ask(Ask::Restart(AskedBy::Bmc)), Answer::Done);
    assert!(!bench.bus.attached());
    for door in [Start::Dfu, RAW, FAT] {
        assert_eq!(start(&bench, 0, door), Err(Code::BUSY));
    }
    assert_eq!(ask(&bench, &Command::Activate { tag: 0 }).code, Code::BUSY);
    assert_eq!(ask(&bench, &Command::Confirm { tag: 0 }).code, Code::BUSY);
    assert!(!bench.bus.attached());
    // It stays up all the same.
    bench.programs.end(Task::Restart, Exit::Code(1));
    bench.bus.advance(Duration::from_secs(1));
    start(&bench, 0, RAW).unwrap();
}

#[test]
fn a_restart_of_the_bmc_ends_a_start() {
    let always = Setting { policy: DoorPolicy::Always, bulk: DoorPolicy::Always, ..ARMED };
    let bench = Bench::with(Setting { volume: DoorPolicy::Always, fat: false, ..always });
    for door in [Start::Dfu, FAT] {
        start(&bench, 0, door).unwrap();
        assert_eq!(bench.ask(Ask::Restart(AskedBy::Bmc)), Answer::Done);
        assert_eq!((status(&bench).flags & 0x80, status(&bench).holds_s), (0, 0), "{door:?}");
        assert!(
            disk(&bench).text().contains("SPEC=INBAND-RAW-1"),
            "the disk is the one of the configuration"
        );
    }
}

#[test]
fn a_host_that_was_gone_has_its_start_as_long_as_it_holds() {
    let bench = Bench::with(ARMED);
    let nonce = start(&bench, 1, RAW).unwrap();
    let mut disk = disk(&bench);
    disk.copy(&package().bytes());
    drop(disk);
    bench.bus.unplug();
    bench.bus.advance(Duration::from_secs(61));
    bench.bus.plug();
    bench.wait_attached();
    bench.assert_session(SessionState::Failed, ResultCode::Disconnected);
    assert!(shown(&bench) && status(&bench).flags & 0x80 != 0);
    assert_eq!(stop(&bench, nonce, false), Code::OK);
    assert!(!shown(&bench));
}

#[test]
fn the_bmc_goes_before() {
    let bench = Bench::with(ARMED);
    start(&bench, 1, RAW).unwrap();
    assert_eq!(bench.ask(Ask::Disarm(Door::Volume)), Answer::Done);
    assert!(!shown(&bench));
    assert_eq!(status(&bench).flags & 0x80, 0, "the start is over");
    start(&bench, 2, RAW).unwrap();
    let mut disk = disk(&bench);
    disk.copy(&package().bytes());
    assert_eq!(bench.ask(Ask::Abort), Answer::Done);
    assert_eq!(status(&bench).flags & 0x80, 0);
}

#[test]
fn a_door_that_is_not_for_the_host_stays_shut() {
    let bench = Bench::with(Setting { ipmi_opens: false, ..ARMED });
    for door in [Start::Dfu, Start::Bulk, RAW, FAT] {
        assert_eq!(start(&bench, 1, door), Err(Code::DOOR_SHUT));
    }
    let bench = Bench::with(Setting { policy: DoorPolicy::Off, volume: DoorPolicy::Off, ..ARMED });
    for door in [Start::Dfu, Start::Bulk, RAW, FAT] {
        assert_eq!(start(&bench, 1, door), Err(Code::DOOR_SHUT));
    }
    assert_eq!(doors(&bench), SHUT);
}

#[test]
fn a_start_ends_no_lock_out() {
    let bench = Bench::with(Setting { refusals: 1, ..ARMED });
    start(&bench, 1, RAW).unwrap();
    let mut disk = disk(&bench);
    let mut bytes = package().bytes();
    bytes[1536 + 5] ^= 1;
    disk.copy(&bytes);
    disk.eject().unwrap();
    bench.bus.advance(Duration::from_secs(3));
    assert_eq!(disk.ready(), Err((6, 0x28, 0)));
    disk.eject().unwrap();
    drop(disk);
    bench.bus.advance(Duration::from_secs(3));
    assert_eq!(start(&bench, 2, RAW), Err(Code::LOCKED_OUT));
    assert!(status(&bench).wait_min > 0);
    // Somebody on the BMC does.
    assert_eq!(bench.ask(Ask::Arm(Door::Volume)), Answer::Done);
    start(&bench, 3, RAW).unwrap();
}

#[test]
fn dfu_mode_that_somebody_opened_is_in_the_way() {
    let bench = Bench::with(Setting { policy: DoorPolicy::Always, ..ARMED });
    let mut dfu = bench.enter_dfu();
    assert_eq!(start(&bench, 1, RAW), Err(Code::BUSY));
    bench::block(&mut dfu, 0, &package().bytes()[..4096]).unwrap();
    assert_eq!(start(&bench, 2, RAW), Err(Code::BUSY));
    assert_eq!(status(&bench).door, 1);
    assert_eq!(ask(&bench, &Command::Abort { tag: 3 }).code, Code::OK);
    bench.assert_session(SessionState::Aborted, ResultCode::Aborted);
}

#[test]
fn the_host_activates_and_confirms_where_it_may() {
    let bench = Bench::with(Setting { health: true, ..ARMED });
    assert_eq!(ask(&bench, &Command::Activate { tag: 0 }).code, Code::NOTHING);
    assert_eq!(ask(&bench, &Command::Confirm { tag: 0 }).code, Code::NOTHING);
    start(&bench, 1, RAW).unwrap();
    let mut disk = disk(&bench);
    disk.copy(&package().bytes());
    disk.eject().unwrap();
    bench.bus.advance(Duration::from_secs(3));
    drop(disk);
    assert_eq!(ask(&bench, &Command::Activate { tag: 4 }).code, Code::OK);
    bench.wait_attached();
    bench.assert_session(SessionState::PendingConfirm, ResultCode::Ok);
    assert_eq!(start(&bench, 5, RAW), Err(Code::ON_TRIAL));
    assert_eq!(ask(&bench, &Command::Confirm { tag: 6 }).code, Code::OK);
    bench.bus.advance(Duration::from_secs(1));
    bench.assert_session(SessionState::Done, ResultCode::Ok);
    assert_eq!(status(&bench).running, status_head(&bench));
}

/// What is written to the log. Other tests may do so at the same time.
struct Lines(Mutex<Vec<String>>);

impl log::Log for Lines {
    fn enabled(&self, _: &log::Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &log::Record<'_>) {
        self.0.lock().unwrap().push(record.args().to_string());
    }

    fn flush(&self) {}
}

#[test]
fn the_log_says_what_a_host_has_had_done() {
    static LINES: Lines = Lines(Mutex::new(Vec::new()));
    log::set_logger(&LINES).unwrap();
    log::set_max_level(log::LevelFilter::Info);
    let bench = Bench::with(Setting { health: true, policy: DoorPolicy::Always, ..ARMED });
    let told = |event: &str, session| {
        bench.bus.advance(Duration::from_secs(1));
        let line = format!("event={event} by=ipmi session={session}");
        LINES.0.lock().unwrap().contains(&line)
    };
    let mut dfu = bench.enter_dfu();
    bench::block(&mut dfu, 0, &package().bytes()[..4096]).unwrap();
    assert!(!told("abort", 1));
    assert_eq!(ask(&bench, &Command::Abort { tag: 0 }).code, Code::OK);
    assert!(told("abort", 1));
    drop(dfu);
    bench.wait_return(Duration::from_secs(70));
    assert!(bench.update(&package().bytes()).is_ok());
    bench.leave_dfu();
    assert_eq!(ask(&bench, &Command::Confirm { tag: 0 }).code, Code::NOTHING);
    assert!(!told("activate", 2));
    assert_eq!(ask(&bench, &Command::Activate { tag: 0 }).code, Code::OK);
    assert!(told("activate", 2) && !told("confirm", 2));
    assert_eq!(ask(&bench, &Command::Confirm { tag: 0 }).code, Code::OK);
    assert!(told("confirm", 2));
}

/// A BMC with the package of this bench on trial.
fn on_trial() -> Bench {
    let setting = Setting { health: true, restart: true, policy: DoorPolicy::Always, ..ARMED };
    let bench = Bench::with(setting);
    assert!(bench.update(&package().bytes()).is_ok());
    let bench = bench.power_cycle(Loss::All);
    bench.assert_session(SessionState::PendingConfirm, ResultCode::Ok);
    bench
}

#[test]
fn a_host_does_not_confirm_what_is_unhealthy() {
    let bench = on_trial();
    assert!(bench.bus.run_until(Duration::from_secs(400), || bench.programs.runs(Task::Restart)));
    bench.programs.end(Task::Restart, Exit::Code(1));
    bench.bus.advance(Duration::from_secs(1));
    bench.assert_session(SessionState::PendingConfirm, ResultCode::Unhealthy);
    assert_eq!(ask(&bench, &Command::Confirm { tag: 1 }).code, Code::BUSY);
    bench.bus.advance(Duration::from_secs(60));
    assert!(bench.programs.runs(Task::Restart));
    // Who is on the BMC may.
    bench.programs.end(Task::Restart, Exit::Code(1));
    bench.bus.advance(Duration::from_secs(1));
    assert_eq!(bench.ask(Ask::Confirm), Answer::Done);
    bench.assert_session(SessionState::Done, ResultCode::Ok);
}

#[test]
fn a_host_does_not_confirm_what_was_unhealthy_in_the_boot_before() {
    let bench = Bench::with(Setting { health: true, policy: DoorPolicy::Always, ..ARMED });
    assert!(bench.update(&package().bytes()).is_ok());
    let bench = bench.power_cycle(Loss::All);
    bench.bus.advance(bench::DEADLINE + Duration::from_secs(4));
    bench.assert_session(SessionState::PendingConfirm, ResultCode::Unhealthy);
    assert_eq!(ask(&bench, &Command::Confirm { tag: 1 }).code, Code::BUSY);
    assert_eq!(bench.ask(Ask::Confirm), Answer::Done);
    bench.assert_session(SessionState::Done, ResultCode::Ok);
    assert_eq!(ask(&bench, &Command::Confirm { tag: 1 }).code, Code::NOTHING);
}

#[test]
fn a_confirmation_that_is_under_way_is_the_worker_s_once() {
    let bench = on_trial();
    bench.hold(Hold::Everything);
    for tag in 0..3 {
        assert_eq!(ask(&bench, &Command::Confirm { tag }).code, Code::OK);
    }
    let held = |command: &&worker::Command| matches!(command, worker::Command::Confirm);
    assert_eq!(bench.bmc().worker().held().iter().filter(held).count(), 1);
    bench.hold(Hold::Nothing);
    bench.assert_session(SessionState::Done, ResultCode::Ok);
}

#[test]
fn an_abort_of_what_the_bmc_has_all_of_ends_the_start_alone() {
    let bench = Bench::with(ARMED);
    start(&bench, 1, Start::Dfu).unwrap();
    bench.hold(Hold::Finish);
    let file = package().bytes();
    let mut host = bench.enter_dfu();
    for (number, data) in file.chunks(4096).enumerate() {
        dnload(&mut host, number as u16, data).unwrap();
        get_status(&mut host).unwrap();
    }
    bench.assert_session(SessionState::Verifying, ResultCode::None);
    assert_eq!(ask(&bench, &Command::Abort { tag: 2 }).code, Code::OK);
    let told = status(&bench);
    assert_eq!((told.state, told.flags & FLAG_STARTED), (SessionState::Verifying.number(), 0));
    assert_eq!(doors(&bench)[0], DoorState::Open);
    assert_eq!(ask(&bench, &Command::Abort { tag: 3 }).code, Code::NOTHING);
    bench.hold(Hold::Nothing);
    bench.assert_session(SessionState::Staged, ResultCode::Ok);
    drop(host);
    bench.leave_dfu();
    assert_eq!(doors(&bench), [DoorState::Shut; 3]);
}

#[test]
fn a_restart_that_failed_is_not_done_and_not_tried_again_at_once() {
    let bench = Bench::with(Setting { restart: true, policy: DoorPolicy::Always, ..ARMED });
    assert!(bench.update(&package().bytes()).is_ok());
    bench.leave_dfu();
    let activate = |tag| ask(&bench, &Command::Activate { tag }).code;
    assert_eq!(activate(4), Code::OK);
    assert!(bench.programs.runs(Task::Restart));
    assert_eq!(activate(4), Code::OK, "a repeat, while it is under way");
    let (runs, _) = bench.programs.counts();
    bench.programs.end(Task::Restart, Exit::Code(1));
    bench.bus.advance(Duration::from_secs(1));
    bench.assert_session(SessionState::Staged, ResultCode::Ok);
    for tag in [4, 0, 5] {
        assert_eq!(activate(tag), Code::BUSY);
    }
    assert_eq!(bench.programs.counts().0, runs);
    bench.bus.advance(Duration::from_secs(59));
    assert_eq!(activate(4), Code::OK);
    assert!(bench.programs.runs(Task::Restart));
    // Who is on the BMC waits for nothing.
    bench.programs.end(Task::Restart, Exit::Code(1));
    bench.bus.advance(Duration::from_secs(1));
    assert_eq!(bench.ask(Ask::Activate), Answer::Done);
}

#[test]
fn a_restart_at_once_that_failed_is_for_somebody_to_ask_for() {
    let setting = Setting { activate: true, restart: true, policy: DoorPolicy::Always, ..ARMED };
    let bench = Bench::with(setting);
    assert!(bench.update(&package().bytes()).is_ok());
    assert!(bench.bus.run_until(Duration::from_secs(10), || bench.programs.runs(Task::Restart)));
    bench.programs.end(Task::Restart, Exit::Code(1));
    bench.bus.advance(Duration::from_secs(1));
    for pause in [0, 70] {
        bench.bus.advance(Duration::from_secs(pause));
        drop(bench.enter_dfu());
        bench.leave_dfu();
        bench.bus.advance(Duration::from_secs(1));
        assert!(!bench.programs.runs(Task::Restart), "not by what a host does at the door");
        bench.assert_session(SessionState::Staged, ResultCode::Ok);
    }
    assert_eq!(ask(&bench, &Command::Activate { tag: 0 }).code, Code::OK);
    assert!(bench.programs.runs(Task::Restart));
}

#[test]
fn who_opens_the_disk_between_two_media_can_write_to_it() {
    let opens: [fn(&Bench); 2] = [
        |bench| _ = start(bench, 2, RAW).unwrap(),
        |bench| assert_eq!(bench.ask(Ask::Arm(Door::Volume)), Answer::Done),
    ];
    // Before the end of a session is told, and behind that.
    for (open, told) in opens.into_iter().flat_map(|open| [(open, false), (open, true)]) {
        let bench = Bench::with(ARMED);
        start(&bench, 1, RAW).unwrap();
        let mut disk = disk(&bench);
        disk.copy(&package().bytes());
        disk.eject().unwrap();
        if told {
            bench.bus.advance(Duration::from_secs(3));
            while disk.ready().is_err() {}
            disk.eject().unwrap();
        }
        bench.assert_session(SessionState::Staged, ResultCode::Ok);
        open(&bench);
        bench.bus.advance(Duration::from_secs(3));
        while disk.ready().is_err() {}
        assert!(disk.text().contains("STATE=READY"), "{}", disk.text());
        disk.copy(&package().bytes());
        disk.eject().unwrap();
        bench.bus.advance(Duration::from_secs(3));
        bench.assert_session(SessionState::Staged, ResultCode::Ok);
        assert_eq!((status(&bench).session, status(&bench).flags & 0x80), (2, 0));
        while disk.ready().is_err() {}
        assert!(disk.text().contains("STATE=PASS"));
    }
}

#[test]
fn only_the_system_interface_is_heard() {
    let bench = Bench::with(ARMED);
    let data = Command::Start { tag: 1, door: RAW, wishes: Wishes::default() }.encode();
    let request = |netfn, command, data| Request { netfn, lun: 0, command, data };
    let other = bench.ipmi(Origin::Other, &request(NETFN, 0x49, &data));
    assert_eq!(other.map(|reply| reply.code), Some(Code::PRIVILEGE));
    for foreign in [request(NETFN, 0x48, &data), request(0x06, 0x01, &[]), request(NETFN, 0x49, &[1, 2, 3])] {
        assert_eq!(bench.ipmi(Origin::System, &foreign), None);
    }
    assert_eq!(send(&bench, &[&ORGANISATION[..], &[0x55]].concat()).code, Code::INVALID_COMMAND);
    assert!(!shown(&bench));
}

#[test]
fn what_the_bmc_can_do_and_who_it_is() {
    let bench = Bench::with(ARMED);
    let capabilities = Capabilities::decode(&ask(&bench, &Command::Capabilities).data).unwrap();
    let expected = Capabilities {
        doors: 0b111,
        door_states: 0,
        profiles: 0b11,
        options: 0x0f,
        allowed: 0b111,
        holds_s: 900,
        largest_mib: 0,
    };
    assert_eq!(capabilities, expected);
    let text = |item| {
        let data = ask(&bench, &Command::Info { item, offset: 0 }).data;
        String::from_utf8(data[5..].to_vec()).unwrap()
    };
    assert_eq!((text(item::MACHINE), text(item::RUNNING)), ("test-board".into(), "factory".into()));
    assert_eq!(text(item::DAEMON), env!("CARGO_PKG_VERSION"));
    let page = ask(&bench, &Command::Info { item: item::FIRST_PAGE, offset: 0 }).data;
    assert_eq!(page[5..], bench.status().encode()[..56]);
    let bulk = Command::Info { item: item::FIRST_PAGE + 4, offset: 0 };
    assert_eq!(ask(&bench, &bulk).data[5..], inband_bulk::interface::Page::new(1 << 20).encode());
    let without = Bench::with(Setting { bulk: DoorPolicy::Off, ..ARMED });
    assert_eq!(ask(&without, &bulk).code, Code::FIELD);
    assert_eq!(ask(&bench, &Command::Info { item: 0x70, offset: 0 }).code, Code::FIELD);
    // Wishes that this BMC does not know are refused, not forgotten.
    for bit in 4..8 {
        let start = [&ORGANISATION[..], &[1, 0, 0, 0, 0, 3, 1, 1 << bit]].concat();
        assert_eq!(send(&bench, &start).code, Code::FIELD);
    }
}
