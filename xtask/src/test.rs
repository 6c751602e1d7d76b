//! `cargo xtask test`: everything that must pass before a change is good.

use crate::program::{self, cargo};
use crate::{Outcome, packages, vm};

/// Runs all stages, even after one failed, so that one run shows all there is to mend.
pub(crate) fn run() -> Outcome {
    packages::ensure()?;
    let results = [
        ("unit and virtual tests", tests()),
        ("doc tests", doc_tests()),
        ("kernel guest", vm::all()),
        ("the README in a guest", vm::readme()),
    ];
    println!();
    for (name, result) in &results {
        match result {
            Ok(()) => println!("{name}: ok"),
            Err(message) => println!("{name}: FAILED: {message}"),
        }
    }
    match results.iter().filter(|(_, result)| result.is_err()).count() {
        0 => Ok(()),
        n => Err(format!("{n} of {} stages failed", results.len())),
    }
}

fn tests() -> Outcome {
    if program::find("cargo-nextest").is_some() {
        program::run(cargo(&["nextest", "run", "--no-fail-fast"]).args(["--workspace", "--all-features"]))
    } else {
        println!("cargo-nextest is not installed: cargo test does the same, slower");
        program::run(cargo(&["test", "--no-fail-fast"]).args([
            "--workspace",
            "--all-features",
            "--all-targets",
        ]))
    }
}

fn doc_tests() -> Outcome {
    program::run(cargo(&["test", "--doc"]).args(["--workspace", "--all-features"]))
}
