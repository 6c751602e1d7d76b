//! Results (docs/spec/results.md): one number for the log, the status, DFU, JSON and exit codes.

use core::fmt;

use inband_package::openbmc::{self, StageError};
use inband_package::{Refusal, reader};
use inband_store::StoreError;
use inband_store::medium::{MediumError, MediumErrorKind};

use crate::pipeline::source::Fault;

/// How a session ended, or why something was refused. The numbers are wire format: a number never changes its meaning and
/// is never used again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u16)]
pub enum ResultCode {
    /// `none`: no session has ended yet.
    None = 0,
    /// `ok`: staged, or running and confirmed.
    Ok = 1,
    /// `bad-archive`: a tar header, its padding or its end is not as docs/spec/package.md says.
    BadArchive = 16,
    /// `bad-head`: not an Inband package, or of a format this BMC does not know.
    BadHead = 17,
    /// `bad-index`: the index does not match the head, or breaks its own rules.
    BadIndex = 18,
    /// `bad-signature`: a signature does not verify.
    BadSignature = 19,
    /// `unknown-key`: a signature of a key, kind or scheme this BMC does not accept, or of a revoked key, or a required one
    /// is missing.
    UnknownKey = 20,
    /// `wrong-machine`: made for another board.
    WrongMachine = 21,
    /// `old-security-version`: below the BMC's security floor.
    OldSecurityVersion = 22,
    /// `bad-chunk`: bytes that do not match their signed hash.
    BadChunk = 23,
    /// `too-large`: larger than the BMC, its slot or a region can take.
    TooLarge = 24,
    /// `unmapped-member`: an image, or a target, the BMC has no region for.
    UnmappedMember = 25,
    /// `truncated`: ended before its announced length.
    Truncated = 26,
    /// `trailing-bytes`: bytes behind the announced end.
    TrailingBytes = 27,
    /// `missing-member`: an image that this BMC needs is not in the package.
    MissingMember = 28,
    /// `same-version`: this version runs already, and the BMC is not to take it again.
    SameVersion = 29,
    /// `downgrade`: older than what runs, and the BMC is not to go back.
    Downgrade = 30,
    /// `incompatible`: it has none of the compatible names that the BMC asks for.
    Incompatible = 31,
    /// `door-shut`: the door is off or not armed.
    DoorShut = 32,
    /// `busy`: another session owns the BMC.
    Busy = 33,
    /// `on-trial`: the running firmware is not confirmed yet; the other slot is the one that saves.
    OnTrial = 34,
    /// `locked-out`: too many packages in a row were refused; the host has to wait.
    LockedOut = 35,
    /// `worn`: the day's budget of sessions or slot rewrites is used up.
    Worn = 36,
    /// `refused-member`: an image that must not be updated on this BMC.
    RefusedMember = 40,
    /// `unindexed`: a firmware tar without an Inband head, and none is taken here.
    Unindexed = 41,
    /// `bad-manifest`: the MANIFEST of a firmware tar is not as docs/spec/openbmc.md says.
    BadManifest = 42,
    /// `wrong-purpose`: a firmware tar that is not for the BMC.
    WrongPurpose = 43,
    /// `bad-encoding`: an image of a firmware tar is not encoded as its region says.
    BadEncoding = 44,
    /// `unexpected-package`: another package than the start announced.
    UnexpectedPackage = 45,
    /// `aborted`: the host ended the session (DFU_ABORT, DFU_CLRSTATUS, DETACH), or somebody on the BMC did.
    Aborted = 48,
    /// `disconnected`: unplug or bus reset in the middle.
    Disconnected = 49,
    /// `timeout`: no progress for too long, or past the session's deadline.
    Timeout = 50,
    /// `interrupted`: the daemon or the BMC restarted in the middle.
    Interrupted = 51,
    /// `sequence`: blocks missing, repeated or out of order.
    Sequence = 52,
    /// `protocol`: the host broke the bulk protocol.
    Protocol = 53,
    /// `no-file`: there is no FIRMWARE.BIN on the volume.
    NoFile = 54,
    /// `incomplete`: the host has not written all of the package to the volume.
    Incomplete = 55,
    /// `bad-volume`: the volume was formatted anew, or its FAT is in disorder.
    BadVolume = 56,
    /// `write-failed`: the slot could not be written.
    WriteFailed = 64,
    /// `readback-mismatch`: the slot does not hold what was written to it.
    ReadbackMismatch = 65,
    /// `store-failed`: the store's own record could not be read or written.
    StoreFailed = 66,
    /// `no-space`: no room to take the package.
    NoSpace = 67,
    /// `rolled-back`: the new firmware never became healthy; the old one runs.
    RolledBack = 80,
    /// `unhealthy`: the new firmware came up and its health command did not pass in time.
    Unhealthy = 81,
    /// `internal`: a fault of inbandd's own; its log says more.
    Internal = 96,
}

