//! What is told of an act is what the BMC says behind it.

use std::{cell::RefCell, io, rc::Rc};

use inband_ipmi::command::{Command, Status};

use super::*;
use crate::{
    output::Verbosity,
    testing::ipmi::{Answers, double, honest, now},
};

/// A stream that can be read when it has been written.
#[derive(Clone, Default)]
struct Written(Rc<RefCell<Vec<u8>>>);

impl io::Write for Written {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.borrow_mut().extend(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// What an act tells, for people and as JSON, of a BMC that answers so.
fn told(
    answers: fn(u8, &Command) -> Answers,
    act: impl Fn(&mut Client, &mut Output) -> Result<(), Error>,
) -> (String, serde_json::Value) {
    let [text, json] = [false, true].map(|json| {
        let written = Written::default();
        let mut output =
            Output::to_streams(Box::new(written.clone()), Box::new(io::sink()), json, Verbosity::Normal);
        act(&mut double(answers).client, &mut output).unwrap();
        String::from_utf8(written.0.take()).unwrap()
    });
    (text, serde_json::from_str(&json).unwrap())
}

/// A BMC that has all of a package when the start is ended.
fn verifying(number: u8, command: &Command) -> Answers {
    let state = SessionState::Verifying.number();
    match command {
        Command::Status => now(number, Code::OK, Status { state, ..Status::default() }.encode()),
        other => honest(number, other),
    }
}

#[test]
fn a_session_that_is_not_ended_is_told() {
    let stopping = |client: &mut Client, output: &mut Output| {
        stop(client, &Stop { commit: false, nonce: Some(Nonce(1)) }, output)
    };
    for (text, json) in [told(verifying, stopping), told(verifying, abort)] {
        assert!(text.contains("goes on (verifying)"), "{text}");
        assert_eq!(json["state"], "verifying");
    }
    for (text, json) in [told(honest, stopping), told(honest, abort)] {
        assert!(!text.contains("goes on"), "{text}");
        assert_eq!(json["state"], "idle");
    }
}

#[test]
fn a_door_is_not_told_shut_while_its_session_goes_on() {
    struct Last(Option<Event>);
    impl Listener for Last {
        fn event(&mut self, event: &Event) {
            self.0 = Some(event.clone());
        }
    }
    let shown = |answers: fn(u8, &Command) -> Answers| {
        let (mut bench, mut last) = (double(answers), Last(None));
        // Ctrl-C is no reason to say what is not known.
        bench.cancel.request();
        shut(&mut bench.client, Started { nonce: 1, holds_s: 900 }, &mut last);
        last.0.unwrap()
    };
    assert_eq!(shown(honest), Event::Shut);
    assert!(matches!(shown(verifying), Event::StillOpen { .. }));
    let mute = |number, command: &Command| match command {
        Command::Status => Ok(Vec::new()),
        other => honest(number, other),
    };
    assert!(matches!(shown(mute), Event::StillOpen { .. }));
}

/// A BMC on trial whose store has a confirmation only behind so many questions.
fn storing(looks: u32) -> crate::testing::ipmi::Doubled {
    let mut asked = 0;
    double(move |number, command| match command {
        Command::Status => {
            asked += 1;
            let state = if asked > looks { SessionState::Done } else { SessionState::PendingConfirm };
            now(number, Code::OK, Status { state: state.number(), ..Status::default() }.encode())
        }
        other => honest(number, other),
    })
}

#[test]
fn what_is_confirmed_is_in_the_store() {
    let confirmed = |looks| {
        let written = Written::default();
        let mut output =
            Output::to_streams(Box::new(written.clone()), Box::new(io::sink()), false, Verbosity::Normal);
        let result = confirm(&mut storing(looks).client, &mut output);
        (result, String::from_utf8(written.0.take()).unwrap())
    };
    let (result, text) = confirmed(7);
    result.unwrap();
    assert!(text.starts_with("confirmed"), "{text}");
    let (result, text) = confirmed(u32::MAX);
    assert!(matches!(result, Err(Error::NotConfirmed { state: "pending-confirm", .. })));
    assert_eq!(text, "");
}
