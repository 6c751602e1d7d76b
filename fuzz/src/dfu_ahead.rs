//! A device that answers anything, against a download with blocks ahead.

use std::{collections::VecDeque, time::Duration};

use inband_dfu::{
    host::{self, Ahead, DfuInterface, Error, InterfaceMode, Limits, Next, POLL_LIMIT, Step, Transfer},
    wire::{FunctionalDescriptor, State, Status, StatusReply},
};
use inband_usb::{Direction, HostError};

/// Transfers at once: DNLOAD and GETSTATUS of two blocks.
const MOST_QUEUED: usize = 4;

/// The end of a transfer, as for [`Ahead::handle`].
type Ended = (Vec<u8>, Result<(), HostError>);

/// The input is the size of a block less one, that of the file less one (two bytes), and then a byte for each transfer, which says how it
/// ends. When there are no more, the device is gone.
///
/// Whatever the device says, what it has taken is the file as far as it goes, and each block was taken once.
pub(crate) fn run(input: &[u8]) {
    let Some((&[size, low, high], mut ends)) = input.split_first_chunk() else { return };
    let transfer_size = u16::from(size) + 1;
    let total = u64::from(u16::from_le_bytes([low, high])) + 1;
    let mut now = Duration::ZERO;
    let mut ahead = begin(now, transfer_size, total);

    let mut queue = VecDeque::new();
    let (mut given, mut taken) = (0_u64, 0_u64);
    loop {
        let next = match ahead.next(now) {
            Ok(next) => next,
            Err(error) => return told(&error),
        };
        match next {
            Next::Block(length) => {
                let data: Vec<u8> = (given..).take(length).map(byte).collect();
                given += length as u64;
                assert!(!data.is_empty() && given <= total);
                match ahead.block(data) {
                    Ok(transfer) => queue.push_back(transfer),
                    Err(error) => panic!("{error}"),
                }
            }
            Next::Submit(transfer) => queue.push_back(transfer),
            Next::Collect => {
                let transfer: Transfer = queue.pop_front().expect("an end to be had");
                let (end, after) =
                    ends.split_first().map_or((None, ends), |(end, after)| (Some(*end), after));
                ends = after;
                let (data, result) = match transfer.setup.direction() {
                    Direction::In => status(end),
                    Direction::Out => {
                        let block = usize::from(transfer_size);
                        assert_eq!(usize::from(transfer.setup.length), transfer.data.len());
                        let at = u64::from(transfer.setup.value) * block as u64;
                        assert!(transfer.data.iter().copied().eq((at..).map(byte).take(transfer.data.len())));
                        let length = transfer.data.len() as u64;
                        let (data, result) = acknowledge(end, transfer.data);
                        if result.is_ok() {
                            assert_eq!(at, taken);
                            assert!(length == block as u64 || taken + length == total);
                            taken += length;
                        }
                        (data, result)
                    }
                };
                if let Err(error) = ahead.handle(now, data, result) {
                    return told(&error);
                }
                assert!(ahead.sent() <= taken);
            }
            Next::Wait(time) => {
                assert!(queue.is_empty() && !time.is_zero() && time <= POLL_LIMIT);
                now += time;
            }
            Next::Over(_) => {
                assert!(queue.is_empty());
                assert_eq!((given, taken, ahead.sent()), (total, total, total));
                return;
            }
        }
        assert!(queue.len() <= MOST_QUEUED);
    }
}

fn begin(now: Duration, transfer_size: u16, total: u64) -> Ahead {
    let functional = FunctionalDescriptor { transfer_size, ..FunctionalDescriptor::OURS };
    let interface = DfuInterface { number: 0, mode: InterfaceMode::Dfu, name: 0, functional };
    let Step::Request(_, expect) = host::open(now, &interface, Limits::default()) else {
        panic!("a download begins with GETSTATUS")
    };
    let idle = reply(State::DfuIdle, 0);
    let Ok(Step::Ready(ready)) = expect.handle(now, Ok(&idle)) else {
        panic!("a device in dfuIDLE is ready")
    };
    ready.download_ahead(now, total).expect("a file of some bytes")
}

/// The file.
fn byte(at: u64) -> u8 {
    (at ^ (at >> 8)) as u8
}

fn reply(state: State, poll_timeout_ms: u32) -> [u8; StatusReply::LEN] {
    StatusReply { status: Status::Ok, poll_timeout_ms, state, string: 0 }.to_bytes()
}

/// How DNLOAD ends; the block comes back.
fn acknowledge(end: Option<u8>, data: Vec<u8>) -> Ended {
    match end {
        None => (Vec::new(), Err(HostError::Gone)),
        Some(0xff) => (data, Err(HostError::Stall)),
        Some(0xfe) => (data, Err(HostError::Cancelled)),
        Some(0xfd) => (data, Err(HostError::Other("broken".into()))),
        Some(_) => (data, Ok(())),
    }
}

/// What GETSTATUS answers: a state by its number, or with bit 4 what is none; or how it fails.
fn status(end: Option<u8>) -> Ended {
    let bytes = match end {
        None => return (Vec::new(), Err(HostError::Gone)),
        Some(0xff) => return (Vec::new(), Err(HostError::Stall)),
        Some(0xfe) => return (Vec::new(), Err(HostError::Cancelled)),
        Some(0xfd) => return (Vec::new(), Err(HostError::Overflow)),
        Some(end) => {
            let wait = [0, 1, 50, 255][usize::from(end >> 6)];
            let status = if end & 0x20 == 0 { 0 } else { 1 + (end & 0x0f) };
            let length = if end & 0x10 == 0 { StatusReply::LEN } else { usize::from(end & 7) };
            [status, wait, 0, wait / 255, end & 0x0f, 0, 0][..length].to_vec()
        }
    };
    (bytes, Ok(()))
}

fn told(error: &Error) {
    assert!(!matches!(error, Error::Misuse(_)) && !error.to_string().is_empty());
}
