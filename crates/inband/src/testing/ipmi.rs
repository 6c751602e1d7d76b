//! A BMC's answers to IPMI commands, as a test wants them, with a clock of their own.

use std::{
    cell::{Cell, RefCell},
    collections::VecDeque,
    rc::Rc,
    time::Duration,
};

use inband_ipmi::{
    command::{Capabilities, Command, Piece, Started, Status, acknowledged},
    wire::{COMMAND, Code, Reply, Request},
};

use inband_session::status::MachinePage;
use inband_store::text::Text;

use crate::{
    cancel::Cancel,
    ipmi::{Answer, Client, Link, LinkError},
    usb::Place,
};

/// Answers, each with its own delay.
pub(crate) type Answers = Result<Vec<(Duration, Answer)>, LinkError>;
/// What a BMC does with a request: answers, each with its own delay.
type Act = Box<dyn FnMut(u8, &Command) -> Answers>;

struct Double {
    act: Act,
    answers: VecDeque<(Duration, Answer)>,
    clock: Rc<Cell<Duration>>,
    asked: Rc<RefCell<Vec<Command>>>,
}

impl Link for Double {
    fn send(&mut self, number: u8, request: &Request<'_>) -> Result<(), LinkError> {
        assert_eq!((request.netfn, request.lun, request.command), (0x2e, 0, COMMAND));
        let command = Command::decode(&request.data[3..]).unwrap();
        self.asked.borrow_mut().push(command);
        for (delay, answer) in (self.act)(number, &command)? {
            self.answers.push_back((self.now() + delay, answer));
        }
        Ok(())
    }

    fn receive(&mut self, wait: Duration) -> Result<Option<Answer>, LinkError> {
        let end = self.now() + wait;
        let next = self.answers.iter().position(|(at, _)| *at <= end);
        let Some((at, answer)) = next.and_then(|at| self.answers.remove(at)) else {
            self.clock.set(end);
            return Ok(None);
        };
        self.clock.set(at.max(self.now()));
        Ok(Some(answer))
    }

    fn now(&self) -> Duration {
        self.clock.get()
    }

    fn pause(&mut self, time: Duration) {
        self.clock.set(self.now() + time);
    }
}

/// A client of a double.
pub(crate) struct Doubled {
    pub(crate) client: Client,
    pub(crate) clock: Rc<Cell<Duration>>,
    pub(crate) asked: Rc<RefCell<Vec<Command>>>,
    pub(crate) cancel: Cancel,
}

/// A client whose requests are answered so.
pub(crate) fn double(act: impl FnMut(u8, &Command) -> Answers + 'static) -> Doubled {
    let (clock, asked) = (Rc::default(), Rc::default());
    let (answers, cancel) = (VecDeque::new(), Cancel::default());
    let link = Double { act: Box::new(act), answers, clock: Rc::clone(&clock), asked: Rc::clone(&asked) };
    let place = Place::Ipmi { channel: "double".into() };
    Doubled { client: Client::new(Box::new(link), place, COMMAND, cancel.clone()), clock, asked, cancel }
}

fn answer(number: u8, code: Code, data: Vec<u8>) -> Answer {
    Answer { number, netfn: 0x2f, command: COMMAND, reply: Reply { code, data } }
}

/// At once, and nothing else.
pub(crate) fn now(number: u8, code: Code, data: Vec<u8>) -> Answers {
    Ok(vec![(Duration::ZERO, answer(number, code, data))])
}

/// What an honest BMC answers, of pages with that of its board.
pub(crate) fn honest(number: u8, command: &Command) -> Answers {
    let data = match command {
        Command::Start { tag, .. } => Started { nonce: 0x1234, holds_s: 900 }.encode(*tag),
        Command::Status => Status { nonce: 0x1234, ..Status::default() }.encode(),
        Command::Capabilities => Capabilities { doors: 7, ..Capabilities::default() }.encode(),
        Command::Info { item, offset } => {
            let page = MachinePage { machine: Text::cut("board") }.encode();
            Piece::encode(*item, &page, *offset)
        }
        other => acknowledged(other.tag().unwrap()),
    };
    now(number, Code::OK, data)
}
