//! A start of the door handle: which of several reasons refuses it, and the DETACH that it lets in.

use std::{cell::Cell, sync::atomic::Ordering, time::Duration};

use inband_dfu::wire::Request as Dfu;
use inband_ipmi::{
    command::{Command, Door as Start, Started, Wishes},
    wire::Code,
};
use inband_session::{DoorPolicy, DoorState, Rates, ResultCode, SessionState};
use inband_usb::{HostDevice, HostTransfer};

use crate::{
    bench::{Bench, Setting, detach_setup},
    drive::disk,
    ipmi::{ARMED, FAT, RAW, ask},
    package::Package,
};

fn start(bench: &Bench, door: Start) -> Result<u32, Code> {
    let reply = ask(bench, &Command::Start { tag: 0, door, wishes: Wishes::default() });
    if reply.code == Code::OK { Ok(Started::decode(&reply.data, 0).unwrap().nonce) } else { Err(reply.code) }
}

fn stop(bench: &Bench, nonce: u32) {
    assert_eq!(ask(bench, &Command::Stop { tag: 0, nonce, commit: false }).code, Code::OK);
}

/// Copies a package of which nothing is right behind its head, and has it judged.
fn refused(bench: &Bench) {
    let mut disk = disk(bench);
    let mut bytes = Package::new(0x0215, 150_000).bytes();
    bytes[1536 + 5] ^= 1;
    disk.copy(&bytes);
    disk.eject().unwrap();
    bench.bus.advance(Duration::from_secs(3));
    while disk.ready().is_err() {}
    disk.eject().unwrap();
    bench.bus.advance(Duration::from_secs(3));
}

#[test]
fn of_several_reasons_the_first_of_the_specification_is_told() {
    let setting = Setting {
        policy: DoorPolicy::Off,
        bulk: DoorPolicy::Off,
        refusals: 1,
        rates: Rates { sessions: 1, rewrites: 0 },
        ..ARMED
    };
    let bench = Bench::with(setting);
    start(&bench, RAW).unwrap();
    assert_eq!(start(&bench, Start::Dfu), Err(Code::BUSY), "one is in force");
    refused(&bench);
    bench.memory.store(1 << 20, Ordering::Relaxed);
    assert_eq!(start(&bench, Start::Dfu), Err(Code::DOOR_SHUT));
    assert_eq!(start(&bench, FAT), Err(Code::LOCKED_OUT));
    bench.bus.advance(Duration::from_secs(601));
    assert_eq!(start(&bench, FAT), Err(Code::WORN));
    bench.bus.advance(Duration::from_secs(24 * 60 * 60));
    assert_eq!(start(&bench, FAT), Err(Code::NO_RESOURCES));
    bench.memory.store(u64::MAX, Ordering::Relaxed);
    start(&bench, FAT).unwrap();
}

/// The host is answered its DETACH by a loop that has no time left, and the next that this one does is to stop the start.
#[test]
fn a_start_that_is_stopped_behind_a_detach_leaves_no_door_armed() {
    for door in [Start::Dfu, Start::Bulk] {
        let bench = Bench::with(ARMED);
        let nonce = start(&bench, door).unwrap();
        bench.bus.advance(Duration::from_secs(1));
        let mut host = bench.claim();
        let detach =
            host.submit(HostTransfer::ControlOut { setup: detach_setup(), data: Vec::new() }).unwrap();
        // Each look at the clock takes all the time that the loop has.
        let (began, looks) = (bench.bus.now() - Duration::from_secs(1), Cell::new(0));
        bench.bmc().step(|| began + Duration::from_millis(50) * looks.replace(looks.get() + 1)).unwrap();
        // What the device has answered comes to its end when the next request goes out.
        host.submit(HostTransfer::ControlIn { setup: Dfu::GetStatus.setup(0, 0, 6) }).unwrap();
        let ended = host.poll().map(|ended| (ended.id, ended.result));
        assert_eq!(ended, Some((detach, Ok(()))), "{door:?}");
        stop(&bench, nonce);
        bench.bus.advance(Duration::from_secs(3));
        assert!(!bench.in_dfu_mode(), "{door:?}");
        let status = bench.status();
        assert_eq!(status.doors, [DoorState::Shut; 4], "{door:?}");
        bench.assert_session(SessionState::Idle, ResultCode::None);
    }
}
