//! The transition table of DFU 1.1, appendix A, as one pure function.
//!
//! [`cell`] answers what happens to a request or an event in a state. `Mode::Strict` follows the letter of A.2. `Mode::Lenient`
//! differs only where a host tool in use needs it:
//!
//! | state | what | strict (A.2) | lenient | who needs it |
//! |---|---|---|---|---|
//! | dfuIDLE | DETACH | error | leave DFU mode | dfu-util `-e` and `-R`, fwupd; U-Boot's device does the same |
//! | dfuDNLOAD-SYNC, dfuMANIFEST-SYNC | ABORT | error | dfuIDLE, as figure A.1 has it | fwupd clears an interrupted session so |
//! | dfuDNLOAD-SYNC, dfuDNBUSY | DNLOAD with data | error | stalled, nothing changes | a host that sends a block ahead of the status of the one before, and sends it again then |
//! | dfuDNBUSY, dfuMANIFEST | GETSTATUS, GETSTATE | error | answered, as in the SYNC state | fwupd, which may poll on its own clock |
//! | dfuMANIFEST-WAIT-RESET | GETSTATUS, GETSTATE | no reaction | answered, state kept | dfu-util, which resets the bus once it is told this state, and calls a device that does not tell failed |
//! | any of 2 to 10 | bus reset | leave DFU mode | kept, a partial download dropped; left after an accepted image | Linux hosts reset more than once while they enumerate; fwupd resets to attach |
//! | dfuDNLOAD-SYNC, -DNBUSY, -IDLE, dfuUPLOAD-IDLE | SET_INTERFACE | kept | dfuIDLE | dfu-util begins every session with it and does not abort what a killed one left |
//!
//! In run-time mode GETSTATUS and GETSTATE are optional; both modes answer them, since fwupd asks.

use crate::wire::{Attributes, State, Status};

/// How literally the specification is taken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    /// As host tools need it.
    #[default]
    Lenient,
    /// The letter of A.2.
    Strict,
}

/// What can happen to the state machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stimulus {
    /// DFU_DETACH.
    Detach,
    /// DFU_DNLOAD with 1 to wTransferSize bytes.
    Download,
    /// DFU_DNLOAD without data.
    DownloadEnd,
    /// DFU_UPLOAD.
    Upload(Upload),
    /// DFU_GETSTATUS.
    GetStatus,
    /// DFU_CLRSTATUS.
    ClrStatus,
    /// DFU_GETSTATE.
    GetState,
    /// DFU_ABORT.
    Abort,
    /// Any other class request to the DFU interface: an unknown bRequest, the wrong direction, a length the request cannot have.
    Unknown,
    /// Bus reset, or unplug.
    BusReset,
    /// SET_INTERFACE, or SET_CONFIGURATION again.
    SetInterface,
    /// The time given in bwPollTimeout of a busy state has elapsed.
    PollTimeElapsed,
    /// The time between DETACH and the bus reset has elapsed.
    DetachTimeElapsed,
}

/// What an upload request asks for and gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Upload {
    /// As many bytes as asked for.
    Full,
    /// Fewer: the end of the upload.
    Short,
    /// wLength is 0.
    Empty,
}

/// How far a block, or the manifestation, is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// Not done.
    Busy,
    /// Done, and good.
    Done,
    /// Failed; the host learns it by GETSTATUS, or as its next request is refused.
    Failed(Status),
}

/// What the table needs to know besides the state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Conditions {
    /// What the functional descriptor promises.
    pub attributes: Attributes,
    /// `Some`: neither DETACH in run-time mode nor the first block of a download is taken; the status says why.
    pub refusal: Option<Status>,
    /// The number of the block is the one that has to come.
    pub in_sequence: bool,
    /// How the last block fares.
    pub block: Progress,
    /// The device expects no more data, and what it has is good.
    pub complete: bool,
    /// How the manifestation fares.
    pub manifestation: Progress,
    /// The last download was taken: its end was acknowledged and its manifestation has not failed.
    pub accepted: bool,
    /// There is a firmware to return to.
    pub firmware_valid: bool,
    /// In dfuDNBUSY and dfuMANIFEST: another door than DFU has the session.
    pub elsewhere: bool,
}

/// What happens to a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reaction {
    /// It is answered or acknowledged. Events that are no requests have this reaction too.
    Accept,
    /// STALL.
    Stall,
}

