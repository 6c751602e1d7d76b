//! The ends of transfers on their way to whoever submitted them.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use inband_usb::{HostCompletion, HostError};

/// Where the cable is pulled, transfers fail as on a bad line (EPROTO) until the hub has noticed, which takes no longer than this.
const LEAVING: Duration = Duration::from_millis(500);

/// Transfers that have ended, told in that order.
///
/// One that failed for no reason that the device gave is held back, and what ended after it with it: should the device be found gone
/// meanwhile, that was the reason.
#[derive(Debug, Default)]
pub(super) struct Ended {
    /// With the moment until which each is held back.
    queue: VecDeque<(HostCompletion, Option<Instant>)>,
}

impl Ended {
    pub(super) fn push(&mut self, completion: HostCompletion, now: Instant) {
        let held = matches!(completion.result, Err(HostError::Other(_))).then(|| now + LEAVING);
        self.queue.push_back((completion, held));
    }

    /// The oldest, once it may be told.
    pub(super) fn pop(&mut self, now: Instant, gone: bool) -> Option<HostCompletion> {
        let (_, held) = self.queue.front()?;
        if held.is_some_and(|until| !gone && now < until) {
            return None;
        }
        let (mut completion, held) = self.queue.pop_front()?;
        if gone && held.is_some() {
            completion.result = Err(HostError::Gone);
        }
        Some(completion)
    }

    /// When the oldest may be told at the latest; `None` without any.
    pub(super) fn due(&self, now: Instant) -> Option<Instant> {
        self.queue.front().map(|(_, held)| held.unwrap_or(now))
    }

    /// Whether the oldest is held back until it is known whether the device leaves.
    pub(super) fn is_held(&self) -> bool {
        matches!(self.queue.front(), Some((_, Some(_))))
    }
}

#[cfg(test)]
mod tests {
    use inband_usb::TransferId;

    use super::*;

    fn ended(id: u64, result: Result<(), HostError>) -> HostCompletion {
        HostCompletion { id: TransferId(id), data: vec![id as u8], length: 1, result }
    }

    fn bad_line() -> Result<(), HostError> {
        Err(HostError::Other("EPROTO".into()))
    }

    /// Two that a bad line may have failed, 200 ms apart, and others around them.
    fn queue(start: Instant) -> Ended {
        let mut queue = Ended::default();
        queue.push(ended(1, Err(HostError::Stall)), start);
        queue.push(ended(2, bad_line()), start);
        queue.push(ended(3, Ok(())), start);
        queue.push(ended(4, bad_line()), start + Duration::from_millis(200));
        queue
    }

    fn told(queue: &mut Ended, now: Instant, gone: bool) -> Vec<(u64, Result<(), HostError>)> {
        std::iter::from_fn(|| queue.pop(now, gone)).map(|it| (it.id.0, it.result)).collect()
    }

    #[test]
    fn what_a_bad_line_failed_is_held_back_until_its_time_is_over() {
        let start = Instant::now();
        let mut queue = queue(start);
        assert_eq!(queue.due(start), Some(start));
        assert!(!queue.is_held());
        assert_eq!(told(&mut queue, start, false), [(1, Err(HostError::Stall))]);

        assert!(queue.is_held());
        assert_eq!(queue.due(start), Some(start + LEAVING));
        assert_eq!(told(&mut queue, start + LEAVING - Duration::from_millis(1), false), []);
        assert_eq!(told(&mut queue, start + LEAVING, false), [(2, bad_line()), (3, Ok(()))]);

        let last = start + LEAVING + Duration::from_millis(200);
        assert_eq!(queue.due(start), Some(last));
        assert_eq!(told(&mut queue, last, false), [(4, bad_line())]);
        assert_eq!(queue.due(last), None);
    }

    #[test]
    fn what_a_bad_line_failed_is_told_as_gone_at_once_when_the_device_is() {
        let start = Instant::now();
        let mut queue = queue(start);
        let expected =
            [(1, Err(HostError::Stall)), (2, Err(HostError::Gone)), (3, Ok(())), (4, Err(HostError::Gone))];
        assert_eq!(told(&mut queue, start, true), expected);
    }
}
