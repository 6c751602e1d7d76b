//! A restart of the BMC that waits for the session at work (docs/spec/session.md, 3).

use std::time::Duration;

use inband_dfu::wire::State;
use inband_usb::DeviceBackend;

use super::{Bmc, Fault, trial::Restart};
use crate::{
    command::AskedBy,
    worker::{Command, Worker},
};

/// What a host has to read the result, at most, when the session is over; then the BMC restarts.
pub(super) const TO_READ: Duration = Duration::from_secs(60);

impl<B: DeviceBackend, W: Worker> Bmc<B, W> {
    /// Restarts the BMC as somebody on it has asked for; a session that receives is over by then.
    pub(super) fn go_down(&mut self, now: Duration, by: AskedBy) -> Result<(), Fault<B::Error>> {
        match by {
            AskedBy::Host => {
                self.restart = Restart::Recording;
                Ok(self.worker.send(Command::GiveBootBack)?)
            }
            AskedBy::Bmc => {
                log::info!("event=restart asked-by=bmc");
                self.restart(now)
            }
        }
    }

    /// Whether a restart that is asked for now has to wait.
    pub(super) fn has_to_hold(&self) -> bool {
        self.options.hold_restart && (self.session.state().is_at_work() || self.is_held())
    }

    /// It waits. No other session begins meanwhile: a host could make it wait for ever.
    pub(super) fn hold_restart(&mut self, by: AskedBy) {
        if self.is_held() {
            return;
        }
        log::info!("event=restart-held asked-by={} session={}", by.name(), self.session.id());
        self.restart = Restart::Held { by, until: None };
        self.session.close();
    }

    pub(super) const fn is_held(&self) -> bool {
        matches!(self.restart, Restart::Held { .. })
    }

    /// Restarts if the session is over and its host knows, or had the time to. Returns whether it did.
    pub(super) fn handle_held(&mut self, now: Duration) -> Result<bool, Fault<B::Error>> {
        let Restart::Held { by, until } = self.restart else { return Ok(false) };
        if self.session.state().is_at_work() {
            return Ok(false);
        }
        let due = until.unwrap_or(now.saturating_add(TO_READ));
        let host_reads = self.dfu.state() != State::AppIdle || self.volume_tells();
        if host_reads && now < due {
            self.restart = Restart::Held { by, until: Some(due) };
            return Ok(false);
        }
        self.go_down(now, by)?;
        Ok(true)
    }

    /// Restarts at once if that is what was waited for: somebody on the BMC has ended the session.
    pub(super) fn release_held(&mut self, now: Duration) -> Result<(), Fault<B::Error>> {
        match self.restart {
            Restart::Held { by, .. } => self.go_down(now, by),
            Restart::No | Restart::Recording | Restart::UnderWay(_) | Restart::Again(_) => Ok(()),
        }
    }
}
