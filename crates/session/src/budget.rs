//! Budgets against wear (docs/spec/session.md, 7): how many sessions and slot rewrites a host gets in a day.
//!
//! A bucket each, which a use takes from and uptime fills: a BMC often has no clock that survives a restart, and what is
//! written down survives it. So a restart gives nothing, and neither does the time in which the BMC is off.

use core::time::Duration;

use inband_store::Levels;

/// What one use takes from a bucket. A bucket of n uses a day gains n with each millisecond of uptime, so that every sum is
/// exact in integers.
const USE: u64 = 24 * HOUR;
/// Milliseconds of an hour.
const HOUR: u64 = 60 * 60 * 1000;

/// What is configured about budgets: uses in a day, as many of which can be had at once. 0 is no bound.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rates {
    /// Sessions begun.
    pub sessions: u32,
    /// Slots prepared to be written.
    pub rewrites: u32,
}

impl Default for Rates {
    fn default() -> Self {
        Self { sessions: 200, rewrites: 24 }
    }
}

/// What is left at a moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Budget {
    rates: Rates,
    levels: Levels,
    /// The moment.
    at: Duration,
}

impl Budget {
    /// From what the journal has. Without that, as much as an hour brings, and one use at least: an update can still put right
    /// what lost the journal, and who could lose it again and again would gain no more than by waiting.
    #[must_use]
    pub fn new(rates: Rates, levels: Option<Levels>, now: Duration) -> Self {
        let hour = |rate: u32| (u64::from(rate) * HOUR).max(USE);
        let levels =
            levels.unwrap_or(Levels { sessions: hour(rates.sessions), rewrites: hour(rates.rewrites) });
        let mut budget = Self { rates, levels, at: now };
        budget.gain(0);
        budget
    }

    /// What is left now; times never go back.
    #[must_use]
    pub fn after(mut self, now: Duration) -> Self {
        let passed = u64::try_from(now.saturating_sub(self.at).as_millis()).unwrap_or(u64::MAX);
        // What is no whole millisecond counts the next time.
        self.at = self.at.saturating_add(Duration::from_millis(passed));
        self.gain(passed);
        self
    }

    /// Uptime in milliseconds fills the buckets, as far as they hold it.
    fn gain(&mut self, milliseconds: u64) {
        let full = |rate: u32| if rate == 0 { u64::MAX } else { u64::from(rate) * USE };
        let filled = |level: u64, rate: u32| {
            level.saturating_add(milliseconds.saturating_mul(u64::from(rate))).min(full(rate))
        };
        let Rates { sessions, rewrites } = self.rates;
        self.levels = Levels {
            sessions: filled(self.levels.sessions, sessions),
            rewrites: filled(self.levels.rewrites, rewrites),
        };
    }

    /// How long it takes, from the moment of this budget, until a session may begin; zero if one may. It needs a rewrite,
    /// too: without one it could come to nothing but its refusal.
    #[must_use]
    pub fn wait(&self) -> Duration {
        let wait = |level: u64, rate: u32| match u64::from(rate) {
            0 => 0,
            rate => USE.saturating_sub(level).div_ceil(rate),
        };
        let Levels { sessions, rewrites } = self.levels;
        Duration::from_millis(wait(sessions, self.rates.sessions).max(wait(rewrites, self.rates.rewrites)))
    }

    /// Whether uptime changes nothing any more.
    #[must_use]
    pub fn is_full(&self) -> bool {
        let mut later = *self;
        later.gain(1);
        later.levels == self.levels
    }

    /// With a session taken from it.
    #[must_use]
    pub const fn less_session(mut self) -> Self {
        self.levels.sessions = less(self.levels.sessions, self.rates.sessions);
        self
    }

    /// With a rewrite taken from it.
    #[must_use]
    pub const fn less_rewrite(mut self) -> Self {
        self.levels.rewrites = less(self.levels.rewrites, self.rates.rewrites);
        self
    }

    /// With one use of each at least.
    #[must_use]
    pub fn at_least_one(mut self) -> Self {
        self.levels.sessions = self.levels.sessions.max(USE);
        self.levels.rewrites = self.levels.rewrites.max(USE);
        self
    }

    /// For the journal.
    #[must_use]
    pub const fn levels(&self) -> Levels {
        self.levels
    }
}

/// Whole seconds of a wait, rounded up.
pub(crate) const fn seconds(wait: Duration) -> u64 {
    wait.as_secs().saturating_add((wait.subsec_nanos() > 0) as u64)
}

/// A level after a use.
const fn less(level: u64, rate: u32) -> u64 {
    if rate == 0 { level } else { level.saturating_sub(USE) }
}

#[cfg(test)]
mod tests;