/// One cell of the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cell {
    /// What the host sees.
    pub reaction: Reaction,
    /// The state after it.
    pub next: State,
    /// The status to be entered; `None` keeps the one there is.
    pub status: Option<Status>,
}

/// The table. Rows are states, in the order of DFU 1.1, A.2.1 to A.2.11.
#[must_use]
pub fn cell(state: State, stimulus: Stimulus, mode: Mode, conditions: &Conditions) -> Cell {
    match state {
        State::AppIdle => app_idle(stimulus, conditions),
        State::AppDetach => app_detach(stimulus),
        State::DfuIdle => dfu_idle(stimulus, mode, conditions),
        State::DfuDnloadSync => dnload_sync(stimulus, mode, conditions),
        State::DfuDnbusy if conditions.elsewhere => elsewhere_receives(stimulus),
        State::DfuDnbusy => dnbusy(stimulus, mode, conditions),
        State::DfuDnloadIdle => dnload_idle(stimulus, mode, conditions),
        State::DfuManifestSync => manifest_sync(stimulus, mode, conditions),
        State::DfuManifest if conditions.elsewhere => elsewhere_works(stimulus),
        State::DfuManifest => manifest(stimulus, mode, conditions),
        State::DfuManifestWaitReset => manifest_wait_reset(stimulus, mode, conditions),
        State::DfuUploadIdle => upload_idle(stimulus, mode, conditions),
        State::DfuError => error(stimulus, mode, conditions),
    }
}

/// A.2.1. What DFU mode alone knows is stalled and changes nothing.
fn app_idle(stimulus: Stimulus, conditions: &Conditions) -> Cell {
    match stimulus {
        Stimulus::Detach if conditions.refusal.is_none() => accept(State::AppDetach),
        Stimulus::Detach
        | Stimulus::Download
        | Stimulus::DownloadEnd
        | Stimulus::Upload(_)
        | Stimulus::ClrStatus
        | Stimulus::Abort
        | Stimulus::Unknown => stall(State::AppIdle),
        Stimulus::GetStatus
        | Stimulus::GetState
        | Stimulus::BusReset
        | Stimulus::SetInterface
        | Stimulus::PollTimeElapsed
        | Stimulus::DetachTimeElapsed => accept(State::AppIdle),
    }
}

/// A.2.2.
fn app_detach(stimulus: Stimulus) -> Cell {
    match stimulus {
        Stimulus::Detach
        | Stimulus::Download
        | Stimulus::DownloadEnd
        | Stimulus::Upload(_)
        | Stimulus::ClrStatus
        | Stimulus::Abort
        | Stimulus::Unknown => stall(State::AppIdle),
        Stimulus::GetStatus | Stimulus::GetState | Stimulus::SetInterface | Stimulus::PollTimeElapsed => {
            accept(State::AppDetach)
        }
        Stimulus::BusReset => accept(State::DfuIdle),
        Stimulus::DetachTimeElapsed => accept(State::AppIdle),
    }
}

/// A.2.3.
fn dfu_idle(stimulus: Stimulus, mode: Mode, conditions: &Conditions) -> Cell {
    match stimulus {
        Stimulus::Detach => match mode {
            Mode::Lenient => accept(State::AppIdle),
            Mode::Strict => unexpected(),
        },
        Stimulus::Download if !conditions.attributes.can_download() => unexpected(),
        Stimulus::Download => match conditions.refusal {
            None => accept(State::DfuDnloadSync),
            Some(status) => fail(Reaction::Stall, status),
        },
        // A first block that is short ends the upload at once: the short-frame event of A.2.10 is about the same transfer.
        Stimulus::Upload(upload) if conditions.attributes.can_upload() => match upload {
            Upload::Full => accept(State::DfuUploadIdle),
            Upload::Short => accept(State::DfuIdle),
            Upload::Empty => unexpected(),
        },
        Stimulus::DownloadEnd | Stimulus::Upload(_) | Stimulus::ClrStatus | Stimulus::Unknown => unexpected(),
        Stimulus::Abort => Cell { status: Some(Status::Ok), ..accept(State::DfuIdle) },
        Stimulus::GetStatus
        | Stimulus::GetState
        | Stimulus::SetInterface
        | Stimulus::PollTimeElapsed
        | Stimulus::DetachTimeElapsed => accept(State::DfuIdle),
        Stimulus::BusReset => reset(State::DfuIdle, mode, conditions),
    }
}

