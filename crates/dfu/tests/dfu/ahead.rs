//! Blocks ahead of the status of the one before, towards our device and towards devices that lie.

use std::{collections::VecDeque, time::Duration};

use inband_dfu::{
    host::{self, Ahead, End, Error, Limits, Misbehaviour, Next, POLL_LIMIT, Step, Transfer},
    table::Mode,
    wire::{Request, State, Status, StatusReply},
};
use inband_usb::{Direction, HostError};

use crate::bench::{Bench, DFU, Stalled};

const LIMITS: Limits = Limits {
    prepare: Duration::from_secs(1),
    block: Duration::from_secs(2),
    download: Duration::from_secs(30),
    manifestation: Duration::from_secs(3),
};

type Ended = (Vec<u8>, Result<(), HostError>);

/// A download with blocks ahead: the transfers are made in order, each when its end is wanted, as a host controller makes what is
/// queued.
struct Host<'a> {
    ahead: Ahead,
    file: &'a [u8],
    at: usize,
    queue: VecDeque<Transfer>,
    /// Transfers that were queued at once, at most.
    longest: usize,
}

impl<'a> Host<'a> {
    fn new(ahead: Ahead, file: &'a [u8]) -> Self {
        Self { ahead, file, at: 0, queue: VecDeque::new(), longest: 0 }
    }

    /// On from here to the end of all blocks.
    fn run(
        &mut self,
        now: &mut Duration,
        mut transfer: impl FnMut(Transfer) -> Ended,
        mut wait: impl FnMut(Duration) -> Duration,
    ) -> Result<Step, Error> {
        loop {
            match self.ahead.next(*now)? {
                Next::Block(length) => {
                    let data = self.file[self.at..self.at + length].to_vec();
                    self.at += length;
                    let block = self.ahead.block(data)?;
                    self.queue.push_back(block);
                }
                Next::Submit(transfer) => self.queue.push_back(transfer),
                Next::Collect => {
                    let (data, result) = transfer(self.queue.pop_front().unwrap());
                    self.ahead.handle(*now, data, result)?;
                    assert!(self.ahead.sent() <= self.at as u64);
                }
                Next::Wait(time) => {
                    assert!(self.queue.is_empty());
                    *now = wait(time);
                }
                Next::Over(step) => {
                    assert!(self.queue.is_empty());
                    assert_eq!(self.ahead.sent(), self.file.len() as u64);
                    return Ok(step);
                }
            }
            self.longest = self.longest.max(self.queue.len());
        }
    }
}

fn begin(bench: &mut Bench, length: usize, limits: Limits) -> Ahead {
    bench.set_interface();
    let Ok(Step::Ready(ready)) = bench.drive(host::open(bench.now, &DFU, limits), &[]) else { panic!() };
    ready.download_ahead(bench.now, length as u64).unwrap()
}

fn make(bench: &mut Bench, transfer: Transfer, stalls: &mut usize) -> Ended {
    match transfer.setup.direction() {
        Direction::Out => {
            let made = bench.control_out(transfer.setup, &transfer.data);
            *stalls += usize::from(made.is_err());
            (transfer.data, made.map_err(|Stalled| HostError::Stall))
        }
        Direction::In => match bench.control_in(transfer.setup) {
            Ok(data) => (data, Ok(())),
            Err(Stalled) => (Vec::new(), Err(HostError::Stall)),
        },
    }
}

/// A whole download; also how many blocks were stalled, and the longest queue.
fn send(bench: &mut Bench, file: &[u8]) -> (Result<End, Error>, usize, usize) {
    let mut host = Host::new(begin(bench, file.len(), Limits::default()), file);
    let (mut now, mut stalls) = (bench.now, 0);
    let bench = std::cell::RefCell::new(bench);
    let over = host.run(
        &mut now,
        |transfer| make(&mut bench.borrow_mut(), transfer, &mut stalls),
        |time| {
            bench.borrow_mut().pass(time);
            bench.borrow().now
        },
    );
    let bench = bench.into_inner();
    let longest = host.longest;
    // What is in flight behind an error is made all the same.
    for transfer in host.queue {
        let _ = make(bench, transfer, &mut stalls);
    }
    let end = over.and_then(|step| match bench.drive(step, &[])? {
        Step::Downloaded(end) => Ok(end),
        other => panic!("{other:?}"),
    });
    (end, stalls, longest)
}

#[test]
fn a_device_that_keeps_up_gets_every_block_once() {
    let mut bench = Bench::lenient();
    let file = bench.image.clone();
    // DNLOAD and GETSTATUS of two blocks.
    assert_eq!(send(&mut bench, &file), (Ok(End::Idle), 0, 4));
    assert!(bench.installed == Some(file));
}

