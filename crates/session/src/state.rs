//! Session states and the one table of transitions (docs/spec/session.md, 3).

use core::fmt;

use crate::result::ResultCode;

/// How a session stands. The numbers are wire format.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum SessionState {
    /// There is no session to speak of.
    #[default]
    Idle = 0,
    /// Payload is coming in.
    Receiving = 1,
    /// Stopped in the middle; the next session begins anew.
    Interrupted = 2,
    /// The last byte is in; the host has no access to the bytes any more.
    Handover = 3,
    /// The slot is read back against the index.
    Verifying = 4,
    /// Complete, durable, chosen for the next boot.
    Staged = 5,
    /// The BMC is restarting into it.
    Activating = 6,
    /// The new firmware runs on trial.
    PendingConfirm = 7,
    /// The new firmware runs and is confirmed.
    Done = 8,
    /// Ended with a result of 16 or more.
    Failed = 9,
    /// Ended by the host, or on the BMC.
    Aborted = 10,
    /// The new firmware was given up; the old one runs.
    RolledBack = 11,
}

impl SessionState {
    /// All states, in the order of their numbers.
    pub const ALL: [Self; 12] = [
        Self::Idle,
        Self::Receiving,
        Self::Interrupted,
        Self::Handover,
        Self::Verifying,
        Self::Staged,
        Self::Activating,
        Self::PendingConfirm,
        Self::Done,
        Self::Failed,
        Self::Aborted,
        Self::RolledBack,
    ];

    /// The number.
    #[must_use]
    pub const fn number(self) -> u8 {
        self as u8
    }

    /// The state with that number.
    #[must_use]
    pub fn from_number(number: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.number() == number)
    }

    /// The name, as in logs and JSON.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Idle => "idle",
            Self::Receiving => "receiving",
            Self::Interrupted => "interrupted",
            Self::Handover => "handover",
            Self::Verifying => "verifying",
            Self::Staged => "staged",
            Self::Activating => "activating",
            Self::PendingConfirm => "pending-confirm",
            Self::Done => "done",
            Self::Failed => "failed",
            Self::Aborted => "aborted",
            Self::RolledBack => "rolled-back",
        }
    }

    /// Whether a session is at work: bytes come in or are being checked.
    #[must_use]
    pub const fn is_at_work(self) -> bool {
        match self {
            Self::Receiving | Self::Handover | Self::Verifying => true,
            Self::Idle
            | Self::Interrupted
            | Self::Staged
            | Self::Activating
            | Self::PendingConfirm
            | Self::Done
            | Self::Failed
            | Self::Aborted
            | Self::RolledBack => false,
        }
    }

    /// The state that follows on an event.
    ///
    /// # Errors
    /// What the event is refused with; the state then stays.
    pub fn on(self, event: Event) -> Result<Self, Refusal> {
        let (from, to) = event.transition();
        if from.contains(&self) {
            return Ok(to);
        }
        match (event, self) {
            (Event::FirstByte, Self::PendingConfirm) => Err(Refusal::OnTrial),
            (Event::FirstByte, _) => Err(Refusal::Busy),
            _ => Err(Refusal::NotNow),
        }
    }
}

impl fmt::Display for SessionState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// What happens to a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// The first payload byte came in at a door.
    FirstByte,
    /// The last byte that the head announced is in, and every check so far passed.
    LastByte,
    /// The door gave the bytes up.
    GivenUp,
    /// The slot reads back as the index says, and the boot choice is written.
    Verified,
    /// A check failed, or the store did.
    CheckFailed(ResultCode),
    /// Ended by the host (DFU_ABORT, DFU_CLRSTATUS, DFU_DETACH), or by somebody on the BMC.
    HostEnded,
    /// Bus reset or unplug.
    Disconnected,
    /// No progress for too long, or the session's deadline.
    TimedOut,
    /// The daemon started and found it.
    FoundAtStart,
    /// Somebody wants the BMC to restart into the new firmware.
    ActivationAsked,
    /// The machine started from the new slot.
    StartedNew,
    /// The machine started from the old slot: the new one was given up, with this result.
    StartedOld(ResultCode),
    /// The health command did not pass in time: this boot of the new firmware counts.
    FoundUnhealthy,
    /// The new firmware was confirmed.
    Confirmed,
}

impl Event {
    /// The table of transitions: the states in which the event counts, and the one it leads to.
    const fn transition(self) -> (&'static [SessionState], SessionState) {
        use SessionState::*;
        match self {
            Self::FirstByte => (&[Idle, Interrupted, Done, Failed, Aborted, RolledBack, Staged], Receiving),
            Self::LastByte => (&[Receiving], Handover),
            Self::GivenUp => (&[Handover], Verifying),
            Self::Verified => (&[Verifying], Staged),
            Self::CheckFailed(_) => (&[Receiving, Handover, Verifying], Failed),
            Self::HostEnded => (&[Receiving], Aborted),
            Self::Disconnected | Self::TimedOut => (&[Receiving], Failed),
            Self::FoundAtStart => (&[Receiving, Handover, Verifying], Interrupted),
            Self::ActivationAsked => (&[Staged], Activating),
            Self::StartedNew => (&[Staged, Activating, Interrupted, Failed, Aborted], PendingConfirm),
            Self::StartedOld(_) => {
                (&[Staged, Activating, PendingConfirm, Interrupted, Failed, Aborted], RolledBack)
            }
            Self::FoundUnhealthy => (&[PendingConfirm], PendingConfirm),
            Self::Confirmed => (&[PendingConfirm], Done),
        }
    }

