//! Development tasks: `cargo xtask COMMAND`.
//!
//! Everything here runs other programs and reads what they say; nothing of it is part of the product.

use std::process::ExitCode;

mod arm;
mod bench;
mod contrib;
mod debs;
mod fuzz;
mod layout;
mod packages;
mod program;
mod record;
mod soak;
mod task;
mod test;
mod vm;

/// What a task ends with: nothing to say, or one message that tells what failed and what to do.
type Outcome<T = ()> = Result<T, String>;

const HELP: &str = "\
Usage: cargo xtask COMMAND

  test                  everything that must pass: unit and virtual tests, doc tests, the kernel guest, the README in it
  vm [SUITE]...         only the kernel guest: all suites of xtask/guest, or those named
  vm --list             the suites
  vm host               a Linux host to try things on by hand, with stock tools: its IPMI controller and its USB device are one
                        inbandd on this machine, with a key, its doors shut, and packages made for it. The terminal is its console;
                        `exit` ends it, or Ctrl-A X. What does not come from a terminal it runs, up to the first command that fails
  vm readme             the same, and it runs what the README says is to be pasted there
  arm [TASK]...         the BMC's processors and other systems: all tasks, or those named (arm --list)
  fuzz TARGET           run one fuzz target under libFuzzer
       --runs N         inputs to try (default 1000000)
       --keep           add the inputs that reach new code to fuzz/corpus/TARGET
  fuzz --list           the fuzz targets
  soak [TASK]...        the long counts: all tasks, or those named (soak --list)
  bench [TASK]...       measurements: all tasks, or those named (bench --list)
  record [TASK]...      what hosts write onto the volume, recorded in the guest, as crates/volume's tests have it: all
                        tasks, or those named (record --list)
  packages              install the Debian packages the tests need, or say which are missing

The guests' kernels, the Debian root and the logs are kept in the target folder (CARGO_TARGET_DIR), under vm/; the compiler for
other processors, and what it built, under arm/.
";

fn main() -> ExitCode {
    // Behind any command: there is one text for all.
    if std::env::args().skip(1).any(|arg| arg == "--help" || arg == "-h") {
        print!("{HELP}");
        return ExitCode::SUCCESS;
    }
    match run(lexopt::Parser::from_env()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("xtask: {message}");
            ExitCode::FAILURE
        }
    }
}

fn run(mut args: lexopt::Parser) -> Outcome {
    let command = match args.next().map_err(|e| e.to_string())? {
        Some(lexopt::Arg::Value(command)) => command,
        Some(other) => return Err(other.unexpected().to_string()),
        None => return Err(format!("which command?\n\n{HELP}")),
    };
    match command.to_str() {
        Some("test") => {
            no_more(args)?;
            test::run()
        }
        Some("vm") => vm::command(args),
        Some("arm") => arm::command(args),
        Some("fuzz") => fuzz::command(args),
        Some("soak") => soak::command(args),
        Some("bench") => bench::command(args),
        Some("record") => record::command(args),
        Some("packages") => {
            no_more(args)?;
            packages::ensure()
        }
        _ => Err(format!("there is no command {command:?}\n\n{HELP}")),
    }
}

/// Refuses what is left on the command line.
fn no_more(mut args: lexopt::Parser) -> Outcome {
    match args.next().map_err(|e| e.to_string())? {
        Some(arg) => Err(arg.unexpected().to_string()),
        None => Ok(()),
    }
}

/// The rest of a command line of the form `[--list] [NAME]...`.
struct Selection {
    list: bool,
    names: Vec<String>,
}

impl Selection {
    fn parse(mut args: lexopt::Parser) -> Outcome<Self> {
        let mut selection = Self { list: false, names: Vec::new() };
        while let Some(arg) = args.next().map_err(|e| e.to_string())? {
            match arg {
                lexopt::Arg::Long("list") => selection.list = true,
                lexopt::Arg::Value(name) => {
                    selection.names.push(name.into_string().map_err(|n| format!("not a name: {n:?}"))?);
                }
                other => return Err(other.unexpected().to_string()),
            }
        }
        Ok(selection)
    }

    /// Those of `all` that are named, in the order of `all`; all of them if none is named.
    fn pick<'a, T>(&self, all: &'a [T], name: impl Fn(&T) -> &str) -> Outcome<Vec<&'a T>> {
        if let Some(unknown) = self.names.iter().find(|n| !all.iter().any(|t| name(t) == n.as_str())) {
            let known: Vec<&str> = all.iter().map(&name).collect();
            return Err(format!("there is no {unknown}; there are: {}", known.join(" ")));
        }
        Ok(all.iter().filter(|t| self.names.is_empty() || self.names.iter().any(|n| n == name(t))).collect())
    }
}
