//! A download towards a device that takes a block ahead of the status of the one before (docs/spec/dfu.md, 1.4): while the device works on
//! one block and its status is on the way, the next is with the host's controller already.

use alloc::{collections::VecDeque, vec::Vec};
use core::time::Duration;

use inband_usb::HostError;

use super::{
    Error, Step, Transfer, asked_wait,
    download::{BlockState, Progress, block_state, checked, status_transfer},
    transfer_failed,
};
use crate::wire::{Request, State, Status};

/// Blocks whose status is not known, at most.
const BLOCKS: usize = 2;

/// The blocks of a download, two at a time. What [`next`](Self::next) says is done, and the ends of the transfers are given to
/// [`handle`](Self::handle) in the order in which they were submitted.
#[derive(Debug)]
pub struct Ahead {
    /// Of the next new block; what counts as sent are the blocks that the device said it has taken.
    progress: Progress,
    /// Bytes given out at least once.
    given: u64,
    /// Transfers that have not ended, oldest first.
    flight: VecDeque<InFlight>,
    /// Bytes of blocks that were acknowledged, and whose status said nothing yet.
    unsure: u64,
    /// The block before the status that is due next was stalled.
    stalled: Option<Refused>,
    /// A block was given out, and its GETSTATUS was not.
    status_due: bool,
    pace: Pace,
    /// A block that came too early, to be given out anew.
    again: Option<Refused>,
}

/// A block that the device did not take.
#[derive(Debug)]
struct Refused {
    number: u16,
    data: Vec<u8>,
}

#[derive(Clone, Copy, Debug)]
enum InFlight {
    Block { number: u16, length: u64 },
    Status,
}

/// Whether the device keeps up.
#[derive(Clone, Copy, Debug)]
enum Pace {
    /// It said so, or said nothing yet.
    Ready,
    /// It asked for this wait.
    Busy(Duration),
    /// The wait is over.
    Waited,
    /// It was asked again.
    Asked,
}

/// What to do next in a download with blocks ahead.
#[derive(Debug)]
#[must_use]
pub enum Next {
    /// Give the next so many bytes of the file to [`Ahead::block`].
    Block(usize),
    /// Submit this transfer.
    Submit(Transfer),
    /// Wait for the end of the oldest transfer, and give it to [`Ahead::handle`].
    Collect,
    /// Wait so long.
    Wait(Duration),
    /// All blocks are taken, and nothing is in flight: this ends the download.
    Over(Step),
}

impl Ahead {
    pub(super) fn new(progress: Progress) -> Self {
        Self {
            progress,
            given: 0,
            flight: VecDeque::new(),
            unsure: 0,
            stalled: None,
            status_due: false,
            pace: Pace::Ready,
            again: None,
        }
    }

    /// Bytes the device has taken so far.
    #[must_use]
    pub const fn sent(&self) -> u64 {
        self.progress.sent
    }

    /// Whether the last byte was given out.
    #[must_use]
    pub const fn is_given(&self) -> bool {
        self.given == self.progress.total
    }

    /// What to do next.
    ///
    /// # Errors
    /// [`Error::TooSlow`].
    pub fn next(&mut self, now: Duration) -> Result<Next, Error> {
        if self.status_due {
            self.status_due = false;
            return Ok(self.ask());
        }
        match self.pace {
            Pace::Busy(wait) if self.flight.is_empty() => {
                let left = self.progress.block_deadline().saturating_sub(now);
                if left.is_zero() {
                    return Err(Error::TooSlow(State::DfuDnbusy));
                }
                self.pace = Pace::Waited;
                Ok(Next::Wait(wait.min(left)))
            }
            Pace::Waited => {
                self.pace = Pace::Asked;
                Ok(self.ask())
            }
            Pace::Busy(_) | Pace::Asked => Ok(Next::Collect),
            Pace::Ready => self.go_on(now),
        }
    }

