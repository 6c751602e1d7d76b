//! A way to a BMC's system interface.

use std::{io, time::Duration};

use inband_ipmi::wire::{Reply, Request};

/// Sends requests and brings what is answered. It neither asks again nor checks more than that an answer is one.
pub trait Link {
    /// Sends a request. Its answer has this number.
    ///
    /// # Errors
    /// It was not sent.
    fn send(&mut self, number: u8, request: &Request<'_>) -> Result<(), LinkError>;

    /// The next answer, to whatever request; `None` if none comes in this time.
    ///
    /// # Errors
    /// None will come.
    fn receive(&mut self, wait: Duration) -> Result<Option<Answer>, LinkError>;

    /// Time since an arbitrary start.
    fn now(&self) -> Duration;

    /// Lets time pass.
    fn pause(&mut self, time: Duration);
}

/// An answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// The number of the request.
    pub number: u8,
    /// Network function.
    pub netfn: u8,
    /// Command.
    pub command: u8,
    /// What it says.
    pub reply: Reply,
}

/// Why a way does not work.
#[derive(Debug, thiserror::Error)]
pub enum LinkError {
    /// Nobody is at the other end; that may pass.
    #[error("nobody is at the other end ({0})")]
    Lost(io::Error),
    /// The driver refuses the request for its length.
    #[error("the driver takes no request of that length")]
    Length,
    /// The driver brings what is no answer.
    #[error("the driver brings an answer that is none: {0}")]
    Broken(&'static str),
    /// The operating system.
    #[error("{0}")]
    System(#[from] io::Error),
}
