//! What every command has (spec, 1).

use alloc::vec::Vec;

/// Network function of requests: OEM group, whose data begins with the number of an organisation (IPMI 5.1). Replies have this plus 1.
pub const NETFN: u8 = 0x2e;
/// The organisation: 49871, OpenBMC, least significant byte first.
pub const ORGANISATION: [u8; 3] = [0xcf, 0xc2, 0x00];
/// The command, unless the BMC is configured otherwise.
pub const COMMAND: u8 = 0x49;
/// Bytes of a message at most, from the network function on: what every channel carries.
pub const MESSAGE: usize = 64;
/// Bytes behind the subcommand of a request, at most: network function, command, organisation and subcommand take 6.
pub const BODY: usize = MESSAGE - 6;

/// A request as channels deliver it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Request<'a> {
    /// Network function, even.
    pub netfn: u8,
    /// Logical unit number, 0 to 3.
    pub lun: u8,
    /// Command.
    pub command: u8,
    /// Everything behind it.
    pub data: &'a [u8],
}

/// A request that is kept until it is answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    netfn_lun: u8,
    command: u8,
    data: Vec<u8>,
}

impl Message {
    /// From network function × 4 + LUN, as all framings have it. `None` if it is a reply: those have an odd network function (IPMI 5.1).
    #[must_use]
    pub fn new(netfn_lun: u8, command: u8, data: &[u8]) -> Option<Self> {
        (netfn_lun & 1 << 2 == 0).then(|| Self { netfn_lun, command, data: data.into() })
    }

    /// The request.
    #[must_use]
    pub fn request(&self) -> Request<'_> {
        Request {
            netfn: self.netfn_lun >> 2,
            lun: self.netfn_lun & 3,
            command: self.command,
            data: &self.data,
        }
    }

    /// Network function and LUN, and command, of its reply: the network function is the request's plus 1 (IPMI 5.1).
    #[must_use]
    pub const fn reply_head(&self) -> [u8; 2] {
        [self.netfn_lun | 1 << 2, self.command]
    }
}

/// A reply: completion code, and what comes behind it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    /// How it went.
    pub code: Code,
    /// Behind the completion code; empty if that is not [`Code::OK`].
    pub data: Vec<u8>,
}

impl Reply {
    /// Success.
    #[must_use]
    pub const fn ok(data: Vec<u8>) -> Self {
        Self { code: Code::OK, data }
    }
}

impl From<Code> for Reply {
    fn from(code: Code) -> Self {
        Self { code, data: Vec::new() }
    }
}

/// A completion code (IPMI 5.2; 80h to BEh are the command's own: spec, 3).
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Code(pub u8);

impl Code {
    /// Done.
    pub const OK: Self = Self(0x00);
    /// The door's policy is `off`, or it is not for this command to open.
    pub const DOOR_SHUT: Self = Self(0x80);
    /// Another session, or another start, is in the way.
    pub const BUSY: Self = Self(0x81);
    /// Too many packages were refused.
    pub const LOCKED_OUT: Self = Self(0x82);
    /// The budget of sessions or rewrites is used up.
    pub const WORN: Self = Self(0x83);
    /// The running firmware is not confirmed.
    pub const ON_TRIAL: Self = Self(0x84);
    /// There is nothing to do that to.
    pub const NOTHING: Self = Self(0x85);
    /// The nonce is not that of the start in force.
    pub const WRONG_NONCE: Self = Self(0x86);
    /// Not by the host: the BMC is not configured so.
    pub const NOT_ALLOWED: Self = Self(0x87);
    /// The BMC has not the memory, or no controller for it.
    pub const NO_RESOURCES: Self = Self(0x88);
    /// There is no such command.
    pub const INVALID_COMMAND: Self = Self(0xc1);
    /// The request is too short or too long.
    pub const LENGTH: Self = Self(0xc7);
    /// A field has a value that it may not have.
    pub const FIELD: Self = Self(0xcc);
    /// Not from there, or not by that user.
    pub const PRIVILEGE: Self = Self(0xd4);

    /// All that this crate knows.
    pub const ALL: [Self; 14] = [
        Self::OK,
        Self::DOOR_SHUT,
        Self::BUSY,
        Self::LOCKED_OUT,
        Self::WORN,
        Self::ON_TRIAL,
        Self::NOTHING,
        Self::WRONG_NONCE,
        Self::NOT_ALLOWED,
        Self::NO_RESOURCES,
        Self::INVALID_COMMAND,
        Self::LENGTH,
        Self::FIELD,
        Self::PRIVILEGE,
    ];

    /// What a human is told.
    #[must_use]
    pub const fn text(self) -> &'static str {
        match self {
            Self::OK => "done",
            Self::DOOR_SHUT => "the door is shut and not for the host to open",
            Self::BUSY => "another update, or a start, is in the way",
            Self::LOCKED_OUT => "too many packages were refused: the host has to wait",
            Self::WORN => "the budget of sessions or slot rewrites is used up",
            Self::ON_TRIAL => "the running firmware is not confirmed yet",
            Self::NOTHING => "there is nothing to do that to",
            Self::WRONG_NONCE => "that start is not in force",
            Self::NOT_ALLOWED => "the BMC does not let the host do that",
            Self::NO_RESOURCES => "the BMC has not the memory or the controller for it",
            Self::INVALID_COMMAND => "no such command",
            Self::LENGTH => "the request is too short or too long",
            Self::FIELD => "a field of the request has a value that it may not have",
            Self::PRIVILEGE => "not from this channel, or not by this user",
            _ => "an error that is not known",
        }
    }
}

impl core::fmt::Display for Code {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "{:02X}h: {}", self.0, self.text())
    }
}

impl core::fmt::Debug for Code {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "Code({:02X}h)", self.0)
    }
}
