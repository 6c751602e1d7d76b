//! Every cell of the transition table, strict and lenient, against the rows of DFU 1.1, A.2.

use Stimulus::{
    Abort, BusReset, ClrStatus, Detach, DetachTimeElapsed, Download, DownloadEnd, GetState, GetStatus,
    PollTimeElapsed, SetInterface, Unknown,
};
use inband_dfu::{
    table::{Cell, Conditions, Mode, Progress, Reaction, Stimulus, Upload, cell},
    wire::{Attributes, State, Status},
};

const FULL: Stimulus = Stimulus::Upload(Upload::Full);
const SHORT: Stimulus = Stimulus::Upload(Upload::Short);
const EMPTY: Stimulus = Stimulus::Upload(Upload::Empty);

const STIMULI: [Stimulus; 15] = [
    Detach,
    Download,
    DownloadEnd,
    FULL,
    SHORT,
    EMPTY,
    GetStatus,
    ClrStatus,
    GetState,
    Abort,
    Unknown,
    BusReset,
    SetInterface,
    PollTimeElapsed,
    DetachTimeElapsed,
];

/// Our device, all well: the last block is done, nothing more is expected, the manifestation is done.
const WELL: Conditions = Conditions {
    attributes: Attributes::OURS,
    refusal: None,
    in_sequence: true,
    block: Progress::Done,
    complete: true,
    manifestation: Progress::Done,
    accepted: false,
    firmware_valid: true,
    elsewhere: false,
};

/// What a cell of the table says.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Is {
    /// Answered, and this state.
    To(State),
    /// As `To`, and the status becomes OK.
    Clear(State),
    /// STALL, dfuERROR, this status.
    X(Status),
    /// Answered, dfuERROR, this status.
    Failed(Status),
    /// STALL, and this state; the status stays.
    Stall(State),
}

/// "Any other request": STALL and dfuERROR.
const X: Is = Is::X(Status::ErrStalledPacket);

impl Is {
    fn cell(self) -> Cell {
        let (reaction, next, status) = match self {
            Self::To(state) => (Reaction::Accept, state, None),
            Self::Clear(state) => (Reaction::Accept, state, Some(Status::Ok)),
            Self::X(status) => (Reaction::Stall, State::DfuError, Some(status)),
            Self::Failed(status) => (Reaction::Accept, State::DfuError, Some(status)),
            Self::Stall(state) => (Reaction::Stall, state, None),
        };
        Cell { reaction, next, status }
    }
}

/// Compares one cell in one mode.
#[track_caller]
fn check(state: State, stimulus: Stimulus, mode: Mode, conditions: &Conditions, expected: Is) {
    let found = cell(state, stimulus, mode, conditions);
    assert_eq!(found, expected.cell(), "{state} at {stimulus:?}, {mode:?}, {conditions:?}");
}

#[track_caller]
fn both(state: State, stimulus: Stimulus, conditions: &Conditions, expected: Is) {
    for mode in [Mode::Strict, Mode::Lenient] {
        check(state, stimulus, mode, conditions, expected);
    }
}

/// Checks a whole row under [`WELL`]: what A.2 says, then what the lenient mode does otherwise. Every stimulus has to be there.
#[track_caller]
fn row(state: State, strict: &[(&[Stimulus], Is)], deviations: &[(Stimulus, Is)]) {
    for stimulus in STIMULI {
        let mut said = strict.iter().filter(|(stimuli, _)| stimuli.contains(&stimulus));
        let &(_, expected) = said.next().expect("every stimulus is in the row");
        assert!(said.next().is_none(), "{stimulus:?} is in the row twice");
        check(state, stimulus, Mode::Strict, &WELL, expected);
        let lenient = deviations.iter().find(|(other, _)| *other == stimulus);
        let expected = lenient.map_or(expected, |(_, deviation)| {
            assert_ne!(*deviation, expected, "no deviation");
            *deviation
        });
        check(state, stimulus, Mode::Lenient, &WELL, expected);
    }
}

// DFU 1.1, A.2.1: appIDLE.

