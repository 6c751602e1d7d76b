//! What is told of the doors in the log, and how much of it: a host must not be able to fill the journal.

use std::{fmt, time::Duration};

use inband_session::{Audit, By, HostAct, SessionState};

/// Lines in a burst, at most.
const BURST: u32 = 200;
/// After a burst, one line for each of these.
const REFILL: Duration = Duration::from_secs(1);

/// Passes audit lines on to the log, and counts those that are too many.
///
/// What needs signed firmware or time to come about is always told: it cannot be had in numbers, and it must not be hidden
/// behind what can.
#[derive(Debug)]
pub struct AuditLog {
    left: u32,
    /// Since when `left` has been what it is, but for what was spent.
    since: Duration,
    dropped: u64,
}

impl Default for AuditLog {
    fn default() -> Self {
        Self { left: BURST, since: Duration::ZERO, dropped: 0 }
    }
}

impl AuditLog {
    /// Tells of something at the doors.
    pub fn tell(&mut self, now: Duration, line: &Audit) {
        if is_rare(line) || self.admit(now) {
            log::info!("{line}");
        }
    }

    /// Tells of something else that a host can bring about.
    pub fn info(&mut self, now: Duration, line: &str) {
        if self.admit(now) {
            log::info!("{line}");
        }
    }

    /// Tells of something that went wrong at the doors.
    pub fn warn(&mut self, now: Duration, line: fmt::Arguments<'_>) {
        if self.admit(now) {
            log::warn!("{line}");
        }
    }

    /// Whether there is room for one more line. If there is room again, tells how many were dropped.
    fn admit(&mut self, now: Duration) -> bool {
        let passed = now.saturating_sub(self.since).as_secs() / REFILL.as_secs();
        if passed > 0 {
            self.left = u32::try_from(passed).unwrap_or(BURST).saturating_add(self.left).min(BURST);
            self.since = now;
        }
        if self.left == 0 {
            self.dropped = self.dropped.saturating_add(1);
            return false;
        }
        self.left -= 1;
        if self.dropped > 0 {
            log::warn!("event=log-lines-dropped lines={}", self.dropped);
            self.dropped = 0;
        }
        true
    }
}

/// Whether a line is of a kind that a host cannot cause often.
const fn is_rare(line: &Audit) -> bool {
    match line {
        Audit::DoorArmed { by, .. } | Audit::DoorShut { by, .. } => match by {
            By::Bmc => true,
            // Whatever powers the host on, a host may have it done again and again.
            By::Ipmi | By::PowerOn | By::Deadline => false,
        },
        Audit::OnTrial { .. }
        | Audit::LockedOut { .. }
        | Audit::ByHost { act: HostAct::Activate | HostAct::Confirm, .. } => true,
        Audit::Changed { state, .. } => match state {
            SessionState::Staged
            | SessionState::Activating
            | SessionState::PendingConfirm
            | SessionState::Done
            | SessionState::RolledBack => true,
            SessionState::Idle
            | SessionState::Receiving
            | SessionState::Interrupted
            | SessionState::Handover
            | SessionState::Verifying
            | SessionState::Failed
            | SessionState::Aborted => false,
        },
        Audit::DoorStarted { .. }
        | Audit::DoorStopped { .. }
        | Audit::ByHost { act: HostAct::Abort, .. }
        | Audit::DoorOpened { .. }
        | Audit::DoorLeft { .. }
        | Audit::Refused { .. }
        | Audit::Began { .. }
        | Audit::Accepted { .. } => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: Duration = Duration::from_secs(1000);

    #[test]
    fn a_burst_passes_and_a_flood_does_not() {
        let mut audit = AuditLog::default();
        let admitted = (0..10_000).filter(|_| audit.admit(START)).count();
        assert_eq!(admitted, 200);
        assert_eq!(audit.dropped, 9_800);
    }

    #[test]
    fn what_changes_what_runs_is_told_behind_a_flood() {
        let by_host = |act| is_rare(&Audit::ByHost { act, id: 1 });
        assert!(by_host(HostAct::Activate) && by_host(HostAct::Confirm));
        assert!(!by_host(HostAct::Abort), "which a host can have again and again");
    }

    #[test]
    fn a_flood_that_lasts_is_held_to_a_line_a_second() {
        let mut audit = AuditLog::default();
        // A thousand lines a second, for ten minutes behind the first burst.
        let moments = (0..600_000).map(|millisecond| START + Duration::from_millis(millisecond));
        let admitted = moments.filter(|now| audit.admit(*now)).count();
        assert!((200 + 598..=200 + 600).contains(&admitted), "{admitted}");
    }

    #[test]
    fn after_a_quiet_time_a_whole_burst_passes_again() {
        let mut audit = AuditLog::default();
        while audit.admit(START) {}
        let later = START + Duration::from_secs(3600);
        assert_eq!((0..10_000).filter(|_| audit.admit(later)).count(), 200);
    }
}
