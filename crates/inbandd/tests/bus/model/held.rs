//! The model of a restart that waits for the session at work (session.md, 3).

use std::time::Duration;

use inbandd::command::{Answer, AskedBy};

use super::{
    machine::{Machine, seconds},
    usb::OnBus,
};

/// What a host has to read the result.
const TO_READ: Duration = seconds(60);

/// A restart that waits.
#[derive(Clone, Copy, Debug)]
pub(super) struct Held {
    by: AskedBy,
    /// No longer than that, once the session is over.
    pub(super) until: Option<Duration>,
}

impl Machine {
    /// Somebody on the BMC asks for a restart.
    pub(super) fn ask_restart(&mut self, by: AskedBy) -> Answer {
        if self.configured.holds && (self.is_at_work() || self.held.is_some()) {
            self.held.get_or_insert(Held { by, until: None });
            return Answer::Held;
        }
        if self.is_at_work() && !self.receives() {
            return Answer::Busy;
        }
        self.restart(by);
        Answer::Done
    }

    /// It begins when the session is over and its host has read the result, or had the time to.
    pub(super) fn check_held(&mut self) {
        let Some(Held { by, until }) = self.held.filter(|_| !self.is_at_work()) else { return };
        let due = until.unwrap_or(self.now + TO_READ);
        let host_reads = match self.bus {
            OnBus::Dfu(_) => true,
            OnBus::Disk(drive) => drive.tells(),
            OnBus::Bare | OnBus::Nothing => false,
        };
        if host_reads && self.now < due {
            self.held = Some(Held { by, until: Some(due) });
        } else {
            self.restart(by);
        }
    }

    /// Nobody is to read anything any more: a restart that waits begins, if the session is over. Whether it did.
    pub(super) fn release_held(&mut self) -> bool {
        let held = self.held.filter(|_| !self.is_at_work());
        if let Some(held) = held {
            self.restart(held.by);
        }
        held.is_some()
    }
}