/// bStatus values (DFU 1.1, 6.1.2).
mod b_status {
    pub(super) const OK: u8 = 0x00;
    pub(super) const ERR_TARGET: u8 = 0x01;
    pub(super) const ERR_FILE: u8 = 0x02;
    pub(super) const ERR_WRITE: u8 = 0x03;
    pub(super) const ERR_VERIFY: u8 = 0x07;
    pub(super) const ERR_ADDRESS: u8 = 0x08;
    pub(super) const ERR_NOTDONE: u8 = 0x09;
    pub(super) const ERR_FIRMWARE: u8 = 0x0a;
    pub(super) const ERR_VENDOR: u8 = 0x0b;
    pub(super) const ERR_USBR: u8 = 0x0c;
    pub(super) const ERR_POR: u8 = 0x0d;
    pub(super) const ERR_UNKNOWN: u8 = 0x0e;
}

/// A row of the table of results.
struct Row {
    name: &'static str,
    b_status: u8,
    exit: u8,
    meaning: &'static str,
    advice: &'static str,
}

/// Writes a row in one line.
const fn row(name: &'static str, b_status: u8, exit: u8, meaning: &'static str, advice: &'static str) -> Row {
    Row { name, b_status, exit, meaning, advice }
}

impl ResultCode {
    /// All results, in the order of their numbers.
    pub const ALL: [Self; 45] = [
        Self::None,
        Self::Ok,
        Self::BadArchive,
        Self::BadHead,
        Self::BadIndex,
        Self::BadSignature,
        Self::UnknownKey,
        Self::WrongMachine,
        Self::OldSecurityVersion,
        Self::BadChunk,
        Self::TooLarge,
        Self::UnmappedMember,
        Self::Truncated,
        Self::TrailingBytes,
        Self::MissingMember,
        Self::SameVersion,
        Self::Downgrade,
        Self::Incompatible,
        Self::DoorShut,
        Self::Busy,
        Self::OnTrial,
        Self::LockedOut,
        Self::Worn,
        Self::RefusedMember,
        Self::Unindexed,
        Self::BadManifest,
        Self::WrongPurpose,
        Self::BadEncoding,
        Self::UnexpectedPackage,
        Self::Aborted,
        Self::Disconnected,
        Self::Timeout,
        Self::Interrupted,
        Self::Sequence,
        Self::Protocol,
        Self::NoFile,
        Self::Incomplete,
        Self::BadVolume,
        Self::WriteFailed,
        Self::ReadbackMismatch,
        Self::StoreFailed,
        Self::NoSpace,
        Self::RolledBack,
        Self::Unhealthy,
        Self::Internal,
    ];

    /// The number.
    #[must_use]
    pub const fn code(self) -> u16 {
        self as u16
    }

    /// The result with that number; `None` for one that this version does not know.
    #[must_use]
    pub fn from_code(code: u16) -> Option<Self> {
        Self::ALL.into_iter().find(|result| result.code() == code)
    }

