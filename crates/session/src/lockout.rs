//! The lock-out (docs/spec/session.md, 7): who brings one bad package after the other has to wait.

use core::time::Duration;

use crate::result::ResultCode;

/// How long the host's doors are locked.
pub const LOCKED: Duration = Duration::from_secs(10 * 60);
/// After that time without a refusal, those before it count no more.
pub const FORGET: Duration = Duration::from_secs(60 * 60);

/// Counts refusals.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Lockout {
    /// Refusals in a row, the last one at `last`.
    refusals: u32,
    last: Duration,
    /// Until when the host's doors are locked.
    until: Option<Duration>,
}

impl Lockout {
    /// A package came to its verdict. `limit` refusals in a row lock the doors; 0 never does. Returns for how long, if this is
    /// the one that does.
    pub(crate) fn count(
        &mut self,
        limit: u32,
        verdict: Result<(), ResultCode>,
        now: Duration,
    ) -> Option<Duration> {
        let refused = match verdict {
            Ok(()) => {
                *self = Self::default();
                false
            }
            Err(result) => result.is_refusal(),
        };
        if !refused {
            return None;
        }
        if now.saturating_sub(self.last) > FORGET {
            self.refusals = 0;
        }
        self.refusals = self.refusals.saturating_add(1);
        self.last = now;
        if limit == 0 || self.refusals < limit {
            return None;
        }
        *self = Self { until: Some(now.saturating_add(LOCKED)), ..Self::default() };
        Some(LOCKED)
    }

    /// How long the doors stay locked; zero if they are not.
    pub(crate) fn wait(&self, now: Duration) -> Duration {
        self.until.unwrap_or_default().saturating_sub(now)
    }
}