#[test]
fn a_block_that_comes_while_the_device_is_busy_is_sent_again() {
    for busy in 1..5 {
        let mut bench = Bench::lenient();
        bench.busy_polls = busy;
        let file = bench.image.clone();
        let (end, stalls, _) = send(&mut bench, &file);
        assert_eq!(end, Ok(End::Idle));
        // The second and the third come too early; the first is waited for, and behind the last there is none.
        assert_eq!(stalls, 2, "busy for {busy} polls");
        assert!(bench.installed == Some(file));
        assert_eq!(bench.device.status(), Status::Ok);
    }
}

/// What failed is told once, with its own reason: the block behind it, which is in flight by then, is stalled and changes nothing.
#[test]
fn the_first_error_is_the_one_that_is_told() {
    for busy in 0..4 {
        let mut bench = Bench::lenient();
        bench.busy_polls = busy;
        let mut file = bench.image.clone();
        // The owner refuses at the length of its image, which this file goes on behind.
        file[0] ^= 1;
        file.extend_from_slice(&[0; 8192]);
        let (end, stalls, _) = send(&mut bench, &file);
        let (status, state) = (Some(Status::ErrAddress), Some(State::DfuError));
        assert_eq!(end, Err(Error::Refused { request: Request::Dnload, status, state }));
        // The fifth; before it the second, third and fourth, where each comes too early.
        assert_eq!(stalls, if busy == 0 { 1 } else { 3 }, "busy for {busy} polls");
        assert_eq!(bench.device.status(), Status::ErrAddress);
        bench.assert_next_session();
    }
}

#[test]
fn the_letter_of_dfu_has_no_blocks_ahead() {
    let mut bench = Bench::reach(Mode::Strict, State::DfuDnbusy);
    assert_eq!(bench.out(Request::Dnload, 1, &[1; 64]), Err(Stalled));
    assert_eq!((bench.device.state(), bench.device.status()), (State::DfuError, Status::ErrStalledPacket));
}

