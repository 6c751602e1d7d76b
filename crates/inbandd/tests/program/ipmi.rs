//! The door handle at the socket of a QEMU guest, and the disk that a start shows.

use std::{
    io::{Read as _, Write as _},
    os::unix::net::{UnixListener, UnixStream},
    path::Path,
    thread,
    time::{Duration, Instant},
};

use inband_ipmi::{
    command::{Command, Door, Profile, Started, Status, Wishes},
    vm::qemu,
    wire::{COMMAND, Code, NETFN},
};
use inband_session::{Door as Opened, DoorState, SessionState};

use crate::{
    disk_host::Disk,
    home::{Home, SLOT, good_config},
    package::Package,
    remote::open,
};

pub(crate) const WITH_DISK: u16 = 3;
pub(crate) const RAW: Door = Door::Volume(Profile::Raw);

/// With a disk that is there when it was asked for, and that channel.
pub(crate) fn home(channel: &str) -> Home {
    home_with(channel, "")
}

/// With these lines about the doors.
fn home_with(channel: &str, doors: &str) -> Home {
    let home = Home::with_store();
    let config = good_config().replace("dfu_product_id = 2", "dfu_product_id = 2\nvolume_product_id = 3");
    home.configure(&format!(
        "{config}\n[doors]\ndfu.policy = \"off\"\nvolume = {{ policy = \"armed\", profile = \"raw\" }}\n{doors}\n[ipmi]\nchannel = \"{channel}\"\n"
    ));
    home
}

/// QEMU, to its guest's BMC.
struct Qemu {
    stream: UnixStream,
    sequence: u8,
    decoder: qemu::Decoder,
}

impl Qemu {
    fn connect(path: &Path) -> Self {
        let deadline = Instant::now() + Duration::from_secs(20);
        loop {
            match UnixStream::connect(path) {
                Ok(stream) => return Self::over(stream),
                // Until the daemon listens.
                Err(error) => assert!(Instant::now() < deadline, "{error}"),
            }
            thread::sleep(Duration::from_millis(20));
        }
    }

    fn over(mut stream: UnixStream) -> Self {
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        let mut greeting = [0; 3];
        stream.read_exact(&mut greeting).unwrap();
        assert_eq!(greeting, [0xff, 0x01, 0xa1]);
        // What QEMU says when it has connected: its version, and what its machine can do.
        stream.write_all(&[0xff, 0x01, 0xa1, 0x08, 0x3f, 0xa1]).unwrap();
        Self { stream, sequence: 0, decoder: qemu::Decoder::default() }
    }

    /// The next reply: its number, completion code, and what is behind that.
    fn reply(&mut self, netfn: u8, command: u8) -> (u8, Code, Vec<u8>) {
        let mut byte = [0];
        loop {
            self.stream.read_exact(&mut byte).unwrap();
            if let Some(answer) = self.decoder.push(byte[0]) {
                assert_eq!((answer.netfn, answer.command), (netfn | 1, command));
                return (answer.sequence, answer.reply.code, answer.reply.data);
            }
        }
    }
}

/// A host's way to its BMC.
pub(crate) trait Ipmi {
    /// Completion code, and what is behind it.
    fn ask(&mut self, netfn: u8, command: u8, data: &[u8]) -> (Code, Vec<u8>);

    fn command(&mut self, command: &Command) -> (Code, Vec<u8>) {
        self.ask(NETFN, COMMAND, &command.encode())
    }

    fn status(&mut self) -> Status {
        let (code, data) = self.command(&Command::Status);
        assert_eq!(code, Code::OK);
        Status::decode(&data).unwrap()
    }

    /// Opens a door; the nonce.
    fn start(&mut self, tag: u32, door: Door) -> u32 {
        let (code, data) = self.command(&Command::Start { tag, door, wishes: Wishes::default() });
        assert_eq!(code, Code::OK);
        Started::decode(&data, tag).unwrap().nonce
    }

