//! Tables of tasks with a name: what `soak` and `bench` are made of.

use std::time::Instant;

use crate::{Outcome, Selection};

/// One task of a table.
pub(crate) struct Task {
    pub(crate) name: &'static str,
    /// What it does, in one line.
    pub(crate) about: &'static str,
    pub(crate) run: fn() -> Outcome,
}

/// `COMMAND [--list] [TASK]...` over a table; stops at the first task that fails. `done` hears of each task that
/// ended, with its result.
pub(crate) fn command(args: lexopt::Parser, tasks: &[Task], done: fn(&Task, &Outcome) -> Outcome) -> Outcome {
    let selection = Selection::parse(args)?;
    if selection.list {
        for task in tasks {
            println!("{:<12} {}", task.name, task.about);
        }
        return Ok(());
    }
    for task in selection.pick(tasks, |task| task.name)? {
        println!("{}: {}", task.name, task.about);
        let start = Instant::now();
        let result = (task.run)();
        done(task, &result)?;
        result.map_err(|why| format!("{}: {why}", task.name))?;
        println!("{}: ok, {} s\n", task.name, start.elapsed().as_secs());
    }
    Ok(())
}
