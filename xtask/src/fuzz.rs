//! `cargo xtask fuzz`: the targets of `fuzz/` under libFuzzer, with the stable compiler.
//!
//! cargo-fuzz wants a nightly for `-Zsanitizer`. What libFuzzer itself needs, LLVM's coverage pass, the stable
//! compiler takes as `-Cpasses`. There is no address sanitizer then, which code without `unsafe` can do without:
//! panics, hangs and memory that grows are found all the same.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::program::{self, cargo};
use crate::{Outcome, layout};

/// How many inputs a run tries if nothing else is said.
const RUNS: u64 = 1_000_000;

/// Coverage by counters at each edge, and comparisons reported so that libFuzzer learns magic numbers; comparisons of
/// byte strings stay calls of memcmp, which libFuzzer watches, so that it learns magic words too.
const RUSTFLAGS: &str = "--cfg fuzzing -Cpasses=sancov-module \
    -Cllvm-args=-sanitizer-coverage-level=4 \
    -Cllvm-args=-sanitizer-coverage-inline-8bit-counters \
    -Cllvm-args=-sanitizer-coverage-pc-table \
    -Cllvm-args=-sanitizer-coverage-trace-compares \
    -Cllvm-args=-max-loads-per-memcmp=0";

/// libFuzzer ends an input that takes longer (seconds) or a process that grows larger (MiB): both are findings.
const LIMITS: [&str; 2] = ["-timeout=10", "-rss_limit_mb=1024"];

/// `cargo xtask fuzz --list` or `cargo xtask fuzz TARGET [--runs N] [--keep]`
pub(crate) fn command(mut args: lexopt::Parser) -> Outcome {
    let (mut target, mut runs, mut keep) = (None, RUNS, false);
    while let Some(arg) = args.next().map_err(|e| e.to_string())? {
        match arg {
            lexopt::Arg::Long("list") => {
                for target in targets()? {
                    println!("{target}");
                }
                return Ok(());
            }
            lexopt::Arg::Long("runs") => {
                let value = args.value().map_err(|e| e.to_string())?;
                runs = value.to_str().and_then(|n| n.parse().ok()).ok_or("--runs takes a number")?;
            }
            lexopt::Arg::Long("keep") => keep = true,
            lexopt::Arg::Value(name) if target.is_none() => {
                target = Some(name.to_string_lossy().into_owned());
            }
            other => return Err(other.unexpected().to_string()),
        }
    }
    let known = targets()?;
    match target {
        Some(target) if known.contains(&target) => fuzz(&build()?, &target, runs, keep),
        Some(target) => Err(format!("there is no target {target}; there are: {}", known.join(" "))),
        None => Err(format!("which target? There are: {}", known.join(" "))),
    }
}

/// Runs all targets, and leaves the tree as it is.
pub(crate) fn every_target() -> Outcome {
    let targets = targets()?;
    let fuzzer = build()?;
    targets.iter().try_for_each(|target| fuzz(&fuzzer, target, RUNS, false))
}

/// The names the fuzz crate knows.
fn targets() -> Outcome<Vec<String>> {
    let list =
        program::output(cargo(&["run", "--quiet", "--package", "inband-fuzz"]).args(["--", "--list"]))?;
    Ok(list.lines().map(String::from).collect())
}

/// Builds the fuzz crate with libFuzzer in it.
fn build() -> Outcome<PathBuf> {
    // Naming the target keeps the flags away from build scripts and procedural macros, which have no libFuzzer.
    let version = program::output(Command::new("rustc").arg("-vV"))?;
    let host =
        version.lines().find_map(|line| line.strip_prefix("host: ")).ok_or("rustc -vV names no host")?;
    let target = layout::target();
    program::run(
        cargo(&["build", "--package", "inband-fuzz", "--profile", "fuzz", "--target", host])
            .env("RUSTFLAGS", RUSTFLAGS)
            .env("CARGO_TARGET_DIR", &target),
    )?;
    Ok(target.join(host).join("fuzz/inband-fuzz"))
}

fn fuzz(fuzzer: &Path, target: &str, runs: u64, keep: bool) -> Outcome {
    let committed = layout::workspace().join("fuzz/corpus").join(target);
    let artifacts = layout::workspace().join("fuzz/artifacts").join(target);
    // What libFuzzer finds worth keeping from run to run; outside the tree.
    let found = layout::target().join("fuzz-corpus").join(target);
    for folder in [&committed, &artifacts, &found] {
        fs::create_dir_all(folder).map_err(|e| format!("cannot make {}: {e}", folder.display()))?;
    }
    let libfuzzer = || {
        let mut command = Command::new(fuzzer);
        command.env("INBAND_FUZZ_TARGET", target).args(LIMITS);
        // A folder name that ends in / : libFuzzer puts it before the file's name as it is.
        command.arg(format!("-artifact_prefix={}/", artifacts.display()));
        command
    };
    program::run(
        libfuzzer().arg(format!("-runs={runs}")).arg("-print_final_stats=1").arg(&found).arg(&committed),
    )
    .map_err(|why| {
        let replay = format!("cargo run -p inband-fuzz -- {target} FILE");
        format!("{why}; the input is in {}: replay it with {replay}", artifacts.display())
    })?;
    if keep {
        program::run(libfuzzer().arg("-merge=1").arg(&committed).arg(&found))?;
    }
    Ok(())
}