    /// Asks, as a script does, until the session is staged.
    fn until_staged(&mut self) -> Status {
        let deadline = Instant::now() + Duration::from_secs(20);
        loop {
            let status = self.status();
            if status.state == SessionState::Staged.number() {
                return status;
            }
            assert!(Instant::now() < deadline, "{status:?}");
            thread::sleep(Duration::from_millis(50));
        }
    }
}

impl Ipmi for Qemu {
    fn ask(&mut self, netfn: u8, command: u8, data: &[u8]) -> (Code, Vec<u8>) {
        self.sequence = self.sequence.wrapping_add(1);
        self.stream.write_all(&qemu::request(self.sequence, netfn, command, data)).unwrap();
        let (sequence, code, data) = self.reply(netfn, command);
        assert_eq!(sequence, self.sequence);
        (code, data)
    }
}

#[test]
fn a_guest_starts_copies_and_asks_until_it_is_staged() {
    let home = home("qemu-listen:ipmi");
    let running = home.start();
    let mut qemu = Qemu::connect(&home.path("ipmi"));
    // What an operating system asks first, and nobody else answers here.
    assert_eq!(qemu.ask(0x06, 0x01, &[]).0, Code::OK);
    assert_eq!(qemu.ask(0x0a, 0x10, &[]).0, Code::INVALID_COMMAND);
    let nonce = qemu.start(1, RAW);
    let mut disk = Disk::open(open(running.address, WITH_DISK));
    disk.copy(&Package::new(0x0200, 200_000).bytes());
    assert_eq!(qemu.status().state, SessionState::Receiving.number());
    disk.eject().unwrap();
    let status = qemu.until_staged();
    assert_eq!((status.nonce, status.result, status.percent), (nonce, 1, 0xff));
    // A second guest, when the first is gone.
    drop(qemu);
    assert_eq!(Qemu::connect(&home.path("ipmi")).status().state, SessionState::Staged.number());
}

/// Of a slot, of which the package's image is a small part: all of it is read back.
const LARGE: usize = 128 << 20;

/// Nobody waits for the disk, and for what hashes and compares: an answer comes between one percent and the next, with the truth in it.
#[test]
fn status_is_answered_while_a_large_slot_is_read_back() {
    let home = home("qemu-listen:ipmi");
    let config = std::fs::read_to_string(home.path("inbandd.toml")).unwrap();
    std::fs::remove_dir_all(home.path("store")).unwrap();
    home.configure(&format!(
        "control = \"control\"\n{}",
        config.replace(&SLOT.to_string(), &LARGE.to_string())
    ));
    assert!(home.inbandd(&["init"]).output().unwrap().status.success());
    let running = home.start();
    let mut qemu = Qemu::connect(&home.path("ipmi"));
    qemu.start(1, RAW);
    let mut disk = Disk::open(open(running.address, WITH_DISK));
    disk.copy(&Package::new(0x0200, 1 << 20).bytes());
    disk.eject().unwrap();
    let (mut answered, mut percent) = (1_u64, Vec::new());
    let deadline = Instant::now() + Duration::from_secs(120);
    loop {
        let status = qemu.status();
        answered += 1;
        match SessionState::from_number(status.state).unwrap() {
            SessionState::Handover | SessionState::Verifying => percent.push(status.percent),
            SessionState::Staged => break,
            state => panic!("{state}: {status:?}"),
        }
        assert!(Instant::now() < deadline, "{status:?}");
    }
    assert!(percent.len() >= 10, "the loop waited for the worker: {percent:?}");
    assert!(percent.is_sorted() && percent.iter().any(|percent| (1..100).contains(percent)), "{percent:?}");
    let report = home.inbandd(&["status", "--json"]).output().unwrap();
    let report = String::from_utf8(report.stdout).unwrap();
    let number = |name: &str| -> u64 {
        let (_, value) = report.split_once(&format!("\"{name}\":")).expect(&report);
        value.split([',', '}']).next().unwrap().parse().unwrap()
    };
    assert_eq!(number("ipmi_requests"), answered);
    assert!(number("slowest_ipmi_answer_us") > 0);
}