    /// The name, as in logs and JSON.
    #[must_use]
    pub const fn name(self) -> &'static str {
        self.row().name
    }

    /// bStatus that tells a DFU host (DFU 1.1, 6.1.2).
    #[must_use]
    pub const fn b_status(self) -> u8 {
        self.row().b_status
    }

    /// Exit code of `inband update` on this result.
    #[must_use]
    pub const fn exit_code(self) -> u8 {
        self.row().exit
    }

    /// What it means, in one line without a full stop.
    #[must_use]
    pub const fn meaning(self) -> &'static str {
        self.row().meaning
    }

    /// What to do next, in one line without a full stop.
    #[must_use]
    pub const fn advice(self) -> &'static str {
        self.row().advice
    }

    /// Whether a session with this result took no harm: the number is below 16.
    #[must_use]
    pub const fn is_ok(self) -> bool {
        self.code() < 16
    }

    /// Whether a package was looked at and refused: the numbers 16 to 31 and 40 to 47. Enough of them in a row lock the host out.
    #[must_use]
    pub const fn is_refusal(self) -> bool {
        matches!(self.code(), 16..=31 | 40..=47)
    }

    const fn row(self) -> Row {
        use b_status::*;
        match self {
            Self::None => {
                row("none", OK, 0, "no session has ended yet", "send a package with `inband update`")
            }
            Self::Ok => row(
                "ok",
                OK,
                0,
                "staged, or running and confirmed",
                "restart the BMC to run it, if it does not do so by itself",
            ),
            Self::BadArchive => row(
                "bad-archive",
                ERR_FILE,
                6,
                "a tar header, its padding or its end is not as docs/spec/package.md says",
                "send the file exactly as `inband pack` made it; check it with `inband verify`",
            ),
            Self::BadHead => row(
                "bad-head",
                ERR_FILE,
                6,
                "not an Inband package, or of a format this BMC does not know",
                "take a package that `inband pack` made, of a format version that the BMC knows",
            ),
            Self::BadIndex => row(
                "bad-index",
                ERR_FILE,
                6,
                "the index does not match the head, or breaks its own rules",
                "send the file exactly as it was made; check it with `inband verify`",
            ),
            Self::BadSignature => row(
                "bad-signature",
                ERR_VERIFY,
                6,
                "a signature does not verify",
                "get the package anew from its maker; `inband inspect` shows whether it was signed at all",
            ),
            Self::UnknownKey => row(
                "unknown-key",
                ERR_VERIFY,
                6,
                "a signature of a key, kind or scheme this BMC does not accept, or of a revoked key, or a required one is missing",
                "sign with the keys this BMC accepts, or install the maker's public key on the BMC",
            ),
            Self::WrongMachine => row(
                "wrong-machine",
                ERR_TARGET,
                6,
                "made for another board",
                "get the package for this board; `inband list` shows its name",
            ),
            Self::OldSecurityVersion => row(
                "old-security-version",
                ERR_FILE,
                6,
                "below the BMC's security floor",
                "use a newer package; this BMC does not go back",
            ),
            Self::BadChunk => row(
                "bad-chunk",
                ERR_VERIFY,
                6,
                "bytes that do not match their signed hash",
                "send it again; if it happens again, get the package anew",
            ),
            Self::TooLarge => row(
                "too-large",
                ERR_ADDRESS,
                6,
                "larger than the BMC, its slot or a region can take",
                "use a package that fits, or give the slot more room in the layout",
            ),
            Self::UnmappedMember => row(
                "unmapped-member",
                ERR_FILE,
                6,
                "an image, or a target, the BMC has no region for",
                "leave the image out of the package, or give it a region in the BMC's layout",
            ),
            Self::Truncated => row(
                "truncated",
                ERR_NOTDONE,
                6,
                "ended before its announced length",
                "send it again, the whole file",
            ),
            Self::TrailingBytes => row(
                "trailing-bytes",
                ERR_FILE,
                6,
                "bytes behind the announced end",
                "send the file exactly as it was made, with nothing behind it",
            ),
            Self::MissingMember => row(
                "missing-member",
                ERR_FILE,
                6,
                "an image that this BMC needs is not in the package",
                "use a package that holds all of this BMC's images",
            ),
            Self::SameVersion => row(
                "same-version",
                ERR_FILE,
                6,
                "this version runs already, and the BMC is not to take it again",
                "nothing needs to be done; if it has to be sent anyway: policy.same_version in the configuration of inbandd",
            ),
            Self::Downgrade => row(
                "downgrade",
                ERR_FILE,
                6,
                "older than what runs, and the BMC is not to go back",
                "use a newer package; `inband status` shows what runs",
            ),
            Self::Incompatible => row(
                "incompatible",
                ERR_TARGET,
                6,
                "it has none of the compatible names that the BMC asks for",
                "get the package for this system; `inband inspect` shows what a package is for",
            ),
            Self::DoorShut => row(
                "door-shut",
                ERR_VENDOR,
                8,
                "the door is off or not armed",
                "arm it on the BMC (`inbandd arm`), or open it by IPMI (`inband start`), where its policy (doors.*.policy of inbandd) is armed",
            ),
            Self::Busy => row(
                "busy",
                ERR_VENDOR,
                9,
                "another session owns the BMC",
                "wait until the other session has ended; `inband status` shows it",
            ),
            Self::OnTrial => row(
                "on-trial",
                ERR_VENDOR,
                9,
                "the running firmware is not confirmed yet; the other slot is the one that saves",
                "wait until the BMC has confirmed its firmware; if it never does, look at its log",
            ),
            Self::LockedOut => row(
                "locked-out",
                ERR_VENDOR,
                9,
                "too many packages in a row were refused; the host has to wait",
                "wait, `inband status` says how long, and send a package that this BMC takes; or let the BMC's operator arm the door",
            ),
            Self::Worn => row(
                "worn",
                ERR_VENDOR,
                9,
                "the day's budget of sessions or slot rewrites is used up",
                "wait, `inband status` says how long; the budgets are limits.* in the configuration of inbandd",
            ),
            Self::RefusedMember => row(
                "refused-member",
                ERR_FILE,
                6,
                "an image that must not be updated on this BMC",
                "leave the image out of the package, or let the BMC's layout take it",
            ),
            Self::Unindexed => row(
                "unindexed",
                ERR_FILE,
                6,
                "a firmware tar without an Inband head, and none is taken here",
                "make a package of it with `inband pack`, or have the BMC's operator set openbmc.accept_unindexed",
            ),
            Self::BadManifest => row(
                "bad-manifest",
                ERR_FILE,
                6,
                "the MANIFEST of a firmware tar is not as docs/spec/openbmc.md says",
                "have its maker build it anew as OpenBMC does",
            ),
            Self::WrongPurpose => row(
                "wrong-purpose",
                ERR_TARGET,
                6,
                "a firmware tar that is not for the BMC",
                "use the tar with the firmware of the BMC itself",
            ),
            Self::BadEncoding => row(
                "bad-encoding",
                ERR_FILE,
                6,
                "an image of a firmware tar is not encoded as its region says",
                "correct the encoding of the region in the BMC's layout, or use the tar that is for this layout",
            ),
            Self::UnexpectedPackage => row(
                "unexpected-package",
                ERR_FILE,
                6,
                "another package than the start announced",
                "send the package whose length and digest the start named, or start again for this one",
            ),
            Self::Aborted => row(
                "aborted",
                OK,
                14,
                "the host ended the session (DFU_ABORT, DFU_CLRSTATUS, DETACH), or somebody on the BMC did",
                "send it again when ready",
            ),
            Self::Disconnected => row(
                "disconnected",
                ERR_USBR,
                10,
                "unplug or bus reset in the middle",
                "check the cable and the USB port, then send it again",
            ),
            Self::Timeout => row(
                "timeout",
                ERR_NOTDONE,
                10,
                "no progress for too long, or past the session's deadline",
                "send it again without a pause; if it is always too slow, look at the USB link",
            ),
            Self::Interrupted => row(
                "interrupted",
                ERR_POR,
                10,
                "the daemon or the BMC restarted in the middle",
                "send it again",
            ),
            Self::Sequence => row(
                "sequence",
                ERR_ADDRESS,
                11,
                "blocks missing, repeated or out of order",
                "send it again; if it happens again, use another host tool",
            ),
            Self::Protocol => row(
                "protocol",
                ERR_VENDOR,
                11,
                "the host broke the bulk protocol",
                "send it again; if it happens again, use a host tool and a BMC of one version, or `--door dfu`",
            ),
            Self::NoFile => row(
                "no-file",
                ERR_FILE,
                11,
                "there is no FIRMWARE.BIN on the volume",
                "copy the package to FIRMWARE.BIN, not into a folder, and only then let it be taken",
            ),
            Self::Incomplete => row(
                "incomplete",
                ERR_NOTDONE,
                11,
                "the host has not written all of the package to the volume",
                "copy it again, then sync or unmount, and only then eject or create APPLY.CMD",
            ),
            Self::BadVolume => row(
                "bad-volume",
                ERR_FILE,
                11,
                "the volume was formatted anew, or its FAT is in disorder",
                "copy one file FIRMWARE.BIN to the volume as it is, without formatting it",
            ),
            Self::WriteFailed => row(
                "write-failed",
                ERR_WRITE,
                15,
                "the slot could not be written",
                "look at the BMC's log; its flash or disk may be failing",
            ),
            Self::ReadbackMismatch => row(
                "readback-mismatch",
                ERR_VERIFY,
                15,
                "the slot does not hold what was written to it",
                "send it again; if it happens again, the BMC's flash is failing",
            ),
            Self::StoreFailed => row(
                "store-failed",
                ERR_WRITE,
                15,
                "the store's own record could not be read or written",
                "look at the BMC's log; its store may be damaged or not writable",
            ),
            Self::NoSpace => row(
                "no-space",
                ERR_VENDOR,
                15,
                "no room to take the package",
                "make room on the BMC, then send it again",
            ),
            Self::RolledBack => row(
                "rolled-back",
                ERR_FIRMWARE,
                13,
                "the new firmware never became healthy; the old one runs",
                "the old firmware runs; find out from the BMC why the new one did not become healthy",
            ),
            Self::Unhealthy => row(
                "unhealthy",
                ERR_FIRMWARE,
                13,
                "the new firmware came up and its health command did not pass in time",
                "look at the BMC's log: it has what the health command said",
            ),
            Self::Internal => row(
                "internal",
                ERR_UNKNOWN,
                1,
                "a fault of inbandd's own; its log says more",
                "look at the BMC's log and report it",
            ),
        }
    }
}

