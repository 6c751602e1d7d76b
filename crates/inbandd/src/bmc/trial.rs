//! Firmware on trial, and the restarts that its end and others ask for (docs/spec/session.md, 6).

use std::time::Duration;

use inband_session::{
    Door, SessionState,
    trial::{Action, Limits, Trial},
};
use inband_usb::DeviceBackend;

use super::{Bmc, Fault};
use crate::{
    command::AskedBy,
    programs::{Exit, Task},
    worker::{Command, Gone, Worker},
};

/// How long the BMC may take to go down once its restart command has been started.
pub(super) const RESTART_LIMIT: Duration = Duration::from_secs(300);
/// From a restart that failed to the next try, where unhealthy firmware has to go or the host wants it.
pub(super) const RESTART_AGAIN: Duration = Duration::from_secs(60);

/// How new firmware proves itself.
#[derive(Clone, Debug)]
pub struct Health {
    /// Program and arguments; exit code 0 means healthy.
    pub command: Vec<String>,
    /// When it is run, and until when it must have passed.
    pub limits: Limits,
}

/// What is known of the firmware that runs.
#[derive(Debug)]
pub(super) enum Verdict {
    /// It is on no trial, or needs no health command.
    None,
    /// It is on trial.
    Open(Trial),
    /// It is unhealthy and has to go.
    Unhealthy,
}

impl Verdict {
    pub(super) fn poll_timeout(&self) -> Option<Duration> {
        match self {
            Self::Open(trial) => trial.poll_timeout(),
            Self::None | Self::Unhealthy => None,
        }
    }
}

/// Whether the BMC is about to restart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Restart {
    /// Nobody wants it to.
    No,
    /// Once the session at work is over, and its host knows; at that time at the latest, if it is over.
    Held { by: AskedBy, until: Option<Duration> },
    /// Once the worker has written down what there is to be written.
    Recording,
    /// It has begun, and is due at this time.
    UnderWay(Duration),
    /// It failed, and is tried again at this time.
    Again(Duration),
}

impl Restart {
    pub(super) const fn poll_timeout(self) -> Option<Duration> {
        match self {
            Self::No | Self::Recording => None,
            Self::Held { until, .. } => until,
            Self::UnderWay(at) | Self::Again(at) => Some(at),
        }
    }
}

impl<B: DeviceBackend, W: Worker> Bmc<B, W> {
    /// The machine has started, or a restart came to nothing: firmware on trial is confirmed, or has to pass its health command
    /// first. The deadline is that of the start either way.
    pub(super) fn begin_trial(&mut self) {
        let on_trial = self.session.state() == SessionState::PendingConfirm;
        let started = self.started;
        (self.verdict, self.confirm_at) = match &self.options.health {
            Some(health) if on_trial => (Verdict::Open(Trial::new(started, &health.limits)), None),
            None if on_trial => (Verdict::None, Some(started)),
            Some(_) | None => (Verdict::None, None),
        };
    }

    /// The trial is over, or the machine goes down: nothing is run any more.
    pub(super) fn end_trial(&mut self) {
        self.confirm_at = None;
        if let Verdict::Open(trial) = &self.verdict {
            if trial.is_running() {
                self.options.runner.kill(Task::Health);
            }
            self.verdict = Verdict::None;
        }
    }

    /// Has the worker confirm the firmware: once, however often that is asked for until it has answered.
    pub(super) fn send_confirm(&mut self) -> Result<(), Gone> {
        if !std::mem::replace(&mut self.confirms, true) {
            self.worker.send(Command::Confirm)?;
        }
        Ok(())
    }

    /// The firmware is confirmed: nothing that the trial asked for is wanted any more.
    pub(super) fn settle_trial(&mut self) {
        self.end_trial();
        self.verdict = Verdict::None;
        if let Restart::Again(_) = self.restart {
            self.restart = Restart::No;
        }
    }