#[test]
fn a_bmc_that_is_there_before_its_guest_finds_it_and_finds_it_again() {
    let home = home("qemu:ipmi");
    let _running = home.start();
    for _ in 0..2 {
        let path = home.path("ipmi");
        let listener = UnixListener::bind(&path).unwrap();
        let mut qemu = Qemu::over(listener.accept().unwrap().0);
        assert_eq!(qemu.command(&Command::Capabilities).0, Code::OK);
        std::fs::remove_file(path).unwrap();
    }
}

#[test]
fn a_reset_of_the_guest_arms_where_that_is_configured_and_else_does_not() {
    let door = |qemu: &mut Qemu| qemu.status().door_states >> (2 * Opened::Volume.index()) & 3;
    for (arm_by, open) in [("[\"power-on\"]", true), ("[\"ipmi\"]", false)] {
        let home = home_with("qemu-listen:ipmi", &format!("power_on = \"qemu\"\narm_by = {arm_by}"));
        let _running = home.start();
        let mut qemu = Qemu::connect(&home.path("ipmi"));
        assert_eq!(door(&mut qemu), DoorState::Shut.number());
        qemu.stream.write_all(&[0x04, 0xa1]).unwrap();
        // What was said before is done before the next request is answered.
        let expected = if open { DoorState::Open } else { DoorState::Shut };
        assert_eq!(door(&mut qemu), expected.number());
    }
}

#[test]
fn a_guest_that_is_killed_while_it_asks_leaves_nothing_to_the_next() {
    let home = home("qemu-listen:ipmi");
    let _running = home.start();
    let whole = qemu::request(9, NETFN, COMMAND, &Command::Capabilities.encode());
    for cut in [whole.len(), whole.len() - 1, 3] {
        let mut qemu = Qemu::connect(&home.path("ipmi"));
        qemu.stream.write_all(&whole[..cut]).unwrap();
        drop(qemu);
        let mut next = Qemu::connect(&home.path("ipmi"));
        // Neither the reply of the first one, nor the rest of its request.
        assert_eq!(next.ask(0x06, 0x01, &[]).0, Code::OK);
    }
}

#[test]
fn requests_at_once_are_answered_one_by_one_and_a_reset_between_them_is_seen() {
    let home = home("qemu-listen:ipmi");
    let running = home.start();
    let mut qemu = Qemu::connect(&home.path("ipmi"));
    let status = |sequence| qemu::request(sequence, NETFN, COMMAND, &Command::Status.encode());
    let all = [status(0xa0), status(0xff), qemu::control(&[0x04]), status(0)].concat();
    qemu.stream.write_all(&all).unwrap();
    for sequence in [0xa0, 0xff, 0] {
        let (echoed, code, data) = qemu.reply(NETFN, COMMAND);
        assert_eq!((echoed, code), (sequence, Code::OK));
        assert_eq!(Status::decode(&data).unwrap().nonce, 0);
    }
    running.signal("TERM");
    let (_, lines) = running.wait();
    assert_eq!(lines.iter().filter(|line| line.contains("event=host-reset")).count(), 1, "{lines:?}");
}

#[test]
fn a_guest_that_is_reset_again_and_again_does_not_fill_the_log() {
    const RESETS: usize = 2000;
    let home = home("qemu-listen:ipmi");
    let running = home.start();
    let mut qemu = Qemu::connect(&home.path("ipmi"));
    qemu.stream.write_all(&qemu::control(&[0x04]).repeat(RESETS)).unwrap();
    // Behind all of them.
    assert_eq!(qemu.ask(0x06, 0x01, &[]).0, Code::OK);
    running.signal("TERM");
    let (_, lines) = running.wait();
    let told = lines.iter().filter(|line| line.contains("event=host-reset")).count();
    assert!((1..RESETS / 4).contains(&told), "{told}");
}
