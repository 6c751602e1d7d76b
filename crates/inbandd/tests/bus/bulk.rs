//! The bulk door: packages by it, and what becomes of it beside DFU.

use std::time::Duration;

use inband_bulk::interface;
use inband_dfu::wire::{State, Status};
use inband_session::{Door, DoorPolicy, DoorState, ResultCode, SessionState};
use inband_store::{Slot, SlotState};
use inband_usb::HostDevice;
use inband_virtual::memory::MemoryHost;

use crate::{
    bench::{Bench, SLOT, Setting, get_status, to_idle},
    bulk_host::{Parts, Went, exchange},
    package::Package,
};

pub(crate) const BULK: Setting = Setting { bulk: DoorPolicy::Always, ..Setting::DEFAULT };

/// Opens the device in DFU mode, both interfaces claimed, in dfuIDLE.
fn ready(bench: &Bench) -> MemoryHost {
    let mut host = if bench.in_dfu_mode() { bench.claim() } else { bench.enter_dfu() };
    host.claim(interface::INTERFACE).unwrap();
    to_idle(&mut host);
    host
}

/// A whole update by bulk, from whichever mode.
fn update(bench: &Bench, number: u32, file: &[u8]) -> Result<Went, String> {
    exchange(&mut ready(bench), number, &Parts::of(file), |_, _| {})
}

#[test]
fn a_package_into_an_empty_slot() {
    let bench = Bench::with(BULK);
    let package = Package::new(0x0215, 150_000);
    let parts = Parts::of(&package.bytes());
    let went = update(&bench, 1, &package.bytes()).unwrap();
    assert_eq!((went.result(), went.outcome.session), (ResultCode::Ok, 1));
    assert_eq!(went.sent, (0..parts.chunks.len() as u32).collect::<Vec<_>>());
    let status = bench.status();
    assert_eq!((status.state, status.result()), (SessionState::Staged, Some(ResultCode::Ok)));
    assert_eq!((status.door, status.doors[1]), (Some(Door::Bulk), DoorState::Open));
    assert_eq!((status.slots, status.boots_next), ([SlotState::Good, SlotState::Staged], Slot::B));
    let bodies: usize = parts.head.len() + parts.chunks.iter().map(Vec::len).sum::<usize>();
    assert_eq!(status.received as usize, bodies);
    assert!(bench.medium().slot(Slot::B) == package.slot(SLOT));
    bench.assert_factory_runs();
    assert_eq!(get_status(&mut bench.claim()), Ok((State::DfuIdle, Status::Ok)));
    // As behind a download.
    bench.wait_return(Duration::from_secs(6));
    assert!(!bench.in_dfu_mode());
    assert_eq!(bench.status().doors[..2], [DoorState::Armed; 2]);
    // Once more: it is all there.
    let went = update(&bench, 2, &package.bytes()).unwrap();
    assert_eq!((went.result(), went.sent), (ResultCode::Ok, vec![]));
    assert!(bench.medium().slot(Slot::B) == package.slot(SLOT));
}
