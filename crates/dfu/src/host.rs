//! The host's side: detach, clean-up and download as states that are types, so that a wrong order does not compile.
//!
//! Nothing here does I/O. Each [`Step`] says what to do and holds what comes after it:
//!
//! 1. [`find_dfu_interface`] tells what an opened device offers.
//! 2. In run-time mode: [`detach()`] until [`Step::Detached`]; then follow the device by its port.
//! 3. In DFU mode: [`open`] until [`Step::Ready`], [`Ready::download`], a [`Block`] at a time, until [`Step::Downloaded`]; or, towards a
//!    device that says it allows that, [`Ready::download_ahead`] and two blocks at a time, until [`Next::Over`].
//!
//! **The device is not trusted.** Replies have exactly the length the specification gives, unknown numbers are errors, every loop is
//! bounded in rounds or by [`Limits`], and no bwPollTimeout is waited for longer than [`POLL_LIMIT`].

mod ahead;
mod detach;
mod download;
mod interface;
mod prepare;

use alloc::vec::Vec;
use core::time::Duration;

use inband_usb::{Direction, HostError, HostTransfer, Setup};

pub use ahead::{Ahead, Next};
pub use detach::detach;
pub use download::{Block, End};
pub use interface::{DfuInterface, FindError, InterfaceMode, find_dfu_interface};
pub use prepare::{Ready, open};

use crate::wire::{ParseError, Request, State, Status, StatusReply};

/// The longest bwPollTimeout that is waited for in one go; a larger one is cut to this.
pub const POLL_LIMIT: Duration = Duration::from_secs(10);
/// The shortest wait between two polls of a busy device, so that one that says 0 is not flooded.
const POLL_LEAST: Duration = Duration::from_millis(1);

/// How long a device may take. A device that takes longer is given up with [`Error::TooSlow`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// To come to dfuIDLE at the start.
    pub prepare: Duration,
    /// For one block.
    pub block: Duration,
    /// For all blocks together.
    pub download: Duration,
    /// From the end of the data to the end of the manifestation.
    pub manifestation: Duration,
}

impl Default for Limits {
    /// 10 s, 2 min (as fwupd), 2 h, 10 min.
    fn default() -> Self {
        Self {
            prepare: Duration::from_secs(10),
            block: Duration::from_secs(120),
            download: Duration::from_secs(7200),
            manifestation: Duration::from_secs(600),
        }
    }
}

/// A control transfer to be made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Transfer {
    /// The request.
    pub setup: Setup,
    /// The data stage to the device: wLength bytes, or empty for an IN request.
    pub data: Vec<u8>,
}

impl From<Transfer> for HostTransfer {
    fn from(transfer: Transfer) -> Self {
        match transfer.setup.direction() {
            Direction::Out => Self::ControlOut { setup: transfer.setup, data: transfer.data },
            Direction::In => Self::ControlIn { setup: transfer.setup },
        }
    }
}

/// What to do next.
#[derive(Debug)]
#[must_use]
pub enum Step {
    /// Make this transfer, and give its end to the [`Expect`]. A few seconds are enough for any of them.
    Request(Transfer, Expect),
    /// Wait so long, then [`Pause::resume`].
    Wait(Duration, Pause),
    /// DETACH has been taken. The device leaves the bus and comes back in DFU mode.
    Detached {
        /// bitWillDetach is clear: reset the bus now. If it is set, do not.
        bus_reset: bool,
    },
    /// The device is in dfuIDLE.
    Ready(Ready),
    /// Give the next block.
    Block(Block),
    /// The device has taken the download and says that all went well.
    Downloaded(End),
}

/// Waits for the end of a transfer.
#[derive(Debug)]
#[must_use]
pub struct Expect(Expected);

#[derive(Debug)]
enum Expected {
    RuntimeStatus(detach::ExpectStatus),
    Detached(detach::ExpectDetached),
    InitialStatus(prepare::ExpectStatus),
    Cleared(prepare::ExpectCleared),
    BlockTaken(download::ExpectBlockTaken),
    BlockStatus(download::ExpectBlockStatus),
    EndTaken(download::ExpectEndTaken),
    EndStatus(download::ExpectEndStatus),
    Reason(ExpectReason),
}

impl Expect {
    /// Takes the end of the transfer: for IN requests the bytes received, for others anything.
    ///
    /// # Errors
    /// See [`Error`]. The sequence is over then; the device is left as it is.
    pub fn handle(self, now: Duration, reply: Result<&[u8], HostError>) -> Result<Step, Error> {
        match self.0 {
            Expected::RuntimeStatus(state) => state.handle(reply),
            Expected::Detached(state) => state.handle(reply),
            Expected::InitialStatus(state) => state.handle(now, reply),
            Expected::Cleared(state) => state.handle(reply),
            Expected::BlockTaken(state) => state.handle(reply),
            Expected::BlockStatus(state) => state.handle(now, reply),
            Expected::EndTaken(state) => state.handle(reply),
            Expected::EndStatus(state) => state.handle(now, reply),
            Expected::Reason(state) => state.handle(reply),
        }
    }
}

