//! The download: blocks, the end of the data, the manifestation.

use alloc::vec::Vec;
use core::time::Duration;

use inband_usb::HostError;

use super::{
    Error, Expect, ExpectReason, Expected, Misbehaviour, Step, Transfer, get_status, parse_status,
    poll_again, prepare::Link, transfer_failed,
};
use crate::wire::{Request, State, Status, StatusReply};

/// What the device does after a download it has taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// It is in dfuIDLE again, and leaves DFU mode by itself, at DETACH or at a bus reset.
    Idle,
    /// It waits for a bus reset.
    WantsReset,
    /// It has left DFU mode, or the bus, while it manifested. It has not said how that went: ask it when it is back.
    Left,
}

/// The device waits for a block.
#[derive(Debug)]
#[must_use]
pub struct Block {
    transfer: Progress,
}

/// What the download knows between requests.
#[derive(Clone, Copy, Debug)]
pub(super) struct Progress {
    link: Link,
    pub(super) total: u64,
    pub(super) sent: u64,
    /// wBlockNum of the next block; wraps.
    pub(super) number: u16,
    /// When all blocks have to be there.
    pub(super) deadline: Duration,
    /// When the present request was given out.
    pub(super) since: Duration,
}

impl Block {
    pub(super) const fn first(transfer: Progress) -> Self {
        Self { transfer }
    }

    /// Bytes the block has: wTransferSize, or what is left.
    #[must_use]
    pub fn length(&self) -> usize {
        self.transfer.block_length(self.transfer.sent)
    }

    /// Bytes the device has taken so far.
    #[must_use]
    pub const fn sent(&self) -> u64 {
        self.transfer.sent
    }

    /// Gives the block: the next [`length`](Self::length) bytes of the file.
    ///
    /// # Errors
    /// [`Error::Misuse`] for another length; [`Error::TooSlow`] if the blocks so far took too long.
    pub fn send(self, now: Duration, data: Vec<u8>) -> Result<Step, Error> {
        if data.len() != self.length() {
            return Err(Error::Misuse("a block has exactly the length that was asked for"));
        }
        let progress = self.transfer;
        if now > progress.deadline {
            return Err(Error::TooSlow(State::DfuDnloadIdle));
        }
        let sent = progress.sent.saturating_add(data.len() as u64);
        let next = Progress { sent, since: now, ..progress };
        Ok(next.dnload(data, Expected::BlockTaken(ExpectBlockTaken { progress: next })))
    }
}

impl Progress {
    pub(super) fn new(link: Link, now: Duration, total: u64) -> Self {
        let deadline = now.saturating_add(link.limits.download);
        Self { link, total, sent: 0, number: 0, deadline, since: now }
    }

    /// Bytes of the block at this place of the file.
    pub(super) fn block_length(&self, at: u64) -> usize {
        let left = self.total.saturating_sub(at);
        let size = self.link.interface.block_size();
        u16::try_from(left).map_or(usize::from(size), |left| usize::from(left.min(size)))
    }

    /// When the block in hand has to be taken.
    pub(super) const fn block_deadline(&self) -> Duration {
        self.since.saturating_add(self.link.limits.block)
    }

    pub(super) fn dnload_transfer(&self, number: u16, data: Vec<u8>) -> Transfer {
        let length = u16::try_from(data.len()).unwrap_or(u16::MAX);
        Transfer { setup: Request::Dnload.setup(self.link.interface.number, number, length), data }
    }

    fn dnload(&self, data: Vec<u8>, then: Expected) -> Step {
        Step::Request(self.dnload_transfer(self.number, data), Expect(then))
    }

    /// The empty block.
    pub(super) fn end(&self) -> Step {
        self.dnload(Vec::new(), Expected::EndTaken(ExpectEndTaken { progress: *self }))
    }

    fn get_status(&self, then: Expected) -> Step {
        get_status(self.link.interface.number, then)
    }

    fn refused(&self) -> Step {
        ExpectReason::ask(self.link.interface.number, Request::Dnload)
    }
}

#[derive(Debug)]
pub(super) struct ExpectBlockTaken {
    progress: Progress,
}

impl ExpectBlockTaken {
    pub(super) fn handle(self, reply: Result<&[u8], HostError>) -> Result<Step, Error> {
        let progress = self.progress;
        match reply {
            // The wait a device asks for with dfuDNLOAD-IDLE is about this moment (6.1.2). It is not waited for, as in dfu-util:
            // a device that is not done says so, and then the wait it asks for is honoured.
            Ok(_) => Ok(progress.get_status(Expected::BlockStatus(ExpectBlockStatus { progress }))),
            Err(HostError::Stall) => Ok(progress.refused()),
            Err(error) => Err(transfer_failed(Request::Dnload, error)),
        }
    }
}