impl fmt::Display for ResultCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl From<&Refusal> for ResultCode {
    fn from(refusal: &Refusal) -> Self {
        match refusal {
            Refusal::BadArchive { .. } => Self::BadArchive,
            Refusal::BadHead(_) => Self::BadHead,
            Refusal::BadIndex(_) => Self::BadIndex,
            Refusal::BadSignature { .. } => Self::BadSignature,
            Refusal::UnknownKey(_) => Self::UnknownKey,
            Refusal::WrongMachine { .. } => Self::WrongMachine,
            Refusal::OldSecurityVersion { .. } => Self::OldSecurityVersion,
            Refusal::BadChunk { .. } => Self::BadChunk,
            Refusal::TooLarge { .. } => Self::TooLarge,
            Refusal::UnmappedMember { .. } | Refusal::UnmappedTarget { .. } => Self::UnmappedMember,
            Refusal::Truncated { .. } => Self::Truncated,
            Refusal::TrailingBytes { .. } => Self::TrailingBytes,
            Refusal::MissingMember { .. } => Self::MissingMember,
            Refusal::SameVersion { .. } => Self::SameVersion,
            Refusal::Downgrade { .. } => Self::Downgrade,
            Refusal::Incompatible { .. } => Self::Incompatible,
            Refusal::RefusedMember { .. } => Self::RefusedMember,
            Refusal::BadMemberSignature { .. } => Self::BadSignature,
            Refusal::Unindexed(_) => Self::Unindexed,
            Refusal::BadManifest(_) => Self::BadManifest,
            Refusal::WrongPurpose { .. } => Self::WrongPurpose,
            Refusal::BadEncoding { .. } => Self::BadEncoding,
            Refusal::Unexpected(_) => Self::UnexpectedPackage,
        }
    }
}