    /// Ends of programs, and the clock of the trial. Returns whether there was anything.
    pub(super) fn handle_trial(&mut self, now: Duration) -> Result<bool, Fault<B::Error>> {
        let mut busy = false;
        while let Some((task, exit)) = self.options.runner.poll() {
            busy = true;
            match task {
                Task::Health => self.handle_health(now, &exit),
                Task::Restart if exit.passed() => {}
                Task::Restart => self.restart_failed(now, &exit)?,
            }
        }
        loop {
            let Verdict::Open(trial) = &mut self.verdict else { return Ok(busy) };
            trial.handle_timeout(now);
            let Some(action) = trial.poll_action() else { return Ok(busy) };
            busy = true;
            match action {
                Action::Run => {
                    if let Some(health) = &self.options.health {
                        self.options.runner.start(Task::Health, &health.command);
                    }
                }
                Action::Kill => self.options.runner.kill(Task::Health),
                Action::Confirm => {
                    log::info!("event=health-passed session={}", self.session.id());
                    self.verdict = Verdict::None;
                    self.confirm_at = Some(now);
                }
                Action::GiveUp => {
                    log::error!(
                        "event=unhealthy session={}: the health command did not pass in time; the BMC restarts",
                        self.session.id()
                    );
                    self.verdict = Verdict::Unhealthy;
                    self.restart = Restart::Recording;
                    self.worker.send(Command::Unhealthy)?;
                }
            }
        }
    }

    fn handle_health(&mut self, now: Duration, exit: &Exit) {
        let Verdict::Open(trial) = &mut self.verdict else { return };
        if !exit.passed() {
            log::warn!("event=health-failed session={}: {exit}", self.session.id());
        }
        trial.handle_exit(now, exit.passed());
    }

    /// The worker has written down what there was to be written before a restart; another one may have begun meanwhile.
    pub(super) fn recorded(&mut self, now: Duration) -> Result<(), Fault<B::Error>> {
        match self.restart {
            Restart::Recording => self.restart(now),
            Restart::No | Restart::Held { .. } | Restart::UnderWay(_) | Restart::Again(_) => Ok(()),
        }
    }

    /// Restarts the BMC, into whatever boots next.
    pub(super) fn restart(&mut self, now: Duration) -> Result<(), Fault<B::Error>> {
        self.end_trial();
        // What a host has begun since this was asked for.
        self.preempt(now)?;
        // Only staged firmware has a state of its own for this.
        _ = self.session.activate();
        self.leave_doors();
        self.session.leave(Door::Volume);
        self.leave_bus()?;
        self.volume.forget_activation();
        // Nothing of DFU runs on, and brings the device back while the BMC goes down.
        self.dfu.enter_runtime(now);
        let command = &self.options.restart;
        if command.is_empty() {
            self.restart = Restart::UnderWay(Duration::MAX);
            self.worker.send(Command::Boot)?;
        } else {
            self.restart = Restart::UnderWay(now.saturating_add(RESTART_LIMIT));
            self.options.runner.start(Task::Restart, command);
        }
        Ok(())
    }

    /// Whether the BMC goes down, whatever is asked for.
    pub(super) const fn goes_down(&self) -> bool {
        match self.restart {
            Restart::Recording | Restart::UnderWay(_) => true,
            Restart::No | Restart::Held { .. } | Restart::Again(_) => false,
        }
    }

    /// The clock of a restart. Returns whether there was anything.
    pub(super) fn handle_restart(&mut self, now: Duration) -> Result<bool, Fault<B::Error>> {
        match self.restart {
            Restart::UnderWay(due) if due <= now => {
                self.options.runner.kill(Task::Restart);
                self.restart_failed(now, &"the BMC is still up")?;
                Ok(true)
            }
            Restart::Again(at) if at <= now => {
                self.restart(now)?;
                Ok(true)
            }
            Restart::Held { .. } => self.handle_held(now),
            Restart::No | Restart::Recording | Restart::UnderWay(_) | Restart::Again(_) => Ok(false),
        }
    }

    /// The BMC is still up, and so is what ran before. Unhealthy firmware is not left in peace, and a trial goes on: without a
    /// verdict no session would be taken any more, and the old firmware would never return.
    fn restart_failed(
        &mut self,
        now: Duration,
        reason: &dyn std::fmt::Display,
    ) -> Result<(), Fault<B::Error>> {
        log::error!("event=restart-failed: {reason}; see activation.restart_command");
        let view = self.session.store().clone();
        self.session.restarted(view);
        self.forget_start();
        self.rest(now);
        self.restart = match self.verdict {
            Verdict::Unhealthy => Restart::Again(now.saturating_add(RESTART_AGAIN)),
            Verdict::None | Verdict::Open(_) => {
                self.begin_trial();
                Restart::No
            }
        };
        self.show_runtime(now)
    }
}
