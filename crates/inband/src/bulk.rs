//! Drives one exchange of the bulk protocol (docs/spec/bulk.md) over an opened device.

use std::{
    collections::VecDeque,
    io::{self, Read, Seek, SeekFrom},
    time::Duration,
};

use inband_bulk::{
    Host,
    host::{Error as BulkError, Limits, Next},
    interface::BulkInterface,
    wire::{HEADER_LENGTH, Outcome, PIECE_LENGTH, pieces},
};
use inband_dfu::host::DfuInterface;
use inband_package::{Head, Index, spans};
use inband_usb::{HostDevice, HostError, HostTransfer, TransferId};

use crate::{
    cancel::Cancel,
    dfu::{self, Stop as DfuStop},
    error::DeviceError,
};

/// Longest wait between two looks at whether the user wants to stop.
const SLICE: Duration = Duration::from_millis(100);
/// How long the device may take for a transfer that is with it (bulk.md, 8).
const PATIENCE: Duration = Duration::from_secs(120);
/// How long transfers that are taken back may take to come. A kernel gives them back at once; who is on the other side of a network
/// may never do so.
const TAKE_BACK_LIMIT: Duration = Duration::from_secs(1);

/// What a file is read by.
pub trait Source: Read + Seek {}

impl<T: Read + Seek> Source for T {}

/// What is offered: which bytes of a file are its chunks.
#[derive(Clone, Debug)]
pub struct Load {
    beginning: Beginning,
    /// Where the chunks stand, as they are sent, in the order of their numbers.
    chunks: Vec<spans::Span>,
}

#[derive(Clone, Copy, Debug)]
enum Beginning {
    /// So many bytes of a package in front of its first member.
    Package(u64),
    /// Bytes of a file without an index.
    Whole(u64),
}

impl Load {
    /// A package, of which the device asks for the chunks that it lacks. `None` for an index that goes with no head.
    #[must_use]
    pub fn package(head: &Head, index: &Index) -> Option<Self> {
        let beginning = Beginning::Package(spans::beginning(head));
        Some(Self { beginning, chunks: spans::chunks(head, index)? })
    }

    /// The first bytes of a file, as they are.
    #[must_use]
    pub fn whole(length: u64) -> Self {
        let piece = u64::from(PIECE_LENGTH);
        let chunks =
            (0..).zip(pieces(length)).map(|(number, length)| spans::Span { offset: number * piece, length });
        Self { beginning: Beginning::Whole(length), chunks: chunks.collect() }
    }

    /// How many chunks there are.
    #[must_use]
    pub fn chunks(&self) -> usize {
        self.chunks.len()
    }

    /// Bytes of all chunks, as they are sent.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.chunks.iter().map(|chunk| u64::from(chunk.length)).sum()
    }

    /// What a BMC has to have of it: its beginning, and its chunks.
    #[cfg(test)]
    pub(crate) fn parts(&self, file: &mut dyn Source) -> (Vec<u8>, Vec<Vec<u8>>) {
        let mut head = Vec::new();
        if let Beginning::Package(length) = self.beginning {
            (&mut *file).take(length).read_to_end(&mut head).unwrap();
        }
        let chunk = |(number, length)| {
            let mut chunk = vec![0; length as usize];
            self.read(number, &mut chunk, file).unwrap();
            chunk
        };
        (head, (0..).zip(self.lengths()).map(chunk).collect())
    }

    fn lengths(&self) -> Vec<u32> {
        self.chunks.iter().map(|chunk| chunk.length).collect()
    }

    /// The host's side of an exchange, at its beginning.
    fn host(&self, now: Duration, limits: Limits, file: &mut dyn Source) -> Result<Host, Stop> {
        let exchange = exchange_number().map_err(Stop::System)?;
        Ok(match self.beginning {
            Beginning::Package(length) => {
                let mut head = Vec::new();
                file.rewind().map_err(Stop::Read)?;
                file.take(length).read_to_end(&mut head).map_err(Stop::Read)?;
                Host::offer(now, limits, exchange, &head, self.lengths())?
            }
            Beginning::Whole(length) => Host::whole(now, limits, exchange, length)?,
        })
    }

    /// Reads a chunk.
    fn read(&self, number: u32, into: &mut [u8], file: &mut dyn Source) -> io::Result<()> {
        let place = self.chunks.get(number as usize).ok_or(io::ErrorKind::InvalidInput)?;
        file.seek(SeekFrom::Start(place.offset))?;
        file.read_exact(into)
    }
}

/// A number that no exchange before had, as far as chance goes.
fn exchange_number() -> io::Result<u32> {
    let mut number = [0; 4];
    getrandom::fill(&mut number).map_err(io::Error::other)?;
    Ok(u32::from_le_bytes(number))
}