#[test]
fn a_2_1_app_idle() {
    let stay = Is::To(State::AppIdle);
    row(
        State::AppIdle,
        &[
            (&[Detach], Is::To(State::AppDetach)),
            (
                &[Download, DownloadEnd, FULL, SHORT, EMPTY, ClrStatus, Abort, Unknown],
                Is::Stall(State::AppIdle),
            ),
            // Optional in run-time mode (table 3.2); ours answers.
            (&[GetStatus, GetState], stay),
            (&[BusReset, SetInterface, PollTimeElapsed, DetachTimeElapsed], stay),
        ],
        &[],
    );
}

/// The door's policy; A.2.1 allows any request to be stalled without an effect.
#[test]
fn a_2_1_app_idle_detach_refused() {
    let refused = Conditions { refusal: Some(Status::ErrVendor), ..WELL };
    both(State::AppIdle, Detach, &refused, Is::Stall(State::AppIdle));
}

// DFU 1.1, A.2.2: appDETACH.

#[test]
fn a_2_2_app_detach() {
    let stay = Is::To(State::AppDetach);
    row(
        State::AppDetach,
        &[
            (
                &[Detach, Download, DownloadEnd, FULL, SHORT, EMPTY, ClrStatus, Abort, Unknown],
                Is::Stall(State::AppIdle),
            ),
            (&[GetStatus, GetState], stay),
            (&[BusReset], Is::To(State::DfuIdle)),
            (&[DetachTimeElapsed], Is::To(State::AppIdle)),
            (&[SetInterface, PollTimeElapsed], stay),
        ],
        &[],
    );
}

// DFU 1.1, A.2.3: dfuIDLE.

#[test]
fn a_2_3_dfu_idle() {
    let stay = Is::To(State::DfuIdle);
    row(
        State::DfuIdle,
        &[
            (&[Download], Is::To(State::DfuDnloadSync)),
            (&[Detach, DownloadEnd, FULL, SHORT, EMPTY, ClrStatus, Unknown], X),
            (&[GetStatus, GetState], stay),
            // 6.1.4: ABORT sets the status to OK.
            (&[Abort], Is::Clear(State::DfuIdle)),
            (&[BusReset], Is::Clear(State::AppIdle)),
            (&[SetInterface, PollTimeElapsed, DetachTimeElapsed], stay),
        ],
        &[
            // dfu-util -e and -R, fwupd.
            (Detach, Is::To(State::AppIdle)),
            // Linux hosts reset more than once while they enumerate.
            (BusReset, stay),
        ],
    );
}

/// "... and bitCanDnload = 0".
#[test]
fn a_2_3_dfu_idle_download_without_the_attribute() {
    both(State::DfuIdle, Download, &Conditions { attributes: Attributes(0x0c), ..WELL }, X);
}

/// The door's policy: the status says why.
#[test]
fn a_2_3_dfu_idle_download_refused() {
    let refused = Conditions { refusal: Some(Status::ErrTarget), ..WELL };
    both(State::DfuIdle, Download, &refused, Is::X(Status::ErrTarget));
}

/// The first block's number is free (6.1.1 prescribes none).
#[test]
fn a_2_3_dfu_idle_any_first_block_number() {
    let jump = Conditions { in_sequence: false, ..WELL };
    both(State::DfuIdle, Download, &jump, Is::To(State::DfuDnloadSync));
}

/// "... and bitCanUpload = 1"; a first block that is short is the short frame of A.2.10 as well.
#[test]
fn a_2_3_dfu_idle_upload_with_the_attribute() {
    let uploads = Conditions { attributes: Attributes(0x0f), ..WELL };
    both(State::DfuIdle, FULL, &uploads, Is::To(State::DfuUploadIdle));
    both(State::DfuIdle, SHORT, &uploads, Is::To(State::DfuIdle));
    both(State::DfuIdle, EMPTY, &uploads, X);
}

// DFU 1.1, A.2.4: dfuDNLOAD-SYNC.

