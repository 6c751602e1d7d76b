//! A socket that keeps the borders of messages stands in for the device.

use std::{
    io::Read,
    os::fd::{BorrowedFd, OwnedFd},
    sync::mpsc::{Receiver, Sender, channel},
    thread::{self, JoinHandle},
};

use inband_ipmi::{standalone::Standalone, wire::Reply};
use rustix::{
    event::PollFd,
    net::{AddressFamily, SocketFlags, SocketType, socketpair, sockopt::set_socket_send_buffer_size},
};

use super::*;
use crate::ipmi::{Asked, Channel, Event, poll_for};

/// Longer than anything takes.
const LONG: Duration = Duration::from_secs(60);
const ALL: [Framing; 3] = [Framing::Kcs, Framing::Bt, Framing::Ssif];

/// The BMC's end. Some reads and writes fail.
struct Double {
    socket: OwnedFd,
    reads: Receiver<Errno>,
    writes: Receiver<Errno>,
    failed: Sender<()>,
}

impl Double {
    fn fail(&self, failures: &Receiver<Errno>) -> io::Result<()> {
        let Ok(error) = failures.try_recv() else { return Ok(()) };
        self.failed.send(()).unwrap();
        Err(error.into())
    }
}

impl Read for Double {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        self.fail(&self.reads)?;
        Ok(rustix::io::read(&self.socket, bytes)?)
    }
}

