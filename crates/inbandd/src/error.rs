//! Why the daemon does not start or does not go on, and the exit code that says so (docs/spec/results.md, 3).

use std::{
    io,
    path::{Path, PathBuf},
};

use inband_package::key::{DirectoryError, KeyError};
use inband_store::{StoreError, layout::LayoutError, medium::MediumError};

use crate::config::ConfigError;

/// An end of the daemon that is none of SIGTERM and SIGINT.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The command line is wrong.
    #[error("{0}; see inbandd --help")]
    Usage(String),
    /// The configuration is missing or wrong.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The configuration asks for what this build lacks.
    #[error(
        "the configuration asks for what this inbandd was built without: {0}; gadgets, usbredir, IPMI and D-Bus are for Linux, \"usbip\", \"usbredir\" \
         and \"qemu\" need --features virtual, \"dbus\" needs --features dbus"
    )]
    NotBuilt(&'static str),
    /// The regions do not fit the slot.
    #[error("the configuration is not valid: {0}")]
    Layout(#[from] LayoutError),
    /// The key directory, or a file in it, is not as it must be.
    #[error("the system keys cannot be used: {0}; put the public keys of your releases there")]
    Keys(#[from] DirectoryError),
    /// The keys do not make up what the policy requires.
    #[error("the system keys in {} cannot be used: {error}; put the public keys that sign your packages there (inband keygen makes a pair)", path.display())]
    KeyRing {
        /// The directory.
        path: PathBuf,
        /// Why.
        error: KeyError,
    },
    /// The store's files cannot be had. The message names the file and says what to do.
    #[error("the store cannot be used: {0}")]
    Medium(MediumError),
    /// The store's record cannot be used.
    #[error("the store in {} cannot be used: {error}", path.display())]
    Store {
        /// The store's directory.
        path: PathBuf,
        /// Why.
        error: StoreError,
    },
    /// Nothing tells whether the machine has started since the daemon ran last.
    #[error("cannot tell this start of the BMC from others by {}: {error}; name a file with gadget.boot_id that holds something else after each", path.display())]
    BootId {
        /// The file.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// The USB side cannot be had.
    #[error("cannot serve {what}: {message}")]
    Usb {
        /// What the configuration asks for.
        what: String,
        /// Why, and what to do.
        message: String,
    },
    /// The kernel has no FunctionFS, without which it shows no device of ours. It may have a disk to lend.
    #[error("cannot serve {what}: {message}")]
    NoFunctionFs {
        /// What the configuration asks for.
        what: String,
        /// Why, and what to do.
        message: String,
    },
    /// The file for `--pcap` cannot be written.
    #[error("cannot record USB transfers to {}: {error}; choose another file for --pcap", path.display())]
    Record {
        /// The file.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// The control socket cannot be made.
    #[error("cannot listen for commands at {}: {error}; choose another place (control in the configuration)", path.display())]
    Listen {
        /// The socket.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// A running daemon cannot be asked.
    #[error("{0}")]
    Ask(String),
    /// The device is being taken off the bus because no daemon has come up in time.
    #[error("this daemon comes too late: the device is being taken off the bus; the next one shows it anew")]
    Released,
    /// The worker thread ended, which it never does by itself.
    #[error("the worker is gone; this is a fault of inbandd, its log above may say more")]
    Worker,
    /// Anything else of the operating system.
    #[error("{what}: {error}")]
    System {
        /// What was tried.
        what: &'static str,
        /// Why it failed.
        error: io::Error,
    },
}

impl Error {
    /// Of the store in this directory.
    #[must_use]
    pub fn store(path: &Path, error: StoreError) -> Self {
        match error {
            // These name the file, and say what to do.
            StoreError::Record(error) | StoreError::Write(error) | StoreError::Read(error) => {
                Self::Medium(error)
            }
            error => Self::Store { path: path.to_owned(), error },
        }
    }

    /// The exit code of `inbandd`.
    #[must_use]
    pub const fn exit_code(&self) -> u8 {
        match self {
            Self::Record { .. }
            | Self::Listen { .. }
            | Self::Released
            | Self::Worker
            | Self::System { .. } => 1,
            Self::Usage(_) => 2,
            Self::Config(_) | Self::NotBuilt(_) | Self::Layout(_) | Self::BootId { .. } => 3,
            Self::Keys(_) | Self::KeyRing { .. } => 4,
            Self::Medium(_) | Self::Store { .. } => 5,
            Self::Usb { .. } | Self::NoFunctionFs { .. } => 6,
            Self::Ask(_) => 7,
        }
    }
}