/// A wait before the next poll.
#[derive(Debug)]
#[must_use]
pub struct Pause {
    interface: u8,
    then: Expected,
}

impl Pause {
    /// Goes on after the wait.
    pub fn resume(self) -> Step {
        get_status(self.interface, self.then)
    }
}

/// Why a sequence ended, by who is to blame.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The device said no.
    #[error("the device refused {request}{}", Reason(*status))]
    Refused {
        /// What it refused, or reported as failed.
        request: Request,
        /// Why, if it said so.
        status: Option<Status>,
        /// Its state then, if it said so.
        state: Option<State>,
    },
    /// The device broke the protocol.
    #[error("the device broke the DFU protocol: {0}")]
    PeerMisbehaved(Misbehaviour),
    /// The device left the bus where it should have stayed.
    #[error("the device is gone")]
    Gone,
    /// A transfer was cancelled by the caller's timeout.
    #[error("the device did not answer {0} in time")]
    NoAnswer(Request),
    /// The device answers, but makes no progress within [`Limits`].
    #[error("the device made no progress in state {0}")]
    TooSlow(State),
    /// The caller is wrong.
    #[error("{0}")]
    Misuse(&'static str),
    /// The host's USB.
    #[error(transparent)]
    Usb(HostError),
}

/// How a device broke the protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Misbehaviour {
    /// A reply that is not what the specification says.
    #[error("{0}")]
    Reply(ParseError),
    /// More bytes than were asked for.
    #[error("it sent more than was asked for")]
    Overflow,
    /// A state the device cannot be in.
    #[error("it reports {state} after {after}")]
    State {
        /// The state it reports.
        state: State,
        /// The request it last took.
        after: Request,
    },
    /// It does not come to dfuIDLE, however often it is asked to.
    #[error("it stays in {0}")]
    Stuck(State),
}

/// ": errX, meaning", if there is something to tell.
struct Reason(Option<Status>);

impl core::fmt::Display for Reason {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self.0 {
            None | Some(Status::Ok) => Ok(()),
            Some(status) => write!(f, ": {status}, {}", status.meaning()),
        }
    }
}

/// A device has refused a request by STALL; its status may tell why.
#[derive(Debug)]
struct ExpectReason {
    request: Request,
}

impl ExpectReason {
    fn ask(interface: u8, request: Request) -> Step {
        get_status(interface, Expected::Reason(Self { request }))
    }

    fn handle(self, reply: Result<&[u8], HostError>) -> Result<Step, Error> {
        let request = self.request;
        match reply {
            Err(HostError::Gone) => Err(Error::Gone),
            Err(_) => Err(Error::Refused { request, status: None, state: None }),
            Ok(bytes) => {
                let reply = parse_status(bytes)?;
                Err(Error::Refused { request, status: Some(reply.status), state: Some(reply.state) })
            }
        }
    }
}

fn get_status(interface: u8, then: Expected) -> Step {
    Step::Request(status_transfer(interface), Expect(then))
}

fn status_transfer(interface: u8) -> Transfer {
    let setup = Request::GetStatus.setup(interface, 0, StatusReply::LEN as u16);
    Transfer { setup, data: Vec::new() }
}

/// A request without a data stage.
fn command(interface: u8, request: Request, value: u16, then: Expected) -> Step {
    Step::Request(Transfer { setup: request.setup(interface, value, 0), data: Vec::new() }, Expect(then))
}

fn parse_status(bytes: &[u8]) -> Result<StatusReply, Error> {
    StatusReply::parse(bytes).map_err(|error| Error::PeerMisbehaved(Misbehaviour::Reply(error)))
}

/// The meaning of a failed transfer where no failure has a meaning of its own.
fn transfer_failed(request: Request, error: HostError) -> Error {
    match error {
        HostError::Stall => Error::Refused { request, status: None, state: None },
        HostError::Cancelled => Error::NoAnswer(request),
        HostError::Gone => Error::Gone,
        HostError::Overflow => Error::PeerMisbehaved(Misbehaviour::Overflow),
        HostError::Busy | HostError::Permission | HostError::Misuse(_) | HostError::Other(_) => {
            Error::Usb(error)
        }
    }
}

/// Waits as a busy device asks for, within bounds, and polls again with what comes `then`.
fn poll_again(
    interface: u8,
    now: Duration,
    deadline: Duration,
    reply: StatusReply,
    then: Expected,
) -> Result<Step, Error> {
    let left = deadline.saturating_sub(now);
    if left.is_zero() {
        return Err(Error::TooSlow(reply.state));
    }
    Ok(Step::Wait(asked_wait(reply).min(left), Pause { interface, then }))
}

/// The wait that a busy device asks for, within bounds.
fn asked_wait(reply: StatusReply) -> Duration {
    Duration::from_millis(u64::from(reply.poll_timeout_ms)).clamp(POLL_LEAST, POLL_LIMIT)
}
