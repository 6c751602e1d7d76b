//! Control transfers, one after the other.

use std::{collections::VecDeque, task::Poll, time::Duration};

use inband_usb::{ControlError, Direction, HostCompletion, HostError, Setup, TransferId, chapter9::Outcome};

use super::{
    fault::{Action, Fault, Step},
    state::{Event, ProgramId, State},
};

#[derive(Debug)]
pub(super) struct Control {
    id: TransferId,
    /// Who gets the completion; nobody for a request that a fault brought in.
    pub(super) program: Option<ProgramId>,
    setup: Setup,
    /// OUT: what the host sends. IN: what it has received.
    data: Vec<u8>,
    /// Bytes of the data stage that moved.
    moved: usize,
    stage: Stage,
    /// Nothing goes on before.
    pub(super) not_before: Duration,
    fault: Option<Fault>,
}

#[derive(Debug)]
enum Stage {
    /// The device has not seen it.
    Setup,
    /// The function has it, or will when it polls.
    Function,
    /// Nothing more comes of it.
    Lost,
    /// Answered.
    Ended(Result<(), HostError>),
}

/// How the device answers.
enum Answer {
    /// IN data, or none for a request without a data stage.
    Reply(Vec<u8>),
    /// All OUT data is taken.
    Taken,
    Stall,
}

impl Control {
    pub(super) fn new(
        program: Option<ProgramId>,
        id: TransferId,
        setup: Setup,
        data: Vec<u8>,
        fault: Option<Fault>,
    ) -> Self {
        Self { id, program, setup, data, moved: 0, stage: Stage::Setup, not_before: Duration::ZERO, fault }
    }

    /// The completion of this transfer.
    pub(super) fn ended(self, result: Result<(), HostError>) -> HostCompletion {
        HostCompletion { id: self.id, data: self.data, length: self.moved, result }
    }

    /// Takes the fault if it is for this moment.
    fn fault_at(&mut self, now: impl FnOnce(Step) -> bool) -> Option<Action> {
        self.fault.take_if(|fault| now(fault.step)).map(|fault| fault.action)
    }

    /// An IN transfer has received so much.
    fn receive(&mut self, bytes: &[u8]) {
        self.data = bytes.into();
        self.moved = bytes.len();
    }
}

/// Whether a transfer goes on after a fault.
#[derive(PartialEq, Eq)]
enum After {
    GoesOn,
    Lost,
    Gone,
}

impl State {
    /// Runs the first transfer as far as it goes without the function, and those after it.
    pub(super) fn run_control(&mut self) {
        while let Some(front) = self.control.front_mut().filter(|_| self.present) {
            if self.now < front.not_before {
                return;
            }
            match &front.stage {
                Stage::Function | Stage::Lost => return,
                Stage::Setup => match front.fault_at(|step| step == Step::Setup) {
                    Some(action) => {
                        self.strike(action);
                    }
                    None => self.send_setup(),
                },
                Stage::Ended(_) => {
                    let Some(mut control) = self.control.pop_front() else { return };
                    let Stage::Ended(result) = std::mem::replace(&mut control.stage, Stage::Lost) else {
                        return;
                    };
                    let program = control.program;
                    self.complete(program, control.ended(result));
                }
            }
        }
    }

    /// The device sees the first transfer's SETUP, which cancels whatever was before it.
    fn send_setup(&mut self) {
        self.forget_setups();
        self.changes += 1;
        let (Some(front), Some(set)) = (self.control.front_mut(), &self.set) else { return };
        let id = front.id;
        match self.chapter9.handle(set, &front.setup) {
            // What becomes of the answer is the host's affair: nobody here waits for it.
            Outcome::Reply(bytes) => _ = self.answer(Answer::Reply(bytes)),
            Outcome::Stall => _ = self.answer(Answer::Stall),
            Outcome::Ack(effect) => {
                // What flows again after a cleared halt can meet a fault that ends this transfer, too.
                self.apply(effect);
                if self.control.front().is_some_and(|front| front.id == id) {
                    _ = self.answer(Answer::Taken);
                }
            }
            Outcome::ToFunction => {
                front.stage = Stage::Function;
                self.events.push_back(Event::Setup(front.id, front.setup));
            }
        }
    }

    /// The device answers the first transfer.
    fn answer(&mut self, answer: Answer) -> Result<(), ControlError> {
        let Some(front) = self.control.front_mut() else { return Err(ControlError::Cancelled) };
        let result = match answer {
            Answer::Stall => Err(HostError::Stall),
            Answer::Taken => {
                front.moved = front.data.len();
                Ok(())
            }
            Answer::Reply(bytes) => {
                let mut cut = bytes.len();
                let action = front.fault_at(|step| match step {
                    Step::Data(at) if !bytes.is_empty() => {
                        cut = at.min(cut);
                        true
                    }
                    Step::Setup | Step::Data(_) | Step::Status => false,
                });
                if let Some(action) = action {
                    front.receive(&bytes[..cut]);
                    match self.strike(action) {
                        After::GoesOn => {}
                        After::Lost | After::Gone => return Err(ControlError::Cancelled),
                    }
                }
                let Some(front) = self.control.front_mut() else { return Err(ControlError::Cancelled) };
                front.receive(&bytes);
                Ok(())
            }
        };
        // From here on the device is done, whatever the host gets to know.
        let Some(front) = self.control.front_mut() else { return Ok(()) };
        front.stage = Stage::Ended(result);
        if let Some(action) = front.fault_at(|_| true) {
            self.strike(action);
        }
        Ok(())
    }

