//! Programs that the daemon runs: the health command and the one that restarts the BMC.
//!
//! What is decided by their ends is [`crate::bmc`]'s; here they are started, listened to with bounds, and killed with all that
//! they started. Nothing here waits in the caller's thread.

use std::fmt;

#[cfg_attr(not(target_os = "linux"), path = "programs/other.rs")]
mod linux;
#[cfg(target_os = "linux")]
mod output;

pub use linux::Programs;

/// What a program is for. There is one of each at a time at most.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Task {
    /// To tell whether the firmware is healthy.
    Health,
    /// To restart the BMC.
    Restart,
}

impl Task {
    /// The name, as in logs.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Health => "health",
            Self::Restart => "restart",
        }
    }
}

/// How a program ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Exit {
    /// By itself, with this code.
    Code(i32),
    /// By this signal.
    Signal(i32),
    /// It never ran, and why.
    NotStarted(String),
}

impl Exit {
    /// Whether it did what it is for: exit code 0.
    #[must_use]
    pub fn passed(&self) -> bool {
        *self == Self::Code(0)
    }
}

impl fmt::Display for Exit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Code(code) => write!(f, "exit code {code}"),
            Self::Signal(number) => write!(f, "ended by signal {number}"),
            Self::NotStarted(reason) => write!(f, "not started: {reason}"),
        }
    }
}

/// Something that runs programs, without making the caller wait.
pub trait Runner {
    /// Starts the program `command[0]` with the other elements as its arguments, no shell between. Its end is told by
    /// [`poll`](Self::poll), also if it cannot be started.
    fn start(&mut self, task: Task, command: &[String]);

    /// Kills the program, if it runs, and nothing is told of it any more. The health command goes with its process group.
    fn kill(&mut self, task: Task);

    /// The next end of a program.
    fn poll(&mut self) -> Option<(Task, Exit)>;
}