    /// The result that a session has from this event on; `None` where it keeps the one it has.
    #[must_use]
    pub const fn result(self) -> Option<ResultCode> {
        match self {
            Self::FirstByte => Some(ResultCode::None),
            Self::Verified | Self::Confirmed => Some(ResultCode::Ok),
            Self::CheckFailed(result) | Self::StartedOld(result) => Some(result),
            Self::HostEnded => Some(ResultCode::Aborted),
            Self::Disconnected => Some(ResultCode::Disconnected),
            Self::TimedOut => Some(ResultCode::Timeout),
            Self::FoundAtStart => Some(ResultCode::Interrupted),
            Self::FoundUnhealthy => Some(ResultCode::Unhealthy),
            Self::LastByte | Self::GivenUp | Self::ActivationAsked | Self::StartedNew => None,
        }
    }
}

/// Why an event changes nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// Another session is at work.
    #[error("another session owns the BMC")]
    Busy,
    /// The running firmware is not confirmed.
    #[error("the running firmware is not confirmed yet")]
    OnTrial,
    /// The event means nothing in this state.
    #[error("the session is not in a state for that")]
    NotNow,
}

#[cfg(test)]
mod tests {
    use alloc::collections::BTreeSet;
    use alloc::vec::Vec;

    use super::*;

    const EVENTS: [(&str, Event); 14] = [
        ("first payload byte", Event::FirstByte),
        ("last byte, and every check so far passed", Event::LastByte),
        ("the door gave the bytes up", Event::GivenUp),
        ("read-back matches, boot choice written", Event::Verified),
        ("a check fails, the store fails", Event::CheckFailed(ResultCode::BadChunk)),
        ("ABORT, CLRSTATUS, DETACH; CANCEL.CMD; `inbandd abort`, abort or stop by IPMI", Event::HostEnded),
        (
            "bus reset, unplug; by `volume` a host that is gone for 60 s, and nothing before",
            Event::Disconnected,
        ),
        ("no progress, deadline", Event::TimedOut),
        ("found at a start of the daemon", Event::FoundAtStart),
        ("activation asked for", Event::ActivationAsked),
        ("started from the new slot", Event::StartedNew),
        ("started from the old slot, trial used up", Event::StartedOld(ResultCode::RolledBack)),
        ("health command did not pass in time", Event::FoundUnhealthy),
        ("confirmed", Event::Confirmed),
    ];

    fn state_called(name: &str) -> SessionState {
        SessionState::ALL
            .into_iter()
            .find(|state| alloc::format!("{state:?}") == name)
            .unwrap_or_else(|| panic!("no state is called {name}"))
    }

    /// The rows of the table in the specification: from, event, to, result.
    fn specified() -> Vec<(SessionState, usize, SessionState, &'static str)> {
        let text = include_str!("../../../docs/spec/session.md");
        let (_, table) = text.split_once("### Transitions").unwrap();
        let (table, _) = table.split_once("\n## ").unwrap();
        let mut rows = Vec::new();
        for line in table.lines().filter(|line| line.starts_with('|')).skip(2) {
            let cells = line.split('|').map(str::trim).collect::<Vec<_>>();
            let event = EVENTS.iter().position(|(words, _)| *words == cells[2]);
            let event = event.unwrap_or_else(|| panic!("no event is called {}", cells[2]));
            for from in cells[1].split(", ") {
                rows.push((state_called(from), event, state_called(cells[3]), cells[4]));
            }
        }
        rows
    }

    #[test]
    fn every_pair_of_state_and_event_is_as_specified() {
        let rows = specified();
        let pairs = rows.iter().map(|(from, event, ..)| (from.number(), *event)).collect::<BTreeSet<_>>();
        assert_eq!(pairs.len(), rows.len(), "a pair stands in the table twice");
        for state in SessionState::ALL {
            for (number, (words, event)) in EVENTS.iter().enumerate() {
                let row = rows.iter().find(|(from, at, ..)| *from == state && *at == number);
                match (row, state.on(*event)) {
                    (Some((_, _, to, _)), after) => assert_eq!(after, Ok(*to), "{state}: {words}"),
                    (None, Ok(after)) => {
                        panic!("{state}: {words} leads to {after}, which is not in the table")
                    }
                    (None, Err(refusal)) => {
                        let expected = match (state, event) {
                            (SessionState::PendingConfirm, Event::FirstByte) => Refusal::OnTrial,
                            (_, Event::FirstByte) => Refusal::Busy,
                            _ => Refusal::NotNow,
                        };
                        assert_eq!(refusal, expected, "{state}: {words}");
                    }
                }
            }
        }
    }

    #[test]
    fn results_are_as_specified() {
        for (_, event, _, result) in specified() {
            let (words, event) = EVENTS[event];
            let expected = match result {
                // The table says in words that the result is the check's, and nothing where none is new.
                "the check's" => Some(ResultCode::BadChunk),
                "the trial's" => Some(ResultCode::RolledBack),
                "" => None,
                name => ResultCode::ALL.into_iter().find(|known| known.name() == name.trim_matches('`')),
            };
            assert_eq!(event.result(), expected, "{words}");
        }
    }

    #[test]
    fn numbers_are_as_specified() {
        let text = include_str!("../../../docs/spec/session.md");
        let (_, table) = text.split_once("## 3. States").unwrap();
        let rows = table.lines().filter(|line| line.starts_with("| `")).take(SessionState::ALL.len());
        for (row, state) in rows.zip(SessionState::ALL) {
            let cells = row.split('|').map(str::trim).collect::<Vec<_>>();
            assert_eq!(state_called(cells[1].trim_matches('`')), state);
            assert_eq!(cells[2].parse(), Ok(state.number()));
            assert_eq!(SessionState::from_number(state.number()), Some(state));
        }
        assert_eq!(SessionState::from_number(12), None);
    }
}
