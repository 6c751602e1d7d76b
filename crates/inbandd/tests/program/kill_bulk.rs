//! The daemon killed behind each chunk that comes by bulk: true pages, and the next exchange brings what no mark vouches for.

use std::{fs, net::SocketAddr, ops::Range};

use inband_bulk::interface::INTERFACE;
use inband_session::{ResultCode, SessionState};
use inband_store::{Slot, SlotState};
use inband_usb::HostDevice as _;
use inband_virtual::usbip::Client;

use crate::{
    bulk_host::{Parts, chunk, exchange, offer},
    home::{Home, Running, config_with},
    host::detach,
    package::{Package, noise},
    remote::{open, settled},
};

const RUN_TIME: u16 = 1;
const DFU: u16 = 2;
/// Bytes of a package from one mark to the next, where it is not very long (docs/spec/store.md, 8).
const MARK: usize = 4 << 20;

/// A BMC in whose other slot there is nothing, and a package that fills it.
struct Lab {
    home: Home,
    factory: Vec<u8>,
    package: Package,
    parts: Parts,
}

impl Lab {
    fn new(length: usize) -> Self {
        let home = Home::new();
        home.configure(&config_with(length, ""));
        assert!(home.inbandd(&["init"]).output().unwrap().status.success());
        let factory = noise(length, 0xfac);
        fs::write(home.path("store/slot-a.img"), &factory).unwrap();
        let package = Package::new(0x0200, length);
        let parts = Parts::of(&package.bytes());
        Self { home, factory, package, parts }
    }

    fn holds_package(&self) -> bool {
        self.home.slot(Slot::B) == self.package.image
    }

    /// Kills the daemon when it has taken so many chunks. Those that are in the slot then, from the first one on.
    fn kill_behind(&self, count: usize) -> Range<u32> {
        let mut running = self.home.start();
        let mut host = in_dfu_mode(running.address);
        let asked = offer(&mut host, 1, &self.parts);
        assert_eq!(asked.len(), self.parts.chunks.len());
        for number in &asked[..count] {
            chunk(&mut host, 1, &self.parts, *number).unwrap();
        }
        running.signal("KILL");
        assert_eq!(running.child.wait().unwrap().code(), None);
        0..self.parts.held(&self.home.slot(Slot::B)) as u32
    }

    /// The daemon starts on what is left, and tells the truth about it. `None` if it had staged the package.
    fn start_again(&self, context: &str) -> Option<Running> {
        let running = self.home.start();
        let page = settled(running.address, RUN_TIME);
        assert!(self.home.slot(Slot::A) == self.factory, "{context}");
        if page.running == Slot::B {
            assert_eq!((page.state, page.result()), (SessionState::Done, Some(ResultCode::Ok)), "{context}");
            assert!(self.holds_package(), "{context}");
            return None;
        }
        assert_eq!(
            (page.session, page.state, page.result()),
            (1, SessionState::Interrupted, Some(ResultCode::Interrupted)),
            "{context}"
        );
        let slots = [SlotState::Good, SlotState::Invalid];
        assert_eq!((page.slots, page.boots_next), (slots, Slot::A), "{context}");
        Some(running)
    }

    /// A whole exchange. Numbers of the chunks that were sent.
    fn update(&self, server: SocketAddr, context: &str) -> Vec<u32> {
        let went = exchange(&mut in_dfu_mode(server), 2, &self.parts, |_, _| {}).unwrap();
        assert_eq!((went.result(), went.outcome.session), (ResultCode::Ok, 2), "{context}");
        assert!(self.holds_package(), "{context}");
        assert!(self.home.slot(Slot::A) == self.factory, "{context}");
        went.sent
    }
}

/// The device in DFU mode, both interfaces claimed.
fn in_dfu_mode(server: SocketAddr) -> Client {
    detach(&mut open(server, RUN_TIME)).unwrap();
    let mut client = open(server, DFU);
    client.claim(INTERFACE).unwrap();
    client
}

#[test]
fn a_daemon_that_dies_behind_any_chunk_of_an_exchange() {
    const LENGTH: usize = 512 * 1024;
    let all = Lab::new(LENGTH).parts.chunks.len();
    assert!((8..=20).contains(&all), "{all}");
    let mut held = 0;
    for count in 0..=all {
        let context = format!("killed behind {count} of {all}");
        let lab = Lab::new(LENGTH);
        held = held.max(lab.kill_behind(count).len());
        let Some(running) = lab.start_again(&context) else {
            assert_eq!(count, all, "{context}");
            continue;
        };
        // There is no mark in a package as short as this one.
        let sent = lab.update(running.address, &context);
        assert_eq!(sent, (0..all as u32).collect::<Vec<_>>(), "{context}");
    }
    assert!(held > 0, "it always died before it had written anything");
}

#[test]
fn what_a_dead_daemon_had_marked_is_not_sent_again() {
    // Marks behind 4 and 8 MiB.
    const LENGTH: usize = 10 << 20;
    let mut spared = 0;
    for eighths in 1..8 {
        let lab = Lab::new(LENGTH);
        let all = lab.parts.chunks.len();
        let bytes = |chunks: Range<u32>| -> usize {
            chunks.map(|number| lab.parts.chunks[number as usize].len()).sum()
        };
        let held = lab.kill_behind(all * eighths / 8);
        let context = format!("killed behind {eighths} eighths, with {held:?} written");
        let running = lab.start_again(&context).unwrap();
        let sent = lab.update(running.address, &context);
        // All from some chunk on.
        let first = sent[0];
        assert_eq!(sent, (first..all as u32).collect::<Vec<_>>(), "{context}");
        assert!(first <= held.end, "{context}");
        // The last mark may be on its way.
        let lost = bytes(first..held.end);
        assert!(lost < 2 * MARK, "{context}: {lost} bytes were there and came again");
        spared = spared.max(bytes(0..first));
    }
    assert!(spared >= MARK, "{spared} bytes were spared at most");
}
