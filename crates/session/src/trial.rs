//! Whether new firmware proves itself: when its health command is run, how often, and what follows (docs/spec/session.md, 6).

use core::time::Duration;

#[cfg(test)]
mod tests;

/// What is configured about the health command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// The time from the start of the daemon in which the command must have passed.
    pub deadline: Duration,
    /// The pause from one try to the next.
    pub retry: Duration,
}

/// What is to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Run the health command.
    Run,
    /// The command is out of time: kill it, and all that it started.
    Kill,
    /// The firmware is healthy: confirm it.
    Confirm,
    /// The firmware is unhealthy: record that, then restart the BMC.
    GiveUp,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// The command is to be run at this time.
    Waiting(Duration),
    /// It runs.
    Running,
    /// It passed, or did not: nothing changes that any more.
    Decided,
}

/// The trial of one boot. Sans-IO: times are since any fixed moment and never go back.
///
/// [`handle_timeout`](Self::handle_timeout) is due at [`poll_timeout`](Self::poll_timeout), at once to begin with;
/// [`handle_exit`](Self::handle_exit) tells how a run of the command ended. Behind each of them [`poll_action`](Self::poll_action)
/// is called until it is `None`.
#[derive(Debug)]
pub struct Trial {
    state: State,
    deadline: Duration,
    retry: Duration,
    /// Out of time with the command still running: [`Action::GiveUp`] follows [`Action::Kill`].
    actions: [Option<Action>; 2],
}

impl Trial {
    /// The trial begins now.
    #[must_use]
    pub const fn new(now: Duration, limits: &Limits) -> Self {
        Self {
            state: State::Waiting(now),
            deadline: now.saturating_add(limits.deadline),
            retry: limits.retry,
            actions: [None; 2],
        }
    }

    /// When [`Trial::handle_timeout`] is due next; `None` once the trial is decided.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Duration> {
        match self.state {
            State::Waiting(until) => Some(until.min(self.deadline)),
            State::Running => Some(self.deadline),
            State::Decided => None,
        }
    }

    /// Time has passed.
    pub fn handle_timeout(&mut self, now: Duration) {
        match self.state {
            State::Waiting(_) if now >= self.deadline => self.decide([Some(Action::GiveUp), None]),
            State::Waiting(until) if now >= until => {
                self.state = State::Running;
                self.actions = [Some(Action::Run), None];
            }
            State::Running if now >= self.deadline => {
                self.decide([Some(Action::Kill), Some(Action::GiveUp)]);
            }
            State::Waiting(_) | State::Running | State::Decided => {}
        }
    }

    /// The command ended by itself, or could not be started. Only exit code 0 is a pass; one that comes with the deadline still
    /// counts, as long as the verdict is not out.
    pub fn handle_exit(&mut self, now: Duration, passed: bool) {
        match self.state {
            State::Running if passed => self.decide([Some(Action::Confirm), None]),
            State::Running => self.state = State::Waiting(now.saturating_add(self.retry)),
            // Of a run that was killed.
            State::Waiting(_) | State::Decided => {}
        }
    }

    /// What is to be done next.
    pub const fn poll_action(&mut self) -> Option<Action> {
        let [first, second] = self.actions;
        self.actions = [second, None];
        first
    }

    /// Whether the command runs.
    #[must_use]
    pub fn is_running(&self) -> bool {
        self.state == State::Running
    }

    const fn decide(&mut self, actions: [Option<Action>; 2]) {
        self.state = State::Decided;
        self.actions = actions;
    }
}
