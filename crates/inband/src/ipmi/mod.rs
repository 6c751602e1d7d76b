//! The host's side of the door handle (docs/spec/ipmi.md): raw IPMI commands that open a door, shut it, and ask how things stand.
//!
//! * [`Channel`]: which way they go. [`Link`]: that way, opened.
//! * [`Client`]: one question at a time, asked again where it was lost, its answer checked. A BMC's answers are hostile.

mod channel;
mod client;
mod link;

pub use channel::Channel;
pub use client::{Client, IpmiError, Report};
pub use link::{Answer, Link, LinkError};

use crate::{cancel::Cancel, error::Error, platform};

/// The door handle, as far as it can be had.
pub struct Ipmi {
    /// The BMC's other end, or why there is none.
    pub client: Result<Client, Error>,
    /// The user named the channel: then a failure is one, and not a reason to do without.
    pub named: bool,
}

impl Ipmi {
    /// Opens the channel that was named; else this machine's, unless the BMC is `elsewhere`. `command` is the one that the BMC listens to.
    #[must_use]
    pub fn open(channel: Option<&Channel>, elsewhere: bool, command: u8, cancel: &Cancel) -> Self {
        let link = match channel {
            None if elsewhere => {
                let text = "this machine's IPMI is not that of a BMC at a USB/IP server; --ipmi names the one to use";
                Err(Error::Usage(text.to_owned()))
            }
            Some(Channel::None) => Err(Error::Usage("--ipmi says that there is none to be used".to_owned())),
            channel => platform::ipmi(channel),
        };
        let client = link.map(|(place, link)| Client::new(link, place, command, cancel.clone()));
        Self { client, named: channel.is_some_and(|channel| *channel != Channel::None) }
    }
}
