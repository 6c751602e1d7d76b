//! From run-time to DFU mode.

use inband_usb::HostError;

use super::{
    DfuInterface, Error, Expected, Misbehaviour, Step, command, get_status, parse_status, transfer_failed,
};
use crate::wire::{DETACH_TIMEOUT_MS, Request, State};

/// Begins with a device that shows its run-time interface.
pub fn detach(interface: &DfuInterface) -> Step {
    get_status(interface.number, Expected::RuntimeStatus(ExpectStatus { interface: *interface }))
}

#[derive(Debug)]
pub(super) struct ExpectStatus {
    interface: DfuInterface,
}

impl ExpectStatus {
    pub(super) fn handle(self, reply: Result<&[u8], HostError>) -> Result<Step, Error> {
        match reply {
            // GETSTATUS is optional in run-time mode (DFU 1.1, table 3.2).
            Err(HostError::Stall) => {}
            Err(error) => return Err(transfer_failed(Request::GetStatus, error)),
            Ok(bytes) => match parse_status(bytes)?.state {
                State::AppIdle => {}
                // Another program was here first; a second DETACH would be refused (A.2.2) and call the first one off.
                State::AppDetach => {
                    let bus_reset = !self.interface.functional.attributes.will_detach();
                    return Ok(Step::Detached { bus_reset });
                }
                state @ (State::DfuIdle
                | State::DfuDnloadSync
                | State::DfuDnbusy
                | State::DfuDnloadIdle
                | State::DfuManifestSync
                | State::DfuManifest
                | State::DfuManifestWaitReset
                | State::DfuUploadIdle
                | State::DfuError) => {
                    let after = Request::GetStatus;
                    return Err(Error::PeerMisbehaved(Misbehaviour::State { state, after }));
                }
            },
        }
        // wValue should not exceed wDetachTimeOut (5.1); a device that gives none gets ours.
        let timeout = match self.interface.functional.detach_timeout_ms {
            0 => DETACH_TIMEOUT_MS,
            given => given.min(DETACH_TIMEOUT_MS),
        };
        let then = ExpectDetached { bus_reset: !self.interface.functional.attributes.will_detach() };
        Ok(command(self.interface.number, Request::Detach, timeout, Expected::Detached(then)))
    }
}

#[derive(Debug)]
pub(super) struct ExpectDetached {
    bus_reset: bool,
}

impl ExpectDetached {
    pub(super) fn handle(self, reply: Result<&[u8], HostError>) -> Result<Step, Error> {
        match reply {
            // A device may be gone before the host has seen the end of the request, and systems differ in how they say so. What
            // counts is whether it comes back in DFU mode.
            Ok(_) | Err(HostError::Gone | HostError::Cancelled | HostError::Other(_)) => {
                Ok(Step::Detached { bus_reset: self.bus_reset })
            }
            Err(
                error @ (HostError::Stall
                | HostError::Overflow
                | HostError::Busy
                | HostError::Permission
                | HostError::Misuse(_)),
            ) => Err(transfer_failed(Request::Detach, error)),
        }
    }
}