/// Why an exchange ended without a result.
#[derive(Debug)]
pub enum Stop {
    /// The device, or USB. It was sent DFU_ABORT, if it was still there.
    Device(DeviceError),
    /// The file. The device was sent DFU_ABORT.
    Read(io::Error),
    /// The operating system.
    System(io::Error),
    /// The user. The device was sent DFU_ABORT.
    Cancelled {
        /// It did not let itself be aborted any more: it goes on by itself.
        handed_over: bool,
    },
}

impl From<DeviceError> for Stop {
    fn from(error: DeviceError) -> Self {
        Self::Device(error)
    }
}

impl From<HostError> for Stop {
    fn from(error: HostError) -> Self {
        Self::Device(error.into())
    }
}

impl From<BulkError> for Stop {
    fn from(error: BulkError) -> Self {
        Self::Device(error.into())
    }
}

impl From<DfuStop> for Stop {
    fn from(stop: DfuStop) -> Self {
        match stop {
            DfuStop::Dfu(error) => Self::Device(error.into()),
            DfuStop::Read(error) => Self::Read(error),
            DfuStop::Cancelled { handed_over } => Self::Cancelled { handed_over },
        }
    }
}

/// How an exchange goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum News {
    /// The device has said what it needs, by now.
    Need {
        /// Which time it has, from 0.
        round: u32,
        /// How many chunks, this round's and those before.
        chunks: u32,
        /// Their bytes.
        bytes: u64,
        /// Bytes that go over the wire for it, with what was offered.
        total: u64,
    },
    /// It has taken so many bytes.
    Sent {
        /// Bytes taken.
        sent: u64,
        /// Bytes that go over the wire, as far as is known.
        total: u64,
    },
}

/// The two interfaces of a device in DFU mode.
#[derive(Clone, Copy, Debug)]
pub struct Interfaces {
    /// Where it is controlled.
    pub dfu: DfuInterface,
    /// Where the data goes.
    pub bulk: BulkInterface,
}

/// Brings a device to dfuIDLE. Ends what a host before has left under way: that may be an exchange, of which nobody is told that its host is no more. What the device
/// does not let be ended it ends by itself.
///
/// # Errors
/// See [`Stop`].
pub fn make_ready(device: &mut dyn HostDevice, interfaces: Interfaces, cancel: &Cancel) -> Result<(), Stop> {
    match dfu::request_abort(device, &interfaces.dfu) {
        Ok(()) | Err(HostError::Stall) => {}
        Err(error) => return Err(error.into()),
    }
    dfu::make_ready(device, &interfaces.dfu, cancel)?;
    Ok(())
}

/// Offers a load to a device that is ready, with both interfaces claimed, and gives it what it asks for. When this returns nothing is in flight but what the other side of a
/// network did not give back.
///
/// # Errors
/// See [`Stop`].
pub fn exchange(
    device: &mut dyn HostDevice,
    interfaces: Interfaces,
    load: &Load,
    file: &mut dyn Source,
    limits: Limits,
    cancel: &Cancel,
    tell: &mut dyn FnMut(News),
) -> Result<Outcome, Stop> {
    let host = load.host(device.now(), limits, file)?;
    let mut exchange = Exchange {
        moved_at: device.now(),
        device: &mut *device,
        bulk: interfaces.bulk,
        host,
        outs: VecDeque::new(),
        ins: VecDeque::new(),
        rounds: 0,
        told: None,
    };
    let result = exchange.run(load, file, cancel, tell);
    exchange.take_back();
    let stop = match result {
        Ok(outcome) => return Ok(outcome),
        Err(stop) => stop,
    };
    let aborted = dfu::request_abort(device, &interfaces.dfu);
    Err(match stop {
        Stop::Cancelled { .. } => Stop::Cancelled { handed_over: aborted == Err(HostError::Stall) },
        other => other,
    })
}

struct Exchange<'a> {
    device: &'a mut dyn HostDevice,
    bulk: BulkInterface,
    host: Host,
    /// Transfers in flight, oldest first, and their lengths.
    outs: VecDeque<(TransferId, usize)>,
    ins: VecDeque<(TransferId, usize)>,
    /// When the last transfer ended, or the first was made.
    moved_at: Duration,
    /// NEEDs that were told.
    rounds: u32,
    /// What was told last of the way it goes.
    told: Option<(u64, u64)>,
}