#[test]
fn a_2_4_dnload_sync() {
    let stay = Is::To(State::DfuDnloadSync);
    row(
        State::DfuDnloadSync,
        &[
            (&[GetStatus], Is::To(State::DfuDnloadIdle)),
            (&[GetState], stay),
            (&[Detach, Download, DownloadEnd, FULL, SHORT, EMPTY, ClrStatus, Abort, Unknown], X),
            (&[BusReset], Is::Clear(State::AppIdle)),
            (&[SetInterface, PollTimeElapsed, DetachTimeElapsed], stay),
        ],
        &[
            // Sent ahead of the status; it will be sent again.
            (Download, Is::Stall(State::DfuDnloadSync)),
            // Figure A.1; fwupd.
            (Abort, Is::Clear(State::DfuIdle)),
            (BusReset, Is::To(State::DfuIdle)),
            // dfu-util begins a session so.
            (SetInterface, Is::Clear(State::DfuIdle)),
        ],
    );
}

#[test]
fn a_2_4_dnload_sync_block_in_progress() {
    let busy = Conditions { block: Progress::Busy, ..WELL };
    both(State::DfuDnloadSync, GetStatus, &busy, Is::To(State::DfuDnbusy));
}

/// Figure A.1, "any status but OK", and 6.1.3.
#[test]
fn figure_a_1_dnload_sync_block_failed() {
    let failed = Conditions { block: Progress::Failed(Status::ErrVerify), ..WELL };
    both(State::DfuDnloadSync, GetStatus, &failed, Is::Failed(Status::ErrVerify));
}

// DFU 1.1, A.2.5: dfuDNBUSY.

#[test]
fn a_2_5_dnbusy() {
    let stay = Is::To(State::DfuDnbusy);
    row(
        State::DfuDnbusy,
        &[
            (
                &[
                    Detach,
                    Download,
                    DownloadEnd,
                    FULL,
                    SHORT,
                    EMPTY,
                    GetStatus,
                    ClrStatus,
                    GetState,
                    Abort,
                    Unknown,
                ],
                X,
            ),
            (&[PollTimeElapsed], Is::To(State::DfuDnloadSync)),
            (&[BusReset], Is::Clear(State::AppIdle)),
            (&[SetInterface, DetachTimeElapsed], stay),
        ],
        &[
            // Sent ahead of the status; it will be sent again.
            (Download, Is::Stall(State::DfuDnbusy)),
            // fwupd polls on its own clock: the answer is that of dfuDNLOAD-SYNC.
            (GetStatus, Is::To(State::DfuDnloadIdle)),
            (GetState, stay),
            (BusReset, Is::To(State::DfuIdle)),
            (SetInterface, Is::Clear(State::DfuIdle)),
        ],
    );
}

#[test]
fn a_2_5_dnbusy_lenient_status_while_in_progress_or_failed() {
    let busy = Conditions { block: Progress::Busy, ..WELL };
    check(State::DfuDnbusy, GetStatus, Mode::Lenient, &busy, Is::To(State::DfuDnbusy));
    check(State::DfuDnbusy, GetStatus, Mode::Strict, &busy, X);
    let failed = Conditions { block: Progress::Failed(Status::ErrWrite), ..WELL };
    check(State::DfuDnbusy, GetStatus, Mode::Lenient, &failed, Is::Failed(Status::ErrWrite));
    check(State::DfuDnbusy, GetStatus, Mode::Strict, &failed, X);
}

// DFU 1.1, A.2.6: dfuDNLOAD-IDLE.

#[test]
fn a_2_6_dnload_idle() {
    let stay = Is::To(State::DfuDnloadIdle);
    row(
        State::DfuDnloadIdle,
        &[
            (&[Download], Is::To(State::DfuDnloadSync)),
            (&[DownloadEnd], Is::To(State::DfuManifestSync)),
            (&[GetStatus, GetState], stay),
            (&[Detach, FULL, SHORT, EMPTY, ClrStatus, Unknown], X),
            (&[Abort], Is::Clear(State::DfuIdle)),
            (&[BusReset], Is::Clear(State::AppIdle)),
            (&[SetInterface, PollTimeElapsed, DetachTimeElapsed], stay),
        ],
        &[(BusReset, Is::To(State::DfuIdle)), (SetInterface, Is::Clear(State::DfuIdle))],
    );
}

