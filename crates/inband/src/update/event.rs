//! What happens in an update, as events. A bar, plain lines and JSON are sinks of the same events.

use std::time::Duration;

use serde::Serialize;

/// One thing that happened. The names and fields are stable: programs read them as JSON.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "event", rename_all = "kebab-case")]
pub enum Event {
    /// The package was read and is whole.
    Package {
        /// The board it is for.
        machine: String,
        /// Its version.
        version: String,
        /// Its security version.
        security_version: u32,
        /// Bytes to be sent.
        length: u64,
        /// Whether its signatures were verified here; the BMC verifies them in any case.
        verified: bool,
    },
    /// The file is a firmware tar without a head, which only the BMC can check.
    Tar {
        /// Bytes to be sent.
        length: u64,
    },
    /// The BMC was found.
    Device {
        /// Where it is.
        path: String,
        /// Its serial number.
        serial: Option<String>,
        /// Its board.
        machine: String,
        /// `run-time` or `dfu`.
        mode: &'static str,
        /// The version it runs.
        version: String,
        /// The door the package will go through, as far as can be told now.
        door: &'static str,
    },
    /// The BMC runs the package's version already: nothing is sent.
    UpToDate {
        /// The slot that runs; `None` if only the disk of the BMC tells.
        slot: Option<&'static str>,
        /// The version.
        version: String,
    },
    /// The door was shut, and a start by IPMI has opened it.
    Opened {
        /// The way of the command.
        path: String,
        /// The board that answers there.
        machine: String,
        /// The door.
        door: &'static str,
        /// What names the start.
        nonce: String,
        /// Seconds that it holds.
        holds_s: u16,
    },
    /// No door can be used, and IPMI opens none.
    NotOpened {
        /// Why.
        reason: String,
    },
    /// What a start opened is shut again.
    Shut,
    /// What a start opened is not shut, or it is not known; it shuts by itself.
    StillOpen {
        /// Why.
        reason: String,
        /// Seconds from the start on.
        holds_s: u16,
    },
    /// The BMC was asked to enter DFU mode.
    Detach,
    /// It is back in DFU mode.
    DfuMode {
        /// Milliseconds since the request.
        after_ms: u64,
    },
    /// The door is chosen.
    Door {
        /// The door the package goes through.
        door: &'static str,
        /// Why.
        reason: String,
    },
    /// The BMC has said what it needs; over the door `bulk`.
    Need {
        /// Which time in this exchange, from 0.
        round: u32,
        /// Chunks of the package.
        chunks: usize,
        /// Of these the ones that it has asked for by now.
        needed_chunks: u32,
        /// Bytes of all chunks.
        bytes: u64,
        /// Bytes of those that it has asked for by now.
        needed: u64,
    },
    /// The first byte is about to be sent; over the door `bulk` the first byte of a chunk.
    Start {
        /// Bytes to be sent.
        total: u64,
    },
    /// The BMC has taken so many bytes.
    Progress {
        /// Bytes taken.
        sent: u64,
        /// Bytes to be sent.
        total: u64,
    },
    /// The disk told of an earlier session, and was ejected.
    Cleared {
        /// The result of that session, by its number.
        result_code: u16,
    },
    /// All of the package is on the disk, which was ejected: the BMC judges it.
    Ejected,
    /// The BMC has left the bus in the middle.
    Lost {
        /// Seconds that it has to come back.
        wait_s: u64,
    },
    /// It is back, and is offered the package again.
    Back {
        /// `run-time` or `dfu`.
        mode: &'static str,
        /// Milliseconds it took.
        after_ms: u64,
    },
    /// All bytes are with the BMC, and it has checked them.
    Sent {
        /// Bytes sent.
        total: u64,
        /// Bytes of the file that did not have to be sent.
        saved: u64,
        /// Milliseconds from the first byte to the last verdict.
        elapsed_ms: u64,
    },
    /// The firmware is staged.
    Staged {
        /// The slot it is in; `None` if only the disk of the BMC tells.
        slot: Option<&'static str>,
        /// Its version.
        version: String,
    },
    /// The tool waits for the BMC to run the new firmware.
    WaitActivation,
    /// The BMC runs the new firmware.
    Activated {
        /// The slot that runs; `None` if only the disk of the BMC tells.
        slot: Option<&'static str>,
        /// The version that runs.
        version: String,
        /// Whether it is on trial still.
        on_trial: bool,
    },
}

/// A time as the events have it.
#[must_use]
pub fn milliseconds(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

/// Takes events as they happen.
pub trait Listener {
    /// Something happened.
    fn event(&mut self, event: &Event);
}
