//! The commands that an operating system asks of a BMC before it believes that there is one (IPMI 20 and 22): for a system interface at whose other end there
//! is nobody but inbandd. Where a BMC's IPMI stack forwards requests it answers these itself.

use alloc::vec;

use crate::wire::{Code, ORGANISATION, Reply, Request};

/// Network function of application commands.
const APPLICATION: u8 = 0x06;

/// A BMC that can say who it is.
#[derive(Clone, Copy, Debug, Default)]
pub struct Standalone {
    /// What Set BMC Global Enables said last.
    enables: u8,
}

impl Standalone {
    /// Answers a request; whatever is not known is refused as the standard asks.
    pub fn handle(&mut self, request: &Request<'_>) -> Reply {
        if request.netfn != APPLICATION || request.lun != 0 {
            return Code::INVALID_COMMAND.into();
        }
        match (request.command, request.data) {
            // Get Device ID (20.1): device 20h, revision 1, firmware 0.1, IPMI 2.0, nothing supported besides, OpenBMC, product 49h.
            (0x01, []) => {
                let [a, b, c] = ORGANISATION;
                Reply::ok(vec![0x20, 0x01, 0x00, 0x10, 0x02, 0x00, a, b, c, 0x49, 0x00])
            }
            // Get Self Test Results (20.4): not implemented.
            (0x04, []) => Reply::ok(vec![0x56, 0x00]),
            // Set and Get BMC Global Enables (22.1, 22.2): kept, and without meaning.
            (0x2e, [enables]) => {
                self.enables = *enables;
                Reply::ok(vec![])
            }
            (0x2f, []) => Reply::ok(vec![self.enables]),
            // Clear and Get Message Flags (22.3, 22.4): there are never any.
            (0x30, [_]) => Reply::ok(vec![]),
            (0x31, []) => Reply::ok(vec![0]),
            // Get BT Interface Capabilities (22.10): one request at a time, 255 bytes each way, an answer within 4 s, two more tries.
            (0x36, []) => Reply::ok(vec![1, 0xff, 0xff, 4, 2]),
            (0x01 | 0x04 | 0x2e | 0x2f | 0x30 | 0x31 | 0x36, _) => Code::LENGTH.into(),
            _ => Code::INVALID_COMMAND.into(),
        }
    }
}