impl From<&StoreError> for ResultCode {
    fn from(error: &StoreError) -> Self {
        match error {
            StoreError::Unusable(_)
            | StoreError::Exists
            | StoreError::SlotLength { .. }
            | StoreError::NothingBootable(_) => Self::StoreFailed,
            StoreError::Record(medium) => of_medium(medium, Self::StoreFailed),
            StoreError::Write(medium) | StoreError::Read(medium) => of_medium(medium, Self::WriteFailed),
            StoreError::Refused(refusal) => Self::from(refusal),
            StoreError::Mismatch { .. } => Self::ReadbackMismatch,
            StoreError::OnTrial => Self::OnTrial,
            StoreError::NotOnTrial | StoreError::Order(_) => Self::Internal,
        }
    }
}

impl From<&reader::Error<StoreError>> for ResultCode {
    fn from(error: &reader::Error<StoreError>) -> Self {
        match error {
            reader::Error::Refused(refusal) => Self::from(refusal),
            reader::Error::Sink(error) => Self::from(error),
            reader::Error::Failed => Self::Internal,
        }
    }
}

impl From<&openbmc::Error> for ResultCode {
    fn from(error: &openbmc::Error) -> Self {
        match error {
            openbmc::Error::Refused(refusal) => Self::from(refusal),
            openbmc::Error::Stage(StageError::NoSpace { .. }) => Self::NoSpace,
            openbmc::Error::Stage(StageError::Failed(_)) => Self::Internal,
        }
    }
}

