use super::*;

const DAY: Duration = Duration::from_secs(24 * 60 * 60);
const RATES: Rates = Rates { sessions: 200, rewrites: 24 };

/// Uses up all that is there, a session and a rewrite at a time; returns how often.
fn exhaust(budget: &mut Budget) -> u32 {
    let mut uses = 0;
    while budget.wait() == Duration::ZERO {
        *budget = budget.less_session().less_rewrite();
        uses += 1;
        assert!(uses < 10_000, "there is no end");
    }
    uses
}

fn full(rates: Rates) -> Budget {
    Budget::new(rates, Some(Levels::FULL), Duration::ZERO)
}

#[test]
fn a_day_s_worth_can_be_had_at_once_and_then_one_by_one() {
    let mut budget = full(RATES);
    assert!(budget.is_full());
    assert_eq!(exhaust(&mut budget), 24);
    assert!(!budget.is_full());
    assert_eq!(budget.wait(), Duration::from_secs(3600), "one of 24 a day");
    for hour in 1..100u32 {
        let due = Duration::from_secs(3600) * hour;
        assert_eq!(exhaust(&mut budget.after(due - Duration::from_millis(1))), 0);
        budget = budget.after(due);
        assert_eq!(exhaust(&mut budget), 1);
    }
}

#[test]
fn sessions_that_write_nothing_take_no_rewrite() {
    let mut budget = full(RATES);
    let mut sessions = 0;
    while budget.wait() == Duration::ZERO {
        budget = budget.less_session();
        sessions += 1;
    }
    assert_eq!(sessions, 200);
    assert_eq!(budget.wait(), Duration::from_secs(432), "one of 200 a day");
    assert_eq!(budget.levels().rewrites, full(RATES).levels().rewrites);
}

#[test]
fn a_budget_holds_no_more_than_a_day_s_worth() {
    let mut budget = full(RATES).after(DAY * 1000);
    assert_eq!(budget, full(RATES).after(DAY * 1000));
    assert_eq!(exhaust(&mut budget), 24);
}

#[test]
fn in_any_stretch_of_days_there_are_no_more_uses_than_days_and_one() {
    // As greedy as it gets: every minute, for ten days.
    let mut budget = full(RATES);
    let mut uses = 0;
    for minute in 0..10 * 24 * 60 {
        budget = budget.after(Duration::from_secs(60) * minute);
        uses += exhaust(&mut budget);
    }
    assert!((10 * 24..=11 * 24).contains(&uses), "{uses}");
}

#[test]
fn how_often_the_clock_is_read_makes_no_difference() {
    let mut often = full(Rates { sessions: 7, rewrites: 3 });
    exhaust(&mut often);
    let once = often.after(DAY / 2);
    // A third of a millisecond at a time would be lost if it were rounded away.
    let mut now = Duration::ZERO;
    for _ in 0..10_000 {
        now += Duration::from_nanos(333_333);
        often = often.after(now);
    }
    assert_eq!(often.after(DAY / 2), once);
}

#[test]
fn without_a_journal_there_is_an_hour_s_worth_and_one_use_at_least() {
    let lost = |rates| Budget::new(rates, None, Duration::ZERO);
    assert_eq!(exhaust(&mut lost(RATES)), 1);
    let mut budget = lost(Rates { sessions: 240, rewrites: 1000 });
    assert_eq!(exhaust(&mut budget), 10);
    assert_eq!(exhaust(&mut lost(Rates { sessions: 1, rewrites: 1 })), 1);
}

#[test]
fn a_restart_gives_nothing() {
    let mut budget = full(RATES);
    exhaust(&mut budget);
    for _ in 0..100 {
        budget = Budget::new(RATES, Some(budget.levels()), Duration::ZERO);
        assert_eq!(exhaust(&mut budget), 0);
    }
}

#[test]
fn a_rate_of_0_is_no_bound() {
    let none = Rates { sessions: 0, rewrites: 0 };
    for levels in [None, Some(Levels { sessions: 0, rewrites: 0 }), Some(Levels::FULL)] {
        let mut budget = Budget::new(none, levels, Duration::ZERO);
        for _ in 0..100_000 {
            assert_eq!(budget.wait(), Duration::ZERO);
            budget = budget.less_session().less_rewrite();
        }
        assert!(budget.is_full(), "there is nothing to be written down");
    }
}

#[test]
fn a_lower_rate_counts_at_once() {
    let much = full(Rates { sessions: 1000, rewrites: 1000 });
    let mut budget = Budget::new(RATES, Some(much.levels()), Duration::ZERO);
    assert_eq!(exhaust(&mut budget), 24);
}

#[test]
fn nothing_overflows() {
    let most = Rates { sessions: u32::MAX, rewrites: u32::MAX };
    for levels in [None, Some(Levels::FULL), Some(Levels { sessions: 0, rewrites: 0 })] {
        let budget = Budget::new(most, levels, Duration::ZERO).after(Duration::MAX);
        assert_eq!(budget.less_session().less_rewrite().wait(), Duration::ZERO);
    }
    assert_eq!(
        full(RATES).after(DAY).after(Duration::ZERO),
        full(RATES).after(DAY),
        "a clock that goes back"
    );
}