/// What a device answers by turns: to DNLOAD whether it takes it, to GETSTATUS the state and bwPollTimeout.
enum Says {
    Taken,
    Stall,
    State(State),
    /// dfuDNBUSY for so many milliseconds.
    Busy(u32),
    Bytes(&'static [u8]),
    Fails(HostError),
}

fn status(state: State, poll_timeout_ms: u32) -> Vec<u8> {
    StatusReply { status: Status::Ok, poll_timeout_ms, state, string: 0 }.to_bytes().to_vec()
}

/// A download of three blocks towards a device that follows a script, and behind its end is busy for ever.
fn scripted(script: Vec<Says>) -> Result<Step, Error> {
    let file = [7; 3 * 4096];
    let mut host = Host::new(begin(&mut Bench::lenient(), file.len(), LIMITS), &file);
    let mut script = VecDeque::from(script);
    let mut now = Duration::from_secs(1000);
    let mut clock = now;
    host.run(
        &mut now,
        |transfer| {
            let is_out = transfer.setup.direction() == Direction::Out;
            let busy = if is_out { Says::Taken } else { Says::State(State::DfuDnbusy) };
            let says = script.pop_front().unwrap_or(busy);
            assert_eq!(
                is_out,
                matches!(says, Says::Taken | Says::Stall | Says::Fails(_)),
                "{:?}",
                transfer.setup
            );
            match says {
                Says::Taken => (transfer.data, Ok(())),
                Says::Stall => (transfer.data, Err(HostError::Stall)),
                Says::Fails(error) => (transfer.data, Err(error)),
                Says::Bytes(bytes) => (bytes.to_vec(), Ok(())),
                Says::State(state) => (status(state, 0), Ok(())),
                Says::Busy(time) => (status(State::DfuDnbusy, time), Ok(())),
            }
        },
        |time| {
            assert!(!time.is_zero(), "a device that says 0 is not flooded");
            clock += time;
            clock
        },
    )
}

#[test]
fn a_device_that_is_busy_for_ever_is_given_up() {
    assert_eq!(scripted(vec![Says::Taken]).unwrap_err(), Error::TooSlow(State::DfuDnbusy));
}

/// The limit of a block is that of each by itself.
#[test]
fn a_device_that_is_slow_with_every_block_is_waited_for() {
    let (idle, busy) = (|| Says::State(State::DfuDnloadIdle), || Says::Busy(1500));
    let mut script = vec![Says::Taken, busy(), idle()];
    script.extend([Says::Taken, busy(), Says::Stall, busy(), idle()]);
    script.extend([Says::Taken, busy(), idle()]);
    assert!(matches!(scripted(script), Ok(Step::Request(..))));
}

/// The first block, taken with this status.
fn first_block(limits: Limits, reply: Vec<u8>) -> (Ahead, Duration) {
    let mut bench = Bench::lenient();
    let (mut ahead, now) = (begin(&mut bench, 3 * 4096, limits), bench.now);
    let Ok(Next::Block(length)) = ahead.next(now) else { panic!() };
    let short = ahead.block(vec![7; length - 1]).unwrap_err();
    assert!(matches!(short, Error::Misuse(_)));
    let block = ahead.block(vec![7; length]).unwrap();
    assert!(matches!(ahead.next(now), Ok(Next::Submit(_))));
    ahead.handle(now, block.data, Ok(())).unwrap();
    ahead.handle(now, reply, Ok(())).unwrap();
    (ahead, now)
}

#[test]
fn nothing_is_waited_for_longer_than_the_limits() {
    let (mut ahead, now) = first_block(Limits::default(), status(State::DfuDnbusy, 60_000));
    assert!(matches!(ahead.next(now), Ok(Next::Wait(POLL_LIMIT))));

    let (mut ahead, now) = first_block(LIMITS, status(State::DfuDnloadIdle, 0));
    assert!(matches!(ahead.next(now + LIMITS.download), Ok(Next::Block(4096))));
    let late = ahead.next(now + LIMITS.download + Duration::from_millis(1)).unwrap_err();
    assert_eq!(late, Error::TooSlow(State::DfuDnloadIdle));
}

#[test]
fn a_block_stalled_without_reason_is_refused() {
    let idle = || Says::State(State::DfuDnloadIdle);
    let refused = scripted(vec![Says::Taken, idle(), Says::Taken, idle(), Says::Stall, idle()]).unwrap_err();
    let (status, state) = (Some(Status::Ok), Some(State::DfuDnloadIdle));
    assert_eq!(refused, Error::Refused { request: Request::Dnload, status, state });
    assert!(matches!(scripted(vec![Says::Stall, idle()]), Err(Error::Refused { .. })));
}

/// What is sent again is the block, or nothing.
#[test]
fn a_block_that_the_hosts_usb_has_lost_is_not_sent_again() {
    for lost in [1, 4096] {
        let (mut ahead, now) = first_block(Limits::default(), status(State::DfuDnloadIdle, 0));
        let mut blocks = Vec::new();
        for _ in 0..2 {
            let Ok(Next::Block(length)) = ahead.next(now) else { panic!() };
            blocks.push(ahead.block(vec![7; length]).unwrap().data);
            assert!(matches!(ahead.next(now), Ok(Next::Submit(_))));
        }
        ahead.handle(now, blocks.remove(0), Ok(())).unwrap();
        ahead.handle(now, status(State::DfuDnbusy, 1), Ok(())).unwrap();
        let stalled = blocks.remove(0).split_off(lost);
        let end = ahead.handle(now, stalled, Err(HostError::Stall));
        assert!(matches!(end, Err(Error::Misuse(_))), "{lost} bytes lost: {end:?}");
    }
}

/// A device that takes a block it could have stalled has it; nothing is sent twice.
#[test]
fn a_block_that_is_taken_while_the_device_is_busy_is_not_sent_again() {
    let idle = || Says::State(State::DfuDnloadIdle);
    let busy = Says::State(State::DfuDnbusy);
    let script = vec![Says::Taken, idle(), Says::Taken, busy, Says::Taken, idle()];
    assert!(matches!(scripted(script), Ok(Step::Request(..))));
}

#[test]
fn lies_are_errors() {
    for state in State::ALL {
        let end = scripted(vec![Says::Taken, Says::State(state)]);
        match state {
            // These go on, to the end of the script.
            State::DfuDnloadSync | State::DfuDnbusy | State::DfuDnloadIdle => {
                assert!(matches!(end, Err(Error::TooSlow(_))));
            }
            State::DfuError => assert!(matches!(end, Err(Error::Refused { .. }))),
            other => {
                let wrong = Misbehaviour::State { state: other, after: Request::Dnload };
                assert_eq!(end.unwrap_err(), Error::PeerMisbehaved(wrong));
            }
        }
    }
    for bytes in [&[][..], &[0; 5], &[0; 7], &[0, 0, 0, 0, 11, 0], &[16, 0, 0, 0, 5, 0]] {
        let end = scripted(vec![Says::Taken, Says::Bytes(bytes)]);
        assert!(matches!(end, Err(Error::PeerMisbehaved(Misbehaviour::Reply(_)))), "{bytes:?}");
    }
    assert_eq!(scripted(vec![Says::Fails(HostError::Gone)]).unwrap_err(), Error::Gone);
    let slow = scripted(vec![Says::Fails(HostError::Cancelled)]).unwrap_err();
    assert_eq!(slow, Error::NoAnswer(Request::Dnload));
}
