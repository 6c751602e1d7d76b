//! What docs/spec/session.md draws of the states, against the table of transitions.
#![allow(clippy::panic, clippy::unwrap_used)]

use std::collections::BTreeSet;

use inband_session::{Event, ResultCode, SessionState};

const SPEC: &str = include_str!("../../../docs/spec/session.md");
const EVENTS: [Event; 14] = [
    Event::FirstByte,
    Event::LastByte,
    Event::GivenUp,
    Event::Verified,
    Event::CheckFailed(ResultCode::BadChunk),
    Event::HostEnded,
    Event::Disconnected,
    Event::TimedOut,
    Event::FoundAtStart,
    Event::ActivationAsked,
    Event::StartedNew,
    Event::StartedOld(ResultCode::RolledBack),
    Event::FoundUnhealthy,
    Event::Confirmed,
];

fn section(heading: &str) -> &str {
    let (_, text) = SPEC.split_once(heading).unwrap();
    text.split_once("\n##").map_or(text, |(section, _)| section)
}

#[test]
fn the_diagram_has_the_arrows_of_the_table_and_no_others() {
    let drawn: Vec<_> = section("### Diagram")
        .lines()
        .filter_map(|line| line.trim().split_once(':')?.0.split_once(" --> "))
        .map(|(from, to)| (from.to_owned(), to.to_owned()))
        .collect();
    let mut arrows = BTreeSet::new();
    for state in SessionState::ALL {
        for to in EVENTS.iter().filter_map(|event| state.on(*event).ok()) {
            arrows.insert((format!("{state:?}"), format!("{to:?}")));
        }
    }
    assert_eq!(drawn.iter().cloned().collect::<BTreeSet<_>>(), arrows);
    assert_eq!(drawn.len(), arrows.len(), "an arrow is drawn twice");
}

#[test]
fn whose_the_bytes_are_is_what_the_states_let_happen() {
    let rows = section("### Whose the bytes are").lines().filter(|line| line.starts_with('|')).skip(2);
    let rows: Vec<Vec<_>> = rows.map(|row| row.split('|').map(str::trim).collect()).collect();
    assert_eq!(rows.len(), SessionState::ALL.len());
    let yes_no = |yes| if yes { "yes" } else { "no" };
    for (row, state) in rows.iter().zip(SessionState::ALL) {
        let ends = state.on(Event::HostEnded).is_ok();
        let whose = match (state.is_at_work(), ends) {
            (true, true) => "the host's and the BMC's",
            (true, false) => "the BMC's",
            (false, _) => "nobody's",
        };
        let begins = state.on(Event::FirstByte).is_ok();
        assert_eq!(row[1..5], [&*format!("{state:?}"), whose, yes_no(ends), yes_no(begins)]);
    }
}