impl Exchange<'_> {
    fn run(
        &mut self,
        load: &Load,
        file: &mut dyn Source,
        cancel: &Cancel,
        tell: &mut dyn FnMut(News),
    ) -> Result<Outcome, Stop> {
        loop {
            if let Some(outcome) = self.give_out(load, file)? {
                return Ok(outcome);
            }
            self.ask()?;
            let idle = !self.collect()?;
            self.tell(load, tell);
            if cancel.is_requested() {
                return Err(Stop::Cancelled { handed_over: false });
            }
            let now = self.device.now();
            self.host.handle_timeout(now)?;
            if !self.outs.is_empty() && now.saturating_sub(self.moved_at) >= PATIENCE {
                return Err(BulkError::TooSlow.into());
            }
            if idle {
                let due = self.host.poll_timeout().map_or(SLICE, |due| due.saturating_sub(now));
                self.device.wait(due.min(SLICE));
            }
        }
    }

    /// Makes the transfers that are due; the outcome, once there is one.
    fn give_out(&mut self, load: &Load, file: &mut dyn Source) -> Result<Option<Outcome>, Stop> {
        loop {
            let data = match self.host.poll_next()? {
                Next::Submit(data) => data,
                Next::Chunk { number, length, mut message } => {
                    let body = message
                        .get_mut(HEADER_LENGTH..)
                        .and_then(|body| body.get_mut(..usize::try_from(length).ok()?))
                        .ok_or(BulkError::Misuse("a chunk that its message has no room for"))?;
                    load.read(number, body, file).map_err(Stop::Read)?;
                    message
                }
                Next::Wait => return Ok(None),
                Next::Over(outcome) => return Ok(Some(outcome)),
            };
            if self.outs.is_empty() {
                self.moved_at = self.device.now();
            }
            let length = data.len();
            let id = self.device.submit(HostTransfer::BulkOut { endpoint: self.bulk.output, data })?;
            self.outs.push_back((id, length));
        }
    }

    /// Keeps one read posted, of what comes for certain.
    fn ask(&mut self) -> Result<(), Stop> {
        let length = self.host.expected();
        if self.ins.is_empty() && length > 0 {
            let id = self.device.submit(HostTransfer::BulkIn { endpoint: self.bulk.input, length })?;
            self.ins.push_back((id, length));
        }
        Ok(())
    }

    /// Takes what has ended; whether anything has.
    fn collect(&mut self) -> Result<bool, Stop> {
        let mut news = false;
        while let Some(completion) = self.device.poll() {
            news = true;
            let now = self.device.now();
            if let Some(length) = take(&mut self.outs, completion.id) {
                completion.result?;
                self.moved_at = now;
                if completion.length != length {
                    return Err(DeviceError::Transfer("it took a part of a transfer").into());
                }
                self.host.handle_sent(now, length);
            } else if let Some(length) = take(&mut self.ins, completion.id) {
                completion.result?;
                // It sends whole units, and was asked for no more than it sends for certain (bulk.md, 2).
                if completion.data.len() != length {
                    return Err(DeviceError::Transfer("it sent less than a unit").into());
                }
                self.host.handle_received(now, &completion.data)?;
            }
        }
        Ok(news)
    }

    fn tell(&mut self, load: &Load, tell: &mut dyn FnMut(News)) {
        let (rounds, total) = (self.host.rounds(), self.host.total());
        if let Some(asked) = self.host.asked().filter(|_| rounds > self.rounds) {
            let (chunks, bytes) = (asked.len(), asked.bytes(&load.lengths()));
            tell(News::Need { round: rounds - 1, chunks, bytes, total });
            self.rounds = rounds;
        }
        let sent = self.host.sent();
        if self.rounds > 0 && self.told != Some((sent, total)) {
            self.told = Some((sent, total));
            tell(News::Sent { sent, total });
        }
    }

    /// Takes back what is in flight, and waits until it has come, though not for ever.
    fn take_back(&mut self) {
        for (id, _) in self.outs.iter().chain(&self.ins) {
            self.device.cancel(*id);
        }
        let deadline = self.device.now().saturating_add(TAKE_BACK_LIMIT);
        while !(self.outs.is_empty() && self.ins.is_empty()) {
            match self.device.poll() {
                Some(completion) => {
                    let _ =
                        take(&mut self.outs, completion.id).or_else(|| take(&mut self.ins, completion.id));
                }
                None => {
                    let left = deadline.saturating_sub(self.device.now());
                    if left.is_zero() {
                        return;
                    }
                    self.device.wait(left);
                }
            }
        }
    }
}

/// Takes a transfer out of those in flight: its length.
fn take(flight: &mut VecDeque<(TransferId, usize)>, id: TransferId) -> Option<usize> {
    let position = flight.iter().position(|(other, _)| *other == id)?;
    flight.remove(position).map(|(_, length)| length)
}

#[cfg(test)]
mod tests;
