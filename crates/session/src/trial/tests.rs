use alloc::vec::Vec;

use super::*;

const LIMITS: Limits = Limits { deadline: seconds(300), retry: seconds(10) };
/// The daemon is not started at the beginning of time.
const START: Duration = seconds(1000);

const fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn trial() -> Trial {
    Trial::new(START, &LIMITS)
}

/// The time is this; what is to be done.
fn at(trial: &mut Trial, now: Duration) -> Vec<Action> {
    trial.handle_timeout(now);
    actions(trial)
}

fn exit(trial: &mut Trial, now: Duration, passed: bool) -> Vec<Action> {
    trial.handle_exit(now, passed);
    actions(trial)
}

fn actions(trial: &mut Trial) -> Vec<Action> {
    core::iter::from_fn(|| trial.poll_action()).collect()
}

#[test]
fn a_pass_confirms_once() {
    let mut trial = trial();
    assert_eq!(trial.poll_timeout(), Some(START));
    assert_eq!(at(&mut trial, START), [Action::Run]);
    assert!(trial.is_running());
    assert_eq!(at(&mut trial, START), []);
    assert_eq!(exit(&mut trial, START + seconds(3), true), [Action::Confirm]);
    assert_eq!(trial.poll_timeout(), None);
    assert_eq!(exit(&mut trial, START + seconds(4), true), []);
    assert_eq!(at(&mut trial, START + seconds(900)), []);
}

#[test]
fn a_failure_is_tried_again_until_it_passes() {
    let mut trial = trial();
    assert_eq!(at(&mut trial, START), [Action::Run]);
    for try_number in 1..=20 {
        let now = START + seconds(10 * try_number);
        assert_eq!(exit(&mut trial, now - seconds(10), false), []);
        assert_eq!(trial.poll_timeout(), Some(now));
        assert_eq!(at(&mut trial, now - Duration::from_millis(1)), []);
        assert_eq!(at(&mut trial, now), [Action::Run]);
    }
    assert_eq!(exit(&mut trial, START + seconds(201), true), [Action::Confirm]);
}

#[test]
fn failures_to_the_deadline_are_unhealthy() {
    let mut trial = trial();
    assert_eq!(at(&mut trial, START), [Action::Run]);
    // The next try would come behind the deadline: nothing is waited for beyond it.
    assert_eq!(exit(&mut trial, START + seconds(295), false), []);
    assert_eq!(trial.poll_timeout(), Some(START + seconds(300)));
    assert_eq!(at(&mut trial, START + seconds(299)), []);
    assert_eq!(at(&mut trial, START + seconds(300)), [Action::GiveUp]);
    assert_eq!(trial.poll_timeout(), None);
    assert_eq!(at(&mut trial, START + seconds(999)), []);
}

#[test]
fn a_command_that_hangs_is_killed_at_the_deadline() {
    let mut trial = trial();
    assert_eq!(at(&mut trial, START), [Action::Run]);
    assert_eq!(trial.poll_timeout(), Some(START + seconds(300)));
    assert_eq!(at(&mut trial, START + seconds(299)), []);
    assert_eq!(at(&mut trial, START + seconds(300)), [Action::Kill, Action::GiveUp]);
    assert!(!trial.is_running());
    // What the killed command had to say counts no more.
    assert_eq!(exit(&mut trial, START + seconds(301), true), []);
}

#[test]
fn a_pass_that_is_heard_of_late_counts_before_the_verdict() {
    let mut trial = trial();
    assert_eq!(at(&mut trial, START), [Action::Run]);
    assert_eq!(exit(&mut trial, START + seconds(300), true), [Action::Confirm]);
}

#[test]
fn a_clock_that_jumps_over_everything_gives_up() {
    let mut trial = trial();
    assert_eq!(at(&mut trial, START + seconds(5000)), [Action::GiveUp], "not even run");
}

#[test]
fn times_at_the_end_of_the_clock_do_not_overflow() {
    let mut trial = Trial::new(Duration::MAX - seconds(1), &LIMITS);
    assert_eq!(at(&mut trial, Duration::MAX - seconds(1)), [Action::Run]);
    assert_eq!(exit(&mut trial, Duration::MAX - seconds(1), false), []);
    assert_eq!(at(&mut trial, Duration::MAX), [Action::GiveUp]);
}

/// Any order of exits and times: at most one verdict, never two runs at once, and always a verdict at the deadline.
#[test]
fn any_order_of_inputs_has_one_verdict() {
    use proptest::prelude::*;
    proptest!(|(steps in proptest::collection::vec((0..3u8, 0..40u64), 0..60))| {
        let mut trial = trial();
        let (mut now, mut running, mut verdicts) = (START, false, 0);
        for (kind, passed) in steps {
            now += seconds(passed);
            match kind {
                0 if running => { running = false; trial.handle_exit(now, passed.is_multiple_of(7)); }
                1 if trial.poll_timeout().is_some() => now = now.max(trial.poll_timeout().unwrap_or(now)),
                _ => {}
            }
            trial.handle_timeout(now);
            for action in actions(&mut trial) {
                match action {
                    Action::Run => { prop_assert!(!running && verdicts == 0); running = true; }
                    Action::Kill => { prop_assert!(running); running = false; }
                    Action::Confirm | Action::GiveUp => verdicts += 1,
                }
            }
            prop_assert_eq!(trial.is_running(), running);
            prop_assert_eq!(verdicts > 0, trial.poll_timeout().is_none());
            prop_assert!(verdicts <= 1 && (verdicts == 1 || now < START + seconds(300)));
        }
    });
}