    /// The device keeps up.
    fn go_on(&mut self, now: Duration) -> Result<Next, Error> {
        // Until the first block was taken nobody knows how the device fares: it may have to look at it for long.
        let most = if self.progress.sent == 0 { 1 } else { BLOCKS };
        let open = self.flight.iter().filter(|it| matches!(it, InFlight::Status)).count();
        let more = self.again.is_some() || !self.is_given();
        if more && open < most {
            if now > self.progress.deadline {
                return Err(Error::TooSlow(State::DfuDnloadIdle));
            }
            if let Some(Refused { number, data }) = self.again.take() {
                return Ok(Next::Submit(self.dnload(number, data)));
            }
            return Ok(Next::Block(self.progress.block_length(self.given)));
        }
        if self.flight.is_empty() { Ok(Next::Over(self.progress.end())) } else { Ok(Next::Collect) }
    }

    /// Takes the bytes that [`Next::Block`] asked for, and says what to submit.
    ///
    /// # Errors
    /// [`Error::Misuse`] for another length.
    pub fn block(&mut self, data: Vec<u8>) -> Result<Transfer, Error> {
        if data.len() != self.progress.block_length(self.given) || self.again.is_some() {
            return Err(Error::Misuse("a block has exactly the length that was asked for"));
        }
        self.given = self.given.saturating_add(data.len() as u64);
        let number = self.progress.number;
        self.progress.number = number.wrapping_add(1);
        Ok(self.dnload(number, data))
    }

    /// Takes the end of the oldest transfer; `data` is for an IN request what came, for another one the bytes that it was given.
    ///
    /// # Errors
    /// See [`Error`]; [`Error::Misuse`] if a block that was stalled does not come back. Transfers may be in flight still, whose ends mean nothing any more.
    pub fn handle(
        &mut self,
        now: Duration,
        data: Vec<u8>,
        result: Result<(), HostError>,
    ) -> Result<(), Error> {
        match self.flight.pop_front() {
            None => Err(Error::Misuse("no transfer is in flight")),
            Some(InFlight::Block { number, length }) => match result {
                Ok(()) => {
                    self.unsure = self.unsure.saturating_add(length);
                    Ok(())
                }
                // A shorter one would be taken, for the device knows no lengths.
                Err(HostError::Stall) if data.len() as u64 != length => {
                    Err(Error::Misuse("a block that was stalled comes back as it was given"))
                }
                Err(HostError::Stall) => {
                    self.stalled = Some(Refused { number, data });
                    Ok(())
                }
                Err(error) => Err(transfer_failed(Request::Dnload, error)),
            },
            Some(InFlight::Status) => self.status(now, result.map(|()| data.as_slice())),
        }
    }

    fn status(&mut self, now: Duration, reply: Result<&[u8], HostError>) -> Result<(), Error> {
        let was_busy = matches!(self.pace, Pace::Busy(_));
        let reply = checked(reply)?;
        match self.stalled.take() {
            // It came while the device was at work on the one before, and changed nothing.
            Some(refused) if was_busy => self.again = Some(refused),
            Some(_) => {
                let (status, state) = (Some(Status::Ok), Some(reply.state));
                return Err(Error::Refused { request: Request::Dnload, status, state });
            }
            None => {}
        }
        match block_state(reply.state)? {
            BlockState::Taken => {
                self.progress.sent = self.progress.sent.saturating_add(self.unsure);
                self.progress.since = now;
                self.unsure = 0;
                self.pace = Pace::Ready;
            }
            BlockState::Busy => self.pace = Pace::Busy(asked_wait(reply)),
        }
        Ok(())
    }

    fn dnload(&mut self, number: u16, data: Vec<u8>) -> Transfer {
        self.flight.push_back(InFlight::Block { number, length: data.len() as u64 });
        self.status_due = true;
        self.progress.dnload_transfer(number, data)
    }

    fn ask(&mut self) -> Next {
        self.flight.push_back(InFlight::Status);
        Next::Submit(status_transfer(&self.progress))
    }
}
