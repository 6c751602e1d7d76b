//! From whatever an earlier session left to dfuIDLE.

use core::time::Duration;

use inband_usb::HostError;

use super::{
    DfuInterface, Error, Expected, Limits, Misbehaviour, Step,
    ahead::Ahead,
    command,
    download::{Block, Progress},
    get_status, parse_status, poll_again, transfer_failed,
};
use crate::wire::{Request, State, Status};

/// How many CLRSTATUS and ABORT requests a device gets to come to dfuIDLE.
const MAX_ROUNDS: u8 = 4;

/// Begins with a device that shows its DFU-mode interface, claimed, with alternate setting 0.
pub fn open(now: Duration, interface: &DfuInterface, limits: Limits) -> Step {
    let deadline = now.saturating_add(limits.prepare);
    get_status(
        interface.number,
        Expected::InitialStatus(ExpectStatus {
            link: Link { interface: *interface, limits },
            deadline,
            rounds: 0,
            after: Request::GetStatus,
        }),
    )
}

/// What every state of a DFU-mode session knows.
#[derive(Clone, Copy, Debug)]
pub(super) struct Link {
    pub(super) interface: DfuInterface,
    pub(super) limits: Limits,
}

/// A device in dfuIDLE.
#[derive(Debug)]
#[must_use]
pub struct Ready {
    link: Link,
}

impl Ready {
    /// Begins a download of `total` bytes.
    ///
    /// # Errors
    /// [`Error::Misuse`] if there is nothing to send: DFU has no empty download.
    pub fn download(self, now: Duration, total: u64) -> Result<Step, Error> {
        Ok(Step::Block(Block::first(self.begin(now, total)?)))
    }

    /// Begins a download of `total` bytes towards a device that has said that it takes blocks ahead.
    ///
    /// # Errors
    /// As [`download`](Self::download).
    pub fn download_ahead(self, now: Duration, total: u64) -> Result<Ahead, Error> {
        Ok(Ahead::new(self.begin(now, total)?))
    }

    fn begin(self, now: Duration, total: u64) -> Result<Progress, Error> {
        if total == 0 {
            return Err(Error::Misuse("an empty file cannot be downloaded"));
        }
        Ok(Progress::new(self.link, now, total))
    }
}

#[derive(Debug)]
pub(super) struct ExpectStatus {
    link: Link,
    deadline: Duration,
    rounds: u8,
    after: Request,
}

impl ExpectStatus {
    pub(super) fn handle(self, now: Duration, reply: Result<&[u8], HostError>) -> Result<Step, Error> {
        let reply = reply.map_err(|error| transfer_failed(Request::GetStatus, error))?;
        let reply = parse_status(reply)?;
        match reply.state {
            State::DfuIdle if reply.status == Status::Ok => Ok(Step::Ready(Ready { link: self.link })),
            // ABORT sets the status to OK, and is at home in dfuIDLE; CLRSTATUS is not.
            State::DfuIdle | State::DfuDnloadIdle | State::DfuUploadIdle => {
                self.clear(Request::Abort, reply.state)
            }
            State::DfuError => self.clear(Request::ClrStatus, reply.state),
            // An earlier session's block or manifestation: it ends by itself.
            State::DfuDnloadSync | State::DfuDnbusy | State::DfuManifestSync | State::DfuManifest => {
                poll_again(
                    self.link.interface.number,
                    now,
                    self.deadline,
                    reply,
                    Expected::InitialStatus(self),
                )
            }
            // Nothing but a bus reset helps, which is not ours to decide.
            State::DfuManifestWaitReset => Err(Error::Refused {
                request: Request::GetStatus,
                status: Some(reply.status),
                state: Some(reply.state),
            }),
            state @ (State::AppIdle | State::AppDetach) => {
                Err(Error::PeerMisbehaved(Misbehaviour::State { state, after: self.after }))
            }
        }
    }

    fn clear(self, request: Request, state: State) -> Result<Step, Error> {
        if self.rounds == MAX_ROUNDS {
            return Err(Error::PeerMisbehaved(Misbehaviour::Stuck(state)));
        }
        let then = ExpectCleared { next: Self { rounds: self.rounds + 1, after: request, ..self }, request };
        Ok(command(then.next.link.interface.number, request, 0, Expected::Cleared(then)))
    }
}

#[derive(Debug)]
pub(super) struct ExpectCleared {
    next: ExpectStatus,
    request: Request,
}

impl ExpectCleared {
    pub(super) fn handle(self, reply: Result<&[u8], HostError>) -> Result<Step, Error> {
        match reply {
            // A refusal shows in the status, which is asked for anyway.
            Ok(_) | Err(HostError::Stall) => {
                Ok(get_status(self.next.link.interface.number, Expected::InitialStatus(self.next)))
            }
            Err(error) => Err(transfer_failed(self.request, error)),
        }
    }
}
