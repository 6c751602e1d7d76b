//! The clock for an answer that the host does not wait for any more, and that is in the kernel still.

use std::{
    io,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
};

use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create, timerfd_settime,
};

/// After so many nanoseconds, and again and again. A controller's driver that takes requests back does it before it tells of what made it do so.
const INTERVAL_NS: i64 = 100_000_000;

/// A timer that rings until it is stopped.
pub(crate) struct Alarm {
    timer: OwnedFd,
    runs: bool,
}

impl Alarm {
    /// One that is stopped.
    pub(crate) fn new() -> io::Result<Self> {
        let flags = TimerfdFlags::CLOEXEC | TimerfdFlags::NONBLOCK;
        Ok(Self { timer: timerfd_create(TimerfdClockId::Monotonic, flags)?, runs: false })
    }

    /// Runs from now on, or goes on running; or stops.
    pub(crate) fn run(&mut self, runs: bool) {
        if runs == self.runs {
            return;
        }
        let interval = Timespec { tv_sec: 0, tv_nsec: if runs { INTERVAL_NS } else { 0 } };
        let times = Itimerspec { it_interval: interval, it_value: interval };
        match timerfd_settime(&self.timer, TimerfdTimerFlags::empty(), &times) {
            Ok(_) => self.runs = runs,
            Err(error) => log::warn!("setting a timer: {error}"),
        }
    }

    /// Whether it has rung since this was asked last.
    pub(crate) fn rang(&self) -> bool {
        rustix::io::read(&self.timer, &mut [0; 8]).is_ok()
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
    fn it_ends_a_wait_again_and_again_until_it_is_stopped() {
        let waiter = Waiter::new().unwrap();
        let mut alarm = Alarm::new().unwrap();
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
