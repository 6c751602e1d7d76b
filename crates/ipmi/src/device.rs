//! The messages of Linux's devices for the BMC's end of a system interface (spec, 7): a read gives a request, a write takes its reply.

use alloc::vec::Vec;

use crate::wire::{Code, Message, Reply};

/// Bytes that a read gives at most, of any of the devices.
pub const READ: usize = 1000;

/// The answer cannot be given (IPMI 5.2).
const NO_ANSWER: Code = Code(0xce);

/// How a device has its messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    /// `/dev/ipmi-kcsN` (IPMI 9): the message alone.
    Kcs,
    /// `/dev/ipmi-bt-host` (IPMI 11): a byte with the length in front, and a number in the message that its reply repeats.
    Bt,
    /// `/dev/ipmi-ssif-host` (IPMI 12): four bytes with the length in front, in the order of the BMC's processor.
    Ssif,
}

impl Framing {
    /// The request that a read gave; `None` if it is none.
    #[must_use]
    pub fn decode(self, bytes: &[u8]) -> Option<Framed> {
        let (sequence, netfn_lun, command, data) = match (self, self.message(bytes)?) {
            (Self::Bt, [netfn_lun, sequence, command, data @ ..]) => (*sequence, netfn_lun, command, data),
            (Self::Kcs | Self::Ssif, [netfn_lun, command, data @ ..]) => (0, netfn_lun, command, data),
            _ => return None,
        };
        let message = Message::new(*netfn_lun, *command, data)?;
        Some(Framed { framing: self, sequence, message })
    }

    /// What is behind the length, if that is right.
    fn message(self, bytes: &[u8]) -> Option<&[u8]> {
        let (length, message) = match self {
            Self::Kcs => (bytes.len(), bytes),
            Self::Bt => bytes.split_first().map(|(length, message)| (usize::from(*length), message))?,
            Self::Ssif => {
                let (length, message) = bytes.split_first_chunk()?;
                (usize::try_from(u32::from_ne_bytes(*length)).ok()?, message)
            }
        };
        (length == message.len() && length <= self.longest()).then_some(message)
    }

    /// Bytes of a message at most, without its length.
    const fn longest(self) -> usize {
        match self {
            Self::Kcs => READ,
            Self::Bt => 255,
            Self::Ssif => 254,
        }
    }
}

/// A request, and what its reply has to repeat.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Framed {
    framing: Framing,
    sequence: u8,
    /// The request.
    pub message: Message,
}

impl Framed {
    /// The bytes of a reply to it. One that the device does not take for its length becomes CEh.
    #[must_use]
    pub fn reply(&self, reply: &Reply) -> Vec<u8> {
        let mut message = self.reply_head(reply.code);
        if message.len() + reply.data.len() <= self.framing.longest() {
            message.extend(&reply.data);
        } else {
            message = self.reply_head(NO_ANSWER);
        }
        // KCS has none, and the others' fits a byte.
        let length = message.len() as u8;
        match self.framing {
            Framing::Kcs => message,
            Framing::Bt => [&[length], &message[..]].concat(),
            Framing::Ssif => [&u32::from(length).to_ne_bytes(), &message[..]].concat(),
        }
    }

    /// A reply up to its completion code.
    fn reply_head(&self, code: Code) -> Vec<u8> {
        let [netfn_lun, command] = self.message.reply_head();
        match self.framing {
            Framing::Kcs | Framing::Ssif => Vec::from([netfn_lun, command, code.0]),
            Framing::Bt => Vec::from([netfn_lun, self.sequence, command, code.0]),
        }
    }
}
