//! The door handle by a device of a BMC's own, which a terminal in raw mode stands in for.

use std::{
    fs::{self, File},
    io::{Read as _, Write as _},
    os::unix::{ffi::OsStrExt as _, fs::symlink},
    path::Path,
};

use inband_ipmi::{
    command::{Command, FLAG_STARTED},
    wire::Code,
};
use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt},
    termios::{OptionalActions, tcgetattr, tcsetattr},
};

use crate::{
    disk_host::Disk,
    home::Home,
    ipmi::{Ipmi, RAW, WITH_DISK, home},
    package::Package,
    remote::open,
};

#[derive(Clone, Copy, Debug)]
enum Kind {
    Kcs,
    Bt,
    Ssif,
}

/// A host at the other end of a device.
struct Host {
    kind: Kind,
    wire: File,
    sequence: u8,
}

impl Host {
    /// Makes the device at this path.
    fn plug(kind: Kind, path: &Path) -> Self {
        let wire = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).unwrap();
        grantpt(&wire).unwrap();
        unlockpt(&wire).unwrap();
        let mut raw = tcgetattr(&wire).unwrap();
        raw.make_raw();
        tcsetattr(&wire, OptionalActions::Now, &raw).unwrap();
        let name = ptsname(&wire, vec![]).unwrap();
        let _ = fs::remove_file(path);
        symlink(std::ffi::OsStr::from_bytes(name.as_bytes()), path).unwrap();
        Self { kind, wire: wire.into(), sequence: 0 }
    }

    fn send(&mut self, message: &[u8]) {
        self.wire.write_all(message).unwrap();
    }

    fn receive(&mut self) -> Vec<u8> {
        let limit = Timespec { tv_sec: 20, tv_nsec: 0 };
        let mut ready = [PollFd::new(&self.wire, PollFlags::IN)];
        assert_eq!(poll(&mut ready, Some(&limit)), Ok(1), "no reply");
        let mut bytes = [0; 300];
        let length = self.wire.read(&mut bytes).unwrap();
        bytes[..length].to_vec()
    }
}

impl Ipmi for Host {
    fn ask(&mut self, netfn: u8, command: u8, data: &[u8]) -> (Code, Vec<u8>) {
        self.sequence = self.sequence.wrapping_add(1);
        let sequence = self.sequence;
        let length = u32::try_from(data.len()).unwrap();
        self.send(&match self.kind {
            Kind::Kcs => [&[netfn << 2, command], data].concat(),
            Kind::Bt => [&[length as u8 + 3, netfn << 2, sequence, command], data].concat(),
            Kind::Ssif => [&(length + 2).to_ne_bytes()[..], &[netfn << 2, command], data].concat(),
        });
        let reply = self.receive();
        let (length, netfn) = (reply.len(), (netfn | 1) << 2);
        let head = match self.kind {
            Kind::Kcs => vec![netfn, command],
            Kind::Bt => vec![length as u8 - 1, netfn, sequence, command],
            Kind::Ssif => [&(length as u32 - 4).to_ne_bytes()[..], &[netfn, command]].concat(),
        };
        assert_eq!(reply[..head.len()], head, "{:?}", self.kind);
        (Code(reply[head.len()]), reply[head.len() + 1..].to_vec())
    }
}

fn starts_and_stops(kind: Kind, channel: &str) {
    let home = home(channel);
    let mut host = Host::plug(kind, &home.path("device"));
    let running = home.start();
    // What an operating system asks first.
    assert_eq!(host.ask(0x06, 0x01, &[]).0, Code::OK);
    let nonce = host.start(1, RAW);
    assert_eq!(host.start(1, RAW), nonce, "the host has sent it twice");
    let status = host.status();
    assert_eq!((status.flags & FLAG_STARTED, status.nonce), (FLAG_STARTED, nonce));
    // Nobody's, and not the BMC's to answer.
    assert_eq!(host.ask(0x2e, 0x80, &[0xcf, 0xc2, 0x00, 0x00]).0, Code::INVALID_COMMAND);
    let stop = Command::Stop { tag: 2, nonce, commit: false };
    assert_eq!(host.command(&stop).0, Code::OK);
    assert_eq!(host.status().flags & FLAG_STARTED, 0);
    // Once more, and all the way.
    let nonce = host.start(3, RAW);
    let mut disk = Disk::open(open(running.address, WITH_DISK));
    disk.copy(&Package::new(0x0200, 100_000).bytes());
    assert_eq!(host.command(&Command::Stop { tag: 4, nonce, commit: true }).0, Code::OK);
    host.until_staged();
}

#[test]
fn a_host_starts_stops_and_asks_by_kcs() {
    starts_and_stops(Kind::Kcs, "kcs:device");
}

#[test]
fn a_host_starts_stops_and_asks_by_bt() {
    starts_and_stops(Kind::Bt, "bt:device");
}

#[test]
fn a_host_starts_stops_and_asks_by_ssif() {
    starts_and_stops(Kind::Ssif, "ssif:device");
}

/// Lines of the log that tell of the device.
fn story(lines: &[String]) -> Vec<&str> {
    let events = lines.iter().filter_map(|line| line.split("event=ipmi-").nth(1));
    events.filter_map(|event| event.split(' ').next()).collect()
}

#[test]
fn a_device_that_comes_late_and_goes_is_found_again_and_the_log_says_so_once() {
    let home: Home = home("bt:device");
    let path = home.path("device");
    // What no device is is none.
    fs::write(&path, "").unwrap();
    let mut running = home.start();
    running.wait_for("event=ipmi-gone");
    for _ in 0..2 {
        let mut host = Host::plug(Kind::Bt, &path);
        assert_eq!(host.command(&Command::Capabilities).0, Code::OK);
        // Too short, and of another length than it says.
        host.send(&[2, 0x18, 0x01]);
    }
    running.signal("TERM");
    let first_lines = running.first_lines.clone();
    let (code, lines) = running.wait();
    assert_eq!(code, Some(0));
    let lines = [first_lines, lines].concat();
    let told = story(&lines);
    assert_eq!(told[..4], ["gone", "serves", "gone", "serves"], "{lines:?}");
    // The last one may have been noticed before the end, or not.
    assert!(told[4..].iter().all(|event| *event == "gone") && told.len() <= 5, "{lines:?}");
}