/// "... device disagrees": errNOTDONE (6.1.2).
#[test]
fn a_2_6_dnload_idle_end_too_early() {
    let incomplete = Conditions { complete: false, ..WELL };
    both(State::DfuDnloadIdle, DownloadEnd, &incomplete, Is::X(Status::ErrNotDone));
}

/// 6.1.1: the block number is incremented for each block; our decision to insist.
#[test]
fn block_6_1_1_dnload_idle_number_out_of_sequence() {
    let jump = Conditions { in_sequence: false, ..WELL };
    both(State::DfuDnloadIdle, Download, &jump, Is::X(Status::ErrAddress));
    // The end of the data has no block number that matters.
    both(State::DfuDnloadIdle, DownloadEnd, &jump, Is::To(State::DfuManifestSync));
}

/// Figure A.1, "any status but OK": the download failed after the last status was told.
#[test]
fn figure_a_1_dnload_idle_failed_meanwhile() {
    let failed = Conditions { block: Progress::Failed(Status::ErrFile), ..WELL };
    both(State::DfuDnloadIdle, GetStatus, &failed, Is::Failed(Status::ErrFile));
    both(State::DfuDnloadIdle, Download, &failed, Is::X(Status::ErrFile));
    both(State::DfuDnloadIdle, DownloadEnd, &failed, Is::X(Status::ErrFile));
    both(State::DfuDnloadIdle, GetState, &failed, Is::To(State::DfuDnloadIdle));
}

// DFU 1.1, A.2.7: dfuMANIFEST-SYNC.

#[test]
fn a_2_7_manifest_sync() {
    let stay = Is::To(State::DfuManifestSync);
    row(
        State::DfuManifestSync,
        &[
            // Done and manifestation tolerant.
            (&[GetStatus], Is::To(State::DfuIdle)),
            (&[GetState], stay),
            (&[Detach, Download, DownloadEnd, FULL, SHORT, EMPTY, ClrStatus, Abort, Unknown], X),
            (&[BusReset], Is::Clear(State::AppIdle)),
            (&[SetInterface, PollTimeElapsed, DetachTimeElapsed], stay),
        ],
        &[
            (Abort, Is::Clear(State::DfuIdle)),
            // Not accepted: `reset_after_an_accepted_image` has the usual case.
            (BusReset, stay),
        ],
    );
}

#[test]
fn a_2_7_manifest_sync_in_progress_or_not_tolerant() {
    let busy = Conditions { manifestation: Progress::Busy, ..WELL };
    both(State::DfuManifestSync, GetStatus, &busy, Is::To(State::DfuManifest));
    let intolerant = Conditions { attributes: Attributes(0x09), ..WELL };
    both(State::DfuManifestSync, GetStatus, &intolerant, Is::To(State::DfuManifest));
}

/// Figure A.1 and 6.1.3.
#[test]
fn figure_a_1_manifest_sync_failed() {
    let failed = Conditions { manifestation: Progress::Failed(Status::ErrProg), ..WELL };
    both(State::DfuManifestSync, GetStatus, &failed, Is::Failed(Status::ErrProg));
}

// DFU 1.1, A.2.8: dfuMANIFEST.

#[test]
fn a_2_8_manifest() {
    let stay = Is::To(State::DfuManifest);
    row(
        State::DfuManifest,
        &[
            (
                &[
                    Detach,
                    Download,
                    DownloadEnd,
                    FULL,
                    SHORT,
                    EMPTY,
                    GetStatus,
                    ClrStatus,
                    GetState,
                    Abort,
                    Unknown,
                ],
                X,
            ),
            (&[PollTimeElapsed], Is::To(State::DfuManifestSync)),
            (&[BusReset], Is::Clear(State::AppIdle)),
            (&[SetInterface, DetachTimeElapsed], stay),
        ],
        &[(GetStatus, Is::To(State::DfuIdle)), (GetState, stay), (BusReset, stay)],
    );
}

#[test]
fn a_2_8_manifest_not_tolerant() {
    let intolerant = Conditions { attributes: Attributes(0x09), ..WELL };
    both(State::DfuManifest, PollTimeElapsed, &intolerant, Is::To(State::DfuManifestWaitReset));
}