    /// Something happens to the first transfer.
    fn strike(&mut self, action: Action) -> After {
        let now = self.now;
        match action {
            Action::Delay(time) => {
                if let Some(front) = self.control.front_mut() {
                    front.not_before = now.saturating_add(time);
                }
                After::GoesOn
            }
            Action::Drop => {
                if let Some(front) = self.control.front_mut() {
                    front.stage = Stage::Lost;
                }
                After::Lost
            }
            Action::NewSetup(setup, data) => {
                self.cancel_front();
                self.inject(setup, data);
                After::Gone
            }
            Action::Unplug => {
                self.unplug();
                After::Gone
            }
            Action::Reset => {
                self.bus_reset();
                After::Gone
            }
        }
    }

    /// A request nobody asked for, in the place of the one that is running, if one is. It runs with the next
    /// [`run_control`](Self::run_control).
    pub(super) fn inject(&mut self, setup: Setup, data: Vec<u8>) {
        if self.control.front().is_some_and(|front| !matches!(front.stage, Stage::Setup)) {
            self.cancel_front();
        }
        let id = TransferId(self.next_id());
        self.control.push_front(Control::new(None, id, setup, data, None));
        self.changes += 1;
    }

    fn cancel_front(&mut self) {
        if let Some(front) = self.control.pop_front() {
            let program = front.program;
            self.complete(program, front.ended(Err(HostError::Cancelled)));
        }
    }

    /// Takes back control transfers.
    pub(super) fn cancel_control(&mut self, chosen: impl Fn(Option<ProgramId>, TransferId) -> bool) {
        let (cancelled, kept): (VecDeque<_>, _) =
            std::mem::take(&mut self.control).into_iter().partition(|it| chosen(it.program, it.id));
        self.control = kept;
        for control in cancelled {
            let program = control.program;
            self.complete(program, control.ended(Err(HostError::Cancelled)));
        }
        self.run_control();
    }

    // ---- the function's answers

    /// The request the function has polled, if it waits for an answer to its transfer.
    fn polled_setup(&mut self) -> Result<Setup, ControlError> {
        let (id, setup) = self.polled.ok_or(ControlError::Misuse)?;
        match self.control.front() {
            Some(front) if front.id == id => Ok(setup),
            _ => {
                self.polled = None;
                Err(ControlError::Cancelled)
            }
        }
    }

    /// The function answers; the request is done with, whatever comes of the answer.
    fn answer_polled(&mut self, answer: Answer) -> Result<(), ControlError> {
        self.polled = None;
        self.changes += 1;
        if !matches!(self.control.front(), Some(Control { stage: Stage::Function, .. })) {
            return Err(ControlError::Cancelled);
        }
        let result = self.answer(answer);
        self.run_control();
        result
    }

    fn misuse(&mut self) -> ControlError {
        // The host sees a STALL or has given up; the caller hears of its own mistake either way.
        _ = self.answer_polled(Answer::Stall);
        ControlError::Misuse
    }

    pub(super) fn control_stall(&mut self) -> Result<(), ControlError> {
        self.polled_setup()?;
        self.answer_polled(Answer::Stall)
    }

    pub(super) fn control_write(&mut self, data: &[u8]) -> Result<(), ControlError> {
        let setup = self.polled_setup()?;
        let fits = data.len() <= usize::from(setup.length);
        match setup.direction() {
            Direction::In if setup.length > 0 && fits => self.answer_polled(Answer::Reply(data.into())),
            Direction::In | Direction::Out => Err(self.misuse()),
        }
    }

    pub(super) fn control_read(&mut self, buffer: &mut [u8]) -> Poll<Result<usize, ControlError>> {
        let setup = match self.polled_setup() {
            Ok(setup) => setup,
            Err(error) => return Poll::Ready(Err(error)),
        };
        let length = usize::from(setup.length);
        if length == 0 {
            return Poll::Ready(self.answer_polled(Answer::Taken).map(|()| 0));
        }
        let Some(buffer) = buffer.get_mut(..length).filter(|_| setup.direction() == Direction::Out) else {
            return Poll::Ready(Err(self.misuse()));
        };
        let Some(front) = self.control.front_mut() else { return Poll::Pending };
        let mut cut = length;
        let action = front.fault_at(|step| match step {
            Step::Data(at) => {
                cut = at.min(length);
                true
            }
            Step::Setup | Step::Status => false,
        });
        if let Some(action) = action {
            front.moved = cut;
            self.changes += 1;
            if self.strike(action) == After::Gone {
                self.polled = None;
                self.run_control();
                return Poll::Ready(Err(ControlError::Cancelled));
            }
        }
        let Some(front) = self.control.front() else { return Poll::Pending };
        if matches!(front.stage, Stage::Lost) || self.now < front.not_before {
            return Poll::Pending;
        }
        buffer.copy_from_slice(&front.data);
        Poll::Ready(self.answer_polled(Answer::Taken).map(|()| length))
    }
}