#[derive(Debug)]
pub(super) struct ExpectBlockStatus {
    progress: Progress,
}

impl ExpectBlockStatus {
    pub(super) fn handle(self, now: Duration, reply: Result<&[u8], HostError>) -> Result<Step, Error> {
        let progress = self.progress;
        let reply = checked(reply)?;
        match block_state(reply.state)? {
            BlockState::Taken => {
                let next = Progress { number: progress.number.wrapping_add(1), since: now, ..progress };
                if next.sent < next.total {
                    Ok(Step::Block(Block { transfer: next }))
                } else {
                    Ok(next.end())
                }
            }
            BlockState::Busy => {
                let deadline = progress.block_deadline();
                poll_again(progress.link.interface.number, now, deadline, reply, Expected::BlockStatus(self))
            }
        }
    }
}

/// What the status after a block says of it.
pub(super) enum BlockState {
    /// The device has taken it and waits for the next one.
    Taken,
    /// The device is at work on it.
    Busy,
}

/// Any other state is none that a block leads to.
pub(super) fn block_state(state: State) -> Result<BlockState, Error> {
    match state {
        State::DfuDnloadIdle => Ok(BlockState::Taken),
        State::DfuDnloadSync | State::DfuDnbusy => Ok(BlockState::Busy),
        State::AppIdle
        | State::AppDetach
        | State::DfuIdle
        | State::DfuManifestSync
        | State::DfuManifest
        | State::DfuManifestWaitReset
        | State::DfuUploadIdle
        | State::DfuError => Err(unexpected(state)),
    }
}

#[derive(Debug)]
pub(super) struct ExpectEndTaken {
    progress: Progress,
}

impl ExpectEndTaken {
    pub(super) fn handle(self, reply: Result<&[u8], HostError>) -> Result<Step, Error> {
        let progress = self.progress;
        match reply {
            Ok(_) => Ok(progress.get_status(Expected::EndStatus(ExpectEndStatus { progress }))),
            Err(HostError::Stall) => Ok(progress.refused()),
            Err(error) => Err(transfer_failed(Request::Dnload, error)),
        }
    }
}

#[derive(Debug)]
pub(super) struct ExpectEndStatus {
    progress: Progress,
}

impl ExpectEndStatus {
    pub(super) fn handle(self, now: Duration, reply: Result<&[u8], HostError>) -> Result<Step, Error> {
        let progress = self.progress;
        if matches!(reply, Err(HostError::Gone)) {
            // Devices that are not manifestation tolerant may leave without a word.
            return Ok(Step::Downloaded(End::Left));
        }
        let reply = checked(reply)?;
        match reply.state {
            State::DfuIdle => Ok(Step::Downloaded(End::Idle)),
            State::DfuManifestWaitReset => Ok(Step::Downloaded(End::WantsReset)),
            State::AppIdle | State::AppDetach => Ok(Step::Downloaded(End::Left)),
            State::DfuManifestSync | State::DfuManifest => {
                let deadline = progress.since.saturating_add(progress.link.limits.manifestation);
                poll_again(progress.link.interface.number, now, deadline, reply, Expected::EndStatus(self))
            }
            state @ (State::DfuDnloadSync
            | State::DfuDnbusy
            | State::DfuDnloadIdle
            | State::DfuUploadIdle
            | State::DfuError) => Err(unexpected(state)),
        }
    }
}

/// GETSTATUS of a download.
pub(super) fn status_transfer(progress: &Progress) -> Transfer {
    super::status_transfer(progress.link.interface.number)
}

/// A status reply that reports no error.
pub(super) fn checked(reply: Result<&[u8], HostError>) -> Result<StatusReply, Error> {
    let reply = reply.map_err(|error| transfer_failed(Request::GetStatus, error))?;
    let reply = parse_status(reply)?;
    if reply.status != Status::Ok || reply.state == State::DfuError {
        return Err(Error::Refused {
            request: Request::Dnload,
            status: Some(reply.status),
            state: Some(reply.state),
        });
    }
    Ok(reply)
}

fn unexpected(state: State) -> Error {
    Error::PeerMisbehaved(Misbehaviour::State { state, after: Request::Dnload })
}