/// A.2.4; dfuERROR by figure A.1 (any status but OK) and 6.1.3.
fn dnload_sync(stimulus: Stimulus, mode: Mode, conditions: &Conditions) -> Cell {
    match stimulus {
        Stimulus::GetStatus => match conditions.block {
            Progress::Busy => accept(State::DfuDnbusy),
            Progress::Done => accept(State::DfuDnloadIdle),
            Progress::Failed(status) => fail(Reaction::Accept, status),
        },
        Stimulus::Download => early_block(State::DfuDnloadSync, mode),
        Stimulus::Detach
        | Stimulus::DownloadEnd
        | Stimulus::Upload(_)
        | Stimulus::ClrStatus
        | Stimulus::Unknown => unexpected(),
        Stimulus::Abort => match mode {
            Mode::Lenient => abort(),
            Mode::Strict => unexpected(),
        },
        Stimulus::GetState | Stimulus::PollTimeElapsed | Stimulus::DetachTimeElapsed => {
            accept(State::DfuDnloadSync)
        }
        Stimulus::SetInterface => new_session(State::DfuDnloadSync, mode),
        Stimulus::BusReset => reset(State::DfuIdle, mode, conditions),
    }
}

/// A.2.5.
fn dnbusy(stimulus: Stimulus, mode: Mode, conditions: &Conditions) -> Cell {
    match stimulus {
        Stimulus::GetStatus => match mode {
            Mode::Lenient => dnload_sync(stimulus, mode, conditions),
            Mode::Strict => unexpected(),
        },
        Stimulus::GetState => match mode {
            Mode::Lenient => accept(State::DfuDnbusy),
            Mode::Strict => unexpected(),
        },
        Stimulus::Download => early_block(State::DfuDnbusy, mode),
        Stimulus::Detach
        | Stimulus::DownloadEnd
        | Stimulus::Upload(_)
        | Stimulus::ClrStatus
        | Stimulus::Abort
        | Stimulus::Unknown => unexpected(),
        Stimulus::PollTimeElapsed => accept(State::DfuDnloadSync),
        Stimulus::DetachTimeElapsed => accept(State::DfuDnbusy),
        Stimulus::SetInterface => new_session(State::DfuDnbusy, mode),
        Stimulus::BusReset => reset(State::DfuIdle, mode, conditions),
    }
}

/// A.2.6; dfuERROR at GETSTATUS by figure A.1.
fn dnload_idle(stimulus: Stimulus, mode: Mode, conditions: &Conditions) -> Cell {
    match stimulus {
        Stimulus::Download => match conditions.block {
            Progress::Failed(status) => fail(Reaction::Stall, status),
            Progress::Busy | Progress::Done if conditions.in_sequence => accept(State::DfuDnloadSync),
            Progress::Busy | Progress::Done => fail(Reaction::Stall, Status::ErrAddress),
        },
        Stimulus::DownloadEnd => match conditions.block {
            Progress::Failed(status) => fail(Reaction::Stall, status),
            Progress::Busy | Progress::Done if conditions.complete => accept(State::DfuManifestSync),
            Progress::Busy | Progress::Done => fail(Reaction::Stall, Status::ErrNotDone),
        },
        Stimulus::GetStatus => match conditions.block {
            Progress::Failed(status) => fail(Reaction::Accept, status),
            Progress::Busy | Progress::Done => accept(State::DfuDnloadIdle),
        },
        Stimulus::Detach | Stimulus::Upload(_) | Stimulus::ClrStatus | Stimulus::Unknown => unexpected(),
        Stimulus::GetState | Stimulus::PollTimeElapsed | Stimulus::DetachTimeElapsed => {
            accept(State::DfuDnloadIdle)
        }
        Stimulus::Abort => abort(),
        Stimulus::SetInterface => new_session(State::DfuDnloadIdle, mode),
        Stimulus::BusReset => reset(State::DfuIdle, mode, conditions),
    }
}