impl Write for Double {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.fail(&self.writes)?;
        Ok(rustix::io::write(&self.socket, bytes)?)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl AsFd for Double {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// A host, a channel, and the loop's end of it.
struct Rig {
    framing: Framing,
    host: OwnedFd,
    fail_read: Sender<Errno>,
    fail_write: Sender<Errno>,
    failed: Receiver<()>,
    channel: Channel,
    woken: Receiver<()>,
    thread: JoinHandle<io::Result<()>>,
}

impl Rig {
    fn new(framing: Framing, patience: Duration) -> Self {
        let (host, socket) =
            socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::NONBLOCK, None).unwrap();
        // What is written here stays where it is until it is read: a few messages.
        set_socket_send_buffer_size(&socket, 1).unwrap();
        let (fail_read, reads) = channel();
        let (fail_write, writes) = channel();
        let (fails, failed) = channel();
        let (wake, woken) = channel();
        let (channel, mut line) = Channel::with_line(std::sync::Arc::new(move || _ = wake.send(()))).unwrap();
        line.patience = patience;
        let mut double = Double { socket, reads, writes, failed: fails };
        let thread = thread::spawn(move || {
            converse(&mut line, framing, &mut double, &mut Story { path: "double".as_ref(), told: None })
        });
        Self { framing, host, fail_read, fail_write, failed, channel, woken, thread }
    }

    /// A request with a number, in the bytes of the framing; SSIF and KCS have none.
    fn send(&self, number: u8, data: &[u8]) {
        let message = match self.framing {
            Framing::Kcs | Framing::Ssif => [&[0x18, 0x01], data].concat(),
            Framing::Bt => [&[0x18, number, 0x01], data].concat(),
        };
        let length = u32::try_from(message.len()).unwrap();
        self.send_raw(&match self.framing {
            Framing::Kcs => message,
            Framing::Bt => [&[u8::try_from(length).unwrap()], &message[..]].concat(),
            Framing::Ssif => [&length.to_ne_bytes(), &message[..]].concat(),
        });
    }

    fn send_raw(&self, bytes: &[u8]) {
        rustix::io::write(&self.host, bytes).unwrap();
    }

    /// The next reply: its number, completion code, and the data behind that.
    fn reply(&self) -> (u8, u8, Vec<u8>) {
        poll_for(&mut [PollFd::new(&self.host, PollFlags::IN)], Some(LONG));
        self.reply_now().expect("there is a reply")
    }

    /// The same, if it is there.
    fn reply_now(&self) -> Option<(u8, u8, Vec<u8>)> {
        let mut bytes = [0; READ];
        let length = rustix::io::read(&self.host, &mut bytes).ok()?;
        let bytes = &bytes[..length];
        Some(match self.framing {
            Framing::Kcs => {
                assert_eq!(bytes[..2], [0x1c, 0x01]);
                (0, bytes[2], bytes[3..].to_vec())
            }
            Framing::Bt => {
                assert_eq!((usize::from(bytes[0]), bytes[1], bytes[3]), (length - 1, 0x1c, 0x01));
                (bytes[2], bytes[4], bytes[5..].to_vec())
            }
            Framing::Ssif => {
                assert_eq!(bytes[..4], u32::try_from(length - 4).unwrap().to_ne_bytes());
                assert_eq!(bytes[4..6], [0x1c, 0x01]);
                (0, bytes[6], bytes[7..].to_vec())
            }
        })
    }

    /// The next request, in the loop.
    fn asked(&self) -> Asked {
        loop {
            self.woken.recv_timeout(LONG).unwrap();
            // One that was withdrawn has woken the loop as well.
            if let Some(Event::Asked(asked)) = self.channel.poll() {
                return asked;
            }
        }
    }

    /// The loop answers what it was asked with the data of the request.
    fn echo(asked: Asked) {
        let data = asked.request().data.to_vec();
        asked.answer(Reply::ok(data));
    }

    /// The device goes; the channel notices.
    fn unplug(self) -> io::Error {
        drop(self.host);
        self.thread.join().unwrap().unwrap_err()
    }
}

#[test]
fn a_request_comes_as_it_is_and_so_does_its_reply() {
    for framing in ALL {
        let rig = Rig::new(framing, LONG);
        rig.send(7, &[0xa0, 0x00]);
        let asked = rig.asked();
        assert_eq!(asked.origin(), Origin::System);
        let request = asked.request();
        assert_eq!((request.netfn, request.command, request.data), (6, 1, &[0xa0, 0x00][..]));
        Rig::echo(asked);
        assert_eq!(rig.reply().1, 0);
        assert_eq!(rig.unplug().kind(), ErrorKind::UnexpectedEof);
    }
}

#[test]
fn a_reply_that_nobody_takes_is_forgotten() {
    for framing in ALL {
        for error in [Errno::INVAL, Errno::IO, Errno::AGAIN, Errno::INTR] {
            let rig = Rig::new(framing, LONG);
            rig.fail_write.send(error).unwrap();
            rig.send(1, &[1]);
            Rig::echo(rig.asked());
            rig.failed.recv_timeout(LONG).unwrap();
            rig.send(2, &[2]);
            Rig::echo(rig.asked());
            assert_eq!(rig.reply().2, [2], "{framing:?} {error}");
        }
    }
}

#[test]
fn a_device_that_is_gone_ends_it() {
    for framing in ALL {
        let rig = Rig::new(framing, LONG);
        rig.fail_write.send(Errno::NODEV).unwrap();
        rig.send(1, &[1]);
        Rig::echo(rig.asked());
        let error = rig.thread.join().unwrap().unwrap_err();
        assert_eq!(Errno::from_io_error(&error), Some(Errno::NODEV));
        let rig = Rig::new(framing, LONG);
        rig.fail_read.send(Errno::NODEV).unwrap();
        rig.send(1, &[1]);
        let error = rig.thread.join().unwrap().unwrap_err();
        assert_eq!(Errno::from_io_error(&error), Some(Errno::NODEV));
    }
}

#[test]
fn a_request_that_its_host_aborts_before_it_is_read_is_none() {
    for framing in ALL {
        let rig = Rig::new(framing, LONG);
        rig.fail_read.send(Errno::AGAIN).unwrap();
        rig.fail_read.send(Errno::INTR).unwrap();
        rig.send(1, &[1]);
        rig.failed.iter().take(2).for_each(drop);
        Rig::echo(rig.asked());
        assert_eq!(rig.reply().2, [1], "{framing:?}");
    }
}

#[test]
fn a_host_of_bt_that_fetches_no_reply_keeps_nobody() {
    let rig = Rig::new(Framing::Bt, Duration::from_secs(1));
    for number in 0..4 {
        rig.send(number, &[number; 200]);
        Rig::echo(rig.asked());
    }
    rig.send(4, &[]);
    let last = rig.asked();
    let mut fetched = vec![];
    while let Some(reply) = rig.reply_now() {
        fetched.push(reply.0);
    }
    assert!(!fetched.is_empty() && fetched.len() < 4 && fetched.is_sorted(), "{fetched:?}");
    Rig::echo(last);
    assert_eq!(rig.reply(), (4, 0, vec![]));
}

#[test]
fn a_host_that_asks_anew_gets_no_reply_to_what_it_gave_up() {
    for framing in [Framing::Kcs, Framing::Ssif] {
        let rig = Rig::new(framing, LONG);
        rig.send(0, &[1]);
        let first = rig.asked();
        // The host has aborted the first one, and asks for something else.
        rig.send(0, &[2]);
        Rig::echo(first);
        Rig::echo(rig.asked());
        assert_eq!(rig.reply().2, [2], "{framing:?}");
    }
}

#[test]
fn two_at_once_by_bt_are_told_apart_by_their_numbers() {
    let rig = Rig::new(Framing::Bt, LONG);
    rig.send(0xfe, &[1]);
    rig.send(0xff, &[2]);
    Rig::echo(rig.asked());
    Rig::echo(rig.asked());
    assert_eq!([rig.reply(), rig.reply()], [(0xfe, 0, vec![1]), (0xff, 0, vec![2])]);
}

#[test]
fn requests_that_a_slow_loop_did_not_see_in_time_are_never_done() {
    for framing in ALL {
        let rig = Rig::new(framing, Duration::ZERO);
        for number in 0..4 {
            rig.send(number, &[number]);
        }
        drop(rig.host);
        assert!(rig.thread.join().unwrap().is_err());
        assert_eq!(rig.woken.iter().take(4).count(), 4, "each was there to be seen");
        assert!(rig.channel.poll().is_none());
    }
}

#[test]
fn an_answer_that_comes_too_late_is_given_to_no_other_request() {
    let patience = Duration::from_secs(2);
    let rigs = ALL.map(|framing| Rig::new(framing, patience));
    let late = rigs.each_ref().map(|rig| {
        rig.send(1, &[1]);
        rig.asked()
    });
    for rig in &rigs {
        rig.send(2, &[2]);
    }
    for (rig, late) in rigs.iter().zip(late) {
        let last = rig.asked();
        Rig::echo(late);
        Rig::echo(last);
        assert_eq!(rig.reply().2, [2], "{:?}", rig.framing);
    }
}

#[test]
fn junk_of_every_length_is_passed_over_or_refused() {
    for framing in ALL {
        let rig = Rig::new(framing, LONG);
        let mut bmc = Standalone::default();
        let mut answer = |asked: Asked| {
            let reply = bmc.handle(&asked.request());
            let data = asked.request().data.to_vec();
            asked.answer(reply);
            data
        };
        for length in 1..=READ + 1 {
            // Bytes that are a length, a network function and a command now and then.
            let junk: Vec<_> = (0..length).map(|at| (length + at * 37) as u8).collect();
            rig.send_raw(&junk);
            rig.send(0x5a, b"good");
            while answer(rig.asked()) != b"good" {}
            // Get Device ID has no data.
            while rig.reply().1 != 0xc7 {}
        }
    }
}

#[test]
fn a_message_without_a_byte_is_passed_over() {
    let rig = Rig::new(Framing::Bt, LONG);
    rig.send_raw(&[]);
    rig.send(1, &[]);
    Rig::echo(rig.asked());
    assert_eq!(rig.reply(), (1, 0, vec![]));
}

#[test]
fn the_end_of_the_daemon_ends_it_whatever_it_waits_for() {
    for framing in ALL {
        let rig = Rig::new(framing, LONG);
        drop(rig.channel);
        assert!(rig.thread.join().unwrap().is_ok());
        let rig = Rig::new(framing, LONG);
        rig.send(1, &[]);
        rig.woken.recv_timeout(LONG).unwrap();
        drop(rig.channel);
        assert!(rig.thread.join().unwrap().is_ok());
    }
}

#[test]
fn what_is_no_device_is_not_served() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("device");
    assert_eq!(open(&path).unwrap_err().kind(), ErrorKind::NotFound);
    std::fs::write(&path, "").unwrap();
    assert!(open(&path).unwrap_err().to_string().contains("character device"));
}
