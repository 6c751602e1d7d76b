//! The framing of QEMU's `ipmi-bmc-extern` (spec, 6): one stream of bytes each way, in which a byte ends a message, another one a control command, and a third
//! escapes these three.

use alloc::{vec, vec::Vec};
use core::mem;

use crate::wire::{Message, Reply};

const MESSAGE_END: u8 = 0xa0;
const CONTROL_END: u8 = 0xa1;
const ESCAPE: u8 = 0xaa;
const ESCAPED: u8 = 0x10;

/// Bytes of a frame, without escapes and its end, at most: what QEMU's own buffer takes.
pub const FRAME: usize = 300;

/// What the other side says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Frame {
    /// A request of the guest's.
    Request(Numbered),
    /// FFh: the version of the framing.
    Version(u8),
    /// 08h: what the virtual machine can do.
    Capabilities(u8),
    /// 04h: the virtual machine was reset.
    Reset,
}

/// A request, and the number that its reply has to have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Numbered {
    /// To be echoed.
    pub sequence: u8,
    /// The request.
    pub message: Message,
}

impl Numbered {
    /// The bytes of a reply to it, its end included.
    #[must_use]
    pub fn reply(&self, reply: &Reply) -> Vec<u8> {
        let [netfn_lun, command] = self.message.reply_head();
        let mut bytes = vec![self.sequence, netfn_lun, command, reply.code.0];
        bytes.extend(&reply.data);
        bytes.push(checksum(&bytes));
        frame(&bytes, MESSAGE_END)
    }
}

/// What is said when somebody has connected: version 1 of the framing.
#[must_use]
pub fn greeting() -> Vec<u8> {
    frame(&[0xff, 1], CONTROL_END)
}

/// Takes the stream apart. What makes no sense is passed over: QEMU asks again, or tells its guest that nobody has answered.
#[derive(Debug, Default)]
pub struct Decoder(Splitter);

impl Decoder {
    /// The next byte of the stream.
    pub fn push(&mut self, byte: u8) -> Option<Frame> {
        match self.0.push(byte)? {
            Unescaped::Message(bytes) => message(&bytes),
            Unescaped::Control(bytes) => control(&bytes),
        }
    }
}

/// What was between two ends, without escapes.
enum Unescaped {
    Message(Vec<u8>),
    Control(Vec<u8>),
}

/// Finds the ends and takes the escapes out, for either side.
#[derive(Debug, Default)]
struct Splitter {
    bytes: Vec<u8>,
    escaped: bool,
    /// The frame is too long: its rest is passed over.
    overlong: bool,
}

impl Splitter {
    fn push(&mut self, byte: u8) -> Option<Unescaped> {
        match byte {
            MESSAGE_END | CONTROL_END => {
                let Self { bytes, escaped, overlong } = mem::take(self);
                return if escaped || overlong {
                    None
                } else if byte == MESSAGE_END {
                    Some(Unescaped::Message(bytes))
                } else {
                    Some(Unescaped::Control(bytes))
                };
            }
            ESCAPE => self.escaped = true,
            _ if self.bytes.len() >= FRAME => self.overlong = true,
            _ => {
                let bits = if self.escaped { ESCAPED } else { 0 };
                self.escaped = false;
                self.bytes.push(byte & !bits);
            }
        }
        None
    }
}

fn message(bytes: &[u8]) -> Option<Frame> {
    let (&[sequence, netfn_lun, command], rest) = bytes.split_first_chunk()?;
    let (_, data) = rest.split_last()?;
    let message = Message::new(netfn_lun, command, data).filter(|_| checksum(bytes) == 0)?;
    Some(Frame::Request(Numbered { sequence, message }))
}

const fn control(bytes: &[u8]) -> Option<Frame> {
    match *bytes {
        [0xff, version] => Some(Frame::Version(version)),
        [0x08, capabilities] => Some(Frame::Capabilities(capabilities)),
        [0x04] => Some(Frame::Reset),
        _ => None,
    }
}

/// What makes the sum of all bytes 0.
fn checksum(bytes: &[u8]) -> u8 {
    bytes.iter().fold(0_u8, |sum, byte| sum.wrapping_sub(*byte))
}

fn frame(bytes: &[u8], end: u8) -> Vec<u8> {
    let mut framed = Vec::with_capacity(bytes.len() + 8);
    for &byte in bytes {
        match byte {
            MESSAGE_END | CONTROL_END | ESCAPE => framed.extend([ESCAPE, byte | ESCAPED]),
            _ => framed.push(byte),
        }
    }
    framed.push(end);
    framed
}

/// The other side of the framing, for a host that stands in for QEMU.
pub mod qemu {
    use alloc::vec::Vec;

    use super::{CONTROL_END, MESSAGE_END, Splitter, Unescaped, checksum, frame};
    use crate::wire::{Code, Reply};

    /// The bytes of a request.
    #[must_use]
    pub fn request(sequence: u8, netfn: u8, command: u8, data: &[u8]) -> Vec<u8> {
        let mut bytes = Vec::from([sequence, netfn << 2, command]);
        bytes.extend(data);
        bytes.push(checksum(&bytes));
        frame(&bytes, MESSAGE_END)
    }

    /// The bytes of a control command.
    #[must_use]
    pub fn control(bytes: &[u8]) -> Vec<u8> {
        frame(bytes, CONTROL_END)
    }

    /// A reply of the BMC's.
    #[derive(Clone, Debug, PartialEq, Eq)]
    pub struct Answer {
        /// Of the request that it answers.
        pub sequence: u8,
        /// Network function: that of the request plus 1.
        pub netfn: u8,
        /// Command.
        pub command: u8,
        /// What it says.
        pub reply: Reply,
    }

    /// Takes the BMC's stream apart. What makes no sense is passed over, and so are its control commands, which are about a machine that there is not.
    #[derive(Debug, Default)]
    pub struct Decoder(Splitter);

    impl Decoder {
        /// The next byte of the stream.
        pub fn push(&mut self, byte: u8) -> Option<Answer> {
            let Unescaped::Message(bytes) = self.0.push(byte)? else { return None };
            let (&[sequence, netfn_lun, command, code], rest) = bytes.split_first_chunk()?;
            let (_, data) = rest.split_last()?;
            let reply = Reply { code: Code(code), data: data.to_vec() };
            (checksum(&bytes) == 0).then_some(Answer { sequence, netfn: netfn_lun >> 2, command, reply })
        }
    }
}