/// A.2.7; dfuERROR by figure A.1 and 6.1.3. A device that is not manifestation tolerant always goes through dfuMANIFEST.
fn manifest_sync(stimulus: Stimulus, mode: Mode, conditions: &Conditions) -> Cell {
    match stimulus {
        Stimulus::GetStatus => match conditions.manifestation {
            Progress::Done if conditions.attributes.manifestation_tolerant() => accept(State::DfuIdle),
            Progress::Busy | Progress::Done => accept(State::DfuManifest),
            Progress::Failed(status) => fail(Reaction::Accept, status),
        },
        Stimulus::Detach
        | Stimulus::Download
        | Stimulus::DownloadEnd
        | Stimulus::Upload(_)
        | Stimulus::ClrStatus
        | Stimulus::Unknown => unexpected(),
        Stimulus::Abort => match mode {
            Mode::Lenient => abort(),
            Mode::Strict => unexpected(),
        },
        Stimulus::GetState
        | Stimulus::SetInterface
        | Stimulus::PollTimeElapsed
        | Stimulus::DetachTimeElapsed => accept(State::DfuManifestSync),
        Stimulus::BusReset => reset(State::DfuManifestSync, mode, conditions),
    }
}

/// A.2.8.
fn manifest(stimulus: Stimulus, mode: Mode, conditions: &Conditions) -> Cell {
    match stimulus {
        Stimulus::GetStatus => match mode {
            Mode::Lenient => manifest_sync(stimulus, mode, conditions),
            Mode::Strict => unexpected(),
        },
        Stimulus::GetState => match mode {
            Mode::Lenient => accept(State::DfuManifest),
            Mode::Strict => unexpected(),
        },
        Stimulus::Detach
        | Stimulus::Download
        | Stimulus::DownloadEnd
        | Stimulus::Upload(_)
        | Stimulus::ClrStatus
        | Stimulus::Abort
        | Stimulus::Unknown => unexpected(),
        Stimulus::PollTimeElapsed if conditions.attributes.manifestation_tolerant() => {
            accept(State::DfuManifestSync)
        }
        Stimulus::PollTimeElapsed => accept(State::DfuManifestWaitReset),
        Stimulus::SetInterface | Stimulus::DetachTimeElapsed => accept(State::DfuManifest),
        Stimulus::BusReset => reset(State::DfuManifest, mode, conditions),
    }
}

/// A.2.9: no reaction to any request, and never an error. A control transfer has to end somehow, so "no reaction" is a STALL that
/// changes nothing.
fn manifest_wait_reset(stimulus: Stimulus, mode: Mode, conditions: &Conditions) -> Cell {
    match stimulus {
        Stimulus::GetStatus | Stimulus::GetState => match mode {
            Mode::Lenient => accept(State::DfuManifestWaitReset),
            Mode::Strict => stall(State::DfuManifestWaitReset),
        },
        Stimulus::Detach
        | Stimulus::Download
        | Stimulus::DownloadEnd
        | Stimulus::Upload(_)
        | Stimulus::ClrStatus
        | Stimulus::Abort
        | Stimulus::Unknown => stall(State::DfuManifestWaitReset),
        Stimulus::SetInterface | Stimulus::PollTimeElapsed | Stimulus::DetachTimeElapsed => {
            accept(State::DfuManifestWaitReset)
        }
        Stimulus::BusReset => reset(State::DfuManifestWaitReset, mode, conditions),
    }
}

/// A.2.10.
fn upload_idle(stimulus: Stimulus, mode: Mode, conditions: &Conditions) -> Cell {
    match stimulus {
        Stimulus::Upload(Upload::Full) => accept(State::DfuUploadIdle),
        Stimulus::Upload(Upload::Short) => accept(State::DfuIdle),
        Stimulus::Detach
        | Stimulus::Download
        | Stimulus::DownloadEnd
        | Stimulus::Upload(Upload::Empty)
        | Stimulus::ClrStatus
        | Stimulus::Unknown => unexpected(),
        Stimulus::GetStatus
        | Stimulus::GetState
        | Stimulus::PollTimeElapsed
        | Stimulus::DetachTimeElapsed => accept(State::DfuUploadIdle),
        Stimulus::Abort => abort(),
        Stimulus::SetInterface => new_session(State::DfuUploadIdle, mode),
        Stimulus::BusReset => reset(State::DfuIdle, mode, conditions),
    }
}

