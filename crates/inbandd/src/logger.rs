//! Log lines on standard error, for a journal or a person.

use std::io::{IsTerminal as _, Write as _};

use log::{Level, LevelFilter, Log, Metadata, Record};

struct Logger {
    /// A journal wants the priority in front, as sd-daemon(3) has it; a person does not.
    priorities: bool,
}

impl Log for Logger {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.level() <= log::max_level()
    }

    fn log(&self, record: &Record<'_>) {
        if !self.enabled(record.metadata()) {
            return;
        }
        let (priority, name) = match record.level() {
            Level::Error => (3, "error"),
            Level::Warn => (4, "warning"),
            Level::Info => (6, "info"),
            Level::Debug | Level::Trace => (7, "debug"),
        };
        let mut line = String::new();
        // A line break inside would make a second line without a priority, or one that looks like ours.
        for c in record.args().to_string().chars() {
            if c.is_control() { line.extend(c.escape_default()) } else { line.push(c) }
        }
        // Nobody is left to tell if standard error is gone.
        let _ = if self.priorities {
            writeln!(std::io::stderr(), "<{priority}>{line}")
        } else {
            writeln!(std::io::stderr(), "inbandd: {name}: {line}")
        };
    }

    fn flush(&self) {}
}

/// Sends the process's log to standard error. Called once, by the program. `service`: it may be a journal that reads it, so lines
/// begin with a priority unless standard error is a terminal.
pub fn init(level: LevelFilter, service: bool) {
    let logger = Logger { priorities: service && !std::io::stderr().is_terminal() };
    if log::set_boxed_logger(Box::new(logger)).is_ok() {
        log::set_max_level(level);
    }
}
