//! What can go wrong, how it is told, and the exit codes of docs/spec/results.md.

use std::{
    fmt, io,
    path::{Path, PathBuf},
    process::ExitStatus,
};

use inband_bulk::host::Error as BulkError;
use inband_dfu::host::Error as DfuError;
use inband_ipmi::wire::Code;
use inband_session::{ResultCode, first_block::TextError};
use inband_usb::{HostError, descriptor::ParseError};

use crate::{
    ipmi::{IpmiError, LinkError},
    text::{shown, shown_path},
    usb::Place,
};

/// Exit code of a cancelled command.
pub const CANCELLED: u8 = 14;
/// Exit code where a device was lost.
pub const LOST: u8 = 10;
/// Exit code where there is nothing to do that to.
const NOTHING: u8 = 17;
/// Exit code where the BMC does not let the host do that, or cannot.
const NOT_ALLOWED: u8 = 18;

/// Why a command failed. Each variant has one exit code, or takes it from the table of results.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The command line asks for what cannot be.
    #[error("{0}")]
    Usage(String),
    /// There is no BMC where we looked.
    #[error("no BMC found {where_}")]
    NoDevice {
        /// Where we looked.
        where_: String,
        /// What was found instead, and what to try.
        advice: String,
    },
    /// More than one BMC fits.
    #[error("more than one BMC fits:\n{}", Indented(.0))]
    ManyDevices(Vec<String>),
    /// The bus itself cannot be had: no USB, no USB/IP server.
    #[error("cannot look for devices {where_}: {source}")]
    Bus {
        /// Where we looked.
        where_: String,
        /// Why.
        source: HostError,
        /// What to try.
        advice: String,
    },
    /// A device failed us.
    #[error("{place}: cannot {action}: {source}")]
    Device {
        /// Where it is.
        place: Place,
        /// What we wanted to do.
        action: &'static str,
        /// Why it did not work.
        source: Box<DeviceError>,
        /// What to try.
        advice: Option<String>,
    },
    /// The device went away and did not come back in time.
    #[error("{place}: the device left the bus and did not come back within {seconds} s")]
    NotBack {
        /// Where it was.
        place: Place,
        /// How long we waited.
        seconds: u64,
    },
    /// Another device came back.
    #[error("{place}: another device took its place: {found}")]
    Swapped {
        /// Where it was.
        place: Place,
        /// What is there now.
        found: String,
    },
    /// The door that was asked for is not open.
    #[error("{place}: the door {door} is not open: {reason}")]
    NoDoor {
        /// Where the BMC is.
        place: Place,
        /// The door.
        door: &'static str,
        /// Why.
        reason: String,
    },
    /// The disk has a filesystem.
    #[error("{place}: the disk {} of this BMC takes copied files, and not what this program writes", shown_path(.disk))]
    FatDisk {
        /// Where the BMC is.
        place: Place,
        /// The disk.
        disk: PathBuf,
    },
    /// A disk came back that does not tell what came of what was written.
    #[error(
        "{place}: the disk is back and does not tell what came of the package: the BMC started anew, or somebody else was told"
    )]
    NoVerdict {
        /// Where the BMC is.
        place: Place,
    },
    /// The BMC left the bus again and again.
    #[error("{place}: the device left the bus {times} times in the middle of the update")]
    KeepsLeaving {
        /// Where it was.
        place: Place,
        /// How often.
        times: u32,
    },
    /// The BMC refused, or ended the session.
    #[error("{place}: {}: {}", .code.name(), .code.meaning())]
    Refused {
        /// Where it is.
        place: Place,
        /// The result it gave.
        code: ResultCode,
    },
    /// The BMC gave a result that this version does not know.
    #[error("{place}: the BMC ended the session with result {number}, which this version does not know")]
    UnknownResult {
        /// Where it is.
        place: Place,
        /// The number.
        number: u16,
    },
    /// The BMC did not start the staged firmware in time.
    #[error("{place}: the firmware is staged, but the BMC did not start it within {seconds} s")]
    NotActivated {
        /// Where it is.
        place: Place,
        /// How long we waited.
        seconds: u64,
    },
    /// The BMC took a confirmation, and does not tell that it is in its store.
    #[error("{place}: the confirmation was taken, but the firmware is not confirmed: the state is {state}")]
    NotConfirmed {
        /// The way to the BMC.
        place: Place,
        /// The state that it tells.
        state: &'static str,
    },
    /// There is no way for IPMI commands.
    #[error("no IPMI: {reason}")]
    NoIpmi {
        /// Why.
        reason: String,
        /// What to try.
        advice: String,
        /// Whether it is for want of permission.
        permission: bool,
    },
    /// An IPMI command failed.
    #[error("{place}: cannot {action}: {source}")]
    Ipmi {
        /// The way it went.
        place: Place,
        /// What we wanted to do.
        action: &'static str,
        /// Why it did not work.
        source: IpmiError,
    },
    /// The BMC does not know something that was asked for; it was not asked for.
    #[error("{place}: this BMC has no {what}; nothing was done")]
    Lacks {
        /// The way to the BMC.
        place: Place,
        /// What it lacks.
        what: &'static str,
    },
    /// The command that a start was for did not succeed.
    #[error("{}: {status}", shown_path(.program))]
    Command {
        /// The command.
        program: PathBuf,
        /// How it ended.
        status: ExitStatus,
    },
    /// The package would be refused; nothing was sent.
    #[error("{}: {}: {reason}", shown_path(.path), .code.name())]
    BadPackage {
        /// The package.
        path: PathBuf,
        /// The result a BMC would give.
        code: ResultCode,
        /// What exactly is wrong.
        reason: String,
    },
    /// A package cannot be made of what was given.
    #[error("cannot make the package: {0}")]
    Pack(String),
    /// A file cannot be read or written.
    #[error("cannot {action} {}: {source}", shown_path(.path))]
    File {
        /// The file.
        path: PathBuf,
        /// What we wanted to do.
        action: &'static str,
        /// Why it did not work.
        source: io::Error,
    },
    /// A device cannot be given to the kernel.
    #[error("{reason}")]
    Attach {
        /// Why.
        reason: String,
        /// Whether it is for want of permission.
        permission: bool,
    },
    /// Our own output cannot be written.
    #[error("cannot write the output: {0}")]
    Output(io::Error),
    /// A key cannot be used.
    #[error("{}: {reason}", shown_path(.path))]
    Key {
        /// The file or directory.
        path: PathBuf,
        /// Why not.
        reason: String,
    },
    /// A private RSA key: this program does not sign with those.
    #[error("{}: RSA keys sign elsewhere: with openssl(1), or in the HSM that keeps them", shown_path(.path))]
    RsaKey {
        /// The file.
        path: PathBuf,
    },
    /// A signature does not belong to the package.
    #[error("{}: {reason}", shown_path(.path))]
    Signer {
        /// The package.
        path: PathBuf,
        /// Why not.
        reason: String,
    },
    /// The user asked for the end.
    #[error("cancelled")]
    Cancelled,
    /// The user asked for the end while a package was on its way.
    #[error("{place}: cancelled; {}", if *.handed_over { "the BMC had all of the package already and goes on with it" } else { "the session was aborted" })]
    Aborted {
        /// Where the BMC is.
        place: Place,
        /// The BMC had the last byte already.
        handed_over: bool,
    },
    /// The user asked for the end while a disk was written to that somebody else had written to before.
    #[error("{place}: cancelled; what was written stays where it is, for five minutes at most")]
    LeftWritten {
        /// Where the BMC is.
        place: Place,
    },
    /// Verdicts of the demo were not the expected ones.
    #[error("{failed} of {all} verdicts were not the expected ones")]
    Demo {
        /// How many.
        failed: usize,
        /// Of how many.
        all: usize,
    },
    /// The operating system refused something that has no number of its own.
    #[error("cannot {action}: {source}")]
    System {
        /// What we wanted to do.
        action: &'static str,
        /// Why it did not work.
        source: io::Error,
    },
}