/// A.2.11. What is not expected here keeps the **first** status, the one that tells what went wrong; the specification is silent.
fn error(stimulus: Stimulus, mode: Mode, conditions: &Conditions) -> Cell {
    match stimulus {
        Stimulus::Detach
        | Stimulus::Download
        | Stimulus::DownloadEnd
        | Stimulus::Upload(_)
        | Stimulus::Abort
        | Stimulus::Unknown => stall(State::DfuError),
        Stimulus::ClrStatus => Cell { status: Some(Status::Ok), ..accept(State::DfuIdle) },
        Stimulus::GetStatus
        | Stimulus::GetState
        | Stimulus::SetInterface
        | Stimulus::PollTimeElapsed
        | Stimulus::DetachTimeElapsed => accept(State::DfuError),
        Stimulus::BusReset => reset(State::DfuError, mode, conditions),
    }
}

/// dfuDNBUSY because another door takes a package (docs/spec/bulk.md, 5), which only the lenient mode has: the host may end that, and nothing
/// of DFU's disturbs it.
fn elsewhere_receives(stimulus: Stimulus) -> Cell {
    match stimulus {
        Stimulus::Detach => accept(State::AppIdle),
        Stimulus::Abort | Stimulus::SetInterface => abort(),
        Stimulus::BusReset => accept(State::DfuIdle),
        Stimulus::GetStatus
        | Stimulus::GetState
        | Stimulus::PollTimeElapsed
        | Stimulus::DetachTimeElapsed => accept(State::DfuDnbusy),
        Stimulus::Download
        | Stimulus::DownloadEnd
        | Stimulus::Upload(_)
        | Stimulus::ClrStatus
        | Stimulus::Unknown => stall(State::DfuDnbusy),
    }
}

/// dfuMANIFEST because another door has given a package up: the host can change nothing any more.
fn elsewhere_works(stimulus: Stimulus) -> Cell {
    match stimulus {
        Stimulus::GetStatus
        | Stimulus::GetState
        | Stimulus::BusReset
        | Stimulus::SetInterface
        | Stimulus::PollTimeElapsed
        | Stimulus::DetachTimeElapsed => accept(State::DfuManifest),
        Stimulus::Detach
        | Stimulus::Download
        | Stimulus::DownloadEnd
        | Stimulus::Upload(_)
        | Stimulus::ClrStatus
        | Stimulus::Abort
        | Stimulus::Unknown => stall(State::DfuManifest),
    }
}

fn accept(next: State) -> Cell {
    Cell { reaction: Reaction::Accept, next, status: None }
}

fn stall(next: State) -> Cell {
    Cell { reaction: Reaction::Stall, next, status: None }
}

/// "Any other request" of A.2: STALL and dfuERROR. The tables name no code; this is the one defined for it (6.1.2).
fn unexpected() -> Cell {
    fail(Reaction::Stall, Status::ErrStalledPacket)
}

fn fail(reaction: Reaction, status: Status) -> Cell {
    Cell { reaction, next: State::DfuError, status: Some(status) }
}

/// ABORT out of a transfer; it sets the status to OK as well (6.1.4).
fn abort() -> Cell {
    Cell { status: Some(Status::Ok), ..accept(State::DfuIdle) }
}

/// A block before the one in hand was reported as taken.
fn early_block(state: State, mode: Mode) -> Cell {
    match mode {
        Mode::Lenient => stall(state),
        Mode::Strict => unexpected(),
    }
}

/// SET_INTERFACE while data moves.
fn new_session(state: State, mode: Mode) -> Cell {
    match mode {
        Mode::Lenient => abort(),
        Mode::Strict => accept(state),
    }
}

/// A bus reset in DFU mode; `kept` is where the lenient mode stays when no image was accepted.
fn reset(kept: State, mode: Mode, conditions: &Conditions) -> Cell {
    match mode {
        Mode::Strict if !conditions.firmware_valid => fail(Reaction::Accept, Status::ErrFirmware),
        Mode::Strict => leave(),
        // Waiting for this reset is all the state is for.
        Mode::Lenient if conditions.accepted || kept == State::DfuManifestWaitReset => leave(),
        Mode::Lenient => accept(kept),
    }
}

/// Back to run-time mode, where the status is OK.
fn leave() -> Cell {
    Cell { status: Some(Status::Ok), ..accept(State::AppIdle) }
}
