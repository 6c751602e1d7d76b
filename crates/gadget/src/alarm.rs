//! Clocks for what the kernel does not tell of.

use std::{
    io,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    time::Duration,
};

use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create, timerfd_settime,
};

/// A timer that rings until it is stopped.
pub(crate) struct Alarm {
    timer: OwnedFd,
    /// How long until it rings for the first time.
    first: Duration,
    /// Each time takes twice as long as the one before, but no longer than this.
    longest: Duration,
    /// How long it takes to ring next; none while it is stopped.
    next: Option<Duration>,
}

impl Alarm {
    /// One that is stopped.
    pub(crate) fn new(first: Duration, longest: Duration) -> io::Result<Self> {
        let flags = TimerfdFlags::CLOEXEC | TimerfdFlags::NONBLOCK;
        let timer = timerfd_create(TimerfdClockId::Monotonic, flags)?;
        Ok(Self { timer, first, longest, next: None })
    }

    /// Runs from now on, or goes on running; or stops.
    pub(crate) fn run(&mut self, runs: bool) {
        if runs != self.next.is_some() {
            self.set(runs.then_some(self.first));
        }
    }

    fn set(&mut self, next: Option<Duration>) {
        let time = next.unwrap_or_default();
        let value = Timespec { tv_sec: time.as_secs() as i64, tv_nsec: time.subsec_nanos().into() };
        let times = Itimerspec { it_interval: Timespec { tv_sec: 0, tv_nsec: 0 }, it_value: value };
        match timerfd_settime(&self.timer, TimerfdTimerFlags::empty(), &times) {
            Ok(_) => self.next = next,
            Err(error) => log::warn!("setting a timer: {error}"),
        }
    }

    /// Whether it has rung since this was asked last. Then it runs again.
    pub(crate) fn rang(&mut self) -> bool {
        let rang = rustix::io::read(&self.timer, &mut [0; 8]).is_ok();
        if rang {
            self.set(self.next.map(|last| (last * 2).min(self.longest)));
        }
        rang
    }
}

impl AsFd for Alarm {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.timer.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::*;
    use crate::Waiter;

    #[test]
    fn it_rings_less_and_less_often() {
        let waiter = Waiter::new().unwrap();
        let mut alarm = Alarm::new(Duration::from_millis(1), Duration::from_millis(4)).unwrap();
        waiter.add(alarm.as_fd()).unwrap();
        let started = Instant::now();
        alarm.run(true);
        for sum in [1, 3, 7, 11, 15] {
            assert!(waiter.wait(Duration::from_secs(60)));
            assert!(alarm.rang() && started.elapsed() >= Duration::from_millis(sum));
        }
        // From the beginning again.
        alarm.run(false);
        alarm.run(true);
        let started = Instant::now();
        assert!(waiter.wait(Duration::from_secs(60)) && started.elapsed() >= Duration::from_millis(1));
    }

    #[test]
    fn it_ends_a_wait_again_and_again_until_it_is_stopped() {
        let waiter = Waiter::new().unwrap();
        let hundred = Duration::from_millis(100);
        let mut alarm = Alarm::new(hundred, hundred).unwrap();
        waiter.add(alarm.as_fd()).unwrap();
        assert!(!waiter.wait(Duration::ZERO));
        let started = Instant::now();
        alarm.run(true);
        for rings in 1..=2 {
            assert!(waiter.wait(Duration::from_secs(60)));
            assert!(started.elapsed() >= rings * Duration::from_millis(100));
            assert!(alarm.rang());
            alarm.run(true);
        }
        alarm.run(false);
        assert!(!alarm.rang());
        assert!(!waiter.wait(Duration::ZERO));
    }
}