/// Why a device failed us.
#[derive(Debug, thiserror::Error)]
pub enum DeviceError {
    /// A transfer.
    #[error("{}", TransferFailure(.0))]
    Host(#[from] HostError),
    /// Its descriptors.
    #[error("its descriptors are broken: {0}")]
    Descriptor(#[from] ParseError),
    /// Its answer to the vendor request.
    #[error("its status page {page} is broken: {source}")]
    Page {
        /// The page.
        page: u16,
        /// What is wrong with it.
        source: inband_session::status::PageError,
    },
    /// The server that has it speaks no USB/IP.
    #[error("{0}")]
    Server(String),
    /// The DFU protocol.
    #[error("{0}")]
    Dfu(#[from] DfuError),
    /// The bulk protocol.
    #[error("{0}")]
    Bulk(#[from] BulkError),
    /// What breaks the bulk protocol, but for what its core sees.
    #[error("it broke the bulk protocol: {0}")]
    Transfer(&'static str),
    /// The text of its disk.
    #[error("{0}")]
    Text(#[from] TextError),
    /// What it reports contradicts what it was sent.
    #[error("it reports {0}")]
    Contradiction(&'static str),
}

impl Error {
    /// A key that cannot be used.
    pub(crate) fn key(path: &Path, reason: impl fmt::Display) -> Self {
        Self::Key { path: path.to_owned(), reason: reason.to_string() }
    }

    /// The exit code (docs/spec/results.md, 2).
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Usage(_) | Self::Pack(_) => 2,
            Self::NoDevice { .. } => 3,
            Self::ManyDevices(_) => 4,
            // A bus that is not there has no devices.
            Self::Bus { source: HostError::Permission, .. } => 5,
            Self::Bus { .. } => 3,
            Self::Device { source, .. } => source.exit_code(),
            Self::NotBack { .. }
            | Self::Swapped { .. }
            | Self::KeepsLeaving { .. }
            | Self::NoVerdict { .. }
            | Self::NotActivated { .. }
            | Self::NotConfirmed { .. } => 10,
            Self::NoDoor { .. } | Self::FatDisk { .. } => 8,
            Self::Refused { code, .. } | Self::BadPackage { code, .. } => code.exit_code(),
            Self::File { .. } | Self::Output(_) => 7,
            Self::Key { .. } | Self::RsaKey { .. } | Self::Signer { .. } => 16,
            Self::Cancelled | Self::Aborted { .. } | Self::LeftWritten { .. } => CANCELLED,
            Self::Demo { .. } => 20,
            Self::System { .. } | Self::UnknownResult { .. } => 1,
            Self::Attach { permission: true, .. } | Self::NoIpmi { permission: true, .. } => 5,
            Self::Attach { permission: false, .. } => 1,
            Self::NoIpmi { permission: false, .. } => 3,
            Self::Ipmi { source, .. } => source.exit_code(),
            Self::Lacks { .. } => NOT_ALLOWED,
            Self::Command { status, .. } => {
                status.code().and_then(|code| u8::try_from(code).ok()).unwrap_or(1)
            }
        }
    }

    /// The stable name of the kind of error, for JSON.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Usage(_) => "usage",
            Self::NoDevice { .. } => "no-device",
            Self::ManyDevices(_) => "many-devices",
            Self::Bus { .. } => "bus",
            Self::Device { .. } => "device",
            Self::NotBack { .. } => "not-back",
            Self::Swapped { .. } => "swapped",
            Self::NoDoor { .. } | Self::FatDisk { .. } => "no-door",
            Self::NoVerdict { .. } => "no-verdict",
            Self::KeepsLeaving { .. } => "keeps-leaving",
            Self::Refused { .. } => "refused",
            Self::UnknownResult { .. } => "unknown-result",
            Self::NotActivated { .. } => "not-activated",
            Self::NotConfirmed { .. } => "not-confirmed",
            Self::NoIpmi { .. } => "no-ipmi",
            Self::Ipmi { source, .. } => source.name(),
            Self::Lacks { .. } => "not-allowed",
            Self::Command { .. } => "command",
            Self::BadPackage { .. } => "bad-package",
            Self::Pack(_) => "pack",
            Self::File { .. } => "file",
            Self::Attach { .. } => "attach",
            Self::Output(_) => "output",
            Self::Key { .. } | Self::RsaKey { .. } | Self::Signer { .. } => "key",
            Self::Cancelled | Self::Aborted { .. } | Self::LeftWritten { .. } => "cancelled",
            Self::Demo { .. } => "demo",
            Self::System { .. } => "system",
        }
    }

    /// The result that goes with it, if a BMC gave one or would give one.
    #[must_use]
    pub const fn result(&self) -> Option<ResultCode> {
        match self {
            Self::Refused { code, .. } | Self::BadPackage { code, .. } => Some(*code),
            Self::Ipmi { source, .. } => source.result(),
            _ => None,
        }
    }

    /// What a person can do about it.
    #[must_use]
    pub fn advice(&self) -> Option<String> {
        let text = match self {
            Self::Usage(_)
            | Self::Demo { .. }
            | Self::Output(_)
            | Self::System { .. }
            | Self::Pack(_)
            | Self::Command { .. }
            | Self::Attach { .. } => return None,
            Self::NoDevice { advice, .. } | Self::Bus { advice, .. } | Self::NoIpmi { advice, .. } => {
                return Some(advice.clone());
            }
            Self::Ipmi { source, .. } => return source.advice().map(str::to_owned),
            Self::Lacks { .. } => "`inband status` says which channel tells; a newer inbandd may have it",
            Self::ManyDevices(_) => "choose one with --device PATH or --device SERIAL",
            Self::Device { advice: Some(advice), .. } => return Some(advice.clone()),
            Self::Device { source, .. } if source.is_of_bulk() => {
                "the firmware that runs is as it was; `--door dfu` goes without bulk transfers"
            }
            Self::Device { source, .. } => match source.exit_code() {
                10 => {
                    "look whether the BMC is up, then repeat the command; its running firmware is as it was"
                }
                11 => "the device does not follow the protocol: is it an Inband BMC? See `inband list --all`",
                _ => return None,
            },
            Self::NotBack { .. } => {
                "look at the BMC itself, and at `inband list --all`; repeat the command when it is back"
            }
            Self::Swapped { .. } => "see `inband list`, and name the device with --device SERIAL",
            Self::NoDoor { .. } => {
                "leave --door away, and the fastest open door is taken; doors are opened in the BMC's configuration"
            }
            Self::FatDisk { .. } => {
                "mount it, copy the package to FIRMWARE.BIN, unmount and eject it, and read STATUS.TXT when it is back; or have the BMC show \
                 its disk raw (doors.volume.profile = \"raw\" in its configuration)"
            }
            Self::NoVerdict { .. } => {
                "ask the BMC (`inband status`, or `inbandd status` there); the running firmware is as it was, and the command can be repeated"
            }
            Self::LeftWritten { .. } => {
                "repeat the command, and it is written over; unplugged, or left alone, it is forgotten"
            }
            Self::KeepsLeaving { .. } => {
                "look at the cable and at the BMC; the command can be repeated, and only what is missing is sent"
            }
            Self::Refused { code, .. } | Self::BadPackage { code, .. } => code.advice(),
            Self::UnknownResult { .. } => "use the version of inband that came with the BMC's firmware",
            Self::NotActivated { .. } => "restart the BMC; `inband status` then shows what it runs",
            Self::NotConfirmed { .. } => {
                "a BMC whose store did not take it tries again each minute; `inband status` shows what came of it"
            }
            Self::File { .. } => return None,
            Self::Key { .. } => "a key is a PEM file as `inband keygen` or openssl(1) writes it",
            Self::RsaKey { .. } => {
                "pack for its public half (--unsigned PUBLIC.pem); `inband sign PACKAGE --print-bytes --out FILE` then names the \
                 `openssl dgst -sign` command that the package needs, and `inband sign PACKAGE --attach SIGNATURE` takes the result"
            }
            Self::Signer { .. } => "`inband inspect` shows for which keys the package was packed",
            Self::Aborted { handed_over: false, .. } => {
                "the running firmware is as it was; repeat the command to begin anew"
            }
            Self::Aborted { handed_over: true, .. } => "see `inband status` for what came of it",
            Self::Cancelled => return None,
        };
        Some(text.to_owned())
    }
}

impl DeviceError {
    /// Whether it is about the bulk protocol.
    const fn is_of_bulk(&self) -> bool {
        matches!(self, Self::Bulk(BulkError::Misbehaved(_)) | Self::Transfer(_))
    }

    const fn exit_code(&self) -> u8 {
        match self {
            Self::Host(error) => host_exit_code(error),
            Self::Descriptor(_)
            | Self::Page { .. }
            | Self::Server(_)
            | Self::Transfer(_)
            | Self::Text(_)
            | Self::Contradiction(_) => 11,
            Self::Bulk(error) => match error {
                BulkError::Misbehaved(_) => 11,
                BulkError::TooSlow => 10,
                BulkError::Misuse(_) => 1,
            },
            Self::Dfu(error) => match error {
                DfuError::Refused { .. } | DfuError::PeerMisbehaved(_) => 11,
                DfuError::Gone | DfuError::NoAnswer(_) | DfuError::TooSlow(_) => 10,
                DfuError::Misuse(_) => 1,
                DfuError::Usb(error) => host_exit_code(error),
            },
        }
    }
}

impl IpmiError {
    fn exit_code(&self) -> u8 {
        if let Some(result) = self.result() {
            return result.exit_code();
        }
        match self {
            Self::Refused(Code::NOTHING | Code::WRONG_NONCE) => NOTHING,
            Self::Refused(Code::NOT_ALLOWED | Code::PRIVILEGE) => NOT_ALLOWED,
            // Another BMC.
            Self::Refused(Code::INVALID_COMMAND) => 3,
            Self::Link(LinkError::System(error)) if error.kind() == io::ErrorKind::PermissionDenied => 5,
            Self::Link(LinkError::System(_)) | Self::Random(_) => 1,
            Self::Link(LinkError::Lost(_)) | Self::NoAnswer(_) | Self::Unknown(_) => 10,
            Self::Refused(_)
            | Self::Link(LinkError::Length | LinkError::Broken(_))
            | Self::Reply(_)
            | Self::Page { .. }
            | Self::Changing(_) => 11,
            Self::Cancelled => CANCELLED,
        }
    }

    const fn name(&self) -> &'static str {
        match self {
            Self::Refused(Code::NOTHING | Code::WRONG_NONCE) => "nothing",
            Self::Refused(Code::NOT_ALLOWED | Code::PRIVILEGE) => "not-allowed",
            Self::Refused(Code::INVALID_COMMAND) => "no-device",
            Self::Refused(_) if self.result().is_some() => "refused",
            Self::Link(LinkError::Lost(_)) | Self::NoAnswer(_) | Self::Unknown(_) => "no-answer",
            Self::Cancelled => "cancelled",
            Self::Refused(_)
            | Self::Link(_)
            | Self::Random(_)
            | Self::Reply(_)
            | Self::Page { .. }
            | Self::Changing(_) => "ipmi",
        }
    }

    const fn advice(&self) -> Option<&'static str> {
        if let Self::Refused(Code::BUSY) = self {
            // What is in the way may be no session, which ends by itself, but a start.
            return Some(
                "`inband status` shows what is in the way: `inband stop` ends a start, `inband abort` that and an update of which not all has come in",
            );
        }
        if let Some(result) = self.result() {
            return Some(result.advice());
        }
        Some(match self {
            Self::Unknown(_) => "`inband status` shows what there is",
            Self::Refused(Code::NOTHING | Code::WRONG_NONCE) => {
                "`inband status` shows whether there is a start to stop, an update to abort, staged firmware to activate, or a trial to confirm"
            }
            Self::Refused(Code::NOT_ALLOWED) => {
                "the BMC's configuration says what a host may do (ipmi.activate, ipmi.confirm); on the BMC there are `inbandd activate` and `inbandd confirm`"
            }
            Self::Refused(Code::PRIVILEGE) => "ask from the host itself, by its system interface",
            Self::Refused(Code::INVALID_COMMAND) => {
                "this BMC does not know the command: does inbandd run there, with ipmi.channel, is ipmi.command the one of --ipmi-command, and has it no device of its own (--ipmi /dev/ipmi1)?"
            }
            Self::Link(LinkError::Lost(_)) | Self::NoAnswer(_) => {
                "look whether the BMC is up; whatever was asked for can be asked for again, and a start ends by itself"
            }
            Self::Refused(_) | Self::Reply(_) | Self::Page { .. } | Self::Changing(_) => {
                "the BMC does not follow the protocol: use the version of inband that came with its firmware"
            }
            Self::Link(_) | Self::Random(_) | Self::Cancelled => return None,
        })
    }
}

const fn host_exit_code(error: &HostError) -> u8 {
    match error {
        HostError::Permission => 5,
        HostError::Cancelled | HostError::Gone => 10,
        HostError::Stall | HostError::Overflow => 11,
        HostError::Busy => 12,
        HostError::Misuse(_) | HostError::Other(_) => 1,
    }
}

/// [`HostError`] in words for somebody who waits for an answer.
struct TransferFailure<'a>(&'a HostError);

