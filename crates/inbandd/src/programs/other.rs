//! Where there is no BMC, there is no program to run on it.

use super::{Exit, Runner, Task};

/// Runs nothing.
#[derive(Debug)]
pub struct Programs {
    asked: Option<Task>,
}

impl Programs {
    /// `wake` is never needed.
    #[must_use]
    pub fn new(_wake: impl Fn() + Send + Sync + 'static) -> Self {
        Self { asked: None }
    }
}

impl Runner for Programs {
    fn start(&mut self, task: Task, _command: &[String]) {
        self.asked = Some(task);
    }

    fn kill(&mut self, _task: Task) {
        self.asked = None;
    }

    fn poll(&mut self) -> Option<(Task, Exit)> {
        Some((self.asked.take()?, Exit::NotStarted("this system is no BMC's".into())))
    }
}
