use alloc::{collections::VecDeque, vec, vec::Vec};

use super::*;

const SECOND: Duration = Duration::from_secs(1);
const SETUP: Setup = Setup { request_type: 0xa1, request: 3, value: 0, index: 0, length: 6 };

/// A device behind a server, with a clock that moves while the host waits.
#[derive(Default)]
struct Remote {
    now: Duration,
    /// When the server answers the transfer of that number, and how.
    answers: VecDeque<(Duration, u64, Result<(), HostError>)>,
    submitted: u64,
    cancelled: Vec<TransferId>,
    /// Whether the server answers a cancellation.
    honest: bool,
}

impl HostDevice for Remote {
    fn submit(&mut self, _: HostTransfer) -> Result<TransferId, HostError> {
        self.submitted += 1;
        Ok(TransferId(self.submitted))
    }

    fn poll(&mut self) -> Option<HostCompletion> {
        if self.answers.front()?.0 > self.now {
            return None;
        }
        let (_, id, result) = self.answers.pop_front()?;
        Some(HostCompletion { id: TransferId(id), data: vec![], length: 0, result })
    }

    fn cancel(&mut self, id: TransferId) {
        self.cancelled.push(id);
        if self.honest {
            self.answers.push_back((self.now, id.0, Err(HostError::Cancelled)));
        }
    }

    fn claim(&mut self, _: u8) -> Result<(), HostError> {
        Ok(())
    }

    fn clear_halt(&mut self, _: EndpointAddress) -> Result<(), HostError> {
        Ok(())
    }

    fn reset(&mut self) -> Result<(), HostError> {
        Ok(())
    }

    fn wait(&mut self, limit: Duration) {
        let next = self.answers.front().map_or(limit, |(at, ..)| at.saturating_sub(self.now).min(limit));
        assert!(!next.is_zero(), "waits without end");
        self.now += next;
    }

    fn now(&self) -> Duration {
        self.now
    }
}

fn run(remote: &mut Remote, timeout: Duration) -> Result<HostCompletion, HostError> {
    remote.run(HostTransfer::ControlIn { setup: SETUP }, timeout)
}

#[test]
fn a_transfer_that_does_not_end_is_cancelled() {
    let mut remote = Remote { honest: true, ..Remote::default() };
    assert_eq!(run(&mut remote, 5 * SECOND), Err(HostError::Cancelled));
    assert_eq!((remote.now, remote.cancelled), (5 * SECOND, vec![TransferId(1)]));
}

#[test]
fn a_transfer_that_ends_while_it_is_cancelled_has_ended() {
    let mut remote = Remote::default();
    remote.answers.push_back((7 * SECOND, 1, Ok(())));
    assert!(run(&mut remote, 5 * SECOND).is_ok());
    assert_eq!(remote.now, 7 * SECOND);
}

#[test]
fn a_server_that_never_gives_a_transfer_back_is_not_waited_for() {
    for (timeout, given_up) in [(5 * SECOND, 10 * SECOND), (Duration::ZERO, SECOND)] {
        let mut remote = Remote::default();
        assert_eq!(run(&mut remote, timeout), Err(HostError::Cancelled));
        assert_eq!((remote.now, remote.cancelled), (given_up, vec![TransferId(1)]));
    }
}

#[test]
fn what_comes_back_too_late_is_not_taken_for_the_next_transfer() {
    let mut remote = Remote::default();
    assert_eq!(run(&mut remote, SECOND), Err(HostError::Cancelled));
    remote.answers.push_back((3 * SECOND, 1, Ok(())));
    remote.answers.push_back((3 * SECOND, 2, Err(HostError::Stall)));
    assert_eq!(run(&mut remote, 5 * SECOND), Err(HostError::Stall));
}
