//! `cargo xtask soak`: the counts that take longer than a test run may. Each task that ended leaves a line in
//! `docs/soak.md`.

use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::process::Command;

use crate::program::cargo;
use crate::task::{self, Task};
use crate::{Outcome, fuzz, layout, program, vm};

const TASKS: &[Task] = &[
    Task {
        name: "cut",
        about: "the power cut at every call of the file store, and again at every call of the start",
        run: cut,
    },
    Task { name: "fuzz", about: "a million inputs to each fuzz target", run: fuzz::every_target },
    Task {
        name: "gadget",
        about: "in the kernel guest, 1,000 mode switches and 1,000 cables pulled in updates over FunctionFS",
        run: gadget,
    },
    Task { name: "kill", about: "the daemon killed at 1,000 moments of updates", run: kill },
    Task {
        name: "model",
        about: "a million sequences of commands, door events and faults against the model of a session",
        run: model,
    },
    Task {
        name: "schedules",
        about: "a million hosts made of random numbers on the volume, and each trace of a host in 300 orders",
        run: schedules,
    },
    Task {
        name: "sweep",
        about: "every bRequest with every bmRequestType, to BMCs whose doors are shut, in the kernel guest",
        run: sweep,
    },
];

/// `cargo xtask soak [--list] [TASK]...`
pub(crate) fn command(args: lexopt::Parser) -> Outcome {
    task::command(args, TASKS, log)
}

/// The power cut tests of the file store, with every loss that the simulated disk knows in both cuts.
fn cut() -> Outcome {
    let mut test = cargo(&["test", "--release", "--package", "inband-session", "--lib"]);
    test.args(["cut::", "--", "--nocapture"]).env("INBAND_CUT", "full");
    program::run(&mut test)
}

/// `xtask/guest/gadget-loops.soak.sh`.
fn gadget() -> Outcome {
    vm::soak("gadget-loops")
}

/// The test of inbandd that kills it, with more rounds. `INBAND_KILL_SEED` passes through.
fn kill() -> Outcome {
    let mut test = cargo(&["test", "--release", "--package", "inbandd", "--test", "program"]);
    test.args(["kill::", "--", "--nocapture"]).env("INBAND_KILL_ROUNDS", "1000");
    program::run(&mut test)
}

/// The tests of the bus against the model, with more sequences. `INBAND_SEED` passes through.
fn model() -> Outcome {
    let mut test = cargo(&["test", "--release", "--package", "inbandd", "--test", "bus"]);
    test.args(["model::", "--", "--nocapture"]).env("INBAND_SEQUENCES", "1000000");
    program::run(&mut test)
}

/// The tests of the FAT volume, with more of what they make by chance.
fn schedules() -> Outcome {
    let mut test = cargo(&["test", "--release", "--package", "inband-volume", "--test", "volume"]);
    test.args(["fat::", "--", "--nocapture"]).env("INBAND_SCHEDULES", "1000000").env("INBAND_ORDERS", "300");
    program::run(test.env("PROPTEST_CASES", "10000"))
}

/// `xtask/guest/sweep.soak.sh`.
fn sweep() -> Outcome {
    vm::soak("sweep")
}

/// Adds a line to the log.
fn log(task: &Task, result: &Outcome) -> Outcome {
    const HEAD: &str = "\
# Soak runs

Written by `cargo xtask soak`, one line for each task that ended. A `+` after the commit: with changes on top.

| day | commit | task | result |
|---|---|---|---|
";
    let file = layout::workspace().join("docs/soak.md");
    let cannot_write = |e: std::io::Error| format!("cannot write {}: {e}", file.display());
    if !file.exists() {
        fs::write(&file, HEAD).map_err(cannot_write)?;
    }
    let day = program::output(Command::new("date").args(["--utc", "+%F"]))?;
    let git =
        |args: &[&str]| program::output(Command::new("git").args(args).current_dir(layout::workspace()));
    let commit = git(&["rev-parse", "--short=12", "HEAD"])?;
    let changed = if git(&["status", "--porcelain"])?.is_empty() { "" } else { "+" };
    let result = match result {
        Ok(()) => "ok",
        Err(why) => why,
    };
    let line = format!(
        "| {} | {}{changed} | {}: {} | {} |\n",
        day.trim(),
        commit.trim(),
        task.name,
        task.about,
        result.replace(['\n', '|'], " ")
    );
    let mut log = OpenOptions::new().append(true).open(&file).map_err(cannot_write)?;
    log.write_all(line.as_bytes()).map_err(cannot_write)
}
