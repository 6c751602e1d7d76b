//! `cargo xtask bench`: measurements. A task prints what it measured and nothing else.

use std::env::consts::ARCH;
use std::fs;

use crate::program::{self, cargo};
use crate::task::{self, Task};
use crate::{Outcome, layout};

const TASKS: &[Task] = &[Task { name: "size", about: "the daemon as built for a BMC, on disk", run: size }];

/// `cargo xtask bench [--list] [TASK]...`
pub(crate) fn command(args: lexopt::Parser) -> Outcome {
    task::command(args, TASKS, |_, _| Ok(()))
}

/// The size of inbandd with the `bmc` profile and without the virtual backends.
fn size() -> Outcome {
    program::run(&mut cargo(&[
        "build",
        "--profile",
        "bmc",
        "--package",
        "inbandd",
        "--no-default-features",
    ]))?;
    let file = layout::target().join("bmc/inbandd");
    let bytes = fs::metadata(&file).map_err(|e| format!("cannot read {}: {e}", file.display()))?.len();
    println!("inbandd, {ARCH}: {bytes} bytes");
    Ok(())
}