impl From<&Fault> for ResultCode {
    fn from(fault: &Fault) -> Self {
        match fault {
            Fault::Package(error) => Self::from(error),
            Fault::Tar(error) => Self::from(error),
            Fault::Store(error) => Self::from(error),
            Fault::BehindOffer => Self::Protocol,
        }
    }
}

/// What an error of the medium means where `usual` is what one means in general.
const fn of_medium(error: &MediumError, usual: ResultCode) -> ResultCode {
    match error.kind {
        MediumErrorKind::NoSpace => ResultCode::NoSpace,
        MediumErrorKind::OutOfRange => ResultCode::Internal,
        MediumErrorKind::InUse | MediumErrorKind::NotAStore | MediumErrorKind::Io => usual,
    }
}

#[cfg(test)]
mod tests {
    use alloc::vec::Vec;

    use super::*;

    /// The rows of the table in the specification, cell by cell.
    fn specified() -> Vec<Vec<&'static str>> {
        include_str!("../../../docs/spec/results.md")
            .lines()
            .map(|line| line.split('|').map(str::trim).collect::<Vec<_>>())
            .filter(|cells| cells.len() == 7 && cells[1].parse::<u16>().is_ok())
            .collect()
    }

    #[test]
    fn the_table_is_that_of_the_specification() {
        let rows = specified();
        assert_eq!(rows.len(), ResultCode::ALL.len());
        for (cells, result) in rows.iter().zip(ResultCode::ALL) {
            assert_eq!(cells[1].parse(), Ok(result.code()));
            assert_eq!(cells[2].trim_matches('`'), result.name());
            assert_eq!(status_named(cells[3]), result.b_status(), "{result}");
            assert_eq!(cells[4].parse(), Ok(result.exit_code()), "{result}");
            assert_eq!(cells[5], result.meaning());
        }
    }

    #[test]
    fn the_order_of_checks_has_every_result_of_a_package() {
        let package = include_str!("../../../docs/spec/package.md");
        let (_, order) = package.split_once("## 6. Order of checks").unwrap();
        let (order, _) = order.split_once("## 7.").unwrap();
        for result in ResultCode::ALL.into_iter().filter(|result| matches!(result.code(), 16..=31 | 40 | 45))
        {
            assert!(order.contains(&alloc::format!("`{result}`")), "{result}");
        }
    }

    /// DFU 1.1, 6.1.2.
    fn status_named(name: &str) -> u8 {
        let names = [
            "OK",
            "errTARGET",
            "errFILE",
            "errWRITE",
            "errERASE",
            "errCHECK_ERASED",
            "errPROG",
            "errVERIFY",
            "errADDRESS",
            "errNOTDONE",
            "errFIRMWARE",
            "errVENDOR",
            "errUSBR",
            "errPOR",
            "errUNKNOWN",
            "errSTALLEDPKT",
        ];
        names.iter().position(|known| *known == name).unwrap().try_into().unwrap()
    }

    #[test]
    fn every_number_finds_its_result_and_no_other_does() {
        let known = (0..=u16::MAX).filter_map(ResultCode::from_code).collect::<Vec<_>>();
        assert_eq!(known, ResultCode::ALL);
        for result in ResultCode::ALL {
            assert_eq!(ResultCode::from_code(result.code()), Some(result));
        }
    }

    #[test]
    fn texts_are_one_line_and_say_something() {
        for result in ResultCode::ALL {
            for text in [result.meaning(), result.advice()] {
                assert!(
                    text.len() > 8 && text.is_ascii() && !text.contains('\n') && !text.ends_with('.'),
                    "{text}"
                );
            }
        }
    }

    #[test]
    fn a_full_medium_is_told_from_a_failing_one() {
        let error = |kind| MediumError::new(kind, "");
        let full = StoreError::Record(error(MediumErrorKind::NoSpace));
        assert_eq!(ResultCode::from(&full), ResultCode::NoSpace);
        let failing = StoreError::Record(error(MediumErrorKind::Io));
        assert_eq!(ResultCode::from(&failing), ResultCode::StoreFailed);
        let failing = StoreError::Write(error(MediumErrorKind::Io));
        assert_eq!(ResultCode::from(&failing), ResultCode::WriteFailed);
    }
}