impl fmt::Display for TransferFailure<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            HostError::Cancelled => f.write_str("it does not answer"),
            HostError::Other(text) => f.write_str(&shown(text)),
            HostError::Stall
            | HostError::Gone
            | HostError::Overflow
            | HostError::Busy
            | HostError::Permission
            | HostError::Misuse(_) => self.0.fmt(f),
        }
    }
}

/// Lines, each a little to the right.
struct Indented<'a>(&'a [String]);

impl fmt::Display for Indented<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (number, line) in self.0.iter().enumerate() {
            write!(f, "{}  {line}", if number == 0 { "" } else { "\n" })?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The exit codes the specification lists for `inband`.
    fn specified() -> Vec<u8> {
        let text = include_str!("../../../docs/spec/results.md");
        let section = text.split("## ").find(|section| section.starts_with("2.")).unwrap();
        section.lines().filter_map(|line| line.split('|').nth(1)?.trim().parse().ok()).collect()
    }

    #[test]
    fn every_error_has_a_documented_exit_code() {
        let place = || Place::Port { bus: "1".into(), ports: vec![1] };
        let io = || io::Error::from(io::ErrorKind::NotFound);
        let device = |source: DeviceError| Error::Device {
            place: place(),
            action: "open it",
            source: Box::new(source),
            advice: None,
        };
        let ipmi = |source| Error::Ipmi { place: place(), action: "ask it", source };
        let errors = [
            (2, Error::Usage("x".into())),
            (2, Error::Pack("x".into())),
            (3, Error::NoDevice { where_: "on USB".into(), advice: String::new() }),
            (4, Error::ManyDevices(vec![])),
            (5, device(HostError::Permission.into())),
            (10, device(HostError::Gone.into())),
            (10, device(HostError::Cancelled.into())),
            (11, device(HostError::Stall.into())),
            (12, device(HostError::Busy.into())),
            (11, device(ParseError::Truncated.into())),
            (10, device(DfuError::Gone.into())),
            (10, Error::NotBack { place: place(), seconds: 10 }),
            (10, Error::Swapped { place: place(), found: String::new() }),
            (10, Error::KeepsLeaving { place: place(), times: 8 }),
            (8, Error::NoDoor { place: place(), door: "bulk", reason: String::new() }),
            (8, Error::FatDisk { place: place(), disk: "/dev/sda".into() }),
            (10, Error::NoVerdict { place: place() }),
            (14, Error::LeftWritten { place: place() }),
            (11, device(TextError::NoText.into())),
            (11, device(DeviceError::Transfer("x"))),
            (10, device(BulkError::TooSlow.into())),
            (8, Error::Refused { place: place(), code: ResultCode::DoorShut }),
            (6, Error::BadPackage { path: "x".into(), code: ResultCode::BadChunk, reason: String::new() }),
            (7, Error::File { path: "x".into(), action: "read", source: io() }),
            (7, Error::Output(io())),
            (16, Error::Key { path: "x".into(), reason: String::new() }),
            (16, Error::RsaKey { path: "x".into() }),
            (14, Error::Cancelled),
            (14, Error::Aborted { place: place(), handed_over: false }),
            (1, Error::UnknownResult { place: place(), number: 999 }),
            (10, Error::NotActivated { place: place(), seconds: 1 }),
            (10, Error::NotConfirmed { place: place(), state: "pending-confirm" }),
            (5, Error::Attach { reason: String::new(), permission: true }),
            (11, device(DeviceError::Contradiction("x"))),
            (5, Error::Bus { where_: String::new(), source: HostError::Permission, advice: String::new() }),
            (3, Error::Bus { where_: String::new(), source: HostError::Cancelled, advice: String::new() }),
            (20, Error::Demo { failed: 1, all: 5 }),
            (3, Error::NoIpmi { reason: String::new(), advice: String::new(), permission: false }),
            (5, Error::NoIpmi { reason: String::new(), advice: String::new(), permission: true }),
            (18, Error::Lacks { place: place(), what: "x" }),
            (8, ipmi(IpmiError::Refused(Code::DOOR_SHUT))),
            (10, ipmi(IpmiError::Unknown(Code::NOTHING))),
            (9, ipmi(IpmiError::Refused(Code::ON_TRIAL))),
            (15, ipmi(IpmiError::Refused(Code::NO_RESOURCES))),
            (17, ipmi(IpmiError::Refused(Code::WRONG_NONCE))),
            (18, ipmi(IpmiError::Refused(Code::NOT_ALLOWED))),
            (3, ipmi(IpmiError::Refused(Code::INVALID_COMMAND))),
            (11, ipmi(IpmiError::Refused(Code(0xff)))),
            (10, ipmi(IpmiError::NoAnswer(None))),
            (11, ipmi(IpmiError::Changing(0))),
            (10, ipmi(LinkError::Lost(io()).into())),
            (11, ipmi(LinkError::Length.into())),
            (1, ipmi(LinkError::System(io()).into())),
            (1, Error::System { action: "x", source: io() }),
        ];
        let specified = specified();
        assert!(specified.len() > 10);
        for (code, error) in errors {
            assert_eq!(error.exit_code(), code, "{error}");
            assert!(specified.contains(&code), "{code} is not in docs/spec/results.md");
        }
        for result in ResultCode::ALL {
            assert!(specified.contains(&result.exit_code()), "{result}");
        }
    }

    #[test]
    fn what_a_device_makes_us_say_is_fit_for_a_terminal() {
        let error = DeviceError::Host(HostError::Other("\u{1b}[2Jgone".into()));
        assert!(!error.to_string().contains('\u{1b}'));
    }
}