#[test]
fn a_2_8_manifest_lenient_status_while_in_progress_or_failed() {
    let busy = Conditions { manifestation: Progress::Busy, ..WELL };
    check(State::DfuManifest, GetStatus, Mode::Lenient, &busy, Is::To(State::DfuManifest));
    check(State::DfuManifest, GetStatus, Mode::Strict, &busy, X);
    let failed = Conditions { manifestation: Progress::Failed(Status::ErrProg), ..WELL };
    check(State::DfuManifest, GetStatus, Mode::Lenient, &failed, Is::Failed(Status::ErrProg));
    check(State::DfuManifest, GetStatus, Mode::Strict, &failed, X);
}

// DFU 1.1, A.2.9: dfuMANIFEST-WAIT-RESET.

#[test]
fn a_2_9_manifest_wait_reset() {
    let stay = Is::To(State::DfuManifestWaitReset);
    row(
        State::DfuManifestWaitReset,
        &[
            // "No reaction", and never an error.
            (
                &[
                    Detach,
                    Download,
                    DownloadEnd,
                    FULL,
                    SHORT,
                    EMPTY,
                    GetStatus,
                    ClrStatus,
                    GetState,
                    Abort,
                    Unknown,
                ],
                Is::Stall(State::DfuManifestWaitReset),
            ),
            (&[BusReset], Is::Clear(State::AppIdle)),
            (&[SetInterface, PollTimeElapsed, DetachTimeElapsed], stay),
        ],
        &[(GetStatus, stay), (GetState, stay)],
    );
}

// DFU 1.1, A.2.10: dfuUPLOAD-IDLE.

#[test]
fn a_2_10_upload_idle() {
    let stay = Is::To(State::DfuUploadIdle);
    row(
        State::DfuUploadIdle,
        &[
            (&[FULL], stay),
            (&[SHORT], Is::To(State::DfuIdle)),
            (&[EMPTY], X),
            (&[GetStatus, GetState], stay),
            (&[Detach, Download, DownloadEnd, ClrStatus, Unknown], X),
            (&[Abort], Is::Clear(State::DfuIdle)),
            (&[BusReset], Is::Clear(State::AppIdle)),
            (&[SetInterface, PollTimeElapsed, DetachTimeElapsed], stay),
        ],
        &[(BusReset, Is::To(State::DfuIdle)), (SetInterface, Is::Clear(State::DfuIdle))],
    );
}

// DFU 1.1, A.2.11: dfuERROR.

#[test]
fn a_2_11_error() {
    let stay = Is::To(State::DfuError);
    row(
        State::DfuError,
        &[
            (&[ClrStatus], Is::Clear(State::DfuIdle)),
            (&[GetStatus, GetState], stay),
            // The first status is kept.
            (
                &[Detach, Download, DownloadEnd, FULL, SHORT, EMPTY, Abort, Unknown],
                Is::Stall(State::DfuError),
            ),
            (&[BusReset], Is::Clear(State::AppIdle)),
            (&[SetInterface, PollTimeElapsed, DetachTimeElapsed], stay),
        ],
        &[(BusReset, stay)],
    );
}

// Bus reset, the same in A.2.3 to A.2.11.

const DFU_MODE: [State; 9] = [
    State::DfuIdle,
    State::DfuDnloadSync,
    State::DfuDnbusy,
    State::DfuDnloadIdle,
    State::DfuManifestSync,
    State::DfuManifest,
    State::DfuManifestWaitReset,
    State::DfuUploadIdle,
    State::DfuError,
];

#[test]
fn a_2_reset_with_corrupt_firmware() {
    let corrupt = Conditions { firmware_valid: false, ..WELL };
    for state in DFU_MODE {
        check(state, BusReset, Mode::Strict, &corrupt, Is::Failed(Status::ErrFirmware));
    }
}

/// Section 7: after a download a reset brings back the run-time set, also in the middle of the manifestation (fwupd resets then).
#[test]
fn reset_after_an_accepted_image() {
    for manifestation in [Progress::Busy, Progress::Done] {
        let accepted = Conditions { accepted: true, manifestation, ..WELL };
        for state in DFU_MODE {
            both(state, BusReset, &accepted, Is::Clear(State::AppIdle));
        }
    }
}
