//! Audit lines: what happened at the doors, one line each, for the log.

use core::fmt;

use inband_package::Hex;
use inband_store::Slot;
use inband_store::text::Text;

use crate::door::Door;
use crate::result::ResultCode;
use crate::state::SessionState;

/// Who armed a door, or shut it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum By {
    /// Somebody on the BMC, by a command.
    Bmc,
    /// The host, by IPMI.
    Ipmi,
    /// The BMC powered the host on.
    PowerOn,
    /// The door's time is over.
    Deadline,
}

impl By {
    /// The name, as in logs.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Bmc => "bmc",
            Self::Ipmi => "ipmi",
            Self::PowerOn => "power-on",
            Self::Deadline => "deadline",
        }
    }
}

/// What a host has had the BMC do by IPMI, other than open and shut doors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HostAct {
    /// End the session.
    Abort,
    /// Restart into staged firmware.
    Activate,
    /// Take the running firmware for good.
    Confirm,
}

impl HostAct {
    /// The name, as in logs.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Abort => "abort",
            Self::Activate => "activate",
            Self::Confirm => "confirm",
        }
    }
}

/// Something that belongs in the log. Shown as one line of words `key=value`, the first of which is the event; no value
/// holds a space or a control character, whatever a host sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Audit {
    /// A door was armed.
    DoorArmed {
        /// The door.
        door: Door,
        /// On whose behalf.
        by: By,
    },
    /// A start is in force, which may have armed the door.
    DoorStarted {
        /// The door.
        door: Door,
    },
    /// That start is not in force any more.
    DoorStopped {
        /// The door.
        door: Door,
    },
    /// The host has asked for something, and gets it.
    ByHost {
        /// What that is.
        act: HostAct,
        /// Id of the session that it is about.
        id: u32,
    },
    /// A door that was armed, or the disk, which opens by itself, was shut before a host had come to an end there.
    DoorShut {
        /// The door.
        door: Door,
        /// On whose behalf.
        by: By,
    },
    /// The host knocked and the door is open.
    DoorOpened {
        /// The door.
        door: Door,
    },
    /// The door was left.
    DoorLeft {
        /// The door.
        door: Door,
    },
    /// The host wanted something that it does not get now.
    Refused {
        /// The door.
        door: Door,
        /// Why.
        result: ResultCode,
        /// How often in a row; repeats are told together.
        times: u32,
        /// Seconds, rounded up, until the host may try again; 0 where it is not a matter of time.
        wait: u64,
    },
    /// Too many packages in a row were refused, and the host's doors are locked.
    LockedOut {
        /// For so many seconds.
        seconds: u64,
    },
    /// A session has begun.
    Began {
        /// Session id.
        id: u32,
        /// The door.
        door: Door,
        /// The slot it is to write.
        target: Slot,
    },
    /// The session's package is authentic and has been accepted for the slot.
    Accepted {
        /// Session id.
        id: u32,
        /// First 16 bytes of the SHA-256 of the head.
        head: [u8; 16],
        /// Version of the package.
        version: Text<40>,
        /// Bytes that its head announces.
        announced: u64,
    },
    /// The session is in another state.
    Changed {
        /// Session id.
        id: u32,
        /// The new state.
        state: SessionState,
        /// Its result.
        result: ResultCode,
        /// Bytes received.
        received: u64,
    },
    /// The machine has started from firmware on trial.
    OnTrial {
        /// Id of the session that staged it.
        id: u32,
        /// Which boot of the trial this is, counted from 1.
        boot: u8,
        /// Boots left behind this one.
        left: u8,
    },
}

impl fmt::Display for Audit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::DoorArmed { door, by } => write!(f, "event=door-armed door={door} by={}", by.name()),
            Self::DoorStarted { door } => write!(f, "event=door-started door={door} by=ipmi"),
            Self::DoorStopped { door } => write!(f, "event=door-stopped door={door} by=ipmi"),
            Self::ByHost { act, id } => write!(f, "event={} by=ipmi session={id}", act.name()),
            Self::DoorShut { door, by } => write!(f, "event=door-shut door={door} by={}", by.name()),
            Self::DoorOpened { door } => write!(f, "event=door-opened door={door}"),
            Self::DoorLeft { door } => write!(f, "event=door-left door={door}"),
            Self::Refused { door, result, times, wait } => {
                write!(f, "event=refused door={door} result={result} times={times}")?;
                if *wait > 0 { write!(f, " again-in={wait}s") } else { Ok(()) }
            }
            Self::LockedOut { seconds } => write!(f, "event=locked-out seconds={seconds}"),
            Self::Began { id, door, target } => {
                write!(f, "event=session-began session={id} door={door} slot={}", target.name())
            }
            Self::Accepted { id, head, version, announced } => {
                let head = Hex(head);
                write!(
                    f,
                    "event=package-accepted session={id} head={head} version={version} bytes={announced}"
                )
            }
            Self::Changed { id, state, result, received } => {
                write!(
                    f,
                    "event=session-state session={id} state={state} result={result} received={received}"
                )
            }
            Self::OnTrial { id, boot, left } => {
                write!(f, "event=on-trial session={id} boot={boot} boots-left={left}")
            }
        }
    }
}
